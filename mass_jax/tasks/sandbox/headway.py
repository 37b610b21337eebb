"""Whether a process gets on: who is kept waiting for a processor is not taken for one that hangs.

The clock alone cannot tell them apart; the kernel can. Where it does not say (other systems than Linux), no process is
seen to move, and the clock decides.
"""

import contextlib
import time
from pathlib import Path


def used(pid: int) -> float:
    """Seconds of processor time of a process so far, of all its threads; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) makes it
    return 0.0


def ready(pid: int) -> bool:
    """Whether a thread of a process, or of one that it has started, is at work or in line for a processor."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if (thread / "stat").read_text().rpartition(")")[2].split()[0] == "R":
                    return True
                if any(ready(int(child)) for child in (thread / "children").read_text().split()):
                    return True
    return False


class Watch:
    """Looks at a process now and then, each time that somebody has waited for it long enough."""

    def __init__(self, pid: int) -> None:
        self._pid, self._used = pid, used(pid)

    def moved(self) -> bool:
        """Whether it has used a processor since the last look, or is about to: then it is worth waiting on."""
        before, self._used = self._used, used(self._pid)
        return self._used > before or ready(self._pid)
