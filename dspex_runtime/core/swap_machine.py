"""The decisions of one swap, of one member or of several: `handle(event, now) -> list[SwapInstruction]`.

All members rehearse side by side. When all are verified they are held, each when the one before has come to rest; when all are
held they move side by side; when all have moved there is one Commit. Whatever goes wrong before that undoes everything: who was
asked to hold goes on, every N that was to be started is killed, and the members are what they were. After Finished: nothing.

Never reads a clock, never does I/O, never starts a thread; never knows what a process is.

Invariants: Commit or undoing, never both, never neither once the answers are in; no member is held before all are verified; Commit
only when every O and every N lives and has said it is ready.

Source: DESIGN §9; OTP's release handler, which suspends all before it changes any (otp-semantics §2.12).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never

from dspex_runtime.core import swap_events as ev
from dspex_runtime.core import swap_instructions as do
from dspex_runtime.core.swap_member import Member, MemberView, Step
from dspex_runtime.exit_reason import ExitReason, describe

THROUGH: Final = {Step.REHEARSING: Step.VERIFIED, Step.DRAINING: Step.HELD, Step.MOVING: Step.MOVED}
AT_REST: Final = frozenset({Step.VERIFIED, Step.HELD})  # steps that wait for nobody but the other members
NEW_ENDED: Final = {  # what the end of N means: SwapError's code, and what N was about; "move" once it is verified
    Step.STARTING: ("start", "it started"),
    Step.REHEARSING: ("migrate", "it migrated and was verified"),
}


class SwapMachine:
    """One swap without its processes. `handle` is the only mutator.

    Args:
        members: Full ids, in the order in which they are held: callers first.
        drain_s: How long what runs in a member may go on once it is held; of all, or of each.
        deadline: When the whole of it has failed, on the clock that `now` comes from.

    Raises:
        ValueError: No member, one twice, or one without a drain_s.
    """

    def __init__(self, members: Sequence[str], *, drain_s: float | Mapping[str, float], deadline: float) -> None:
        drains = drain_s if isinstance(drain_s, Mapping) else dict.fromkeys(members, drain_s)
        if not members or len(set(members)) != len(members) or drains.keys() != set(members):
            raise ValueError(f"a swap has members, each once and each with a drain_s; got {list(members)}, {dict(drains)}")
        self.deadline = deadline
        self.finished: do.Finished | None = None  #: how it ended
        self._members = {member: Member(member, drains[member]) for member in members}
        self._out: list[do.SwapInstruction] = []

    @property
    def members(self) -> tuple[MemberView, ...]:
        """Return the members in the order they were given."""
        return tuple(member.view() for member in self._members.values())

    def member(self, id: str) -> MemberView:
        """Return one member; a KeyError is the caller's mistake."""
        return self._members[id].view()

    @property
    def phase(self) -> do.SwapPhase | None:
        """Return how far the whole of it is: as far as the last member, but draining from the first that is held on."""
        shown = [member.shown for member in self._members.values()]
        if do.SwapPhase.DRAINING in shown:
            return do.SwapPhase.DRAINING
        return next((phase for phase in do.SwapPhase if phase in shown), None)

    def handle(self, event: ev.SwapEvent, now: float) -> list[do.SwapInstruction]:
        """Take in one event and return what is to be done about it, in order.

        Args:
            event: What came of an instruction, or what gets in the way; answers that are not awaited are ignored.
            now: Monotonic seconds, never less than at the event before.
        """
        if self.finished is not None:
            return []
        match event:
            case ev.Begin():
                self._begin(now)
            case ev.SnapshotTaken() | ev.NewReady() | ev.Rehearsed() | ev.Held() | ev.Packed() | ev.Prepared():
                self._answered(self._member(event.member), event, now)
            case ev.Failed(member, code, message, fault):
                self._abort(code, message, self._member(member), fault=fault)
            case ev.NewEnded():
                self._new_ended(self._member(event.member), event)
            case ev.OldEnded(member, reason):
                text = f"{member!r} ended before it was swapped: {describe(reason)}"
                self._abort("old_ended", text, self._member(member), reason=reason)
            case ev.OldStopping(member):
                self._abort("old_ended", f"{member!r} was told to stop before it was swapped", self._member(member))
            case ev.AbortAsked(why):
                self._abort("aborted", why or "the swap was aborted")
            case ev.TimerFired():
                self._timed_out(now)
            case _:
                assert_never(event)
        out, self._out = self._out, []
        return out

    # -- forwards

    def _begin(self, now: float) -> None:
        if any(member.step is not Step.NEW for member in self._members.values()):
            return
        self._out.append(do.SetTimer(self.deadline))
        for member in self._members.values():
            # Both at once: N comes up for seconds, and what happens to O meanwhile it is given again when it moves.
            self._out += (do.StartNew(member.id), do.TakeSnapshot(member.id))
            self._enter(member, Step.STARTING, now)

    def _answered(self, member: Member, answer: ev.Answer, now: float) -> None:
        if not member.is_awaited(answer):
            return
        if isinstance(answer, ev.Held) and answer.running > 0:
            text = f"{member.id!r} was not drained within {member.drain_s:g} s: {answer.running} still running"
            self._abort("drain_timeout", text, member)
        elif member.take(answer):
            self._completed(member, now)

    def _completed(self, member: Member, now: float) -> None:
        if member.step is Step.STARTING:
            self._out.append(do.Rehearse(member.id))
            self._enter(member, Step.REHEARSING, now)
        else:
            self._enter(member, THROUGH[member.step], now)
            self._advance(now)

    def _advance(self, now: float) -> None:
        """Go on with what takes all members, when all of them have come so far."""
        members = self._members.values()
        steps = {member.step for member in members}
        if steps == {Step.MOVED}:
            self._commit(now)
        elif steps == {Step.HELD}:
            self._out += [do.Move(member.id) for member in members]
            for member in members:
                self._enter(member, Step.MOVING, now)
        elif steps <= AT_REST:
            # Callers first: while one still runs, those that it calls go on serving it.
            member = next(member for member in members if member.step is Step.VERIFIED)
            self._out.append(do.Hold(member.id, member.drain_s))
            self._enter(member, Step.DRAINING, now)

    def _commit(self, now: float) -> None:
        self._out += (do.Commit(tuple(self._members)), do.CancelTimer())  # first what callers wait for
        for member in self._members.values():
            self._enter(member, Step.SWAPPED, now)
        self._finish(do.Finished(ok=True))

    def _enter(self, member: Member, step: Step, now: float) -> None:
        if member.enter(step, now) and member.shown is not None:
            self._out.append(do.ShowPhase(member.id, member.shown))

    # -- backwards

    def _new_ended(self, member: Member, event: ev.NewEnded) -> None:
        code, about = NEW_ENDED.get(member.step, ("move", "it waited to take over"))
        text = f"the new version of {member.id!r} ended while {about}: {describe(event.reason)}"
        self._abort(code, text, member, fault=event.fault, reason=event.reason)

    def _timed_out(self, now: float) -> None:
        late = {member.id: words for member in self._members.values() if (words := member.waits_for())}
        if not late:
            return  # not begun: there is no timer
        began = min(at for member in self._members.values() for at in member.began.values())
        waits = "; ".join(f"{id!r} waits for {' and '.join(words)}" for id, words in late.items())
        self._abort("timeout", f"not swapped within {now - began:.1f} s: {waits}", self._members[next(iter(late))])

    def _abort(
        self,
        code: str,
        message: str,
        member: Member | None = None,
        *,
        fault: dict[str, Any] | None = None,
        reason: ExitReason | None = None,
    ) -> None:
        members = [member for member in self._members.values() if Step.STARTING in member.began]
        # The last held first: a callee serves again before those that call it begin anything.
        self._out += [do.Unhold(member.id) for member in reversed(members) if Step.DRAINING in member.began]
        self._out += [do.KillNew(member.id) for member in members]
        if members:
            self._out.append(do.CancelTimer())
        self._finish(do.Finished(False, code, message, fault, None if member is None else member.id, reason))

    def _finish(self, finished: do.Finished) -> None:
        self.finished = finished
        self._out.append(finished)

    def _member(self, id: str) -> Member:
        if id not in self._members:
            raise ValueError(f"{id!r} is no member of this swap; its members: {list(self._members)}")
        return self._members[id]
