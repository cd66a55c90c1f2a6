"""Limits as `doctor` shows them: each with value, need, verdict and what to do."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest

from dspex_runtime.osproc import limits
from dspex_runtime.osproc.limits import probe, raise_nofile

NAMES = {"linux", "processes", "open_files", "pid_max", "threads_max", "memory", "cpus", "memfd", "pidfd", "lifeline", "subreaper"}


def test_every_finding_has_value_need_verdict_and_advice_only_where_it_is_wanted() -> None:
    found = probe()
    assert set(found) >= NAMES
    for name, finding in found.items():
        assert set(finding) == {"value", "needed", "ok", "advice"}, name
        assert bool(finding["advice"]) == (not finding["ok"]), name


def test_this_kernel_has_what_modules_need() -> None:
    found = probe()
    assert {name: found[name]["value"] for name in ("memfd", "pidfd", "lifeline", "subreaper")} == dict.fromkeys(
        ("memfd", "pidfd", "lifeline", "subreaper"), "works"
    )


def test_probing_changes_nothing() -> None:
    before = (set(os.listdir("/proc/self/fd")), signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGURG))
    probe()
    assert (
        set(os.listdir("/proc/self/fd")),
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        signal.getsignal(signal.SIGURG),
    ) == before


@pytest.mark.parametrize(
    ("name", "patched", "result", "word"),
    [
        ("pid_max", "_number", lambda path: 300, "kernel.pid_max"),
        ("processes", "_number", lambda path: 300, "300"),
        ("threads_max", "_number", lambda path: 300, "kernel.threads-max"),
        ("processes", "_cgroup_pids_max", lambda: 100, "pids.max of the cgroup"),
        ("memory", "_meminfo", lambda: {"MemAvailable": 2**20}, "memory"),
        ("memory", "_cgroup_memory_free", lambda: 2**20, "memory"),
    ],
)
def test_too_little_is_said_with_what_to_raise(
    monkeypatch: pytest.MonkeyPatch, name: str, patched: str, result: object, word: str
) -> None:
    monkeypatch.setattr(limits, patched, result)
    finding = probe()[name]
    assert not finding["ok"]
    assert word in finding["advice"]


def test_what_cannot_be_tried_is_a_finding_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", forbidden)
    finding = probe()["memfd"]
    assert (finding["ok"], "PermissionError" in finding["value"]) == (False, True)
    assert finding["advice"]


def test_open_files_are_raised_to_the_hard_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        assert raise_nofile() == (hard, hard)
        assert raise_nofile() == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.process
def test_nice_is_set() -> None:
    source = "import os; from dspex_runtime.osproc.limits import set_nice; set_nice(7); print(os.getpriority(os.PRIO_PROCESS, 0))"
    assert subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout == "7\n"
