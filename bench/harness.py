"""What the benchmarks share: samples to figures, figures to a table and a JSON file, and the machine they were taken on."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import dspex_runtime as dx

RESULTS: Final = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing: its samples in one unit."""

    name: str
    unit: str
    samples: tuple[float, ...]

    def at(self, share: float) -> float:
        """Return the sample at a share of the order, 0 <= share <= 1."""
        ordered = sorted(self.samples)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

    @property
    def median(self) -> float:
        """The middle sample."""
        return self.at(0.5)

    @property
    def p99(self) -> float:
        """All but one in a hundred are below."""
        return self.at(0.99)


@dataclass(slots=True)
class Report:
    """The result of one benchmark: its figures, and each one's ratio to the figure it stands beside."""

    title: str
    figures: list[tuple[Figure, str | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, figure: Figure, beside: str | None = None) -> Figure:
        """Add a figure; `beside` names the one that its ratio is taken against."""
        self.figures.append((figure, beside))
        return figure

    def note(self, text: str) -> None:
        """Add a line below the table."""
        self.notes.append(text)

    def show(self) -> None:
        """Print the table and write the JSON file."""
        print(f"\n{self.title}")
        by_name = {figure.name: figure for figure, _ in self.figures}
        width = max(len(name) for name in by_name)
        print(f"  {'':{width}}  {'median':>10} {'p99':>10}       n   ratio of medians")
        for figure, beside in self.figures:
            ratio = f"{figure.median / by_name[beside].median:.2f}x {beside}" if beside else ""
            row = f"{figure.median:>10.4g} {figure.p99:>10.4g} {figure.unit:<4} {len(figure.samples):>4}"
            print(f"  {figure.name:{width}}  {row}   {ratio}")
        for text in self.notes:
            print(f"  {text}")
        self._write(by_name)

    def _write(self, by_name: dict[str, Figure]) -> None:
        RESULTS.mkdir(exist_ok=True)
        rows = [
            {
                "name": figure.name,
                "unit": figure.unit,
                "median": figure.median,
                "p99": figure.p99,
                "n": len(figure.samples),
                "beside": beside,
                "ratio": figure.median / by_name[beside].median if beside else None,
            }
            for figure, beside in self.figures
        ]
        data = {"title": self.title, "machine": machine(), "figures": rows, "notes": self.notes}
        name = "".join(c if c.isalnum() else "-" for c in self.title.lower()).strip("-")
        (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "commit": commit or None,
    }


def sample(operation: Callable[[], object], n: int, *, warm_up: int = 50) -> list[float]:
    """Return the seconds of each of `n` runs of `operation`, after `warm_up` runs that do not count."""
    for _ in range(warm_up):
        operation()
    gc.collect()
    seconds = []
    for _ in range(n):
        started = time.perf_counter_ns()
        operation()
        seconds.append((time.perf_counter_ns() - started) / 1e9)
    return seconds


def in_unit(name: str, seconds: Sequence[float], unit: str) -> Figure:
    """Return a figure from seconds, in us, ms or s."""
    factor = {"us": 1e6, "ms": 1e3, "s": 1.0}[unit]
    return Figure(name, unit, tuple(s * factor for s in seconds))


def private_mb(pid: int) -> float:
    """Return the memory that only this process has, in MB (Private_Clean + Private_Dirty of smaps_rollup)."""
    total_kb = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            total_kb += int(line.split()[1])
    return total_kb / 1024


def wait_for_templates(rt: dx.Runtime, n: int) -> None:
    """Return when so many templates are there."""
    deadline, idle = time.monotonic() + 30, threading.Event()
    while sum(name.startswith("template of ") for name in rt.status()["zygote_pids"]) < n:
        if time.monotonic() > deadline:
            raise TimeoutError(f"there are not {n} templates: {rt.status()['zygote_pids']}")
        idle.wait(0.02)


def note_machine() -> None:
    """Say on what the figures were taken."""
    facts = machine()
    print(", ".join(f"{key} {value}" for key, value in facts.items()), file=sys.stderr)
