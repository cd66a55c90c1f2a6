"""The direction of imports: base -> core | wire -> params, osproc, state, config -> host | modules | node -> client -> cli.

Read from the sources with ast, so imports inside functions and under TYPE_CHECKING count too.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"dspex_runtime": ROOT / "dspex_runtime", "dspex_cli": ROOT / "cli" / "dspex_cli"}

BASE = {"errors", "exit_reason", "types", "version"}
SYSTEM = {"params", "osproc", "state", "config"}
BELOW_HOST = BASE | SYSTEM | {"core", "wire"}
ALL = BELOW_HOST | {"host", "modules", "node", "client", "testing"}
ARROWS = {
    **dict.fromkeys(BASE, BASE),
    "core": BASE,
    "wire": BASE,
    **dict.fromkeys(SYSTEM, BASE | SYSTEM | {"core", "wire"}),
    "host": BELOW_HOST | {"modules"},  # only inside functions: see below
    "modules": BELOW_HOST | {"host"},
    "node": BELOW_HOST,
    "client": ALL - {"testing"},
    "testing": ALL,
}
DSPY = {"dspy", "litellm"}
# A pure decision has its time, randomness and numbers passed in.
IMPURE = {
    *("asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "queue", "random", "secrets", "select"),
    *("selectors", "signal", "socket", "subprocess", "sys", "tempfile", "threading", "time", "uuid"),
}
IO = {"asyncio", "select", "selectors", "socket", "subprocess"}
LATE = ["dspy", "litellm", "asyncio", "pydantic", "numpy", "yaml", "rich", "multiprocess", "cloudpickle"]


@dataclass(frozen=True)
class Import:
    """One import: who, what, and whether it runs when the file is imported."""

    path: str
    line: int
    layer: str
    module: str
    is_lazy: bool

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def target(self) -> str | None:
        """The layer of ours that is imported, "" for the package itself."""
        parts = self.module.split(".")
        if parts[0] != "dspex_runtime":
            return None
        return parts[1] if len(parts) > 1 else ""


def names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom(module="dspex_runtime", level=0):
            yield from (f"dspex_runtime.{alias.name}" if is_submodule(alias.name) else "dspex_runtime" for alias in node.names)
        case ast.ImportFrom(level=0):
            yield node.module or ""
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(str(name)), *_],
        ):
            yield name


def is_submodule(name: str) -> bool:
    package = SOURCES["dspex_runtime"]
    return (package / name).is_dir() or (package / f"{name}.py").is_file()


def walk(node: ast.AST, is_lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, is_lazy
        guard = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield from walk(child, is_lazy or guard or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def imports_of(source: str, path: str, layer: str) -> list[Import]:
    return [
        Import(path, getattr(node, "lineno", 0), layer, module, is_lazy)
        for node, is_lazy in walk(ast.parse(source))
        for module in names(node)
    ]


def all_imports() -> list[Import]:
    found: list[Import] = []
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            layer = "cli" if package == "dspex_cli" else inside.parts[0].removesuffix(".py")
            found += imports_of(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)), layer)
    return found


IMPORTS = all_imports()
PACKAGE = [found for found in IMPORTS if found.layer not in ("cli", "__init__")]


def listed(violations: list[Import]) -> str:
    return "\n".join(str(found) for found in violations)


def test_the_layers_are_all_known() -> None:
    layers = {found.layer for found in PACKAGE}
    assert layers <= ARROWS.keys()
    assert len(PACKAGE) > 100, "the sources were not found"


def test_imports_follow_the_arrows() -> None:
    assert not listed([i for i in PACKAGE if i.target is not None and i.target != i.layer and i.target not in ARROWS[i.layer]])


def test_nothing_inside_imports_the_command_line() -> None:
    assert not listed([found for found in IMPORTS if found.layer != "cli" and found.top == "dspex_cli"])


def test_imports_are_absolute() -> None:
    relative = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in SOURCES.values()
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert relative == []


def test_only_modules_imports_dspy() -> None:
    # What users write their tests with is no part of the runtime; that nothing imports it is among the arrows.
    assert not listed([found for found in IMPORTS if found.top in DSPY and found.layer not in ("modules", "testing")])


def test_host_reaches_modules_only_when_it_hosts_one() -> None:
    assert not listed([found for found in PACKAGE if found.layer == "host" and found.target == "modules" and not found.is_lazy])


def test_core_is_pure() -> None:
    assert not listed([found for found in PACKAGE if found.layer == "core" and found.top in IMPURE])


def test_wire_does_no_input_or_output() -> None:
    assert not listed([found for found in PACKAGE if found.layer == "wire" and found.top in IO])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import dspy", [("dspy", False)]),
        ("def f():\n    from dspy.utils import x", [("dspy.utils", True)]),
        ("if TYPE_CHECKING:\n    import dspex_runtime.node.peer", [("dspex_runtime.node.peer", True)]),
        ("from dspex_runtime import errors, Runtime", [("dspex_runtime.errors", False), ("dspex_runtime", False)]),
        ("class A:\n    import time", [("time", False)]),
        ("x = import_module('dspy')", [("dspy", False)]),
        ("import importlib\ny = lambda: importlib.import_module('dspy')", [("importlib", False), ("dspy", True)]),
        ("try:\n    import numpy\nexcept ImportError:\n    pass", [("numpy", False)]),
    ],
)
def test_imports_are_found_at_any_depth(source: str, expected: list[tuple[str, bool]]) -> None:
    assert [(found.module, found.is_lazy) for found in imports_of(source, "x.py", "x")] == expected


@pytest.mark.process
@pytest.mark.parametrize("module", ["dspex_runtime", "dspex_runtime.core.supervisor_machine", "dspex_cli.main"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps([name for name in {LATE!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
