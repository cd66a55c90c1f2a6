"""What a set of a parameter costs by durability, beside a pipe round trip, and beside an LMDB put and an SQLite insert of the same.

Acknowledged: `ref.params[name] = number` by a client, until it returns: checked, written down and published to every reader by the
module's process, and answered; beside it a call of the same module, which is the round trip of our pipe, both ends on one core,
and the bare echo of a socketpair. In-process: one `Owner.set`, as from inside the module. Stores: one put, committed; WAL for
SQLite; what they promise stands beside them.
"""

from __future__ import annotations

import importlib
import operator
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np

import dspex_runtime as dx
from bench.call import raw_echo
from bench.harness import Report, in_unit, sample
from dspex_runtime.errors import ParameterError
from dspex_runtime.params.declaration import make_spec
from dspex_runtime.params.journal import Journal
from dspex_runtime.params.owner import Box, Kept, Owner
from dspex_runtime.types import Change, Durability
from dspex_runtime.wire.codec import Codec

N: Final = 20_000
N_CALLS: Final = 5_000
N_SYNCED: Final = 300  # each waits for the disk
N_LARGE: Final = 300
LARGE: Final = 131_072  # float64: 1 MiB


class Tuned(dx.GenServer):
    """A server with a number of each durability."""

    memory = dx.Parameter(float, 0.5, min=0.0, max=2.0, durability="memory")
    journal = dx.Parameter(float, 0.5, min=0.0, max=2.0, durability="journal")
    fsync = dx.Parameter(float, 0.5, min=0.0, max=2.0, durability="fsync")

    def init(self) -> None:
        """No state."""

    def handle_call(self, request: object, from_: object, state: None) -> dx.Reply:
        """Send back what came."""
        return dx.Reply(request, state)


class Alone:
    """The hooks of an owner that nobody listens to, and for which nobody keeps the past."""

    def offer(self, kind: str, facts: dict[str, Any], fd: int) -> None:
        """Nobody keeps it."""

    def notify(self, change: Change) -> None:
        """Nobody watches."""

    def report(self, text: str) -> None:
        """Show it."""
        print(text)

    def value_at(self, name: str, version: int) -> bytes:
        """Nothing but the current value is kept."""
        raise ParameterError(f"version {version} of {name!r} is not kept: no store stands beside this owner", name=name)


def opened(directory: Path) -> Owner:
    """Return an owner with a number of each durability, and a text and an array."""
    owner = Owner("bench", Codec(), durability=Durability.JOURNAL, journal=Journal.at(directory), incarnation=1, hooks=Alone())
    for durability in Durability:
        spec = make_spec(float, limits={"min": 0.0, "max": 2.0}, durability=durability)
        owner.declare(durability.value, spec, Box(0.0))
    owner.declare("text", make_spec(str), Box(""))
    owner.declare("array", make_spec("array"), Box(np.zeros(0)))
    owner.open(Kept(), {})
    return owner


def sqlite_insert(path: Path, synchronous: str, n: int) -> list[float]:
    """Return seconds per INSERT OR REPLACE of name, version and value, each its own transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE IF NOT EXISTS parameters (name TEXT PRIMARY KEY, version INTEGER, value BLOB)")
    value = msgpack.packb(0.5)
    seconds = sample(lambda: connection.execute("INSERT OR REPLACE INTO parameters VALUES ('x', 1, ?)", (value,)), n)
    connection.close()
    return seconds


def lmdb_put(path: Path, n: int, *, sync: bool) -> list[float] | None:
    """Return seconds per put in a transaction of its own, or None when lmdb is not installed."""
    try:
        lmdb = importlib.import_module("lmdb")
    except ImportError:
        return None
    environment = lmdb.open(str(path), sync=sync, writemap=not sync)
    value = msgpack.packb(0.5)

    def put() -> None:
        with environment.begin(write=True) as transaction:
            transaction.put(b"x", value)

    seconds = sample(put, n)
    environment.close()
    return seconds


def main() -> None:
    """Run and report."""
    every = os.sched_getaffinity(0)
    core = min(every)
    os.sched_setaffinity(0, {core})
    report = Report("Parameter set")
    with tempfile.TemporaryDirectory(prefix="dspex-bench-") as name:
        folder = Path(name)
        _acknowledged(report, core)
        _in_process(report, folder)
        _stores(report, folder)
    os.sched_setaffinity(0, every)
    report.show()


def _acknowledged(report: Report, core: int) -> None:
    report.add(in_unit("socketpair echo", raw_echo((core, core)), "us"))
    with dx.Runtime() as rt:
        ref = rt.start("bench.params_set:Tuned", id="tuned")
        pid = ref.info().pid
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), {core})
        report.add(in_unit("pipe round trip (a call)", sample(lambda: ref.call(0.5), N_CALLS), "us"), beside="socketpair echo")
        params = ref.params
        for durability in Durability:
            n = N_SYNCED if durability is Durability.FSYNC else N_CALLS
            seconds = sample(lambda: operator.setitem(params, durability.value, 0.5), n)  # noqa: B023
            report.add(in_unit(f"acknowledged set, {durability}", seconds, "us"), beside="pipe round trip (a call)")


def _in_process(report: Report, folder: Path) -> None:
    owner = opened(folder / "journal")
    for durability in Durability:
        n = N_SYNCED if durability is Durability.FSYNC else N
        seconds = sample(lambda: owner.set(durability.value, 0.5, who="bench"), n)  # noqa: B023
        report.add(in_unit(f"set, {durability}", seconds, "us"), beside="pipe round trip (a call)")
    text, array = "x" * 1024, np.zeros(LARGE)
    report.add(in_unit("set, journal, 1 KB", sample(lambda: owner.set("text", text, who="bench"), N), "us"), beside="set, journal")
    seconds = sample(lambda: owner.set("array", array, who="bench"), N_LARGE, warm_up=5)
    report.add(in_unit("set, journal, 1 MB array", seconds, "us"), beside="set, journal")
    owner.close()


def _stores(report: Report, folder: Path) -> None:
    for synchronous, promise, n in (("NORMAL", "survives a kill", N), ("FULL", "on the disk", N_SYNCED)):
        beside = "set, journal" if synchronous == "NORMAL" else "set, fsync"
        seconds = sqlite_insert(folder / f"{synchronous}.db", synchronous, n)
        report.add(in_unit(f"SQLite insert, {promise}", seconds, "us"), beside=beside)
    for sync, promise, n in ((False, "survives a kill", N), (True, "on the disk", N_SYNCED)):
        found = lmdb_put(folder / f"lmdb-{sync}", n, sync=sync)
        if found is None:
            report.note("LMDB is not installed: pip install lmdb")
            return
        report.add(in_unit(f"LMDB put, {promise}", found, "us"), beside="set, fsync" if sync else "set, journal")


if __name__ == "__main__":
    main()
