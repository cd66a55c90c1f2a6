"""A reload from its plan to its end: what is asked of whom, in which order, and what is left when it does not get there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from node.reloading.conftest import Play

from dspex_runtime.errors import BusyError, ConfigError, DspexError, StartError, SwapError
from dspex_runtime.types import State
from helpers.fake_node import FakeNode, server


def group(id: str, *children: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"id": id, "backoff": "none", "supervisor": {**keys, "children": list(children)}}


class TestWhole:
    """Everything together, then once more."""

    OLD = (server("a"), server("gone"), group("g", server("b"), server("old")))
    NEW = (
        server("n"),
        server("a", metadata={"k": 1}),
        group("g", server("b", env={"A": "1"}), server("m"), strategy="one_for_all"),
    )

    def test_all_is_done_in_order_and_then_there_is_nothing_to_do(self, play: Play) -> None:
        play.boot(*self.OLD).did()
        assert play.reload(*self.NEW) == [
            *("done remove g/old", "done remove gone"),
            *("done add n", "done live a", "done live g", "done restart g/b", "done add g/m"),
        ]
        assert play.did() == ["stop g/old", "stop gone", "start n", "stop g/b", "start g/b", "start g/m"]
        assert (play.order(), play.order("g")) == (["n", "a", "g"], ["b", "m"])
        assert set(play.shown()) == {"n", "a", "g", "g/b", "g/m"}
        assert play.spec("a").metadata == {"k": 1}
        assert play.reload(*self.NEW) == []
        assert play.value == {"steps": [], "refused": [], "left": [], "fault": None}

    def test_a_plan_does_nothing(self, play: Play) -> None:
        play.boot(*self.OLD).did()
        number = play.begin(*self.NEW, plan=True)
        assert play.steps()[0] == "planned remove g/old"
        assert (play.did(), play.told, number > 0) == ([], [], True)

    def test_whoever_asked_is_told_of_each_step(self, play: Play) -> None:
        play.boot(server("a")).begin(server("a", metadata={"k": 1}), server("b"))
        plan, *steps = play.told
        assert [step["id"] for step in plan["plan"]["steps"]] == ["a", "b"]
        assert [(step["number"], step["of"], step["id"], step["state"]) for step in steps] == [
            *((1, 2, "a", "begun"), (1, 2, "a", "done")),
            *((2, 2, "b", "begun"), (2, 2, "b", "done")),
        ]

    def test_events_say_that_it_was_reloaded(self, play: Play) -> None:
        play.boot(server("a")).reload(server("a"), server("b"))
        (began,), (done,) = play.events("reload_started"), play.events("reloaded")
        assert (began["steps"], done["steps"]) == (1, 1)
        assert began["who"].startswith("client#")

    def test_a_supervisor_that_is_restarted_begins_with_what_the_file_says_now(self, play: Play) -> None:
        play.boot(*self.OLD).reload(*self.NEW)
        play.runtime.owner.begin("restart", id="g")
        play.turns()
        assert play.order("g") == ["b", "m"]
        assert dict(play.spec("g/b").launch.env) == {"A": "1"}  # type: ignore[union-attr]
        assert play.reload(*self.NEW) == []

    def test_the_file_is_known_from_then_on(self, play: Play, tmp_path: Path) -> None:
        play.boot(server("a"))
        assert play.client.ask("status")["file"] is None
        config = play.config(server("a"))
        play.send({**config, "file": str(tmp_path / "t.yaml")})
        assert play.client.ask("status")["file"] == str(tmp_path / "t.yaml")

    def test_the_root_goes_by_its_new_numbers(self, play: Play) -> None:
        play.boot(server("a"), max_restarts=0).reload(server("a"), max_restarts=5, strategy="one_for_all")
        play.runtime.crash("a")
        play.turns()
        assert play.shown()["a"] == "READY"
        assert play.client.ask("tree")["supervisor"]["max_restarts"] == 5

    def test_what_children_inherit_holds_for_those_that_come(self, play: Play) -> None:
        play.boot(server("a"))
        config = play.config(server("a"))
        play.send({**config, "defaults": {"restart": "transient"}, "runtime": {**config["runtime"], "spares": 3}})
        assert play.steps() == ["done live runtime", "done live a"]
        assert play.runtime.launcher.spares == 3
        play.client.begin("start_child", supervisor="root", spec=server("later"))
        play.turns()
        assert play.spec("later").restart == "transient"


class TestLive:
    """What a running process is told, and what only its parent reads."""

    def test_nothing_is_told_of_what_only_the_parent_reads(self, play: Play) -> None:
        play.boot(server("a")).did()
        keys: dict[str, Any] = {
            "restart": "transient",
            "limits": {"memory": "1GiB", "call_timeout": "9s"},
            "liveness": {"grace": "1s"},
        }
        assert play.reload(server("a", **keys, shutdown="9s", checkpoint={"keep": 3})) == ["done live a"]
        assert (play.configured, play.did()) == ([], [])
        process = play.runtime.process("a")
        assert process.launch.limits.memory_bytes == 2**30
        assert process.launch.liveness is not None
        assert process.launch.liveness.grace_s == 1.0
        assert play.spec("a").shutdown.timeout_s == 9.0

    def test_limits_that_the_process_goes_by_are_told(self, play: Play) -> None:
        play.boot(server("a", limits={"max_calls": 5})).reload(server("a", limits={"mailbox": 7, "nice": 3, "memory": "1GiB"}))
        assert play.configured == [("a", {"limits": {"mailbox": 7, "max_calls": None, "nice": 3}})]

    def test_parameters_are_set_as_configured_and_only_those_that_changed(self, play: Play) -> None:
        play.boot(server("a", params={"same": 1, "k": 1, "gone": 2})).reload(server("a", params={"same": 1, "k": 1.0, "new": "x"}))
        assert play.configured == [("a", {"params": {"set": {"k": 1.0, "new": "x"}, "unset": ["gone"]}})]
        assert play.runtime.keeper.of("configured")[-1] == {"id": "a", "values": {"same": 1, "k": 1.0, "new": "x"}}

    def test_a_value_that_is_refused_changes_nothing_and_is_found_again(self, play: Play) -> None:
        play.boot(server("a", params={"k": 1}))
        play.refuses["a"] = {"type": "ValueError", "message": "k is too large", "traceback": ""}
        new = server("a", params={"k": 99}, metadata={"m": 1})
        assert play.reload(new) == ["failed live a"]
        assert "too large" in str(play.error())
        assert play.spec("a").metadata == {}
        del play.refuses["a"]
        assert play.reload(new) == ["done live a"]
        assert play.spec("a").metadata == {"m": 1}

    def test_one_that_is_stopped_is_told_nothing(self, play: Play) -> None:
        play.boot(server("a")).runtime.owner.begin("stop", id="a")
        play.turns()
        assert play.reload(server("a", params={"k": 1}, args=[1])) == ["done live a"]
        assert (play.configured, play.shown()) == ([], {"a": "STOPPED"})
        play.runtime.owner.begin("start", spec={"id": "a"})
        play.turns()
        assert play.runtime.process("a").launch.args == (1,)
        assert play.reload(server("a", params={"k": 1}, args=[1])) == []

    def test_its_next_restart_waits_by_the_new_back_off(self, play: Play) -> None:
        play.boot(server("a"), max_restarts=9).reload(server("a", backoff={"initial": "7s", "jitter": 0}), max_restarts=9)
        for _ in range(2):
            play.runtime.crash("a")
        assert play.shown()["a"] == "BACKOFF"
        play.runtime.advance(7.0)
        assert play.shown()["a"] == "READY"

    def test_checkpoints_are_taken_by_the_new_period(self, play: Play) -> None:
        play.boot(server("a", checkpoint={"every": "1h"})).reload(server("a", checkpoint={"every": "10s"}))
        play.runtime.advance(11.0)
        assert [request[0] for request in play.runtime.process("a").fd_requests] == ["checkpoint"]


class TestSwap:
    """What a new process takes over."""

    def test_it_is_what_the_file_says(self, play: Play) -> None:
        play.boot(server("a", args=[1])).did()
        assert play.reload(server("a", args=[2], version="2", metadata={"k": 1})) == ["done swap a"]
        (swap,) = play.swaps
        assert swap.order.why == "reload"
        assert swap.order.spec.launch is not None
        assert (swap.order.spec.launch.args, swap.order.spec.version) == ((2,), "2")
        assert swap.facts["who"].startswith("client#")
        assert {"type": "swap", "id": "a", "phase": "rehearsing"} in play.told
        assert play.did() == []
        assert play.reload(server("a", args=[2], version="2", metadata={"k": 1})) == []

    def test_parameters_are_set_in_the_new_process(self, play: Play) -> None:
        play.boot(server("a", params={"k": 1})).reload(server("a", params={"k": 2}, args=[1]))
        (swap,) = play.swaps
        assert swap.order.spec.launch is not None
        assert swap.order.spec.launch.params == {"k": 1}, "it takes over what there is"
        assert play.configured == [("a", {"params": {"set": {"k": 2}, "unset": []}})]
        assert play.spec("a").launch.params == {"k": 2}  # type: ignore[union-attr]

    def test_one_that_fails_leaves_the_rest_for_the_next_reload(self, play: Play) -> None:
        play.boot(server("a"), server("b"), server("gone"))
        play.refused["a"] = SwapError("it would not verify", code="verify", id="a")
        new = (server("a", args=[1]), server("b", args=[1]), server("c"))
        assert play.reload(*new) == ["done remove gone", "failed swap a", "not_done swap b", "not_done add c"]
        assert isinstance(play.error(), SwapError)
        assert play.error().code == "verify"
        (failed,) = play.events("reload_failed")
        assert (failed["message"], failed["not_done"]) == ("it would not verify", ["b", "c"])
        play.refused.clear()
        assert play.reload(*new) == ["done swap a", "done swap b", "done add c"]

    def test_one_that_does_not_serve_any_more_is_restarted_instead(self, play: Play) -> None:
        slow = server("b", backoff={"initial": "20s"})
        play.boot(server("a"), slow, max_restarts=9)
        play.held.add("a")
        number = play.begin(server("a", args=[1]), {**slow, "args": [1]}, max_restarts=9)
        for _ in range(2):
            play.runtime.crash("b")
        assert play.shown()["b"] == "BACKOFF"
        play.swaps[0].end()
        play.turns()
        play.hear(number)
        assert play.steps() == ["done swap a", "done restart b"]
        assert play.shown()["b"] == "READY"

    def test_a_supervisor_that_is_busy_is_waited_for(self, play: Play) -> None:
        play.boot(server("a"), server("b"), max_restarts=9).runtime.launcher.script["b"] = ["hang"]
        play.runtime.crash("b")
        number = play.begin(server("a", metadata={"k": 1}), server("b"), max_restarts=9)
        assert play.answer is None
        play.runtime.process("b").become_ready()
        play.turns()
        play.hear(number)
        assert play.steps() == ["done live a"]

    def test_rolled_back_children_are_the_files_again(self, play: Play) -> None:
        play.boot(server("a", args=[1]))
        node = play.runtime.node
        from dataclasses import replace

        record = node.registry.resolve("a")
        assert node.supervision is not None
        assert record.spec.launch is not None
        node.supervision.swapped(record, replace(record.spec, launch=replace(record.spec.launch, args=(0,), sources={"/x": b"y"})))
        assert play.reload(server("a", args=[1])) == ["done swap a"]
        assert {change["field"] for change in play.value["steps"][0]["changes"]} == {"args", "source"}

    def test_an_edited_file_is_a_swap(self, play: Play, tmp_path: Path) -> None:
        file = tmp_path / "code.py"
        file.write_text("1")
        info = file.stat()
        play.boot(server("a"), server("b")).runtime.process("a").files = [[str(file), info.st_mtime_ns, info.st_size, None]]
        assert play.reload(server("a"), server("b")) == []
        file.write_text("22")
        assert play.client.ask("changed_sources") == {"a": [[str(file), file.stat().st_mtime_ns, 2]]}
        assert play.reload(server("a"), server("b")) == ["done swap a"]
        file.unlink()
        assert play.client.ask("changed_sources") == {"a": [[str(file), None, None]]}


class TestRestart:
    """What is stopped and started."""

    def test_it_has_its_new_environment(self, play: Play) -> None:
        play.boot(server("a")).did()
        assert play.reload(server("a", env={"A": "1"})) == ["done restart a"]
        assert play.did() == ["stop a", "start a"]
        assert dict(play.runtime.process("a").launch.env) == {"A": "1"}

    def test_one_that_does_not_come_up_is_found_again(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        play.runtime.launcher.script["a"] = ["fail"]
        new = (server("a", env={"A": "1"}), server("b", args=[1]))
        assert play.reload(*new) == ["failed restart a", "not_done swap b"]
        assert isinstance(play.error(), StartError)
        assert play.shown()["a"] == "FAILED"
        assert play.reload(*new) == ["done restart a", "done swap b"]
        assert play.shown()["a"] == "READY"

    def test_a_supervisor_that_becomes_dynamic(self, play: Play) -> None:
        play.boot(group("g", server("a"))).did()
        dynamic = {"id": "g", "backoff": "none", "supervisor": {"dynamic": True}}
        assert play.reload(dynamic) == ["done restart g"]
        assert play.did() == ["stop g/a"]
        assert set(play.shown()) == {"g"}
        assert play.reload(dynamic) == []
        assert play.reload(group("g", server("a"))) == ["done restart g"]
        assert play.shown() == {"g": "READY", "g/a": "READY"}

    def test_a_server_that_becomes_a_supervisor(self, play: Play) -> None:
        play.boot(server("x"), server("a"))
        assert play.reload(group("x", server("y")), server("a")) == ["done remove x", "done add x"]
        assert play.order() == ["x", "a"]


class TestChildren:
    """Who is the file's, and who is not."""

    def test_what_was_added_at_run_time_stays_and_is_named(self, play: Play) -> None:
        play.boot(group("g", server("a")))
        play.client.begin("start_child", supervisor="g", spec=server("mine"))
        play.client.begin("start", spec=server("alone"))
        play.turns()
        assert play.reload(group("g", server("a"), server("b"))) == ["done add g/b"]
        assert play.value["left"] == ["g/mine"]
        assert play.order("g") == ["a", "b", "mine"]
        assert play.shown()["alone"] == "READY"

    def test_what_the_file_names_by_now_is_its(self, play: Play) -> None:
        play.boot(server("a"))
        play.client.begin("start_child", supervisor="root", spec=server("mine"))
        play.turns()
        assert play.reload(server("mine", args=[1]), server("a")) == ["done live root", "done swap mine"]
        assert play.value["left"] == []
        assert play.reload(server("a")) == ["done remove mine"]

    def test_an_id_that_runs_alone_is_in_the_way(self, play: Play) -> None:
        play.boot(server("a"))
        play.client.begin("start", spec=server("x"))
        play.turns()
        play.begin(server("a"), server("x"), server("y"))
        with pytest.raises(ConfigError, match="1 change") as caught:
            _ = play.value
        assert "x: server pkg.mod:Name; one of this id was started alone" in caught.value.problems[0]
        assert "y" not in play.shown()

    def test_one_that_somebody_deleted_is_added_again(self, play: Play) -> None:
        play.boot(server("a"), server("b")).client.begin("delete", id="a")
        play.turns()
        assert play.reload(server("a"), server("b")) == ["done add a"]
        assert play.order() == ["a", "b"]

    def test_a_temporary_one_that_is_through_is_not_started_again(self, play: Play) -> None:
        job = server("job", restart="temporary")
        play.boot(server("a"), job).runtime.process("job").end("normal")
        play.turns()
        assert play.reload(server("a"), job) == []
        assert play.reload(server("a"), {**job, "args": [1]}) == ["done add job"]

    def test_what_has_failed_is_started_again(self, play: Play) -> None:
        play.boot(server("a")).runtime.launcher.script["b"] = ["ready", "fail"]
        play.reload(server("a"), server("b"))
        play.client.begin("restart", id="b")
        play.turns()
        assert play.shown()["b"] == "FAILED"
        assert play.reload(server("a"), server("b")) == ["done restart b"]
        assert play.shown()["b"] == "READY"

    def test_a_child_that_does_not_start_is_added_by_the_next_reload(self, play: Play) -> None:
        play.boot(server("a")).runtime.launcher.script["b"] = ["fail"]
        assert play.reload(server("a"), server("b")) == ["failed add b"]
        assert play.reload(server("a"), server("b")) == ["done add b"]


