"""Links and exit signals as otp-semantics §2.7 has them: one link per pair, and what each signal does to whom it reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.core.links import Dies, Effect, Ignored, LinkTable, Message, Receiver, Signal, Stops, effect
from dspex_runtime.exit_reason import ExitReason

SERVER, MODULE, SUPERVISOR, CLIENT = Receiver.SERVER, Receiver.MODULE, Receiver.SUPERVISOR, Receiver.CLIENT
BOOM: ExitReason = ("error", "ValueError", "boom", "")
WHY: list[ExitReason] = ["shutdown", ("shutdown", "x"), "killed", "noproc", BOOM, ("exit_status", 3), ("signal", "SEGV")]


class TestRowKill:
    """exit/2 `kill`: dies, reason killed; trapping or not."""

    @pytest.mark.parametrize("trap_exit", [True, False])
    @pytest.mark.parametrize("receiver", [SERVER, MODULE, SUPERVISOR])
    def test_exit_kill_is_untrappable_and_the_reason_is_killed(self, receiver: Receiver, trap_exit: bool) -> None:
        assert effect("kill", receiver, trap_exit=trap_exit, via_link=False) == Dies("killed")

    @pytest.mark.parametrize(
        ("receiver", "trap_exit", "expected"),
        [(SERVER, True, Message()), (SERVER, False, Dies("kill")), (MODULE, True, Stops("kill")), (MODULE, False, Dies("kill"))],
    )
    def test_kill_arriving_via_a_link_is_a_reason_as_any_other(self, receiver: Receiver, trap_exit: bool, expected: Effect) -> None:
        assert effect("kill", receiver, trap_exit=trap_exit, via_link=True) == expected

    def test_killed_arriving_via_a_link_is_trappable(self) -> None:
        assert effect("killed", SERVER, trap_exit=True, via_link=True) == Message()
        assert effect("killed", SERVER, trap_exit=False, via_link=True) == Dies("killed")


@pytest.mark.parametrize("via_link", [True, False])
class TestRowNormal:
    """exit `normal` (from others): ignored; a message when trapping."""

    @pytest.mark.parametrize("receiver", [SERVER, MODULE])
    def test_is_ignored_where_exits_are_not_trapped(self, receiver: Receiver, via_link: bool) -> None:
        assert effect("normal", receiver, trap_exit=False, via_link=via_link) == Ignored()

    def test_is_a_message_to_a_server_that_traps_exits(self, via_link: bool) -> None:
        assert effect("normal", SERVER, trap_exit=True, via_link=via_link) == Message()

    def test_is_ignored_by_a_dspy_module(self, via_link: bool) -> None:
        assert effect("normal", MODULE, trap_exit=True, via_link=via_link) == Ignored()


@pytest.mark.parametrize(
    ("receiver", "trap_exit", "expected"),
    [(SERVER, False, Dies("normal")), (MODULE, False, Dies("normal")), (MODULE, True, Stops("normal")), (SERVER, True, Message())],
)
def test_normal_from_oneself_ends_who_does_not_trap_it(receiver: Receiver, trap_exit: bool, expected: Effect) -> None:
    assert effect("normal", receiver, trap_exit=trap_exit, via_link=False, from_self=True) == expected


@pytest.mark.parametrize("reason", WHY)
@pytest.mark.parametrize("via_link", [True, False])
class TestRowAnyOther:
    """Any other reason: dies with that reason; a message when trapping."""

    @pytest.mark.parametrize("receiver", [SERVER, MODULE])
    def test_who_does_not_trap_exits_dies_at_once_with_that_reason(
        self, receiver: Receiver, via_link: bool, reason: ExitReason
    ) -> None:
        assert effect(reason, receiver, trap_exit=False, via_link=via_link) == Dies(reason)

    def test_a_server_that_traps_exits_gets_a_message(self, via_link: bool, reason: ExitReason) -> None:
        assert effect(reason, SERVER, trap_exit=True, via_link=via_link) == Message()

    def test_a_dspy_module_stops_in_order_with_that_reason(self, via_link: bool, reason: ExitReason) -> None:
        assert effect(reason, MODULE, trap_exit=True, via_link=via_link) == Stops(reason)

    def test_a_supervisor_ignores_the_signal_of_a_stranger(self, via_link: bool, reason: ExitReason) -> None:
        assert effect(reason, SUPERVISOR, trap_exit=True, via_link=via_link) == Ignored()

    def test_a_client_is_told(self, via_link: bool, reason: ExitReason) -> None:
        assert effect(reason, CLIENT, trap_exit=False, via_link=via_link) == Message()


class TestTable:
    """Links: bidirectional, idempotent (one per pair)."""

    def test_a_link_signals_from_either_end(self) -> None:
        for first, second in ("ab", "ba"):
            table: LinkTable[str] = LinkTable()
            assert table.link("a", "b")
            assert table.exited(first, "killed") == [Signal(first, second, "killed")]
            assert len(table) == 0

    def test_linking_twice_is_linking_once_whoever_asks(self) -> None:
        table: LinkTable[str] = LinkTable()
        assert [table.link("a", "b"), table.link("a", "b"), table.link("b", "a")] == [True, False, False]
        assert table.exited("a", "normal") == [Signal("a", "b", "normal")]

    def test_after_unlink_there_is_no_signal_and_it_tells_whether_there_was_a_link(self) -> None:
        table: LinkTable[str] = LinkTable()
        table.link("a", "b")
        assert [table.unlink("b", "a"), table.unlink("b", "a"), table.unlink("x", "y")] == [True, False, False]
        assert table.exited("a", "killed") == table.exited("b", "killed") == []

    def test_nobody_is_linked_with_itself(self) -> None:
        table: LinkTable[str] = LinkTable()
        assert not table.link("a", "a")
        assert table.exited("a", "killed") == []

    def test_an_end_is_signalled_once(self) -> None:
        table: LinkTable[str] = LinkTable()
        table.link("a", "b")
        table.exited("a", "killed")
        assert table.exited("a", "killed") == []
        assert table.exited("b", "killed") == []

    def test_signals_go_out_in_the_order_the_links_were_made(self) -> None:
        table: LinkTable[str] = LinkTable()
        for other in "dbc":
            table.link("a", other)
        assert [signal.receiver for signal in table.exited("a", "killed")] == ["d", "b", "c"]


def dead_after(table: LinkTable[int], first: int) -> set[int]:
    """Let one end, and with it all that its signals end."""
    ended: set[int] = set()
    dying = [first]
    while dying:
        ends = dying.pop(0)
        signalled = {signal.receiver for signal in table.exited(ends, "killed")}
        assert not signalled & ended, "signalled after its end"
        ended.add(ends)
        dying += [one for one in signalled if one not in dying]
    return ended


def test_a_chain_dies_together_and_a_cycle_ends() -> None:
    table: LinkTable[int] = LinkTable()
    for a, b in [(1, 2), (2, 3), (3, 1), (4, 5)]:
        table.link(a, b)
    assert dead_after(table, 2) == {1, 2, 3}
    assert len(table) == 1


def peers(model: set[frozenset[int]], one: int) -> set[int]:
    return {other for pair in model if one in pair for other in pair - {one}}


PAIRS = st.tuples(st.integers(0, 5), st.integers(0, 5))


@given(st.lists(st.one_of(st.tuples(st.just("link"), PAIRS), st.tuples(st.just("unlink"), PAIRS)), max_size=40), st.integers(0, 5))
def test_the_table_is_a_symmetric_set_of_pairs(steps: list[tuple[str, tuple[int, int]]], ends: int) -> None:
    table: LinkTable[int] = LinkTable()
    model: set[frozenset[int]] = set()
    for what, (a, b) in steps:
        pair = frozenset((a, b))
        if what == "link":
            assert table.link(a, b) is (len(pair) == 2 and pair not in model)
            model |= {pair} if len(pair) == 2 else set()
        else:
            assert table.unlink(a, b) is (pair in model)
            model.discard(pair)
        assert len(table) == len(model)
    assert {signal.receiver for signal in table.exited(ends, "killed")} == peers(model, ends)
    assert len(table) == sum(ends not in pair for pair in model)
    for one in set(range(6)) - {ends}:  # each end takes its links along
        assert {signal.receiver for signal in table.exited(one, "killed")} == {o for o in peers(model, one) if o > one} - {ends}
    assert len(table) == 0


@given(st.sampled_from([*WHY, "normal", "kill"]), st.sampled_from(Receiver), st.booleans(), st.booleans(), st.booleans())
def test_every_signal_has_an_effect_and_a_supervisor_ends_only_by_kill(
    reason: ExitReason, receiver: Receiver, trap_exit: bool, via_link: bool, from_self: bool
) -> None:
    outcome = effect(reason, receiver, trap_exit=trap_exit, via_link=via_link, from_self=from_self)
    if receiver is SUPERVISOR:
        assert outcome == (Dies("killed") if reason == "kill" and not via_link else Ignored())
    if isinstance(outcome, Dies | Stops) and reason != "kill":
        assert outcome.reason == reason
