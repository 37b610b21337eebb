"""How much memory this process has had; nothing here imports more than the standard library."""

import resource
import sys
from pathlib import Path


def peak_host_bytes() -> int:
    """The most memory that this process has held so far, in bytes.

    From the kernel's own file where there is one: what `getrusage` says begins with the peak of the process that
    started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
