from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dspex_cli.demo.leftovers import family, left_over, processes


def test_this_process_is_seen() -> None:
    seen = processes()[os.getpid()]
    assert (seen.parent, seen.session) == (os.getppid(), os.getsid(0))


@pytest.mark.process
def test_a_family_is_found_and_its_leftovers_named() -> None:
    child = "subprocess.Popen([sys.executable, '-c', 'input()'], stdin=0)"
    code = f"import subprocess, sys; p = {child}; print('up', flush=True); p.wait()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdout.readline()
        members = family(parent.pid)
        assert members[0].pid == parent.pid
        assert len(members) == 2
        assert {seen.pid for seen in left_over(members, limit_s=0.0)} == {seen.pid for seen in members}
        parent.stdin.write(b"\n")
        parent.stdin.close()
        parent.wait(30)
    assert left_over(members) == []


def test_no_process_has_no_family() -> None:
    assert family(2**22 + 7) == []
