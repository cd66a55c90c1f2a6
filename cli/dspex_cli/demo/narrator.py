"""How the demo talks: numbered steps, facts below them, and a mark for each thing that was checked."""

from __future__ import annotations

import textwrap

from dspex_cli.output import Output, paint

WIDTH = 96


class StepFailed(Exception):  # noqa: N818 - what a step found out, not a fault of the program
    """Something the demo promises did not happen."""


class Narrator:
    """Prints for people; silent when a program reads the output."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self._step = 0
        self.checks = 0

    def step(self, title: str) -> None:
        """Begin a numbered step."""
        self._step += 1
        self.line()
        self.line(paint(f"{self._step}. {title}", "bold"))

    def line(self, text: str = "") -> None:
        """Print one line."""
        self.output.say(text)

    def prose(self, text: str) -> None:
        """Print a paragraph, indented and wrapped."""
        for line in textwrap.wrap(text, WIDTH):
            self.line(f"   {line}")

    def fact(self, name: str, text: str) -> None:
        """Print a named fact; long ones are wrapped below themselves."""
        first, *rest = textwrap.wrap(text, WIDTH - 12) or [""]
        self.line(f"   {paint(name.ljust(9), 'dim')} {first}")
        for line in rest:
            self.line(f"   {'':9} {line}")

    def check(self, holds: bool, text: str) -> None:
        """Print what was checked.

        Raises:
            StepFailed: It does not hold.
        """
        self.checks += 1
        if not holds:
            raise StepFailed(text)
        self.line(f"   {paint('✓', 'green')} {text}")

    def block(self, lines: list[str]) -> None:
        """Print lines as they are, indented."""
        for line in lines:
            self.line(f"   {line}")
