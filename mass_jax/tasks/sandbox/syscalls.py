"""What code in a jail may ask of the kernel: a list of system calls, as a seccomp filter.

All that is not on the list fails with "operation not permitted": sockets, other programs, other processes (to start,
signal or trace one), mounts, shared memory, devices. Threads may be started. Numbers are those of Linux's own tables;
`tests/tasks/sandbox` holds them against the headers.

See https://docs.kernel.org/userspace-api/seccomp_filter.html.
"""

import errno
import platform
import struct
from typing import NamedTuple

NUMBERS = {
    "x86_64": """read 0 write 1 open 2 close 3 stat 4 fstat 5 lstat 6 poll 7 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12
        rt_sigaction 13 rt_sigprocmask 14 rt_sigreturn 15 ioctl 16 pread64 17 pwrite64 18 readv 19 writev 20 access 21
        pipe 22 select 23 sched_yield 24 mremap 25 msync 26 madvise 28 dup 32 dup2 33 nanosleep 35 getpid 39 clone 56
        exit 60 uname 63 fcntl 72 fsync 74 fdatasync 75 truncate 76 ftruncate 77 getcwd 79 chdir 80 rename 82 mkdir 83
        rmdir 84 creat 85 unlink 87 readlink 89 umask 95 gettimeofday 96 getrlimit 97 getrusage 98 sysinfo 99 times 100
        getuid 102 getgid 104 geteuid 107 getegid 108 getppid 110 getpgrp 111 sigaltstack 131 statfs 137 fstatfs 138
        gettid 186 time 201 futex 202 sched_getaffinity 204 getdents64 217 set_tid_address 218 restart_syscall 219
        clock_gettime 228 clock_getres 229 clock_nanosleep 230 exit_group 231 openat 257 mkdirat 258 newfstatat 262
        unlinkat 263 renameat 264 readlinkat 267 faccessat 269 pselect6 270 ppoll 271 set_robust_list 273 dup3 292
        pipe2 293 prlimit64 302 renameat2 316 getrandom 318 statx 332 rseq 334 clone3 435 close_range 436 openat2 437
        faccessat2 439""",
    "aarch64": """getcwd 17 dup 23 dup3 24 fcntl 25 ioctl 29 mkdirat 34 unlinkat 35 renameat 38 statfs 43 fstatfs 44
        truncate 45 ftruncate 46 faccessat 48 chdir 49 openat 56 close 57 pipe2 59 getdents64 61 lseek 62 read 63
        write 64 readv 65 writev 66 pread64 67 pwrite64 68 pselect6 72 ppoll 73 readlinkat 78 newfstatat 79 fstat 80
        fsync 82 fdatasync 83 exit 93 exit_group 94 set_tid_address 96 futex 98 set_robust_list 99 nanosleep 101
        clock_gettime 113 clock_getres 114 clock_nanosleep 115 sched_getaffinity 123 sched_yield 124
        restart_syscall 128 sigaltstack 132 rt_sigaction 134 rt_sigprocmask 135 rt_sigreturn 139 times 153 uname 160
        getrlimit 163 getrusage 165 umask 166 gettimeofday 169 getpid 172 getppid 173 getuid 174 geteuid 175 getgid 176
        getegid 177 gettid 178 sysinfo 179 brk 214 munmap 215 mremap 216 clone 220 mmap 222 mprotect 226 msync 227
        madvise 233 prlimit64 261 renameat2 276 getrandom 278 statx 291 rseq 293 clone3 435 close_range 436 openat2 437
        faccessat2 439""",
}
"""By machine: names and numbers of the calls that are allowed."""
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH of <linux/audit.h>."""

_MISSING = ("clone3", "openat2", "faccessat2")
"""The C library falls back to the older call where these do not exist; their arguments are out of a filter's sight."""
_THREAD = 0x10000
"""CLONE_THREAD: not set where another process is to be started."""


class _Only(NamedTuple):
    """Arguments with which a call is allowed: the ``argument``-th has one of these values."""

    argument: int
    values: tuple[int, ...]


_ONLY = {
    # To duplicate, to read and set flags; not to choose who is signalled when a file is ready.
    "fcntl": _Only(1, (0, 1, 2, 3, 4, 1030)),
    # Is it a terminal, how wide, how much is there to read, close at exec, do not block.
    "ioctl": _Only(1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),
    "prlimit64": _Only(0, (0,)),  # its own limits, none of which can be raised
}

# Classic BPF: the operations that a filter needs, from <linux/bpf_common.h>.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Places in ``struct seccomp_data``."""


def allowed(machine: str) -> dict[str, int]:
    """The calls of a machine's list, by name.

    Raises:
      OSError: there is no list for it.
    """
    if machine not in NUMBERS:
        raise OSError(
            errno.ENOSYS, f"no list of system calls for the machine {machine!r}, only for {', '.join(NUMBERS)}"
        )
    words = NUMBERS[machine].split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def filter_program(machine: str = platform.machine()) -> bytes:
    """The filter, an array of ``struct sock_filter``.

    Raises:
      OSError: there is no list for the machine.
    """
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, ARCHITECTURES.get(machine, 0), 1, 0),
        _step(_RETURN, _KILL),  # the calls of another architecture have other numbers
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, 0x40000000, 0, 1),
        _step(_RETURN, _KILL),  # so have those of x32
    ]
    for name, number in allowed(machine).items():
        body = _body(name)
        code += [_step(_EQUAL, number, 0, len(body)), *body]
    return b"".join([*code, _step(_RETURN, _FAIL | errno.EPERM)])


def _body(name: str) -> list[bytes]:
    """What becomes of one call; it always returns."""
    yes, no = _step(_RETURN, _ALLOW), _step(_RETURN, _FAIL | errno.EPERM)
    if name in _MISSING:
        return [_step(_RETURN, _FAIL | errno.ENOSYS)]
    if name == "clone":
        return [_step(_LOAD, _ARGUMENTS), _step(_ANY_BIT, _THREAD, 1, 0), no, yes]
    if only := _ONLY.get(name):
        steps = [_step(_LOAD, _ARGUMENTS + 8 * only.argument)]
        for i, value in enumerate(only.values):
            steps.append(_step(_EQUAL, value, len(only.values) - i, 0))
        return [*steps, no, yes]
    return [yes]


def _step(operation: int, value: int, true: int = 0, false: int = 0) -> bytes:
    """One instruction; a comparison skips so many of the next."""
    return struct.pack("=HBBI", operation, true, false, value)
