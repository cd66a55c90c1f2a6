"""The messages, as arrays `[kind, id, ...]`. This file is the whole protocol.

Data channels (client <-> module; the pair is brokered by the parent, `id` is the client's request number). A client counts what
it sends to one module in one row, calls and casts, whichever pipe they take: two that one thread sent are in that order.

    [HELLO, 0, {"protocol": [lo, hi], "mux": bool, "client": str}]        first frame of the client, no answer expected
    [REFUSED, 0, {"message": str, "protocol": [lo, hi]}]                  module -> client, then close
    [CALL, id, method, args, kwargs, deadline, key, credit, chain]        deadline: CLOCK_MONOTONIC seconds or None
                                                                          key: idempotency key (str) or None
                                                                          credit: 0, or items a stream may send ahead
                                                                          chain: None outside modules, else [[full id, token],
                                                                          ...] of the calls being served up the stack, the
                                                                          one that makes this call last; see host.deadlock
    [CAST, n, method, args, kwargs]                                       n: its number in that row; 0: none, it has no order
    [CANCEL, id]
    [CREDIT, id, n]                                                       n more items may be sent
    [BEGUN, id, running]                                                  False: in the mailbox, not begun; True: begun. Sent
                                                                          for requests that waited, on mux channels for all
    [REPLY, id, value]                                                    ends the request (and a stream)
    [FAULT, id, error]                                                    error: map, see wire.faults
    [RETRY, id]                                                           given back unbegun (drain, swap): resend it later
    [OVERLOADED, id, limit]                                               mailbox full, not begun
    [ITEM, id, value]                                                     one item of a stream

Control, client <-> parent:

    [HELLO, 0, {"protocol": [lo, hi], "role": "client"|"owner", "version": str, "pid": int}]   both ways; or REFUSED
    [CONTROL, id, op, args]          -> [REPLY, id, value] | [FAULT, id, error]
    [CHANNEL, id, module, after, deadline] -> [CHANNEL, id, info] with one descriptor | [FAULT, id, error]
                                     parks until an incarnation > after is ready, or there is none to come; one that
                                     parks is told at once: [BEGUN, id, False]. deadline 0.0: a fault instead of parking. Of
                                     a group it is a pipe to any replica, and info["group"] says who they are
    [EVENT, 0, {"type": "group", "id", "members": [[id, incarnation, slot]] | None, ...}]   to whoever has asked for a pipe to a
                                     group: who may be called from now on; None: it is no more
    [EVENT, 0, {"type": "pipes", "id", "call_timeout_s", "idempotent"}]   of one child that pipes lead to
    [PARAM, id, info]                answers a CONTROL that asks for shared memory, with one descriptor; [REPLY, id, None]: none
    [CANCEL, id]                     gives up a pending request or a subscription
    [SUBSCRIBE, id, topic, args]     -> [EVENT, id, payload] ... [BYE, id, reason]
    [DOWN, ref, id, incarnation, reason]   for a monitor made by CONTROL "monitor", or a link made by "link"
    [BYE, 0, "normal"]               client -> parent, last: its links end as those of a process that exited normally

Control, parent <-> module (the socketpair made at the fork):

    [CONTROL, 0, "assign", spec]     parent -> spare: become this module (see host.bootstrap)
    [CHANNEL, 0, info]               parent -> module, with one descriptor
    [CONTROL, id, op, args]          stop, drain, get_state, call, signal, metrics ... -> [REPLY|FAULT, id, ...]
    [READY, 0, info] | [FAULT, 0, error]   module -> parent: started; or could not
    [CONTROL, -id, op, args]         module -> parent: what a client may ask -> [REPLY|FAULT, -id, ...]; [CANCEL, -id] gives up
    [EVENT, 0, payload]              module -> parent
    [EVENT, 0, {"type": "message", "message": value}]   parent -> module: for handle_info
    [EVENT, 0, {"type": "changed" | "versions" | "forgotten", ...}]   parent -> module: of parameters it subscribed to, see
                                                                      node.subscriptions; "changed" module -> parent, too
    [BYE, 0, reason]                 module -> parent: last frame, the exit reason, then it exits
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, TypeAlias

PROTOCOL: Final = (2, 2)  # lowest and highest version this package speaks


class K(IntEnum):
    """Message kinds. Numbers are the protocol: add, never change."""

    HELLO = 1
    REFUSED = 2
    READY = 3
    CALL = 4
    CAST = 5
    BEGUN = 6
    REPLY = 7
    FAULT = 8
    RETRY = 9
    OVERLOADED = 10
    CANCEL = 11
    ITEM = 12
    CREDIT = 13
    CONTROL = 14
    EVENT = 15
    DOWN = 16
    PARAM = 17
    SUBSCRIBE = 18
    CHANNEL = 19
    BYE = 20


Message: TypeAlias = list[Any]

# Plain ints for the hot path: comparing an IntEnum member costs 5x an int.
HELLO: Final = int(K.HELLO)
REFUSED: Final = int(K.REFUSED)
READY: Final = int(K.READY)
CALL: Final = int(K.CALL)
CAST: Final = int(K.CAST)
BEGUN: Final = int(K.BEGUN)
REPLY: Final = int(K.REPLY)
FAULT: Final = int(K.FAULT)
RETRY: Final = int(K.RETRY)
OVERLOADED: Final = int(K.OVERLOADED)
CANCEL: Final = int(K.CANCEL)
ITEM: Final = int(K.ITEM)
CREDIT: Final = int(K.CREDIT)
CONTROL: Final = int(K.CONTROL)
EVENT: Final = int(K.EVENT)
DOWN: Final = int(K.DOWN)
PARAM: Final = int(K.PARAM)
SUBSCRIBE: Final = int(K.SUBSCRIBE)
CHANNEL: Final = int(K.CHANNEL)
BYE: Final = int(K.BYE)


def plain_call(method: str, args: list[Any], kwargs: dict[str, Any]) -> Message:
    """Return a client's first CALL, without anything that need not be said. Clients spell theirs out, for the time it takes."""
    return [CALL, 1, method, args, kwargs, None, None, 0, None]


def accepts(protocol: Any) -> bool:
    """Return whether a peer's [lo, hi] overlaps ours."""
    match protocol:
        case [int(lo), int(hi)]:
            return lo <= PROTOCOL[1] and hi >= PROTOCOL[0]
        case _:
            return False
