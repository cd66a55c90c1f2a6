"""Reading a parameter, beside a dict, ETS, LMDB, Redis and a Manager's dict, in the same run.

Measured: from the reader's line of code to the value in its hand, through `View.get`; the writer is another process where one
writes meanwhile. Cached means that the value has not changed since this process read it last; uncached, that it was just set
(the descriptor of a blob is at hand: asking the runtime for it is a round trip more, once per version). A sample of what
takes less than a microsecond is the mean of a batch.

ETS: `ets:lookup`, compiled, in an emulator with one scheduler per core, and in one with a single scheduler (which needs no
locks, and has no second core to read from). "As designed": as the design this comes from has it, with the key {module, name}
and read_concurrency and write_concurrency. What is not installed (escript, lmdb, redis-server) is left out.

The cost per number of readers is CPU time, since there are more readers than cores.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.harness import Figure, Report
from dspex_runtime.params import layout, values
from dspex_runtime.params.memory import read_only
from dspex_runtime.params.table import Blob, Table
from dspex_runtime.params.view import View
from dspex_runtime.wire.codec import Codec

BATCH: Final = 1000
SAMPLES: Final = 400
FIRE_S: Final = 1.5
FEW: Final = 10  # reads in a batch while somebody writes
CODEC: Final = Codec(pickle=True)
CACHED: Final = "cached, a float"
ETS: Final = """\
#!/usr/bin/env escript
%%! -noinput SCHEDULERS
-mode(compile).
main([Batch, Samples]) ->
    Rows = [{"plain table, atom key", [], temperature, 0.2},
            {"as designed, a float", both(), {<<"qa">>, temperature}, 0.2},
            {"as designed, the whole parameter", both(), {<<"qa">>, temperature}, parameter()},
            {"as designed, 1 KB binary", both(), {<<"qa">>, text}, binary:copy(<<"x">>, 1000)}],
    N = list_to_integer(Batch), M = list_to_integer(Samples),
    [row(Row, N, M) || Row <- Rows].
both() -> [{read_concurrency, true}, {write_concurrency, true}].
parameter() -> #{name => temperature, type => float, value => 0.2, default => 0.2, constraints => #{min => 0.0, max => 2.0},
                 requires_grad => false, grad => nil, history => [], metadata => #{}, created_at => 1, updated_at => 2}.
row({Name, Options, Key, Value}, N, M) ->
    T = ets:new(t, [set, public, named_table | Options]),
    ets:insert(T, {Key, Value}),
    [io:format("~s;~w~n", [Name, one(T, Key, N)]) || _ <- lists:seq(1, M)],
    ets:delete(T).
