"""Swaps as clients ask for them: one or several, given up with the wait, told of meanwhile; versions, and the way back."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from dspex_runtime.client import swapping
from dspex_runtime.client.deadline import FOREVER_S
from dspex_runtime.client.ref import ModuleRef
from dspex_runtime.client.session import Session
from dspex_runtime.client.steps import Steps, arun, run
from dspex_runtime.errors import ConfigError, RuntimeUnreachableError, SwapError
from dspex_runtime.types import SwapResult, VersionInfo
from dspex_runtime.wire.messages import CANCEL, CONTROL, EVENT, REPLY

if TYPE_CHECKING:
    from client.conftest import FakeRuntime

PATIENCE_S = 20.0
MEMBER: dict[str, Any] = {"spec": None, "version": None, "migrate": None, "verify": None, "extra": None}


class Client:
    """What an operation needs of a runtime."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def reference(self, id: str, kind: str) -> Any:
        return id


def facts(id: str, **more: Any) -> dict[str, Any]:
    """What the runtime tells of one that was swapped; "later" is what a newer runtime adds."""
    times = {"seconds": 0.5, "rehearsal_s": 0.3, "drain_s": 0.1, "pause_s": 0.002}
    told = {"version": "2.0", "old_version": "1.0", "number": 2, "pid": 77, "incarnation": 1, "migrated": True}
    return {"id": id, **told, **times, "moved": {"channels": 1}, "later": 1, **more}


def result(id: str) -> SwapResult:
    return SwapResult(id, "2.0", "1.0", 2, 77, 1, 0.5, 0.3, 0.1, 0.002, True, {"channels": 1})


@pytest.fixture
def client(session: Session) -> Client:
    return Client(session)


@pytest.fixture
def asked(runtime: FakeRuntime) -> list[dict[str, Any]]:
    """The swaps and rollbacks that were asked for; each of them is done."""
    asked: list[dict[str, Any]] = []

    def swap(args: dict[str, Any]) -> dict[str, Any]:
        asked.append(args)
        return {"members": [facts(f"sup/{each['id'].rpartition('/')[2]}") for each in args.get("members", [args])]}

    runtime.handlers["swap"] = runtime.handlers["rollback"] = swap
    return asked


@pytest.mark.parametrize("drive", [run, lambda steps: asyncio.run(arun(steps))], ids=["thread", "loop"])
def test_one_is_asked_for_and_what_came_of_it_returned(
    client: Client, asked: list[dict[str, Any]], drive: Callable[[Steps[Any]], Any]
) -> None:
    assert drive(swapping.swap(client, "qa", version="2.0", drain="5s", why="a fix")) == result("sup/qa")
    member = {"id": "qa", **MEMBER, "version": "2.0"}
    assert asked == [{"members": [member], "drain": 5.0, "timeout": 30.0, "why": "a fix"}]


def test_the_arguments_have_the_order_of_the_interface(client: Client, asked: list[dict[str, Any]]) -> None:
    run(swapping.swap(client, "qa", "pkg:Name", [1], {}, "2.0", None, "selftest", 5, 60))
    (told,) = asked
    (member,) = told["members"]
    assert (member["spec"]["module"], member["spec"]["args"], member["version"]) == ("pkg:Name", [1], "2.0")
    assert (member["verify"], told["drain"], told["timeout"]) == ({"call": "selftest"}, 5.0, 60.0)


@pytest.mark.parametrize(
    ("given", "drain", "timeout"),
    [({}, None, 30.0), ({"drain": float("inf"), "timeout": None}, FOREVER_S, None), ({"drain": 0, "timeout": "1m"}, 0.0, 60.0)],
)
def test_no_drain_is_the_childs_own_and_no_timeout_none(
    client: Client, asked: list[dict[str, Any]], given: Any, drain: float | None, timeout: float | None
) -> None:
    run(swapping.swap(client, "qa", **given))
    assert (asked[0]["drain"], asked[0]["timeout"]) == (drain, timeout)


def test_several_are_one_request_in_the_order_given(client: Client, session: Session, asked: list[dict[str, Any]]) -> None:
    reference = ModuleRef(session, "sup/b")
    results = run(swapping.swap(client, {"a": {"version": "2"}, reference: "pkg:Name", "c": {}}, drain=1))
    assert results == {"a": result("sup/a"), "sup/b": result("sup/b"), "c": result("sup/c")}
    (told,) = asked
    assert [(each["id"], each["version"], each["spec"] is not None) for each in told["members"]] == [
        ("a", "2", False), ("sup/b", None, True), ("c", None, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda client: swapping.swap(client, {}), "no module is named"),
        (
            lambda client: swapping.swap(client, {"a": {"too": 1}}),
            "'too' is nothing to say of one module of a swap; allowed: to, args",
        ),
        (lambda client: swapping.swap(client, {"a": {"drain": 1}}), "'drain' is nothing to say"),
        (lambda client: swapping.swap(client, {"a": {}}, to="pkg:Name"), "each has its own to"),
        (lambda client: swapping.swap(client, 3), "id"),
        (lambda client: swapping.swap(client, "qa", timeout=0), "timeout is a duration .*, above 0, or None; got 0"),
        (lambda client: swapping.swap(client, "qa", drain="soon"), "drain is a duration"),
        (lambda client: swapping.swap(client, "qa", why=3), "why is text"),
        (lambda client: swapping.rollback(client, "qa", 1.5), "a version is one of"),
        (lambda client: swapping.rollback(client, "qa", True), "a version is one of"),
    ],
)
def test_what_is_wrong_is_said_before_the_runtime_is_asked(client: Client, asked: Any, wrong: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(wrong(client))
    assert asked == []


def test_a_refusal_is_raised_with_its_code(client: Client, runtime: FakeRuntime) -> None:
    def refuse(args: dict[str, Any]) -> None:
        raise SwapError("'qa' was not swapped: verify returned False", code="verify", id="qa", remote_traceback="Traceback ...")

    runtime.handlers["swap"] = refuse
    with pytest.raises(SwapError, match="returned False") as caught:
        run(swapping.swap(client, "qa"))
    assert (caught.value.code, caught.value.id, caught.value.remote_traceback) == ("verify", "qa", "Traceback ...")


def test_how_it_goes_is_told_meanwhile(client: Client, runtime: FakeRuntime) -> None:
    told: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: told.append(_end(run(swapping.swap(client, "qa", on_progress=told.append)))))
    waiting.start()
    number = runtime.heard(lambda message: message[0] == CONTROL and message[2] == "swap")[1]
    runtime.push(EVENT, number, {"type": "swap", "id": "qa", "phase": "draining"})
    runtime.push(REPLY, number, {"members": [facts("qa")]})
    waiting.join(PATIENCE_S)
    assert told == [{"type": "swap", "id": "qa", "phase": "draining"}, _end(result("qa"))]


