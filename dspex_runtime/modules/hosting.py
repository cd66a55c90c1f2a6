"""A hosted dspy.Module: which objects can be hosted, and how their methods are reached. Never forks, never configures dspy.

`module(*args, **kwargs)` is what is called, not `forward`: callbacks, history and usage work as in-process.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import dspy

from dspex_runtime.errors import StartError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.host.hosted import NO_STATE, Declared, Entry, UnknownMethodError
from dspex_runtime.modules import degraded, forwards, parts_process, rest, taking, tree
from dspex_runtime.modules.members import part_members
from dspex_runtime.modules.mirror import edits as mirror_edits
from dspex_runtime.modules.mirror.following import unfollowed
from dspex_runtime.modules.module import Module
from dspex_runtime.modules.module_parameters import ModuleParameters
from dspex_runtime.modules.parts import named_parts
from dspex_runtime.modules.relay import protocol as relay_protocol
from dspex_runtime.modules.relayed import serving as relayed
from dspex_runtime.params.owner import Owner
from dspex_runtime.types import Kind

log = logging.getLogger("dspex_runtime.module")

TRAIN: Final = "train"
EVAL: Final = "eval"


class ModuleHost:
    """Hosts one dspy.Module.

    Args:
        found: A subclass of dspy.Module, or an instance.
        load: The .json whose state it begins with.

    Raises:
        StartError: It is neither.
    """

    kind = Kind.MODULE
    serial = False

    def __init__(self, found: Any, load: str | None = None) -> None:
        self._found = found
        self._load = load
        cls = found if isinstance(found, type) else type(found)
        if not issubclass(cls, dspy.Module):
            name = getattr(found, "__qualname__", None) or repr(found)
            got = repr(found) if isinstance(found, type) else f"an instance of {cls!r}"
            raise StartError(f"{name:.200} is not hostable: expected a dspy.Module or dx.GenServer subclass, got {got:.200}")
        self.name = cls.__qualname__
        version = getattr(cls, "__version__", None)
        self.version: str | None = version if isinstance(version, str) else None
        self._module: Any = None
        self._parameters: ModuleParameters | None = None
        self._mode = EVAL

    def build(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Build the module."""
        if isinstance(self._found, type):
            with parts_process.hosting(self._found):
                self._module = self._found(*args, **kwargs)
        elif args or kwargs:
            raise StartError(
                f"{self.name} is an instance already: it takes no constructor arguments, got {args!r} {dict(kwargs)!r}"
            )
        else:
            self._module = self._found
            if isinstance(self._found, Module):
                part_members(self._found)
        self._check_forward()
        if self._load is not None:
            from dspex_runtime.modules import saved_state

            saved_state.load(self._module, self._load, parts_process.parts_of(self._module), parts_process.new_parts())

    def start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Run the module's `setup()`."""
        if self._module is None:
            self.build(args, kwargs)
        setup = self._hook("setup")
        if setup is not None:
            setup()
        return True

    def parameters(self) -> list[Declared]:
        """Return dx.Parameters and predictors of the whole tree, under dspy's names."""
        if self._parameters is None:
            self._parameters = ModuleParameters(self._module)
        return self._parameters.listed()

    @property
    def changes_unsaid(self) -> bool:
        """Return True: of a dspy.Module, a call may change which parameters there are."""
        return True

    def changed(self) -> bool:
        """Return whether a predictor, or which there are, may have changed."""
        return self._parameters is not None and self._parameters.changed()

    @property
    def mode(self) -> str:
        """Return "train" or "eval": a dx.Module's own, else what was set last."""
        if isinstance(self._module, Module):
            return TRAIN if self._module.training is True else EVAL
        return self._mode

    def set_mode(self, mode: str) -> None:
        """Switch all dx.Modules of the tree; a plain one has no mode of its own, and gets none."""
        if mode not in (TRAIN, EVAL):
            raise ValueError(f"the mode of {self.name} is {TRAIN!r} or {EVAL!r}, got {mode!r}")
        self._mode = mode
        with unfollowed():  # a restore switches it while its parts hear nobody
            for _, module in tree.named_modules(self._module):
                if isinstance(module, Module) and module.training is not (mode == TRAIN):
                    module.training = mode == TRAIN

    def _switch(self, mode: str) -> None:
        """Switch it and its parts, which have a mode each and keep it."""
        self.set_mode(mode)
        parts_process.switch_parts(self._module, mode)

    @property
    def keeps_user_state(self) -> bool:
        """Return whether the class defines get_state() and set_state(state)."""
        cls = self._found if isinstance(self._found, type) else type(self._found)
        return callable(getattr(cls, "get_state", None)) and callable(getattr(cls, "set_state", None))

    def get_user_state(self) -> Any:
        """Return the module's own `get_state()`."""
        return self._module.get_state() if self.keeps_user_state else NO_STATE

    def set_user_state(self, saved: Any) -> None:
        """Run the module's own `set_state(saved)`."""
        if self.keeps_user_state:
            self._module.set_state(saved)

    def set_states_inside(self, states: Mapping[str, Any]) -> None:
        """Run set_state(saved) of modules inside this one, by their names, where they have it."""
        parts = named_parts(self._module)
        for name, saved in states.items():
            if callable(getattr(parts.get(name), "set_state", None)):
                parts[name].set_state(saved)

    @property
    def changes_code(self) -> bool:
        """Return whether the class defines code_change(old_version, state, extra)."""
        cls = self._found if isinstance(self._found, type) else type(self._found)
        return callable(getattr(cls, "code_change", None))

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        """Run the module's own `code_change`; its state is {"params": {name: value}, "state": what get_state returned}."""
        return self._module.code_change(old_version, state, extra)

    @property
    def program(self) -> tuple[Any, list[str]]:
        """The program, and the names of its predictors that are parameters."""
        return self._module, self._parameters.names if self._parameters is not None else []

    def get_rest(self) -> dict[str, Any]:
        """Return what dspy leaves out of a state: flags, predictors' config, frozen predictors, plain attributes."""
        return rest.collect(*self.program, attributes=not self.keeps_user_state)

    def set_rest(self, saved: Mapping[str, Any]) -> None:
        """Put it back where the module still has a place for it."""
        rest.put_back(self._module, saved)

    def has_more(self) -> bool:
        """Return False."""
        return False

    def after_call(self) -> None:
        """Nothing follows a call."""

    def find(self, method: str) -> Entry:
        """Return the module's own call for "__call__", its `handle_info` for messages, a predictor's call, else a public method."""
        if method == "__call__":
            is_async = not forwards.has(self._module, "forward")
            function = self._module.acall if is_async else self._module
            return Entry(method, function, on_loop=is_async, idempotent=_is_idempotent(forwards.forward_of(self._module)))
        if method == "$predict":
            return Entry(method, self._predict)
        if method in relay_protocol.METHODS:
            has_forward, has_aforward = (forwards.has(self._module, name) for name in ("forward", "aforward"))
            marked = _is_idempotent(forwards.forward_of(self._module))
            return relayed.entry(method, self._module, has_forward=has_forward, has_aforward=has_aforward, idempotent=marked)
        if method == "$info":
            method, function = "handle_info", self._hook("handle_info") or self._drop
            return Entry(method, function, on_loop=inspect.iscoroutinefunction(function))
        if method in (TRAIN, EVAL) and getattr(type(self._module), method, None) in (None, getattr(Module, method)):
            return Entry(method, lambda: self._switch(method), idempotent=True)  # a module's own returns the module
        function = None if method.startswith("_") else getattr(self._module, method, None)
        if not callable(function):
            raise UnknownMethodError(
                f"{self.name} has no public method {method!r}; it has {', '.join(self._own_methods()) or 'none of its own'}"
            )
        on_loop = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        return Entry(method, function, on_loop=on_loop, idempotent=_is_idempotent(function))

    @property
    def degrades(self) -> bool:
        """Return whether the class defines forward_degraded(...)."""
        return degraded.degrades(self._found if isinstance(self._found, type) else type(self._found))

    def find_degraded(self, method: str, fallback: str | None) -> Entry | None:
        """Return how the module itself is called; its other methods, and its predictors one by one, are run as ever."""
        is_relayed = method in relay_protocol.METHODS
        if (not self.degrades and fallback is None) or not (is_relayed or method == "__call__"):
            return None
        degraded.note()  # also of one that finds no such module
        shown = degraded.view(self._module, fallback)  # of a copy, too: it is of the same class
        marked, awaited = _is_idempotent(forwards.forward_of(self._module)), degraded.is_async(self._module, fallback)
        if is_relayed:
            # A fallback is asked as the caller asks; a `forward_degraded` is of one kind.
            has_forward = not awaited
            has_aforward = awaited or (not self.degrades and forwards.has(self._module, "aforward"))
            return relayed.entry(
                method, self._module, has_forward=has_forward, has_aforward=has_aforward, idempotent=marked,
                seen=lambda module: degraded.view(module, fallback),
            )  # fmt: skip
        function = degraded.noted(shown.acall if awaited else shown)
        return Entry(method, function, on_loop=awaited, idempotent=marked)

    def _predict(self, name: str, /, **inputs: Any) -> Any:
        """Call one predictor, or module, inside the program."""
        parts = named_parts(self._module)
        if not callable(parts.get(name)):
            has = ", ".join(part for part in parts if part) or "none"
            raise UnknownMethodError(f"{self.name} has no predictor {name!r}; it has {has}")
        return parts[name](**inputs)

    def _drop(self, message: Any) -> None:
        log.debug("%s has no handle_info: dropped the message %.200r", self.name, message)

    def mirrored(self, is_edit: bool, owner: Owner | None, who: str, *args: Any, **kwargs: Any) -> Any:
        """Show a client the program that it holds a mirror of, or put in what it changed there."""
        if is_edit:
            return mirror_edits.edited(self._module, self._parameters, owner, who, *args, **kwargs)
        return mirror_edits.shown(self._module, owner, *args, **kwargs)

    def idempotent_methods(self) -> list[str]:
        """Return the methods marked with `@dx.idempotent`; a marked forward is "__call__"."""
        marked = [name for name in self._own_methods() if _is_idempotent(getattr(type(self._module), name, None))]
        calls = ["__call__", *relay_protocol.METHODS] if _is_idempotent(forwards.forward_of(self._module)) else []
        return calls + [name for name in marked if name not in ("forward", "aforward")]

    def call_facts(self) -> dict[str, Any]:
        """Return what a call takes, and whether it is awaited."""
        return {"takes": taking.takes(self._module), "awaited": taking.is_awaited(self._module)}

    def terminate(self, reason: ExitReason) -> None:
        """Run the module's `terminate(reason)`."""
        terminate = self._hook("terminate")
        if terminate is not None:
            terminate(reason)

    def get_state(self) -> Any:
        """Return the module's own `get_state()`, or what dspy would save."""
        own = self._hook("get_state")
        return own() if own is not None else self._module.dump_state()

    def replace_state(self, function: Callable[[Any], Any]) -> Any:
        """Hand function(state) to the module's own `set_state`."""
        set_state = self._hook("set_state")
        if set_state is None:
            raise TypeError(f"{self.name} has no set_state(state); only a GenServer's state can be replaced without it")
        state = function(self.get_state())
        set_state(state)
        return state

    def status(self) -> dict[str, Any]:
        """Return the class and the predictors."""
        return {"module": self.name, "predictors": [name for name, _ in self._module.named_predictors()]}

    def _check_forward(self) -> None:
        if not forwards.has(self._module, "forward") and not forwards.has(self._module, "aforward"):
            raise StartError(f"{self.name} is not hostable, forward_not_implemented: a dspy.Module needs forward() or aforward()")

    def _hook(self, name: str) -> Callable[..., Any] | None:
        found = getattr(type(self._module), name, None)
        return getattr(self._module, name) if callable(found) else None

    def _own_methods(self) -> list[str]:
        names = dict.fromkeys(name for cls in type(self._module).__mro__ if not _is_dspys(cls) for name in vars(cls))
        return [name for name in names if not name.startswith("_") and callable(getattr(type(self._module), name, None))]


def _is_dspys(cls: type) -> bool:
    return cls in (object, Module) or cls.__module__.partition(".")[0] == "dspy"


def _is_idempotent(function: Any) -> bool:
    return bool(getattr(function, "__dspex_idempotent__", False))
