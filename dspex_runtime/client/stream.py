"""A streamed call, item by item, with credit: the module sends ahead at most CREDIT_ITEMS that were not taken yet."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final

from dspex_runtime.client.attempt import Lost, may_resend, retry_pause_s
from dspex_runtime.client.calls import give_up, is_garbage, receive, refusal, retire, send_request, timed_out
from dspex_runtime.client.channel_pool import ChannelPool, Link
from dspex_runtime.client.deadline import deadline_after
from dspex_runtime.client.exits import process_down
from dspex_runtime.client.itself import refuse_itself
from dspex_runtime.client.routing import Route
from dspex_runtime.client.steps import run
from dspex_runtime.errors import CallTimeoutError
from dspex_runtime.host.context import CallCancelledError, chain_of, current_request
from dspex_runtime.wire.messages import BEGUN, CALL, CANCEL, CREDIT, ITEM, REFUSED, REPLY, RETRY, Message

CREDIT_ITEMS: Final = 32  # items a module may send ahead; renewed when half of them are taken


class Stream(Iterator[Any]):
    """The items of one streamed call. The request is sent at once; the time-out covers the whole stream.

    Closing it early, or losing it, cancels the call. `value` is what the method returned, after the last item.
    """

    def __init__(
        self, pool: ChannelPool, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> None:
        if pool.own:
            refuse_itself(pool.id)
        self._of = pool
        self._pool = pool  # of the process that has the request: of a group it is a replica's
        self._route: Route | None = None
        self._method = method
        self._request = ([*args], kwargs)
        self._timeout = timeout
        self._start = monotonic()
        self._deadline = deadline_after(pool.call_timeout_s if timeout is None else timeout, self._start)
        self._chain = chain_of(current_request.get())
        self._link: Link | None = None
        self._number = 0
        self._taken = 0
        self._given_back = 0
        self._key: str | None = None
        self.value: Any = None
        if self._deadline is not None and self._deadline <= self._start:
            raise timed_out(pool, method, self._start, self._deadline)
        self._open()

    def _open(self) -> None:
        while True:
            pool, link = self._borrowed()
            try:
                if self._sent(pool, link):
                    return
            except BaseException:
                self._over()
                raise
            self._over()

    def _sent(self, pool: ChannelPool, link: Link) -> bool:
        """Send the request; False when the pipe had ended before."""
        if self._timeout is None:
            self._deadline = deadline_after(pool.call_timeout_s, self._start)
        if self._key is None and self._method in pool.idempotent:
            self._key = pool.new_key()
        number = next(pool.numbers)
        message = [CALL, number, self._method, *self._request, self._deadline, self._key, CREDIT_ITEMS, self._chain]
        if not send_request(pool, link, message, self._deadline):
            return False
        self._pool, self._link, self._number = pool, link, number
        self._begun: bool | None = None
        return True

    def _borrowed(self) -> tuple[ChannelPool, Link]:
        while True:
            link = self._of.borrow(self._deadline) if self._of.group is None else None
            if link is not None:
                return self._of, link
            if self._route is None:
                self._route = Route(self._of)
            taken = self._route.take(self._deadline)
            if taken is not None:
                return taken

    def _over(self) -> None:
        """The request is not with the process any more that it was sent to."""
        if self._route is not None:
            self._route.over()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        while self._link is not None:
            link = self._link
            try:
                request = current_request.get()
                message = link.recv(self._deadline) if request is None else receive(request, link, self._deadline)
            except CallCancelledError:
                self._link = None
                self._over()
                raise
            except TimeoutError:
                self._link = None
                self._over()
                give_up(self._pool, link, self._number)
                raise timed_out(self._pool, self._method, self._start, self._deadline) from None
            except (EOFError, OSError) as exc:
                if self._link is not link:
                    raise CallTimeoutError(f"the request to {self._pool.id!r} was cancelled", id=self._pool.id) from None
                self._lost(link, reset=isinstance(exc, ConnectionResetError))
                continue
            except BaseException as exc:
                self.close()
                if is_garbage(exc):
                    raise run(process_down(self._pool.connection, self._pool.id, link.incarnation)) from exc
                raise
            if message[1] != self._number:
                if message[0] == REFUSED:
                    self.close()
                    raise self._pool.refused(message)
                continue
            if message[0] == ITEM:
                self._begun = True
                self._renew(link)
                return message[2]
            if message[0] == BEGUN:
                self._begun = message[2]
            else:
                self._end(link, message)
        raise StopIteration(self.value)

    def _end(self, link: Link, message: Message) -> None:
        self._link = None
        if message[0] == RETRY:
            retire(self._pool, link)
        else:
            self._pool.give_back(link)
        elsewhere = self._route is not None and self._route.given_back(message)
        self._over()
        if message[0] == RETRY and not elsewhere:
            sleep(retry_pause_s(self._given_back))
            self._given_back += 1
        if message[0] == RETRY or elsewhere:
            self._open()
            return
        if message[0] != REPLY:
            raise refusal(self._pool, message)
        self.value = message[2]

    def _renew(self, link: Link) -> None:
        self._taken += 1
        if self._taken % (CREDIT_ITEMS // 2) == 0:
            try:
                link.send([CREDIT, self._number, CREDIT_ITEMS // 2], self._deadline)
            except (OSError, EOFError):
                pass  # the end of the pipe shows at the next recv, after the items that are already here

    def _lost(self, link: Link, *, reset: bool) -> None:
        self._link = None
        self._over()
        self._pool.lost(link)
        lost = Lost(sent=True, reset=reset, begun=self._begun)
        if not may_resend(lost, idempotent=self._key is not None and not self._taken):
            raise run(process_down(self._pool.connection, self._pool.id, link.incarnation)) from None
        self._open()

    def close(self) -> None:
        """Cancel what has not come yet. Closing twice is fine; from another thread it ends the wait for the next item."""
        link, self._link = self._link, None
        if link is not None:
            link.say_and_close([CANCEL, self._number])
            self._over()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_link", None) is not None:
            self.close()
