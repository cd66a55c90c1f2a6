"""Each example does what the comments in its YAML say, with the real command line and no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process


@dataclass(frozen=True)
class Site:
    """A copy of the examples, so that nothing is written beside them."""

    folder: Path
    environ: dict[str, str]

    def run(self, *command: str) -> str:
        options: dict[str, Any] = {"cwd": self.folder.parent, "env": self.environ, "capture_output": True, "text": True}
        done = subprocess.run([sys.executable, *command], timeout=60, check=False, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    def dspex(self, *arguments: str) -> str:
        return self.run("-m", "dspex_cli.main", *arguments)

    def ask(self, *arguments: str) -> Any:
        return json.loads(self.dspex("call", *arguments, "-o", "json"))


@pytest.fixture
def site(tmp_path: Path, configs: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The example that the test is for, up in the background."""
    shutil.copytree(configs, tmp_path / "configs", ignore=shutil.ignore_patterns(".dspex", "__pycache__"))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DSPEX_")}
    site = Site(tmp_path / "configs", {**environ, "DSPEX_RUNTIME_DIR": str(tmp_path / "run"), "DSPY_CACHEDIR": str(tmp_path / "c")})
    site.dspex("up", f"configs/{request.param}.yaml", "-d")
    try:
        yield site
    finally:
        site.dspex("down")
    assert not (tmp_path / "c").exists(), "an offline example opened the cache of LM answers"


@pytest.mark.parametrize("site", ["react"], indirect=True)
def test_react_answers_with_its_tools_also_after_a_kill(site: Site) -> None:
    assert site.ask("clerk", "question=What do 3 lamps cost?")["answer"] == "3 lamps cost 73.50 euros."
    assert site.dspex("logs", "clerk") == "price of lamp\ncalculate 3 * 24.5\n"
    site.dspex("kill", "clerk")
    result = site.ask("clerk", "question=What do 12 chairs cost?")
    assert (result["answer"], result["trajectory"]["observation_0"]) == ("12 chairs cost 1068.00 euros.", 89.0)


@pytest.mark.parametrize("site", ["compiled"], indirect=True)
def test_compiled_learns_from_the_examples_and_goes_back(site: Site) -> None:
    ticket = "ticket=My parcel has not arrived yet"
    assert site.ask("triage", ticket)["queue"] == "account"
    data = ("--trainset", "configs/compiled/tickets.jsonl", "--valset", "configs/compiled/heldout.jsonl")
    site.dspex("compile", "triage", "--optimizer", "BootstrapFewShot", "--metric", "configs/compiled/metric.py:right", *data)
    assert site.ask("triage", ticket)["queue"] == "delivery"
    assert [kept["kind"] for kept in json.loads(site.dspex("checkpoint", "list", "triage", "-o", "json"))] == [
        "compiled",
        "before_compile",
    ]
    site.dspex("checkpoint", "restore", "triage", "1")
    assert site.ask("triage", ticket)["queue"] == "account"


@pytest.mark.parametrize("site", ["served"], indirect=True)
def test_served_answers_all_clients_and_what_one_changes_holds_for_all(site: Site) -> None:
    clients = [(name, *more) for name, more in (("Ada", ()), ("Bob", ("--async",)))]
    started = [
        subprocess.Popen(
            [sys.executable, str(site.folder / "served" / "client.py"), *arguments],
            env=site.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in clients
    ]
    assert site.ask("tutor", "question=What is a heap?")["answer"] == "A tree whose smallest item is on top."
    for process, (name, *_) in zip(started, clients, strict=True):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.count(f"{name}: What is a heap? A tree whose smallest item is on top.") == 4
        assert f"{name}: 10 answers in" in out
    site.dspex("param", "set", "tutor.style", "thorough")
    assert "as heapq makes" in site.ask("tutor", "question=What is a heap?")["answer"]


FULL = "report=Production is down: OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize("site", ["composite"], indirect=True)
def test_composite_answers_degrades_and_answers_again(site: Site) -> None:
    advice = "Remove old logs and uploads, then give the volume more room."
    result = site.ask("desk", FULL)
    assert (result["problem"], result["advice"], result["urgency"]) == ("The disk is full", advice, "high")
    site.dspex("kill", "catalogue/index")
    assert site.ask("desk", FULL)["advice"] == advice
    site.dspex("stop", "catalogue")
    site.dspex("wait", "adviser", "--for", "degraded", "--timeout", "30s")
    assert "is down: somebody has to look at it" in site.ask("desk", FULL)["advice"]
    site.dspex("start", "catalogue")
    site.dspex("wait", "adviser", "--for", "ready", "--timeout", "30s")
    assert site.ask("desk", FULL)["advice"] == advice


@pytest.mark.parametrize("site", ["composite"], indirect=True)
def test_composites_parts_and_replicas_are_addressed_through_it(site: Site) -> None:
    site.dspex("param", "set", "catalogue.index.k", "5")
    assert json.loads(site.dspex("param", "get", "catalogue/index.k", "-o", "json"))["value"] == 5
    site.dspex("scale", "reader=3")
    ids = [module["id"] for module in json.loads(site.dspex("ps", "-o", "json"))]
    assert {"reader#0", "reader#1", "reader#2", "catalogue/index"} <= set(ids)
    reports = json.dumps({"reports": ["KeyError: 1", "KeyError: 1", "MemoryError"]})
    assert site.ask("desk", "errors", "--json", reports) == {"KeyError 1": 2, "MemoryError": 1}
