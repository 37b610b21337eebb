"""Runs mains, each in a fork: what they import is imported once.

Prints the status and the output of each.
"""

import importlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path

for module in ("experiments.benchmarks.problems", "mass_jax.reporting.estimators", "mass_jax.study.evaluate"):
    importlib.import_module(module)
found = []
for i, (name, *words) in enumerate(json.loads(sys.argv[1])):
    path = f"{sys.argv[2]}/{i}"
    if (child := os.fork()) == 0:
        with open(path, "w") as file:
            os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
        sys.argv = [name, *words]
        status = 1
        try:
            runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)
    found.append((os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), Path(path).read_text()))
print(json.dumps(found))
