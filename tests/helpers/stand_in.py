"""A runtime in a process of its own, to be killed: `python -m helpers.stand_in`, driven by lines of Python on stdin.

`rt` is a FakeRuntime with its zygote running; `say(value)` writes one line of JSON to stdout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from helpers.waiting import PATIENCE_S, wait_readable


class StandIn:
    """The test's side: starts the process, sends it lines, kills it."""

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "helpers.stand_in"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True, bufsize=1
        )

    @property
    def pid(self) -> int:
        """The stand-in's pid."""
        return self._process.pid

    def run(self, source: str) -> None:
        """Have it execute one piece of source."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(source) + "\n")
        self._process.stdin.flush()

    def ask(self, source: str) -> Any:
        """Have it execute source; return what it says."""
        self.run(source)
        assert self._process.stdout is not None
        assert wait_readable(self._process.stdout.fileno(), timeout_s=2 * PATIENCE_S), "the stand-in says nothing"
        line = self._process.stdout.readline()
        assert line, "the stand-in ended"
        return json.loads(line)

    def kill(self) -> None:
        """SIGKILL and reap it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def main() -> None:
    """Serve lines until stdin ends."""
    from dspex_runtime.osproc.subreaper import set_subreaper
    from helpers.fake_runtime import FakeRuntime

    set_subreaper()
    rt = FakeRuntime()
    rt.spawn()
    names: dict[str, Any] = {"rt": rt, "say": lambda value: print(json.dumps(value), flush=True), "os": os, "signal": signal}
    for line in sys.stdin:
        exec(json.loads(line), names)
    rt.close()


if __name__ == "__main__":
    main()
