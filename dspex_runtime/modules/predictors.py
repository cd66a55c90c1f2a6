"""A predictor as a parameter: its value is its dspy state, read from it and stored into it. Knows no table and no journal.

Any dspy.Parameter that is no dx.Parameter is taken: a Predict, a Flex, a Retrieve. The state is plain data in dspy's own form,
without secrets. It is stored onto a pristine signature, all of it or, when it does not fit the predictor, nothing.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Mapping
from typing import Any

import dspy

from dspex_runtime.errors import ConstraintViolationError
from dspex_runtime.modules import lm_state
from dspex_runtime.modules.fingerprint import Fingerprint
from dspex_runtime.modules.parts import OF_CALLS
from dspex_runtime.modules.pristine import pristine
from dspex_runtime.params.constraints import refusal
from dspex_runtime.params.spec import ParameterSpec, ParameterType

log = logging.getLogger("dspex_runtime.module")


class PredictorHolder:
    """Where a predictor's state lives (see params.owner.Holder).

    Args:
        name: Its path in the program; for messages.
        predictor: A dspy.Parameter with `dump_state` and `load_state`.

    Attributes:
        declaration: What may be stored.
    """

    def __init__(self, name: str, predictor: Any) -> None:
        self.name = name
        self.predictor = predictor
        self._fingerprint = Fingerprint(predictor)
        # The signatures it had, by their fields: a rollback may lead to one with other fields than it has now.
        self._signatures: dict[tuple[str, ...], Any] = {}
        self._is_stale = False  # the value last stored is not what it became
        self._brought: tuple[Any, dict[str, Any]] | None = None  # a state, and the attributes that it is the state of
        # What may be stored; the default is its state as it was built.
        self.declaration = ParameterSpec(ParameterType.PREDICTOR, default=self.load(), custom=self.check, custom_name="its fields")

    def bring(self, attributes: Mapping[str, Any] | None) -> Any:
        """Return the state that the predictor would have with these attributes; storing that state gives it the attributes.

        So it gets what no state holds: the signature itself, an LM with its key, config. None forgets them, stored or not.

        Raises:
            ConstraintViolationError: A predictor with them has no state.
        """
        self._brought = None
        if attributes is None:
            return None
        try:
            state = dump(self.predictor, attributes)
        except Exception as exc:
            raise self._refusal("state", "dspy", attributes, f"attributes of a predictor ({type(exc).__name__}: {exc})") from exc
        self._brought = state, dict(attributes)
        return state

    def replace(self, predictor: Any) -> None:
        """Go on with another predictor that took the place of this one."""
        self.predictor = predictor
        self._fingerprint = Fingerprint(predictor)
        self._is_stale = True

    def changed(self) -> bool:
        """Return whether it may have another state than at the last `load` or `store`; by identity, about a microsecond."""
        return self._is_stale or self._fingerprint.differs()

    def load(self) -> dict[str, Any]:
        """Return its state."""
        self._see()  # first: what changes from here on is seen the next time
        return dump(self.predictor)

    def check(self, state: Any) -> bool:
        """Return True for a state that fits the predictor.

        Raises:
            ConstraintViolationError: It does not.
        """
        if self._brought is not None and state == self._brought[0]:
            return True
        self._compare(state, dump(self.predictor))
        return True

    def _compare(self, state: Any, present: Mapping[str, Any]) -> None:
        """Raise ConstraintViolationError for a state that does not fit."""
        if state == present:
            return
        if not isinstance(state, Mapping):
            raise self._refusal("type", "dict", state, "a predictor's state, a dict")
        missing = sorted(present.keys() - state.keys() - {"fields"})
        unknown = sorted(map(str, state.keys() - present.keys() - {"fields"}))
        if missing or unknown:
            what = f"without {', '.join(map(repr, missing))}" if missing else f"with {', '.join(map(repr, unknown))}"
            raise self._refusal("keys", sorted(present), state, f"a state with the keys {', '.join(present)}; this one is {what}")
        if isinstance(self.predictor, dspy.Predict):
            self._check_predict(state, present)

    def store(self, state: Mapping[str, Any]) -> None:
        """Give the predictor a state. What it has already stays the same object: its LM with its key, the user's signature.

        An LM that cannot be built from the state is reported, and the predictor keeps the one it has.

        Raises:
            ConstraintViolationError: The state does not fit; nothing was changed.
        """
        if self._brought is not None and state == self._brought[0]:
            self.predictor.__dict__.update(self._brought[1])  # in one step, see `_store_predict`
            self._is_stale = True
            return
        present = dump(self.predictor)
        self._compare(state, present)
        self._see()
        if state != present:
            self._put(state, copy.deepcopy(_without_lm(state)))

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Give the predictor a state that was checked just now and is nobody else's: no copy is made, and a start waits for it.

        Raises:
            ConstraintViolationError: It does not fit; nothing was changed.
        """
        self._see()
        self._put(state, _without_lm(state))

    def _see(self) -> None:
        self._fingerprint.take()
        self._is_stale = False
        if isinstance(self.predictor, dspy.Predict):
            signature = self.predictor.signature
            self._signatures.setdefault(tuple(signature.fields), signature)

    def _put(self, state: Mapping[str, Any], plain: dict[str, Any]) -> None:
        """Make the predictor what a state says; `plain` is it without its LM, and becomes the predictor's own."""
        lm, is_wanted = self._lm(state)
        predictor = self.predictor
        if isinstance(predictor, dspy.Predict):
            self._store_predict(predictor, plain, lm)
        else:
            self._store_any(predictor, plain | ({"lm": None} if "lm" in state else {}), lm)
        self._fingerprint.take()
        # An Example among the demos is a dict in the state that it gives.
        self._is_stale = not is_wanted or any(isinstance(demo, dspy.Example) for demo in state.get("demos", ()))

    def _check_predict(self, state: Mapping[str, Any], present: Mapping[str, Any]) -> None:
        for key in ("demos", "traces", "train"):
            if not isinstance(state[key], list):
                raise self._refusal(key, "list", state[key], f"a state whose {key} are a list")
        if not all(type(demo) is dict or isinstance(demo, Mapping | dspy.Example) for demo in state["demos"]):
            raise self._refusal("demos", "dict", state["demos"], "a state whose demos are dicts or dspy.Examples")
        lm = state["lm"]
        if lm not in (None, present["lm"]) and not (isinstance(lm, Mapping) and isinstance(lm.get("model"), str)):
            raise self._refusal("lm", "model", lm, "a state whose lm is None or a dict with a model")
        self._signature_for(state)

    def _signature_for(self, state: Mapping[str, Any]) -> Any:
        """Return the signature to load the state onto: one with as many fields, in the same order."""
        match state["signature"]:
            case {"instructions": str(), "fields": list(fields)} if all(
                isinstance(field, Mapping) and {"prefix", "description"} <= field.keys() for field in fields
            ):
                prefixes = [field["prefix"] for field in fields]
            case other:
                raise self._refusal("signature", "dict", other, "a state whose signature has instructions and fields")
        candidates = [pristine(self.predictor), *self._signatures.values()]
        for signature in candidates:
            if _prefixes(signature) == prefixes:
                return signature
        for signature in candidates:
            own = _prefixes(signature)
            # dspy matches fields by position: a known prefix in another place is another order of fields.
            if len(own) == len(prefixes) and not any(p != mine and p in own for p, mine in zip(prefixes, own, strict=True)):
                return signature
        names = list(self.predictor.signature.fields)
        raise self._refusal("fields", names, prefixes, f"a state for the fields {', '.join(names)}, in this order")

    def _store_predict(self, predictor: dspy.Predict, state: dict[str, Any], lm: Any) -> None:
        scratch = _clone(predictor)
        base = self._signature_for(state)
        described = base.dump_state()
        # What a subclass does with it, only a signature can tell.
        keeps = state["signature"] == described and type(predictor).load_state is dspy.Predict.load_state
        scratch.__dict__["signature"] = _Kept(base) if keeps else base
        try:
            scratch.load_state({**state, "lm": None})
        except ConstraintViolationError:
            raise
        except Exception as exc:
            raise self._refusal("state", "dspy", state, f"a state that dspy loads ({type(exc).__name__}: {exc})") from exc
        loaded = scratch.__dict__
        loaded["lm"] = lm
        if not keeps and loaded["signature"].dump_state() == described:
            loaded["signature"] = base
        # In one step: a call that runs beside this one finds the old state or the new one.
        predictor.__dict__.update({name: value for name, value in loaded.items() if name not in OF_CALLS})

    def _store_any(self, parameter: Any, state: dict[str, Any], lm: Any) -> None:
        before = dict(parameter.__dict__)
        try:
            parameter.load_state(state)
        except Exception as exc:
            parameter.__dict__.clear()
            parameter.__dict__.update(before)
            raise self._refusal("state", "dspy", state, f"a state that it loads ({type(exc).__name__}: {exc})") from exc
        if "lm" in state:
            parameter.lm = lm

    def _lm(self, state: Mapping[str, Any]) -> tuple[Any, bool]:
        """Return the LM for a state, and whether it is the one that the state means."""
        present = self.predictor.__dict__.get("lm")
        try:
            return lm_state.restore(state.get("lm"), present), True
        except Exception as exc:  # a class of the user's own that takes other arguments, a provider that is not installed
            log.warning(
                "%s: the LM of its state cannot be built (%s: %s); it keeps %s",
                self.name, type(exc).__name__, exc, "the configured one" if present is None else f"its {type(present).__name__}",
            )  # fmt: skip
            return present, False

    def _refusal(self, constraint: str, limit: Any, value: Any, expected: str) -> ConstraintViolationError:
        return refusal(self.name, constraint, limit, value, expected)


