"""The one loop of the runtime process: epoll, timers, and what to do next. Never runs user code, never blocks in a callback.

Not asyncio: its import costs 50 ms at every start of a runtime and a task per event costs more than the event.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

Callback = Callable[[], None]
MAX_READY: Final = 256  # descriptors served per turn; bounds how long a timer can be late behind a busy storm
LONGEST_WAIT_S: Final = 3600.0  # epoll takes no more than 24 days; a timer further away is waited for in parts


class Timer:
    """A pending wake-up; `cancel` is idempotent and cheap (the heap entry stays and is skipped)."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: float, callback: Callback) -> None:
        self.deadline = deadline
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Make sure that the callback is not run."""
        self.callback = None


class EventLoop:
    """Level-triggered epoll loop with a timer heap. Single-threaded: every method belongs to the loop's thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._soon: deque[Callback] = deque()
        self._running = False
        self._signal_fds: tuple[int, int] | None = None
        self._signal_handlers: dict[int, Callback] = {}

    # -- descriptors ------------------------------------------------------------------------------------------------

    def watch(self, fd: int, on_readable: Callback) -> None:
        """Call `on_readable` whenever `fd` has bytes, an end or an error to tell."""
        self._readers[fd] = on_readable
        self._epoll.register(fd, select.EPOLLIN)

    def watch_writable(self, fd: int, on_writable: Callback | None) -> None:
        """Also call `on_writable` when a watched `fd` takes bytes again; None ends it."""
        if on_writable is None:
            if self._writers.pop(fd, None) is not None:
                self._epoll.modify(fd, select.EPOLLIN)
            return
        self._writers[fd] = on_writable
        self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

    def forget(self, fd: int) -> None:
        """Stop watching `fd`; call before closing it, since its number is reused at once."""
        if self._readers.pop(fd, None) is not None:
            self._writers.pop(fd, None)
            self._epoll.unregister(fd)

    # -- time -------------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return CLOCK_MONOTONIC seconds."""
        return time.monotonic()

    def call_at(self, deadline: float, callback: Callback) -> Timer:
        """Run `callback` once, not before `deadline`.

        Raises:
            ValueError: NaN: it would be neither before nor after any other timer, and hold them all up.
        """
        if deadline != deadline:
            raise ValueError("a deadline cannot be NaN")
        timer = Timer(deadline, callback)
        heapq.heappush(self._timers, (deadline, next(self._order), timer))
        return timer

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Run `callback` once, not before `delay_s` seconds from now."""
        return self.call_at(self.now() + delay_s, callback)

    def call_soon(self, callback: Callback) -> None:
        """Run `callback` in this turn's end, after what is being handled now."""
        self._soon.append(callback)

    # -- signals ----------------------------------------------------------------------------------------------------

    def on_signal(self, signo: signal.Signals, callback: Callback) -> None:
        """Call `callback` in the loop after `signo` arrived (several arrivals may be one call)."""
        if self._signal_fds is None:
            read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._signal_fds = (read_fd, write_fd)
            signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
            self.watch(read_fd, self._signalled)
        self._signal_handlers[int(signo)] = callback
        signal.signal(signo, lambda *_: None)  # the wakeup descriptor does the work

    def _signalled(self) -> None:
        assert self._signal_fds is not None
        for signo in set(os.read(self._signal_fds[0], 4096)):
            callback = self._signal_handlers.get(signo)
            if callback is not None:
                callback()

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve events until `stop`. An exception in a callback is logged and ends nothing but that callback."""
        self._running = True
        while self._running:
            for fd, events in self._poll():
                # A callback earlier in this batch may have closed the descriptor: look it up now, not before.
                if events & select.EPOLLOUT and (callback := self._writers.get(fd)):
                    self._guarded(callback)
                if events & ~select.EPOLLOUT and (callback := self._readers.get(fd)):
                    self._guarded(callback)
            self._run_timers()
            for _ in range(len(self._soon)):  # what they put here is for the next turn: descriptors and timers come first
                self._guarded(self._soon.popleft())

    def stop(self) -> None:
        """Leave `run` at the end of this turn."""
        self._running = False

    def close(self) -> None:
        """Release the loop's own descriptors."""
        if self._signal_fds is not None:
            signal.set_wakeup_fd(-1)
            self.forget(self._signal_fds[0])
            for fd in self._signal_fds:
                os.close(fd)
            self._signal_fds = None
        self._epoll.close()

    def _poll(self) -> list[tuple[int, int]]:
        timeout: float | None = None
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if self._timers:
            timeout = min(max(0.0, self._timers[0][0] - self.now()), LONGEST_WAIT_S)
        if self._soon:
            timeout = 0.0
        return self._epoll.poll(timeout, MAX_READY)

    def _run_timers(self) -> None:
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self._guarded(callback)

    def _guarded(self, callback: Callback) -> None:
        try:
            callback()
        except Exception:
            # A bug in one handler must not take every supervised module with it.
            log.exception("unexpected error in the event loop")
