"""Joins a run whose other processes are not there."""

import json
import sys

from mass_jax.parallel.joining import join

join(*json.loads(sys.argv[1]), patience=3)
print("runs alone")
