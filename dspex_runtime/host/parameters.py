"""A module's parameters in its own process: adopted or made between construction and setup, then watched over.

Owns the `Owner` and what it needs of this process: the way to the parent for descriptors, changes and reports. Nothing is made
for a module that declares no parameters. Never serves a request (that is `param_service`) and never waits for the parent, but
for what is kept.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import ParameterError, StartError
from dspex_runtime.host import kept, parent
from dspex_runtime.host.changes import Changes
from dspex_runtime.host.checkpoint_image import REST, pinned, without
from dspex_runtime.params.constraints import without_promise
from dspex_runtime.params.owner import Owner
from dspex_runtime.params.segments import SegmentJournal
from dspex_runtime.state.protocol import KEPT
from dspex_runtime.types import Change
from dspex_runtime.wire import messages as m

if TYPE_CHECKING:
    from dspex_runtime.host.assignment import Assignment
    from dspex_runtime.host.hosted import Declared, Hosted
    from dspex_runtime.host.uplink import Uplink
    from dspex_runtime.osproc.channel import FdChannel
    from dspex_runtime.params.holders import Kept
    from dspex_runtime.params.moving_in import Plan
    from dspex_runtime.wire.codec import Codec

log = logging.getLogger("dspex_runtime.parameters")

_owners: list[Owner] = []  # the one of this process; while it rehearses, the one it plays with


class Parameters:
    """What of this module outlives its process, but for its user state.

    Attributes:
        assignment: Of this process.
        owner: Of the parameters; None: it declares none.
        codec: Packs the user's state.
        changes: Those that the parent wants to hear of; None without parameters.
    """

    def __init__(self, assignment: Assignment, control: FdChannel, codec: Codec) -> None:
        self.owner: Owner | None = None
        self.codec = codec
        self.changes: Changes | None = None
        self._wake: Callable[[], None] | None = None  # until there is a control thread
        self.assignment = assignment
        self._control = control
        self._journal: SegmentJournal | None = None
        self._is_ours = not assignment.rehearsal  # else another process is the one that writes, offers and tells
        self._user: bytes | None = None
        self._user_version: str | None = None
        self._rest: bytes | None = None
        self._unused: Kept | None = None  # what is kept for a module that had no parameters when it was built
        self._hosted: Hosted | None = None
        self._mode: str | None = None
        self._looking = threading.Lock()
        self._failing = False  # what was changed could not be published

    def adopt(self, hosted: Hosted, uplink: Uplink) -> None:
        """Give what is kept, configured or else declared to a module that was built and not set up yet.

        Raises:
            StartError: The configuration sets what the module does not declare, or a value that is refused: says all of it.
        """
        declared, configured = hosted.parameters(), self.assignment.launch.params
        if not declared and configured:
            names = ", ".join(map(repr, configured))
            raise StartError(f"it has no parameters, and its `params` set {names}")
        if not declared and not hosted.keeps_user_state:
            return
        found = self._kept(uplink)
        self._hosted, self._user, self._user_version = hosted, found.user, found.user_version
        if not declared:
            self._unused = found
            return
        try:
            self._own(hosted, declared, found)
        except ParameterError as exc:  # whatever it is, the text is the whole story: the frames are ours
            text = without_promise(exc)
            raise StartError("; ".join([text, *([exc.hint] if exc.hint else [])]), id=self.assignment.id) from None

    def adopt_what_setup_added(self, hosted: Hosted, uplink: Uplink) -> None:
        """Do the same for parameters that the module's setup() has made: predictors, as a rule. None of them is configured."""
        unused, self._unused = self._unused, None
        if self.owner is not None:
            self.after_call()
        elif hosted.changed() and (declared := hosted.parameters()):
            self._own(hosted, declared, unused if unused is not None else self._kept(uplink))
        elif unused is not None:
            kept.close(unused)

    def _own(self, hosted: Hosted, declared: Sequence[Declared], found: Kept) -> None:
        self._hosted = hosted
        self.changes = Changes(self.codec, self._send_now, self._wake_up)
        self.owner = owner = self._open(declared, found)
        _owners.append(owner)
        hosted.set_mode(owner.facts().get("mode", hosted.mode))
        self._mode = hosted.mode

    def give_user_state(self) -> None:
        """Give the user's state of the last checkpoint to a module that was set up. One that it refuses is reported, and left."""
        user, self._user = self._user, None
        if user is None or self._hosted is None or not self._hosted.keeps_user_state:
            return
        hosted, version = self._hosted, self._user_version
        try:
            saved = self.codec.unpack(user)[0]
            if version != hosted.version and hosted.changes_code:
                from dspex_runtime.host.moving import restoring  # few versions meet the state of another one

                restoring.give_user_state(saved, version, hosted, self.owner, id=self.assignment.id)
            else:
                hosted.set_user_state(saved)
        except Exception as exc:
            log.exception("the state of the last checkpoint was refused")
            self.report(f"the state of the last checkpoint was refused: {type(exc).__name__}: {exc}")

    def give_rest(self) -> None:
        """Give what is kept beside the parameters: flags and configs, which a restore has put back or a client has edited.

        And all of a restore, attributes and the mode too, where the module was stopped when it was put back.
        """
        packed, self._rest = self._rest, None
        facts = self.owner.facts() if self.owner is not None else {}
        if self._hosted is None or (packed is None and not facts.get(REST)):
            return
        try:
            self._hosted.set_rest(without(facts.get(REST) or {}, self.owner.names() if self.owner is not None else ()))
            if packed is not None:
                (found,) = self.codec.unpack(packed)
                to_keep = pinned(facts, self._hosted, found["rest"])
                self._hosted.set_rest(found["rest"])
                if self.owner is not None:
                    self.owner.set_facts({**facts, **to_keep})
                if found["mode"] is not None:
                    self._hosted.set_mode(found["mode"])
        except Exception as exc:
            log.exception("the checkpoint that was restored could not be given back in full")
            self.report(f"the checkpoint that was restored could not be given back in full: {type(exc).__name__}: {exc}")
        self.after_call()

    @property
    def keeps_journal(self) -> bool:
        """Whether there is somewhere to write to."""
        return bool(self.assignment.journal)

    @property
    def journal(self) -> SegmentJournal | None:
        """Where parameters and calls are written; made when it is first asked for. None: there is nowhere to write to."""
        if not self._is_ours:
            return None
        if self._journal is None and self.assignment.journal:
            self._journal = SegmentJournal(self.assignment.journal, on_rotate=self._rotated)
        return self._journal

    def attach(self, wake: Callable[[], None]) -> None:
        """There is a control thread now, which tells what the pipe did not take at once."""
        self._wake = wake

    @property
    def changes_wait(self) -> bool:
        """Whether there are changes that could not be told at once."""
        return self.changes is not None and self.changes.waiting

    def flush_changes(self) -> None:
        """Tell them, as far as the pipe takes them."""
        if self.changes is not None:
            self.changes.flush()

    @property
    def watches_calls(self) -> bool:
        """Whether calls may change something without saying so: lists, predictors, which ones there are, or the mode."""
        return self.owner is not None and self._hosted is not None and self._hosted.changes_unsaid

    def after_call(self) -> None:
        """Publish what a call changed without saying so, before it is answered.

        Never fails the call: it is reported, once for as long as it lasts, and tried again after the next one.
        """
        owner, hosted = self.owner, self._hosted
        if owner is None or hosted is None:
            return
        with self._looking:
            try:
                self._look(owner, hosted, always=self._failing)
                self._failing = False
            except Exception as exc:
                if not self._failing:
                    self.report(f"what a call changed could not be published: {type(exc).__name__}: {exc}")
                self._failing = True

    def _look(self, owner: Owner, hosted: Hosted, *, always: bool) -> None:
        if hosted.changed() or always:
            self._take_in(owner, hosted.parameters())
            owner.republish()
        if hosted.mode != self._mode:
            with owner.changing:
                owner.set_facts({**owner.facts(), "mode": hosted.mode})
            self._mode = hosted.mode

    def close(self) -> None:
        """Let go of table and journal."""
        if self.owner is not None:
            _owners.remove(self.owner)
            self.owner.close()
        if self._journal is not None:
            self._journal.close()

    # -- from one process to the next: `moving` has the order

    def rehearse(self, hosted: Hosted, found: Kept) -> Owner:
        """In a rehearsal: go on with another copy of one's own, which has what is found; return its owner.

        Raises:
            ParameterError: The configuration sets what is not declared, or a value that is refused; or a value cannot be held.
        """
        before, self._hosted = self.owner, hosted
        self.owner = owner = self._open(hosted.parameters(), found)
        self._now_is(owner, before)
        hosted.set_mode(owner.facts().get("mode", hosted.mode))
        self._mode = hosted.mode
        return owner

    def look_again(self) -> None:
        """Know of what user code has made of the parameters. Raises what `after_call` reports."""
        if self.owner is not None and self._hosted is not None:
            self._look(self.owner, self._hosted, always=True)

    def let_go(self) -> None:
        """Be nobody: another process has table and journal. Nothing is written, published, offered or told from here any more."""
        self._is_ours = False
        owner, self.owner, self.changes = self.owner, None, None
        if owner is not None:
            _owners.remove(owner)
            owner.let_go()
        if self._journal is not None:
            self._journal.leave()

    def move_in(self, found: Kept, plan: Plan, *, position: int, watched: Mapping[str, Any] | None) -> dict[str, int]:
        """At the end of a rehearsal: be the one who writes; return the new version of every parameter that changed.

        Args:
            found: What the process before had: table, blobs, journal in memory, and its configuration.
            plan: What was rehearsed.
            position: Where its journal ends.
            watched: Its `Changes.contents`.

        Raises:
            ParameterError: What the migration changed cannot be written down.
        """
        private, assignment = self.owner, self.assignment
        self._is_ours = True
        if private is None or (found.table is None and not plan.parameters):
            self._now_is(None, private)
            return {}
        self.changes = Changes(self.codec, self._send_now, self._wake_up)
        if watched is not None:
            self.changes.adopt(watched)
        owner = self._owner()
        for name, spec, holder in private.declared():
            owner.declare(name, spec, holder)
        changes = owner.move_in(found, assignment.launch.params, plan, position=position)
        self._now_is(owner, private)
        return {change.name: change.version for change in changes}

    def _now_is(self, owner: Owner | None, before: Owner | None) -> None:
        self.owner = owner
        if owner is not None:
            _owners.append(owner)
        if before is not None:
            _owners.remove(before)
            before.close()

    def _take_in(self, owner: Owner, declared: Sequence[Declared]) -> None:
        """Know of the parameters that user code has added to the tree or taken out of it."""
        now = {name for name, _, _ in declared}
        for name in owner.names():
            if name not in now:
                owner.undeclare(name)
        for name, spec, holder in declared:
            owner.declare(name, spec, holder)

    def _kept(self, uplink: Uplink) -> Kept:
        if not self.assignment.kept:
            return kept.nothing(self.assignment)
        info, fds = uplink.expect(KEPT)
        found = kept.receive(info, fds, self.assignment, self.report)
        self._rest = found.rest
        return found

    def _open(self, declared: Sequence[Declared], found: Kept) -> Owner:
        owner = self._owner()
        for name, spec, holder in declared:
            owner.declare(name, spec, holder)
        owner.open(found, self.assignment.launch.params)
        return owner

    def _owner(self) -> Owner:
        assignment = self.assignment
        return Owner(
            assignment.id,
            self.codec,
            durability=assignment.launch.durability,
            journal=self.journal,
            incarnation=assignment.incarnation,
            hooks=self,
        )

    # -- what the owner and the journal ask for (`params.owner.Hooks`)

    def offer(self, kind: str, facts: dict[str, Any], fd: int) -> None:
        """Send a copy of a descriptor to the parent, which keeps it for the next incarnation."""
        self._send({"type": kind, **facts}, [fd])

    def notify(self, change: Change) -> None:
        """Tell a change, while somebody watches."""
        if self.changes is not None and self._is_ours:
            self.changes.tell(change)

    def report(self, text: str) -> None:
        """Say in the log and to the parent what went wrong and was lived with."""
        log.warning("%s", text)
        self._send({"type": "state_report", "message": text})

    def value_at(self, name: str, version: int) -> bytes:
        """Ask for a value of the past; waits for the parent."""
        data = parent.ask("param_value_at", {"id": self.assignment.id, "name": name, "at": version})
        return bytes(data)

    def _wake_up(self) -> None:
        if self._wake is not None:
            self._wake()

    def _rotated(self, segment: int) -> None:
        self._send({"type": "rotated", "segment": segment})

    def _send(self, event: dict[str, Any], fds: Sequence[int] = ()) -> None:
        if not self._is_ours:
            return
        try:
            self._control.send([m.EVENT, 0, event], fds=fds)
        except OSError:
            pass  # the parent is gone: its EOF ends us

    def _send_now(self, event: dict[str, Any]) -> bool:
        try:
            self._control.send([m.EVENT, 0, event], 0.0)
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


def _forked() -> None:
    """User code forked: in the child nothing is ours to write."""
    for owner in _owners:
        owner.forked()


os.register_at_fork(after_in_child=_forked)
