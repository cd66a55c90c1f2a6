"""A new version on a copy of what the old one has: what it is then, and what refuses it. Both in this process."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import StartError, SwapError
from dspex_runtime.host import context
from dspex_runtime.host.own_mail import OwnMail
from dspex_runtime.params.parameter import Parameter


class Plain(dx.GenServer):
    """A server whose state is what it is."""

    __version__ = "1"

    def init(self, n: int = 0) -> Any:
        return {"n": n}

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        return dx.Reply(state, state)


class Changing(Plain):
    __version__ = "2"

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        return {**state, "from": old_version, "extra": extra}


class Keeping(Plain):
    """One with a lock in its state, which says what is kept."""

    def init(self, n: int = 0) -> Any:
        return {"n": n, "lock": threading.Lock()}

    def get_state(self, state: Any) -> Any:
        return {"kept": state["n"]}

    def set_state(self, saved: Any, state: Any) -> Any:
        return {**state, "n": saved["kept"], "given": state.get("given", 0) + 1}


class KeepingChanged(Keeping):
    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        assert state["lock"], "it is the state of a server, not what was kept"
        return {**state, "from": old_version}


class SetsOnly(Plain):
    """One whose state is kept as it is."""

    def init(self, n: int = 0) -> Any:
        return {"fresh": True}

    def set_state(self, saved: Any, state: Any) -> Any:
        return {**state, **saved}


class Down(Changing):
    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        match old_version:
            case ("down", version):
                return {"n": state["n"], "down to": version, "extra": extra}
        return {**state, "up from": old_version}


class KeepingDown(Keeping):
    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        return {"kept": state["kept"] + 100} if old_version == ("down", "1") else state


def without_lock(state: Any) -> Any:
    return {key: value for key, value in state.items() if key != "lock"}


SERVERS = [
    ("the state as it is", Plain, Plain, {}, {"n": 5}),
    ("code_change", Plain, Changing, {"extra": "x"}, {"n": 5, "from": "1", "extra": "x"}),
    ("migrate goes first", Plain, Changing, {"migrate": lambda old, state: [old, state["n"]]}, ["1", 5]),
    ("get_state and set_state", Keeping, Keeping, {}, {"n": 5, "given": 1}),
    ("and code_change after that", Keeping, KeepingChanged, {}, {"n": 5, "given": 1, "from": "1"}),
    ("what is kept is the state itself", SetsOnly, SetsOnly, {}, {"fresh": True}),
    ("a state goes to the first set_state", Plain, SetsOnly, {}, {"fresh": True, "n": 5}),
    ("a class that keeps it no more", SetsOnly, Plain, {}, {"fresh": True}),
]


@pytest.mark.parametrize(("_", "before", "after", "how", "expected"), SERVERS, ids=[name for name, *_ in SERVERS])
def test_a_server_has_the_state_of_the_one_before(version: Any, _: str, before: Any, after: Any, how: Any, expected: Any) -> None:
    new = version(after, 0, rehearsal=True)
    found = new.rehearsal(**how).become(version(before, 5).image())
    state = new.hosted.get_state()
    assert (without_lock(state) if isinstance(state, dict) else state) == expected
    assert found["migrated"] is (bool(how) or "from" in expected)


DOWN = [
    ("its class makes it", Down, Plain, {"n": 5, "down to": "1", "extra": "x"}),
    ("and no code_change is run on the way up", Down, Down, {"n": 5, "down to": "1", "extra": "x"}),
    ("one that has none leaves it", Plain, Changing, {"n": 5}),
    ("what is kept, where it keeps something", KeepingDown, Keeping, {"n": 105, "given": 1}),
]


@pytest.mark.parametrize(("_", "before", "after", "expected"), DOWN, ids=[name for name, *_ in DOWN])
def test_on_the_way_back_the_class_that_is_left_makes_the_state(
    version: Any, _: str, before: Any, after: Any, expected: Any
) -> None:
    import cloudpickle

    old, new = version(before, 5), version(after, 0, rehearsal=True)
    image = old.image(has_down=True, down="1", extra=cloudpickle.dumps("x"))
    new.rehearsal().become(image)
    assert without_lock(new.hosted.get_state()) == expected
    assert old.hosted.get_state()["n"] == 5, "it was run on a copy"


def test_a_caller_s_migrate_is_run_on_the_way_back_too(version: Any) -> None:
    image = version(Down, 5).image(has_down=True, down="1")
    new = version(Plain, 0, rehearsal=True)
    new.rehearsal(migrate=lambda state: state["n"]).become(image)
    assert new.hosted.get_state() == 5


def test_a_state_that_only_its_set_state_understands_needs_one(version: Any) -> None:
    new = version(Plain, 0, rehearsal=True)
    with pytest.raises(SwapError, match="the state of 'sup/it' cannot be sent, and its new version has no set_state") as caught:
        new.rehearsal().become(version(Keeping, 5).image())
    assert (caught.value.code, caught.value.hint) == ("migrate", "define set_state(saved, state) in the new version, too")


class Failing(Plain):
    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        raise LookupError(old_version)


def test_a_code_change_that_raises_refuses_the_version(version: Any) -> None:
    new = version(Failing, 0, rehearsal=True)
    with pytest.raises(SwapError, match="code_change of 'sup/it' failed: LookupError: 1") as caught:
        new.rehearsal().become(version(Plain, 5).image())
    assert caught.value.code == "migrate"
    assert "in code_change" in str(caught.value.remote_traceback)


# -- parameters


class One(Plain):
    target = Parameter(float, 20.0)
    name = Parameter(str, "hall")
    items = Parameter(list, [])
    gone = Parameter(int, 1)


class Two(Plain):
    __version__ = "2"
    target = Parameter(float, 21.0, max=30.0)
    name = Parameter(str, "new default")
    items = Parameter(list, [])
    fresh = Parameter(int, 7)


def shown(new: Any) -> dict[str, Any]:
    return {name: new.owner.get(name) for name in new.owner.names()}


def test_parameters_that_somebody_set_stay_and_the_others_are_todays(version: Any) -> None:
    old, new = version(One), version(Two, rehearsal=True)
    old.owner.set("target", 25.0, who="me")
    old.owner.set("gone", 2, who="me")
    rehearsal = new.rehearsal()
    found = rehearsal.become(old.image())
    assert found == {"version": "2", "migrated": False, "parameters": [], "dropped": ["gone"]}
    assert shown(new) == {"target": 25.0, "name": "new default", "items": [], "fresh": 7}
    assert new.hosted.server.target == 25.0
    assert rehearsal.plan.parameters["target"][0] == old.owner.version("target")
    assert new.pipe.told == []


def test_a_kept_value_that_the_new_class_refuses_refuses_the_swap(version: Any) -> None:
    old, new = version(One), version(Two, rehearsal=True)
    old.owner.set("target", 99.0, who="me")
    with pytest.raises(SwapError) as caught:
        new.rehearsal().become(old.image())
    assert str(caught.value) == (
        "the new version of 'sup/it' refuses what is kept: target must be at most 30.0 (max); got 99.0 (float)"
    )
    assert caught.value.code == "migrate"
    assert "code_change" in str(caught.value.hint)


def test_what_a_migration_changed_is_not_asked_for_again(version: Any) -> None:
    class Mended(Two):
        def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
            self.target = 30.0
            self.items.append("migrated")
            return state

    old, new = version(One), version(Mended, rehearsal=True)
    old.owner.set("target", 99.0, who="me")
    rehearsal = new.rehearsal()
    assert rehearsal.become(old.image())["parameters"] == ["items", "target"]
    assert shown(new) == {"target": 30.0, "name": "new default", "items": ["migrated"], "fresh": 7}
    assert rehearsal.plan.migrated == {"items", "target"}


def test_a_value_that_a_migration_may_not_set_refuses_it(version: Any) -> None:
    class Wrong(Two):
        def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
            self.target = 31.0

    new = version(Wrong, rehearsal=True)
    with pytest.raises(SwapError, match=r"target of 'sup/it' must be at most 30.0 \(max\); got 31.0"):
        new.rehearsal().become(version(One).image())


def test_what_is_configured_otherwise_has_the_last_word(version: Any) -> None:
    old = version(One, params={"target": 22.0, "name": "a"})
    old.owner.set("target", 25.0, who="me")
    old.owner.set("name", "mine", who="me")
    new = version(Two, params={"target": 23.0, "name": "a"}, rehearsal=True)
    new.rehearsal().become(old.image())
    assert shown(new) == {"target": 23.0, "name": "mine", "items": [], "fresh": 7}


def test_a_configuration_that_is_wrong_fails_the_start_of_the_rehearsal(version: Any) -> None:
    with pytest.raises(StartError, match=r"target of 'sup/it' must be at most 30\.0"):
        version(Two, params={"target": 31.0}, rehearsal=True)
    with pytest.raises(StartError, match="has no parameter 'targe'"):
        version(Two, params={"targe": 31.0}, rehearsal=True)


def test_again_is_as_if_there_had_been_no_first_time(version: Any) -> None:
    class Counting(Keeping):
        total = Parameter(int, 0)
        fresh = Parameter(int, 7)

        def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
            self.total = self.total + state["n"]
            if state["n"] == 5:
                self.fresh = 8
            return {**state, "given": state["given"]}

    class Old(Keeping):
        total = Parameter(int, 0)

    old, new = version(Old, 5), version(Counting, rehearsal=True)
    old.owner.set("total", 10, who="me")
    rehearsal = new.rehearsal()
    rehearsal.become(old.image())
    assert (shown(new), new.hosted.state["n"]) == ({"total": 15, "fresh": 8}, 5)
    old.hosted.state["n"] = 6
    old.owner.set("total", 20, who="me")
    rehearsal.become(old.image())
    assert (shown(new), without_lock(new.hosted.state)) == ({"total": 26, "fresh": 7}, {"n": 6, "given": 1})
    assert rehearsal.plan.migrated == {"total"}


def test_what_init_or_an_earlier_migration_has_sent_to_itself_is_not_sent(version: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = OwnMail()
    monkeypatch.setattr(context.Process, "mail", mail)

    class Ticking(Plain):
        def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
            mail.start_timer(2.0, "the migration's")
            return state

    old, new = version(Plain, 5), version(Ticking, rehearsal=True)
    mail.start_timer(1.0, "init's")
    rehearsal = new.rehearsal()
    rehearsal.become(old.image())
    rehearsal.become(old.image())
    assert [timer.message for timer in mail._timers.pending()] == ["the migration's"]


# -- verification


def test_what_a_verification_does_is_undone(version: Any) -> None:
    class Busy(Two):
        def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
            self.target = 29.0
            self.items.append(request)
            state["n"] = 99
            return dx.Reply(True, state)

    old, new = version(One, 5), version(Busy, rehearsal=True)
    old.owner.set("target", 25.0, who="me")
    rehearsal = new.rehearsal(verify={"call": "ready?"})
    rehearsal.become(old.image())
    rehearsal.verify()
    assert shown(new) == {"target": 25.0, "name": "new default", "items": [], "fresh": 7}
    assert new.hosted.get_state() == {"n": 5}
    assert not rehearsal.plan.migrated


def test_a_version_that_is_not_well_is_refused(version: Any) -> None:
    new = version(Two, rehearsal=True)
    rehearsal = new.rehearsal(verify=lambda server, state: server.target < 1)
    rehearsal.become(version(One).image())
    with pytest.raises(SwapError) as caught:
        rehearsal.verify()
    assert caught.value.code == "verify"
