"""A whole runtime, started and used as a user does."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import dspex_runtime as dx
from helpers.runtimes import kill_module
from helpers.waiting import wait_gone, wait_until

SERVERS = str(Path(__file__).parent / "servers.py")
COUNTER = f"{SERVERS}:Counter"
EMPTY: dict[str, Any] = {"runtime": {"preload": [], "spares": 1}, "tree": {"children": []}}


@pytest.fixture
def rt(short_dir: Path) -> Iterator[dx.Runtime]:
    with dx.Runtime(EMPTY, name="t") as runtime:
        yield runtime


def no_trace(folder: Path) -> None:
    """Nothing of any runtime is left: no socket; the leak check sees to processes, threads and descriptors."""
    assert list(folder.glob("*.sock")) == []


@pytest.mark.process
def test_leaving_the_block_leaves_nothing(short_dir: Path) -> None:
    with dx.Runtime(EMPTY, name="t") as runtime:
        counter = runtime.start(COUNTER, 5, id="c")
        assert isinstance(counter, dx.ServerRef)
        assert [counter.call("next"), counter.call("next")] == [5, 6]
        pid = counter.call("pid")
    assert wait_gone([pid, runtime.pid or 0]) == []
    no_trace(short_dir)
    runtime.close()
    with pytest.raises(dx.RuntimeUnreachableError, match="closed"):
        counter.call("next")


@pytest.mark.process
def test_a_tree_that_does_not_start_raises_the_childs_own_error_and_leaves_nothing(short_dir: Path) -> None:
    children = [{"id": "good", "server": COUNTER}, {"id": "bad", "server": f"{SERVERS}:Broken"}]
    with pytest.raises(dx.StartError, match="cannot begin") as caught:
        dx.Runtime({**EMPTY, "tree": {"children": children}}, name="t")
    assert "servers.py" in (caught.value.remote_traceback or "")
    no_trace(short_dir)


@pytest.mark.process
def test_a_wrong_configuration_starts_nothing(short_dir: Path) -> None:
    with pytest.raises(dx.ConfigError, match="did you mean 'server'"):
        dx.Runtime({"tree": {"children": [{"id": "a", "servr": COUNTER}]}})
    with pytest.raises(dx.ConfigError, match="no such file"):
        dx.Runtime("nowhere.yaml")


@pytest.mark.process
def test_a_name_that_is_taken_is_an_error_and_the_first_goes_on(rt: dx.Runtime) -> None:
    with pytest.raises(dx.ConfigError, match="already running"):
        dx.Runtime(EMPTY, name="t")
    assert rt.status()["state"] == "running"


@pytest.mark.process
def test_a_child_that_does_not_start_is_forgotten(rt: dx.Runtime) -> None:
    with pytest.raises(dx.StartError, match="cannot begin"):
        rt.start(f"{SERVERS}:Broken", id="b")
    assert rt.start(f"{SERVERS}:Ignoring") == "undefined"
    assert rt.start(COUNTER, id="b").call("next") == 0


@pytest.mark.process
def test_stop_keeps_and_start_brings_back_and_delete_forgets(rt: dx.Runtime) -> None:
    counter = rt.start(COUNTER, id="c")
    rt.stop("c")
    assert rt.info("c").state == "STOPPED"
    with pytest.raises(dx.NoProcessError):
        counter.call("next")
    assert rt.start("c").call("next") == 0
    assert counter.call("next") == 1
    rt.restart("c")
    assert counter.call("next") == 0
    with pytest.raises(dx.SupervisorError) as caught:
        rt.start(COUNTER, id="c")
    assert caught.value.code == "already_started"
    assert rt.start(COUNTER, id="c", get_if_exists=True) == counter
    rt.delete("c")
    with pytest.raises(dx.NoProcessError):
        rt.info("c")


@pytest.mark.process
def test_ids_made_from_names_are_unique(rt: dx.Runtime) -> None:
    assert [rt.start(COUNTER).id for _ in range(3)] == ["counter", "counter-2", "counter-3"]


@pytest.mark.process
def test_a_class_of_this_test_and_arguments_of_any_kind_cross(rt: dx.Runtime) -> None:
    class Keeper(dx.GenServer):
        def init(self, *args: Any, **kwargs: Any) -> Any:
            return args, kwargs

        def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
            return dx.Reply(state, state)

    keeper = rt.start(Keeper, 1, (2, 3), id="k", kwargs={"id": {4}, "restart": None}, other=5.5)
    assert keeper.call("state") == ((1, (2, 3)), {"id": {4}, "restart": None, "other": 5.5})


@pytest.mark.process
def test_references_survive_a_kill_and_the_monitor_says_why(rt: dx.Runtime) -> None:
    counter = rt.start(COUNTER, 7, id="c")
    counter.call("next")
    monitor = rt.monitor("c")
    assert monitor.wait(0) is None
    rt.kill("c")
    assert monitor.wait(20) == dx.Down("c", 1, "killed")
    assert counter.call("next", timeout=20) == 7
    assert rt.info("c").restarts == 1


@pytest.mark.process
def test_a_call_in_flight_at_a_death_gets_the_exit_reason(rt: dx.Runtime) -> None:
    counter = rt.start(COUNTER, id="c")
    with pytest.raises(dx.ProcessDownError) as caught:
        counter.call("die", timeout=20)
    assert caught.value.reason == ("exit_status", 3)


@pytest.mark.process
def test_monitors_of_nobody_end_at_once_and_ended_ones_stay_silent(rt: dx.Runtime) -> None:
    assert rt.monitor("nobody").wait(20) == dx.Down("nobody", 0, "noproc")
    rt.start(COUNTER, id="c")
    silent, kept, flushed = rt.monitor("c"), rt.monitor("c"), rt.monitor("c")
    rt.demonitor(silent)
    rt.kill("c")
    assert kept.wait(20) is not None
    assert flushed.wait(20) is not None
    rt.demonitor(kept)
    rt.demonitor(flushed, flush=True)
    assert silent.wait(0) is None
    assert kept.wait(0) == dx.Down("c", 1, "killed")
    assert flushed.wait(0) is None


@pytest.mark.process
def test_sys_functions(rt: dx.Runtime) -> None:
    counter = rt.start(COUNTER, 1, id="c")
    counter.info_message(40)
    counter.cast(2)
    assert counter.call("next") == 42
    assert counter.get_state() == 43
    assert counter.replace_state(lambda state: state * 2) == 86
    counter.suspend()
    with pytest.raises(dx.CallTimeoutError):
        counter.call("next", timeout=0.1)
    counter.resume()
    assert counter.call("next", timeout=20) == 86
    assert counter.info().state == "READY"
    assert counter.statistics()["begun"] >= 3


@pytest.mark.process
def test_supervisors_by_hand(rt: dx.Runtime) -> None:
    assert rt.start_supervisor("s", strategy="one_for_all") == "s"
    child = rt.start_child("s", {"id": "a", "server": COUNTER})
    assert child.id == "s/a"
    assert [(id, type) for id, _, type in rt.which_children("s")] == [("a", "worker")]
    assert rt.count_children("s") == {"specs": 1, "active": 1, "supervisors": 0, "workers": 1}
    assert rt.get_childspec("s", "a")["restart"] == "permanent"
    with pytest.raises(dx.SupervisorError) as caught:
        rt.delete_child("s", "a")
    assert caught.value.code == "running"
    rt.terminate_child("s", "a")
    assert rt.which_children("s") == [("a", "undefined", "worker")]
    assert rt.restart_child("s", "a") == child
    rt.terminate_child("s", "a")
    rt.delete_child("s", "a")
    assert rt.which_children("s") == []


@pytest.mark.process
def test_wrong_ids_and_kinds_are_explained(rt: dx.Runtime) -> None:
    rt.start(COUNTER, id="counter")
    with pytest.raises(dx.NoProcessError) as unknown:
        rt.server("countre")
    assert "counter" in (unknown.value.hint or "")
    with pytest.raises(dx.ConfigError) as wrong:
        rt.ref("counter")
    assert wrong.value.hint == "use rt.server(id)"


@pytest.mark.process
def test_events_begin_with_a_snapshot_and_end_when_this_process_closes(rt: dx.Runtime) -> None:
    rt.start(COUNTER, id="c")
    events = rt.events()
    assert [child["id"] for child in next(events)["children"]] == ["c"]
    rt.kill("c")
    assert "c" in [event["id"] for event in (next(events), next(events), next(events))]
    rt.close()
    list(events)


@pytest.mark.process
def test_events_that_are_not_followed_end_after_what_is_known_now(rt: dx.Runtime) -> None:
    rt.start(COUNTER, id="c")
    events = list(rt.events(since=0, follow=False))
    states = [event.get("state") for event in events if event["type"] in ("snapshot", "state")]
    assert states == [None, "STARTING", "READY"]
    assert [event["type"] for event in rt.events(follow=False)] == ["snapshot"]


@pytest.mark.process
@pytest.mark.parametrize("since", ["x", 1.5, [1], {}, b"b", float("nan"), True])
def test_events_since_what_is_no_number_are_refused_and_end_nothing(rt: dx.Runtime, since: Any) -> None:
    with pytest.raises(dx.ConfigError, match="since is the number"):
        rt.events(since)
    assert rt.status()["state"] == "running"


@pytest.mark.process
def test_events_of_a_runtime_that_is_killed_end_in_an_error(short_dir: Path) -> None:
    with dx.Runtime(EMPTY, name="t") as rt:
        events = rt.events()
        assert next(events)["type"] == "snapshot"
        os.kill(rt.status()["pid"], signal.SIGKILL)
        with pytest.raises(dx.RuntimeUnreachableError):
            list(events)


@pytest.mark.process
def test_a_reference_stands_for_an_id_until_it_leads_elsewhere(rt: dx.Runtime) -> None:
    counter = rt.start(COUNTER, id="c")
    monitor = rt.monitor(counter)
    assert (monitor.id, rt.info(counter).id, rt.server(counter)) == ("c", "c", counter)
    rt.register("k", counter)
    assert (rt.keys(counter), list(rt.logs(counter, n=1))) == (["k"], ["counting from 0"])
    rt.exit(dx.Via("k"), "kill")
    assert monitor.wait(20) == dx.Down("c", 1, "killed")
    rt.wait([counter])
    rt.stop(counter)
    assert rt.start(counter) == counter
    rt.delete(counter)
    with pytest.raises(dx.ConfigError, match="another runtime"):
        rt.info(dx.ServerRef(None, "c", "/run/elsewhere.sock"))


@pytest.mark.process
def test_the_end_of_the_root_is_told_to_who_watches_and_who_is_linked(short_dir: Path) -> None:
    tree = {"max_restarts": 1, "max_seconds": 600, "children": [{"id": "c", "server": COUNTER, "backoff": "none"}]}
    with dx.Runtime({**EMPTY, "tree": tree}, name="t") as rt:
        monitor, link = rt.monitor("root"), rt.link("root")
        kill_module(rt, "c")
        rt.kill("c")
        assert (monitor.wait(20), link.wait(20)) == (dx.Down("root", 1, "shutdown"), dx.Down("root", 1, "shutdown"))
        with pytest.raises(dx.ConfigError, match="not to be killed"):
            rt.exit("root", "kill")


@pytest.mark.process
def test_a_child_key_with_a_typing_error_is_suggested_where_the_constructor_does_not_know_it(rt: dx.Runtime) -> None:
    with pytest.raises(dx.StartError, match="did you mean 'restart'") as caught:
        rt.start(COUNTER, id="c", restrat="transient")
    assert "unexpected keyword" in str(caught.value)


@pytest.mark.parametrize("wrong", ["x", None, 5])
def test_what_is_no_monitor_cannot_be_demonitored(rt: dx.Runtime, wrong: Any) -> None:
    with pytest.raises(dx.ConfigError, match=r"what rt\.monitor or rt\.link returned"):
        rt.demonitor(wrong)


@pytest.mark.parametrize("wrong", ["S", None, 5, ["id"]])
def test_a_spec_that_is_no_dict_is_refused(rt: dx.Runtime, wrong: Any) -> None:
    with pytest.raises(dx.ConfigError, match="a child's spec is a dict"):
        rt.start_child("root", wrong)


@pytest.mark.process
def test_logs_are_lines_and_can_be_followed(rt: dx.Runtime) -> None:
    rt.start(COUNTER, 5, id="c")
    lines = rt.logs("c", follow=True)
    assert next(lines) == "counting from 5"
    rt.restart("c")
    assert next(line for line in lines if "counting" in line) == "counting from 5"
    lines.close()  # type: ignore[attr-defined]
    assert list(rt.logs("c", n=1))[-1:] != []


@pytest.mark.process
def test_gather_gives_results_and_exceptions_with_their_labels(rt: dx.Runtime) -> None:
    a, b = rt.start(COUNTER, 1, id="a"), rt.start(COUNTER, 2, id="b")
    assert (a.call("next"), b.call("next")) == (1, 2)  # the pipes are there: the time is that of the requests
    results = dict(rt.gather([("one", a, "next"), ("b", "next"), ("never", a, "hang"), ("nobody", {})], timeout=3.0))
    assert (results["one"], results["b"]) == (2, 3)  # "b" is an id of a server: its inputs are the request
    assert isinstance(results["never"], dx.CallTimeoutError)
    assert isinstance(results["nobody"], dx.NoProcessError)


@pytest.mark.process
def test_connecting_by_name_by_path_and_to_the_only_one(rt: dx.Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    rt.start(COUNTER, id="c")
    for where in ("t", rt.socket, None):
        other = dx.connect(where)
        assert other.server("c").info().id == "c"
        assert other.server("c") == rt.server("c")
        other.close()
    monkeypatch.setenv("DSPEX_SOCKET", rt.socket)
    dx.connect().close()
    assert rt.status()["state"] == "running"


@pytest.mark.process
def test_connecting_to_nobody_or_to_one_of_many_says_what_runs(rt: dx.Runtime) -> None:
    with pytest.raises(dx.RuntimeUnreachableError) as nobody:
        dx.connect("u")
    assert "t" in (nobody.value.hint or "")
    with dx.Runtime(EMPTY, name="u"), pytest.raises(dx.RuntimeUnreachableError, match="t, u"):
        dx.connect()


@pytest.mark.process
def test_a_reference_can_be_used_in_another_process(rt: dx.Runtime) -> None:
    counter = rt.start(COUNTER, 9, id="c")
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).call('next'))"
    found = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(counter), capture_output=True, check=True)
    assert found.stdout.strip() == b"9"


@pytest.mark.process
def test_eight_threads_lose_no_call_that_had_not_begun_while_the_server_is_killed(rt: dx.Runtime) -> None:
    counter = rt.start(COUNTER, id="c", backoff="none", restart="permanent")
    rt.start_supervisor("s", max_restarts=1000)
    counter = rt.start_child("s", {"id": "c", "server": COUNTER, "backoff": "none"})
    errors: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                counter.call("next", timeout=20)
            except dx.ProcessDownError as exc:
                if isinstance(exc, dx.NoProcessError) or exc.reason != "killed":
                    errors.append(exc)
            except BaseException as exc:
                errors.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for incarnation in range(1, 6):
        monitor = rt.monitor("s/c")
        rt.kill("s/c")
        assert monitor.wait(20) is not None
        rt.wait("s/c", timeout=20)
        assert rt.info("s/c").incarnation >= incarnation
    stop.set()
    for thread in threads:
        thread.join(30)
    assert errors == []


@pytest.mark.process
def test_a_forked_child_gets_a_clear_error_and_the_parent_goes_on(rt: dx.Runtime) -> None:
    counter = rt.start(COUNTER, id="c")
    counter.call("next")
    pid = os.fork()
    if pid == 0:
        try:
            counter.call("next")
        except dx.RuntimeUnreachableError as exc:
            own = dx.connect("t")  # a connection of its own works
            answered = own.server("c").call("next") == 1
            own.close()
            os._exit(0 if "fork" in str(exc) and answered else 2)
        except BaseException:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert counter.call("next") == 2


OWNER = """
import sys
import dspex_runtime as dx
rt = dx.Runtime({tree!r}, name="owned")
counter = rt.start({counter!r}, id="c")
print(rt.pid, counter.call("pid"), flush=True)
{then}
"""


def own(then: str, tree: dict[str, Any] = EMPTY) -> subprocess.Popen[str]:
    code = OWNER.format(tree=tree, counter=COUNTER, then=then)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.process
def test_killing_the_owner_ends_the_tree(short_dir: Path) -> None:
    with own("sys.stdin.read()") as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        owner.kill()
    assert wait_gone(pids) == []
    wait_until(lambda: not list(short_dir.glob("*.sock")))


@pytest.mark.process
@pytest.mark.parametrize("then", ["", "raise SystemExit(0)", "del rt, counter; import gc; gc.collect()"])
def test_a_runtime_that_was_forgotten_is_stopped_when_its_owner_ends(short_dir: Path, then: str) -> None:
    with own(then) as owner:
        out, err = owner.communicate(timeout=60)
    assert err == ""
    assert owner.returncode == 0
    assert wait_gone([int(word) for word in out.split()]) == []
    no_trace(short_dir)


@pytest.mark.process
def test_an_exec_or_fork_of_the_owner_keeps_nothing_open(short_dir: Path) -> None:
    with own("import os\nif os.fork() == 0:\n    import signal; signal.pause()\nos._exit(0)") as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        owner.wait(60)
        # The forked child lives on and must not keep the runtime alive.
        assert wait_gone(pids) == []
        for process in psutil.process_iter(["cmdline"]):
            if 'name="owned"' in " ".join(process.info["cmdline"] or []):
                process.kill()


@pytest.mark.process
def test_an_interrupt_during_the_start_leaves_nothing(short_dir: Path) -> None:
    tree = {**EMPTY, "tree": {"children": [{"id": "slow", "server": f"{SERVERS}:Slow"}]}}
    with own("", tree) as owner:
        wait_until(lambda: list(short_dir.glob("owned.sock")))
        running = psutil.Process(owner.pid).children(recursive=True)
        owner.send_signal(signal.SIGINT)
        _, err = owner.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert wait_gone([process.pid for process in running]) == []
    no_trace(short_dir)


@pytest.mark.process
def test_a_detached_runtime_outlives_its_starter(short_dir: Path) -> None:
    code = f"import dspex_runtime as dx; rt = dx.Runtime({EMPTY!r}, name='d', detach=True); rt.close(); print(rt.pid)"
    pid = int(subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True).stdout)
    runtime = dx.connect("d")
    assert runtime.status()["pid"] == pid
    runtime.shutdown()
    runtime.close()
    assert wait_gone([pid]) == []
    no_trace(short_dir)


@pytest.mark.process
def test_the_death_of_the_runtime_is_told_to_everybody(short_dir: Path) -> None:
    runtime = dx.Runtime(EMPTY, name="t")
    counter = runtime.start(COUNTER, id="c")
    pid = counter.call("pid")
    monitor = runtime.monitor("c")
    os.kill(runtime.pid or 0, signal.SIGKILL)
    with pytest.raises(dx.RuntimeUnreachableError):
        monitor.wait(20)
    assert wait_gone([pid]) == []  # it may still answer in the moment in which it learns of it
    with pytest.raises(dx.DspexError):
        counter.call("next", timeout=5)
    runtime.close()
