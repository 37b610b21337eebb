"""`mass-adapt`: problems answered by a run or a model. docs/tool.md tells all of it."""

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from absl import logging
from rich.console import Console
from safetensors import SafetensorError

from mass_jax.errors import InputError
from mass_jax.inference import lines, pretrained
from mass_jax.inference.adapted import Adapted, Phase
from mass_jax.inference.adapter import Event, MassAdapter
from mass_jax.inference.answers import Answers, request
from mass_jax.inference.options import Options
from mass_jax.inference.sessions.policy import Policy
from mass_jax.inference.sessions.session import Session
from mass_jax.inference.view import View, printable
from mass_jax.models.pretrained import peft_format
from mass_jax.runtime import program
from mass_jax.runtime.compilation import enable_compilation_cache
from mass_jax.runtime.program import DONE, INTERRUPTED, LACKING
from mass_jax.runtime.progress import Progress

STDIN = "-"
INTERRUPT = "it was interrupted"
Answering = MassAdapter | Session


def run(words: Sequence[str] | None = None) -> NoReturn:
    """Answers what the command line asks for, and exits with a status of docs/tool.md.

    Args:
      words: of the command line; this process's where not given.
    """

    def main() -> int:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        logging.set_verbosity(logging.WARNING)
        return _answer(_read(words))

    program.script(main)


