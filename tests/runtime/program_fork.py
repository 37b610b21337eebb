"""Takes a lock, and leaves a child behind that lives on."""

import os
import sys
from pathlib import Path

from mass_jax.runtime import locks

locks.keep(Path(sys.argv[1]))
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()
    os._exit(0)
print("forked", flush=True)
os._exit(0)
