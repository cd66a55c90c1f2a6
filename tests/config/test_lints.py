from __future__ import annotations

from typing import Any

import pytest

ENDS_ITSELF = "{auto_shutdown: all_significant, children: [{id: b, server: 'p:C', restart: transient, significant: true}]}"

WARNINGS = {
    "back-off": (
        "tree: {max_restarts: 10, max_seconds: 5, children: [{id: a, server: 'p:C'}]}",
        [
            (
                "qa.yaml:1:53: tree.children[0]: a crash loop never reaches max_restarts 10 within max_seconds 5s: its "
                "back-off alone takes longer; "
                "it is restarted for ever and nothing escalates"
            )
        ],
    ),
    "no back-off": ("tree: {max_restarts: 10, max_seconds: 5, children: [{id: a, server: 'p:C', backoff: none}]}", []),
    "temporary": ("tree: {max_restarts: 10, max_seconds: 5, children: [{id: a, server: 'p:C', restart: temporary}]}", []),
    "defaults": ("tree: {children: [{id: a, server: 'p:C'}, {id: b, module: 'p:M'}, {id: c, supervisor: {}}]}", []),
    "slow start": (
        "tree: {children: [{id: a, server: 'p:C', start_timeout: 2s}]}",
        [
            (
                "qa.yaml:1:19: tree.children[0]: if it takes all of its start_timeout 2s it never reaches max_restarts 3 "
                "within max_seconds 5s: "
                "3 cycles are 6s; nothing escalates"
            )
        ],
    ),
    "slow start, wide window": ("tree: {max_seconds: 1m, children: [{id: a, server: 'p:C', start_timeout: 2s}]}", []),
    "no restart allowed": ("tree: {max_restarts: 0, children: [{id: a, server: 'p:C', start_timeout: 1m}]}", []),
    "slow stop of one": ("tree: {strategy: one_for_all, children: [{id: a, server: 'p:C', shutdown: 2s}]}", []),
    "slow stop of all": (
        "tree: {strategy: one_for_all, children: [{id: a, server: 'p:C', shutdown: {timeout: 2s}}, {id: b, server: 'p:C'}]}",
        [
            (
                "qa.yaml:1:42: tree.children[0]: if it takes all of its shutdown 2s it never reaches max_restarts 3 within "
                "max_seconds 5s: "
                "3 cycles are 6s; nothing escalates"
            )
        ],
    ),
    "supervisor by defaults": (
        "defaults: {restart: transient}\ntree: {children: [{id: a, supervisor: {}}]}",
        [
            (
                "qa.yaml:2:19: tree.children[0]: this supervisor is transient by `defaults`: when it gives up it is not restarted; "
                "write its restart here if that is meant"
            )
        ],
    ),
    "supervisor by itself": ("defaults: {restart: transient}\ntree: {children: [{id: a, restart: transient, supervisor: {}}]}", []),
    "auto_shutdown of nobody": (
        "tree: {auto_shutdown: any_significant, children: [{id: a, server: 'p:C', restart: transient}]}",
        ["qa.yaml:1:8: tree.auto_shutdown: no child here is significant: true, so it does not end by itself"],
    ),
    "auto_shutdown of a permanent supervisor": (
        f"tree: {{children: [{{id: a, supervisor: {ENDS_ITSELF}}}]}}",
        [
            (
                "qa.yaml:1:19: tree.children[0]: a permanent supervisor is restarted when its auto_shutdown has ended it; "
                "restart: transient leaves it ended"
            )
        ],
    ),
    "auto_shutdown that is meant": (
        f"tree: {{children: [{{id: a, restart: transient, supervisor: {ENDS_ITSELF}}}]}}",
        [],
    ),
    "typo in lm": (
        "lm: {model: m, temprature: 0, my_own: 1}",
        ["qa.yaml:1:16: lm.temprature: 'temprature' is passed on to dspy.LM as it is; did you mean 'temperature'?"],
    ),
}


@pytest.mark.parametrize(("text", "warnings"), WARNINGS.values(), ids=WARNINGS)
def test_what_is_probably_not_meant_is_a_warning_and_no_problem(check: Any, text: str, warnings: list[str]) -> None:
    report = check(text)
    assert report.problems == ()
    assert list(report.warnings) == warnings
