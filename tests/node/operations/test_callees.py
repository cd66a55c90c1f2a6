"""What whoever calls several children wants to know before."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import ConfigError
from helpers.fake_node import FakeNode, server


def known(runtime: FakeNode, *ids: Any) -> list[Any]:
    found: list[Any] = runtime.owner.ask("callees", ids=list(ids))
    return found


def test_each_id_is_told_in_the_order_asked(runtime: FakeNode) -> None:
    runtime.boot(server("a"), {"id": "g", "supervisor": {"children": [server("b")]}})
    first = {"id": "g/b", "kind": "server", "at_once": 1, "awaited": False, "takes": None}
    assert known(runtime, "b", "nobody", "a", "g/b") == [first, None, {**first, "id": "a"}, first]


def test_a_module_says_what_a_call_takes_and_how_many_it_runs(runtime: FakeNode) -> None:
    runtime.boot({"id": "m", "module": "pkg.mod:Name", "concurrency": 4})
    process = runtime.process("m")
    process.takes, process.awaited = ["question"], True
    (found,) = known(runtime, "m")
    assert found == {"id": "m", "kind": "module", "at_once": 4, "awaited": True, "takes": ["question"]}


def test_a_group_counts_all_its_replicas(runtime: FakeNode) -> None:
    runtime.boot({"id": "m", "module": "pkg.mod:Name", "concurrency": 2, "replicas": 3})
    (found,) = known(runtime, "m")
    assert (found["id"], found["kind"], found["at_once"]) == ("m", "module", 6)


@pytest.mark.parametrize("ids", [[7], [None], [["a"]]])
def test_ids_are_text(runtime: FakeNode, ids: list[Any]) -> None:
    runtime.boot(server("a"))
    with pytest.raises(ConfigError, match="'ids' are full ids"):
        known(runtime, *ids)
