"""What the new version may ask in its rehearsal, and the old one after the swap."""

from __future__ import annotations

from typing import Any

import pytest

from dspex_runtime.errors import RegistryError, SwapError
from dspex_runtime.wire.faults import from_fault
from dspex_runtime.wire.messages import FAULT, REPLY
from helpers.fake_node import server
from helpers.fake_tree import FakeProcess
from helpers.swap_play import Play


def ask(process: FakeProcess, op: str, /, **args: Any) -> Any:
    (answer,) = [message for message in process.ask(op, **args) if message[0] in (REPLY, FAULT)]
    if answer[0] == FAULT:
        raise from_fault(answer[2])
    return answer[2]


@pytest.fixture
def rehearsing(play: Play) -> Play:
    return play.boot(server("a"), server("b")).begin()


class TestInRehearsal:
    """It is answered as if it served, and nothing has come of it when it is given up."""

    def everything(self, process: FakeProcess) -> None:
        ask(process, "register", key="k", value=1)
        ask(process, "listen")
        ask(process, "lock", key="l", token="main")
        ask(process, "monitor", id="b")
        ask(process, "link", id="b")
        ask(process, "set_alarm", alarm="hot", description=None)
        ask(process, "param_subscribe", pattern="b.*")
        ask(process, "exit", id="b", reason="normal")

    def test_nothing_has_come_of_it_when_it_is_given_up(self, rehearsing: Play) -> None:
        play, owner = rehearsing, rehearsing.runtime.owner
        self.everything(play.new())
        owner.ask("abort_swap", id="a")
        play.runtime.turn()
        assert owner.ask("whereis", key="k") is None
        assert owner.ask("alarms") == []
        assert ask(play.runtime.process("b"), "lock", key="l", token="t") is None
        play.runtime.crash("b")
        assert play.old["a"].mail == []
        play.nothing_has_happened()

    def test_it_is_done_when_it_serves(self, rehearsing: Play) -> None:
        play, owner = rehearsing, rehearsing.runtime.owner
        self.everything(play.new())
        play.to("")
        assert owner.ask("whereis", key="k")["id"] == "a"
        assert [alarm["id"] for alarm in owner.ask("alarms")] == ["hot"]
        assert play.runtime.process("b").ask("lock", key="l", token="t") == []
        assert play.runtime.node.subscriptions.follows(play.new().peer, "b.*")  # type: ignore[arg-type]
        owner.ask("register", key="k2", id="b")
        play.runtime.crash("b")
        assert [type(message).__name__ for message in play.new().mail] == ["Registered", "Down", "Exit"]

    def test_what_its_incarnation_has_already_is_fine(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        old = play.runtime.process("a")
        ask(old, "register", key="k", value=1)
        ref = ask(old, "monitor", id="b")["ref"]
        play.begin()
        ask(play.new(), "register", key="k", value=2)
        assert ask(play.new(), "monitor", id="b")["ref"] == ref
        again = ask(play.new(), "monitor", id="b")["ref"]
        assert again != ref
        assert ask(play.new(), "demonitor", ref=again) is True
        play.to("")
        assert [entry["value"] for entry in play.runtime.owner.ask("lookup", key="k")] == [2]
        play.runtime.crash("b")
        assert [message.ref for message in play.new().mail] == [ref]
        assert not play.events("swap_late")

    def test_a_monitor_of_what_ended_meanwhile_says_so(self, rehearsing: Play) -> None:
        play = rehearsing
        ref = ask(play.new(), "monitor", id="b")["ref"]
        play.runtime.crash("b")
        play.to("")
        assert [(message.ref, message.reason) for message in play.new().mail] == [(ref, "noproc")]

    def test_a_name_that_another_one_holds_refuses_it_at_once(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        ask(play.runtime.process("b"), "register", key="k")
        play.begin()
        with pytest.raises(RegistryError) as caught:
            ask(play.new(), "register", key="k")
        assert (caught.value.code, caught.value.holder) == ("already_registered", "b")

    def test_what_cannot_be_done_any_more_is_reported(self, rehearsing: Play) -> None:
        play = rehearsing
        ask(play.new(), "register", key="k")
        ask(play.runtime.process("b"), "register", key="k")
        play.to("")
        (late,) = play.events("swap_late")
        assert (late["id"], late["op"]) == ("a", "register")
        assert "is registered already" in late["message"]

    def test_queries_are_answered(self, rehearsing: Play) -> None:
        new = rehearsing.new()
        assert ask(new, "info", id="b")["id"] == "b"
        assert ask(new, "whereis", key="k") is None

    @pytest.mark.parametrize("op", ["start", "stop", "kill", "param_write", "restore", "shutdown"])
    def test_what_has_effect_on_others_is_refused(self, rehearsing: Play, op: str) -> None:
        with pytest.raises(SwapError, match=f"asked for '{op}' in its rehearsal: that has effect on others"):
            ask(rehearsing.new(), op, id="b", spec=server("n"), how="set", name="k")
        with pytest.raises(SwapError, match="'module_op suspend'"):
            ask(rehearsing.new(), "module_op", id="b", op="suspend")
        assert rehearsing.runtime.shown() == {"a": "READY", "b": "READY"}

    def test_answers_follow_from_what_it_asked_before(self, rehearsing: Play) -> None:
        new = rehearsing.new()
        assert ask(new, "unlink", id="b")["linked"] is False
        ask(new, "link", id="b")
        assert ask(new, "unlink", id="b")["linked"] is True
        assert ask(new, "clear_alarm", alarm="hot") is False
        ask(new, "set_alarm", alarm="hot", description=None)
        assert ask(new, "clear_alarm", alarm="hot") is True
        assert ask(new, "param_unsubscribe", pattern="b.*") is False
        ask(new, "param_subscribe", pattern="b.*")
        assert ask(new, "param_unsubscribe", pattern="b.*") is True
        assert ask(new, "unregister", key="k") == 0
        assert ask(new, "unlisten") is False
        assert ask(new, "unlock", key="l", token="t") is True


class TestAfterTheSwap:
    """The old one is nobody: it can give up nothing that is the new one's, and gets nothing for it."""

    def test_what_it_asks_for_itself_comes_to_nothing(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        play.runtime.launcher.stubborn.add("a")
        old = play.runtime.process("a")
        ask(old, "register", key="k")
        ref = ask(old, "monitor", id="b")["ref"]
        ask(old, "listen")
        play.swap()
        assert ask(old, "unregister", key="k") == 0
        assert ask(old, "demonitor", ref=ref) is False
        assert ask(old, "unlisten") is False
        assert ask(old, "register", key="mine") is None
        assert ask(old, "link", id="b")["id"] == "b"
        assert play.runtime.owner.ask("whereis", key="mine") is None
        old.end()
        play.runtime.turn()
        assert play.runtime.owner.ask("whereis", key="k")["id"] == "a"
        play.runtime.crash("b")
        assert [message.ref for message in play.new().mail] == [ref]

    def test_what_it_asks_of_others_is_done(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        play.runtime.launcher.stubborn.add("a")
        play.swap()
        old = play.old["a"]
        assert ask(old, "lock", key="l", token="t") is None
        assert play.runtime.process("b").ask("lock", key="l", token="t") == []
        old.end()
        play.runtime.turn()
        assert play.runtime.process("b").peer.sent[-1][0] == REPLY
