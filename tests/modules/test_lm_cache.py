"""One cache of answers for many processes: opened when it is first asked, shared on disk, in memory only where no disk is."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

from dspex_runtime.modules import lm_cache
from dspex_runtime.modules.lm_cache import LazyCache, configure

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


@pytest.fixture(autouse=True)
def dspys_own_cache_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(dspy, "cache", None, raising=False)
    yield
    disk = vars(dspy.cache).get("disk_cache") if dspy.cache is not None else None
    if disk:
        disk.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_it_costs_nothing_until_it_is_asked(tmp_path: Path) -> None:
    before = descriptors()
    configure({"dir": str(tmp_path / "c")})
    assert (descriptors(), list(tmp_path.iterdir())) == (before, [])
    assert dspy.cache.get(REQUEST) is None
    assert descriptors() > before


def test_what_one_puts_another_finds_on_disk(tmp_path: Path) -> None:
    configure({"dir": str(tmp_path)})
    first = dspy.cache
    first.put(REQUEST, "answer")
    configure({"dir": str(tmp_path), "memory": False})
    assert dspy.cache.get(REQUEST) == "answer"
    assert dspy.cache.enable_memory_cache is False
    first.disk_cache.close()


OPTIONS: dict[str, tuple[Any, tuple[bool, bool]]] = {
    "memory only": ({"disk": False}, (False, True)),
    "nothing, in a map": ({"disk": False, "memory": False}, (False, False)),
    "nothing": (False, (False, False)),
}


@pytest.mark.parametrize(("spec", "enabled"), OPTIONS.values(), ids=OPTIONS)
def test_either_half_can_be_switched_off(spec: Any, enabled: tuple[bool, bool]) -> None:
    configure(spec)
    assert (dspy.cache.enable_disk_cache, dspy.cache.enable_memory_cache) == enabled
    dspy.cache.put(REQUEST, "answer")
    assert dspy.cache.get(REQUEST) == ("answer" if any(enabled) else None)


def test_true_is_dspys_own() -> None:
    configure(True)
    assert dspy.cache is None  # as it was


def test_sizes_are_those_of_the_settings(tmp_path: Path) -> None:
    configure({"dir": str(tmp_path), "disk_size": 2**25, "memory_entries": 7})
    assert dspy.cache.memory_cache.maxsize == 7
    assert dspy.cache.disk_cache.size_limit * 16 == 2**25


def test_where_no_directory_can_be_made_answers_stay_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    configure({"dir": str(tmp_path / "file" / "c")})
    dspy.cache.put(REQUEST, "answer")
    assert dspy.cache.get(REQUEST) == "answer"
    assert "cannot be opened, answers are kept in memory only" in caplog.text


def test_threads_that_ask_at_once_open_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure({"dir": str(tmp_path)})
    opened = []
    real = LazyCache._open
    monkeypatch.setattr(LazyCache, "_open", lambda self: (opened.append(1), real(self)))
    threads = [threading.Thread(target=dspy.cache.get, args=(REQUEST,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [1]


def test_a_holder_of_the_lock_that_is_stuck_stops_nobody_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_cache, "LOCK_LIMIT_S", 0.05)
    with open(tmp_path / lm_cache.LOCK, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        configure({"dir": str(tmp_path)})
        dspy.cache.put(REQUEST, "answer")
        assert dspy.cache.get(REQUEST) == "answer"


MANY = """
import os, sys
import dspy
from dspex_runtime.modules.lm_cache import configure
children = []
for n in range(8):
    pid = os.fork()
    if not pid:
        configure({"dir": sys.argv[1]})
        dspy.cache.put({"n": n}, n)
        os._exit(0 if dspy.cache.enable_disk_cache and dspy.cache.get({"n": n}) == n else 1)
    children.append(pid)
assert all(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in children)
configure({"dir": sys.argv[1], "memory": False})
print([dspy.cache.get({"n": n}) for n in range(8)])
"""


@pytest.mark.process
def test_processes_that_make_it_at_the_same_moment_share_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path / "c")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == (f"{list(range(8))}\n", "")
