"""What is public, that it exists, and that having it costs nothing until it is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import dspex_runtime as dx

PACKAGE = Path(dx.__file__).parent
HEAVY = ("asyncio", "cloudpickle", "dspy", "msgpack", "multiprocess", "numpy", "pydantic", "rich", "yaml")
BEHAVIOURS = {"GenServer", "Ignore", "NoReply", "Reply", "Stop", "cancel_timer", "idempotent", "reply", "self_id", "send_after"}
SIGNALS = {"Down", "Exit", "demonitor", "exit", "link", "monitor", "unlink"}
CLIENT = {"Down", "ModuleInfo", "ModuleRef", "Monitor", "Requests", "Runtime", "ServerRef", "aio", "connect"}


def test_every_public_name_exists_and_comes_from_the_package() -> None:
    for name in dx.__all__:
        value = getattr(dx, name)
        assert (value.__name__ if name == "aio" else value.__module__).startswith("dspex_runtime."), name


def test_the_names_of_the_interface_and_all_errors_are_public() -> None:
    from dspex_runtime import errors

    assert set(dx.__all__) >= BEHAVIOURS | SIGNALS | CLIENT | set(errors.__all__)


def test_names_are_unique_and_none_is_private() -> None:
    assert len(dx.__all__) == len(set(dx.__all__))
    assert not [name for name in dx.__all__ if name.startswith("_")]


def test_what_type_checkers_see_is_what_is_exported() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    seen = [
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    ]
    assert sorted(name for name in seen if name) == sorted(dx.__all__)


def test_every_name_a_module_of_the_client_lists_exists() -> None:
    for path in PACKAGE.glob("client/*.py"):
        module = importlib.import_module(f"dspex_runtime.client.{path.stem}" if path.stem != "__init__" else "dspex_runtime.client")
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{module.__name__}.{name}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Runtimes"):
        dx.Runtimes  # noqa: B018


def test_completion_shows_the_lazy_names() -> None:
    assert set(dx.__all__) <= set(dir(dx))


def _loaded_by(statement: str) -> list[str]:
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert _loaded_by("import dspex_runtime") == []


def test_the_client_loads_neither_dspy_nor_asyncio_until_they_are_used() -> None:
    assert _loaded_by("import dspex_runtime as dx; dx.Runtime; dx.GenServer; dx.Reply") == ["msgpack"]
