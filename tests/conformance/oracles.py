"""Who is asked: OTP's supervisor and, about dynamic children, Elixir's. What is asked, what is compared, where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conformance import differences, otp, player, recording
from conformance.generator import scenario
from conformance.generator_dynamic import dynamic_scenario

Scenario = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Oracle:
    """Who is asked about what.

    Attributes:
        generate: The scenario of a seed.
        count: How many are recorded: those of the seeds 0, 1, 2 ...
        comparable: What of a log is compared.
    """

    name: str
    generate: Callable[[int], Scenario]
    recorded: Path
    count: int
    with_elixir: bool
    comparable: Callable[[list[str]], list[str]]

    def ask(self, scenarios: Mapping[int, Scenario]) -> dict[int, list[str]]:
        """Return the oracle's logs. Needs Erlang."""
        return {number: self.comparable(log) for number, log in otp.play(scenarios, with_elixir=self.with_elixir).items()}

    def core(self, scenario: Scenario, *, validate: bool = False) -> list[str]:
        """Return the core's log."""
        return self.comparable(player.play(scenario, validate=validate))

    def versions(self) -> str:
        """Return the versions of who is asked."""
        return otp.versions() + (f", Elixir {otp.elixir_version()}" if self.with_elixir else "")


SUPERVISOR: Final = Oracle(
    "supervisor", scenario, recording.RECORDED / "supervisor.jsonl.xz", 5400, with_elixir=False, comparable=list
)
DYNAMIC: Final = Oracle(
    "dynamic",
    dynamic_scenario,
    recording.RECORDED / "dynamic_supervisor.jsonl.xz",
    1000,
    with_elixir=True,
    comparable=differences.together,
)
ORACLES: Final = {oracle.name: oracle for oracle in (SUPERVISOR, DYNAMIC)}
