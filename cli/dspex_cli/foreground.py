"""`dspex up` after the boot: events until Ctrl-C, then an end in order; a second Ctrl-C kills."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from dspex_cli import failures, wording
from dspex_cli.events import event_line
from dspex_cli.output import Output, visible

if TYPE_CHECKING:
    import dspex_runtime as dx
    from dspex_cli.watching import Watcher

LAST_EVENTS_S: Final = 2.0  # for what was sent before the connection ended
_END: Final = object()
_ROOT_ENDS: Final = {"gave_up": "FAILED", "auto_shutdown": "EXITED"}  # events of the root, and what it then is


class Terminated(Exception):  # noqa: N818 - a request, not an error
    """SIGTERM: stop in order, as after Ctrl-C, and exit 0."""


class Foreground:
    """Owns the runtime it is given: when `run` returns, the tree is stopped and the runtime gone."""

    def __init__(self, output: Output, runtime: dx.Runtime, boot_s: float, watch: str | None = None) -> None:
        self._output = output
        self._runtime = runtime
        self._boot_s = boot_s
        self._pid = 0
        self._gone = False
        self._watch_file = watch  #: what is watched, with the modules' own files
        self._watcher: Watcher | None = None
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, name="events", daemon=True)

    def run(self) -> int:
        """Print events until it is time to go; returns the exit code."""
        about = self._runtime.status()
        self._pid = about["pid"]
        ready = f"{about['ready']} of {wording.count(about['modules'], 'module')} in {wording.duration(self._boot_s)}"
        self._output.say(f"{about['name']} is up: {ready}; Ctrl-C stops it  ({about['socket']})")
        if self._output.structured:
            self._output.item({"type": "up", **about}, lambda: None)
        self._listener.start()
        self._begin_to_watch()
        before = signal.signal(signal.SIGTERM, _terminated)
        try:
            try:
                code = self._watch()
            except KeyboardInterrupt:
                code = failures.INTERRUPTED
            except Terminated:
                code = failures.OK
            # A supervisor may send SIGTERM to the process and to its group: the second must not cut the stop short.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            return self._stop(code)
        finally:
            signal.signal(signal.SIGTERM, before)

    def _begin_to_watch(self) -> None:
        if self._watch_file is not None:
            from dspex_cli.watching import Watcher

            self._watcher = Watcher(self._runtime, self._watch_file, self._inbox.put)
            self._watcher.start()
            self._output.say("watching the file and the modules' sources: what is edited is swapped")

    def _listen(self) -> None:
        """Forward events from the runtime, until it is gone (daemon thread)."""
        try:
            for event in self._runtime.events():
                self._inbox.put(event)
            self._inbox.put(_END)
        except Exception as exc:
            self._inbox.put(exc)

    def _watch(self) -> int:
        while True:
            event = self._inbox.get()
            if self._said(event):
                continue
            if not isinstance(event, dict):
                # Not asked for by us: the runtime was stopped from elsewhere (`dspex down`), or died.
                self._gone = self._died()
                return failures.ERROR if self._gone else failures.OK
            if event.get("type") == "snapshot":
                code = self._root_ended(str(self._runtime.tree()["state"]))  # before the first event that we see
            else:
                self._print(event)
                is_root = event.get("id") in (None, "root")
                code = self._root_ended(_ROOT_ENDS.get(str(event.get("type"))) if is_root else None)
            if event.get("type") == "stopping":
                return failures.OK
            if code is not None:
                return code

    def _root_ended(self, state: str | None) -> int | None:
        """Say how the root supervisor ended; returns the exit code that follows from it, None where it has not."""
        if state == "FAILED":
            print("error: the root supervisor gave up; stopping", file=sys.stderr, flush=True)
            return failures.ERROR
        if state == "EXITED":
            self._output.say("the root supervisor has shut itself down: its significant children have ended")
            return failures.OK
        return None

    def _died(self) -> bool:
        try:
            self._runtime.status()
        except Exception as exc:
            print(f"error: the runtime process is gone: {visible(str(exc))}", file=sys.stderr, flush=True)
            return True
        return False

    def _stop(self, code: int) -> int:
        """Stop the tree in order and show it; a second Ctrl-C kills the runtime, and with it every process of the tree."""
        if self._watcher is not None:
            self._watcher.stop()
        if self._gone:
            self._runtime.close()
            return code
        try:
            self._output.say("stopping …" if code != failures.INTERRUPTED else "\nstopping …  (Ctrl-C again kills)")
            stopper = threading.Thread(target=self._shutdown, name="shutdown", daemon=True)
            stopper.start()
            while stopper.is_alive():
                self._drain(0.05)
            self._runtime.close()
            self._listener.join(LAST_EVENTS_S)  # it ends with the connection
            if self._watcher is not None:
                self._watcher.join()
            self._drain(0.0)
        except KeyboardInterrupt:
            self._kill()
            return failures.INTERRUPTED
        self._output.say("stopped")
        return code

    def _shutdown(self) -> None:
        try:
            self._runtime.shutdown()
        except Exception:
            # It went before it could answer; close() below waits for its end.
            return

    def _drain(self, wait_s: float) -> None:
        try:
            event = self._inbox.get(timeout=wait_s) if wait_s else self._inbox.get_nowait()
            while True:
                if not self._said(event) and isinstance(event, dict):
                    self._print(event)
                event = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _kill(self) -> None:
        print("killed", file=sys.stderr, flush=True)
        try:
            os.kill(self._pid, signal.SIGKILL)  # the lifeline ends every module with it
        except ProcessLookupError:
            pass
        self._runtime.close()

    def _said(self, event: object) -> bool:
        """Print what the watcher has to say; False: it is from somebody else."""
        if self._watcher is None:
            return False
        from dspex_cli.watching import Watched

        if not isinstance(event, Watched):
            return False
        if self._output.structured:
            self._output.item(event.data, lambda: None)
            return True
        self._output.say(event.line)
        if event.error is not None:
            failures.report(event.error, as_json=False, verbose=self._output.settings.verbose)
        return True

    def _print(self, event: dict[str, Any]) -> None:
        if not self._output.settings.quiet and event.get("type") != "snapshot":
            self._output.item(event, lambda: self._output.line(event_line(event)))


def _terminated(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    raise Terminated
