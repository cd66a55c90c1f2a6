"""From what a user hands to `start` (a class, an instance, a name, a dict) to the plain child spec that the runtime takes.

Importable things travel by name with the caller's sys.path, all others by value (cloudpickle). Imports nothing of the user's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from dspex_runtime.client.pickling import pickled, pickled_instance
from dspex_runtime.client.settings import portable
from dspex_runtime.errors import ConfigError
from dspex_runtime.host.behaviours import GenServer
from dspex_runtime.wire.importable import can_be_imported

TARGETS: Final = (
    "a target is a dspy.Module (class or instance), a dx.GenServer class, "
    "'pkg.mod:Name', 'file.py:Name' or the directory of a saved program"
)

_MODULES_HAVE: Final = ("forward", "aforward", "named_parameters")


def child_keys() -> frozenset[str]:
    """Return the YAML's keys of a child: keyword arguments of `start` with these names are ours, others the constructor's."""
    from dspex_runtime.config.child_schema import child_section

    return frozenset(key.name for key in child_section().keys)


def child_spec(
    target: Any, *, id: str | None, args: tuple[Any, ...], kwargs: Mapping[str, Any], keys: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the spec of a child to start; `id` None leaves the id out.

    Raises:
        ConfigError: The target is nothing that can be hosted, or its file is not found.
        UnserialisableError: The target or an argument cannot be pickled.
    """
    spec = {**described(target), **portable(_located_state(keys), carried), **arguments(args, kwargs), "sys_path": caller_path()}
    return spec if id is None else {"id": id, **spec}


def is_known_id(target: Any) -> bool:
    """Return whether `start` means a child that exists: text that is no name with a colon, directory, or saved state."""
    return isinstance(target, str) and ":" not in target and not _is_on_disk(os.path.expanduser(target))


def _is_on_disk(path: str) -> bool:
    return os.path.isdir(path) or (path.endswith(".json") and os.path.isfile(path))


def base_name(target: Any) -> str:
    """Return a name to build an id from: "Counter" -> "counter", "WebSearch" -> "web_search", "programs/qa" -> "qa"."""
    from dspex_runtime.config.names import id_from_target

    return id_from_target(target if isinstance(target, str) else (target if isinstance(target, type) else type(target)).__name__)


def prepared(spec: Any, sys_path: list[str] | None = None) -> Any:
    """Return a child spec written as a dict, with classes, instances and relative files in it made ready to travel.

    Nested supervisors included; what is wrong otherwise is for the runtime's validation to say.
    """
    if not isinstance(spec, dict):
        return spec
    sys_path = sys_path if sys_path is not None else caller_path()
    ready = portable(_located_state(spec), carried)
    given = [kind for kind in ("module", "server") if ready.get(kind) is not None]
    if len(given) > 1:
        raise ConfigError("a child is either a module: or a server:, the spec has both")
    for kind in given:
        ready |= described(ready.pop(kind), kind)
        ready.setdefault("sys_path", sys_path)
    args = ready.get("args")
    if args is not None and not _is_plain(args):
        del ready["args"]
        ready |= arguments((), args) if isinstance(args, dict) else arguments(tuple(args), {})
    nested = ready.get("supervisor")
    if isinstance(nested, dict) and isinstance(nested.get("children"), list | tuple):
        ready["supervisor"] = {**nested, "children": [prepared(child, sys_path) for child in nested["children"]]}
    return ready


def caller_path() -> list[str]:
    """Return this process's sys.path with absolute directories."""
    return list(dict.fromkeys(os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)))


def described(target: Any, kind: str | None = None) -> dict[str, Any]:
    """Return the keys that say what runs: `module` or `server`, and `pickled` for what has no importable name."""
    if isinstance(target, str):
        return {kind or "module": located(target, directory=True)}
    cls = target if isinstance(target, type) else type(target)
    # Asked of the class: a dspy.Module logs a warning when `forward` is taken from the instance.
    if callable(target) and not isinstance(target, type) and not any(hasattr(cls, name) for name in _MODULES_HAVE):
        raise ConfigError(f"{target!r} is a function; {TARGETS}")
    kind = "server" if issubclass(cls, GenServer) else "module"
    if cls.__module__ == "builtins":
        raise ConfigError(f"{target!r} cannot be hosted; {TARGETS}")
    if isinstance(target, type) and (name := _importable(target)) is not None:
        return {kind: name}
    return {kind: _label(cls), "pickled": pickled(target) if isinstance(target, type) else pickled_instance(target)}


def carried(value: Any, name: str) -> dict[str, Any]:
    """Return a map that carries an object into its process, with its class for people; `name` is what messages call it."""
    return {"class": _label(value if isinstance(value, type) else type(value)), "pickled": pickled_instance(value, name)}


def arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that say what it is made with: `args` where YAML could have said them, else `pickled_args`; none for none."""
    if not args and not kwargs:
        return {}
    if not (args and kwargs) and _is_plain(list(args)) and _is_plain(dict(kwargs)):
        return {"args": list(args) if args else dict(kwargs)}
    return {"pickled_args": pickled((args, dict(kwargs)), "arguments")}


def _is_plain(value: Any) -> bool:
    """Whether the value is what YAML could have said: it then shows in get_childspec and needs no pickle."""
    if value is None or type(value) in (bool, int, float, str):
        return True
    if type(value) is list:
        return all(map(_is_plain, value))
    return type(value) is dict and all(type(key) is str for key in value) and all(map(_is_plain, value.values()))


def located(target: str, *, directory: bool = False) -> str:
    """Return "file.py:Name" with the path of the file that there is, on sys.path or in the working directory; other names stay.

    Args:
        target: What was said.
        directory: Whether it may be a directory, which then is an absolute one.

    Raises:
        ConfigError: There is no such file.
    """
    from dspex_runtime.config.targets import resolve_target

    place, colon, _ = target.rpartition(":")
    if not place.endswith(".py") and (colon or not directory):
        return target
    # What is neither a file nor a directory keeps its spelling: the runtime's validation says what is allowed.
    try:
        return resolve_target(target, [*caller_path(), os.getcwd()])
    except ValueError as exc:
        raise ConfigError(str(exc)) from None


def _located_state(keys: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return child keys whose `load` is an absolute path: as for `module.load`, it starts from the working directory."""
    from dspex_runtime.config.targets import resolve_state

    load = keys.get("load")
    if not isinstance(load, str | os.PathLike):
        return keys  # none, or for the runtime's validation
    try:
        return {**keys, "load": resolve_state(os.fspath(load), [os.getcwd()])}
    except ValueError as exc:
        raise ConfigError(f"load: {exc}") from None


def _importable(cls: type) -> str | None:
    """Return "pkg.mod:Name", or None when a fresh process would not find the class under it."""
    module = sys.modules.get(cls.__module__)
    if module is None or cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        return None
    found: Any = module
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not cls or not can_be_imported(cls.__module__):
        return None
    return f"{cls.__module__}:{cls.__qualname__}"


def _label(cls: type) -> str:
    """The name shown for what travels by value; the validation wants the shape of a target."""
    module = cls.__module__ if all(part.isidentifier() for part in cls.__module__.split(".")) else "__main__"
    return f"{module}:{cls.__qualname__.rpartition('<locals>.')[2]}"
