"""Two versions of something hosted in one process: what the old one is, as an image; and the new one, which rehearses on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle

from dspex_runtime.core.child_spec import LaunchSpec
from dspex_runtime.host.assignment import Assignment
from dspex_runtime.host.genserver import ServerHost
from dspex_runtime.host.moving import state
from dspex_runtime.host.moving.rehearsing import Rehearsal, Request
from dspex_runtime.host.parameters import Parameters
from dspex_runtime.params.image import Image, decode, encode
from dspex_runtime.types import Kind
from dspex_runtime.wire.codec import Codec

CODEC = Codec(pickle=True)


class Pipe:
    """The way to the parent; what is told is kept."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def send(self, message: list[Any], *_: Any, fds: Any = ()) -> None:
        self.told.append(message[2])


class Version:
    """One version, started as a module process does it."""

    def __init__(self, found: Any, *args: Any, rehearsal: bool = False, journal: str = "", **options: Any) -> None:
        launch = LaunchSpec(kind=Kind.MODULE, args=args, **options)
        self.assignment = Assignment("sup/it", 3, "test", "", 0, "", 0, 0, "/", launch, journal=journal, rehearsal=rehearsal)
        self.pipe = Pipe()
        pipe: Any = self.pipe
        self.parameters = Parameters(self.assignment, pipe, CODEC)
        self.hosted: Any
        if hasattr(found, "handle_call") or hasattr(found, "init"):
            self.hosted = ServerHost(found())
        else:
            from dspex_runtime.modules.hosting import ModuleHost

            self.hosted = ModuleHost(found)
        no_uplink: Any = None
        self.hosted.build(args, {})
        self.parameters.adopt(self.hosted, no_uplink)
        if not (rehearsal and self.hosted.serial and not self.hosted.keeps_user_state):
            self.hosted.start(args, {})
        self.parameters.adopt_what_setup_added(self.hosted, no_uplink)

    @property
    def owner(self) -> Any:
        return self.parameters.owner

    def image(self, *, kind: str = "before_swap", **way: Any) -> Image:
        """Return what this version is, as it comes to the next one."""
        taken = state.take(kind, self.assignment, self.hosted, self.parameters, {}, way=state.Way.of(way))
        return decode(encode(taken))

    def rehearsal(self, old_version: Any = "1", *, migrate: Any = None, extra: Any = None, verify: Any = None) -> Rehearsal:
        """Return a rehearsal of this version; functions and values are pickled here."""
        packed = [None if each is None else cloudpickle.dumps(each) for each in (migrate, extra)]
        how = {"pickled": cloudpickle.dumps(verify)} if callable(verify) else verify
        request = Request(old_version, packed[0], packed[1], how)
        return Rehearsal(request, self.hosted, self.parameters, CODEC, id="sup/it")


@contextmanager
def versions() -> Iterator[Any]:
    """Yield a factory of versions; all are closed at the end."""
    made: list[Version] = []

    def make(found: Any, *args: Any, **options: Any) -> Version:
        made.append(Version(found, *args, **options))
        return made[-1]

    try:
        yield make
    finally:
        for version in made:
            version.parameters.close()
