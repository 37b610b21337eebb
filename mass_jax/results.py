"""``results.json``: every key with its type and meaning; how it is read, and checked before it is written.

Each program of a run owns parts of it: the gates ``gate`` and ``choice``, the clock ``timing``, the evaluation all
others (`runtime.results.merge`). Rows of the tables are known by name. What a row is called, what it is, whether it is
a control and what the run is held to stands in the file, so that whoever reads one needs no knowledge of arms.

``python -m mass_jax.results`` prints the table of keys that docs/results.md shows.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from mass_jax import extras
from mass_jax.errors import InputError

extras.require("study")

from pydantic import BaseModel, ConfigDict, Field, ValidationError  # noqa: E402

SHOWN = 3
"""Faults of a file that are told one by one."""
T = TypeVar("T")
ByName = dict[str, T]
Interval = Annotated[list[float | None], Field(min_length=2, max_length=2)]


class ResultsError(InputError):
    """What is to be written is no part of ``results.json``; or no file of results can be read."""


class Part(BaseModel):
    """Keys of the file, each with the text that stands below it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)


class Measured(Part):
    """A number with its spread over families."""

    ci95: Interval | None = None
    """its 95 % interval; null of fewer than two families"""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval, where both ends are numbers."""
        low, high = self.ci95 or (None, None)
        return None if low is None or high is None else (low, high)


class Accuracy(Measured):
    """What a row solves."""

    accuracy: float
    """the share of right answers"""
    n: int | None = None
    """problems"""
    not_judged: int = 0
    """of them the grader could not judge; taken as wrong"""


class Difference(Measured):
    """A row against another one, over the same problems."""

    diff: float
    """the mean difference, the first row's minus the second's"""


class Synthesis(Part):
    """Practice before and after meta-training."""

    before: ByName[float] = {}
    """shares of the base's practice, such as `well_formed`"""
    after: ByName[float] = {}
    """shares of the headline's"""


class Generator(Part):
    """What the headline's generator learned, and what its controls did: shares of their practice on test families.

    By name: `before` and `after`, and what taught another one in as many steps: nothing (`frozen`), attributions that
    were permuted (`shuffled`), the truth (`privileged`).
    """

    on_topic: ByName[float] = {}
    """on the hidden topic, of the well formed"""
    right: ByName[float] = {}
    """right and on the topic, of all texts"""
    d_prime: ByName[float] = {}
    """of the reward, right practice against other, within sets: in the first steps of the training and in its last"""


class Decomposed(Part):
    """What a model writes and solves; only those that are trained with practice have a scorer."""

    practice: ByName[float] = {}
    """shares, as in `synthesis`"""
    accuracy: ByName[float] = {}
    """`un_adapted`; adapted to its own practice, all examples weighed alike (`uniform`) or by its `scorer`"""


class Targets(Part):
    """What a run is held to, from its config. Rows by name; gains are differences of accuracies."""

    gains: ByName[float] = {}
    """the least gain over Base of each row, as a share"""
    above: list[str] = []
    """rows that the headline has to be better than: its interval over them is above zero"""
    right: float | None = None
    """the least gain of the generator's right practice over the base's, as a share"""
    kept: list[str] = []
    """rows that must not be below Base: nothing is forgotten"""
    checks: ByName[float] = {}
    """the least value of each of `checks`, of its worst number"""
    problems: float | None = None
    """the least number of test problems"""
    minutes: float | None = None
    """the most minutes of the whole run"""


class Invocation(Part):
    """A program that worked on the run."""

    program: str = "–"
    """its name"""
    command: str = ""
    """that started it"""
    began: str = "–"
    """date and time"""
    commit: str = "–"
    """of the code"""
    devices: dict[str, Any] = {}
    """as in `environment`"""
    seconds: float = 0.0
    """that it took"""


class ChoiceGate(Part):
    """Something that a domain with a choice has to show before a generator is trained on it."""

    asks: str = ""
    """for what, in words"""
    found: ByName[float] = {}
    """by what it was judged: shares, and gains over Base as shares"""
    open: bool
    """whether the domain shows it"""


class Choice(Part):
    """A domain with a choice, on validation families, before anything is meta-learned; empty for other domains."""

    gates: ByName[ChoiceGate] = {}
    """(a), (b), (c) and (e) of `study.choice_gate`"""
    rows: ByName[Accuracy | Difference] = {}
    """rows, and `"a-b"` as in `paired`"""
    practice: ByName[float] = {}
    """shares of the base's practice, as in `synthesis`"""


class Timing(Part):
    """All of it counts, also what was killed, up to its last ten seconds."""

    total_seconds: float | None = None
    """of all programs"""
    phases: ByName[float] = {}
    """seconds by phase, such as `train/mass`"""
    invocations: list[Invocation] = []
    """which program worked when, and how long"""


class Devices(Part):
    """Accelerators."""

    platform: str | None = None
    """as JAX names it"""
    kind: str | None = None
    """of a device"""
    count: int | None = None
    """over all processes"""
    processes: int = 1
    """of the run"""


class Processor(Part):
    """The host's."""

    model: str | None = None
    """as the system names it"""
    cores: int | None = None
    """that it has"""


class Environment(Part):
    """What the evaluation was made with."""

    commit: str | None = None
    """of the code; the package's version where there is no git"""
    uncommitted: bool | None = None
    """whether tracked files differ from it"""
    date: str | None = None
    """of the evaluation"""
    python: str | None = None
    """version"""
    packages: ByName[str | None] = {}
    """versions by name"""
    devices: Devices = Devices()
    """accelerators"""
    cpu: Processor = Processor()
    """of the first host"""


