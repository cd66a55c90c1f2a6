"""What survives what: the keeper killed, the runtime killed, a module that failed for good; and what is asked to be forgotten."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import dspex_runtime as dx
from dspex_runtime.errors import CheckpointError, ConfigError, StartError
from dspex_runtime.state.layout import NAME, journal_directory
from helpers.runtimes import following, kill_module, kill_runtime
from helpers.system import FOLDER
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

PROGRAMS = FOLDER / "programs_parameters.py"

Up = Callable[..., dx.Runtime]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Start one runtime after the other on the same state directory."""
    with following() as begin:

        def start(*children: dict[str, Any], **options: Any) -> dx.Runtime:
            config = {
                "version": 1,
                "name": "t",
                "runtime": {"preload": [], "spares": 1},
                "tree": {"max_restarts": 100, "children": list(children)},
                "shared": options.pop("shared", {}),
            }
            return begin(config, state_dir=tmp_path / "state", **options)

        yield start


def thermostat(id: str = "it", **keys: Any) -> dict[str, Any]:
    return {"id": id, "server": f"{PROGRAMS}:Thermostat", "backoff": "none", **keys}


def keeper(rt: dx.Runtime) -> psutil.Process:
    """Return the keeper process of a runtime, waiting for one that was replaced."""

    def is_keeper(child: psutil.Process) -> bool:
        try:
            return "dspex_runtime.state.keeper" in child.cmdline()
        except psutil.Error:  # it has just ended
            return False

    def found() -> list[psutil.Process]:
        return list(filter(is_keeper, psutil.Process(rt.pid).children()))

    (only,) = wait_until(lambda: len(there := found()) == 1 and there, what="a keeper")
    return only


