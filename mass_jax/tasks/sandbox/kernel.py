"""Linux's own calls that build a jail's walls, by ctypes: no package has all of them. Each raises OSError if it fails.

All of them bind the calling process and what it starts, and none can be undone by it.
"""

import ctypes
import os
import platform
import struct

from mass_jax.tasks.sandbox import syscalls

# <sched.h>
NEW_MOUNTS, NEW_CGROUPS, NEW_NAMES, NEW_IPC, NEW_USERS, NEW_PIDS, NEW_NETWORK = (
    *(0x00020000, 0x02000000, 0x04000000, 0x08000000),
    *(0x10000000, 0x20000000, 0x40000000),
)
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # on every machine
# <linux/mount.h>
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC, _REMOUNT, _RECURSIVE, _PRIVATE = 1, 2, 4, 8, 32, 16384, 1 << 18
_DETACH = 2
# <linux/prctl.h>
_DEATH_SIGNAL, _DUMPABLE, _NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 1, 4, 38, 22, 2

NOBODY = 65534
"""User and group of a process that began as root."""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _done(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def give_up_root() -> None:
    """Where the process is root's, it becomes nobody's: what root owns is then not its own."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        _done(_libc().prctl(_DUMPABLE, 1, 0, 0, 0), "prctl")  # else /proc/self is root's, and with it the user map


def new_namespaces() -> None:
    """No network, no other's processes (for what it starts next), mounts, names and shared memory of its own."""
    user, group = os.getuid(), os.getgid()
    everything = NEW_USERS | NEW_MOUNTS | NEW_PIDS | NEW_NETWORK | NEW_IPC | NEW_NAMES | NEW_CGROUPS
    _done(_libc().unshare(everything), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def unshare(what: int) -> None:
    """Namespaces of its own: of `NEW_PIDS` and the others."""
    _done(_libc().unshare(what), "unshare")


def enter(namespace: int, kind: int) -> None:
    """Another namespace, of such a kind."""
    _done(_libc().setns(namespace, kind), "setns")


def mount_memory(path: str, size: int, files: int) -> None:
    """A file system in memory at ``path``, of ``size`` bytes and so many files."""
    options = f"size={size},nr_inodes={files},mode=755".encode()
    flags = _NO_SUID | _NO_DEVICES | _NO_EXEC
    _done(_libc().mount(b"tmpfs", os.fsencode(path), b"tmpfs", flags, options), f"mount {path}")


def empty_root(folder: str) -> None:
    """The whole file system becomes one empty ``folder``, which alone can be mounted on; nothing can be written."""
    libc, flags = _libc(), _NO_SUID | _NO_DEVICES | _NO_EXEC
    _done(libc.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None), "mount /")
    mount_memory("/tmp", 4096, 8)
    os.mkdir(f"/tmp{folder}")
    os.chdir("/tmp")
    if platform.machine() not in _PIVOT_ROOT:
        raise OSError(f"the number of pivot_root on the machine {platform.machine()!r} is not known")
    _done(libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    _done(libc.umount2(b".", _DETACH), "umount /")
    os.chdir("/")
    _done(libc.mount(None, b"/", None, _REMOUNT | _READ_ONLY | flags, None), "mount / read-only")


def die_with_parent() -> None:
    """The process is killed when the thread ends that started it."""
    _done(_libc().prctl(_DEATH_SIGNAL, 9, 0, 0, 0), "prctl")


def no_new_privileges() -> None:
    """No program that it runs has more rights than itself; the filters below ask for this."""
    _done(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")


def drop_capabilities() -> None:
    """All of them."""
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0), 8)
    _done(_libc().capset(header, ctypes.create_string_buffer(24)), "capset")


def only_folder(folder: str | None) -> None:
    """By Landlock: of all files, those below ``folder`` and no others; nor a signal, nor a socket of others.

    See https://docs.kernel.org/userspace-api/landlock.html.
    """
    libc = _libc()
    version = _done(libc.syscall(_LANDLOCK_CREATE, None, 0, 1), "landlock")
    # Every right that the kernel's version knows: 13 of the first, one more of the second, the third and the fifth.
    rights = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    network, scopes = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    size = 8 + 8 * (version >= 4) + 8 * (version >= 6)
    rules = struct.pack("QQQ", rights, network, scopes)[:size]
    ruleset = _done(libc.syscall(_LANDLOCK_CREATE, rules, size, 0), "landlock")
    if folder is not None:
        place = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        _done(libc.syscall(_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", rights, place), 0), "landlock")
        os.close(place)
    _done(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), "landlock")
    os.close(ruleset)


def only_listed_calls() -> None:
    """By seccomp: the system calls of `syscalls.py` and no others. The last wall: no other could be built after it."""
    code = ctypes.create_string_buffer(syscalls.filter_program())
    count = (len(code) - 1) // 8
    program = ctypes.create_string_buffer(struct.pack("HP", count, ctypes.addressof(code)))
    _done(_libc().prctl(_SECCOMP, _FILTER, program, 0, 0), "seccomp")
