"""One of two processes, of which the second one is ended by a signal."""

import os
import signal
import sys
import time

from mass_jax.parallel import joining, preemption

address, number, process = sys.argv[1:]
preemption.leave_on_notice()
joining.join(address, 2, int(process), patience=600)
if process == "1":
    os.kill(os.getpid(), signal.Signals[number])
time.sleep(600)
