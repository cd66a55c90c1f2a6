"""Templates: for each spec that wants one a process that has built it, and is forked when the spec is started again.

One for whatever is built alike (`key_of`). It is made when the first process of it is there, beside everything else: no start waits
for it, and without it processes start as ever. It ends a while after the last process that it could have made. When it dies, or
a file of it has changed, another one takes its place; what it had forked lives on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.core.launch_map import to_map
from dspex_runtime.node.event_loop import EventLoop
from dspex_runtime.node.module_process import ModuleProcess
from dspex_runtime.node.nursery import Nursery
from dspex_runtime.node.template import Home, Place, Template
from dspex_runtime.types import Kind
from dspex_runtime.wire.codec import Codec

__all__ = ["MOST", "Templates", "key_of"]

MOST: Final = 64  # at a time: each is a process with what it has built
IDLE_S: Final = 60.0  # it is kept for so long after the last process that it could have made
RETRY_S: Final = 60.0  # before one that could not be built is tried again
AGAIN_S: Final = 1.0  # before one that died is made again
MAX_KEYS: Final = 10_000

# What the built object depends on. A server's arguments are its init's, which runs after the fork.
_BUILT_OF: Final = ("target", "pickled", "sys_path", "env", "lm", "dspy", "load", "sources", "inline")
_ARGUMENTS: Final = ("args", "kwargs", "pickled_args")
_SURROUNDINGS: Final = ("cwd", "runtime", "socket")
_codec: Final = Codec()


def key_of(launch: LaunchSpec) -> bytes:
    """Return what is the same for two launches exactly when what they build is made alike."""
    whole = to_map(launch)
    names = _BUILT_OF if launch.kind is Kind.SERVER else (*_BUILT_OF, *_ARGUMENTS)
    return blake2b(_codec.pack([whole["kind"], *(_sorted(whole[name]) for name in names)]), digest_size=16).digest()


def _sorted(value: Any) -> Any:
    return sorted(value.items()) if isinstance(value, Mapping) and all(type(key) is str for key in value) else value


class Templates:
    """Of one runtime.

    Args:
        loop: Of the runtime process.
        home: The launcher.
        spares: How many forks of each are kept in store.
    """

    def __init__(self, loop: EventLoop, home: Home, spares: int) -> None:
        self.home = home
        self._loop = loop
        self._spares = spares
        self._places: dict[bytes, Place] = {}
        self._all: list[Template] = []  #: also those that are on their way out
        self._keys: dict[str, tuple[LaunchSpec, bytes]] = {}
        self._closing = False

    @property
    def nurseries(self) -> list[Nursery]:
        """Of all there are."""
        return [template.nursery for template in self._all]

    @property
    def pids(self) -> dict[str, int]:
        """Of those that processes are forked from now, by what they are called."""
        found = (place.template for place in self._places.values())
        ready = [each for each in found if each is not None and each.life.ready]
        return {each.nursery.name: each.life.pid for each in ready if each.life.pid is not None}

    def nursery_for(self, process: ModuleProcess) -> Nursery | None:
        """Return where a process is forked that has been built there; None where there is none, or it wants none."""
        if not process.spec.template:
            return None
        place = self._places.setdefault(self._key(process), Place())
        place.users.add(process)
        template = place.template
        return template.nursery if template is not None and template.life.ready else None

    def assigned(self, process: ModuleProcess, facts: Mapping[str, Any]) -> None:
        """Know where a process is to be: a template of it is made there."""
        if process.spec.template and (place := self._places.get(self._key(process))) is not None:
            place.surroundings = {name: facts[name] for name in _SURROUNDINGS}

    def started(self, process: ModuleProcess) -> None:
        """Know that a process has been built: the next one need not be, nor is one that its template was too old for."""
        if not process.spec.template or (place := self._places.get(self._key(process))) is None:
            return
        template = place.template
        if process.stale and template is not None and process.pid is not None and template.nursery.forked(process.pid):
            place.template = None
            template.retire()
        self._make(place)

    def left(self, process: ModuleProcess) -> None:
        """Know that a process has ended."""
        if not process.spec.template:
            return
        key = self._key(process)
        place = self._places.get(key)
        if place is not None and place.used is None:
            self._loop.call_later(IDLE_S, partial(self._idle, key, place))

    def exited(self, pid: int, status: int) -> bool:
        """Hear of the end of a child that is no module's; return whether it was a template."""
        template = next((each for each in self._all if each.life.pid == pid), None)
        if template is not None:
            template.exited(pid, status)
        return template is not None

    def keep_spares(self, n: int) -> None:
        """Keep so many processes warm from now on, of each."""
        self._spares = n
        for template in self._all:
            if not template.retired:
                template.nursery.keep_spares(n)

    def close(self) -> None:
        """End them all; their processes must be gone."""
        self._closing = True
        for template in self._all:
            template.nursery.close()
        for template in self._all:
            template.nursery.collect()

    # -- making

    def _make(self, place: Place) -> None:
        process = place.used
        full = sum(not each.retired for each in self._all) >= MOST
        if process is None or place.template is not None or full or self._closing or self._loop.now() < place.not_before:
            return
        place.template = template = Template(self, place, process, self._loop, self._spares)
        self._all.append(template)
        self.home.nursery_of(process).give(template.begin)

    def ready(self, template: Template) -> None:
        """Have a template that is ready make what waits for a process of its kind."""
        if template.place.template is not template or not template.life.ready:
            return
        template.place.told = None
        users = template.place.users
        for process in self.home.nursery_of(next(iter(users))).take_waiting(users.__contains__) if users else ():
            self.home.start(process)

    def failed(self, template: Template, why: str) -> None:
        """Say why one cannot be built, once; it is tried again later."""
        place = template.place
        if place.told != why:
            self.home.report("template_failed", template.of, message=why)
        place.told = why
        place.not_before = self._loop.now() + RETRY_S
        self._drop(template)

    def gone(self, template: Template) -> None:
        """Hear that one has ended; another one is made where it is missed."""
        if template.refusal is not None and not template.retired:
            self.failed(template, template.refusal)
            return
        self._drop(template)
        if not template.retired:
            template.place.not_before = self._loop.now() + AGAIN_S
            self._loop.call_later(AGAIN_S, partial(self._make, template.place))

    def _drop(self, template: Template) -> None:
        if template in self._all:
            self._all.remove(template)
        if template.place.template is template:
            template.place.template = None

    def _idle(self, key: bytes, place: Place) -> None:
        if place.used is not None or self._places.get(key) is not place:
            return
        del self._places[key]
        if place.template is not None:
            place.template.retire()

    def _key(self, process: ModuleProcess) -> bytes:
        launch = process.launch
        known = self._keys.get(process.id)
        if known is None or known[0] is not launch:  # a restart's is the same object
            if len(self._keys) >= MAX_KEYS:
                self._keys.clear()
            known = self._keys[process.id] = launch, key_of(launch)
        return known[1]
