"""Which requests came ahead of something that may still be on its way; with real pipes: test_intake."""

from __future__ import annotations

from typing import Any, cast

from dspex_runtime.host.mailbox import Request
from dspex_runtime.host.peer import Peer
from dspex_runtime.host.send_order import SendOrder
from dspex_runtime.osproc.channel import Channel


def pipe(order: SendOrder, client: str = "c") -> Peer:
    peer = Peer(cast(Channel, None), client=client)
    order.joined(peer)
    return peer


def sent(order: SendOrder, peer: Peer, number: int) -> Request:
    """Return a request that came over this pipe and is queued."""
    request = Request(peer, 0, "work", [], {})
    request.number = number
    order.place(peer, request)
    if request.early:
        order.early.append(request)
    return request


def early(*requests: Request) -> list[Any]:
    return [request.early for request in requests]


def test_over_its_only_pipe_nothing_is_early() -> None:
    order = SendOrder()
    peer = pipe(order)
    assert early(*(sent(order, peer, number) for number in (1, 2, 3))) == [False, False, False]


def test_over_one_of_several_pipes_everything_is() -> None:
    order = SendOrder()
    one, _other, stranger = pipe(order), pipe(order), pipe(order, "another client")
    assert early(sent(order, one, 1), sent(order, stranger, 1)) == [True, False]


def test_behind_a_missing_number_everything_is_until_that_is_settled() -> None:
    order = SendOrder()
    peer = pipe(order)
    first, third, fourth = (sent(order, peer, number) for number in (1, 3, 4))
    assert early(first, third, fourth) == [False, True, True]
    order.settle([third, fourth])
    assert early(third, fourth, sent(order, peer, 5)) == [False, False, False]
    assert order.early == []


def test_what_was_settled_is_early_again_for_those_behind_another() -> None:
    order = SendOrder()
    peer = pipe(order)
    second, fourth = sent(order, peer, 2), sent(order, peer, 4)
    order.settle([second])
    assert order.early == [fourth]
    assert early(sent(order, peer, 5)) == [True]


def test_the_order_is_kept_where_each_clients_numbers_rise() -> None:
    order = SendOrder()
    one, other, stranger = pipe(order), pipe(order), pipe(order, "another client")
    sent(order, one, 5)
    sent(order, stranger, 3)
    assert order.is_kept()
    sent(order, other, 4)
    assert not order.is_kept()


def test_a_client_whose_last_pipe_closed_is_forgotten() -> None:
    order = SendOrder()
    one, other = pipe(order), pipe(order)
    order.settle([sent(order, one, 7)])
    order.left(one)
    order.left(one)  # twice is once
    assert not sent(order, other, 8).early
    order.left(other)
    assert sent(order, pipe(order), 8).early


def test_a_number_that_was_served_unqueued_is_used() -> None:
    order = SendOrder()
    peer = pipe(order)
    first = sent(order, peer, 1)
    order.pass_by(peer, 2)
    assert early(first, sent(order, peer, 3)) == [False, False]


def test_what_was_missing_before_it_is_still_missing() -> None:
    order = SendOrder()
    peer = pipe(order)
    sent(order, peer, 1)
    order.pass_by(peer, 3)
    assert early(sent(order, peer, 4)) == [True]


def test_a_clients_row_goes_on_elsewhere() -> None:
    order, other = SendOrder(), SendOrder()
    peer = pipe(order)
    sent(order, peer, 1)
    early_one = sent(order, peer, 3)
    other.adopt(order.senders(), [early_one])
    again = pipe(other)
    assert other.early == [early_one]
    assert sent(other, again, 4).early
    other.settle([early_one])
    other.settle([other.early[0]])
    assert not sent(other, again, 5).early
