"""Runs a module as ``python -m`` does; garbage is looked for as seldom as in the tests' own process."""

import runpy
import sys

from tests import garbage

garbage.seldom()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
