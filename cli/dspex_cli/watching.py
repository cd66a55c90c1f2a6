"""`dspex up --watch`: modules whose files were edited are swapped, and the tree is reloaded when its file was.

What is compared is what the processes have read with what the disk has, again and again, so that no edit is lost, however an
editor saves: by writing, by putting another file in the place, in two steps. An edit counts once it is the same for two looks in a
row. One that a module refuses (a syntax error, a failing constructor) is told once, and tried again when its file is another one;
what was there serves on. What was rolled back has its code from elsewhere, and stays so until it is swapped or reloaded.

Runs on a thread of its own; what it has to say is printed by whoever is given it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dspex_cli import failures, reloads, wording
from dspex_cli.output import one_line

if TYPE_CHECKING:
    import dspex_runtime as dx

POLL_S: Final = 0.3
END_S: Final = 5.0  # a swap that is under way is given up with the runtime
LATER: Final = frozenset({"busy", "not_running"})  # codes of a SwapError that says nothing of the edit

Stamp = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """Something that the watcher did, or could not do."""

    data: dict[str, Any]
    line: str
    error: Exception | None = None


class Watcher:
    """Looks, swaps and reloads until it is stopped."""

    def __init__(self, runtime: dx.Runtime, file: str, tell: Callable[[Watched], None]) -> None:
        self._runtime = runtime
        self._file = file
        self._tell = tell
        self._applied = _stamp(file)  #: of the file, as it was last read by us, whatever came of it
        self._seen: Stamp | None = self._applied
        self._sources: dict[str, Stamp] = {}  #: by id: what was edited, at the last look
        self._refused: dict[str, Stamp] = {}  #: by id: what was tried in vain
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the end, after `stop`; what was asked of the runtime ends with it."""
        if self._thread.is_alive():
            self._thread.join(END_S)

    def _run(self) -> None:
        from dspex_runtime.errors import RuntimeUnreachableError

        while not self._stop.wait(POLL_S):
            try:
                self.look()
            except RuntimeUnreachableError:
                return  # it ends, and whoever waits for that says so
            except Exception as exc:
                if self._stop.is_set():
                    return
                self._failed([], [], exc)

    def look(self) -> None:
        """Look once, and do what is to be done."""
        now = _stamp(self._file)
        settled, self._seen = now == self._seen, now
        if settled and now is not None and now != self._applied:
            self._applied = now
            self._reload()
        found = {id: tuple(map(tuple, files)) for id, files in self._runtime.changed_sources().items()}
        settled_ids = [id for id, stamp in found.items() if self._sources.get(id) == stamp != self._refused.get(id)]
        self._sources = found
        self._refused = {id: stamp for id, stamp in self._refused.items() if id in found}
        failed: dict[Any, list[tuple[str, Exception]]] = {}  # one syntax error is one, however many are made of the file
        for id in settled_ids:
            if self._stop.is_set():
                return
            error = self._swap(id, found[id])
            if error is not None:
                failed.setdefault((found[id], _cause(error)), []).append((id, error))
        for (stamp, _), members in failed.items():
            self._failed([id for id, _ in members], _names(stamp), members[0][1])

    def _reload(self) -> None:
        from dspex_runtime.errors import ConfigError, DspexError

        names, began = [os.path.basename(self._file)], monotonic()
        try:
            result = self._runtime.reload(self._file, why="watch")
        except (ConfigError, DspexError) as exc:
            if not self._stop.is_set():
                self._failed([], names, exc)
            return
        done = reloads.summary(result) or "nothing to do"
        data = {"type": "watch", "ids": [], "files": names, "result": "reloaded", **reloads.as_data(result)}
        self._tell(Watched(data, f"{names[0]} changed: {done}  ({wording.duration(monotonic() - began)})"))

    def _swap(self, id: str, stamp: Stamp) -> Exception | None:
        """Swap one; return why it was not, where that is its files' fault."""
        from dspex_runtime.errors import DspexError, SwapError

        try:
            result = self._runtime.swap(id, why="watch")
        except DspexError as exc:
            if isinstance(exc, SwapError) and exc.code in LATER:
                return None
            self._refused[id] = stamp
            return None if self._stop.is_set() else exc
        took = f"{wording.duration(result.seconds)}, callers waited {wording.duration(result.pause_s)} at most"
        what: dict[str, Any] = {"type": "watch", "ids": [id], "files": _names(stamp), "result": "swapped"}
        data = what | {"seconds": result.seconds, "number": result.number}
        self._tell(Watched(data, f"{', '.join(_names(stamp))} changed: {id} swapped  ({took})"))
        return None

    def _failed(self, ids: list[str], names: list[str], error: Exception) -> None:
        data = {"type": "watch", "ids": ids, "files": names, "result": "failed", "error": failures.describe(error)}
        what = f"{', '.join(names)} changed: " if names else ""
        who = f"{', '.join(ids)} {'stays as it was' if len(ids) == 1 else 'stay as they were'}" if ids else "not reloaded"
        self._tell(Watched(data, one_line(what + who), error))


def _names(stamp: Stamp) -> list[str]:
    return [os.path.basename(path) for path, *_ in stamp]


def _cause(error: Exception) -> str:
    """Return what two modules that were made of the same file have in common when that is at fault."""
    reason = getattr(error, "reason", None)
    return repr(reason[1:3]) if isinstance(reason, tuple) and reason[:1] == ("error",) else str(error)


def _stamp(path: str) -> Stamp | None:
    """Return what tells one state of a file from another; None while there is none, as in the middle of being replaced."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino
