"""The registry as clients and modules ask for it (otp-semantics §2.8); locks with their waiting."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import CallTimeoutError, ConfigError, DspexError, NoProcessError, RegistryError
from dspex_runtime.types import Registered, Unregistered
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import CANCEL, FAULT, REPLY
from helpers.fake_node import Client, FakeNode, server


def ask(runtime: FakeNode, id: str, op: str, **args: Any) -> Any:
    """Ask as a module."""
    ((kind, _, value),) = runtime.process(id).ask(op, **args)
    if kind == FAULT:
        raise from_fault(value)
    return value


def holders(client: Client, key: Any) -> list[tuple[str, Any]]:
    return [(entry["id"], entry["value"]) for entry in client.ask("lookup", key=key)]


def answers(client: Client) -> dict[int, Any]:
    return {number: from_fault(value) if kind == FAULT else value for kind, number, value in client.heard()}


class TestRegister:
    """A client speaks for a process, a module for itself."""

    def test_by_a_client_names_the_process(self, runtime: FakeNode) -> None:
        client = runtime.boot({"id": "g", "supervisor": {"children": [server("a")]}}).owner
        client.ask("register", key="k", id="a", value=1)
        assert holders(client, "k") == [("g/a", 1)]
        assert client.ask("keys", id="a") == ["k"]
        with pytest.raises(ConfigError, match="say which process"):
            client.ask("register", key="l")

    def test_by_a_module_is_for_itself(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), server("b"))
        ask(runtime, "a", "register", key="k", value=1)
        assert holders(runtime.owner, "k") == [("a", 1)]
        assert (ask(runtime, "a", "keys"), ask(runtime, "b", "keys")) == (["k"], [])

    def test_of_what_does_not_run_is_refused(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        client.begin("stop", id="a")
        client.heard()
        with pytest.raises(NoProcessError, match="'a' is not running: it cannot be registered"):
            client.ask("register", key="k", id="a")
        with pytest.raises(NoProcessError, match="no such id"):
            client.ask("register", key="k", id="nobody")

    def test_of_a_supervisor_that_does_not_run_is_refused(self, runtime: FakeNode) -> None:
        client = runtime.boot({"id": "g", "supervisor": {"children": [server("a")]}}).owner
        client.ask("register", key="k", id="g")
        client.begin("stop", id="g")
        runtime.turn()
        client.heard()
        assert holders(client, "k") == []
        with pytest.raises(NoProcessError, match="'g' is not running"):
            client.ask("register", key="k", id="g")

    def test_of_a_key_that_is_held_names_the_holder(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("b")).owner
        client.ask("register", key="k", id="a")
        for id in ("a", "b"):
            with pytest.raises(RegistryError, match="'a'") as caught:
                client.ask("register", key="k", id=id)
            assert (caught.value.code, caught.value.holder) == ("already_registered", "a")

    @pytest.mark.parametrize("key", [[1], {"a": 1}, float("nan")])
    def test_of_what_is_no_key_is_refused(self, runtime: FakeNode, key: Any) -> None:
        with pytest.raises(ConfigError, match="a key is a str"):
            runtime.boot(server("a")).owner.ask("register", key=key, id="a")

    def test_keys_keep_their_types_over_the_wire(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        keys = [1, 1.0, True, "1", b"1", (1,), (1, (True, None)), None, 2**70]
        for key in keys:
            client.ask("register", key=key, id="a", value=repr(key))
        assert [repr(key) for key in client.ask("keys", id="a")] == [repr(key) for key in keys]
        assert [holders(client, key)[0][1] for key in keys] == [repr(key) for key in keys]


class TestUnregister:
    """A module's own entries; of a client that names nobody, all."""

    def test_by_a_module_leaves_the_others(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), server("b"))
        for id in ("a", "b", "a"):
            ask(runtime, id, "register", key="k", unique=False)
        assert ask(runtime, "a", "unregister", key="k") == 2
        assert holders(runtime.owner, "k") == [("b", None)]

    def test_by_a_client_is_of_one_or_of_all(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("b")).owner
        for id in ("a", "b", "b"):
            client.ask("register", key="k", id=id, unique=False)
        assert client.ask("unregister", key="k", id="a") == 1
        assert client.ask("unregister", key="k") == 2
        assert client.ask("unregister", key="k") == 0

    def test_of_entries_that_fit(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        for value in ({"n": 1}, {"n": 2}, None):
            client.ask("register", key="k", id="a", value=value, unique=False)
        assert client.ask("unregister", key="k", match={"n": 2}) == 1
        assert client.ask("unregister", key="k", match=None) == 1
        assert holders(client, "k") == [("a", {"n": 1})]


class TestUpdateValue:
    """Of the holder; never over a value that was not read."""

    def test_by_somebody_else_is_refused(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), server("b"))
        ask(runtime, "a", "register", key="k", value=1)
        with pytest.raises(RegistryError, match=r"'a'.* holds it, not 'b'") as caught:
            ask(runtime, "b", "update_value", key="k", value=2)
        assert caught.value.code == "not_registered"
        assert ask(runtime, "a", "update_value", key="k", value=2)
        assert holders(runtime.owner, "k") == [("a", 2)]

    def test_of_an_outdated_revision_changes_nothing(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        client.ask("register", key="k", id="a", value=1)
        (entry,) = client.ask("lookup", key="k")
        assert client.ask("update_value", key="k", value=2, revision=entry["revision"])
        assert not client.ask("update_value", key="k", value=3, revision=entry["revision"])
        assert holders(client, "k") == [("a", 2)]


class TestLooks:
    """whereis, lookup, select."""

    def test_whereis_answers_with_what_makes_a_reference(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a", register=["k", 1])).owner
        assert client.ask("whereis", key=("k", 1)) == {"id": "a", "incarnation": 1, "kind": "server"}
        assert client.ask("whereis", key="nobody") is None

    def test_whereis_of_a_duplicate_key_raises(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a")).owner
        client.ask("register", key="k", id="a", unique=False)
        with pytest.raises(RegistryError) as caught:
            client.ask("whereis", key="k")
        assert caught.value.code == "duplicate_key"

    def test_lookup_without_a_key_is_of_all(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a", register="k"), server("b")).owner
        client.ask("register", key="l", id="b", value=2)
        assert [entry["key"] for entry in client.ask("lookup")] == ["k", "l"]
        assert [entry["key"] for entry in client.ask("lookup", match=2)] == ["l"]
        entry = {"key": "l", "id": "b", "incarnation": 1, "kind": "server", "value": 2, "unique": True, "revision": 0}
        assert client.ask("lookup", key="l") == [entry]

    def test_select_is_by_metadata_and_version(self, runtime: FakeNode) -> None:
        client = runtime.boot(
            server("a", version="1", metadata={"team": "x"}),
            server("b", version="2", metadata={"team": "x"}),
            server("c", version="2"),
        ).owner

        def ids(**args: Any) -> list[str]:
            return [info["id"] for info in client.ask("select", **args)]

        assert ids() == ["a", "b", "c"]
        assert ids(version="2") == ["b", "c"]
        assert ids(version="2", metadata={"team": "x"}) == ["b"]
        assert ids(version="3") == []


class TestListeners:
    """A module is told of registrations and of explicit removals."""

    def test_are_told_until_they_stop_listening(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("ear")).owner
        ask(runtime, "ear", "listen")
        ask(runtime, "ear", "listen")
        client.ask("register", key="k", id="a", value=1)
        client.ask("unregister", key="k")
        client.ask("unregister", key="k")
        assert runtime.process("ear").mail == [Registered("k", "a", 1), Unregistered("k", "a")]
        assert (ask(runtime, "ear", "unlisten"), ask(runtime, "ear", "unlisten")) == (True, False)
        client.ask("register", key="k", id="a")
        assert len(runtime.process("ear").mail) == 2

    def test_no_removal_is_told_when_the_process_ends(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("ear")).owner
        client.ask("register", key="k", id="a")
        ask(runtime, "ear", "listen")
        runtime.crash("a")
        assert runtime.process("ear").mail == []

    def test_one_that_ended_is_told_nothing(self, runtime: FakeNode) -> None:
        client = runtime.boot(server("a"), server("ear")).owner
        ask(runtime, "ear", "listen")
        before = runtime.process("ear")
        runtime.crash("ear")
        client.ask("register", key="k", id="a")
        assert before.mail == runtime.process("ear").mail == []

    def test_a_client_has_no_mailbox(self, runtime: FakeNode) -> None:
        with pytest.raises(DspexError, match="mailbox"):
            runtime.boot().owner.ask("listen")


class TestLock:
    """Per key, first come, first served; what ends gives up what it holds."""

    def test_is_answered_when_it_is_free(self, runtime: FakeNode) -> None:
        one, two, three = runtime.boot().owner, runtime.connect(), runtime.connect()
        one.ask("lock", key="k", token="t")
        second, third = two.begin("lock", key="k", token="t"), three.begin("lock", key="k", token="t")
        assert (two.heard(), three.heard()) == ([], [])
        assert one.ask("unlock", key="k", token="t")
        assert (answers(two), three.heard()) == ({second: None}, [])
        assert two.ask("unlock", key="k", token="t")
        assert answers(three) == {third: None}
        assert not two.ask("unlock", key="k", token="t")

    def test_goes_on_when_the_holders_client_ends(self, runtime: FakeNode) -> None:
        one, two = runtime.boot().connect(), runtime.connect()
        one.ask("lock", key="k", token="t")
        waiting = two.begin("lock", key="k", token="t")
        one.close()
        assert answers(two) == {waiting: None}

    def test_goes_on_when_the_holding_process_ends(self, runtime: FakeNode) -> None:
        runtime.boot(server("a"), server("b"))
        ask(runtime, "a", "lock", key="k", token="t")
        assert runtime.process("b").ask("lock", key="k", token="t") == []
        runtime.crash("a")
        assert [message[0] for message in runtime.process("b").peer.sent] == [REPLY]

    def test_a_dead_waiter_is_skipped(self, runtime: FakeNode) -> None:
        one, two, three = runtime.boot().owner, runtime.connect(), runtime.connect()
        one.ask("lock", key="k", token="t")
        two.begin("lock", key="k", token="t")
        waiting = three.begin("lock", key="k", token="t")
        two.close()
        one.ask("unlock", key="k", token="t")
        assert answers(three) == {waiting: None}

    def test_a_wait_ends_with_its_time(self, runtime: FakeNode) -> None:
        one, two = runtime.boot().owner, runtime.connect()
        one.ask("lock", key="k", token="t")
        waiting = two.begin("lock", key="k", token="t", timeout=0.5)
        runtime.advance(0.6)
        error = answers(two)[waiting]
        assert isinstance(error, CallTimeoutError)
        assert str(error) == "lock 'k' was not free within 0.5 s"
        one.ask("unlock", key="k", token="t")
        assert one.ask("lock", key="k", token="t") is None, "nobody is in the line"

    def test_no_time_only_tries(self, runtime: FakeNode) -> None:
        one, two = runtime.boot().owner, runtime.connect()
        one.ask("lock", key="k", token="t", timeout=0)
        with pytest.raises(CallTimeoutError, match="lock 'k' was not free"):
            two.ask("lock", key="k", token="t", timeout=0)

    @pytest.mark.parametrize("how", ["cancel", "unlock"])
    def test_who_gives_up_leaves_the_line(self, runtime: FakeNode, how: str) -> None:
        one, two, three = runtime.boot().owner, runtime.connect(), runtime.connect()
        one.ask("lock", key="k", token="t")
        given_up = two.begin("lock", key="k", token="t")
        waiting = three.begin("lock", key="k", token="t")
        if how == "cancel":
            two.send([CANCEL, given_up])
        else:
            assert two.ask("unlock", key="k", token="t")
        one.ask("unlock", key="k", token="t")
        assert (two.heard(), answers(three)) == ([], {waiting: None})

    def test_asking_again_is_an_error_and_another_thread_waits(self, runtime: FakeNode) -> None:
        client = runtime.boot().owner
        client.ask("lock", key="k", token="t")
        with pytest.raises(RegistryError, match="holds it already"):
            client.ask("lock", key="k", token="t")
        waiting = client.begin("lock", key="k", token="other")
        assert client.heard() == []
        client.begin("unlock", key="k", token="t")
        assert waiting in answers(client)

    def test_malformed_time_leaves_nothing_behind(self, runtime: FakeNode) -> None:
        one, two = runtime.boot().owner, runtime.connect()
        one.ask("lock", key="k", token="t")
        with pytest.raises(DspexError, match="malformed request 'lock'"):
            two.ask("lock", key="k", token="t", timeout="soon")
        one.ask("unlock", key="k", token="t")
        assert one.ask("lock", key="k", token="t") is None
