"""What is where in a state directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from dspex_runtime.state.layout import NAME, holds_state, id_of, journal_directory


@pytest.mark.parametrize("id", ["a", "sup/sub/a", "workers/w#12", "$shared"])
def test_the_directory_of_an_id_is_found_back(id: str) -> None:
    path = journal_directory(Path("/state"), id)
    assert path.parent == Path("/state/journals")
    assert id_of(path.name) == id


def test_a_directory_that_a_runtime_never_wrote_to_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "journals").mkdir()
    (tmp_path / "journals" / ".dropped-1-0").mkdir()
    assert not holds_state(tmp_path)
    assert not holds_state(tmp_path / "nothing")


@pytest.mark.parametrize("what", [NAME, "journals/a"])
def test_a_database_or_a_journal_is_something(tmp_path: Path, what: str) -> None:
    (tmp_path / what).mkdir(parents=True)
    assert holds_state(tmp_path)
