"""`lm:` and `dspy:` reach the process they are for; one cache serves all modules; a key is seen by its endpoint and nobody else."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
import pytest

import dspex_runtime as dx
from dspex_cli.main import main
from dspex_runtime.testing import DummyLM, OpenAIServer, Status
from helpers.leaks import Footprint
from helpers.runtimes import kill_module

PROGRAMS = Path(__file__).parent / "programs_lm.py"
KEY = "sk-QWxhZGRpbjpvcGVu-a-key-that-is-nowhere-else"
TREE = """
version: 1
name: keys
runtime: {{state_dir: ./state, spares: 1, env: {{SOME_TOKEN: "${{THE_KEY}}", SOME_BASE: "{base}"}}}}
lm: {{model: openai/shared, api_base: "{base}", api_key: "${{THE_KEY}}", num_retries: 0}}
dspy:
  track_usage: true
  num_threads: 3
  adapter: dspy:ChatAdapter
  callbacks: [{{class: "{programs}:Counting", args: {{name: all}}}}]
  cache: {{dir: ./answers}}
tree:
  children:
    - {{id: a, module: "{programs}:QA"}}
    - {{id: b, module: "{programs}:QA", lm: {{temperature: 0.5}}, dspy: {{num_threads: 1, callbacks: []}}}}
    - {{id: own, module: "{programs}:QA", lm: {{class: "{programs}:KeyLM", args: {{api_key: "${{THE_KEY}}", api_base: "{base}"}}}}}}
    - {{id: holder, module: "{programs}:Holder", checkpoint: {{keep: 2}}}}
    - {{id: silent, module: "{programs}:QA", lm: null, dspy: {{adapter: dspy:JSONAdapter, max_errors: 2}}}}
