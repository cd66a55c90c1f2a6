"""What a compile came to, given to an owner and its parts: all have it, or none; saved before and after, as one.

An attempt holds them all. One in which they do not come to rest, or somebody ends, leaves everybody as it was, and is made again
when all of them serve: whoever waits is told. From the first one that is given it on there is no way back but that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dspex_runtime.errors import DspexError
from dspex_runtime.node.checkpointing import BUSY
from dspex_runtime.node.composites.imaging import Images, close_images, copied_images, take_images
from dspex_runtime.node.composites.putting_back import PuttingBack
from dspex_runtime.node.composites.saving import fault_of
from dspex_runtime.node.event_loop import Timer

if TYPE_CHECKING:
    from dspex_runtime.node.composites.stillness import Stillness
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["Committing", "path_of"]

AGAIN_S: Final = 0.5  # callers waited while nothing came of it: they go first

Facts: TypeAlias = dict[str, Any]


def path_of(owner: str, id: str) -> str:
    """Return the path at which an owner has what is below it: "far.rank"; "" for the owner itself."""
    return id.removeprefix(owner).removeprefix("/").replace("/", ".")


class Committing:
    """See the module docstring.

    Attributes:
        before: Of the checkpoint of what they were, once that is on the disk.
        versions: What is another version now, by the name that the owner has for it; None: they are as they were.

    Args:
        node: The runtime.
        records: Returns those of the owner and of what is below it, as they are now.
        patch: Descriptor of what is given to them, each its share.
        who: Who changes it, for the history.
        about: Returns the facts about the checkpoint of the result.
        begun: Called when there is no way back any more.
        again: Called when nothing has come of an attempt: `attempt` is to be called when all serve.
        done: Called once, with what the checkpoint of the result is, or why there is none.
    """

    def __init__(
        self,
        node: Node,
        records: Callable[[], Sequence[Record]],
        patch: int,
        *,
        who: str,
        about: Callable[[], Facts],
        begun: Callable[[Facts], None],
        again: Callable[[str], None],
        done: Callable[[Facts | None, Facts | None], None],
    ) -> None:
        self.before: Facts | None = None
        self.versions: Facts | None = None
        self._node = node
        self._records = records
        self._patch = patch
        self._who = who
        self._about = about
        self._begun = begun
        self._again = again
        self._done = done
        self._owner = ""
        self._ids: list[str] = []  #: of the members, the owner first
        self._still: Stillness | None = None
        self._timer: Timer | None = None
        self._is_over = False

    def attempt(self) -> None:
        """Hold all of them; the rest follows."""
        records = self._records()
        self._ids = [record.id for record in records]
        self._owner = self._ids[0]
        self._still = self._node.composites.held(records, self._held)
        self._still.begin()

    def give_up(self) -> None:
        """Nothing is to come of it any more: only while there is a way back. Idempotent."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._still is not None:
            self._still.release()

    def _held(self, error: DspexError | None) -> None:
        if self._is_over:
            self._release()
        elif error is None:
            assert self._still is not None
            saved = self.versions is not None
            kind, about = ("compiled", {self._owner: self._about()}) if saved else ("before_compile", None)
            take_images(self._still.processes, kind, self._save_result if saved else self._save_before, about)
        elif error.code == BUSY:
            self._later(str(error))
        else:
            self._fail(fault_of(error))

    def _later(self, why: str) -> None:
        self._release()
        if not self._is_over:
            self._timer = self._node.loop.call_later(AGAIN_S, lambda: self._again(why))

    # -- what they were

    def _save_before(self, images: Images, fault: Facts | None) -> None:
        if fault is not None or self._is_over:
            close_images(images)
            self._failed(fault or {})
            return

        def saved(info: Facts | None, fault: Facts | None) -> None:
            if fault is not None or info is None or self._is_over:
                close_images(images)
                self._failed(fault or {})
                return
            self.before = info
            self._give(images, {self._owner: info["number"], **info["parts"]})

        self._store("before_compile", copied_images(images, images), saved)

    def _give(self, before: Images, numbers: Mapping[str, int]) -> None:
        assert self._still is not None
        assert self.before is not None
        self._begun(self.before)
        paths = {id: path_of(self._owner, id) for id in self._ids}
        parts = [path for path in paths.values() if path]
        shares = {id: {"share": {"path": path, "parts": parts}} for id, path in paths.items()}

        def given(versions: dict[str, Facts], fault: Facts | None, _id: str | None) -> None:
            if fault is not None:
                self._release()
                putting.undone(lambda: self._gave_up(putting, fault))
                return
            putting.close()
            prefixes = {id: f"{path}." if path else "" for id, path in paths.items()}
            self.versions = {prefixes[id] + name: version for id, its in versions.items() for name, version in its.items()}
            take_images(still.processes, "compiled", self._save_result, {self._owner: self._about()})

        still = self._still
        images = {id: os.dup(self._patch) for id in still.processes}
        putting = PuttingBack(
            self._node,
            still.processes,
            images,
            before,
            numbers=numbers,
            who=self._who,
            keep=len(self._ids),
            done=given,
            asked=shares,
        )
        putting.begin()

    def _gave_up(self, putting: PuttingBack, fault: Facts) -> None:
        ended = putting.has_ended
        putting.close()
        if ended:
            self._later(str(fault.get("message")))
        else:
            self._fail(fault)

    # -- what they are

    def _save_result(self, images: Images, fault: Facts | None) -> None:
        if fault is not None:
            self._failed(fault)
        else:
            self._release()
            self._store("compiled", images, self._done)

    def _store(self, kind: str, images: Images, done: Callable[[Facts | None, Facts | None], None]) -> None:
        assert self._still is not None
        own, parts = images[self._owner], {id: images[id] for id in self._ids[1:] if id in images}
        self._node.checkpointing.store(self._still.processes[self._owner], kind, own, done, parts)

    # -- the end

    def _release(self) -> None:
        if self._still is not None:
            self._still.release()

    def _failed(self, fault: Facts) -> None:
        """Something did not work: because somebody has ended, or for good."""
        assert self._still is not None
        ended = any(not process.serving for process in self._still.processes.values())
        if self._is_over:
            self._release()
        elif ended:
            self._later(str(fault.get("message")))
        else:
            self._fail(fault)

    def _fail(self, fault: Facts) -> None:
        self._release()
        self._done(None, fault)
