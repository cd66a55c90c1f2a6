"""`dspex up` after the boot: what ends it, how it exits, and that the tree is stopped whatever happens."""

from __future__ import annotations

import _thread
import os
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dspex_cli.foreground import Foreground
from dspex_cli.options import Settings
from dspex_cli.output import Output


class FakeOwner:
    """A runtime whose events the test hands out; `shutdown` may be held back."""

    def __init__(self, *, held: bool = False) -> None:
        self.inbox: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()
        self.done: list[str] = []
        self.state = "READY"  #: of the root supervisor
        self.may_stop = threading.Event()
        self.stopping = threading.Event()
        if not held:
            self.may_stop.set()

    def status(self) -> dict[str, Any]:
        return {"name": "demo", "pid": 2**22 + 1, "modules": 2, "ready": 2, "socket": "/run/demo.sock"}

    def events(self) -> Iterator[dict[str, Any]]:
        yield {"type": "snapshot", "seq": 1, "children": []}
        while (item := self.inbox.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def tree(self) -> dict[str, Any]:
        return {"id": "root", "state": self.state, "children": []}

    def shutdown(self) -> None:
        self.stopping.set()
        self.may_stop.wait(10)
        self.inbox.put({"type": "state", "id": "qa", "state": "STOPPED"})
        self.done.append("shutdown")

    def close(self) -> None:
        self.inbox.put(None)
        self.done.append("close")


def _run(owner: Any, **settings: Any) -> int:
    return Foreground(Output(Settings(**settings)), owner, 0.5).run()


def test_ctrl_c_stops_in_order_and_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    owner = FakeOwner()
    monkeypatch.setattr(Foreground, "_watch", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    assert _run(owner) == 130
    assert owner.done == ["shutdown", "close"]
    assert "Ctrl-C again kills" in capsys.readouterr().out


def test_events_are_printed_until_the_root_gives_up(capsys: pytest.CaptureFixture[str]) -> None:
    owner = FakeOwner()
    owner.inbox.put({"type": "exited", "id": "qa", "reason": "killed"})
    owner.inbox.put({"type": "gave_up", "id": "group"})
    owner.inbox.put({"type": "gave_up", "id": None})
    assert _run(owner) == 1
    out, err = capsys.readouterr()
    assert "demo is up: 2 of 2 modules" in out
    assert "qa  exited  reason=killed" in out
    assert "the root supervisor gave up" in err
    assert owner.done == ["shutdown", "close"]


def test_a_root_that_shuts_itself_down_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    owner = FakeOwner()
    owner.inbox.put({"type": "auto_shutdown", "id": "group", "auto_shutdown": "any_significant"})
    owner.inbox.put({"type": "auto_shutdown", "id": "root", "auto_shutdown": "all_significant"})
    assert _run(owner) == 0
    assert "the root supervisor has shut itself down" in capsys.readouterr().out
    assert owner.done == ["shutdown", "close"]


@pytest.mark.parametrize(("state", "code"), [("FAILED", 1), ("EXITED", 0)])
def test_a_root_that_ended_before_anybody_looked_is_seen_too(state: str, code: int) -> None:
    owner = FakeOwner()
    owner.state = state
    assert _run(owner) == code


def test_a_stop_from_elsewhere_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    owner = FakeOwner()
    owner.inbox.put({"type": "stopping", "id": None})
    assert _run(owner) == 0
    assert capsys.readouterr().out.endswith("stopped\n")


def test_a_runtime_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    owner = FakeOwner()
    answers = iter([owner.status()])
    monkeypatch.setattr(owner, "status", lambda: next(answers))
    owner.inbox.put(ConnectionError("gone"))
    assert _run(owner) == 1
    assert "the runtime process is gone" in capsys.readouterr().err


def test_a_second_ctrl_c_kills(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    owner = FakeOwner(held=True)
    killed: list[int] = []
    monkeypatch.setattr("dspex_cli.foreground.os.kill", lambda pid, signo: killed.append(pid))
    monkeypatch.setattr(Foreground, "_watch", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))

    def interrupt() -> None:
        owner.stopping.wait(10)
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert _run(owner) == 130
    thread.join()
    owner.may_stop.set()
    assert killed == [owner.status()["pid"]]
    assert owner.done[0] == "close"
    assert "killed" in capsys.readouterr().err


def test_json_is_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    owner = FakeOwner()
    owner.inbox.put({"type": "stopping", "id": None})
    assert _run(owner, output="json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["type"] for line in lines] == ["up", "stopping", "state"]


def test_a_second_sigterm_does_not_cut_the_stop_short(capsys: pytest.CaptureFixture[str]) -> None:
    owner = FakeOwner(held=True)

    def terminate() -> None:
        owner.stopping.wait(10)
        os.kill(os.getpid(), signal.SIGTERM)
        owner.may_stop.set()

    thread = threading.Thread(target=terminate)
    thread.start()
    owner.inbox.put({"type": "stopping", "id": None})
    before = signal.getsignal(signal.SIGTERM)
    assert _run(owner) == 0
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().out.endswith("stopped\n")