"""


@dataclass
class Site:
    """A running tree with its endpoint, and all that anybody has said about it."""

    folder: Path
    rt: dx.Runtime
    server: OpenAIServer
    heard: list[str]

    def ask(self, id: str, question: str) -> Any:
        return self.rt.ref(id).call(question=question)

    def about(self, id: str) -> dict[str, Any]:
        return dict(self.rt.ref(id).call("about"))

    def cli(self, *arguments: str) -> str:
        """Return what `dspex` prints."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(arguments)
        self.heard.append(said.getvalue())
        return said.getvalue()

    def said(self, value: Any) -> None:
        self.heard += [repr(value), str(value)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One runtime for all; what it leaves behind is looked for at its end, as the mark `process` does after each test."""
    folder, before = tmp_path_factory.mktemp("keys"), Footprint.take()
    with pytest.MonkeyPatch.context() as patch, OpenAIServer({}, default={"answer": "yes"}) as server:
        patch.setenv("DSPEX_RUNTIME_DIR", str(folder / "run"))
        patch.setenv("THE_KEY", KEY + "\n")  # as `$(cat file)` or a mounted secret has it
        patch.setenv("DSPY_CACHEDIR", str(folder / "not-this"))
        (folder / "tree.yaml").write_text(TREE.format(base=server.api_base, programs=PROGRAMS))
        with dx.Runtime(folder / "tree.yaml") as rt:
            yield Site(folder, rt, server, [])
    assert before.leaks_since(timeout_s=20.0) == []


@pytest.fixture(autouse=True)
def own_rendezvous() -> None:
    """The runtime of this file has one; each test's own would hide it."""


def test_settings_reach_each_module_merged(site: Site) -> None:
    common = {"track_usage": True, "max_history_size": 1000, "price_list": "True"}
    a, b, silent = site.about("a"), site.about("b"), site.about("silent")
    assert a | common | {"num_threads": 3, "adapter": "ChatAdapter", "callbacks": ["Counting"], "lm": "openai/shared"} == a
    assert b | common | {"num_threads": 1, "callbacks": [], "lm": "openai/shared"} == b
    assert silent | common | {"adapter": "JSONAdapter", "max_errors": 2, "lm": None} == silent


def test_all_modules_share_one_cache_which_is_opened_at_the_first_call(site: Site) -> None:
    before, descriptors = len(site.server.requests), site.about("a")["descriptors"]
    assert not (site.folder / "answers").exists()
    assert site.ask("a", "shared?").answer == "yes"
    assert site.about("a")["descriptors"] >= descriptors + 16
    kill_module(site.rt, "a")
    assert site.ask("a", "shared?").answer == "yes"
    assert site.rt.start(f"{PROGRAMS}:QA", id="late").dx.call(question="shared?").answer == "yes"
    assert len(site.server.requests) == before + 1
    assert not (site.folder / "not-this").exists()


def test_callbacks_of_the_configuration_hear_the_calls_of_their_module(site: Site) -> None:
    site.ask("a", "heard?")
    assert site.about("a")["calls"][-1] == "all:openai/shared"
    site.ask("b", "heard by none?")
    assert site.about("b")["calls"] == []


def test_a_start_takes_lm_and_settings_as_text_maps_and_objects(site: Site) -> None:
    by_map = site.rt.start(f"{PROGRAMS}:QA", id="by_map", lm=site.server.lm("openai/mapped"), dspy={"num_threads": 7})
    assert (by_map.dx.call("about")["lm"], by_map.dx.call("about")["num_threads"]) == ("openai/mapped", 7)
    lm = DummyLM({"who": {"answer": "me"}})
    with dspy.context(lm=lm):
        dspy.Predict("question -> answer")(question="who")
    by_object = site.rt.start(f"{PROGRAMS}:QA", id="by_object", lm=lm, dspy={"adapter": dspy.JSONAdapter()})
    assert by_object.dx.call(question="who are you?").answer == "me"
    assert (by_object.dx.call("about")["adapter"], len(lm.history)) == ("JSONAdapter", 1)
    with pytest.raises(dx.ConfigError, match=r"dspy\.num_thread: found the unknown key 'num_thread'.*did you mean 'num_threads'\?"):
        site.rt.start(f"{PROGRAMS}:QA", id="wrong", dspy={"num_thread": 7})
    for id in ("by_map", "by_object"):
        site.rt.delete(id)


def test_the_key_reaches_its_endpoint_and_nothing_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, rt = site.said, site.rt
    before = len(site.server.requests)
    for id in ("a", "b", "own", "holder"):
        heard(site.ask(id, "who are you?"))
    assert {request.headers["authorization"] for request in site.server.requests[before:]} == {f"Bearer {KEY}"}
    for fault in (Status(401), Status(500)):
        for id in ("a", "own", "holder"):
            site.server.inject(fault)
            with pytest.raises(dspy.LMError) as failed:
                site.ask(id, f"what about {fault.code}?")
            heard(failed.value)
            heard(failed.value.__cause__)
    for wrong in (
        {"class": f"{PROGRAMS}:KeyLM", "args": {"api_key": KEY, "colour": 1}},
        {"class": f"{PROGRAMS}:KeyLM", "args": [KEY]},
        {"model": "openai/", "api_key": KEY},
        {"model": "m", "api_key": [KEY]},
        {"model": "m", "api_key": KEY + "\nx"},
    ):
        with pytest.raises(dx.DspexError) as refused:
            rt.start(f"{PROGRAMS}:QA", id="wrong", lm=wrong)
        heard(refused.value)
        heard(getattr(refused.value, "remote_traceback", ""))
    for id in ("a", "own", "holder"):
        checkpoint = rt.checkpoint(id)
        for value in (checkpoint, rt.checkpoints(id), rt.inspect_checkpoint(id), rt.info(id), rt.get_childspec("root", id)):
            heard(value)
        ref = rt.ref(id)
        heard([dict(ref.params), [ref.params.history(name) for name in ref.params], ref.executions(), ref.metrics(), ref.info()])
        rt.export_checkpoint(id, site.folder / f"{id}.checkpoint")
        heard(list(rt.logs(id)))
    kill_module(rt, "holder")
    heard([rt.tree(), rt.status(), rt.modules(), list(rt.events(since=0, follow=False))])
    for words in (
        "ps",
        "tree",
        "status",
        "info a",
        "info holder",
        "logs a",
        "events",
        "param list holder",
        "checkpoint list holder",
    ):
        site.cli(*words.split(), "-o", "json")
    monkeypatch.chdir(site.folder)
    Path("wrong.yaml").write_text("lm: {model: 4, api_key: ['${THE_KEY}'], api_base: {x: '${THE_KEY}'}}\ntree: {}\n")
    site.cli("validate", "tree.yaml")
    site.cli("up", "tree.yaml", "--dry-run")
    assert "lm.api_key: found a list" in site.cli("validate", "wrong.yaml")
    assert [text[:500] for text in site.heard if KEY in text] == []
    assert holding(site.folder, KEY) == []


def holding(folder: Path, secret: str) -> list[str]:
    """Return the files below a folder that have the secret in them, in plain or as hexadecimal."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix for path in files)
    forms = (secret.encode(), secret.encode().hex().encode(), json.dumps(secret).encode())
    return [str(path) for path in files if any(form in path.read_bytes() for form in forms)]


def test_the_parent_has_no_dspy_and_no_lm(site: Site) -> None:
    assert site.rt.pid is not None
    maps = Path(f"/proc/{site.rt.pid}/maps").read_text()  # parts in C of what dspy needs
    assert "pydantic" not in maps
    assert "orjson" not in maps
