"""Every key of a configuration: what it may hold, where it is allowed, what it means.

The one description from which checking, "did you mean" and the JSON Schema come. Defaults are those of core.child_spec.
Children are in child_schema.py. Rules that concern several keys at once are in rules.py.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from dspex_runtime.config import names
from dspex_runtime.config.child_schema import CHILD, PART, SUPERVISOR, supervisor_section
from dspex_runtime.config.collections_of import ListOf
from dspex_runtime.config.dspy_schema import DSPY, LM, LM_TYPE
from dspex_runtime.config.policy_schema import ENV, policy_keys
from dspex_runtime.config.quantities import Integer
from dspex_runtime.config.section import Either, Key, Section
from dspex_runtime.config.shared_schema import SHARED
from dspex_runtime.config.value_types import Null, Text

__all__ = ["DEFAULT_SPARES", "RUNTIME", "elsewhere", "json_schema"]

DEFAULT_SPARES: Final = 4
FORMAT_VERSION: Final = 1

RUNTIME_SECTION: Final = Section(
    title="runtime",
    keys=(
        Key(
            "state_dir",
            Either((Text("text (a directory)"), Null())),
            "Where logs and state are kept (default: .dspex/<name> beside the file); null, as for dicts: a temporary directory.",
        ),
        Key(
            "preload",
            ListOf(
                Text("the name of an importable Python module", fits=lambda text: all(p.isidentifier() for p in text.split("."))),
                "a list of module names",
            ),
            "Python modules imported once, before processes are forked. Default: [dspy], or [] in a tree of servers only.",
        ),
        Key("env", ENV, "Environment variables of every process."),
        Key("spares", Integer(0, 1000), "Forked processes kept warm for the next start or restart.", DEFAULT_SPARES),
    ),
)

DEFAULTS: Final = Section(title="defaults", keys=policy_keys())

RUNTIME: Final = Section(
    title="the configuration",
    keys=(
        Key("version", Integer(FORMAT_VERSION, FORMAT_VERSION), "Version of the format of this file.", FORMAT_VERSION),
        Key(
            "name",
            Text(f"text of {names.NAME_EXPECTED}", fits=names.is_runtime_name, pattern=names.NAME_SCHEMA),
            "Name of the runtime, for `connect` and `--runtime`. Default: the file's name without its ending.",
        ),
        Key("runtime", RUNTIME_SECTION, "The runtime itself."),
        Key("lm", LM_TYPE, "The language model of every module; a module's own lm adds to it or replaces it."),
        Key("dspy", DSPY, "Settings of every module."),
        Key("shared", SHARED, "Parameters of the whole runtime, by name: a value, or its type, default and constraints."),
        Key(
            "defaults",
            DEFAULTS,
            "What holds for every child that does not say otherwise; shutdown, limits and the like for modules and servers only.",
        ),
        Key("tree", SUPERVISOR, "The root supervisor and its children."),
        Key("base_dir", Text("text"), "Folder that relative paths start from.", internal=True),
        Key("file", Text("text"), "The file this came from.", internal=True),
        Key("given", ListOf(Text("text"), "a list of names"), "What whoever started it said instead.", internal=True),
    ),
)


@functools.cache
def elsewhere() -> dict[str, str]:
    """Return key -> the section it belongs to, for keys that belong to one section only."""
    homes = {
        "a child": CHILD.get(),
        "tree and supervisor": supervisor_section(),
        "runtime": RUNTIME_SECTION,
        "the top level": RUNTIME,
        "dspy": DSPY,
    }
    sections: dict[str, Section] = dict(homes)
    for key in policy_keys():
        for option in key.type.options if isinstance(key.type, Either) else (key.type,):
            if isinstance(option, Section):
                sections[key.name] = option
    found: dict[str, list[str]] = {}
    for title, section in sections.items():
        for key in section.public:
            found.setdefault(key.name, []).append(title)
    return {name: titles[0] for name, titles in found.items() if len(titles) == 1}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a YAML file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dspex_runtime configuration",
        **RUNTIME.json(),
        "$defs": {
            "child": CHILD.get().json(),
            "part": PART.get().json(),
            "supervisor": supervisor_section().json(),
            "lm": LM.get().json(),
        },
    }
