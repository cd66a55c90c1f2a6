"""A key as an address: compared with its type; looked up at every use (the calls themselves: system/test_registry.py)."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from dspex_runtime.client.via import NamedRef, Via
from dspex_runtime.errors import ConfigError, NoProcessError
from helpers.asking_client import Client


def named(client: Client, key: Any = "k", kind: str = "server") -> NamedRef:
    return NamedRef(client.session, Via(key), kind)


def test_keys_are_compared_with_their_type() -> None:
    assert Via(1) == Via(1)
    assert Via(1) not in {Via(1.0), Via(True), Via("1")}
    with pytest.raises(ConfigError):
        Via([])


def test_every_attribute_is_that_of_the_present_holder() -> None:
    client = Client()
    client.connection.answers = [{"id": "a", "kind": "server"}, {"id": "b", "kind": "server"}, None]
    ref = named(client)
    assert [ref.id, ref.id] == ["a", "b"]
    with pytest.raises(NoProcessError, match="nobody is registered under key 'k'"):
        ref.call("x")


def test_a_holder_of_another_kind_is_refused() -> None:
    client = Client()
    client.connection.answers = [{"id": "a", "kind": "supervisor"}]
    with pytest.raises(ConfigError, match="key 'k' is held by 'a', a supervisor, not a server"):
        named(client).call("x")


def test_it_is_a_value_that_asks_nobody_to_be_copied_or_sent() -> None:
    client = Client()
    ref = named(client)
    assert pickle.loads(pickle.dumps(ref)) == copy.copy(ref) == ref
    assert ref != named(client, kind="module")
    assert ref != named(client, "other")
    assert client.connection.asked == []
