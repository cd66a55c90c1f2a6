"""Sources run in a process that has no children yet, for code that waits for any child."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PRELUDE = """
import json, os, signal
from dspex_runtime.osproc.reaper import Reaper, exited, first_exited
from dspex_runtime.osproc.subreaper import reap_exited, reap_strays, set_subreaper

def fork(code):
    pid = os.fork()
    if pid == 0:
        if code is None:
            while True:
                signal.pause()
        os._exit(code)
    return pid

def dead(pid):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

def end(*pids):
    for pid in pids:
        os.kill(pid, 9)
        dead(pid)

def say(value):
    print(json.dumps(value))
"""


def run_fresh(source: str) -> list[Any]:
    """Return what `source` says, in a process without other children."""
    done = subprocess.run([sys.executable, "-c", PRELUDE + source], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
