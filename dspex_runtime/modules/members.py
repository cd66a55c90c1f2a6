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
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import dspy
from dspy.signatures.signature import ensure_signature

from dspex_runtime.params.parameter import Parameter, declarations, declared

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
    """

    def __init__(self, target: Any, inline: bool, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.target: Final = target
        self._inline: Final = inline

    def refusal(self) -> str | None:
        """Return that it cannot be one, or None. A text is looked up by the first instance."""
        if not self._inline:
            return "a sub_module in a process of its own is not available yet; write inline=True to have it in its owner's process"
        if not isinstance(self.target, str) and not _is_module_class(self.target):
            return f'a sub_module is a dspy.Module class, "pkg.mod:Name" or "file.py:Name"; got {self.target!r:.200}'
        return None

    @property
    def type_name(self) -> str:
        """The target as text."""
        return self.target if isinstance(self.target, str) else f"{self.target.__module__}:{self.target.__qualname__}"

    def build(self) -> Any:
        """Return a new module.

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


def sub_module(target: Any, *, inline: bool = False, **kwargs: Any) -> Any:
    """Declare a module inside a dx.Module: `retriever = dx.sub_module("retrieval:BM25", inline=True, k=3)`.

    Each instance has one of its own, made before its `__init__`.

    Args:
        target: A dspy.Module class, "pkg.mod:Name" or "file.py:Name", found on sys.path and in the working directory.
        inline: In the process of its owner. Processes of their own are not available yet: False is refused when the class is made.
        **kwargs: For its constructor.
    """
    return SubModule(target, inline, kwargs)


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
    """Give a module the declared parts that it lacks."""
    attributes = module.__dict__
    for name, member in declared_by(type(module)).members.items():
        if name not in attributes:
            attributes[name] = member.build()


def _builtin(kind: str) -> Any:
    return getattr(dspy, KINDS[kind], None)


def _is_module_class(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, dspy.Module)


def _found(target: str) -> Any:
    from dspex_runtime.config.targets import resolve_target
    from dspex_runtime.host.targets import resolve

    return resolve(resolve_target(target, [os.getcwd(), *sys.path]))
