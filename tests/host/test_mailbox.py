"""The bounded mailbox: order, bounds, what leaves it and how."""

from __future__ import annotations

from typing import Any

from dspex_runtime.host.mailbox import Mailbox, Request

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


def test_own_messages_are_never_refused() -> None:
    mailbox = filled(request(1), limit=1)
    mailbox.put_own(request(0))
    assert len(mailbox) == 2


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
