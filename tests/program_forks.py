"""Runs modules, each in a fork of this process: what they share, named on the command line, is imported once.

Reads lines of JSON, ``[module, words, working directory, folder for its input and output]``, and answers with its exit
status.
"""

import importlib
import json
import os
import runpy
import sys
import traceback


def run(module: str, words: list[str]) -> int:
    """What the interpreter does with ``-m``; its exit status."""
    sys.argv = [module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        return 1
    return 0


for shared in sys.argv[1:]:
    importlib.import_module(shared)
for line in sys.stdin:
    module, words, directory, folder = json.loads(line)
    if (child := os.fork()) == 0:
        os.chdir(directory)
        sys.stdin = open(f"{folder}/in", encoding="utf-8")  # noqa: SIM115 (the process ends)
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        status = run(module, words)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
