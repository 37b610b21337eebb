# ruff: noqa: E501 (a program a line, where it can be)
"""Programs that try to leave their jail or to pass without being right: what each does, and what becomes of it.

Each defines `f`, which is right where it returns "done"; `{secret}` and `{pid}` are a file and a process outside.
"""

C = "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
DENIED = r"PermissionError|Operation not permitted"
NO_FILE = r"PermissionError|FileNotFoundError|Permission denied|Read-only file system"
VALUE = "AssertionError$"
"""It ran to its end, and returned something else."""


def refused(call: str) -> str:
    """A call of C's that fails with "operation not permitted"."""
    return f"{C}def f(): return 'done' if libc.{call} != -1 else ctypes.get_errno()"


ATTACKS = {
    "fork bomb": ("import os\ndef f():\n while True: os.fork()", DENIED),
    "fork in C": (refused("fork()"), VALUE),
    "another program": ("import subprocess\ndef f(): return subprocess.run(['/bin/true']) and 'done'", DENIED),
    "exec": ("import os\ndef f(): os.execv('/bin/true', ['true'])", DENIED),
    "a child that outlives its parent": ("import os\ndef f():\n if not os.fork(): os.setsid()\n return 'done'", DENIED),
    "many threads": (
        "import threading, time\ndef f():\n for _ in range(500): threading.Thread(target=time.sleep, args=(9,)).start()\n"
        " return 'done'",
        "can't start new thread",
    ),
    "64 GB": ("def f(): return bytearray(64 << 30) and 'done'", "MemoryError"),
    "64 GB in C": (
        f"{C}libc.malloc.restype = ctypes.c_void_p\ndef f(): return libc.malloc(ctypes.c_size_t(64 << 30)) and 'done'",
        VALUE,
    ),
    "shared memory": (refused("shmget(0, 1 << 30, 0o1600)"), VALUE),
    "memory as a file": (refused("memfd_create(b'x', 0)"), VALUE),
    "the environment": ("import os\ndef f(): return 'done' if os.environ else 0", VALUE),
    "the parent's environment": ("def f(): return open('/proc/{pid}/environ').read() and 'done'", NO_FILE),
    "its own /proc": ("def f(): return open('/proc/self/maps').read() and 'done'", NO_FILE),
    "the parent's files": ("def f(): return open('{secret}').read() and 'done'", NO_FILE),
    "passwords": ("def f(): return open('/etc/passwd').read() and 'done'", NO_FILE),
    "what lies around": (
        "import os\ndef f(): return 'done' if {*os.listdir('/')} - {'work'} or os.listdir('.') else 0",
        f"{NO_FILE}|{VALUE}",
    ),
    "writing outside": ("def f(): return open('/tmp/outside', 'w').write('done') and 'done'", NO_FILE),
    "writing at the root": ("def f(): return open('/outside', 'w').write('done') and 'done'", NO_FILE),
    "over the file beside": ("def f(): return open('{secret}', 'a').write('done') and 'done'", NO_FILE),
    "a large file": (
        "def f():\n with open('x', 'w') as file:\n  for _ in range(100): file.write('x' * (1 << 20))\n return 'done'",
        "File too large|No space left|SIGXFSZ|PermissionError",
    ),
    "many files": (
        "def f():\n for i in range(9999): open(str(i), 'w').close()\n return 'done'",
        "No space left|PermissionError",
    ),
    "descriptors": (
        "import os\nkept = []\ndef f():\n for i in range(9999): kept.append(os.dup(1))\n return 'done'",
        "Too many",
    ),
    "a signal to the parent": (
        "import os, signal\ndef f(): return os.kill(os.getppid(), signal.SIGKILL) or 'done'",
        DENIED,
    ),
    "a signal to the test": ("import os\ndef f(): return os.kill({pid}, 0) or 'done'", DENIED),
    "a signal to all": ("import os\ndef f(): return os.kill(-1, 0) or 'done'", DENIED),
    "a signal by a file": ("import fcntl, os\ndef f(): return fcntl.fcntl(1, fcntl.F_SETOWN, {pid}) or 'done'", DENIED),
    "ptrace": (refused("ptrace(16, {pid}, 0, 0)"), VALUE),
    "another's memory": (refused("process_vm_readv({pid}, None, 0, None, 0, 0)"), VALUE),
    "a socket": ("import socket\ndef f(): return socket.create_connection(('192.0.2.1', 80)) and 'done'", DENIED),
    "loopback": ("import socket\ndef f(): return socket.create_server(('127.0.0.1', 0)) and 'done'", DENIED),
    "a socket of the machine's": ("import socket\ndef f(): return socket.socket(socket.AF_UNIX) and 'done'", DENIED),
    "more rights": (refused("unshare(0x10000000)"), VALUE),
    "a mount": (refused("mount(b'none', b'/work', b'proc', 0, 0)"), VALUE),
    "higher limits": (
        "import resource\ndef f(): return resource.setrlimit(resource.RLIMIT_AS, (-1, -1)) or 'done'",
        "ValueError|PermissionError|ImportError|ModuleNotFoundError",
    ),
    "a crash": (f"{C}def f(): return ctypes.string_at(0)", "ended by SIGSEGV"),
    "deep recursion": ("def f(): return f()", "RecursionError"),
    "printing for ever": ("def f():\n while True: print('x' * 9999)", "printed more than 65536 bytes"),
    "an exit": ("import os\nos._exit(0)", "the other side has ended"),
    "an exit in the call": ("import os\ndef f(): os._exit(0)", "the other side has ended"),
    "SystemExit": ("import sys\nsys.exit(0)", "SystemExit"),
    "a value that equals all": (
        "class Equal:\n def __eq__(self, other): return True\n def __hash__(self): return 0\ndef f(): return Equal()",
        VALUE,
    ),
    "text that equals all": (
        "class Equal(str):\n def __eq__(self, other): return True\n __hash__ = str.__hash__\ndef f(): return Equal('x')",
        VALUE,
    ),
    "patched modules": (
        "import builtins, sys\nbuiltins.AssertionError = Exception\nbuiltins.compile = builtins.exec = lambda *a: None\n"
        "sys.modules['builtins'] = sys.modules['__main__']\ndef f(): return 0",
        VALUE,
    ),
    "overwritten tests": (
        "import gc, types\ndef f():\n for each in gc.get_objects():\n"
        "  if isinstance(each, types.FunctionType) and each.__name__ == 'tests': each.__code__ = (lambda *a: 0).__code__\n"
        " return 0",
        VALUE,
    ),
    "the expected value, from memory": (
        "import gc\ndef f():\n for each in gc.get_objects():\n"
        "  if isinstance(each, dict) and 'tests' in each and 'asked' in each: return 'done'\n return 0",
        VALUE,
    ),
    "a verdict of its own": (
        'import os\nos.write(3, b\'{{"passed": 1, "reason": ""}}\\n\')\nos.write(4, b\'{{"passed": 1}}\\n\')\ndef f(): return 0',
        "is no answer",
    ),
    "garbage": ("import os\nos.write(4, b'\\xff' * 99 + b'\\n')\ndef f(): return 0", "is not JSON"),
    "a value that lies": (
        'import os\nos.write(4, b\'{{"value": {{"tuple": 3}}}}\\n\' * 9)\ndef f(): return 0',
        "no value",
    ),
}


def written(name: str, secret: str, pid: int) -> str:
    """The program."""
    return ATTACKS[name][0].replace("{secret}", secret).replace("{pid}", str(pid)).replace("{{", "{").replace("}}", "}")