class TestDown:
    """Supervisors that do not run."""

    def test_below_one_that_is_stopped_all_is_as_the_file_says_when_it_starts(self, play: Play) -> None:
        play.boot(group("g", server("a"), server("b"))).client.begin("stop", id="g")
        play.turns()
        play.did()
        new = group("g", server("n"), server("a", args=[1]))
        assert play.reload(new) == ["done remove g/b", "done add g/n", "done live g/a"]
        assert (play.did(), play.shown()["g"]) == ([], "STOPPED")
        assert play.reload(new) == []
        play.client.begin("start", spec={"id": "g"})
        play.turns()
        assert play.order("g") == ["n", "a"]
        assert play.runtime.process("g/a").launch.args == (1,)
        assert play.reload(new) == []

    def test_one_that_gave_up_is_started_with_what_was_mended(self, play: Play) -> None:
        g = {**group("g", server("a"), max_restarts=0), "restart": "temporary"}
        play.boot({**g, "restart": "transient"}, server("z"))
        play.runtime.crash("g/a")
        play.turns()
        assert play.shown()["g"] == "FAILED"
        mended = {**group("g", server("a", args=[1]), max_restarts=0), "restart": "transient"}
        assert play.reload(mended, server("z")) == ["done live g/a", "done restart g"]
        assert play.shown() == {"g": "READY", "g/a": "READY", "z": "READY"}
        assert play.runtime.process("g/a").launch.args == (1,)

    def test_so_is_the_root(self, play: Play) -> None:
        play.boot(server("a"), server("b"), max_restarts=0)
        play.runtime.crash("a")
        play.turns()
        assert play.client.ask("tree")["state"] == "FAILED"
        new = (server("a", args=[1]), server("c"))
        assert play.reload(*new, max_restarts=1) == ["done remove b", "done live a", "done add c", "done restart root"]
        assert play.shown() == {"a": "READY", "c": "READY"}
        assert play.reload(*new, max_restarts=1) == []


