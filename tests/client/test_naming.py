"""The registry as clients ask for it: keys checked here, values carried whole, no lock left by who did not get it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dspex_runtime.client.naming import Lock, lookup, register, registered, select, unregister, update_value, whereis
from dspex_runtime.client.steps import run
from dspex_runtime.errors import CallTimeoutError, ConfigError, RegistryError, RuntimeUnreachableError
from helpers.asking_client import Client


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize(
    "operation",
    [
        lambda client: register(client, [], "a"),
        lambda client: whereis(client, []),
        lambda client: lookup(client, []),
        lambda client: update_value(client, [], str),
    ],
)
def test_what_is_no_key_is_refused_here(client: Client, operation: Any) -> None:
    with pytest.raises(ConfigError, match="a key is a str"):
        run(operation(client))
    assert client.connection.asked == []


class Odd:
    """Needs a pickle."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd)

    __hash__ = None  # type: ignore[assignment]


def test_a_value_that_needs_a_pickle_passes_the_runtime_unopened(client: Client) -> None:
    run(register(client, "k", "a", {"odd": Odd(), "plain": 1}))
    ((_, asked),) = client.connection.asked
    assert asked["value"]["plain"] == 1
    assert not isinstance(asked["value"]["odd"], Odd)
    client.connection.answers = [[{"id": "a", "kind": "server", "value": asked["value"], "unique": True}]]
    assert run(lookup(client, "k")) == [(("server", "a"), {"odd": Odd(), "plain": 1})]


def test_a_match_is_sent_only_where_there_is_one(client: Client) -> None:
    client.connection.answers = [0, 0, [], []]
    run(unregister(client, "k"))
    run(unregister(client, "k", "a", match=None))
    run(registered(client))
    run(registered(client, None, {"n": 1}))
    assert [args for _, args in client.connection.asked] == [
        {"key": "k", "id": None},
        {"key": "k", "id": "a", "match": None},
        {},
        {"key": None, "match": {"n": 1}},
    ]


def test_whereis_of_nobody_is_none(client: Client) -> None:
    client.connection.answers = [None, {"id": "a", "kind": "module"}]
    assert [run(whereis(client, "k")) for _ in range(2)] == [None, ("module", "a")]


def test_select_has_version_beside_the_metadata(client: Client) -> None:
    client.connection.answers = [[{"id": "a", "kind": "server", "state": "READY", "newer": 1}]]
    assert [info.id for info in run(select(client, version="2", team="x"))] == ["a"]
    assert client.connection.asked == [("select", {"metadata": {"team": "x"}, "version": "2"})]


def test_update_value_is_made_again_from_a_value_that_has_changed(client: Client) -> None:
    entry = {"id": "a", "kind": "server", "unique": True, "revision": 1, "value": 5}
    client.connection.answers = [[entry], False, [{**entry, "revision": 2, "value": 7}], True]
    assert run(update_value(client, "k", lambda value: value + 1)) == (8, 7)
    assert [args["value"] for op, args in client.connection.asked if op == "update_value"] == [6, 8]


def test_update_value_of_nobodys_key_is_the_runtimes_to_refuse(client: Client) -> None:
    client.connection.answers = [[], RegistryError("not_registered", "no")]
    with pytest.raises(RegistryError):
        run(update_value(client, "k", lambda _: pytest.fail("there is nothing to make a value from")))


class TestLock:
    """Entered when granted, left in any case."""

    @pytest.mark.parametrize(
        ("error", "hints"),
        [
            (KeyboardInterrupt(), ["unlock"]),  # it may have been granted in that moment
            (RegistryError("already_locked", "no"), []),  # held further out, and to stay so
            (CallTimeoutError("late"), []),  # the runtime took it out of the line itself
        ],
    )
    def test_an_interrupted_wait_is_taken_back_and_a_refusal_is_not(
        self, client: Client, error: BaseException, hints: list[str]
    ) -> None:
        client.connection.answers = [error]
        with pytest.raises(type(error)), Lock(client.session, "k", None):
            pytest.fail("not entered")
        assert (client.connection.ops, client.connection.hints) == (["lock"], hints)

    def test_is_left_though_the_block_raises_and_the_runtime_is_gone(self, client: Client) -> None:
        client.connection.answers = [None, RuntimeUnreachableError("gone")]
        with pytest.raises(ValueError, match="no"), Lock(client.session, "k", None):
            raise ValueError("no")
        assert client.connection.ops == ["lock", "unlock"]

    def test_threads_have_tokens_of_their_own(self, client: Client) -> None:
        lock = Lock(client.session, "k", None)

        def use() -> None:
            with lock:
                pass

        with lock:
            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
        tokens = [args["token"] for _, args in client.connection.asked]
        assert tokens[0] == tokens[3]
        assert tokens[1] == tokens[2] != tokens[0]


def test_a_lock_that_was_not_entered_cannot_be_left(client: Client) -> None:
    with pytest.raises(RegistryError, match="was left without having been entered") as caught:
        Lock(client.session, "k", None).__exit__(None, None, None)
    assert caught.value.code == "not_locked"
    assert client.connection.asked == []
