"""A stand-in for a program of a suite: it does what the argument of its config says."""

import os
import signal
import sys
import time
from pathlib import Path


def main(words: list[str]) -> int:
    given = dict(word.lstrip("-").split("=", 1) for word in words)
    kind, folder = given["config"].partition(":")[2], Path(given["workdir"])
    with (folder / "calls").open("a") as calls:
        calls.write(f"{given.get('config.seed', '')}\n")
    print(f"{kind} at work", flush=True)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "slow":
        if (folder / "saved").exists():
            return 0
        signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
        (folder / "began").touch()
        try:
            time.sleep(60)
        finally:
            (folder / "saved").touch()
    return 3 if kind == "fails" and not (folder / "mended").exists() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