def _read(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line, each option sound by itself and beside the others.

    Raises:
      InputError: it is not.
    """
    asked = _parser().parse_args(words)
    if (asked.problem is None) == (asked.file is None):
        raise InputError("give one problem, or - for standard input, or --file with a problem a line.")
    if (asked.file is None) != (asked.out is None):
        raise InputError("--file and --out go together: what to answer, and where the answers go.")
    one = asked.problem not in (None, STDIN)
    if asked.save_adapter is not None and not one:
        raise InputError("--save-adapter is for one problem: each has an adapter of its own.")
    if asked.timing and not (asked.json or asked.file):
        raise InputError("--timing adds seconds to JSON: give --json or --file too.")
    if asked.save_adapter is not None and os.path.exists(asked.save_adapter) and not asked.save_adapter.is_dir():
        raise InputError(f"--save-adapter={asked.save_adapter} is a file: give a folder.")
    _apart(asked)
    if asked.session is None and (asked.carry is not None or asked.replay is not None):
        raise InputError("--carry and --replay say what a session keeps: give --session a folder.")
    if asked.session is not None and asked.batch != 1:
        raise InputError(f"--batch={asked.batch}: a session's problems are answered one after another; leave it out.")
    asked.policy = _policy(asked)
    asked.options = Options(
        update=not asked.no_update,
        seed=asked.seed,
        votes=asked.votes,
        examples=asked.examples,
        steps=asked.steps,
        sets=asked.sets,
        least_gain=asked.least_gain,
        **_budget(asked.budget),
    )
    return asked


def _apart(asked: argparse.Namespace) -> None:
    """No file is for two things: one would wait for the other's lock for ever, or write over it."""
    taken: dict[Path, str] = {}
    for name in ("file", "out", "audit"):
        if (given := getattr(asked, name)) is None:
            continue
        path = Path(os.path.realpath(given))
        if path in taken:
            raise InputError(f"--{taken[path]} and --{name} are the same file, '{given}': give another for one.")
        taken[path] = name


def _parser() -> argparse.ArgumentParser:
    parser = program.Parser("mass-adapt", description="Answer problems, each after an update on practice of its own.")
    add = parser.add_argument
    add("problem", nargs="?", help="the problem's text, or - for a problem a line from standard input")
    add("--model", required=True, help="the directory of a run, or a model: folder, .gguf, package:name or hub id")
    add("--arm", help="of a run, the row of its table (default: mass)")
    add("--domain", choices=pretrained.SETTINGS, help="of a model, what its problems are (default: mathematics)")
    add("--prompts", help="of a model, a file with the words it is asked in, or gsm8k, math, svamp, jsonl")
    add("--file", type=_path, help='problems, an object a line: {"problem": "...", "seed": 1}')
    add("--out", type=_path, help="their answers, an object a line; continued where it is there already")
    add("--no-update", action="store_true", help="answer at once")
    add("--budget", action="append", default=[], help="seconds, such as 10s, or tokens, such as 2000t; or one of each")
    add("--votes", type=_whole, default=1, help="sampled solutions, of which the most frequent answer is given")
    add("--examples", type=_whole, help="practice examples (default: as many as the model was trained with)")
    add("--steps", type=_whole, help="gradient steps (default likewise)")
    add("--sets", type=_whole, default=1, help="practice sets that are written; the most promising is practised on")
    add("--least-gain", type=float, metavar="SHARE", help="decline an update that is expected to gain less")
    add("--seed", type=_whole, default=0, help="of all that is sampled")
    add("--batch", type=_whole, default=1, help="problems that are answered at once; changes no answer")
    add("--json", action="store_true", help="print all that is known of an answer, as JSON")
    add("--timing", action="store_true", help="with seconds, which no seed repeats")
    add("--save-adapter", type=_path, metavar="DIR", help="write the update there, as PEFT reads it")
    add("--no-guard", action="store_true", help="use all practice and every update, as the model's tables do")
    add("--audit", type=_path, metavar="FILE", help="write every update down there")
    add("--session", type=_path, metavar="DIR", help="go on with the session in this folder, or begin one there")
    add("--carry", type=float, metavar="DECAY", help="of a session: the part of the update that is carried on")
    add("--replay", type=_whole, metavar="EXAMPLES", help="of a session: examples that are kept and practised again")
    add("--quiet", action="store_true", help="show no progress")
    return parser


def _policy(asked: argparse.Namespace) -> Policy | None:
    """Of the session; None where nothing is said of it."""
    if asked.carry is None and asked.replay is None:
        return None
    return Policy(asked.carry or 0.0, asked.replay or 0)


def _path(text: str) -> Path:
    """With the home directory for ~; a name that no user has stays as it is, where `Path.expanduser` would fail."""
    if not text:  # of a shell's variable that is not set; `Path` would take it as the folder that this is called in
        raise argparse.ArgumentTypeError("it is empty: give a name")
    return Path(os.path.expanduser(text))


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def _budget(given: Sequence[str]) -> dict[str, Any]:
    """The limits of `Options`."""
    found: dict[str, Any] = {}
    for text in given:
        if re.fullmatch(r"\d+(\.\d+)?s", text, re.ASCII):
            name, value = "seconds", float(text[:-1])
        elif re.fullmatch(r"\d{1,18}t", text, re.ASCII):
            name, value = "tokens", int(text[:-1])
        else:
            raise InputError(f"--budget={text}: give seconds, such as 10s, or tokens, such as 2000t.")
        if name in found:
            raise InputError(f"--budget={text}: there are two budgets of {name}; give one.")
        found[name] = value
    return found


def _answer(asked: argparse.Namespace) -> int:
    """Loads, answers, and returns the exit status."""
    raw = None if asked.file is None else _lines(asked.file)
    enable_compilation_cache()
    adapter = MassAdapter.load(
        asked.model,
        asked.arm,
        asked.batch,
        domain=asked.domain,
        prompts=asked.prompts,
        guard=not asked.no_guard,
        audit=asked.audit,
    )
    if asked.session is None:
        return _all(adapter, raw, asked)
    with Session(adapter, asked.policy, asked.session) as session:
        return _all(session, raw, asked)


def _all(adapter: Answering, raw: Sequence[bytes] | None, asked: argparse.Namespace) -> int:
    """What is asked for: the lines of a file, those of standard input, or one problem."""
    if raw is not None:
        return _file(adapter, raw, asked)
    if asked.problem == STDIN:
        return _stream(adapter, asked)
    return _one(adapter, asked)


def _one(adapter: Answering, asked: argparse.Namespace) -> int:
    """One problem, whose work is shown."""
    ended = list[Event]()
    status = DONE
    try:
        with View(Console(stderr=True, quiet=asked.quiet, highlight=False)) as view:

            def hear(event: Event) -> None:
                ended.extend([event] * (event.shown is not None))
                view(event)

            found = adapter.adapt(asked.problem, asked.options, hear)
    except KeyboardInterrupt:
        if not ended:
            raise
        found, status = _interrupted(adapter, asked, ended), INTERRUPTED
    _show(found, asked)
    if asked.save_adapter is None or status == INTERRUPTED:
        return status
    return _save(adapter, found, asked.save_adapter)


def _interrupted(adapter: Answering, asked: argparse.Namespace, ended: Sequence[Event]) -> Adapted:
    """What is known of a problem when only these phases have ended: the base's answer."""
    assert ended[0].shown is not None
    before = ended[0].shown[0]["answer_before"]
    return Adapted(
        problem=asked.problem,
        answer=before,
        answer_before=before,
        updated=False,
        why=INTERRUPT,
        practice=(),
        gate=None,
        expected_gain=None,
        losses=(),
        verdict=None,
        votes={},
        phases=tuple(Phase(event.phase, event.seconds, event.tokens[0]) for event in ended),
        seed=asked.seed,
        model=adapter.name,
    )


def _show(found: Adapted, asked: argparse.Namespace) -> None:
    """Prints an answer; and on standard error why it is not adapted, if it was to be."""
    if asked.options.update and not found.updated:
        print(f"Not adapted: {found.why}.", file=sys.stderr)
    _print(json.dumps(found.as_json(asked.timing)) if asked.json else printable(found.answer))


def _print(text: str) -> None:
    """A line on standard output.

    Raises:
      OSError: nobody reads it any more, or its disk is full.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again when it ends
        raise OSError(error.errno, error.strerror, "standard output") from None


def _save(adapter: Answering, found: Adapted, folder: Path) -> int:
    if found.adapter is None:
        print(f"'{folder}' is not written: there is no update, for {found.why}.", file=sys.stderr)
        return LACKING
    try:
        peft_format.save(folder, adapter.learner.actor.method.model, found.adapter, adapter.name)
    except (OSError, SafetensorError) as error:
        raise InputError(f"the adapter cannot be written into '{folder}' ({error}): give another folder.") from None
    return DONE


def _stream(adapter: Answering, asked: argparse.Namespace) -> int:
    """Problems of standard input, each answered when as many are there as are answered at once."""
    given = (lines.of_text(adapter, raw.rstrip(b"\r\n"), asked.options) for raw in sys.stdin.buffer)
    status = DONE
    for number, each in enumerate(lines.answered(adapter, given), start=1):
        if each.adapted is not None:
            _show(each.adapted, asked)
            continue
        status = LACKING
        print(f"Line {number}: {each.line.error}", file=sys.stderr)
        if asked.json:
            _print(json.dumps(each.as_json(asked.timing)))
    return status


def _file(adapter: Answering, raw: Sequence[bytes], asked: argparse.Namespace) -> int:
    """The lines of a file, those that are not answered yet."""
    requests = list(map(partial(request, made_with=_made_with(adapter, asked)), raw))
    console = Console(stderr=True, quiet=asked.quiet)
    with Answers(asked.out, requests) as answers:
        try:
            with Progress(len(raw), start=answers.done, label="answer", show=["errors"], console=console) as progress:
                for found in _rest(adapter, raw, requests, answers.done, asked):
                    answers.append(found)
                    progress.update(answers.done, {"errors": answers.errors})
        except KeyboardInterrupt:
            done = f"{answers.done} of {len(raw)} lines are in '{asked.out}'"
            print(f"Interrupted: {done}; the same command goes on.", file=sys.stderr)
            raise
        if answers.errors:
            print(f'{answers.errors} of {len(raw)} lines have no answer: see their "error".', file=sys.stderr)
        return LACKING if answers.errors else DONE


def _rest(
    adapter: Answering, raw: Sequence[bytes], requests: Sequence[str], done: int, asked: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """What the output says of the lines that are not answered yet."""
    given = (lines.of_json(adapter, line, asked.options) for line in raw[done:])
    if isinstance(adapter, Session):
        tickets = [f"{os.path.realpath(asked.out)}:{number}:{requests[number]}" for number in range(done, len(raw))]
        yield from lines.in_session(adapter, given, tickets, asked.timing)
    else:
        yield from (each.as_json(asked.timing) for each in lines.answered(adapter, given))


def _lines(path: Path) -> list[bytes]:
    try:
        *whole, last = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(
            f"--file={path} cannot be read ({error.strerror}): give a file with a problem a line."
        ) from None
    return [line.removesuffix(b"\r") for line in ([*whole, last] if last else whole)]


def _made_with(adapter: Answering, asked: argparse.Namespace) -> dict[str, Any]:
    """What beside a line decides its answer."""
    own = Path(asked.prompts or "").expanduser()
    prompts = own.read_text(encoding="utf-8") if own.is_file() else asked.prompts
    given: dict[str, Any] = {"model": adapter.name, "domain": asked.domain, "prompts": prompts, "timing": asked.timing}
    if isinstance(adapter, Session):
        given["session"] = [os.path.realpath(asked.session), dataclasses.asdict(adapter.state.policy)]
    return given | {"guard": not asked.no_guard} | dataclasses.asdict(asked.options)
