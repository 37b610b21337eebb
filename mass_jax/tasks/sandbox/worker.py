"""One worker process of a pool: it runs a program's `judge` under limits of processor time and memory.

Run as a script, ``python -P worker.py program.py``, outside the package: it starts in the time that the program's own
imports take. The first line written is ``true``: the program is loaded and `prepare` has returned. Each line of
standard input is the JSON of ``[*arguments, seconds]`` and each line written the JSON of what `judge` returned. It ends
when its input does. A call that takes more than its seconds of processor time ends the process, by SIGPROF, and so does
a start that takes more than `START`; an error of the program, which must catch what it expects, ends it too.
"""

import contextlib
import json
import logging
import os
import pathlib
import resource
import runpy
import signal
import sys

MEMORY = 4 << 30
"""Bytes of address space; a call that needs more meets a MemoryError."""


START = 120.0
"""Seconds of processor time in which the program must be loaded and prepared."""


def main(program: str) -> None:
    """Serve until standard input ends."""
    signal.setitimer(signal.ITIMER_PROF, START)
    # The pipe to the parent is kept aside: nothing that a library prints may end up in it.
    results = os.dup(1)
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit and refuses to set it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard < 0 else min(MEMORY, hard), hard))
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[3]))  # where this package lies, for a program of it
    names = runpy.run_path(program)
    names["prepare"]()
    signal.setitimer(signal.ITIMER_PROF, 0)
    os.write(results, b"true\n")
    for line in sys.stdin:
        *arguments, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        result = names["judge"](*arguments)
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.write(results, json.dumps(result).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
