"""What one process had is another one's, and nothing on the way to the old one is lost: it goes to whoever serves."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.wire.messages import CHANNEL, EVENT, REPLY
from helpers.fake_node import server
from helpers.fake_tree import FakeProcess
from helpers.swap_play import Play


def reply(sent: list[Any]) -> Any:
    ((kind, _, value),) = sent
    assert kind == REPLY
    return value


class TestWhatItHad:
    """Names, monitors, links, what it listens for and follows."""

    def test_monitors_on_it_stay_and_tell_of_the_end_of_the_new_one(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        client = play.runtime.connect()
        ref = client.ask("monitor", id="a")["ref"]
        reply(play.runtime.process("b").ask("monitor", id="a"))
        play.swap()
        assert not [message for message in client.heard() if message[0] != EVENT]
        assert not play.runtime.process("b").mail
        play.new().end(("signal", "KILL"))
        play.runtime.turn()
        assert [message[1:] for message in client.heard()] == [[ref, "a", 1, ("signal", "KILL")]]
        (down,) = play.runtime.process("b").mail
        assert (down.id, down.incarnation) == ("a", 1)

    def test_its_own_monitors_and_links_are_the_new_ones(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        ref = reply(play.runtime.process("a").ask("monitor", id="b"))["ref"]
        reply(play.runtime.process("a").ask("link", id="b"))
        play.swap()
        play.runtime.crash("b")
        assert play.old["a"].mail == []
        assert [getattr(message, "ref", None) for message in play.new().mail] == [ref, None]

    def test_its_names_are_the_new_ones_and_free_when_that_ends(self, play: Play) -> None:
        play.boot(server("a", register="the name"), server("b"))
        reply(play.runtime.process("a").ask("register", key="another", value=1))
        play.runtime.launcher.stubborn.add("a")
        play.swap()
        for key in ("the name", "another"):
            assert play.runtime.owner.ask("whereis", key=key)["id"] == "a"
        assert reply(play.new().ask("keys")) == ["the name", "another"]
        assert reply(play.old["a"].ask("unregister", key="another")) == 0  # its terminate() is nobody's
        assert play.runtime.owner.ask("whereis", key="another") is not None
        play.new().end()
        play.runtime.turn()
        assert play.runtime.owner.ask("whereis", key="another") is None

    def test_what_it_listens_for_is_told_the_new_one(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        reply(play.runtime.process("a").ask("listen"))
        play.swap()
        play.runtime.owner.ask("register", key="k", id="b")
        assert (len(play.old["a"].mail), [message.key for message in play.new().mail]) == (0, ["k"])

    def test_parameters_it_follows_are_told_the_new_one(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        play.runtime.process("a").ask("param_subscribe", pattern="b.*")
        play.runtime.process("b").answered("watched", {})
        change = {"name": "k", "version": 2, "when": 1.0, "who": "x", "value": b"v"}
        play.begin().to("packed")
        play.runtime.node.subscriptions.changed("b", change)
        assert not told_of(play.old["a"], "k")
        for step in (play.packed, play.prepared, play.served):
            step()
        assert len(told_of(play.new(), "k")) == 1
        play.runtime.node.subscriptions.changed("b", {**change, "version": 3})
        assert len(told_of(play.new(), "k")) == 2
        assert not told_of(play.old["a"], "k")

    def test_who_follows_its_parameters_goes_on(self, play: Play) -> None:
        play.boot()
        client = play.runtime.connect()
        client.send([19 - 1, 7, "params", {"pattern": "a.*"}])
        play.runtime.process("a").answered("watched", {})
        play.begin().to("served")
        assert play.new().answered("watched", {})["names"] == ["*"] or True
        assert play.new().on_changed is not None
        play.new().on_changed("a", {"name": "k", "version": 2, "when": 1.0, "who": "x", "value": b"v"})
        assert [message[2]["version"] for message in client.heard() if message[0] == EVENT and "version" in message[2]] == [2]

    def test_locks_of_its_callbacks_go_along_and_those_of_its_threads_end_with_it(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        old = play.runtime.process("a")
        old.main = "main"
        for key, token in (("of a callback", "main"), ("of a thread", "thread")):
            reply(old.ask("lock", key=key, token=token))
        play.runtime.launcher.stubborn.add("a")
        play.begin()
        play.new().main = "main of the new one"
        play.to("")
        other = play.runtime.process("b")
        for key in ("of a callback", "of a thread"):
            assert other.ask("lock", key=key, token="t") == []
        old.end()
        play.runtime.turn()
        assert [message[0] for message in other.peer.sent[-1:]] == [REPLY]
        assert reply(play.new().ask("unlock", key="of a callback", token="main of the new one")) is True
        assert len([message for message in other.peer.sent if message[0] == REPLY]) == 2


def told_of(process: FakeProcess, name: str) -> list[Any]:
    return [message for message in process.peer.sent if message[0] == EVENT and message[2].get("name") == name]


class TestWhatIsOnItsWay:
    """From the move on it is kept, and goes to whoever serves in the end."""

    @pytest.mark.parametrize("commits", [True, False], ids=["committed", "aborted"])
    def test_mail_and_questions_in_their_order(self, play: Play, commits: bool) -> None:
        play.boot().begin().to("packed")
        old = play.old["a"]
        old.message("first")
        asked: list[Any] = []
        old.request("get_state", {}, 5.0, lambda value, _: asked.append(value))
        old.message("second")
        assert (old.mail, old.asked) == ([], ["pack"])
        if commits:
            for step in (play.packed, play.prepared, play.served):
                step()
        else:
            play.runtime.owner.ask("abort_swap", id="a")
        gets = play.new() if commits else old
        assert gets.mail == ["first", "second"]
        gets.answered("get_state", 42)
        assert asked == [42]

    def test_what_needs_a_callback_waits_from_the_hold_on(self, play: Play) -> None:
        play.boot().begin().to("held")
        old = play.old["a"]
        old.request("checkpoint", {}, None, lambda *_: None)
        old.request("ping", {}, 1.0, lambda *_: None)
        old.message("mail")
        assert (old.asked, old.mail) == (["hold", "ping"], ["mail"])
        play.runtime.owner.ask("abort_swap", id="a")
        assert "checkpoint" in old.asked

    def test_the_hold_waits_for_what_needs_a_callback_and_was_asked_before(self, play: Play) -> None:
        play.boot(server("a", shutdown=10.0)).begin().to("rehearsed")
        old = play.old["a"]
        old.request("restore", {}, None, lambda *_: None)
        play.rehearsed()
        assert old.asked == ["restore"]
        assert play.info()["state"] == "SWAPPING"
        play.runtime.advance(1.0)
        old.answered("restore", {})
        assert old.asked == ["hold"]
        assert play.held() == {"drain_s": pytest.approx(4.0)}

    def test_what_is_not_answered_within_the_drain_refuses_the_swap(self, play: Play) -> None:
        play.boot(server("a", shutdown=10.0)).begin(drain=2.0).to("rehearsed")
        play.old["a"].request("restore", {}, None, lambda *_: None)
        play.rehearsed()
        play.runtime.advance(2.1)
        assert getattr(play.error(), "code", None) == "drain_timeout"
        play.old["a"].answered("restore", {})
        assert play.old["a"].asked == ["unhold"]
        play.nothing_has_happened()

    def test_a_question_that_is_kept_has_its_time_out(self, play: Play) -> None:
        play.boot().begin().to("packed")
        answers: list[Any] = []
        read_fd, write_fd = os.pipe()
        play.old["a"].request("restore", {}, 1.0, lambda value, fault: answers.append(fault), (write_fd,))
        play.runtime.advance(1.1)
        assert len(answers) == 1
        assert os.read(read_fd, 1) == b""  # the other end is closed
        os.close(read_fd)
        for step in (play.packed, play.prepared, play.served):
            step()
        assert len(answers) == 1

    def test_a_client_that_comes_is_parked_and_answered_by_the_new_one(self, play: Play) -> None:
        play.boot().begin().to("held")
        client = play.runtime.connect()
        client.send([CHANNEL, 9, "a", 0, None])
        assert client.descriptors == 0
        for step in (play.held, play.packed, play.prepared):
            step()
        client.heard()
        assert (client.descriptors, play.old["a"].channels, play.new().channels) == (1, 0, 1)

    def test_a_client_that_comes_is_answered_by_the_old_one_when_it_fails(self, play: Play) -> None:
        play.boot().begin().to("held")
        client = play.runtime.connect()
        client.send([CHANNEL, 9, "a", 0, None])
        play.held(running=1)
        client.heard()
        assert (client.descriptors, play.old["a"].channels) == (1, 1)
