"""`dx.predictor` and `dx.sub_module`: declarations in a class body, for each instance a part of its own, built before `__init__`.

A declaration is a non-data descriptor; the real Predict or Module is in the instance's `__dict__` under the same name, where dspy
looks for it, and is an attribute like any other: read, assigned, replaced by an optimizer. Never builds a part of a copy: that
has the original's.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import dspy
from dspy.signatures.signature import ensure_signature

from dspex_runtime.modules.parts_process import Asked, attached, takes_turn
from dspex_runtime.params.parameter import Parameter, declarations, declared

#: Keys of a child that a sub-module has otherwise, or not at all.
_NOT_OF_PARTS: Final = frozenset({"id", "module", "server", "supervisor", "args", "replicas", "depends_on", "significant"})
# dspy's modules that are made from a signature and options, under their names in the package.
KINDS: Final[Mapping[str, str]] = {
    "predict": "Predict",
    "chain_of_thought": "ChainOfThought",
    "react": "ReAct",
    "react_v2": "ReActV2",
    "multi_chain_comparison": "MultiChainComparison",
    "program_of_thought": "ProgramOfThought",
    "code_act": "CodeAct",
    "rlm": "RLM",
    "flex": "Flex",
}


class Member(ABC):
    """What a class declares to have in each instance.

    Attributes:
        name: Of the attribute.
        options: What the constructor gets by keyword.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.name = ""
        self.options: Final = dict(options)
        self._of = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self._of = name, owner.__qualname__

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            return self
        # An instance that has it never gets here: what is in its __dict__ wins.
        raise AttributeError(
            f"{self._of}.{self.name} is declared, and this {type(obj).__qualname__} has none: "
            "it was deleted, or the class is no dx.Module"
        )

    def refusal(self) -> str | None:
        """Return what is wrong with the declaration, or None. Asked when its class is made, which can be named then."""
        return None

    @abstractmethod
    def build(self) -> Any:
        """Return the part of a new instance."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._of}.{self.name}>"


class Predictor(Member):
    """A declared predictor; see `predictor`.

    Attributes:
        kind: As it was declared.
        signature: As a dspy.Signature class.
    """

    def __init__(self, signature: Any, kind: Any, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.kind: Final = kind
        # Now: dspy looks for the types that its text names in the frames around, and those of the class body are here.
        self.signature: Final = ensure_signature(signature)

    def refusal(self) -> str | None:
        """Return that there is no such kind, or None."""
        if isinstance(self.kind, str):
            if self.kind not in KINDS:
                return f"kind {self.kind!r} is none of {', '.join(KINDS)}, and no dspy.Module class"
            if _builtin(self.kind) is None:
                return f"kind {self.kind!r} needs dspy.{KINDS[self.kind]}, which dspy {dspy.__version__} does not have"
        elif not _is_module_class(self.kind):
            return f"a kind is one of {', '.join(KINDS)}, or a dspy.Module class; got {self.kind!r:.200}"
        return None

    def build(self) -> Any:
        """Return a predictor with the declared signature."""
        cls = _builtin(self.kind) if isinstance(self.kind, str) else self.kind
        return cls(self.signature, **self.options)


class SubModule(Member):
    """A declared module inside a module; see `sub_module`.

    Attributes:
        target: As it was declared.
        inline: It is in its owner's process, however that is made.
        process: What is said of its process: keys of a child, on_down and fallback.
    """

    def __init__(self, target: Any, inline: bool, process: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.target: Final = target
        self.inline: Final = inline
        self.process: Final = process

    def refusal(self) -> str | None:
        """Return that it cannot be one, or None. A text is looked up by the first instance."""
        if not isinstance(self.process, Mapping):
            return f"process= is a map of keys of a child (restart, concurrency, on_down ...); got {self.process!r:.200}"
        if self.inline and self.process:
            return "inline=True has it in its owner's process: there is nothing that process= could be said of"
        unknown = [key for key in self.process if key not in _process_keys()]
        if unknown:
            from dspex_runtime.config import suggest

            text = f"process= has no {unknown[0]!r}; allowed: {', '.join(sorted(_process_keys()))}"
            return "; ".join(filter(None, [text, suggest(unknown[0], _process_keys())]))
        if not isinstance(self.target, str) and not _is_module_class(self.target):
            return f'a sub_module is a dspy.Module class, "pkg.mod:Name" or "file.py:Name"; got {self.target!r:.200}'
        return None

    @property
    def type_name(self) -> str:
        """The target as text."""
        return self.target if isinstance(self.target, str) else f"{self.target.__module__}:{self.target.__qualname__}"

    @property
    def asked(self) -> Asked:
        """What its process is to be made of."""
        return Asked(self.target, self.options, self.process)

    def build(self) -> Any:
        """Return a new module, of this process.

        Raises:
            TypeError: The target's name leads to something else.
            StartError, ValueError: It leads nowhere.
        """
        cls = _found(self.target) if isinstance(self.target, str) else self.target
        if not _is_module_class(cls):
            raise TypeError(f"{self._of}.{self.name}: {self.target!r} is no dspy.Module class, but {cls!r:.200}")
        return cls(**self.options)


def predictor(signature: Any, kind: Any = "predict", **options: Any) -> Any:
    """Declare a predictor in the body of a dx.Module: `answer = dx.predictor("question -> answer", kind="chain_of_thought")`.

    Each instance has one of its own, made before its `__init__`; an error in the signature is raised here.

    Args:
        signature: As dspy.Predict takes it: text or a dspy.Signature class.
        kind: "predict", "chain_of_thought", "react", "react_v2", "multi_chain_comparison", "program_of_thought", "code_act",
            "rlm", "flex"; or a dspy.Module class, which is called with the signature and the options.
        **options: For its constructor: `tools=[...]`, `temperature=0.7`.
    """
    return Predictor(signature, kind, options)


def sub_module(target: Any, *, inline: bool = False, process: Mapping[str, Any] = MappingProxyType({}), **kwargs: Any) -> Any:
    """Declare a module inside a dx.Module: `retriever = dx.sub_module("retrieval:BM25", k=3)`.

    Each instance has one of its own, made before its `__init__`. In a runtime that of a hosted module is a process of its own,
    `OWNER/retriever`, supervised, and the attribute is its proxy: calls, `named_parameters()`, `set_lm` read as in one process.
    Without a runtime it is in the process of its owner.

    Args:
        target: A dspy.Module class, "pkg.mod:Name" or "file.py:Name", found on sys.path and in the working directory.
        inline: In the process of its owner, also in a runtime.
        process: Of its process: the YAML's keys of a child (restart, concurrency, limits ...), and `on_down` and `fallback`: what
            calls of the owner get while it is down. The owner's YAML (`parts:`) goes before them.
        **kwargs: For its constructor.
    """
    return SubModule(target, inline, process, kwargs)


def members_of(cls: type) -> dict[str, Member]:
    """Return the declared predictors and sub-modules of a class by name, see `declarations`."""
    return declarations(cls, Member)  # type: ignore[type-abstract] # of instances it is asked, and makes none


class Declarations(NamedTuple):
    """What a class declares, by name; what its bases do first."""

    parameters: dict[str, Parameter]
    members: dict[str, Member]


# By class, filled at its first instance: cloudpickle makes a class empty and fills it later.
_declared: Final[WeakKeyDictionary[type, Declarations]] = WeakKeyDictionary()


def declared_by(cls: type) -> Declarations:
    """Return what a class declares, looked up once.

    Raises:
        TypeError, ValueError: The declaration of a parameter is wrong.
    """
    found = _declared.get(cls)
    if found is None:
        found = _declared[cls] = Declarations(declared(cls), members_of(cls))
    return found


def build_members(module: Any) -> None:
    """Give a module the declared parts that it lacks: a hosted one its sub-modules in processes of their own, all at once."""
    attributes, members = module.__dict__, declared_by(type(module)).members
    missing = {name: member for name, member in members.items() if name not in attributes}
    elsewhere = {name: member.asked for name, member in missing.items() if isinstance(member, SubModule) and not member.inline}
    remote = attached(type(module), elsewhere) if elsewhere and takes_turn(type(module)) else {}
    for name, member in missing.items():
        attributes[name] = remote[name] if name in remote else member.build()


def part_members(module: Any) -> None:
    """Have the declared sub-modules of a hosted instance, which came in it, in processes of their own from now on."""
    attributes = module.__dict__
    elsewhere = {
        name: Asked(attributes[name], {}, member.process)
        for name, member in declared_by(type(module)).members.items()
        if isinstance(member, SubModule) and not member.inline and isinstance(attributes.get(name), dspy.Module)
    }
    if elsewhere:
        attributes.update(attached(type(module), elsewhere))


def _process_keys() -> frozenset[str]:
    """Return what may be said of the process of a sub-module; what it runs, and with which arguments, is said elsewhere."""
    from dspex_runtime.config.child_schema import child_section

    return frozenset(key.name for key in child_section().keys) - _NOT_OF_PARTS | {"on_down", "fallback"}


def _builtin(kind: str) -> Any:
    return getattr(dspy, KINDS[kind], None)


def _is_module_class(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, dspy.Module)


def _found(target: str) -> Any:
    from dspex_runtime.config.targets import resolve_target
    from dspex_runtime.host.targets import resolve

    return resolve(resolve_target(target, [os.getcwd(), *sys.path]))
