"""Holds a lock until its input ends; without the package, whose libraries take seconds: the lock is the system's."""

import fcntl
import sys

file = open(sys.argv[1], "a+")  # noqa: SIM115 - held until the process ends
fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0)
file.write("process 7 on elsewhere, since yesterday")
file.flush()
print("held", flush=True)
sys.stdin.read()