def _end(found: SwapResult) -> dict[str, Any]:
    return {"type": "result", "result": found}


def _is_given_up(runtime: FakeRuntime) -> None:
    number = runtime.heard(lambda message: message[0] == CONTROL and message[2] == "swap")[1]
    runtime.heard(lambda message: message[0] == CANCEL and message[1] == number)


def test_a_cancelled_task_gives_the_swap_up(client: Client, runtime: FakeRuntime) -> None:
    async def main() -> None:
        task = asyncio.create_task(arun(swapping.swap(client, "qa")))
        await asyncio.to_thread(runtime.heard, lambda message: message[0] == CONTROL and message[2] == "swap")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    _is_given_up(runtime)


def test_an_interrupt_gives_the_swap_up(client: Client, runtime: FakeRuntime) -> None:
    def interrupt() -> None:
        runtime.heard(lambda message: message[0] == CONTROL and message[2] == "swap")
        signal.pthread_kill(main.ident, signal.SIGINT)  # type: ignore[arg-type]

    main = threading.main_thread()
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        run(swapping.swap(client, "qa"))
    interrupting.join(PATIENCE_S)
    _is_given_up(runtime)


def test_who_waits_learns_of_a_client_that_was_closed(client: Client, runtime: FakeRuntime, session: Session) -> None:
    def close() -> None:
        runtime.heard(lambda message: message[0] == CONTROL and message[2] == "swap")
        session.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(RuntimeUnreachableError, match="closed"):
        run(swapping.swap(client, "qa"))
    closing.join(PATIENCE_S)


class Mirror:
    """Of a proxy of sup/qa."""

    def __init__(self) -> None:
        self.has_edits = True
        self.done: list[str] = []

    def push(self) -> None:
        self.has_edits = False
        self.done.append("pushed")

    def outdated(self) -> None:
        self.done.append("outdated")


@pytest.mark.parametrize("id", ["qa", "sup/qa"])
def test_what_proxies_edited_goes_first_and_they_look_again_afterwards(
    client: Client, session: Session, runtime: FakeRuntime, id: str
) -> None:
    its, of_another = Mirror(), Mirror()
    session.edits.track("sup/qa", its)
    session.edits.track("sup/aqa", of_another)

    def swap(args: dict[str, Any]) -> dict[str, Any]:
        its.done.append("swapped")
        return {"members": [facts("sup/qa")]}

    runtime.handlers["swap"] = swap
    run(swapping.swap(client, id))
    assert (its.done, of_another.done) == (["pushed", "swapped", "outdated"], [])


# -- versions, and the way back


def test_versions_are_newest_first(client: Client, runtime: FakeRuntime) -> None:
    def told(number: int) -> dict[str, Any]:
        made = {"version": f"{number}.0", "target": "pkg:Name", "args": {"k": 3}, "source_hash": "ab", "when": 5.0}
        return {"number": number, **made, "why": "swap", "current": number == 2, "later": 1}

    runtime.handlers["versions"] = lambda args: [told(1), told(2)]
    assert run(swapping.versions(client, "qa")) == [
        VersionInfo(2, "2.0", "pkg:Name", {"k": 3}, "ab", 5.0, "swap", True),
        VersionInfo(1, "1.0", "pkg:Name", {"k": 3}, "ab", 5.0, "swap", False),
    ]


@pytest.mark.parametrize(
    ("given", "told"), [(None, None), (3, 3), ("1.0", "1.0"), (VersionInfo(4, None, None, None, None, 5.0, "swap", False), 4)]
)
def test_a_version_is_meant_by_its_number_or_text_or_what_was_listed(
    client: Client, asked: list[dict[str, Any]], given: Any, told: Any
) -> None:
    assert run(swapping.rollback(client, "qa", given, drain="1s")) == result("sup/qa")
    assert asked == [{"id": "qa", "version": told, "drain": 1.0, "timeout": 30.0}]


def test_an_abort_says_whether_there_was_one(client: Client, runtime: FakeRuntime) -> None:
    runtime.handlers["abort_swap"] = lambda args: args["id"] == "qa"
    assert run(swapping.abort_swap(client, "qa")) is True
    assert run(swapping.abort_swap(client, "other")) is False
