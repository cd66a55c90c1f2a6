"""What the machine allows: resource limits raised, and every limit and kernel feature that modules need, really tried.

Owns nothing and starts no process: it is called in a runtime that has threads.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import resource
import signal
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.osproc.lifeline import F_SETSIG

__all__ = ["Finding", "probe", "raise_nofile", "set_nice"]

MODULES: Final = 1000  # as a matter of course, DESIGN §12
FDS_PER_MODULE: Final = 1  # in the runtime: its control socket
FDS_OWN: Final = 256  # clients, logs, stores
PROCESSES_OWN: Final = 64
BYTES_PER_MODULE: Final = 5 * 2**20  # private memory of an idle module with one predictor
PR_GET_CHILD_SUBREAPER: Final = 37
F_SETOWN_EX: Final = 15  # fcntl.h; not in Python's fcntl
F_OWNER_TID: Final = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One limit or feature: what there is, what is needed, and what to do if it is not enough (else an empty text)."""

    value: Any
    needed: Any
    ok: bool
    advice: str


def raise_nofile() -> tuple[int, int]:
    """Raise the soft limit of open files to the hard one; return (soft, hard) as they are then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # refused (some systems cap it lower): what we have must do
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def set_nice(nice: int) -> None:
    """Set this process's nice value.

    Raises:
        PermissionError: Lower than now needs CAP_SYS_NICE or RLIMIT_NICE.
    """
    os.setpriority(os.PRIO_PROCESS, 0, nice)


def probe() -> dict[str, dict[str, Any]]:
    """Return every limit and feature as {"value", "needed", "ok", "advice"}, for `doctor`. Nothing stays changed."""
    checks: dict[str, Callable[[], Finding]] = {
        "linux": _linux,
        "processes": _processes,
        "open_files": _open_files,
        "pid_max": _pid_max,
        "threads_max": _threads_max,
        "memory": _memory,
        "cpus": _cpus,
        "memfd": _memfd,
        "pidfd": _pidfd,
        "lifeline": _lifeline,
        "subreaper": _subreaper,
        "proc_children": _proc_children,
        "dev_shm": _dev_shm,
    }
    found = {}
    for name, check in checks.items():
        try:
            finding = check()
        except (OSError, ValueError, AttributeError) as exc:
            finding = Finding(f"{type(exc).__name__}: {exc}", "works", False, "the kernel or the sandbox forbids it; see value")
        found[name] = {"value": finding.value, "needed": finding.needed, "ok": finding.ok, "advice": finding.advice}
    return found


def _at_least(value: float, needed: float, advice: str) -> Finding:
    ok = value >= needed
    return Finding(value, needed, ok, "" if ok else advice)


def _works(ok: bool, advice: str) -> Finding:
    return Finding("works" if ok else "does not work", "works", ok, "" if ok else advice)


def _linux() -> Finding:
    major, minor = (int("".join(filter(str.isdigit, part)) or 0) for part in platform.release().split(".")[:2])
    ok = (major, minor) >= (5, 4)
    advice = "needs Linux 5.4 or later: pidfd and waitid by pid are used everywhere"
    return Finding(platform.release(), "5.4", ok, "" if ok else advice)


def _processes() -> Finding:
    """Processes that this user may still start: the least of user limit, pid numbers, threads and cgroup."""
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    running = sum(name.isdigit() for name in os.listdir("/proc"))
    limits = {"kernel.pid_max": _number("/proc/sys/kernel/pid_max"), "kernel.threads-max": _number("/proc/sys/kernel/threads-max")}
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:  # root is not held to it
        limits["ulimit -u"] = soft
    if (cgroup := _cgroup_pids_max()) is not None:
        limits["pids.max of the cgroup"] = cgroup
    tightest = min(limits, key=limits.__getitem__)
    return _at_least(
        limits[tightest] - running,
        MODULES + PROCESSES_OWN,
        f"{MODULES} modules need as many processes: raise {tightest} (now {limits[tightest]}; {running} processes are running)",
    )


def _open_files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # the runtime raises its soft limit to this
    needed = MODULES * FDS_PER_MODULE + FDS_OWN
    return _at_least(hard, needed, f"raise the hard limit (`ulimit -Hn {needed}`, LimitNOFILE= in a systemd unit)")


def _pid_max() -> Finding:
    value = _number("/proc/sys/kernel/pid_max")
    return _at_least(value, 4096, "`sysctl -w kernel.pid_max=4194304`: pids are reused too soon, and modules run out of them")


def _threads_max() -> Finding:
    value = _number("/proc/sys/kernel/threads-max")
    return _at_least(value, 3 * MODULES, "`sysctl -w kernel.threads-max=200000`: a module has a control and a call thread")


def _memory() -> Finding:
    available = _meminfo()["MemAvailable"]
    group = _cgroup_memory_free()
    value = available if group is None else min(available, group)
    needed = MODULES * BYTES_PER_MODULE
    return _at_least(value, needed, f"{MODULES} idle modules take about {needed // 2**20} MiB; run fewer, or give more memory")


def _cpus() -> Finding:
    return _at_least(len(os.sched_getaffinity(0)), 1, "")


def _memfd() -> Finding:
    fd = os.memfd_create("dspex-probe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, 4096)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        # Own description through /proc, as modules open it.
        os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC))
    finally:
        os.close(fd)
    return _works(True, "")


def _pidfd() -> Finding:
    fd = os.pidfd_open(os.getpid())
    try:
        signal.pidfd_send_signal(fd, 0)
    finally:
        os.close(fd)
    return _works(True, "")


def _lifeline() -> Finding:
    """Do what a module does, with SIGURG to this thread in the place of SIGKILL, cut the pipe, and take the signal."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    own_fd = -1
    # A blocked signal is kept even where its default is to be ignored; another thread never sees it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    try:
        own_fd = os.open(f"/proc/self/fd/{read_fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(own_fd, F_SETSIG, signal.SIGURG)
        fcntl.fcntl(own_fd, F_SETOWN_EX, struct.pack("ii", F_OWNER_TID, threading.get_native_id()))
        fcntl.fcntl(own_fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        os.close(write_fd)
        write_fd = -1
        heard = signal.sigtimedwait({signal.SIGURG}, 0.2) is not None
    finally:
        for fd in (own_fd, read_fd, write_fd):
            if fd >= 0:
                os.close(fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return _works(heard, "signal-driven I/O on pipes is missing: modules would outlive a killed runtime")


def _subreaper() -> Finding:
    value = ctypes.c_int(-1)
    ok = ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) == 0 and value.value in (0, 1)
    return _works(ok, "prctl(PR_SET_CHILD_SUBREAPER) is missing: exit statuses are lost when the zygote dies")


def _proc_children() -> Finding:
    ok = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
    return _works(ok, "the kernel lacks CONFIG_PROC_CHILDREN, or /proc is hidden: escaped grandchildren are not found")


def _dev_shm() -> Finding:
    """Report only: nothing of ours is there (tables are memfds), but numpy and torch workers of user code use it."""
    try:
        facts = os.statvfs("/dev/shm")  # noqa: S108 - looked at, not written
    except OSError:
        return Finding(0, 0, True, "")
    return Finding(facts.f_bavail * facts.f_frsize, 0, True, "")


def _number(path: str) -> int:
    with open(path) as file:
        return int(file.read())


def _meminfo() -> dict[str, int]:
    with open("/proc/meminfo") as file:
        return {key: int(rest.split()[0]) * 1024 for key, rest in (line.split(":") for line in file)}


def _cgroup_dirs() -> list[str]:
    """Return this process's cgroup v2 folder and its parents, up to the root; empty without v2."""
    with open("/proc/self/cgroup") as file:
        path = next((line.strip()[3:] for line in file if line.startswith("0::")), "")
    folder = "/sys/fs/cgroup" + path.rstrip("/")
    folders = []
    while path and len(folder) >= len("/sys/fs/cgroup"):
        folders.append(folder)
        folder = folder.rpartition("/")[0]
    return folders


def _cgroup_numbers(name: str) -> list[int]:
    values = []
    for folder in _cgroup_dirs():
        try:
            values.append(_number(f"{folder}/{name}"))
        except (OSError, ValueError):
            continue  # no such controller here, or "max"
    return values


def _cgroup_pids_max() -> int | None:
    return min(_cgroup_numbers("pids.max"), default=None)


def _cgroup_memory_free() -> int | None:
    limits, used = _cgroup_numbers("memory.max"), _cgroup_numbers("memory.current")
    return max(0, min(limits) - used[0]) if limits and used else None
