"""Warnings: what is legal and probably not meant. Pure, on checked plain data.

The two about restart budgets come from real threads: back-off and a start limit that cancel out, and supervisors whose restart
cycle is longer than their window, which crash-loop for ever instead of escalating (otp-semantics §1.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dspex_runtime.config.dependency_lints import lint_dependencies
from dspex_runtime.config.durations import show_duration
from dspex_runtime.config.merging import Inherited, effective, kind_of
from dspex_runtime.config.problems import Path, Problems
from dspex_runtime.config.suggestions import suggest
from dspex_runtime.core.child_spec import Backoff, SupervisorSpec

__all__ = ["lint"]

_LM_KEYS: Final = (
    "model", "api_base", "api_key", "api_version", "model_type", "temperature", "max_tokens", "cache", "num_retries", "timeout",
    "top_p", "stop", "seed", "n", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "reasoning_effort",
    "rollout_id", "headers", "extra_headers", "callbacks", "provider", "finetuning_model", "launch_kwargs", "train_kwargs",
    "use_developer_role", "organization", "base_url", "custom_llm_provider", "engine", "max_completion_tokens", "top_k", "min_p",
    "extra_body", "repetition_penalty", "response_format", "mock_response",
)  # fmt: skip


def lint(config: Mapping[str, Any], problems: Problems) -> None:
    """Add the warnings of a configuration without problems."""
    inherited = Inherited.of(config)
    _lint_lm(config.get("lm"), ("lm",), problems)
    _lint_lm(inherited.defaults.get("lm"), ("defaults", "lm"), problems)
    _lint_supervisor(config.get("tree", {}), ("tree",), inherited, problems)
    lint_dependencies(config.get("tree", {}), ("tree",), inherited, problems)


def _lint_supervisor(supervisor: Mapping[str, Any], path: Path, inherited: Inherited, problems: Problems) -> None:
    counts = any(child.get("significant") for child in supervisor.get("children", ()))
    if supervisor.get("auto_shutdown", "never") != "never" and not counts:
        problems.warn((*path, "auto_shutdown"), "no child here is significant: true, so it does not end by itself")
    for index, child in enumerate(supervisor.get("children", ())):
        here = (*path, "children", index)
        kind = kind_of(child)
        assert kind is not None
        merged = effective(child, kind, inherited)
        _lint_lm(child.get("lm"), (*here, "lm"), problems)
        if kind == "supervisor":
            if merged.get("restart", "permanent") != "permanent" and "restart" not in child:
                text = f"this supervisor is {merged['restart']} by `defaults`: when it gives up it is not restarted"
                problems.warn(here, f"{text}; write its restart here if that is meant")
            if merged.get("restart", "permanent") == "permanent" and child["supervisor"].get("auto_shutdown", "never") != "never":
                text = "a permanent supervisor is restarted when its auto_shutdown has ended it; restart: transient leaves it ended"
                problems.warn(here, text)
            _lint_supervisor(child["supervisor"], (*here, "supervisor"), inherited, problems)
        if merged.get("restart", "permanent") != "temporary":
            _lint_backoff(merged, supervisor, here, problems)
            _lint_cycle(child, merged, supervisor, here, problems)


def _lint_backoff(merged: Mapping[str, Any], supervisor: Mapping[str, Any], path: Path, problems: Problems) -> None:
    """The delays alone keep max_restarts from being reached within max_seconds."""
    backoff = merged.get("backoff", {})
    if backoff is None:
        return
    restarts, window_s = _budget(supervisor)
    default = Backoff()
    delay_s, factor = backoff.get("initial", default.initial_s), backoff.get("factor", default.factor)
    shortest = 1 - backoff.get("jitter", default.jitter)
    total_s = 0.0
    for _ in range(2, min(restarts, 10_000) + 1):  # the first restart is at once; delays do not shrink, so the sum decides
        total_s += delay_s * shortest
        delay_s = min(delay_s * factor, backoff.get("max", default.max_s))
        if total_s > window_s:
            text = f"a crash loop never reaches max_restarts {restarts} within max_seconds {show_duration(window_s)}"
            problems.warn(path, f"{text}: its back-off alone takes longer; it is restarted for ever and nothing escalates")
            return


def _lint_cycle(
    child: Mapping[str, Any], merged: Mapping[str, Any], supervisor: Mapping[str, Any], path: Path, problems: Problems
) -> None:
    """One restart cycle takes longer than its share of the window.

    Judged only by time-outs that somebody wrote on this child: the default ones are never reached by a start of milliseconds.
    """
    restarts, window_s = _budget(supervisor)
    starts_s = child.get("start_timeout")
    sweeps = supervisor.get("strategy", "one_for_one") != "one_for_one" and len(supervisor.get("children", ())) > 1
    stops_s = _timeout(merged.get("shutdown")) if sweeps and "shutdown" in child else None
    parts = [(name, value) for name, value in (("start_timeout", starts_s), ("shutdown", stops_s)) if isinstance(value, float)]
    cycle_s = sum(value for _, value in parts)
    if restarts > 0 and restarts * cycle_s > window_s:
        words = " + ".join(f"{name} {show_duration(value)}" for name, value in parts)
        text = (
            f"if it takes all of its {words} it never reaches max_restarts {restarts} within max_seconds {show_duration(window_s)}"
        )
        problems.warn(path, f"{text}: {restarts} cycles are {show_duration(restarts * cycle_s)}; nothing escalates")


def _lint_lm(lm: Mapping[str, Any] | None, path: Path, problems: Problems) -> None:
    for key in lm or ():
        if key not in ("class", "args", *_LM_KEYS):
            hint = suggest(key, _LM_KEYS)
            if hint:
                problems.warn((*path, key), f"{key!r} is passed on to dspy.LM as it is; {hint}")


def _budget(supervisor: Mapping[str, Any]) -> tuple[int, float]:
    default = SupervisorSpec()
    return supervisor.get("max_restarts", default.max_restarts), supervisor.get("max_seconds", default.max_seconds)


def _timeout(shutdown: Any) -> Any:
    return shutdown.get("timeout") if isinstance(shutdown, Mapping) else shutdown
