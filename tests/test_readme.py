"""The README's examples, copied out, run as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILES = {
    match[2].splitlines()[0].removeprefix("# "): match[2] for match in BLOCK.finditer(README) if match[1] in ("python", "yaml")
}
COMMANDS = [
    line.removeprefix("$ ").replace(".venv/bin/dspex", "dspex")
    for match in BLOCK.finditer(README)
    if match[1] == "console"
    for line in match[2].splitlines()
    if line.startswith("$ .venv/bin/dspex")
]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DSPEX_RUNTIME_DIR": str(tmp_path / "run")}


def run(command: str, env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(["bash", "-c", command], env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("program.py", "Tokyo ['respond.predict'] 1 Tokyo"),
        ("counter.py", "42 40"),
        ("thermostat.py", "23.0 24.0 22.5"),
        ("stock.py", "2 42 verify 2 42 ['1', '2', '1']"),
        ("library.py", "A Book of Cats, Cats and Dogs A Book of Cats nobody here who knows A Book of Cats Cats and Dogs"),
    ],
)
def test_the_python_examples_print_what_their_comments_say(tmp_path: Path, env: dict[str, str], name: str, printed: str) -> None:
    (tmp_path / name).write_text(FILES[name])
    assert run(f"{sys.executable} {name}", env, tmp_path).split() == printed.split()


@pytest.mark.process
def test_the_yaml_example_comes_up_and_goes_down(tmp_path: Path, env: dict[str, str]) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    run("dspex validate shop.yaml", env, tmp_path)
    run("dspex up shop.yaml -d", env, tmp_path)
    try:
        assert "counters" in run("dspex tree", env, tmp_path)
    finally:
        run("dspex down", env, tmp_path)


@pytest.mark.process
def test_the_commands_run_one_after_the_other(env: dict[str, str]) -> None:
    try:
        printed = {command: run(command, env, ROOT) for command in COMMANDS}
    finally:
        subprocess.run([BIN / "dspex", "down"], env=env, capture_output=True, timeout=60, check=False)
    asked = next(text for command, text in printed.items() if "groupby" in text and command.startswith("dspex call"))
    assert "itertools.groupby" in asked
