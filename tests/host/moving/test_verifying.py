"""Verifications as a table: who is asked, with what, and what refuses."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import dspex_runtime.host.behaviours as dx
from dspex_runtime.errors import SwapError
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.hosted import Entry
from dspex_runtime.host.moving.verifying import verify
from dspex_runtime.wire.codec import Codec

CODEC = Codec(pickle=True)


class Server(dx.GenServer):
    __version__ = "2"
    limit = 3

    def init(self) -> Any:
        return {"n": 1, "seen": []}

    def handle_call(self, request: Any, from_: Any, state: Any) -> Any:
        state["seen"].append(request)
        match request:
            case "ok" | "bad":
                return dx.Reply(request == "ok", state)
            case "later":
                return dx.NoReply(state)
            case "stop":
                return dx.Stop("shutdown", state)
            case "nonsense":
                return 7
        raise KeyError(request)


class Module:
    """What a ModuleHost is to a verification."""

    serial = False
    version = None
    program = ("the program", ())

    def find(self, method: str) -> Entry:
        async def later() -> bool:
            return method == "aok"

        found = {"ok": lambda: True, "none": lambda: None, "bad": lambda: False, "aok": later, "abad": later}
        return Entry(method, found[method])


def server() -> Any:
    hosted = ServerHost(Server())
    hosted.start((), {})
    return hosted


def asked(hosted: Any, how: Any) -> None:
    verify({"pickled": cloudpickle.dumps(how)} if callable(how) else how, hosted, CODEC, id="sup/it")


WELL = [
    ("a function of the state", server, lambda state: state["n"] == 1),
    ("a function of server and state", server, lambda it, state: it.limit == 3 and state["n"] == 1),
    ("None is no refusal", server, lambda state: None),
    ("nor is anything else", server, lambda state: 0),
    ("a request", server, {"call": "ok"}),
    ("a function of the module", Module, lambda module: module == "the program"),
    ("a method", Module, {"call": "ok"}),
    ("that returns nothing", Module, {"call": "none"}),
    ("an async one", Module, {"call": "aok"}),
    ("a command", server, {"command": ["true"]}),
]


@pytest.mark.parametrize(("_", "hosted", "how"), WELL, ids=[name for name, _, _ in WELL])
def test_what_is_well(_: str, hosted: Any, how: Any) -> None:
    asked(hosted(), how)


def raises(state: Any) -> None:
    raise ValueError("too small")


ILL = [
    ("False", server, lambda state: False, "verify of the new version of 'sup/it' returned False"),
    ("an exception", server, raises, "verify of the new version of 'sup/it' failed: ValueError: too small"),
    ("a reply of False", server, {"call": "bad"}, "handle_call('bad', ...) of the new version of 'sup/it' returned False"),
    ("none", server, {"call": "later"}, "Server kept back its answer to 'later' (dx.NoReply)"),
    ("a stop", server, {"call": "stop"}, "Server stops when it is asked 'stop': 'shutdown'"),
    ("nonsense", server, {"call": "nonsense"}, "Server.handle_call returned 7; expected dx.Reply"),
    ("a callback that raises", server, {"call": "what"}, "of the new version of 'sup/it' failed: KeyError: 'what'"),
    ("a method's False", Module, {"call": "bad"}, "bad() of the new version of 'sup/it' returned False"),
    ("an async one's", Module, {"call": "abad"}, "abad() of the new version of 'sup/it' returned False"),
    ("no such method", Module, {"call": "nix"}, "nix() of the new version of 'sup/it' failed: KeyError: 'nix'"),
    ("a command's status", server, {"command": ["sh", "-c", "echo why >&2; exit 3"]},
     "the command 'sh -c echo why >&2; exit 3', which verifies the new version of 'sup/it', ended with status 3:\nwhy"),
    ("no such command", server, {"command": ["/nix/da"]}, "which verifies the new version of 'sup/it', could not be started"),
    ("a command's time", server, {"command": ["sleep", "100"], "timeout_s": 0.01}, "did not end within 0.01 s"),
    ("another way", server, {"dice": 6}, "nothing is known of this way to verify 'sup/it': ['dice']"),
]  # fmt: skip


@pytest.mark.parametrize(("_", "hosted", "how", "text"), ILL, ids=[name for name, *_ in ILL])
def test_what_refuses(_: str, hosted: Any, how: Any, text: str) -> None:
    with pytest.raises(SwapError) as caught:
        asked(hosted(), how)
    assert text in caught.value.message
    assert caught.value.code == "verify"


def test_what_raised_is_shown_with_the_users_frames() -> None:
    with pytest.raises(SwapError) as caught:
        asked(server(), raises)
    assert "in raises" in str(caught.value.remote_traceback)


def test_nothing_of_what_is_done_to_the_state_is_kept() -> None:
    hosted = server()
    asked(hosted, {"call": "ok"})
    asked(hosted, lambda state: state.clear())
    assert hosted.state == {"n": 1, "seen": []}


def test_a_state_that_cannot_be_copied_is_shown_as_it_is() -> None:
    hosted = server()
    hosted.state["generator"] = (n for n in ())
    asked(hosted, lambda state: "generator" in state)


def test_a_command_knows_who_asks_and_runs_where_the_module_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OWN", "own")
    script = (
        "import os; open('said', 'w').write(' '.join(os.environ[n] for n in ('DSPEX_ID', 'DSPEX_VERSION', 'DSPEX_PID', 'OWN')))"
    )
    asked(server(), {"command": [sys.executable, "-c", script]})
    assert (tmp_path / "said").read_text() == f"sup/it 2 {os.getpid()} own"
