"""What the configuration tests share: a folder with the files that example trees name, and a way to check a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from dspex_runtime.config import Report, inspect

# INTERFACE's example; an anchor and a template with an unset variable added.
EXAMPLE = """\
version: 1
name: qa
runtime: {state_dir: ./.dspex/qa, preload: [dspy], env: {OMP_NUM_THREADS: "1"}, spares: 4}
lm: {model: openai/gpt-4o-mini, api_base: "${LM_API_BASE:-}", api_key: "${OPENAI_API_KEY}"}
dspy: {track_usage: true, adapter: dspy:JSONAdapter}
shared: {style: {type: str, default: brief, choices: [brief, full]}}
x-common: &common {metadata: {team: search}, ignored: "${NOT_SET}"}
x-team: &team {metadata: {team: search}}
defaults:
  restart: permanent
  backoff: {initial: 100ms, factor: 2, max: 30s, jitter: 0.25, stable_after: 10s}
  shutdown: {drain: 5s, timeout: 10s}
tree:
  strategy: one_for_one
  max_restarts: 3
  max_seconds: 5
  auto_shutdown: never
  children:
    - {id: retriever, module: "retrieval.py:BM25", args: {corpus: docs/}, concurrency: 4}
    - id: qa
      module: answering.py:Answerer
      lm: {model: openai/gpt-4o}
      params: {temperature: 0.2}
      depends_on: {retriever: {on_down: degrade}}
      checkpoint: {every: 30s, keep: 10}
      durability: journal
      limits: {memory: 1GiB, mailbox: 1000, call_timeout: 60s, max_calls: null, nice: 0}
      liveness: {grace: 10s}
      readiness: {call: selftest, timeout: 10s}
      env: {CUDA_VISIBLE_DEVICES: "0"}
      start_timeout: 30s
      trap_exit: true
      replicas: 1
      version: "2.1.0"
      <<: *team
    - {id: workers, supervisor: {strategy: one_for_one, dynamic: true, max_children: 100}}
    - {id: counter, server: "counter.py:Counter", restart: transient, significant: false}
    - id: group
      restart: permanent
      supervisor: {strategy: rest_for_one, max_restarts: 5, max_seconds: 10, children: [{id: a, server: "counter.py:Counter"}]}
"""

Check = Callable[..., Report]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything that INTERFACE's example names."""
    for name in ("retrieval.py", "answering.py", "counter.py", "lm.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "saved").mkdir()
    return tmp_path


@pytest.fixture
def check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Write a text as qa.yaml and return what is found in it."""
    monkeypatch.chdir(folder)

    def run(text: str, environ: Mapping[str, str] | None = None) -> Report:
        (folder / "qa.yaml").write_text(text)
        return inspect("qa.yaml", environ=environ or {})

    return run


@pytest.fixture
def example() -> str:
    """INTERFACE's example; its one required variable is OPENAI_API_KEY."""
    return EXAMPLE
