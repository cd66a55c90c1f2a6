"""YAML text -> plain data plus the place of every key and value.

Owns: reading, the safe loader, the words of syntax errors. node_builder.py makes the values.
Never checks what a key means (schema.py). PyYAML is imported on first use.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from dspex_runtime.config.node_builder import MAX_DEPTH, Builder, mark_of
from dspex_runtime.config.problems import Mark, Path, Place, Problems
from dspex_runtime.config.scalars import RESOLVERS
from dspex_runtime.errors import ConfigError

__all__ = ["load", "read_text"]

MAX_FILE_BYTES: Final = 16 * 2**20  # 10 000 modules are 2 MB


def read_text(path: str, shown: str) -> str:
    """Return the text of a file; errors call it `shown`, as the user did.

    Raises:
        ConfigError: Missing, a directory, unreadable, too large or not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except IsADirectoryError:
        raise _unreadable(shown, "is a directory; expected a YAML file") from None
    except FileNotFoundError:
        raise _unreadable(shown, "no such file") from None
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        raise _unreadable(shown, f"cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    if len(data) > MAX_FILE_BYTES:
        raise _unreadable(shown, f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise _unreadable(f"{shown}:{line}", f"byte 0x{data[exc.start]:02x} is not UTF-8 text") from None


def load(text: str, *, source: str, environ: Mapping[str, str]) -> tuple[dict[str, Any], Problems]:
    """Return the mapping of a YAML text and the collector that knows where everything is written.

    What could not be read is `Broken`, text with a substituted variable is `EnvText`; duplicate keys are among the problems.

    Raises:
        ConfigError: Not YAML, empty, not a mapping, nested or expanded beyond the bounds.
    """
    places: dict[Path, Place] = {}
    problems = Problems(source=source, places=places)
    root = _compose(text, problems)
    data = None if root is None else Builder(problems, places, environ).build(root, (), mark_of(root))
    if isinstance(data, dict):
        return data, problems
    if data is None:
        problems.add_at(None, "the file is empty; allowed: a map with at least `tree:`")
    else:
        found = "a list" if isinstance(data, list) else "a single value"
        problems.add_at(mark_of(root), f"found {found}; allowed: a map (version, name, tree, ...)")
    problems.raise_if_any()
    raise AssertionError("unreachable: a problem was just added")


def _unreadable(path: str, why: str) -> ConfigError:
    message = f"{path}: {why}"
    return ConfigError(message, problems=[message])


@functools.cache
def _loader_class() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("Loader", (base,), {"yaml_implicit_resolvers": {}})
    for tag, pattern, first in RESOLVERS:
        loader.add_implicit_resolver(tag, pattern, first)
    return loader


def _compose(text: str, problems: Problems) -> Any:
    """Return the node graph, or None for an empty document; syntax errors are raised as ConfigError."""
    import yaml

    loader_class = _loader_class()
    try:
        _check_depth(text, problems, loader_class)
        loader = loader_class(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        problems.add_at(Mark(mark.line + 1, mark.column + 1) if mark else None, _explain(exc, text))
    except (yaml.YAMLError, RecursionError) as exc:
        problems.add_at(None, f"not YAML: {str(exc).splitlines()[0] if str(exc) else type(exc).__name__}")
    problems.raise_if_any()
    return None


def _check_depth(text: str, problems: Problems, loader_class: Any) -> None:
    """Refuse deep nesting before the composer recurses into it (it would exhaust the C stack)."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=loader_class):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                problems.add_at(mark_of(event), f"nested deeper than {MAX_DEPTH} levels")
                problems.raise_if_any()
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _explain(exc: Any, text: str) -> str:
    """Return the parser's message in the words of the person who wrote the file."""
    mark = exc.problem_mark
    problem = str(exc.problem or exc.context or "not YAML")
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""  # the end of the file has no line
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab in the indentation; YAML allows spaces only"
    if "maximum nesting depth" in problem:  # newer parsers have a limit of their own, and look so far ahead
        return f"nested deeper than {MAX_DEPTH} levels"
    if mark and "cannot start any token" in problem:
        return f"found {line[mark.column : mark.column + 1]!r}, which cannot start a value; put the value in quotes"
    if "mapping values are not allowed" in problem:
        return "found ': ' inside a value; put the value in quotes, or check the indentation"
    if "${" in line and "expected" in problem:
        return f"{problem}; inside {{...}} and [...] a ${{VAR}} must be in quotes"
    context = f" {exc.context}" if exc.context and exc.problem else ""
    begun = f" begun on line {exc.context_mark.line + 1}" if context and exc.context_mark else ""
    return f"not YAML: {problem}{context}{begun}"