one(T, K, N) -> S = erlang:monotonic_time(nanosecond), loop(T, K, N), (erlang:monotonic_time(nanosecond) - S) / N.
loop(_, _, 0) -> ok;
loop(T, K, N) -> [{_, _}] = ets:lookup(T, K), loop(T, K, N - 1).
"""


class Writer:
    """A table and its writer, in this process."""

    def __init__(self, closing: ExitStack) -> None:
        self.table = Table.create("bench")
        closing.callback(self.table.close)
        self.table.lease(1)
        self._blobs: dict[str, Blob] = {}

    def put(self, name: str, value: Any) -> None:
        """Publish a value under its next version."""
        slot = self.table.add(name)
        data = values.encode(CODEC, value)
        annex = values.Annex(time.time(), "bench", 0.0).pack()
        blob = None if layout.fits_inline(len(data), len(annex)) else Blob.create(data, annex)
        self.table.publish(slot, self.table.version(slot) + 1, data, annex, blob=blob)
        if blob is not None:
            if name in self._blobs:
                self._blobs[name].close()
            self._blobs[name] = blob

    def view(self) -> View:
        """Return a view as another process has it; a blob is at hand, without asking a keeper for it."""
        return View(read_only(self.table.fd), CODEC, lambda name, version: os.dup(self._blobs[name].fd))


def batches(name: str, read: str, /, *, batch: int = BATCH, clock: Callable[[], float] = time.perf_counter, **names: Any) -> Figure:
    """Return the time of one run of a line of code, each sample the mean of a batch."""
    timer = timeit.Timer(read, timer=clock, globals=names)
    timer.timeit(batch)
    return Figure(name, "us", tuple(s / batch * 1e6 for s in timer.repeat(SAMPLES, batch)))


def singles(name: str, before: Callable[[], object], read: Callable[[], object]) -> Figure:
    """Return the time of single reads, each after `before`."""
    samples = []
    for _ in range(SAMPLES * 5):
        before()
        started = time.perf_counter_ns()
        read()
        samples.append((time.perf_counter_ns() - started) / 1e3)
    return Figure(name, "us", tuple(samples))


def ours(report: Report, closing: ExitStack) -> None:
    """Cached and uncached reads of each kind of value."""
    kinds: dict[str, Any] = {
        "a float": 0.2,
        "1 KB of text": "x" * 1000,
        "1 KB list": list(range(400)),
        "1 MB of text": "x" * 2**20,
        "1 MB array": np.arange(2**17, dtype="f8"),
    }
    report.add(batches("dict", "held['temperature']", held={"temperature": 0.2}))
    writer = Writer(closing)
    view = writer.view()
    closing.callback(view.close)
    for kind, value in kinds.items():
        writer.put(kind, value)
        batch = BATCH if values.is_immutable(view.get(kind)) else BATCH // 10
        report.add(batches(f"cached, {kind}", f"view.get({kind!r})", batch=batch, view=view), beside="dict")
    for kind, value in kinds.items():
        put, get = (lambda: writer.put(kind, value)), (lambda: view.get(kind))  # noqa: B023
        report.add(singles(f"uncached, {kind}", put, get), beside=CACHED)


def ets(report: Report) -> None:
    """The same in Erlang."""
    if shutil.which("escript") is None:
        report.note("ETS: not measured, there is no escript here")
        return
    for schedulers, label in (("", "ETS"), ("+S 1", "ETS, one scheduler")):
        with tempfile.NamedTemporaryFile("w", suffix=".escript") as file:
            file.write(ETS.replace("SCHEDULERS", schedulers))
            file.flush()
            command = ["escript", file.name, str(BATCH), str(SAMPLES)]
            lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        rows: dict[str, list[float]] = {}
        for line in lines:
            name, _, ns = line.partition(";")
            rows.setdefault(name, []).append(float(ns) / 1e3)
        for name, samples in rows.items():
            report.add(Figure(f"{label}, {name}", "us", tuple(samples)), beside=CACHED)


def lmdb(report: Report, closing: ExitStack) -> None:
    """The same with LMDB: a read transaction and the value decoded, since it does not tell whether it changed."""
    if importlib.util.find_spec("lmdb") is None:
        report.note("LMDB: not measured, lmdb is not installed")
        return
    import lmdb as module

    env = module.open(closing.enter_context(tempfile.TemporaryDirectory()))
    closing.callback(env.close)
    with env.begin(write=True) as transaction:
        transaction.put(b"temperature", CODEC.pack([0.2]))
        transaction.put(b"text", CODEC.pack(["x" * 1000]))

    def read(key: bytes) -> Any:
        with env.begin() as transaction:
            return CODEC.unpack(transaction.get(key))[0]

    report.add(batches("LMDB, a float", "read(b'temperature')", read=read), beside=CACHED)
    report.add(batches("LMDB, 1 KB of text", "read(b'text')", read=read), beside=CACHED)


def redis(report: Report, closing: ExitStack) -> None:
    """The same with Redis over a Unix socket, without a client library."""
    if shutil.which("redis-server") is None:
        report.note("Redis: not measured, there is no redis-server here")
        return
    folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
    command = ["redis-server", "--port", "0", "--unixsocket", str(folder / "s"), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    closing.callback(server.wait)
    closing.callback(server.terminate)
    client = closing.enter_context(socket.socket(socket.AF_UNIX))
    for _ in range(500):
        with suppress(OSError):
            client.connect(str(folder / "s"))
            break
        time.sleep(0.01)
    client.sendall(b"SET temperature 0.2\r\n")
    client.recv(100)

    def read() -> float:
        client.sendall(b"GET temperature\r\n")
        return float(client.recv(100).split(b"\r\n")[1])

    report.add(batches("Redis, a float", "read()", batch=10, read=read), beside=CACHED)


def manager(report: Report, closing: ExitStack) -> None:
    """The same with multiprocessing.Manager().dict()."""
    held = closing.enter_context(multiprocessing.get_context("spawn").Manager()).dict()
    held.update({"temperature": 0.2, "large": "x" * 2**20})
    report.add(batches("Manager().dict(), a float", "held['temperature']", batch=10, held=held), beside=CACHED)
    report.add(batches("Manager().dict(), 1 MB of text", "held['large']", batch=1, held=held), beside=CACHED)


@contextmanager
def forked(*programs: Callable[[], object]) -> Iterator[None]:
    """Run programs in children until the end of the block."""
    pids = []
    for program in programs:
        pid = os.fork()
        if pid == 0:
            try:
                program()
            finally:
                os._exit(0)
        pids.append(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def under_fire(report: Report, closing: ExitStack) -> None:
    """Read while another process sets the very same parameter without a pause."""
    for kind, value in {"a float": 0.2, "1 KB of text": "x" * 1000, "60 KB of text": "x" * 60_000}.items():
        writer = Writer(closing)
        writer.put("x", value)
        view = writer.view()

        def write(writer: Writer = writer, value: Any = value) -> None:
            while True:
                writer.put("x", value)

        samples: list[float] = []
        with forked(write):
            first, started = view.version("x"), time.perf_counter()
            timer = timeit.Timer("get('x')", globals={"get": view.get})
            while (passed := time.perf_counter() - started) < FIRE_S:
                samples.append(timer.timeit(FEW) / FEW * 1e6)
            rate = (view.version("x") - first) / passed
        report.add(Figure(f"{kind}, while it is being set", "us", tuple(samples)), beside=CACHED)
        report.note(f"{kind}, while it is being set: {rate:,.0f} sets a second; every read gave a whole value")
        view.close()


def many_parameters(report: Report, closing: ExitStack) -> None:
    """Cached reads of parameters in random order."""
    for count in (10, 1000, 10_000):
        writer = Writer(closing)
        names = [f"parameter{n}" for n in range(count)]
        for name in names:
            writer.put(name, 0.2)
        view = writer.view()
        order = random.Random(0).choices(names, k=BATCH)
        [view.get(name) for name in names]
        figure = batches(f"cached, one of {count} parameters", "for name in order: get(name)", batch=1, order=order, get=view.get)
        report.add(Figure(figure.name, "us", tuple(us / BATCH for us in figure.samples)), beside=CACHED)
        view.close()


def many_readers(report: Report, closing: ExitStack) -> None:
    """CPU time of a cached read while other processes read the same parameter."""
    writer = Writer(closing)
    writer.put("x", 0.2)

    def read_on() -> None:
        get = writer.view().get
        while True:
            get("x")

    for count in (1, 4, 16):
        with forked(*[read_on] * (count - 1)):
            view = writer.view()
            report.add(
                batches(f"cached, one of {count} readers (CPU)", "view.get('x')", clock=time.process_time, view=view), beside=CACHED
            )
            view.close()


def main() -> None:
    """Run and report."""
    report = Report("Parameter read")
    with ExitStack() as closing:
        ours(report, closing)
        ets(report)
        lmdb(report, closing)
        redis(report, closing)
        manager(report, closing)
        under_fire(report, closing)
        many_parameters(report, closing)
        many_readers(report, closing)
    report.show()


if __name__ == "__main__":
    main()