class _Kept:
    """In the place of a signature that a state leaves as it is: to load it dspy would make another class, 0.4 ms of a start."""

    def __init__(self, signature: Any) -> None:
        self._signature = signature

    def load_state(self, _state: Any) -> Any:
        """Return the signature."""
        return self._signature


def _without_lm(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "lm"}


def dump(parameter: Any, changed: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a parameter's state in dspy's form, plain and without secrets. Never fails for its LM, as dspy's own does.

    With `changed` it is the state that the parameter would have with these attributes.
    """
    clone = _clone(parameter)
    clone.__dict__.update(changed or {})
    lm = clone.__dict__.get("lm")
    if lm is not None:
        clone.__dict__["lm"] = None
    # A Retrieve's takes no arguments.
    takes_mode = isinstance(clone, dspy.Predict) or "json_mode" in inspect.signature(clone.dump_state).parameters
    state: dict[str, Any] = clone.dump_state(json_mode=True) if takes_mode else clone.dump_state()
    if "lm" in state:
        state["lm"] = lm_state.dump(lm)
    return state


def _clone(parameter: Any) -> Any:
    # A shallow copy without dspy's __getstate__ and whatever a subclass makes of it.
    clone = object.__new__(type(parameter))
    clone.__dict__.update(parameter.__dict__)
    return clone


def _prefixes(signature: Any) -> list[str]:
    return [field.json_schema_extra["prefix"] for field in signature.fields.values()]