class TestInterrupted:
    """Whoever asked does not wait any more, or others are at it, too."""

    def test_the_step_that_runs_is_given_up_and_no_other_begun(self, play: Play) -> None:
        play.boot(server("a"), server("b"), server("gone"))
        play.held.add("a")
        new = (server("a", args=[1]), server("b", args=[1]))
        number = play.begin(*new)
        assert play.answer is None
        play.cancel(number)
        assert play.swaps[0].given_up == "the reload was interrupted"
        assert len(play.swaps) == 1
        assert play.events("reload_failed")[0]["not_done"] == ["b"]
        assert set(play.shown()) == {"a", "b"}, "what was done is done"
        play.held.clear()
        assert play.reload(*new) == ["done swap a", "done swap b"]

    def test_so_it_is_when_the_client_is_gone(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        play.held.add("a")
        client = play.runtime.connect()
        play.send(play.config(server("a", args=[1]), server("b", args=[1])), client=client)
        client.close()
        play.turns()
        assert play.swaps[0].given_up is not None
        assert play.reload(server("a"), server("b")) == []

    def test_a_step_that_cannot_be_given_up_is_finished(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        play.runtime.launcher.script["n"] = ["hang"]
        number = play.begin(server("n"), server("a", args=[1]), server("b"))
        play.cancel(number)
        play.runtime.process("n").become_ready()
        play.turns()
        assert (play.shown()["n"], play.swaps) == ("READY", [])

    def test_one_at_a_time(self, play: Play) -> None:
        play.boot(server("a"))
        play.held.add("a")
        play.begin(server("a", args=[1]))
        second = play.runtime.connect()
        with pytest.raises(BusyError, match="being reloaded"):
            second.ask("reload", config=play.config(server("a")), plan=False)
        assert second.ask("reload", config=play.config(server("a")), plan=True)["steps"] == []
        play.swaps[0].end()
        play.turns()

    def test_what_others_have_done_meanwhile_is_not_done_again(self, play: Play) -> None:
        play.boot(server("a"), server("b"))
        play.held.add("a")
        number = play.begin(server("a", args=[1]), server("c"))
        assert [step["id"] for step in play.told[0]["plan"]["steps"]] == ["b", "a", "c"]
        other = play.runtime.connect()
        other.begin("start_child", supervisor="root", spec=server("c"))
        play.turns()
        play.swaps[0].end()
        play.turns()
        play.hear(number)
        assert play.steps() == ["done remove b", "done swap a", "done add c"]
        assert play.did().count("start c") == 1

    def test_a_supervisor_that_goes_meanwhile_ends_it(self, play: Play) -> None:
        play.boot(server("a"), group("g", server("b")))
        play.held.add("a")
        number = play.begin(server("a", args=[1]), group("g", server("b"), server("c")))
        play.runtime.connect().begin("delete", id="g")
        play.turns()
        play.swaps[0].end()
        play.turns()
        play.hear(number)
        assert play.steps() == ["done swap a", "failed add g/c"]
        assert isinstance(play.error(), DspexError)
        play.held.clear()
        assert play.reload(server("a", args=[1]), group("g", server("b"), server("c"))) == ["done add g"]

    def test_the_end_of_the_runtime_ends_it(self, play: Play, runtime: FakeNode) -> None:
        play.boot(server("a"), server("b"))
        play.runtime.launcher.script["n"] = ["hang"]
        play.begin(server("n"), server("a", args=[1]), server("b"))
        runtime.node.shutdown()
        play.turns()
        assert runtime.node.reload is None


class TestRefused:
    """What a reload does not do."""

    def test_only_another_start_can_do_that(self, play: Play) -> None:
        play.boot(server("a"))
        config = play.config(server("a", args=[1]))
        play.send({**config, "runtime": {**config["runtime"], "env": {"A": "1"}}, "name": "other"})
        with pytest.raises(ConfigError) as caught:
            _ = play.value
        assert caught.value.problems == [
            "name t -> other; `dspex down` and `dspex up` apply it",
            "runtime.env.A changed; `dspex down` and `dspex up` apply it",
        ]
        assert play.swaps == []

    def test_a_plan_says_so(self, play: Play) -> None:
        play.boot(server("a"))
        play.send({**play.config(server("a")), "name": "other"}, plan=True)
        assert [step["action"] for step in play.value["refused"]] == ["down/up"]

    def test_a_configuration_that_is_wrong(self, play: Play) -> None:
        play.boot(server("a"))
        play.send({**play.config(server("a")), "shared": {"k": {"typ": "int"}}})
        with pytest.raises(ConfigError):
            _ = play.value

    def test_a_runtime_that_is_not_up_or_on_its_way_out(self, play: Play, runtime: FakeNode) -> None:
        play.boot(server("a"))
        runtime.node.state = "stopping"
        play.send(play.config(server("a")))
        with pytest.raises(DspexError, match="the runtime is stopping"):
            _ = play.value

    def test_a_module_does_not_reload(self, play: Play) -> None:
        play.boot(server("a"))
        (answer,) = play.runtime.process("a").ask("reload", config=play.config(server("a")))
        assert "as a client" in answer[2]["message"]


def test_states_are_shown_as_ever(play: Play) -> None:
    play.boot(server("a")).reload(server("a", metadata={"team": "x"}))
    info = play.client.ask("info", id="a")
    assert (info["metadata"], info["state"], info["restarts"]) == ({"team": "x"}, State.READY, 0)
