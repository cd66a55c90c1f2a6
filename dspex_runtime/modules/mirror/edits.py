"""What a client changed in its mirror, put into the program itself. Host side, on a call thread.

An edit is {"parts": {name: {"expect": version | None, "attributes": {name: node}}}, "cells": {name: {"expect", "attributes"}},
"flags": {name: bool}, "replaced": {name: {"expect": {name: version}, "pickle": bytes}}}; of a copy also
"remote", pickled edits by the names of the parts that are processes of their own. All of it is read before anything is
changed; versions are checked, and new ones published together, by the owner of the table. What has no version (flags, configs,
states of what is no parameter) is kept for the next incarnation in the same step.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import dspy
from dspy.utils import magicattr

from dspex_runtime.errors import ParameterNotFoundError
from dspex_runtime.host.checkpoint_image import EDITS, REST, tell_edit
from dspex_runtime.modules.cells import DspyCell
from dspex_runtime.modules.mirror import lms as mirror_lms
from dspex_runtime.modules.mirror import sources
from dspex_runtime.modules.mirror.following import unfollowed
from dspex_runtime.modules.mirror.image import STATE, take
from dspex_runtime.modules.mirror.pinned import Changes, pinned, within
from dspex_runtime.modules.mirror.refusing import check_state
from dspex_runtime.modules.mirror.values import unpack
from dspex_runtime.modules.parts import ROOT, named_parts, parameter_name
from dspex_runtime.modules.relay import pickles as relay_pickles

if TYPE_CHECKING:
    from dspex_runtime.modules.module_parameters import ModuleParameters
    from dspex_runtime.modules.predictors import PredictorHolder
    from dspex_runtime.params.owner import Owner

_unowned: Final = nullcontext()


def shown(root: Any, owner: Owner | None, *, by_value: bool = False, source_of: str | None = None) -> Any:
    """Return the image of the program, with the versions that its parameters have in it; or the source of one part's class."""
    if source_of is not None:
        return sources.source_of(type(named_parts(root).get(source_of)))
    versions = _versions(owner)
    while True:
        records, before = take(root, whole=by_value), versions
        versions = _versions(owner)
        if versions == before:  # else something was published meanwhile, and it may be in there or not
            configured = dspy.settings.lm
            lm = mirror_lms.show(configured) if configured is not None else None
            return {"objects": records, "versions": versions, "edits": _edits(owner), "lm": lm, "process": os.getpid()}


def edited(
    root: Any, parameters: ModuleParameters | None, owner: Owner | None, who: str, edit: Mapping[str, Any]
) -> dict[str, Any]:
    """Put an edit in, see `commit`; return the versions there are now."""
    holders = parameters.holders if parameters is not None else {}
    with owner.changing if owner is not None else _unowned:  # one after the other: each builds on the facts of the one before
        commit(root, holders, owner, who, edit)
        if owner is not None and (
            edit["flags"] or edit["replaced"] or {parameter_name(name) for name in edit["parts"]} - holders.keys()
        ):
            tell_edit(owner)  # has no version: other mirrors learn by this to look again
        return {"versions": _versions(owner), "edits": _edits(owner)}


def _versions(owner: Owner | None) -> dict[str, int]:
    while owner is not None:
        try:
            return {name: owner.version(name) for name in owner.names()}
        except ParameterNotFoundError:
            continue  # just taken away
    return {}


def _edits(owner: Owner | None) -> int:
    return int(owner.facts().get(EDITS, 0)) if owner is not None else 0


def put(parts: dict[str, Any], edit: Mapping[str, Any]) -> None:
    """Put an edit into a private copy of the program: nobody else has it, and it has no versions."""
    for name, each in edit["replaced"].items():
        magicattr.set(parts[ROOT], name, relay_pickles.loads(each["pickle"]))
    if edit["replaced"]:
        parts.update(named_parts(parts[ROOT]))
    for name, each in edit["parts"].items():
        _found(parts, name).__dict__.update(_read_part(name, each))
    for name, each in edit["cells"].items():
        cell = _found(parts, name)
        cell.value = _read(each)["value"]
    for name, flag in edit["flags"].items():
        _found(parts, name)._compiled = flag
    for name, image in edit.get("remote", {}).items():
        put(named_parts(_found(parts, name)), pickle.loads(image))


