"""Tables that are attached by one thread while another one hears that they are those of nobody any more."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from dspex_runtime.client.params import Params
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import run
from dspex_runtime.errors import ParameterNotFoundError
from helpers.descriptor import Descriptor
from helpers.group_facts import group_facts
from helpers.param_tables import tables

if TYPE_CHECKING:
    from client.conftest import FakeRuntime


@pytest.fixture
def fds(runtime: FakeRuntime) -> Iterator[list[int]]:
    """The tables that the runtime gives, one after the other and the last again; each has a k of its own."""
    with tables() as made:
        both = [made.new(), made.new()]
        for n, table in enumerate(both):
            made.put(table, "k", n)
        fds = [table.fd for table in both]
        runtime.handlers["param_table"] = lambda args: Descriptor(os.dup(fds.pop(0) if len(fds) > 1 else fds[0]), {})
        yield fds


def k_of(session: Session, id: str = "qa") -> Any:
    return run(session.tables.reading(id, lambda view: view.get("k")))


def test_one_may_be_attached_while_those_of_a_group_are_forgotten(session: Session, fds: list[int]) -> None:
    attaching = threading.Thread(target=lambda: k_of(session, "new"))

    class Slow(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            if attaching.ident is None:
                attaching.start()
                attaching.join(0.5)
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    assert k_of(session, "old") == 0
    session.tables._views = {Slow(id): view for id, view in session.tables._views.items()}
    session.changed({"type": "group", **group_facts("qa#0", seq=1)})
    attaching.join(20)
    assert sorted(session.tables._views) == ["new", "old"]


def test_one_that_is_forgotten_while_it_is_attached_is_not_kept(
    session: Session, runtime: FakeRuntime, fds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dspex_runtime.client import tables as module

    class Turning(module.View):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            session.tables.is_read_of("qa", "qa#1")

    monkeypatch.setattr(module, "View", Turning)
    assert k_of(session) == 1


def test_what_was_a_parts_and_is_forgotten_by_another_thread_is_looked_up(session: Session, fds: list[int]) -> None:
    params = Params(session, "qa")

    class Gone:
        def __getitem__(self, name: str) -> Any:
            params._of_parts.clear()
            raise ParameterNotFoundError("gone")

    params._of_parts["k"] = (Gone(), "k")  # type: ignore[assignment]
    assert params["k"] == 0


def test_what_is_found_in_a_part_is_read_although_another_thread_forgets_it(session: Session, fds: list[int]) -> None:
    params = Params(session, "qa")

    class Forgetful(dict[str, Any]):
        def __setitem__(self, name: str, value: Any) -> None:
            pass

    params._of_parts = Forgetful()
    assert params["part.k"] in (0, 1)
