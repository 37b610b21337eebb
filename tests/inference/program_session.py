"""Answers a file in a session, and is killed while it writes the state after the third problem.

Takes the session's folder, the problems and the answers.
"""

import os
import signal
import sys
from typing import Any

from mass_jax.inference import command_line
from mass_jax.inference.adapter import MassAdapter
from mass_jax.inference.sessions import state
from tests.inference.conftest import RUN

folder, given, out = sys.argv[1:]
adapter = MassAdapter.load(RUN, batch=2)  # as the tests' own: other batches may round otherwise
MassAdapter.load = lambda *_, **__: adapter  # type: ignore[method-assign]
written, replace = [0], os.replace


def replaced(source: Any, target: Any) -> None:
    written[0] += os.path.basename(target) == state.FILE
    if written[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)


os.replace = replaced
words = ["--carry=0.5", "--replay=6", f"--session={folder}", f"--file={given}", f"--out={out}"]
command_line.run(["--quiet", f"--model={RUN}", *words])