def query(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


def kill_keeper(rt: dx.Runtime) -> None:
    dead = keeper(rt)
    dead.kill()
    wait_until(lambda: any(event["type"] == "keeper_lost" for event in rt.events(since=0, follow=False)), what="its end")
    wait_until(lambda: keeper(rt).pid != dead.pid, what="another keeper")


class TestKeeperKilled:
    def test_modules_go_on_and_their_next_incarnations_have_what_was_set(self, up: Up) -> None:
        rt = up(thermostat())
        it = rt.server("it")
        it.params["target"] = 21.5
        kill_keeper(rt)
        it.params["target"] = 22.5
        kill_module(rt, "it")
        assert (it.call("get"), it.params["target"], it.params.version("target")) == (22.5, 22.5, 3)
        assert [line["version"] for line in it.params.history("target")] == [3, 2, 1]

    def test_one_that_is_stopped_is_replaced_when_a_start_waits_for_it(self, up: Up) -> None:
        rt = up(thermostat())
        rt.server("it").params["target"] = 21.5
        stopped = keeper(rt)
        stopped.suspend()
        kill_module(rt, "it")
        assert rt.server("it").call("get") == 21.5
        assert keeper(rt).pid != stopped.pid
        told = [(event["type"], event.get("alarm")) for event in rt.events(since=0, follow=False) if "alarm" in event]
        assert told == [("alarm_set", "state_keeper"), ("alarm_cleared", "state_keeper")]

    def test_a_checkpoint_that_was_acknowledged_is_there_and_the_next_can_be_made(self, up: Up) -> None:
        rt = up(thermostat())
        first = rt.checkpoint("it")
        kill_keeper(rt)
        second = rt.checkpoint("it")
        assert [info.number for info in rt.checkpoints("it")] == [second.number, first.number]


class TestRuntimeKilled:
    def test_up_again_has_every_acknowledged_write_and_what_ps_shows(self, up: Up) -> None:
        rt = up(thermostat())
        it = rt.server("it")
        for degrees in (21.0, 22.0, 23.0):
            it.params["target"] = degrees
        kill_module(rt, "it")
        it.params["target"] = 24.0
        wait_until(lambda: rt.info("it").restarts == 1, what="its restart to be counted")
        kill_runtime(rt)
        rt = up(thermostat())
        it, info = rt.server("it"), rt.info("it")
        assert (it.params["target"], it.params.version("target"), it.call("get")) == (24.0, 5, 24.0)
        assert (info.restarts, info.last_exit, info.incarnation) == (1, "killed", 1)

    def test_what_led_to_the_end_is_told_by_the_next_runtime(self, up: Up) -> None:
        rt = up(thermostat())
        kill_module(rt, "it")
        wait_until(lambda: rt.info("it").restarts == 1, what="its restart to be counted")
        before = rt.past_events()
        kill_runtime(rt)
        assert up(thermostat()).past_events()[: len(before)] == before
        assert "killed" in [event.get("reason") or event.get("last_exit") for event in before], before

    def test_calls_are_counted_on(self, up: Up) -> None:
        rt = up(thermostat())
        for _ in range(3):
            rt.server("it").call("get")
        rt.close()
        rt = up(thermostat())
        rt.server("it").call("get")
        assert rt.info("it").metrics["calls"] == 4

    def test_the_user_state_of_the_last_checkpoint_comes_back(self, up: Up) -> None:
        rt = up(thermostat())
        it = rt.server("it")
        for _ in range(3):
            it.call("read")
        rt.checkpoint("it")
        it.call("read")
        kill_runtime(rt)
        assert up(thermostat()).server("it").call("read") == 3


class TestEnd:
    def test_an_ordered_end_leaves_all_in_one_file_and_empty_journals(self, up: Up, tmp_path: Path) -> None:
        rt = up(thermostat())
        rt.server("it").params["target"] = 21.5
        rt.close()
        sizes = [path.stat().st_size for path in journal_directory(tmp_path / "state", "it").iterdir()]
        assert sizes == [0]
        assert not (tmp_path / "state" / f"{NAME}-wal").exists()
        assert up(thermostat()).server("it").params["target"] == 21.5

    def test_fresh_begins_anew(self, up: Up) -> None:
        rt = up(thermostat())
        rt.server("it").params["target"] = 21.5
        rt.checkpoint("it")
        rt.close()
        rt = up(thermostat(), fresh=True)
        assert (rt.server("it").params["target"], rt.server("it").params.version("target")) == (20.0, 1)
        assert rt.checkpoints("it") == []

    def test_of_a_deleted_child_nothing_is_left(self, up: Up, tmp_path: Path) -> None:
        rt = up(thermostat())
        rt.server("it").params["target"] = 21.5
        rt.checkpoint("it")
        rt.delete("it")
        wait_until(lambda: not journal_directory(tmp_path / "state", "it").exists(), what="its journal to go")
        rt.start(f"{PROGRAMS}:Thermostat", id="it")
        assert rt.server("it").params["target"] == 20.0
        assert rt.checkpoints("it") == []

    def test_two_runtimes_do_not_share_a_directory(self, up: Up) -> None:
        rt = up()
        with pytest.raises(ConfigError, match=rf"is in use by another runtime \(pid {rt.pid}\)"):
            dx.Runtime(name="other", state_dir=rt.state_dir)


class TestUnreadable:
    @pytest.mark.parametrize("found", ["newer", "foreign", "directory"])
    def test_up_refuses_a_store_that_it_cannot_read(self, up: Up, tmp_path: Path, found: str) -> None:
        up(thermostat()).close()
        store = tmp_path / "state" / NAME
        match found:
            case "directory":
                store.unlink()
                store.mkdir()
            case "foreign":
                store.unlink()
                query(store, "CREATE TABLE checkpoints (a)")
            case _:
                query(store, "PRAGMA user_version = 99")
        with pytest.raises(StartError, match=f"{store} has the state of earlier runs and cannot be read") as caught:
            up(thermostat())
        assert "name another state_dir" in str(caught.value.hint)

    def test_up_says_that_a_corrupt_one_was_set_aside(self, up: Up, tmp_path: Path) -> None:
        up(thermostat()).close()
        (tmp_path / "state" / NAME).write_bytes(b"damaged" * 5000)
        events: list[dict[str, Any]] = []
        up(thermostat(), on_progress=events.append)
        told = [event["message"] for event in events if event["type"] == "state_report"]
        assert any("is corrupt" in text and f"{NAME}.corrupt-" in text for text in told)


class TestConfigured:
    def test_an_up_that_configures_nothing_is_remembered_so_that_the_next_value_counts_as_set(self, up: Up) -> None:
        values = []
        for params in ({"target": 21.0}, None, {"target": 21.0}):
            rt = up(thermostat(**({"params": params} if params else {})))
            it = rt.server("it")
            values.append(it.params["target"])
            it.params["target"] = 25.0
            rt.close()
        assert values == [21.0, 25.0, 21.0]

    def test_a_tightened_limit_costs_the_shared_value_that_breaks_it_and_no_other(self, up: Up, tmp_path: Path) -> None:
        def started(most: float) -> dx.Runtime:
            shared = {"style": "x", "limit": {"type": "float", "default": 0.5, "max": most}}
            return up(shared=shared)

        rt = started(1.0)
        rt.params["limit"] = 0.9
        rt.params["style"] = "learned"
        rt.close()
        rt = started(0.7)
        assert (rt.params["limit"], rt.params["style"]) == (0.5, "learned")
        rt.params["limit"] = 0.6
        assert "limit: the kept version 2 cannot be used and is dropped" in (tmp_path / "state" / "runtime.log").read_text()


class TestRestoredWhileStopped:
    @pytest.mark.parametrize("again", ["start", "up", "keeper"])
    def test_a_plain_module_has_its_attributes_and_predictors_at_its_next_start_and_at_that_only(self, up: Up, again: str) -> None:
        child = {"id": "m", "module": f"{FOLDER / 'programs_dspy.py'}:Tally", "backoff": "none"}
        rt = up(child)
        module = rt.module("m").dx
        module.call("bump")
        asked = rt.checkpoint("m")
        module.call("bump")
        rt.stop("m")
        assert rt.restore("m").number == asked.number
        match again:
            case "up":
                rt.close()
                rt = up(child)
                module = rt.module("m").dx
            case "keeper":
                kill_keeper(rt)
                rt.start("m")
            case _:
                rt.start("m")
        assert module.call("look") == [4, 1]
        kill_module(rt, "m")
        assert module.call("look") == [3, 1]
        rt.close()
        assert up(child).module("m").dx.call("look") == [3, 1]


class TestGone:
    def test_a_state_directory_that_was_deleted_is_an_alarm_and_no_checkpoint_is_acknowledged(self, up: Up, tmp_path: Path) -> None:
        rt = up(thermostat())
        shutil.rmtree(tmp_path / "state")
        with pytest.raises(CheckpointError, match="was deleted or moved"):
            rt.checkpoint("it")
        (alarm,) = rt.alarms()
        assert (alarm.id, str(tmp_path / "state") in alarm.description) == ("state_store", True)


class TestFailed:
    def test_one_that_failed_for_good_shows_its_last_checkpoint_and_comes_back_with_start(self, up: Up, tmp_path: Path) -> None:
        rt = up()
        rt.start(f"{PROGRAMS}:Thermostat", id="it", checkpoint={"every": "50ms", "keep": 3})
        it = rt.server("it")
        it.params["target"] = 21.5
        wait_until(lambda: rt.info("it").checkpoint is not None, what="a checkpoint by itself")
        while rt.info("it").state != "FAILED":
            pid = rt.info("it").pid
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        wait_until(
            lambda: (rt.info("it").checkpoint or {}).get("number") == rt.checkpoints("it")[0].number, what="the last one is shown"
        )
        assert 1 <= len(rt.checkpoints("it")) <= 3
        assert it.params["target"] == 21.5
        it.params["target"] = 22.5
        rt.start("it")
        assert (it.call("get"), it.params["target"]) == (22.5, 22.5)
