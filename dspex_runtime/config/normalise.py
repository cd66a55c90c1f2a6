"""The doors of the configuration layer: file or dict in, plain data or specs out, all mistakes at once.

    YAML file --load, substitute--+
                                  +--check--> plain data (normalize) --check--> specs (parse)
    dict -------------------------+

`normalize` runs where the file and its environment are (client, CLI); its result crosses the wire to the runtime, which parses it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dspex_runtime.config import loader
from dspex_runtime.config.build import arranged_below, build_child, build_runtime
from dspex_runtime.config.child_schema import child_section
from dspex_runtime.config.dependency_rules import Present, check_dependencies, check_dependencies_of
from dspex_runtime.config.lints import lint
from dspex_runtime.config.merging import Inherited
from dspex_runtime.config.names import name_from_stem
from dspex_runtime.config.problems import INVALID, Problems
from dspex_runtime.config.rules import check_child, check_runtime
from dspex_runtime.config.runtime_spec import RuntimeSpec
from dspex_runtime.config.schema import RUNTIME, elsewhere
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.errors import ConfigError

__all__ = ["Report", "inspect", "normalize", "parse", "parse_child"]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a configuration.

    Attributes:
        config: The normalised data; of use only without problems.
        problems: Mistakes, in the order of the file.
        warnings: What is legal and probably not meant; looked for only when there are no problems.
    """

    config: dict[str, Any]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def inspect(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    base_dir: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Report:
    """Check a file or dict and return all that was found; never raises for what is in it.

    Args:
        source: Path of a YAML file, or a dict with the same keys.
        base_dir: For dicts: the folder that relative paths in them start from (default: their own "base_dir", else the current
            one). For files, whose folder is theirs: where a relative `source` is looked for.
        environ: Variables for `${VAR}` (files only). Default: os.environ.
    """
    try:
        config, problems = _checked(source, base_dir, environ)
    except ConfigError as exc:
        return Report({}, tuple(exc.problems))
    if not problems.problems:
        lint(config, problems)
    return Report(config, problems.problems, problems.warnings)


def normalize(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    base_dir: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a configuration as plain data: variables substituted, units resolved, `x-` keys dropped, paths absolute.

    The result packs as msgpack, is accepted by `parse` on another process of this machine, and normalises to itself.
    Args as `inspect`.

    Raises:
        ConfigError: Anything is wrong; `problems` lists everything, each with `file:line:col` (files) and key path.
    """
    config, problems = _checked(source, base_dir, environ)
    problems.raise_if_any()
    return config


def parse(config: Mapping[str, Any]) -> RuntimeSpec:
    """Return the specs of a dict: what `normalize` returned, or one that a user wrote.

    Raises:
        ConfigError: Anything is wrong; `problems` lists everything, each with its key path.
    """
    checked, problems = _checked(config, None, None)
    problems.raise_if_any()
    return build_runtime(checked)


def parse_child(
    child: Mapping[str, Any],
    *,
    spec: RuntimeSpec,
    under: SupervisorSpec | None = None,
    at: str = "",
    present: Present = tuple,
) -> ChildSpec:
    """Return the spec of one child of a running runtime, with the runtime's defaults.

    Its `depends_on` are full ids; among its siblings it has no place yet (`after`), those below it have theirs.

    Args:
        child: The YAML's keys of a child but `replicas`, as `get_childspec` returns them, too. From clients also: "pickled",
            "pickled_args" (bytes) and "sys_path" (directories, searched for "file.py:Name" before the runtime's own folder). With
            "pickled" the value of `module:` or `server:` is a name for people and is not looked up.
        spec: The runtime the child will be part of.
        under: The supervisor it will be a child of; None for one of its own.
        at: Full id of that supervisor.
        present: Gives what there is that it may depend on: specs by full ids.

    Raises:
        ConfigError: Anything is wrong; `problems` lists everything, each with its key path.
    """
    problems = Problems(elsewhere=elsewhere())
    given: Any = child
    if isinstance(child, Mapping) and child.get("pickled") is not None:
        given = {**child, **{kind: "pickled:Object" for kind in ("module", "server") if kind in child}}
    checked = child_section().check(given, (), problems)
    inherited = Inherited(spec.lm, spec.dspy, spec.env, spec.defaults, bool(spec.shared))
    if checked is not INVALID:
        above = under or SupervisorSpec()
        flags = {"auto_shutdown": above.auto_shutdown, "dynamic": above.dynamic}
        check_child(checked, (), inherited, spec.base_dir, problems, under=flags)
        if "replicas" in checked:
            problems.add(("replicas",), "found where one child is meant; allowed: in a file, and with rt.start", at_key=True)
        if "id" in checked:
            check_dependencies_of(checked, at, present, problems)
    name = child.get("id") if isinstance(child, Mapping) else None
    problems.raise_if_any(id=name if isinstance(name, str) else None)
    built = build_child(checked, inherited, spec.base_dir, at)
    return _labelled(built if built.supervisor is None else arranged_below(built, at), child)


def _labelled(spec: ChildSpec, child: Mapping[str, Any]) -> ChildSpec:
    """Return the spec with what a pickled one is called: any text will do, so it did not have to look like a target."""
    label = child.get(spec.kind.value)
    if spec.launch is None or spec.launch.pickled is None or not isinstance(label, str):
        return spec
    return replace(spec, launch=replace(spec.launch, label=label))


def _checked(
    source: str | os.PathLike[str] | Mapping[str, Any], base_dir: str | os.PathLike[str] | None, environ: Mapping[str, str] | None
) -> tuple[dict[str, Any], Problems]:
    if isinstance(source, Mapping):
        data, problems, path = source, Problems(), None
        own = source.get("base_dir")
        folder = os.path.abspath(base_dir or (own if isinstance(own, str) else None) or os.getcwd())
    elif isinstance(source, str | os.PathLike):
        shown = os.fspath(source)
        path = os.path.abspath(os.path.join(base_dir or os.getcwd(), shown))
        data, problems = loader.load(
            loader.read_text(path, shown), source=shown, environ=os.environ if environ is None else environ
        )
        folder = os.path.dirname(path)
    else:
        raise ConfigError(f"found a {type(source).__name__}; allowed: the path of a YAML file, or a dict")
    problems.elsewhere = elsewhere()
    config = RUNTIME.check(data, (), problems)
    config["base_dir"] = folder
    if path is not None:
        config["file"] = path
        config.setdefault("name", name_from_stem(os.path.splitext(os.path.basename(path))[0]))
    check_runtime(config, folder, problems)
    check_dependencies(config.get("tree", {}), ("tree",), problems)
    return config, problems
