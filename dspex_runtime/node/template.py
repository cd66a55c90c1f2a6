"""One template, from the wish for it to its end: the nursery of what is forked from it, and whose keeper that has.

What it has forked is the launcher's, as what a zygote has forked is. Never decides whether there is to be one: that is `templates`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from dspex_runtime.core.launch_map import to_map
from dspex_runtime.errors import StartError
from dspex_runtime.exit_reason import describe, from_wait_status
from dspex_runtime.node.event_loop import EventLoop, Timer
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.nursery import Nursery
from dspex_runtime.node.spares import Spare
from dspex_runtime.node.template_life import TemplateLife
from dspex_runtime.osproc.warmth import Warmth

__all__ = ["BUILD_S", "Home", "Owner", "Place", "Template"]

BUILD_S: Final = 60.0  # it is given up when it is not built by then


class Home(Protocol):
    """Whom templates work for: the launcher."""

    def assign(self, process: ModuleProcess, spare: Spare) -> None:
        """Make a forked process a module's."""

    def exited(self, pid: int, status: int) -> None:
        """Hear of the end of one that was assigned."""

    def lost(self, nursery: Nursery, pid: int, orphans: set[int]) -> None:
        """Take over what a template has forked: it is dead."""

    def start(self, process: ModuleProcess) -> None:
        """Give a process to one that waited for a template that died."""

    def nursery_of(self, process: ModuleProcess) -> Nursery:
        """Return the one whose zygote such a process comes from."""

    def report(self, type: str, id: str | None = None, /, **facts: Any) -> None:
        """Publish an event."""


class Owner(Protocol):
    """Who makes templates, and hears what becomes of them: `templates`."""

    home: Home

    def ready(self, template: Template) -> None:
        """Hear that one forks from now on."""

    def failed(self, template: Template, why: str) -> None:
        """Hear that one cannot be had."""

    def gone(self, template: Template) -> None:
        """Hear that one has ended."""


@dataclass(eq=False)
class Place:
    """What is known of one key."""

    users: set[ModuleProcess] = field(default_factory=set)
    template: Template | None = None
    surroundings: dict[str, Any] = field(default_factory=dict)
    not_before: float = 0.0
    told: str | None = None  #: why it could not be built, last

    @property
    def used(self) -> ModuleProcess | None:
        """A process that is alive; those that never were one are forgotten here."""
        self.users = {process for process in self.users if not process.ended}
        return next(iter(self.users), None)


class Template:
    """One template, as the keeper of its own nursery."""

    def __init__(self, owner: Owner, place: Place, process: ModuleProcess, loop: EventLoop, spares: int) -> None:
        self.of = process.id
        self.place = place
        self.retired = False
        self._owner = owner
        self._home = owner.home
        self._spec = {**place.surroundings, "launch": to_map(process.launch)}
        self._loop = loop
        # Not MODULE: what is rehearsed of dspy would meet the callbacks that the user's file has put into dspy's settings.
        self.nursery = Nursery(loop, self, name=f"template of {self.of}", warmth=Warmth.SERVER, spares=spares, life=self._make_life)
        self._timer: Timer = loop.call_later(BUILD_S, self._not_built)
        self.refusal: str | None = None

    def _make_life(self, **told: Any) -> TemplateLife:
        self.life = TemplateLife(self._loop, self._spec, **told)
        return self.life

    def begin(self, spare: Spare | None) -> None:
        """Be this process, if there is one."""
        if spare is None:
            self._owner.failed(self, "no process could be had for it")
            return
        self.life.begin(spare)
        if self.retired:
            self.life.close()

    def exited(self, pid: int, status: int) -> None:
        """Hear of an end: of a process that it has forked, or its own."""
        if pid != self.life.pid:
            self._home.exited(pid, status)
            return
        waited = self.nursery.take_waiting()
        was_refused = self.nursery.refusal is not None
        if not self.life.was_ready and self.refusal is None:
            self.refusal = f"it ended while it was built: {describe(from_wait_status(status))}"
        self._timer.cancel()
        self.life.exited()
        if was_refused:
            self._home.lost(self.nursery, pid, set())
        self._owner.gone(self)
        for process in (*waited, *self.nursery.take_waiting()):
            self._home.start(process)

    def retire(self) -> None:
        """Fork for nobody any more; end when what was forked has ended."""
        self.retired = True
        self._timer.cancel()
        if self.life.was_ready:
            self.nursery.retire()
        else:
            self.life.close()

    def _not_built(self) -> None:
        if not self.life.was_ready:
            self.refusal = f"it was not built within {BUILD_S:g} s"
            self.life.kill()

    # -- what its nursery tells it

    def assign(self, process: ModuleProcess, spare: Spare) -> None:
        """Give a process what was forked for it."""
        self._home.assign(process, spare)

    def stranger(self, pid: int, status: int) -> None:
        """Nothing: a template has no templates."""

    def lost(self, nursery: Nursery, pid: int, orphans: set[int]) -> None:
        """Leave what it had forked to the launcher."""
        self._home.lost(nursery, pid, orphans)

    def refused(self, nursery: Nursery, error: StartError) -> None:  # noqa: ARG002
        """It cannot be built, for this reason; its exit follows."""
        self.refusal = self.refusal or str(error)

    def report(self, type: str, **facts: Any) -> None:
        """Publish what its nursery says of a zygote under its own name, and what is no news not at all."""
        if type == "zygote_ready":
            self._timer.cancel()
            self._home.report("template_ready", self.of, **{key: facts[key] for key in ("pid", "files") if key in facts})
            self._loop.call_soon(partial(self._owner.ready, self))
        elif type == "zygote_lost":
            if self.life.was_ready and not self.retired:
                self._home.report("template_lost", self.of, pid=facts["pid"], modules=facts["modules"])
        elif type != "zygote_failed":
            self._home.report(type, **facts)
