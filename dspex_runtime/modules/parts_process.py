"""Sub-modules that are processes of their own: asked for while their owner is built, and proxies in their place.

Of a hosted module, and what its class declares: a module inside of it, or one that is made in a call, has its sub-modules in its
own process, as one has that is made without a runtime, or for a compile. Owns whose turn it is; the parts are the runtime's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from dspex_runtime.core.launch_map import from_map
from dspex_runtime.errors import StartError
from dspex_runtime.host import sub_modules, targets
from dspex_runtime.host.context import Process
from dspex_runtime.host.parent import ask
from dspex_runtime.modules.mirror.following import Remote, mirror_of, unfollowed
from dspex_runtime.modules.parts import named_parts
from dspex_runtime.types import Kind, Strategy

__all__ = ["Asked", "Parts", "attached", "hosting", "is_part", "takes_turn"]

ATTRIBUTE: Final = "parts"  #: of a class, where it says how its parts are supervised


@dataclass(frozen=True, slots=True)
class Parts:
    """How the sub-modules of a class that are processes are supervised: `parts = dx.Parts(strategy="one_for_all")` in its body.

    Attributes:
        strategy: one_for_one, one_for_all or rest_for_one: which of them a restart takes along.
        max_restarts: More of them within `max_seconds`, and they are given up; the owner is not.
        max_seconds: The window.
    """

    strategy: str = "one_for_one"
    max_restarts: int = 3
    max_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.strategy not in tuple(Strategy):
            raise ValueError(f"dx.Parts: strategy is one of {', '.join(Strategy)}; got {self.strategy!r:.100}")
        if type(self.max_restarts) is not int or self.max_restarts < 0:
            raise ValueError(f"dx.Parts: max_restarts is a whole number, at least 0; got {self.max_restarts!r:.100}")
        if type(self.max_seconds) not in (int, float) or not self.max_seconds > 0:
            raise ValueError(f"dx.Parts: max_seconds is a number above 0; got {self.max_seconds!r:.100}")


@dataclass(frozen=True, slots=True)
class Asked:
    """One sub-module that is to be a process.

    Attributes:
        target: A class, an instance, or the name of a class.
        kwargs: For its constructor.
        keys: Of the child, as the YAML has them, and on_down and fallback.
    """

    target: Any
    kwargs: Mapping[str, Any]
    keys: Mapping[str, Any]


_expected: Final[ContextVar[type | None]] = ContextVar("dspex_expected", default=None)


_inline: Final[ContextVar[Mapping[str, Any] | None]] = ContextVar("dspex_inline", default=None)  # of what is being built inside
_new: Final[set[str]] = set()  #: names of the parts of which nothing was kept when this process had them started


@contextmanager
def hosting(cls: type) -> Iterator[None]:
    """Within this the first instance of a class is the hosted one."""
    token = _expected.set(cls)
    try:
        yield
    finally:
        _expected.reset(token)


def takes_turn(cls: type) -> bool:
    """Return whether an instance that is being built is the hosted one; once."""
    if _expected.get() is not cls:
        return False
    _expected.set(None)
    return True


def attached(cls: type, asked: Mapping[str, Asked]) -> dict[str, Any]:
    """Return what stands in the hosted module for these sub-modules, by name.

    Raises:
        StartError: One did not start; it is that one's error.
        ConfigError: One is nothing that can be started.
    """
    if Process.assignment is None:
        raise StartError(f"{cls.__qualname__} has sub-modules that are processes; what has them cannot have a template")
    inline = _inline.get()
    if inline is None:
        inline = Process.assignment.launch.inline
    if inline is not None:
        return {name: _built(inline[name]) for name in asked if name in inline}
    supervised = getattr(cls, ATTRIBUTE, None)
    supervised = supervised if isinstance(supervised, Parts) else Parts()
    parts = [
        {"name": name, "spec": sub_modules.child_spec(part.target, kwargs=dict(part.kwargs), keys=dict(part.keys))}
        for name, part in asked.items()
    ]
    how = {"strategy": supervised.strategy, "max_restarts": supervised.max_restarts, "max_seconds": supervised.max_seconds}
    # However long they take: it is the start time-out of each, and of the owner, that ends this.
    found = ask("attach_parts", {"parts": parts, **how}, timeout_s=None)
    _new.update(part["name"] for part in found if part["new"])
    for part in found:
        if part["kind"] != Kind.MODULE.value:
            raise StartError(f"the sub-module {part['name']!r} is a GenServer; expected a dspy.Module. Start it beside its owner")
    return {part["name"]: sub_modules.reference(part["id"]) for part in found}


def _built(launch: Mapping[str, Any]) -> Any:
    """Return a sub-module that is to be in this process, of what its own process would be made of."""
    spec = from_map(dict(launch))
    found = targets.find(spec)
    if not isinstance(found, type):
        return found  # an instance, with its own inside
    args, kwargs = targets.arguments(spec)
    token = _inline.set(spec.inline or {})
    try:
        with hosting(found):
            return found(*args, **kwargs)
    finally:
        _inline.reset(token)


def parts_of(root: Any) -> dict[str, Any]:
    """Return the proxies of the parts in a hosted program, by name; of a copy of it none: that has none of its own."""
    if Process.assignment is None:
        return {}
    with unfollowed():
        return {name: part for name, part in named_parts(root).items() if is_part(part) and mirror_of(part).in_step}


def new_parts() -> frozenset[str]:
    """Return the names of the parts that were started with this process and have no state yet but that of their constructors."""
    return frozenset(_new)


def switch_parts(root: Any, mode: str) -> None:
    """Switch the parts of a hosted program to "train" or "eval"."""
    for part in parts_of(root).values():
        part.dx.call(mode)


def is_part(value: Any) -> bool:
    """Return whether a value stands for a part of the module that this process is."""
    own = Process.assignment
    return own is not None and isinstance(value, Remote) and value.dx.id.startswith(f"{own.id}/")