class TrainedArm(Part):
    """An entry of ``config.arms``."""

    overrides: dict[str, Any] = {}
    """the fields that it names, with the values that it was trained with"""


class Results(Part):
    """The whole file; every part may be missing."""

    methods: ByName[Accuracy] = {}
    """rows of the main table, a row for every arm of one's own too"""
    controls: ByName[Accuracy] = {}
    """rows that differ from a method in one thing"""
    paired: ByName[Difference] = {}
    """`"a-b"`: the difference over the same problems"""
    log_likelihood: ByName[float | None] = {}
    """mean log-probability of the reference's tokens; null of answers that are chosen among samples, or read off"""
    paired_log_likelihood: ByName[Difference] = {}
    """its differences, likewise, where there are any"""
    headline: str | None = None
    """the row that the report is about: `mass`, `mass_gold`, or the first arm of one's own that writes practice"""
    labels: ByName[str] = {}
    """what the tables call each row, in their order"""
    meanings: ByName[str] = {}
    """what each row is"""
    targets: Targets = Targets()
    """what the run is held to"""
    arms: ByName[TrainedArm] = {}
    """every trained arm"""
    checks: ByName[float | None | ByName[float | None]] = {}
    """of the headline: attributions against differences, by optimiser; the scorer; the share of the oracle's gain"""
    synthesis: Synthesis = Synthesis()
    """shares of the practice that are well formed, on family, right, and leaks"""
    generator: Generator = Generator()
    """what it learned, beside its controls"""
    decomposition: ByName[Decomposed] = {}
    """whose the gain is: the base, and every trained arm"""
    gate: ByName[Accuracy | Difference] = {}
    """the headroom on validation families: rows, and `"a-b"` as in `paired`"""
    choice: Choice = Choice()
    """what a domain with a choice has to show"""
    timing: Timing = Timing()
    """where the time went"""
    commit: str | None = None
    """of the evaluation, as in `environment`"""
    environment: Environment | None = None
    """what the evaluation was made with"""
    config: dict[str, Any] = {}
    """as it was resolved"""
    seed: int | None = None
    """the config's"""
    cost: ByName[float] = {}
    """seconds that each row's answers took"""


def parse(found: Mapping[str, Any]) -> tuple[Results, list[str]]:
    """The parts of a file that fit, and a sentence for each fault of the others, which are left out.

    Args:
      found: the content of the file; keys that are not declared are left out.
    """
    try:
        return Results.model_validate(dict(found)), []
    except ValidationError as error:
        wrong = {fault["loc"][0] for fault in error.errors()}
        fitting = {name: value for name, value in found.items() if name not in wrong}
        return Results.model_validate(fitting), _sentences(error)


def check(parts: Mapping[str, Any]) -> None:
    """Checks what is to be written; keys that are not declared are refused.

    Raises:
      ResultsError: it does not fit; names the keys.
    """
    faults = [f"{name} (no such key)" for name in sorted(parts.keys() - Results.model_fields.keys())]
    try:
        Results.model_validate(dict(parts))
    except ValidationError as error:
        faults += _sentences(error)
    if faults:
        raise ResultsError(
            f"results.json does not take {' and '.join(faults)}: its keys are declared in mass_jax/results.py."
        )


def _sentences(error: ValidationError) -> list[str]:
    """Key, value and fault; of the kinds that a value may have, the first is told."""
    kinds = {kind.__name__ for kind in (Accuracy, Difference)} | {"float"}
    found: dict[str, str] = {}
    for fault in error.errors():
        words = [str(word) for word in fault["loc"]]
        key = ".".join(word for i, word in enumerate(words) if not i or word not in kinds and "[" not in word)
        given = "" if fault["type"] == "missing" else f" = {str(fault['input'])[:40]!r}"
        found.setdefault(key, f"{key}{given} ({fault['msg'][0].lower()}{fault['msg'][1:]})")
    more = len(found) - SHOWN
    return [*list(found.values())[:SHOWN], *([f"{more} more"] if more > 0 else [])]


def finite(value: float | None) -> float | None:
    """A number, or None where it is none."""
    return None if value is None or not math.isfinite(value) else float(value)


def keys(
    part: type[Part] = Results, prefix: str = "", told: set[type[Part]] | None = None
) -> Iterator[tuple[str, str]]:
    """Every declared key, dotted, and its meaning; ``<name>`` stands for names. Of equal parts the first is told."""
    told = set() if told is None else told
    for name, field in part.model_fields.items():
        yield f"{prefix}{name}", field.description or ""
        for kind, named in _parts(field.annotation):
            if kind not in told:
                told.add(kind)
                yield from keys(kind, f"{prefix}{name}.{'<name>.' if named else ''}", told)


def _parts(kind: Any, named: bool = False) -> Iterator[tuple[type[Part], bool]]:
    """The parts that a type is made of, and whether they are known by name."""
    if isinstance(kind, type) and issubclass(kind, Part):
        yield kind, named
    for each in getattr(kind, "__args__", ()):
        yield from _parts(each, named or getattr(kind, "__origin__", None) is dict)


def markdown() -> str:
    """The keys as a table for the docs."""
    return "\n".join(["| key | what |", "|---|---|", *(f"| `{key}` | {meaning} |" for key, meaning in keys())])


if __name__ == "__main__":
    print(markdown())
