"""A fake runtime behind the CLI's one door to the client (`dspex_cli.link`), and a way to run a command line against it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dspex_cli import link
from dspex_cli.main import main
from dspex_runtime.core.alarms import Alarm
from dspex_runtime.errors import CallTimeoutError, NoProcessError, RuntimeUnreachableError
from dspex_runtime.types import Change, CheckpointInfo, ModuleInfo
from helpers.fake_params import FakeCheckpoints, FakeParams, FakeWatch


@dataclass
class FakeRef:
    """Records calls; answers with what the test put into `results`, raising it when it is an exception."""

    runtime: FakeRuntime
    id: str

    @property
    def params(self) -> FakeParams:
        params = self.runtime.parameters.setdefault(self.id, FakeParams())
        params.id = self.id
        return params

    def call(self, *args: Any, **kwargs: Any) -> Any:
        self.runtime.asked.append(("call", self.id, args, kwargs))
        result = self.runtime.results.get(self.id)
        if isinstance(result, BaseException):
            raise result
        return result

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        self.runtime.asked.append(("stream", self.id, args, kwargs))
        yield from self.runtime.results[self.id]


@dataclass
class FakeRuntime(FakeCheckpoints):
    """The part of dx.Runtime that the CLI uses, over plain dictionaries."""

    children: dict[str, ModuleInfo] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    set_alarms: list[Alarm] = field(default_factory=list)
    happened: list[dict[str, Any]] = field(default_factory=list)
    log_lines: dict[str, list[str]] = field(default_factory=dict)
    tree_map: dict[str, Any] = field(default_factory=dict)
    analysis: dict[str, Any] = field(default_factory=dict)
    fails: dict[str, BaseException] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, FakeParams] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    watch_warning: str | None = None
    kept: list[CheckpointInfo] = field(default_factory=list)
    kept_parts: dict[str, int] = field(default_factory=dict)
    closed: bool = False

    @property
    def params(self) -> FakeParams:
        return self.parameters.setdefault("$shared", FakeParams(id="$shared"))

    def watch(self, pattern: str) -> FakeWatch:
        self.asked.append(("watch", pattern))
        return FakeWatch(self.changes, self.watch_warning)

    def _do(self, what: str, id: str, **kwargs: Any) -> None:
        self.asked.append((what, id, kwargs))
        if what in self.fails:
            raise self.fails[what]
        self.info(id)

    def close(self) -> None:
        self.closed = True

    def status(self) -> dict[str, Any]:
        ready = sum(child.state == "READY" for child in self.children.values())
        facts = {"name": "demo", "pid": 100, "version": "0.1.0", "state": "running", "started_at": 0.0, "socket": "/run/demo.sock"}
        return {**facts, "state_dir": "/tmp/demo", "modules": len(self.children), "ready": ready}

    def shutdown(self) -> None:
        self.asked.append(("shutdown",))

    def modules(self, **metadata: Any) -> list[ModuleInfo]:
        return list(self.children.values())

    def alarms(self) -> list[Alarm]:
        return self.set_alarms

    def select(self, version: str | None = None, **metadata: Any) -> list[ModuleInfo]:
        self.asked.append(("select", version, metadata))
        return [child for child in self.children.values() if version in (None, child.version)]

    def keys(self, id: str) -> list[Any]:
        return [entry["key"] for entry in self.entries if entry["id"] == id]

    def registered(self, *key: Any) -> list[dict[str, Any]]:
        self.asked.append(("registered", *key))
        return [entry for entry in self.entries if not key or repr(entry["key"]) == repr(key[0])]

    def info(self, id: str) -> ModuleInfo:
        if id not in self.children:
            raise NoProcessError(f"unknown id {id!r}; did you mean 'qa'?", id=id, reason="noproc")
        return self.children[id]

    def tree(self) -> dict[str, Any]:
        return self.tree_map

    def analyze(self) -> dict[str, Any]:
        return self.analysis

    def ref(self, id: str) -> FakeRef:
        return FakeRef(self, self.info(id).id)

    server = ref

    def start(self, target: str, **options: Any) -> FakeRef:
        self.asked.append(("start", target, options))
        id = options.get("id") or target.rpartition(":")[2].lower()
        if ":" in target:
            self.children[id] = ModuleInfo(id=id, kind="module", state="READY", pid=321, incarnation=1)
        else:
            self.children[id] = replace(self.info(id), state="READY", pid=322)
        return FakeRef(self, id)

    def stop(self, id: str, timeout: float | None = None) -> None:
        self._do("stop", id, timeout=timeout)

    def restart(self, id: str) -> None:
        self._do("restart", id)

    def kill(self, id: str, signal: str | int = "KILL") -> None:
        self._do("kill", id, signal=signal)

    def delete(self, id: str) -> None:
        self._do("delete", id)

    def scale(self, id: str, n: int) -> list[str]:
        self._do("scale", id, n=n)
        return [f"{id}#{number}" for number in range(n)]

    def wait(self, ids: list[str], state: str = "ready", timeout: float | None = 30) -> dict[str, str]:
        self.asked.append(("wait", tuple(ids), state, timeout))
        if any(self.info(id).state != state.upper() for id in ids):
            raise CallTimeoutError(f"not {state} after {timeout} s: {', '.join(ids)}")
        return dict.fromkeys(ids, state.upper())

    def events(self, since: int | None = None, follow: bool = True) -> Iterator[dict[str, Any]]:
        last = self.happened[-1]["seq"] if self.happened else 0
        yield {"type": "snapshot", "seq": last, "time": 0.0, "id": None, "children": [child.as_dict() for child in self.modules()]}
        yield from (event for event in self.happened if since is not None and event["seq"] > since)
        if follow:
            raise AssertionError("read past the last event: a real runtime would never answer")

    def past_events(self, n: int = 1000) -> list[dict[str, Any]]:
        return self.happened[-n:]

    def logs(self, id: str, n: int = 100, follow: bool = False) -> Iterator[str]:
        self.info(id)
        yield from self.log_lines.get(id, [])[-n:] if n else []


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    """Return a running fake with a module, a server and a stopped module."""
    fake = FakeRuntime()
    ready = ModuleInfo(
        id="qa", kind="module", state="READY", pid=4711, incarnation=2, restarts=1, started_at=0.0, uptime_s=75.0, version="2.1.0",
        metadata={"team": "search"}, metrics={"calls": 12, "failures": 1}, last_exit="killed",
    )  # fmt: skip
    fake.children = {
        "qa": ready,
        "counter": ModuleInfo(id="counter", kind="server", state="READY", pid=4712, incarnation=1, uptime_s=5.0),
        "old": ModuleInfo(
            id="old", kind="module", state="STOPPED", last_exit=("error", "ValueError", "bad\nvalue", "Traceback ...")
        ),
    }
    for name in ("DSPEX_SOCKET", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def connect(where: str) -> FakeRuntime:
        if where not in ("demo", "/run/demo.sock"):
            raise RuntimeUnreachableError(f"no runtime answers at {where!r}", hint="dspex up FILE")
        return fake

    monkeypatch.setattr(link, "connect", connect)
    monkeypatch.setattr(link, "list_running", lambda: [("demo", "/run/demo.sock")])
    return fake


@pytest.fixture
def dspex(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return a function that runs one command line in this process."""

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run
