"""What runs in a jail: a solution, and the tests that it is put to, each in a process of its own.

So nothing that a solution overwrites, patches or ends can make a test pass: it can only be called, and give back
values. Where a test calls it, the arguments go to the solution's process and its value comes back as plain data, which
is compared here; of an object of the solution's own a stand-in comes back, which equals nothing but itself.

A program for `sandbox.server`: it is run as a file, and imports what its processes may import.
"""

import contextlib
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from mass_jax.tasks.code.values import Channel, ProtocolError, everything, pack, unpack

MODULES = """abc array base64 binascii bisect builtins calendar cmath codecs collections collections.abc colorsys copy
copyreg csv ctypes dataclasses datetime decimal difflib enum fnmatch fractions functools gc getopt
hashlib heapq html inspect io itertools json keyword linecache locale math numbers operator os os.path
pprint queue random re reprlib secrets shlex signal socket stat statistics string struct subprocess sys
textwrap threading time timeit token tokenize traceback types typing unicodedata urllib.parse uuid
warnings weakref zlib _strptime encodings.ascii encodings.latin_1 encodings.utf_16 encodings.idna
encodings.punycode encodings.hex_codec encodings.rot_13"""
"""All that can be imported: there are no files to import others from."""
LONGEST_REASON = 300
"""Characters."""


def prepare() -> None:
    """Imports what the processes share."""
    for name in MODULES.split():
        importlib.import_module(name)


def solution(control: int, link: int) -> None:
    """Run a solution, then do what its tests ask: look up a name, call, read, set, list."""
    names: dict[str, Any] = {"__name__": "solution"}
    objects: list[Any] = []
    peer = Channel(link)

    def name(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    def answer(asked: dict[str, Any]) -> Any:
        known = objects.__getitem__
        match asked:
            case {"name": str(wanted)}:
                if wanted not in names:
                    raise NameError(f"the solution defines no {wanted}")
                return names[wanted]
            case {"call": int(place), "arguments": arguments, "named": named}:
                given = {key: unpack(each, known) for key, each in named.items()}
                return objects[place](*[unpack(each, known) for each in arguments], **given)
            case {"get": int(place), "attribute": attribute}:
                return getattr(objects[place], attribute)
            case {"set": int(place), "attribute": attribute, "value": value}:
                return setattr(objects[place], attribute, unpack(value, known))
            case {"list": int(place)}:
                return list(objects[place])

    source = everything(control).decode()
    failure = _failure(lambda: exec(compile(source, "solution", "exec"), names))
    with contextlib.suppress(ProtocolError):
        while True:
            asked = peer.read()
            reply: dict[str, Any] = {}
            raised = failure or _failure(lambda a=asked, r=reply: r.update(value=pack(answer(a), name)))
            peer.write({"raised": raised} if raised else reply)


def tests(control: int, link: int) -> None:
    """Run tests one after the other and say how many passed, and why the first that failed did."""
    given = json.loads(everything(control))
    peer = Channel(link)
    names: dict[str, Any] = {"__name__": "tests"}
    reasons: list[str] = []

    def ask() -> None:
        for name in given["asked"]:
            names[name] = _ask(peer, {"name": name})

    def run(source: str) -> None:
        exec(compile(source, "tests", "exec"), names)

    def begin() -> None:
        ask()
        run(given["setup"])
        ask()  # what the setup has only begun, a function without a body

    failure = _failure(begin)
    for source in given["tests"]:
        raised = failure or _failure(lambda text=source: run(text))
        if raised:
            reasons.append(f"{_line(source)}: {': '.join(filter(None, raised))}"[:LONGEST_REASON])
    passed = len(given["tests"]) - len(reasons)
    Channel(control).write({"passed": passed, "reason": reasons[0] if reasons else ""})


def _line(source: str) -> str:
    """The beginning of a test."""
    line = " ".join(source.split())
    return line if len(line) <= 120 else f"{line[:117]}..."


def _failure(act: Any) -> list[str]:
    """The name of what ``act`` raises, and its text; nothing where it raises nothing."""
    try:
        act()
    except BaseException as error:
        text = ""
        with contextlib.suppress(BaseException):
            text = str(error)[:LONGEST_REASON]
        return [type(error).__name__[:LONGEST_REASON], text]
    return []


def _ask(peer: Channel, request: dict[str, Any]) -> Any:
    """What the solution's process answers."""
    peer.write(request)
    answer = peer.read()
    if not isinstance(answer, dict) or len(answer.keys() & {"raised", "value"}) != 1:
        raise ProtocolError("what it wrote is no answer")
    if "raised" in answer:
        _raise(answer["raised"])
    return unpack(answer["value"], lambda place: _StandIn(peer, place))


def _raise(raised: Any) -> NoReturn:
    """The built-in exception that the solution met; another kind is a RuntimeError that names it."""
    kind, text = (str(each) for each in raised) if isinstance(raised, list) and len(raised) == 2 else ("", "")
    found = vars(sys.modules["builtins"]).get(kind)
    if isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, UnicodeError):
        raise found(text)
    raise RuntimeError(f"{kind}: {text}")


class _StandIn:
    """For an object in the solution's process: to be called, read, set and iterated over."""

    def __init__(self, peer: Channel, place: Any):
        vars(self)["_at"] = peer, place

    def _given(self, value: Any) -> Any:
        def place(value: Any) -> Any:
            if not isinstance(value, _StandIn):
                raise TypeError(f"a solution is given plain data, not a {type(value).__name__}")
            return vars(value)["_at"][1]

        return pack(value, place)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        peer, place = vars(self)["_at"]
        packed = {key: self._given(each) for key, each in named.items()}
        return _ask(peer, {"call": place, "arguments": [self._given(each) for each in arguments], "named": packed})

    def __getattr__(self, attribute: str) -> Any:
        peer, place = vars(self)["_at"]
        return _ask(peer, {"get": place, "attribute": attribute})

    def __setattr__(self, attribute: str, value: Any) -> None:
        peer, place = vars(self)["_at"]
        _ask(peer, {"set": place, "attribute": attribute, "value": self._given(value)})

    def __iter__(self) -> Iterator[Any]:
        peer, place = vars(self)["_at"]
        return iter(_ask(peer, {"list": place}))


ROLES = {"solution": solution, "tests": tests}
