"""What a client holds for a hosted module: a dspy.Module whose calls run in the module's process, with a mirror of its parts.

Everything of ours is behind `.dx`; every other name belongs to dspy and its users. What dspy looks at, `__dict__` first of all, is
the mirror's and up to date whenever it is looked at; a plain call needs none of it and fetches nothing.
"""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import dspy

from dspex_runtime.errors import DspexError, UnserialisableError
from dspex_runtime.modules.discouraged import Discouraged
from dspex_runtime.modules.mirror.classes import class_for
from dspex_runtime.modules.mirror.edits import put
from dspex_runtime.modules.mirror.following import MIRROR as _MIRROR
from dspex_runtime.modules.mirror.following import Remote, follows, without_remote
from dspex_runtime.modules.mirror.following import own as _own  # dx, callbacks, history, and the mirror itself
from dspex_runtime.modules.mirror.mirror import Mirror
from dspex_runtime.modules.mirror.remote_state import load_all
from dspex_runtime.modules.parts import OF_CALLS, ROOT, named_parts
from dspex_runtime.modules.relay import calling as relay
from dspex_runtime.modules.state_loading import load_onto_pristine
from dspex_runtime.params.cell import Cell


class ModuleProxy(Remote, dspy.Module):  # type: ignore[misc]
    """A module in another process; valid across its restarts. A deep copy runs there too, on a copy of the program."""

    # dspy's is a Python function on the way to every attribute, for the one warning that `Discouraged` gives.
    __getattribute__ = object.__getattribute__

    def __init__(self, ref: Any) -> None:
        own = _own(self)
        attributes = {name: own[name] for name in OF_CALLS}
        del own["_compiled"]  # dspy's, made just now; it is the program's that counts
        own["dx"] = ref
        own[_MIRROR] = Mirror(self, attributes, ref.raw(), partial(_class_of, ref))

    @property
    def dx(self) -> Any:
        """The reference: parameters, metrics, other methods, streams.

        Cost: 0.05 us more for each attribute than of a reference of one's own; whoever reads parameters in a loop takes
        `params = rt.ref("qa").params` out of it.
        """
        return _own(self)["dx"]

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The program's attributes, as far as they are dspy's, and those that were set here."""
        mirror: Mirror = _own(self)[_MIRROR]
        if not follows():
            return mirror.attributes if mirror.at_work else {}
        mirror.sync()
        if type(self) is not mirror.cls:
            vars(object)["__class__"].__set__(self, mirror.cls)
        return mirror.attributes

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """ModuleProxy, or PredictProxy where the program is a Predict: `isinstance` asks here when the type alone is not it."""
        mirror = _own(self).get(_MIRROR)
        if mirror is None or not follows():
            return type(self)
        try:
            mirror.sync()
        except DspexError:
            return type(self)  # not to be had now: what is certain is that it is a module
        # The type itself becomes that later: `isinstance` looks at this only where it is another.
        cls: type = mirror.cls
        return cls

    def _learn(self) -> Mirror:
        """Be in step with the process, and of the right type; returns the mirror."""
        self.__dict__  # noqa: B018
        mirror: Mirror = _own(self)[_MIRROR]
        return mirror

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the program."""
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        before = type(self)
        attributes = self.__dict__
        if name in attributes:
            value = attributes[name]
            return value.value if isinstance(value, Cell) else value
        if type(self) is not before:  # only now it is known to be a Predict, and to have what a Predict has
            return getattr(self, name)
        raise AttributeError(
            f"{_own(self)['dx'].id!r} shows no attribute {name!r}: methods and plain attributes of the program are in its process; "
            f"call a method with .dx.call({name!r})"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        own = _own(self)
        if _MIRROR not in own:  # dspy's own set-up, before there is a mirror
            own[name] = value
            return
        if isinstance(getattr(type(self), name, None), property):
            raise AttributeError(f"{name!r} is the proxy's own and cannot be set")
        attributes = own[_MIRROR].attributes if name in OF_CALLS else self.__dict__
        present = attributes.get(name)
        if isinstance(present, Cell) and not isinstance(value, Cell):
            present.set(value)
            return
        own[_MIRROR].check(name, value)
        attributes[name] = value
        if name in OF_CALLS or hasattr(type(self), name):  # else the class's own would be found first: a patched `forward`
            own[name] = value

    def __delattr__(self, name: str) -> None:
        own, attributes = _own(self), self.__dict__
        own[_MIRROR].check(name)
        own.pop(name, None)
        if attributes.pop(name, _MIRROR) is _MIRROR:
            raise AttributeError(f"{own['dx'].id!r} shows no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *_own(self)[_MIRROR].attributes})

    @Discouraged
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's own call in its process."""
        mirror: Mirror = _own(self)[_MIRROR]
        mirror.ref.push_edits()
        return relay.call(mirror.ref, mirror, args, kwargs)

    async def aforward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's own call in its process, awaited."""
        mirror: Mirror = _own(self)[_MIRROR]
        if mirror.ref.has_edits:
            await asyncio.to_thread(mirror.ref.push_edits)
        return await relay.acall(mirror.ref, mirror, args, kwargs)

    def named_parameters(self) -> list[tuple[str, Any]]:
        """Return the parameters as dspy does, those of parts that are processes of their own, too."""
        return without_remote(super().named_parameters(), self)

    # -- what dspy does with all parameters at once is one edit

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Return the state as dspy does."""
        self._learn()  # once it is known what it is, it is known whose method comes next
        state: dict[str, Any] = super().dump_state(json_mode=json_mode)
        return state

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> Any:
        """Load a state as dspy does, all or nothing, here and in the process.

        Raises:
            KeyError: The state lacks a parameter.
            ParameterError: As for an edit, see `Mirror.push`.
        """
        mirror = self._learn()
        load = partial(super().load_state, allow_unsafe_lm_state=allow_unsafe_lm_state)

        def load_own() -> Any:
            return mirror.load_state(lambda: load_onto_pristine(self, state, load))

        remote = mirror.remote()
        if not remote:
            return load_own()
        return load_all(remote, state, load_own, allow_unsafe_lm_state=allow_unsafe_lm_state)

    def get_lm(self) -> Any:
        """Return the one LM of all predictors as dspy does.

        Where neither they nor this process have one, it is the one of the module's `lm:`: BestOfN and its kin ask for it.
        """
        mirror = self._learn()
        return super().get_lm() or (mirror.lm if dspy.settings.lm is None else None)

    def set_lm(self, lm: Any) -> None:
        """Set the LM of all predictors, here and in the process."""
        super().set_lm(lm)
        _own(self)[_MIRROR].ref.push_edits()

    def map_named_predictors(self, func: Callable[[Any], Any]) -> Any:
        """Replace all predictors, here and in the process."""
        super().map_named_predictors(func)
        _own(self)[_MIRROR].ref.push_edits()
        return self

    def save(self, path: Any, save_program: bool = False, modules_to_serialize: Any = None) -> None:
        """Save the state to a .json or .pkl file as dspy does.

        Raises:
            UnserialisableError: The program itself cannot be saved from here: it is in another process.
        """
        if save_program:
            raise UnserialisableError(
                f"the program of {_own(self)['dx'].id!r} is in another process: a proxy saves its state, to a .json or .pkl",
                hint="save it where it is, or take a checkpoint: proxy.dx.checkpoint()",
            )
        super().save(path, save_program=save_program, modules_to_serialize=modules_to_serialize)

    # -- copies

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleProxy:
        own = _own(self)
        self._learn()
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        theirs = _own(twin)
        attributes: dict[str, Any] = {name: [] for name in OF_CALLS}
        ref = own["dx"]
        theirs |= {"dx": ref, _MIRROR: Mirror(twin, attributes, own[_MIRROR].ref, partial(_class_of, ref))}
        own[_MIRROR].copied(theirs[_MIRROR], memo)
        theirs |= {name: value for name, value in attributes.items() if name in OF_CALLS or hasattr(type(self), name)}
        return twin

    def deepcopy(self) -> ModuleProxy:
        """Return a copy of the mirror; its calls run in the same process, on a copy of the program."""
        return copy.deepcopy(self)

    def __copy__(self) -> ModuleProxy:
        own = _own(self)
        return ModuleProxy(own["dx"]) if own[_MIRROR].in_step else self.__deepcopy__({})

    def __reduce__(self) -> Any:
        own = _own(self)
        mirror: Mirror = own[_MIRROR]
        mirror.push()
        overlay = mirror.overlay()
        return (_arrived, (own["dx"], None if overlay is None else overlay["image"]))

    def __repr__(self) -> str:
        before = type(self)
        try:
            shown: str = super().__repr__() if self.__dict__ and type(self) is before else repr(self)
        except DspexError:  # what is not to be reached can be named
            shown = ""
        return shown or f"<ModuleProxy {_own(self)['dx'].id!r}>"


class PredictProxy(ModuleProxy, dspy.Predict):  # type: ignore[misc]
    """A hosted Predict: a Predict itself. A ModuleProxy becomes one when it learns what the program is."""


def _class_of(ref: Any, kind: str, label: str) -> type:
    return class_for(PredictProxy if kind == "predict" else ModuleProxy, label, ref, ROOT)


def _arrived(ref: Any, image: bytes | None) -> ModuleProxy:
    proxy = ModuleProxy(ref)
    if image is None:
        return proxy
    twin: ModuleProxy = proxy.deepcopy()
    put(named_parts(twin), pickle.loads(image))
    return twin
