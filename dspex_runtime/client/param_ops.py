"""Every operation on parameters that is no plain read, written once for the mapping of threads and for that of tasks.

Values cross the runtime encoded: it opens none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from dspex_runtime.client import part_params
from dspex_runtime.client.asking import QUICK_S, ask
from dspex_runtime.client.steps import Steps
from dspex_runtime.errors import NoProcessError, ParameterError, ParameterNotFoundError
from dspex_runtime.params.values import decode, encode
from dspex_runtime.params.view import Entry, View
from dspex_runtime.state.protocol import SHARED

if TYPE_CHECKING:
    from dspex_runtime.client.session import Session

R = TypeVar("R")

SET: Final = "$set"
SET_MANY: Final = "$set_many"
GRADIENT: Final = "$gradient"
ROLLBACK: Final = "$rollback"
RESET: Final = "$reset"


class Parameters(Protocol):
    """What an operation needs of the mapping it is a method of."""

    @property
    def id(self) -> str:
        """Full id of the module, or SHARED."""
        ...

    @property
    def session(self) -> Session:
        """The connection."""
        ...


def reading(self: Parameters, look: Callable[[View], R]) -> Steps[R]:
    """Return what `look` finds in the table."""
    return (yield from self.session.tables.reading(self.id, look))


def of_name(self: Parameters, name: str, look: Callable[[View, str], R]) -> Steps[R]:
    """Return what `look` finds of one parameter, also of one that a part of the module has."""
    return (yield from part_params.looked_up(self.session, self.id, name, look))


def value(self: Parameters, name: str) -> Steps[Any]:
    """Return the value that is published now.

    Raises:
        ParameterNotFoundError: There is no parameter of that name; the hint says which is near.
        NoProcessError: There is no such module.
    """
    return (yield from of_name(self, name, lambda view, name: view.get(name)))


def entry(self: Parameters, name: str) -> Steps[Entry]:
    """Return the value together with its version, when and by whom it was set, and its gradient."""
    return (yield from of_name(self, name, lambda view, name: view.entry(name)))


def version(self: Parameters, name: str) -> Steps[int]:
    """Return the version of the value that is published now; 1 is the first."""
    return (yield from of_name(self, name, lambda view, name: view.version(name)))


def stamp(self: Parameters) -> Steps[tuple[int, int]]:
    """Return two numbers that are the same as long as no parameter is published, and the module's process is the same one."""
    return (yield from reading(self, lambda view: view.stamp()))


def versions(self: Parameters) -> Steps[dict[str, int]]:
    """Return the versions that are published now, by name."""
    return (yield from reading(self, lambda view: {name: view.version(name) for name in view.names()}))


def names(self: Parameters) -> Steps[list[str]]:
    """Return the names of all parameters, sorted; none of a module that has none."""
    try:
        return (yield from reading(self, lambda view: view.names()))
    except ParameterNotFoundError:
        return []


def meta(self: Parameters, name: str) -> Steps[dict[str, Any]]:
    """Return what is declared of a parameter: type, default, limits, metadata ..."""

    def look(view: View, name: str) -> dict[str, Any]:
        view.version(name)  # there is one
        return view.meta(name) or {}

    return (yield from of_name(self, name, look))


def facts(self: Parameters) -> Steps[dict[str, Any]]:
    """Return what the module keeps beside its parameters: mode, class, version ..."""
    try:
        return (yield from reading(self, lambda view: view.facts()))
    except ParameterNotFoundError:
        return {}


def history(self: Parameters, name: str, n: int = 100) -> Steps[list[dict[str, Any]]]:
    """Return the last n changes of a parameter, newest first, at most 100.

    Returns:
        Maps of version, when (seconds since the epoch), who, new and old; `old` is None for the first. Of a value that is not
        small there is the size, `bytes` (of the old one `old_bytes`), instead: `at(name, version)` returns it.
    """
    part = yield from part_with(self, name)
    id, name = part or (self.id, name)
    told = yield from ask(self.session, "param_history", {"id": id, "name": name, "n": n}, QUICK_S)
    codec = self.session.codec

    def shown(change: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: change[key] for key in ("version", "when", "who")}
        new, old = (None if change.get(key) is None else decode(codec, change[key]) for key in ("value", "old"))
        large = {"bytes": change.get("value") is None, "old_bytes": change.get("old") is None}
        told_of = {key: change[key] for key in ("removed", *large) if change.get(key) and large.get(key, True)}
        return {**kept, "new": new, "old": old, **told_of}

    return [shown(change) for change in told]


def at(self: Parameters, name: str, version: int) -> Steps[Any]:
    """Return the value that a parameter had at a version, one of the last 100.

    Raises:
        ParameterNotFoundError: That version is not kept.
    """
    part = yield from part_with(self, name)
    id, name = part or (self.id, name)
    data = yield from ask(self.session, "param_value_at", {"id": id, "name": name, "at": version}, QUICK_S)
    return decode(self.session.codec, data)


def part_with(self: Parameters, name: str) -> Steps[tuple[str, str] | None]:
    """Return the part that has it, and its name there, where the module itself has it not."""
    if "." not in name:
        return None
    try:
        yield from reading(self, lambda view: view.version(name))
    except ParameterNotFoundError:
        return (yield from part_params.in_part(self.session, self.id, name))
    return None


def kept(self: Parameters, method: str, args: tuple[Any, ...], missing: NoProcessError | None) -> Steps[Any]:
    """Have the runtime write what no module does: that of a stopped one, or the runtime's own parameters.

    Returns:
        What the module would have answered; None when it runs again and is to be asked itself.

    Raises:
        NoProcessError: `missing`, where only the module itself can do it.
        ParameterError: The value cannot be checked without the module's own code.
    """
    if method == SET_MANY:
        told = {}
        for name, one in args[0].items():
            told[name] = yield from kept(self, SET, (name, one, None), missing)
            if told[name] is None:
                return None
        return told
    if method == GRADIENT:
        if missing is not None:
            missing.hint = "a gradient is applied by the module itself: start it"
            raise missing
        raise ParameterError(f"{args[0]!r} is a shared parameter: it takes values, no gradients", name=args[0], id=self.id)
    request: dict[str, Any] = {"id": self.id, "how": method.removeprefix("$"), "name": args[0]}
    if method == SET:
        request |= {"value": bytes(encode(self.session.codec, args[1])), "expect": args[2]}
    elif method == ROLLBACK:
        request["at"] = args[1]
    return (yield from ask(self.session, "param_write", request, QUICK_S))


def is_shared(id: str) -> bool:
    """Return whether these are the runtime's own parameters, which no module owns."""
    return id == SHARED
