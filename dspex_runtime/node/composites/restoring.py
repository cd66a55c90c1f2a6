"""Putting a child back to a checkpoint; an owner with those of its parts that the checkpoint names: all of them, or none.

    one alone       what it is is saved, it is put back between two of its callbacks, and what it is then is saved
    several         the same while all of them are held; those of them that are stopped are put back for their next start
    none runs       put back for their next start

What is not there any more of what the checkpoint names is left out, and said to be. Where only the last of it fails, what they are
then is not on the disk: they are put back all the same, and the error says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dspex_runtime.errors import CheckpointError, DspexError
from dspex_runtime.node.checkpointing import IMAGE_TIMEOUT_S
from dspex_runtime.node.composites.imaging import Images, close_images, copied_images, take_images
from dspex_runtime.node.composites.putting_back import PuttingBack, give_late
from dspex_runtime.node.composites.saving import fault_of

if TYPE_CHECKING:
    from dspex_runtime.node.composites.stillness import Stillness
    from dspex_runtime.node.module_process import ModuleProcess
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["Restoring", "running"]

Facts: TypeAlias = dict[str, Any]
Done: TypeAlias = Callable[[Facts | None, Facts | None], None]  # (info of the checkpoint that it is put back to, fault)


def running(record: Record) -> ModuleProcess | None:
    """Return the process of a child that runs, None of one that is stopped.

    Raises:
        CheckpointError: It is neither.
    """
    if record.process is None and record.gone:
        return None
    if record.process is None or not record.process.serving:
        hint = f"`rt.wait([{record.id!r}])` returns when it runs"
        raise CheckpointError(f"{record.id!r} is {record.state}: it is neither running nor stopped", id=record.id, hint=hint)
    return record.process


class Restoring:
    """See the module docstring.

    Args:
        node: The runtime.
        record: Of the child.
        number: Of the checkpoint; None: the newest that is whole.
        keep: How many are kept of it.
        done: Called once.
        of: Full id of another replica of its group, whose checkpoint it is; None: it is its own.
    """

    def __init__(self, node: Node, record: Record, number: int | None, keep: int, done: Done, of: str | None = None) -> None:
        self._node = node
        self._record = record
        self._number = number
        self._keep = keep
        self._done = done
        self._of = of
        self._info: Facts = {}
        self._numbers: dict[str, int] = {}  #: of the checkpoints that they are put back to
        self._images: Images = {}  #: of those that run
        self._records: list[Record] = []  #: theirs
        self._stopped: list[list[Any]] = []  #: ids and numbers of those that do not
        self._without: list[str] = []
        self._still: Stillness | None = None

    def begin(self) -> None:
        """Ask for the images; the rest follows."""

        def found(infos: Any, fault: Facts | None, fds: list[int]) -> None:
            if fault is not None:
                self._done(None, fault)
            else:
                self.begin_with(infos, fds)

        self._node.keeping.ask("images", {"id": self._of or self._record.id, "number": self._number}, found)

    def begin_with(self, infos: Sequence[Facts], fds: Sequence[int]) -> None:
        """Go on with the images, those that it begins with, given away, and what they are; the rest follows."""
        self._info = infos[0]
        ids = [self._own_id(info["id"]) for info in infos]
        self._numbers = {id: info["number"] for id, info in zip(ids, infos, strict=True)}
        self._images = dict(zip(ids, fds, strict=True))
        try:
            for id in ids:
                self._sort(id)
        except DspexError as exc:
            self._fail(fault_of(exc))
            return
        if self._record.id in self._without:
            self._fail(fault_of(CheckpointError(f"{self._record.id!r} was deleted meanwhile", id=self._record.id)))
        elif not self._records:
            self._put_back_stopped(lambda fault: self._restored() if fault is None else self._fail(fault))
        elif len(ids) == 1:
            self._alone(self._images.pop(self._record.id))
        else:
            self._still = self._node.composites.held(self._records, self._held)
            self._still.begin()

    def _own_id(self, id: str) -> str:
        """Return the member of ours to which another replica's corresponds."""
        return id if self._of is None else self._record.id + id.removeprefix(self._of)

    def _sort(self, id: str) -> None:
        """Find out what becomes of a member.

        Raises:
            CheckpointError: It cannot be put back now.
        """
        record = self._node.registry.get(id)
        if record is None:
            self._without.append(id)
            close_images({id: self._images.pop(id)})
        elif running(record) is None and self._of is not None:
            hint = f"`rt.start({id!r})` brings it back"
            raise CheckpointError(f"{id!r} is {record.state}: what is another one's checkpoint it cannot take", id=id, hint=hint)
        elif running(record) is None:
            self._stopped.append([id, self._numbers[id]])
            close_images({id: self._images.pop(id)})
        elif id != self._record.id and not self._records:
            text = f"{self._record.id!r} is {self._record.state}, and its part {id!r} still runs"
            raise CheckpointError(text, id=id, hint=f"`rt.wait([{id!r}], state='stopped')` returns when it does not")
        else:
            self._records.append(record)

    # -- one alone

    def _alone(self, image: int) -> None:
        record, process = self._record, self._record.process
        assert process is not None

        def current() -> ModuleProcess:
            return record.process or process  # another one, where it is swapped in the meantime

        def saved(_info: Facts | None, fault: Facts | None) -> None:
            if fault is not None:
                close_images({record.id: image})
                self._fail(fault)
            else:
                current().request("restore", {"who": self._who}, IMAGE_TIMEOUT_S, put_back, (image,))

        def put_back(_value: Any, fault: Facts | None) -> None:
            if fault is not None:
                self._fail(fault)
            else:
                self._node.checkpointing.take(current(), "restored", lambda _info, fault: self._restored(unsaved=fault))

        # The image is in hand: the one that is saved first may push it out.
        self._node.checkpointing.take(current(), "before_restore", saved)

    # -- several

    def _held(self, error: DspexError | None) -> None:
        if error is not None:
            self._fail(fault_of(error))
        else:
            assert self._still is not None
            take_images(self._still.processes, "before_restore", self._imaged)

    def _imaged(self, before: Images, fault: Facts | None) -> None:
        if fault is not None:
            self._fail(fault)
            return

        def saved(info: Facts | None, fault: Facts | None) -> None:
            if fault is not None or info is None:
                close_images(before)
                self._fail(fault or {})
            else:
                numbers = {self._record.id: info["number"], **info.get("parts", {})}
                self._put_back(before, numbers)

        self._store("before_restore", copied_images(before, before), saved)

    def _put_back(self, before: Images, numbers: dict[str, int]) -> None:
        """Give each its image; then save what they are, and put back those that are stopped: none of that, or all."""
        assert self._still is not None
        images, self._images = self._images, {}

        def put_back(_versions: dict[str, Facts], fault: Facts | None, _id: str | None) -> None:
            if fault is None:
                take_images(still.processes, "restored", taken)
            else:
                self._release()
                putting.undone(lambda: gave_up(fault))

        def gave_up(fault: Facts) -> None:
            putting.close()
            self._fail(fault)

        def taken(restored: Images, fault: Facts | None) -> None:
            if fault is not None:
                putting.undo(fault, self._record.id)
            elif self._stopped:
                self._put_back_stopped(lambda fault: stopped(restored, fault))
            else:
                stopped(restored, None)

        def stopped(restored: Images, fault: Facts | None) -> None:
            if fault is not None:
                close_images(restored)
                putting.undo(fault, self._record.id)
            else:
                putting.close()
                self._save(restored)

        still = self._still
        putting = PuttingBack(
            self._node, still.processes, images, before, numbers=numbers, who=self._who, keep=self._keep, done=put_back
        )
        putting.begin()

    def _save(self, restored: Images) -> None:
        """Have what they are now stored. Only then they go on: the next incarnation of one that ends begins with that."""

        def saved(info: Facts | None, fault: Facts | None) -> None:
            assert self._still is not None
            ended = [id for id, process in self._still.processes.items() if not process.serving]
            self._release()
            if fault is not None or info is None:
                numbers, unsaved = self._numbers if self._of is None else {}, fault or {}
            else:
                numbers, unsaved = {self._record.id: info["number"], **info["parts"]}, None
            late = copied_images(restored, ended)
            close_images(restored)
            give_late(self._node, late, numbers, who=self._who, keep=self._keep, done=lambda: self._restored(unsaved=unsaved))

        self._store("restored", copied_images(restored, restored), saved)

    def _store(self, kind: str, images: Images, done: Callable[[Facts | None, Facts | None], None]) -> None:
        assert self._still is not None
        owner, *parts = (record.id for record in self._records)
        below = {id: images[id] for id in parts if id in images}
        self._node.checkpointing.store(self._still.processes[owner], kind, images[owner], done, below)

    # -- none runs

    def _put_back_stopped(self, done: Callable[[Facts | None], None]) -> None:
        node = self._node

        def put_back(infos: Any, fault: Facts | None, _fds: list[int]) -> None:
            if fault is None:
                for info in infos["newest"]:
                    node.keeping.restored(info["id"])
                    node.checkpointing.newest(info["id"], info)
            done(fault)

        asked = {"members": self._stopped, "who": "restore", "keep": self._keep}
        node.keeping.ask("restore_stopped", asked, put_back)

    # -- the end

    @property
    def _who(self) -> str:
        return f"restore of checkpoint {self._info['number']}"

    def _restored(self, unsaved: Facts | None = None) -> None:
        """They are put back; `unsaved`: why what they are now is not on the disk."""
        without = {"without": self._without} if self._without else {}
        self._node.reports.emit("restored", self._record.id, number=self._info["number"], **without)
        if unsaved is None:
            self._done(self._info, None)
            return
        id, number = self._record.id, self._info["number"]
        them, are = (f"{id!r} and its parts", "are") if len(self._numbers) > 1 else (f"{id!r}", "is")
        text = f"{them} {are} put back to checkpoint {number}, but there is no checkpoint of that: {unsaved.get('message')}"
        self._fail(fault_of(CheckpointError(text, id=id, hint=f"`rt.checkpoint({id!r})` makes one")))

    def _release(self) -> None:
        if self._still is not None:
            self._still.release()

    def _fail(self, fault: Facts) -> None:
        self._release()
        close_images(self._images)
        self._done(None, fault)
