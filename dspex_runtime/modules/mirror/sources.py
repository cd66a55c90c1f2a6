"""The source of a class of a hosted program, also of one that came here by value and is in no module of this process.

Found by where the code of its methods was compiled: a file, or what `linecache` knows of a notebook's cell (see `wire.sources`).
Looks at files; imports nothing of the user's.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

__all__ = ["source_of"]


def source_of(cls: type) -> str | None:
    """Return the source of a class, without its indentation; None where it is not to be had."""
    for code in _own_code(cls):
        linecache.checkcache(code.co_filename)
        lines = linecache.getlines(code.co_filename)
        found = _class_around(lines, code)
        if found is not None:
            first = min([found.lineno, *(each.lineno for each in found.decorator_list)])
            return textwrap.dedent("".join(lines[first - 1 : found.end_lineno]))
    if cls.__module__ == "__main__":  # of the process that it comes from
        return None
    try:
        return textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # typed at a prompt, or sent without its file
        return None


def _own_code(cls: type) -> Iterator[CodeType]:
    """Yield the code of what was written inside the class, whose full name only that code knows: it was pickled without."""
    for value in vars(cls).values():
        function: Any = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        function = inspect.unwrap(function) if callable(function) else None
        if isinstance(function, FunctionType) and _class_of(function.__code__).rpartition(".")[2] == cls.__name__:
            yield function.__code__


def _class_of(code: CodeType) -> str:
    return code.co_qualname.rpartition(".")[0]


def _class_around(lines: list[str], code: CodeType) -> ast.ClassDef | None:
    """Return the class that the code is of; of several of its name, the one that it is in."""
    try:
        found = list(_classes(ast.parse("".join(lines)), "", _class_of(code)))
    except (SyntaxError, ValueError):  # a cell with magic in it
        return None
    around = [each for each in found if each.lineno <= code.co_firstlineno <= (each.end_lineno or 0)]
    return next(iter(around or found), None)


def _classes(node: ast.AST, prefix: str, qualname: str) -> Iterator[ast.ClassDef]:
    for child in ast.iter_child_nodes(node):
        inside = prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = f"{prefix}{child.name}.<locals>."
        elif isinstance(child, ast.ClassDef):
            inside = f"{prefix}{child.name}."
            if prefix + child.name == qualname:
                yield child
        yield from _classes(child, inside, qualname)
