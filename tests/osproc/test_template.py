"""What a process may have in it that others are forked from. How it forks: tests/osproc/test_zygote.py."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.process

CHECK = """
import json, os, socket, subprocess, sys, threading, time
from dspex_runtime.osproc import template
from dspex_runtime.osproc.preload import PreloadError

before = template.open_fds()
{source}
try:
    said = len(template.check("building it", before))
except PreloadError as exc:
    said = exc.message
print(json.dumps(said))
os._exit(0)
"""


def checked(source: str) -> Any:
    """Return how many descriptors may stay open after `source`, or why it was refused."""
    done = subprocess.run([sys.executable, "-c", CHECK.format(source=source)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_is_wrong_with_nothing() -> None:
    assert checked("") == 0


def test_a_device_may_stay_open() -> None:
    assert checked("kept = open(os.devnull), open('/dev/urandom', 'rb')") == 2


def test_what_was_open_before_and_what_only_a_cycle_holds_is_not_looked_at() -> None:
    source = "class A: pass\na = A(); a.a, a.file = a, open(template.__file__); del a"
    assert checked(source) == 0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("kept = open(template.__file__)", "dspex_runtime/osproc/template.py (descriptor 3); forks would share it"),
        ("kept = socket.socket()", "building it left open: a socket (descriptor 3)"),
        ("kept = os.pipe()", "pipe:["),
        ("threading.Thread(target=time.sleep, args=(9,), name='reader').start()", "left 1 thread(s) running: 'reader'"),
        ("kept = subprocess.Popen(['sleep', '1'])", "left child process(es)"),
    ],
    ids=["file", "socket", "pipe", "thread", "child"],
)
def test_what_forks_would_share_is_refused_by_name(source: str, said: str) -> None:
    assert said in checked(source)
