"""The control connection: versions, futures, notices, ends."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from dspex_runtime.client.connection import ControlConnection
from dspex_runtime.errors import ConfigError, ProtocolError, RuntimeUnreachableError
from dspex_runtime.wire.messages import BYE, CANCEL, EVENT, HELLO, PROTOCOL, REFUSED


@pytest.fixture
def connection(runtime: Any) -> Any:
    connection = ControlConnection(runtime.accept())
    yield connection
    connection.close()


def test_hello_goes_both_ways_with_versions(runtime: Any, connection: Any) -> None:
    assert connection.open().result(20)["name"] == "fake"
    said = runtime.heard(lambda message: message[0] == HELLO)[2]
    assert said["protocol"] == list(PROTOCOL)
    assert said["role"] == "client"
    assert said["pid"] == os.getpid()


@pytest.mark.parametrize(
    "greeting",
    [[HELLO, 0, {"protocol": [7, 9], "version": "9.0"}], [REFUSED, 0, {"protocol": [7, 9], "message": "too old"}]],
    ids=["hello", "refused"],
)
def test_a_runtime_of_another_version_is_an_error_that_tells_both_ranges(runtime: Any, connection: Any, greeting: Any) -> None:
    runtime.greeting = greeting
    with pytest.raises(ProtocolError, match=rf"7 to 9.*{PROTOCOL[0]} to {PROTOCOL[1]}"):
        connection.open().result(20)


def test_requests_get_their_own_answers(runtime: Any, connection: Any) -> None:
    runtime.handlers["echo"] = lambda args: args["n"]
    futures = [connection.request("echo", {"n": n}) for n in range(100)]
    assert [future.result(20) for future in futures] == list(range(100))


def test_a_fault_is_raised_as_its_own_type(runtime: Any, connection: Any) -> None:
    def refuse(args: Any) -> Any:
        raise ConfigError("wrong key", problems=["a", "b"])

    runtime.handlers["start"] = refuse
    with pytest.raises(ConfigError, match="wrong key") as caught:
        connection.request("start", {}).result(20)
    assert caught.value.problems == ["a", "b"]


def test_closing_says_goodbye_and_forgetting_does_not(runtime: Any, connection: Any) -> None:
    connection.open().result(20)
    connection.close()
    connection.close()
    runtime.heard(lambda message: message == [BYE, 0, "normal"])
    assert runtime.asked.count([BYE, 0, "normal"]) == 1
    forgotten = ControlConnection(runtime.accept())
    forgotten.open().result(20)
    forgotten.wire.close()  # what happens to a connection that is collected
    forgotten.close()
    assert runtime.asked.count([BYE, 0, "normal"]) == 1


def test_a_request_given_up_is_cancelled_at_the_runtime_and_its_late_answer_dropped(runtime: Any, connection: Any) -> None:
    future = connection.request("never", {})
    number = runtime.heard(lambda message: message[2:3] == ["never"])[1]
    assert future.cancel()
    runtime.heard(lambda message: message == [CANCEL, number])
    runtime.push(7, number, "late")
    runtime.handlers["echo"] = lambda args: "alive"
    assert connection.request("echo", {}).result(20) == "alive"


def test_every_pending_request_fails_when_the_runtime_goes(runtime: Any, connection: Any) -> None:
    futures = [connection.request("never", {}) for _ in range(5)]
    subscription = connection.subscribe("events", {})
    with connection.downs.expecting() as claim:
        notice = claim(3)
    runtime.hang_up()
    for future in [*futures, notice.down]:
        with pytest.raises(RuntimeUnreachableError):
            future.result(20)
    subscription.wait(20)
    with pytest.raises(RuntimeUnreachableError):
        subscription.take()
    with pytest.raises(RuntimeUnreachableError):
        connection.request("info", {})


def test_a_message_that_is_none_ends_the_connection_and_says_so(runtime: Any, connection: Any) -> None:
    future = connection.request("never", {})
    runtime.push(99, "nonsense")
    with pytest.raises(ProtocolError, match="nonsense"):
        future.result(20)


def test_events_come_in_order_and_end_with_bye(runtime: Any, connection: Any) -> None:
    subscription = connection.subscribe("events", {"since": None})
    number = runtime.heard(lambda message: message[2:3] == ["events"])[1]
    for n in range(3):
        runtime.push(EVENT, number, {"seq": n})
    runtime.push(BYE, number, "normal")
    seen = []
    for _ in range(3):
        subscription.wait(20)
        seen.append(subscription.take()[1]["seq"])
    assert seen == [0, 1, 2]
    subscription.wait(20)
    with pytest.raises(EOFError):
        subscription.take()


def test_closing_a_subscription_tells_the_runtime(runtime: Any, connection: Any) -> None:
    subscription = connection.subscribe("events", {})
    number = runtime.heard(lambda message: message[2:3] == ["events"])[1]
    subscription.close()
    subscription.close()
    runtime.heard(lambda message: message == [CANCEL, number])


def test_progress_reaches_the_callback_and_its_errors_reach_nobody(runtime: Any) -> None:
    seen: list[Any] = []

    def show(event: Any) -> None:
        seen.append(event)
        raise ValueError("a broken display")

    connection = ControlConnection(runtime.accept(), on_progress=show)
    connection.open().result(20)
    runtime.push(EVENT, 0, {"type": "ready"})
    runtime.handlers["echo"] = lambda args: "alive"
    assert connection.request("echo", {}).result(20) == "alive"
    assert seen == [{"type": "ready"}]
    connection.close()


@pytest.mark.process
def test_closing_leaves_no_thread_and_no_descriptor(runtime: Any) -> None:
    before = set(os.listdir("/proc/self/fd"))
    connection = ControlConnection(runtime.accept())
    connection.open().result(20)
    connection.close()
    connection.close()
    assert "dspex-control" not in {thread.name for thread in threading.enumerate()}
    runtime.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_forgotten_connection_is_collected_and_its_thread_ends(runtime: Any) -> None:
    connection = ControlConnection(runtime.accept())
    connection.open().result(20)
    reader = connection._reader
    del connection
    reader.join(20)
    assert not reader.is_alive()


@pytest.mark.process
def test_a_forked_child_gets_a_clear_error_and_does_not_disturb_the_parent(runtime: Any, connection: Any) -> None:
    runtime.handlers["echo"] = lambda args: "alive"
    assert connection.request("echo", {}).result(20) == "alive"
    pid = os.fork()
    if pid == 0:
        try:
            connection.request("echo", {})
        except RuntimeUnreachableError as exc:
            os._exit(0 if "fork" in str(exc) else 2)
        except BaseException:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert connection.request("echo", {}).result(20) == "alive"
