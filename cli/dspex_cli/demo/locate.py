"""Where the quickstart is, and what it needs. Starts nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

import click

RELATIVE: Final = Path("configs") / "quickstart.yaml"


def quickstart() -> Path:
    """Return the path of configs/quickstart.yaml: below the current directory, else beside the source of this command.

    Raises:
        click.ClickException: It is in neither place, which are named; or the BM25 library it needs is missing.
    """
    places = [Path.cwd() / RELATIVE, Path(__file__).resolve().parents[3] / RELATIVE]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = ", ".join(str(place) for place in dict.fromkeys(places))
        raise click.ClickException(
            f"the demo needs {RELATIVE} of the source tree; looked for {looked}. Run it in a clone, or use --config FILE"
        )
    return found


def check_libraries() -> None:
    """Say what to install before anything is started, rather than through a child's traceback."""
    if importlib.util.find_spec("bm25s") is None:
        raise click.ClickException("the quickstart's retriever needs bm25s: pip install 'dspex-runtime[quickstart]'")
