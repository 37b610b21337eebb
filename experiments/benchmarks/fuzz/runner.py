"""Processes that read mutated files, one case after another, and what becomes of each.

A kind of file is a module with three functions:

    seeds(folder) -> list[Path]          writes small valid inputs, each a file or a folder
    mutate(source, target, rng) -> bool  writes a mutation; whether reading it has to fail, if that is known
    load(path) -> None                   reads it as a user would, and looks at every weight

A case passes where `load` returns, or raises `PretrainedError` or `InputError`, within a second of CPU time and a GiB.
Any other exception, an end of the process, and an acceptance of what has to fail are failures. The mutation depends on
the seed and on the number of the case alone, whatever process makes it.
"""

import collections
import faulthandler
import importlib
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mass_jax.errors import InputError
from mass_jax.models.pretrained.errors import PretrainedError
from mass_jax.runtime.memory import peak_host_bytes

PATIENCE = 120.0
"""Seconds after which a process that uses no CPU is taken for one that waits for ever."""
ACCEPTED, REFUSED, FAILED = "accepted", "refused", "failed"


class Limits(NamedTuple):
    """The most CPU time, in seconds, and the most memory, in bytes, that one case may take."""

    seconds: float = 1.0
    bytes: int = 1 << 30


class Worker(NamedTuple):
    """A process, the pipe to it, and the folder that it writes to."""

    process: Any
    pipe: connection.Connection
    scratch: Path


def run(
    kinds: Mapping[str, str],
    seed: int,
    count: int,
    workdir: Path,
    workers: int,
    show: Callable[[int, int], None] = lambda done, failed: None,
    limits: Limits = Limits(),  # noqa: B008 (immutable)
) -> dict[str, int]:
    """Read ``count`` mutated files, in turn of every kind; failures go to ``workdir/failures``.

    Args:
      kinds: dotted names of the modules by the names of the kinds.
      seed: of all mutations.
      count: cases.
      workdir: is made; what an earlier run left of failures is removed.
      workers: processes.
      show: is told how many cases are done and how many of them failed.
      limits: of each case.

    Returns:
      How many files were accepted, refused, and failed.
    """
    for name in ("failures", "seeds", "scratch"):
        shutil.rmtree(workdir / name, ignore_errors=True)
    sources = {kind: [str(p) for p in _module(kinds, kind).seeds(_made(workdir / "seeds" / kind))] for kind in kinds}
    counts = {ACCEPTED: 0, REFUSED: 0, FAILED: 0}
    waiting = collections.deque(range(count))
    at_work: dict[connection.Connection, tuple[Worker, int | None, float]] = {}

    def hire(name: str) -> None:
        scratch = _made(workdir / "scratch" / name)
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(
            target=work, args=(theirs, kinds, seed, sources, scratch, limits), daemon=True
        )
        process.start()
        theirs.close()
        at_work[ours] = Worker(process, ours, scratch), None, time.monotonic()

    for i in range(min(workers, count)):
        hire(str(i))
    while at_work:
        for pipe in connection.wait(list(at_work), timeout=1.0):
            worker, number, _ = at_work.pop(pipe)  # type: ignore[call-overload]
            try:
                verdict, words, goes_on = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                verdict, words, goes_on = FAILED, _last_words(worker, limits), False
                if number is None:
                    raise RuntimeError(f"the unchanged files cannot be read:\n{words}") from None
            if number is not None:
                counts[verdict] += 1
                if verdict == FAILED:
                    _keep(worker.scratch, workdir / "failures" / f"{number:06}-{kind_of(kinds, number)}", words)
                show(sum(counts.values()), counts[FAILED])
            if goes_on and waiting:
                number = waiting.popleft()
                worker.pipe.send(number)
                at_work[worker.pipe] = worker, number, time.monotonic()
            elif goes_on:
                worker.pipe.send(None)
                worker.process.join()
            elif waiting:
                hire(worker.scratch.name)
        for worker, _, since in at_work.values():
            if time.monotonic() - since > PATIENCE:
                worker.process.kill()
    shutil.rmtree(workdir / "scratch", ignore_errors=True)
    return counts


def kind_of(kinds: Mapping[str, str], number: int) -> str:
    """The kind of a case."""
    return list(kinds)[number % len(kinds)]


def work(
    pipe: connection.Connection,
    kinds: Mapping[str, str],
    seed: int,
    sources: Mapping[str, Sequence[str]],
    scratch: Path,
    limits: Limits,
) -> None:
    """Load the seeds, then whatever cases the pipe names until it names None."""
    log = open(scratch / "stderr.txt", "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process lives)
    os.dup2(log.fileno(), 2)  # panics of Rust, and last words
    faulthandler.enable(log)
    faulthandler.register(signal.SIGPROF, file=log, all_threads=False, chain=True)
    for kind, paths in sources.items():
        for path in paths:
            _module(kinds, kind).load(Path(path))
    before = peak_host_bytes()
    pipe.send((ACCEPTED, "", True))
    while (number := pipe.recv()) is not None:
        kind, rng = kind_of(kinds, number), np.random.default_rng([seed, number])
        log.truncate(0)
        verdict, words = _read(
            _module(kinds, kind), Path(rng.choice(np.array(sources[kind]))), scratch / "case", rng, limits.seconds
        )
        grown = peak_host_bytes() - before
        if grown > limits.bytes:
            verdict, words = FAILED, f"{words}\nIt took {grown >> 20} MiB, more than {limits.bytes >> 20}."
        pipe.send((verdict, words, grown <= limits.bytes))
        if grown > limits.bytes:
            return


def _read(module: Any, source: Path, folder: Path, rng: np.random.Generator, seconds: float) -> tuple[str, str]:
    """The verdict on one case, and the traceback where it failed."""
    shutil.rmtree(folder, ignore_errors=True)
    target = _made(folder) / source.name
    try:
        must_fail = module.mutate(source, target, rng)
        # By the signal's default, which needs no turn of the interpreter: a loop in C ends too.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            module.load(target)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except (PretrainedError, InputError):
        return REFUSED, ""
    except BaseException:  # noqa: BLE001 (a panic of a Rust library is no Exception)
        return FAILED, traceback.format_exc()
    return (FAILED, "It was accepted, but has to be refused.") if must_fail else (ACCEPTED, "")


def _last_words(worker: Worker, limits: Limits) -> str:
    code = worker.process.exitcode
    if code == -signal.SIGPROF:
        words = f"It took more than {limits.seconds:g} s of CPU time."
    elif code == -signal.SIGKILL:
        words = f"It was killed: it waited for more than {PATIENCE:g} s, or there was no memory left."
    else:
        words = f"The process ended with the exit code {code}."
    return f"{words}\n{(worker.scratch / 'stderr.txt').read_text(encoding='utf-8', errors='replace')}"


def _keep(scratch: Path, folder: Path, words: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(scratch / "case", folder)
    (folder / "traceback.txt").write_text(words, encoding="utf-8")


def _module(kinds: Mapping[str, str], kind: str) -> Any:
    return importlib.import_module(kinds[kind])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
