"""The keeper process: holds what outlives modules, and owns the store. Started by `osproc.keeper_client`, spoken to over a socket.

    python -P -m dspex_runtime.state.keeper --sock=FD --lifeline=FD

The main thread serves descriptors and touches no disk; what needs one is carried out by another thread, and what writes
parameters that have no living module by a third. Ends with its socket, and with the runtime however that ends.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.errors import DspexError
from dspex_runtime.osproc import lifeline
from dspex_runtime.osproc.channel import FdChannel
from dspex_runtime.osproc.descriptors import close_all_but
from dspex_runtime.params.memory import read_only
from dspex_runtime.state.health import Health
from dspex_runtime.state.layout import NAME
from dspex_runtime.state.protocol import FDS_AT_ONCE, NO_ANSWER, WRITES
from dspex_runtime.state.service import Answer, Args, Service
from dspex_runtime.state.vault import Vault
from dspex_runtime.state.workers import WalMover, Worker
from dspex_runtime.wire.codec import Codec
from dspex_runtime.wire.faults import to_fault

if TYPE_CHECKING:
    from dspex_runtime.state.writing import Writing

__all__ = ["Keeper", "main"]

log = logging.getLogger(__name__)

BRINGS: Final = {"table": 1, "blob": 1, "volatile": 1, "stage": 1, "checkpoint": 1, "import": 1}  # operations with descriptors
LAST_WORK_S: Final = 5.0  # what is still to be done when the runtime is gone has so long

Operation = Callable[[Args, list[int]], Answer]


class Keeper:
    """Serves one parent over a channel that it owns."""

    def __init__(self, channel: FdChannel) -> None:
        self._channel = channel
        self._codec = Codec()
        self._vault = Vault()
        self._health = Health(self._tell)
        self._service = Service(self._vault, self._health)
        self._writing: Writing | None = None  #: its imports are a quarter of this process: made when something is to be written
        self._opened: Args = {}
        self._disk = Worker("disk", self._settle)
        self._writer = Worker("writer")
        self._wal: WalMover | None = None
        self._closing = False
        self._quick: dict[str, Operation] = {
            "table": self._table, "blob": self._blob, "volatile": self._volatile, "blob_of": self._blob_of,
            "figures": self._figures,
        }  # fmt: skip

    def serve(self) -> None:
        """Serve until the parent closes its end, or has this one closed."""
        try:
            while not self._closing:
                number, op, args = self._channel.recv()
                self._handle(number, op, args, [self._channel.take_fd() for _ in range(BRINGS.get(op, 0))])
        except (EOFError, OSError):
            pass  # the runtime is gone: what it did not say is in the journals

    def close(self) -> None:
        """Finish what was begun and let go of everything."""
        self._writer.close(LAST_WORK_S)
        self._disk.close(LAST_WORK_S)
        if self._wal is not None:
            self._wal.close()
        self._end_writing()
        self._vault.close()
        self._channel.close()

    def _handle(self, number: int, op: str, args: Args, fds: list[int]) -> None:
        match op:
            case _ if op in self._quick:
                self._carry_out(number, self._quick[op], args, fds)
            case "give":
                self._give(number, args)
            case "reader":
                self._reader(number, args)
            case _ if op in WRITES:
                self._writer.put(partial(self._carry_out, number, partial(self._write, op), args, fds))
            case "close":
                self._disk.put(partial(self._close, number))
            case _:
                self._before(op, args)
                self._disk.put(partial(self._carry_out, number, partial(self._service.handle, op), args, fds))
                if op == "configured":  # not later: what is set from now on has to count as newer than this
                    self._disk.put(self._settle)

    def _before(self, op: str, args: Args) -> None:
        """Do what does not wait for the disk, of an operation that does."""
        match op:
            case "open":
                self._opened = args
                self._wal = WalMover(Path(args["state_dir"]) / NAME, self._health)
            case "configured":
                args["data"] = self._service.encoded(args.pop("values"))
                self._vault.of(args["id"]).configured = args["data"]
                self._vault.take_rest(args["id"], None)  # it runs: what it was put back to is in it
            case "ended":
                held = self._vault.find(args["id"])
                if held is not None and held.incarnation == args["incarnation"]:
                    held.incarnation = 0
            case "drop":
                self._release(args["id"])
                self._vault.drop(args["id"])

    def _carry_out(self, number: int, operation: Operation, args: Args, fds: list[int]) -> None:
        try:
            value, brings = operation(args, fds)
        except DspexError as exc:
            self._refuse(number, exc)
        except Exception as exc:
            self._refuse(number, exc)
            raise
        else:
            self._answer(number, value, brings)
        finally:
            for fd in fds:
                os.close(fd)

    def _settle(self) -> float | None:
        try:
            return self._service.settle()
        finally:
            if self._wal is not None:
                self._wal.look()

    # -- answers ----------------------------------------------------------------------------------------------------

    def _answer(self, number: int, value: Any, fds: list[int]) -> None:
        """Answer with a value and descriptors, which are closed."""
        try:
            if number != NO_ANSWER:
                self._send_all(number, value, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _send_all(self, number: int, value: Any, fds: list[int]) -> None:
        while len(fds) > FDS_AT_ONCE:
            part, fds = fds[:FDS_AT_ONCE], fds[FDS_AT_ONCE:]
            self._send([number, "fds", len(part)], part)
        try:
            self._send([number, "ok", value, len(fds)], fds)
        except DspexError as exc:  # too large for a message
            self._refuse(number, exc)

    def _refuse(self, number: int, exc: Exception) -> None:
        if number == NO_ANSWER:
            log.error("what nobody waits for failed: %s", exc)
        else:
            self._send([number, "error", to_fault(exc, id=getattr(exc, "id", None), incarnation=None, codec=self._codec)])

    def _tell(self, facts: dict[str, Any], fd: int | None = None) -> None:
        self._send([NO_ANSWER, "event", facts], None if fd is None else [fd])

    def _send(self, message: list[Any], fds: list[int] | None = None) -> None:
        try:
            self._channel.send(message, fds=fds or ())
        except OSError:
            pass  # the runtime is gone; the next read says so

    # -- what needs no disk -----------------------------------------------------------------------------------------

    def _table(self, args: Args, fds: list[int]) -> Answer:
        self._vault.of(args["id"]).incarnation = args["incarnation"]
        self._release(args["id"])
        self._vault.take_table(args["id"], fds.pop())
        return None, []

    def _blob(self, args: Args, fds: list[int]) -> Answer:
        self._vault.take_blob(args["id"], args["name"], args["version"], fds.pop())
        return None, []

    def _volatile(self, args: Args, fds: list[int]) -> Answer:
        self._vault.take_volatile(args["id"], fds.pop())
        return None, []

    def _give(self, number: int, args: Args) -> None:
        id = args["id"]
        self._vault.of(id).incarnation = args["incarnation"]  # from here on that writes
        self._release(id)
        if id in self._vault.unread:
            self._disk.put(partial(self._carry_out, number, partial(self._service.handle, "give"), args, []))
            return
        self._answer(number, *self._vault.lend(id))

    def _reader(self, number: int, args: Args) -> None:
        fd = self._vault.table(args["id"])
        if fd is None:
            self._writer.put(partial(self._carry_out, number, self._read_stored, args, []))
            return
        try:
            self._answer(number, None, [read_only(fd)])
        finally:
            os.close(fd)

    def _blob_of(self, args: Args, _fds: list[int]) -> Answer:
        fd = self._vault.blob(args["id"], args["name"], args["version"])
        return None, [] if fd is None else [fd]

    def _figures(self, _args: Args, _fds: list[int]) -> Answer:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {**self._vault.figures(), "queued": self._disk.waiting, "max_rss_kb": usage.ru_maxrss}, []

    # -- parameters without a module (the writer's thread; `release` from any) -----------------------------------------

    def _write(self, op: str, args: Args, fds: list[int]) -> Answer:
        return self._writers().handle(op, args, fds)

    def _read_stored(self, args: Args, fds: list[int]) -> Answer:
        return self._writers().reader(args, fds)

    def _writers(self) -> Writing:
        if self._writing is None:
            from dspex_runtime.state.writing import Writing

            state_dir, shared = Path(self._opened["state_dir"]), self._opened["shared"]
            self._writing = Writing(self._vault, self._from_disk, self._tell, state_dir=state_dir, shared=shared)
        return self._writing

    def _release(self, id: str) -> None:
        if self._writing is not None:
            self._writing.release(id)

    def _end_writing(self) -> None:
        if self._writing is not None:
            self._writing.close()

    # -- the disk's thread, for others ------------------------------------------------------------------------------

    def _from_disk(self, op: str, args: Args) -> Any:
        """Ask the disk's thread from another one, and wait."""
        import queue

        box: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

        def job() -> None:
            try:
                box.put((self._service.handle(op, args, [])[0], None))
            except Exception as exc:
                box.put((None, exc))

        self._disk.put(job)
        value, error = box.get()
        if error is not None:
            raise error
        return value

    def _close(self, number: int) -> None:
        try:
            self._end_writing()
            if self._wal is not None:
                self._wal.close()  # the connection that is closed last takes the log with it: that is to be the store's
            self._carry_out(number, partial(self._service.handle, "close"), {}, [])
        finally:
            self._closing = True
            self._channel.close()  # wakes the main thread


def main(argv: list[str] | None = None) -> int:
    """Run the keeper process; returns its exit status."""
    given = dict(argument.removeprefix("--").split("=", 1) for argument in (sys.argv[1:] if argv is None else argv))
    sock_fd, life_fd = int(given["sock"]), int(given["lifeline"])
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signo, signal.SIG_IGN)  # the runtime decides when it ends
    close_all_but((sock_fd, life_fd), limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    for fd in (sock_fd, life_fd):
        os.set_inheritable(fd, False)
    os.umask(0o077)  # what modules keep is their user's
    lifeline.arm(life_fd)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # up to three descriptors a module, and those of large values
    keeper = Keeper(FdChannel(socket.socket(fileno=sock_fd), Codec()))
    try:
        keeper.serve()
    finally:
        keeper.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
