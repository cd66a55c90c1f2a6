"""The bounded mailbox: order, bounds, what leaves it and how."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dspex_runtime.host.mailbox import ERRAND, SIGNAL, Mailbox, Request

A: Any = "one client"
B: Any = "another client"


def request(id: int = 1, peer: Any = A, *, deadline: float | None = None, key: str | None = None) -> Request:
    return Request(peer, id, "method", [], {}, deadline, key)


def filled(*requests: Request, limit: int = 10) -> Mailbox:
    mailbox = Mailbox(limit)
    for each in requests:
        assert mailbox.put(each, now=0.0)
    return mailbox


def test_it_is_first_in_first_out() -> None:
    requests = [request(n) for n in (1, 2, 3)]
    mailbox = filled(*requests)
    assert [mailbox.take(0.0) for _ in range(4)] == [*requests, None]


def test_a_full_mailbox_takes_nothing() -> None:
    mailbox = filled(request(1), request(2), limit=2)
    assert not mailbox.put(request(3), now=0.0)
    assert len(mailbox) == 2


def test_calls_in_flight_elsewhere_count() -> None:
    mailbox = filled(request(1), limit=3)
    assert not mailbox.put(request(2), now=0.0, in_flight=2)
    assert mailbox.put(request(2), now=0.0, in_flight=1)


def test_what_nobody_waits_for_any_more_makes_room() -> None:
    late = request(1, deadline=1.0)
    mailbox = filled(late, request(2), limit=2)
    assert mailbox.put(request(3), now=2.0)
    assert [r.id for r in iter(lambda: mailbox.take(2.0), None)] == [2, 3]


def test_a_request_past_its_deadline_is_never_taken() -> None:
    mailbox = filled(request(1, deadline=1.0), request(2, deadline=3.0))
    taken = mailbox.take(2.0)
    assert taken is not None
    assert taken.id == 2
    assert mailbox.take(2.0) is None


def sent_by(client: str, id: int = 0, *, is_parent: bool = False) -> Request:
    return request(id, SimpleNamespace(client=client, is_parent=is_parent))


def test_an_errand_comes_behind_what_its_client_has_sent_and_before_all_else() -> None:
    mailbox = filled(sent_by("a"), sent_by("b"), sent_by("a"), sent_by("b"))
    done: list[str] = []
    assert mailbox.put_behind("a", lambda: done.append("first"))
    assert mailbox.put_behind("a", lambda: done.append("second"))
    assert not mailbox.put_behind("c", lambda: None)
    assert mailbox.errands == 2
    for _ in range(3):
        assert mailbox.take_errand() is None
        assert mailbox.take(0.0) is not None
    assert mailbox.take(0.0) is None  # an errand is no request
    while (errand := mailbox.take_errand()) is not None:
        errand()
    assert done == ["first", "second"]
    assert mailbox.take(0.0) is not None
    assert (mailbox.errands, len(mailbox)) == (0, 0)


def test_errands_may_be_taken_out_of_turn() -> None:
    mailbox = filled(sent_by("a"), sent_by("b"))
    mailbox.put_behind("b", lambda: None)
    assert len(mailbox.take_errands()) == 1
    assert (mailbox.errands, len(mailbox)) == (0, 2)


def test_no_client_can_send_an_errand() -> None:
    mailbox = filled(Request(SimpleNamespace(client="a"), 1, ERRAND, [lambda: None], {}))  # type: ignore[arg-type]
    mailbox.put_behind("a", lambda: None)
    assert mailbox.take_errand() is None
    assert mailbox.take(0.0) is not None


def test_own_messages_are_never_refused() -> None:
    mailbox = filled(request(1), limit=1)
    mailbox.put_own(request(0))
    assert len(mailbox) == 2


def test_only_messages_of_the_parent_and_the_process_itself_can_be_dropped() -> None:
    mailbox = filled(Request(A, 0, "$info", ["x"], {}), request(1))
    for message in ("x", "y"):
        mailbox.put_own(Request(None, 0, "$info", [message], {}))
    assert mailbox.count_messages(lambda message: message in ("x", "y")) == 2
    assert mailbox.drop_messages(lambda message: message == "x") == 1
    assert mailbox.drop_messages(lambda message: message == "x") == 0
    assert [(r.peer, r.args) for r in iter(lambda: mailbox.take(0.0), None)] == [(A, ["x"]), (A, []), (None, ["y"])]


def test_cancel_takes_out_exactly_that_request() -> None:
    mailbox = filled(request(1, A), request(1, B), request(2, A))
    assert mailbox.cancel(A, 1)
    assert not mailbox.cancel(A, 1)
    assert [(r.peer, r.id) for r in iter(lambda: mailbox.take(0.0), None)] == [(B, 1), (A, 2)]


def test_a_client_that_goes_leaves_its_casts() -> None:
    mailbox = filled(request(1, A), request(0, A), request(1, B))
    assert mailbox.drop_peer(A) == 1
    assert [(r.peer, r.id) for r in iter(lambda: mailbox.take(0.0), None)] == [(A, 0), (B, 1)]


def test_calls_are_given_back_and_casts_stay() -> None:
    mailbox = filled(request(1), request(0), request(2))
    assert [r.id for r in mailbox.take_calls()] == [1, 2]
    assert len(mailbox) == 1


def test_keys_that_leave_unbegun_are_remembered() -> None:
    expired, cancelled, gone = request(1, key="a", deadline=1.0), request(2, key="b"), request(3, B, key="c")
    mailbox = filled(expired, cancelled, gone, request(4, deadline=1.0))
    mailbox.cancel(A, 2)
    mailbox.drop_peer(B)
    assert mailbox.take(2.0) is None
    assert mailbox.lost == [cancelled, gone, expired]


class TestOrder:
    """What a client sends over several pipes is put in the order in which it was sent; see `Intake.look`."""

    def numbered(self, number: int, peer: Any) -> Request:
        request = Request(peer, 0, "method", [], {})
        request.number = number
        return request

    def test_each_clients_requests_change_places_among_themselves_only(self) -> None:
        a, also_a, b = (SimpleNamespace(client=client) for client in "aab")
        requests = [self.numbered(n, peer) for n, peer in ((5, a), (9, b), (6, a), (3, also_a), (8, b), (4, also_a))]
        mailbox = filled(*requests)
        mailbox.put_in_order(requests)
        assert [(r.peer.client, r.number) for r in mailbox._items if r.peer is not None] == [
            ("a", 3), ("b", 8), ("a", 4), ("a", 5), ("b", 9), ("a", 6),
        ]  # fmt: skip

    def test_what_has_no_number_or_left_the_mailbox_or_is_not_named_stays_where_it_is(self) -> None:
        a = SimpleNamespace(client="a")
        gone, earlier, unnumbered = self.numbered(1, a), self.numbered(9, a), self.numbered(0, a)
        late, early = self.numbered(4, a), self.numbered(3, a)
        own = Request(None, 0, "$info", ["tick"], {})
        mailbox = filled(earlier, late, unnumbered, own, early)
        mailbox.put_in_order([gone, late, unnumbered, early])
        assert list(mailbox._items) == [earlier, early, unnumbered, own, late]

    def test_one_that_came_early_is_not_taken(self) -> None:
        first, early = request(1), request(2)
        early.early = True
        mailbox = filled(first, early)
        assert not mailbox.is_early()
        assert mailbox.take(0.0) is first
        assert mailbox.is_early()
        assert mailbox.take(0.0) is None
        early.early = False
        assert mailbox.take(0.0) is early
        assert not mailbox.is_early()

    def test_no_errand_overtakes_an_exit_signal(self) -> None:
        mailbox = filled(sent_by("a", 1))
        mailbox.put_own(Request(None, 0, "$info", ["exit"], {}, key=SIGNAL))
        mailbox.put_own(Request(None, 0, "$info", ["tick"], {}))
        assert mailbox.put_behind("somebody else", lambda: None)
        assert [r.method for r in mailbox._items] == ["method", "$info", ERRAND, "$info"]


class TestParking:
    """What clients send is set aside, counted, and put back before all else."""

    def test_only_what_clients_send_is_set_aside(self) -> None:
        first, own, asked, last = sent_by("a", 1), request(0, None), sent_by("parent", 2, is_parent=True), sent_by("a", 3)
        mailbox = filled(first, own, asked)
        mailbox.park()
        assert mailbox.put(last, now=0.0)
        assert (len(mailbox), bool(mailbox), mailbox.parked) == (4, True, 2)
        assert [mailbox.take(0.0) for _ in range(3)] == [own, asked, None]
        assert not mailbox
        assert mailbox.requests() == [first, last]
        mailbox.unpark()
        assert [mailbox.take(0.0) for _ in range(3)] == [first, last, None]

    def test_a_write_of_a_parameter_is_not(self) -> None:
        write = Request(sent_by("a").peer, 1, "$set", ["k", 1], {})
        mailbox = filled()
        mailbox.park()
        assert mailbox.put(write, now=0.0)
        assert mailbox.take(0.0) is write

    def test_it_stays_bounded(self) -> None:
        mailbox = filled(limit=2)
        mailbox.park()
        assert mailbox.put(request(1, sent_by("a").peer, deadline=1.0), now=0.0)
        assert mailbox.put(sent_by("a", 2), now=0.0)
        assert not mailbox.put(sent_by("a", 3), now=0.0)
        assert mailbox.put(sent_by("a", 4), now=2.0)  # nobody waits for the first any more

    def test_calls_can_be_cancelled_given_back_and_dropped(self) -> None:
        a, b, cast = sent_by("a", 1), sent_by("b", 2), sent_by("b")
        assert a.peer is not None
        mailbox = filled(a, b, cast)
        mailbox.park()
        assert mailbox.cancel(a.peer, 1)
        assert mailbox.take_calls() == [b]
        assert mailbox.take_parked() == [cast]
        assert len(mailbox) == 0

    def test_what_clients_sent_can_be_taken_out(self) -> None:
        a, own = sent_by("a", 1), request(0, None)
        mailbox = filled(own, a)
        assert mailbox.take_clients() == [a]
        assert not mailbox.parking
        assert mailbox.take(0.0) is own

    def test_each_client_keeps_the_order_of_what_it_sent(self) -> None:
        one, two = sent_by("a", 1), sent_by("a", 2)
        mailbox = filled()
        mailbox.park()
        for each in (two, one):
            assert mailbox.put(each, now=0.0)
        mailbox.put_in_order([two, one])
        mailbox.unpark()
        assert [mailbox.take(0.0), mailbox.take(0.0)] == [one, two]
