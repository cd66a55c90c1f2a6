"""The versions of "s" and "m" in the swap torture: files, and each a helper module, put in the place of those before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from helpers.siege import QUICK_END
from helpers.system import FOLDER

LAYOUTS: Final = {"s": ("table", "pairs", "saved"), "m": ("table", "pairs")}
SECOND: Final = 1_700_000_000
BASES: Final = {"s": "Server", "m": "Worker"}
#: How a version can be bad, by what refuses it: the code of the SwapError.
BAD: Final = {
    "syntax": ("start", "def (\n"),
    "import": ("start", "raise RuntimeError('bad at its import')\n"),
    "migration": (
        "migrate",
        "    def code_change(self, old_version, state, extra):\n        raise RuntimeError('bad migration')\n",
    ),
    "unfit": ("verify", "    def fit(self):\n        return False\n    is_fit = fit\n"),
}
TARGET: Final = """
import sys

sys.path.insert(0, {system!r})

import {id}_helper
from programs_swapped import Kept, Place, Server, Worker

import dspex_runtime as dx


class Target({bases}):
    __version__ = {version!r}
    GEN = {gen}
    HELPER = staticmethod(lambda: {id}_helper.GEN)
    PLACE = Place({folder!r}, {id!r})
"""
MIGRATIONS: Final = """
import sys

sys.path.insert(0, {system!r})

from programs_swapped import laid_out


def of_state(old_version, state, extra):
    return laid_out({{**state, "moves": state["moves"] + 1}}, extra)


def of_module(old_version, state, extra):
    params = {{**state["params"], "era": state["params"]["era"] + 1}}
    return {{"params": params, "state": of_state(old_version, state["state"], extra)}}
"""


class Code:
    """The folder of the code that runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.folder = folder / "code"
        self.folder.mkdir(exist_ok=True)
        self._put("migrations.py", MIGRATIONS.format(system=str(FOLDER)))

    def migration(self, id: str) -> str:
        """Return where a function is that takes the place of code_change; it gets the version as `extra`."""
        return f"{self.folder}/migrations.py:{'of_state' if id == 's' else 'of_module'}"

    def spec(self, id: str) -> dict[str, Any]:
        """Return the child."""
        kind = "server" if id == "s" else "module"
        more = {} if id == "s" else {"concurrency": 4}
        return {"id": id, kind: f"{self.folder}/{id}_target.py:Target", **more, **QUICK_END}

    def write(self, id: str, gen: int, layout: str, bad: str | None = None) -> str:
        """Put a version on the disk, of the same time as all others; return its name."""
        version = f"{gen:06}.{layout}"
        bases = f"{'Kept, ' if layout == 'saved' else ''}{BASES[id]}"
        text = TARGET.format(id=id, gen=gen, version=version, bases=bases, system=str(FOLDER), folder=str(self._folder))
        if layout == "pairs" and id == "m":
            text += "    only_pairs = dx.Parameter(int, default=7)\n"
        self._put(f"{id}_helper.py", f"GEN = int('{gen:06}')  # of the same size as all others\n")
        self._put(f"{id}_target.py", text + (BAD[bad][1] if bad else ""))
        return version

    def _put(self, name: str, text: str) -> None:
        made = self.folder / f"{name}.new"
        made.write_text(text)
        os.utime(made, (SECOND, SECOND))
        made.rename(self.folder / name)
