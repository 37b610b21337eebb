"""Works, or hangs, until it is given notice."""

import ctypes
import sys
import threading
import time

from mass_jax.parallel import preemption

preemption.PATIENCE = {number: 0.1 for number in preemption.PATIENCE}
preemption.leave_on_notice()
if sys.argv[1] == "hangs":
    # A mutex that this thread has already: a wait in which no handler of Python's is called.
    mutex, lock = ctypes.create_string_buffer(128), ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    threading.Timer(0.5, print, ["ready"], {"flush": True}).start()
    lock(mutex)
try:
    print("ready", flush=True)
    time.sleep(600)
finally:
    print("tidied up", flush=True)
