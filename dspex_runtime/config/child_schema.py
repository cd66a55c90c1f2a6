"""The keys of children, supervisors and `defaults`."""

from __future__ import annotations

import functools
from typing import Final

from dspex_runtime.config import names
from dspex_runtime.config.collections_of import ListOf, MapOf
from dspex_runtime.config.composition_schema import FALLBACK, ON_DOWN, DependsOn, Replicas
from dspex_runtime.config.parts_schema import Parts, supervision_keys
from dspex_runtime.config.policy_schema import INFINITY_WORD, MODULE, PROCESS, policy_keys
from dspex_runtime.config.quantities import Integer
from dspex_runtime.config.registry_keys import RegistryKey
from dspex_runtime.config.section import Either, Key, Ref, Section
from dspex_runtime.config.targets import Target
from dspex_runtime.config.value_types import Boolean, Constant, Null, Opaque, Text, Word
from dspex_runtime.types import AutoShutdown

__all__ = ["CHILD", "PART", "SUPERVISOR", "child_section", "part_section", "supervisor_section"]

_DATA = MapOf(Opaque(), "a map")
_PARAMS = MapOf(Opaque(), "a map of parameter names to values")

# A part has its id, what starts it and what it is from its owner's class; the rest is a child's.
_NOT_OF_PARTS: Final = frozenset({"id", "supervisor", "register", "significant", "depends_on", "replicas"})

# What combinations.py says to people, for editors.
_SIGNIFICANT_RULES: Final = {
    "if": {"properties": {"significant": {"const": True}}, "required": ["significant"]},
    "then": {"properties": {"restart": {"not": {"const": "permanent"}}}},
}
_DYNAMIC_RULES: Final = {
    "allOf": [
        {
            "if": {"properties": {"dynamic": {"const": True}}, "required": ["dynamic"]},
            "then": {
                "properties": {
                    "strategy": {"const": "one_for_one"},
                    "auto_shutdown": {"const": "never"},
                    "children": {"maxItems": 0},
                }
            },
        },
        {
            "if": {"properties": {"dynamic": {"const": False}}},  # or absent; a `${VAR}` may be either
            "then": {"properties": {"max_children": {"enum": [None, INFINITY_WORD]}, "extra_arguments": {"maxItems": 0}}},
        },
    ]
}


def _what_it_is() -> tuple[Key, ...]:
    """What it is, and what starts it."""
    return (
        Key(
            "id",
            Text(f"text of {names.ID_EXPECTED}", fits=names.is_id, pattern=names.ID_SCHEMA),
            "Unique among its siblings.",
            required=True,
        ),
        Key("module", Target(directory=True), 'A dspy.Module: "file.py:Name", "pkg.mod:Name" or a saved program.', kinds=MODULE),
        Key(
            "load",
            Text("text (a .json that module.save(...) wrote)", fits=lambda text: text.endswith(".json")),
            "The saved state that the program begins with; what was set since then wins.",
            kinds=MODULE,
        ),
        Key("server", Target(), 'A GenServer: "file.py:Name" or "pkg.mod:Name".', kinds=frozenset({"server"})),
        Key("supervisor", SUPERVISOR, "A nested supervisor.", kinds=frozenset({"supervisor"})),
        Key(
            "args",
            Either((_DATA, ListOf(Opaque(), "a list of positional arguments"))),
            "Arguments of the constructor, or of a server's init: a map of keywords or a list.",
            kinds=PROCESS,
        ),
    )


def _composition_keys() -> tuple[Key, ...]:
    """What it needs of others, and what it is made of."""
    return (
        Key(
            "depends_on",
            DependsOn(),
            "Ids of what it needs, which is started before it; for each what it means that it is down (on_down; else wait).",
            kinds=PROCESS,
        ),
        Key("replicas", Replicas(), "Processes behind one id, qa#0, qa#1 ...: how many, and whose parameters.", kinds=PROCESS),
        Key(
            "parts",
            Parts(PART),
            "How its sub-modules that are processes are supervised, and keys for each by its name.",
            kinds=MODULE,
        ),
    )


def _client_keys() -> tuple[Key, ...]:
    """What a client sends beside what people write."""
    return (
        Key("type", Word(("worker", "supervisor")), "As get_childspec returns it.", internal=True),
        Key(
            "pickled",
            Opaque(),
            "The class or instance itself, from a client; module: or server: is its name.",
            internal=True,
            kinds=PROCESS,
        ),
        Key("pickled_args", Opaque(), "(args, kwargs) from a client.", internal=True, kinds=PROCESS),
        Key(
            "sys_path",
            ListOf(Text("text (a directory)", empty=True), "a list of directories"),
            "The client's.",
            internal=True,
            kinds=PROCESS,
        ),
    )


@functools.cache
def child_section() -> Section:
    """A child: a module, a server or a nested supervisor."""
    return Section(
        title="a child",
        keys=(
            *_what_it_is(),
            *policy_keys(),
            Key("version", Either((Text("text"), Null())), "Version of the module, shown by ps.", kinds=PROCESS),
            Key("metadata", _DATA, "Data of yours, to select children by."),
            Key("register", RegistryKey(), "Name in the registry, held by every incarnation from before its init until its end."),
            Key(
                "params",
                _PARAMS,
                "Values of its parameters, by name; one that was changed here since the last `up` is set.",
                kinds=PROCESS,
            ),
            *_composition_keys(),
            Key("significant", Boolean(), "Its end counts for the supervisor's auto_shutdown; not for permanent children.", False),
            *_client_keys(),
        ),
        rules_json={"oneOf": [{"required": [kind]} for kind in ("module", "server", "supervisor")], **_SIGNIFICANT_RULES},
    )


@functools.cache
def part_section() -> Section:
    """A part, as its owner's `parts` may have it: what differs from what the owner's class says."""
    keys = tuple(key for key in child_section().public if key.name not in _NOT_OF_PARTS)
    return Section(title="a part", keys=(*keys, ON_DOWN, FALLBACK))


@functools.cache
def supervisor_section() -> Section:
    """The root or a nested supervisor."""
    return Section(
        title="a supervisor",
        keys=(
            *supervision_keys(),
            Key(
                "auto_shutdown",
                Word(tuple(AutoShutdown)),
                "The supervisor ends when a significant child ended by itself, or when the last one did.",
                "never",
            ),
            Key("dynamic", Boolean(), "Children are added at run time only, each with a spec of its own (one_for_one).", False),
            Key(
                "max_children",
                Either((Integer(0), Null(), Constant(INFINITY_WORD, None))),
                "How many children a dynamic supervisor may have, those whose restart is due included. null: no limit.",
            ),
            Key(
                "extra_arguments",
                ListOf(Opaque(), "a list of positional arguments"),
                "Of a dynamic supervisor: put before each child's own positional arguments.",
            ),
            Key("children", ListOf(CHILD, "a list of children"), "In start order; stopped in reverse."),
        ),
        rules_json=_DYNAMIC_RULES,
    )


SUPERVISOR: Final = Ref("supervisor", supervisor_section)
CHILD: Final = Ref("child", child_section)
PART: Final = Ref("part", part_section)
