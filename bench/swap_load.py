"""The caller of bench/swap.py, in a process of its own: one call after the other until its stdin ends; then all, in a file."""

from __future__ import annotations

import sys
import threading
import time
from array import array
from pathlib import Path

import dspex_runtime as dx


def load(socket: str, id: str, path: str) -> None:
    """Call; write (begin, end) of each call as nanoseconds of the monotonic clock, the end negative of one that failed."""
    calls = array("q")
    over = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    with dx.connect(socket) as rt:
        server, module = rt.server(id) if id == "server" else None, rt.ref(id) if id == "module" else None
        print("ready", flush=True)
        while not over.is_set():
            began = time.monotonic_ns()
            try:
                if server is not None:
                    server.call("x", timeout=10)
                elif module is not None:
                    module.call("echo", "x", timeout=10)
                calls.extend((began, time.monotonic_ns()))
            except dx.CallError:
                calls.extend((began, -time.monotonic_ns()))
    Path(path).write_bytes(calls.tobytes())


if __name__ == "__main__":
    load(*sys.argv[1:])
