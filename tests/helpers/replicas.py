"""What the tests of groups share: groups of the programs in programs_replicas.py, and calls to them that nobody may lose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import dspex_runtime as dx
from helpers.runtimes import Standing
from helpers.swapping import Running, load, more
from helpers.system import FOLDER
from helpers.waiting import wait_until

PROGRAMS = FOLDER / "programs_replicas.py"
NAMES = ("Clerk", "NewClerk", "PickyClerk", "PatientClerk", "Answerer")
CLERK, NEW, PICKY, PATIENT, ANSWERER = (f"{PROGRAMS}:{name}" for name in NAMES)


def is_there(rt: dx.Runtime, id: str) -> bool:
    with suppress(dx.NoProcessError):
        rt.info(id)
        return True
    return False


def delete_all(rt: dx.Runtime) -> None:
    """Leave nothing under the root."""
    for child in rt.tree()["children"]:
        if is_there(rt, child["id"]):
            rt.delete(child.get("group") or child["id"])


@pytest.fixture(scope="module")
def shared_runtime(standing: Standing) -> dx.Runtime:
    """One runtime for all groups of a file."""
    return standing("replicas", runtime={"spares": 2, "preload": ["dspy"]}, tree={"max_restarts": 1000, "children": []})


@pytest.fixture
def rt(shared_runtime: dx.Runtime) -> Iterator[dx.Runtime]:
    """That runtime, with nothing under its root."""
    yield shared_runtime
    delete_all(shared_runtime)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Where clerks note what they are told."""
    return tmp_path / "book"


def clerks(rt: dx.Runtime, book: Path | str = "", n: int = 3, **keys: Any) -> dx.ServerRef:
    """A group of servers under the root."""
    spec = {"id": "clerk", "server": CLERK, "args": [str(book)], "backoff": "none", "replicas": n, **keys}
    return rt.start_child("root", spec)  # type: ignore[no-any-return]


def answerers(rt: dx.Runtime, n: Any = 3, **keys: Any) -> dx.ModuleRef:
    """A group of modules under the root."""
    ref = rt.start_child("root", {"id": "qa", "module": ANSWERER, "backoff": "none", "replicas": n, **keys})
    return ref.dx  # type: ignore[no-any-return]


def pids(rt: dx.Runtime, group: str = "clerk") -> set[int | None]:
    return {rt.info(id).pid for id in rt.info(group).replicas or ()}


def noted(book: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in book.read_text().splitlines()) if book.exists() else Counter()


class Notes:
    """Calls that note a key, under load: which were answered, and which were in flight when their replica was killed."""

    def __init__(self, call: Callable[[str], Any]) -> None:
        self._call = call
        self.answered: set[str] = set()
        self.in_flight: set[str] = set()

    def __call__(self, who: int, n: int) -> None:
        key = f"{who}-{n}"
        try:
            self._call(key)
        except dx.NoProcessError:
            raise  # a call that was lost
        except dx.ProcessDownError:
            self.in_flight.add(key)
        else:
            self.answered.add(key)

    def check(self, book: Path) -> None:
        """Nothing is lost, nothing ran twice."""
        there = noted(book)
        assert [key for key, times in there.items() if times > 1] == []
        assert self.answered - there.keys() == set()
        assert there.keys() - self.answered - self.in_flight == set()


@contextmanager
def under_load(ref: dx.ServerRef, book: Path, threads: int = 4) -> Iterator[tuple[Notes, list[Any]]]:
    notes = Notes(lambda key: ref.call(["note", key], timeout=20))
    with load(notes, threads) as answered:
        more(answered, 20)
        yield notes, answered
        more(answered, 20)
    notes.check(book)


@contextmanager
def at_gate(call: Callable[..., Any], gate: Path, n: int) -> Iterator[list[str]]:
    """Have n calls wait in the replicas; yields the pids in which they do."""
    waiting = [Running(lambda: call(["gate", str(gate)], timeout=20)) for _ in range(n)]

    def there() -> list[str]:
        return [each.name.rpartition(".")[2] for each in gate.parent.glob(gate.name + ".*")]

    wait_until(lambda: len(there()) == n, what="calls at the gate")
    try:
        yield there()
    finally:
        gate.touch()
        for each in waiting:
            each.done()
