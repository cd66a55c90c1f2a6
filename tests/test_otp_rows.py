"""Every rule of OTP that this project follows is traceable to a test, and every difference of the README's table too.

The rules are in tests/conformance/otp_rows, one file per section. Nothing is imported: files are read and parsed.

    id          section, and what it is about
    rule        what OTP does, and in the same sentence what is done here where that is not word for word the same
    tests       who shows it, as pytest names them
    differs     first column of the README's table, where we differ on purpose; the tests show what we do
    no_meaning  in place of tests: why there is nothing of the kind here
"""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "conformance" / "otp_rows"

# Supervisors are 1.x, servers 2.x. Numbers, so that none can be dropped without a word.
ROWS: Final = {
    "1.1": 17,  # flags and specs
    "1.2": 10,  # what a child's end leads to
    "1.3": 15,  # strategies
    "1.4": 11,  # the restart window
    "1.5": 10,  # giving up
    "1.6": 17,  # a restart whose start fails
    "1.7": 29,  # answers
    "1.8": 14,  # terminating
    "1.9": 11,  # auto_shutdown
    "1.11": 14,  # dynamic supervisors
    "2.1": 11,  # starts
    "2.2": 10,  # calls
    "2.3": 17,  # what callbacks return
    "2.4": 15,  # terminate
    "2.5": 6,  # stop
    "2.6": 14,  # requests
    "2.7": 16,  # signals, links, monitors
    "2.8": 18,  # the registry
    "2.10": 14,  # system messages
    "2.11": 9,  # reports
}
TABLE: Final = "## Where this differs from OTP"


@cache
def rows() -> tuple[dict[str, Any], ...]:
    """Return all rows, in the order of the sections."""
    return tuple(row for section in ROWS for row in tomllib.loads((FOLDER / f"{section}.toml").read_text())["row"])


@cache
def differences() -> tuple[str, ...]:
    """Return the first column of the README's table."""
    text = (ROOT / "README.md").read_text()
    lines = text.partition(f"{TABLE}\n")[2].strip().split("\n\n")[0].splitlines()
    return tuple(line.split("|")[1].strip() for line in lines[2:])


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the tests of a file as pytest names them, without parameters."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=cls, body=body):
                found |= {f"{cls}::{each.name}" for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
            case ast.Assign(targets=[ast.Name(id=name)]):  # a Hypothesis machine's TestCase
                found.add(name)
            case _:
                pass
    return frozenset(name for name in found if name.rpartition("::")[2].startswith(("test_", "Test")))


def test_no_section_and_no_row_is_missing() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(ROWS)
    counts = {section: sum(row["id"].startswith((f"{section}/", f"{section}.")) for row in rows()) for section in ROWS}
    assert counts == ROWS
    assert sum(ROWS.values()) == len(rows())


def test_ids_are_unique() -> None:
    ids = [row["id"] for row in rows()]
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["id"])
def test_a_row_says_its_rule_and_who_shows_it(row: dict[str, Any]) -> None:
    assert row["rule"].endswith(".")
    match row:
        case {"no_meaning": why, **others}:
            assert others.keys() == {"id", "rule"}
            assert why.endswith(".")
        case {"tests": tests, **others}:
            assert others.keys() <= {"id", "rule", "differs"}
            assert tests, "no test shows it"
            assert len(tests) == len(set(tests))
        case _:
            pytest.fail("no test shows it")


def test_every_test_that_a_row_names_exists() -> None:
    missing = [
        f"{row['id']}: {test}"
        for row in rows()
        for test in row.get("tests", ())
        if not (path := ROOT / test.partition("::")[0]).is_file() or test.partition("::")[2] not in names_in(path)
    ]
    assert not missing, "\n".join(missing)


def test_the_table_of_the_readme_was_found_and_its_rows_can_be_told_apart() -> None:
    assert differences()
    assert len(differences()) == len(set(differences()))


@pytest.mark.parametrize("difference", differences())
def test_every_difference_has_a_row_with_a_test_of_what_we_do(difference: str) -> None:
    assert [row["id"] for row in rows() if row.get("differs") == difference and row["tests"]]


@pytest.mark.parametrize("row", [row for row in rows() if "differs" in row], ids=lambda row: row["id"])
def test_every_row_that_differs_is_in_the_table(row: dict[str, Any]) -> None:
    assert row["differs"] in differences()
