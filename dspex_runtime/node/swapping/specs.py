"""The spec of a new version: the old one's, with what whoever swaps has said. What is not said is as it was.

What is said comes as the keys of a child that `client.target.child_spec` gives; nothing at all means the same target, from what is
on the disk now. With another target and no version the new one's own is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.config import parse_child
from dspex_runtime.core.child_spec import ChildSpec, LaunchSpec
from dspex_runtime.errors import ConfigError
from dspex_runtime.node.operations.adoption import spec_at

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node
    from dspex_runtime.node.registry import Record

__all__ = ["new_spec"]

TARGET: Final = frozenset({"module", "server", "pickled"})
#: What is no matter of one process, and what changes it.
OTHERWISE: Final = {"depends_on": "rt.reload, of a file that says so,", "replicas": "rt.scale"}
#: Fields of the spec, and of its launch, by the key of a child that says them.
SUPERVISED: Final[Mapping[str, tuple[str, ...]]] = {
    "restart": ("restart",), "shutdown": ("shutdown",), "significant": ("significant",), "start_timeout": ("start_timeout_s",),
    "backoff": ("backoff",), "version": ("version",), "metadata": ("metadata",), "parts": ("parts",), "template": ("template",),
}  # fmt: skip
LAUNCHED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("module", "server", "pickled"), ("kind", "target", "label", "pickled")),
    **dict.fromkeys(("args", "pickled_args"), ("args", "kwargs", "pickled_args")),
    **{key: (key,) for key in ("sys_path", "env", "lm", "dspy", "concurrency", "trap_exit", "limits", "liveness", "readiness")},
    **{key: (key,) for key in ("load", "params", "durability", "checkpoint")},
}


def new_spec(node: Node, record: Record, given: Mapping[str, Any] | None, version: str | None) -> ChildSpec:
    """Return the spec of a child's new version.

    Raises:
        ConfigError: Something in it is wrong, or is nothing that a swap changes.
    """
    old = record.spec
    assert old.launch is not None
    spec = replace(old, launch=_from_disk(old.launch))
    if given is not None:
        spec = _merged(spec, _parsed(node, record, given), frozenset(given))
    return spec if version is None else replace(spec, version=version)


def _parsed(node: Node, record: Record, given: Mapping[str, Any]) -> ChildSpec:
    old = record.spec
    assert old.launch is not None
    wrong = sorted(key for key in given if key in ("supervisor", "register"))
    if wrong:
        raise ConfigError(f"a swap of {record.id!r} cannot change {wrong[0]!r}: that is another child", id=record.id)
    for key, instead in OTHERWISE.items():
        if key in given:
            raise ConfigError(f"a swap of {record.id!r} cannot change {key!r}: {instead} does", id=record.id)
    whole = {**given, "id": old.id.partition("#")[0]}  # of a replica: a user cannot give such an id, and nothing is read of it
    if not TARGET & given.keys():
        whole[old.kind.value] = old.launch.target or "pickled:Object"
        if old.launch.pickled is not None:
            whole["pickled"] = old.launch.pickled
    assert node.spec is not None
    return parse_child(whole, spec=node.spec, under=spec_at(node, record.id.rpartition("/")[0]))


def _merged(old: ChildSpec, new: ChildSpec, said: frozenset[str]) -> ChildSpec:
    assert old.launch is not None
    assert new.launch is not None
    launched = {name for key in said for name in LAUNCHED.get(key, ())}
    launch = replace(old.launch, **{name: getattr(new.launch, name) for name in launched})
    supervised = {name for key in said for name in SUPERVISED.get(key, ())}
    fields = {name: getattr(new, name) for name in supervised}
    if said & TARGET:
        fields["kind"] = new.kind
        fields.setdefault("version", None)  # the old one's says nothing of another target
    return replace(old, launch=launch, **fields)


def _from_disk(launch: LaunchSpec) -> LaunchSpec:
    """Return it without the texts that a rollback has given it: what is on the disk now is meant."""
    return replace(launch, sources={}) if launch.sources else launch
