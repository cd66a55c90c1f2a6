"""Every dspex_runtime/x/y.py has its tests in tests/x/test_y.py, or a reason here why it has none."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dspex_runtime"

SKIPPED_NAMES = {"__init__.py", "__main__.py"}  # re-exports and start-up; what they start is tested
EXCEPTIONS = {
    "types.py": "plain values",
    "version.py": "one constant",
    "core/child_spec.py": "plain values",
    "core/events.py": "plain values",
    "core/instructions.py": "plain values",
    "core/operation.py": "plain values",
}


def test_every_file_has_its_tests() -> None:
    missing = [
        f"{path.relative_to(ROOT)} has no {test.relative_to(ROOT)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name not in SKIPPED_NAMES and path.relative_to(PACKAGE).as_posix() not in EXCEPTIONS
        if not (test := ROOT / "tests" / path.relative_to(PACKAGE).parent / f"test_{path.name}").is_file()
    ]
    assert not missing, "\n".join(missing)


def test_every_exception_names_a_file_without_tests() -> None:
    stale = [
        inside
        for inside in EXCEPTIONS
        if not (PACKAGE / inside).is_file() or (ROOT / "tests" / Path(inside).parent / f"test_{Path(inside).name}").is_file()
    ]
    assert not stale
