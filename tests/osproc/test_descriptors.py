"""Closing all descriptors but some. In a child process: it closes whatever is open."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from dspex_runtime.osproc.descriptors import same_file


@pytest.mark.process
@pytest.mark.parametrize("keep", [[], [3], [5, 9], [4, 5, 6, 30], [0, 1, 2], [7, 7]], ids=str)
def test_only_stdio_and_what_is_kept_stays_open(keep: list[int]) -> None:
    source = f"""
import json, os
from dspex_runtime.osproc.descriptors import close_all_but
for fd in range(3, 40): os.dup2(0, fd)
close_all_but({keep}, limit=1000)
def is_open(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
print(json.dumps([fd for fd in range(100) if is_open(fd)]))
"""
    out = subprocess.run(
        [sys.executable, "-c", source], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(out) == sorted({0, 1, 2, *keep})


def test_same_file_finds_duplicates_and_nothing_else() -> None:
    fds = [os.memfd_create("a"), os.memfd_create("b")]
    fds.append(os.dup(fds[0]))
    try:
        assert sorted(same_file(fds[0])) == sorted([fds[0], fds[2]])
    finally:
        for fd in fds:
            os.close(fd)