def commit(root: Any, holders: Mapping[str, PredictorHolder], owner: Owner | None, who: str, edit: Mapping[str, Any]) -> None:
    """Put an edit into the hosted program, all of it or nothing.

    Raises:
        ParameterError: A parameter is of another version than expected ("conflict"), or it cannot be written.
        ConstraintViolationError: A value is refused.
        ParameterNotFoundError: There is no such part (any more).
    """
    with unfollowed():
        parts = named_parts(root)
    changes = Changes(
        attributes={name: _read_part(name, each) for name, each in edit["parts"].items()},
        flags=edit["flags"],
        replaced={name: relay_pickles.loads(each["pickle"]) for name, each in edit["replaced"].items()},
    )
    values = {name: _read(each)["value"] for name, each in edit["cells"].items()}
    found = {name: _found(parts, name) for name in (*changes.attributes, *changes.flags)}
    brought = _brought(changes, holders if owner is not None else {})
    try:
        values |= {name: holder.bring(attributes) for name, (holder, attributes) in brought.items()}
        if owner is not None:
            expected = _expected(edit)
            owner.expect({name: version for name, version in expected.items() if name not in values})
            kept = owner.facts().get(REST) or {}
            to_keep = pinned(parts, holders, changes, kept)
            facts = None if to_keep == kept else {**owner.facts(), REST: to_keep}
            if values or facts is not None:
                expected = {name: version for name, version in expected.items() if name in values}
                owner.set_many(values, who=who, expect=expected, facts=facts)
    finally:
        for holder, _ in brought.values():
            holder.bring(None)
    for name, attributes in changes.attributes.items():
        if parameter_name(name) not in brought:  # it is no parameter, or there is no table
            found[name].__dict__.update(attributes)
    for name, part in changes.replaced.items():
        magicattr.set(root, name, part)
    for name, flag in changes.flags.items():
        found[name]._compiled = flag


def _brought(changes: Changes, holders: Mapping[str, PredictorHolder]) -> dict[str, tuple[PredictorHolder, Mapping[str, Any]]]:
    """Return which parameters get which attributes: also those whose predictor is replaced by one of its kind."""
    found = {name: each for part, each in changes.attributes.items() if (name := parameter_name(part)) in holders}
    for outer, part in changes.replaced.items():
        for inside, new in named_parts(part).items():
            name = within(outer, inside)
            if name in holders and isinstance(new, dspy.Predict) and type(new) is type(holders[name].predictor):
                found[name] = {each: value for each, value in vars(new).items() if each in STATE}
    return {name: (holders[name], attributes) for name, attributes in found.items()}


def _expected(edit: Mapping[str, Any]) -> dict[str, int]:
    both = {**edit["parts"], **edit["cells"]}
    expected = {parameter_name(name): each["expect"] for name, each in both.items() if each["expect"] is not None}
    for each in edit["replaced"].values():
        expected |= each["expect"]
    return expected


def _read(each: Mapping[str, Any]) -> dict[str, Any]:
    return {name: unpack(node) for name, node in each["attributes"].items()}


def _read_part(name: str, each: Mapping[str, Any]) -> dict[str, Any]:
    attributes = _read(each)
    check_state(name, attributes)
    return attributes


def _found(parts: Mapping[str, Any], name: str) -> Any:
    part = parts.get(name)
    if not isinstance(part, dspy.Module | DspyCell) and not hasattr(part, "__dict__"):
        raise ParameterNotFoundError(f"the program has no part {name!r}; it has {', '.join(filter(None, parts))}", name=name)
    return part
