"""The documents: one per documented module, class and function of the Python standard library.

Python sources are parsed, never imported: `import this` prints, `import antigravity` opens a browser. Modules written in
C have no source; those (itertools, math, zlib ...) are imported, which runs nothing but their own registration.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

MAX_CHARS: Final = 1500  # of one docstring: beyond it come tables and examples, which drown the first sentences

# Left out: too big for what they say (tkinter alone is a tenth of all docstrings), removed since, with an effect when
# imported, or not for people.
_SKIPPED: Final = """
    __phello__ antigravity distutils encodings ensurepip idlelib lib2to3 ntpath nturl2path pydoc_data site-packages
    dist-packages readline test tests this tkinter turtle turtledemo
"""
SKIPPED: Final = frozenset(_SKIPPED.split())
# Where users find what lives in a private or platform module.
PUBLIC_NAMES: Final = {
    "_bisect": "bisect", "_collections": "collections", "_csv": "csv", "_functools": "functools", "_heapq": "heapq", "_io": "io",
    "_json": "json", "_operator": "operator", "_pickle": "pickle", "_socket": "socket", "_struct": "struct", "_thread": "threading",
    "posix": "os", "posixpath": "os.path", "concurrent.futures._base": "concurrent.futures",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """One docstring under the name a user would import."""

    name: str  # "itertools.groupby"
    text: str


def standard_library() -> list[Document]:
    """Return every documented public object of the running interpreter's standard library, sorted by name.

    The same name documented twice (in C and in Python) appears once, with the longer text.
    """
    found: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old string escapes in the sources, modules that are about to be removed
        for document in (*_parsed_modules(), *_compiled_modules()):
            if len(document.text) > len(found.get(document.name, "")):
                found[document.name] = document.text
    return [Document(name, found[name]) for name in sorted(found)]


def _parsed_modules() -> Iterator[Document]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        name = PUBLIC_NAMES.get(".".join(parts), ".".join(parts))
        if not parts or not SKIPPED.isdisjoint(parts) or any(part.startswith("_") for part in name.split(".")):
            continue
        tree = _parse(path)
        package = ".".join(parts[:-1])
        exported = _exported(root.joinpath(*parts[:-1]), package, parts[-1], tree) if package else frozenset()
        yield from _documents_in(tree, name, {symbol: f"{package}.{symbol}" for symbol in exported})


@lru_cache(maxsize=4)  # a package's __init__ is asked for by each of its files
def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return ast.Module(body=[], type_ignores=[])  # a template or a broken file of this installation is not documentation


def _documents_in(tree: ast.AST, name: str, renamed: dict[str, str]) -> Iterator[Document]:
    """Yield the docstring of a module, class or function and of its public members; nothing nested in functions."""
    text = ast.get_docstring(tree) if isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else None
    if text:
        yield Document(name, text[:MAX_CHARS])
    if isinstance(tree, ast.Module | ast.ClassDef):
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                yield from _documents_in(node, renamed.get(node.name, f"{name}.{node.name}"), {})


def _exported(folder: Path, package: str, module: str, tree: ast.Module) -> frozenset[str]:
    """Return which names of a file its package itself offers: users write `asyncio.run`, not `asyncio.runners.run`."""
    names: set[str] = set()
    for node in ast.walk(_parse(folder / "__init__.py")):
        if isinstance(node, ast.ImportFrom) and node.module in (module, f"{package}.{module}"):
            names.update(_all_of(tree) if node.names[0].name == "*" else (alias.name for alias in node.names))
    return frozenset(names)


def _all_of(tree: ast.Module) -> list[str]:
    """Return a literal `__all__`; star imports without one are rare enough in the library to be left alone."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            try:
                return [str(name) for name in ast.literal_eval(node.value)]
            except ValueError:
                return []
    return []


def _compiled_modules() -> Iterator[Document]:
    for name in sorted(sys.stdlib_module_names):
        if name in SKIPPED or (name.startswith("_") and name not in PUBLIC_NAMES):
            continue
        spec = importlib.util.find_spec(name)  # of a top-level module: looks, does not import
        if spec is None or spec.origin is None or spec.origin.endswith(".py") or spec.origin == "frozen":
            continue
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue  # built without the C library it wraps
        yield from _members_of(module, PUBLIC_NAMES.get(name, name))


def _members_of(owner: object, name: str, depth: int = 0) -> Iterator[Document]:
    text = inspect.getdoc(owner)
    if text and not (depth == 0 and name in PUBLIC_NAMES.values()):  # the Python half has the better module docstring
        yield Document(name, text[:MAX_CHARS])
    for key, value in vars(owner).items() if depth < 2 else ():
        documented = inspect.isclass(value) or inspect.isroutine(value)
        if documented and not key.startswith("_") and (depth == 0 or not inspect.isclass(value)):
            yield from _members_of(value, f"{name}.{key}", depth + 1 if inspect.isclass(value) else 2)
