"""A swap of one hosted process to another version, with the test as the parent and keeper of both."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import cloudpickle

from helpers.hosted_process import HostedProcess


class Swap:
    """The steps of a swap, each by itself."""

    def __init__(self, fork: Any, old: HostedProcess, found: Any, *args: Any, **options: Any) -> None:
        """Start the new version beside the old one."""
        self.old, self.new = old, fork()
        facts = self.new.start(found, *args, rehearsal=True, journal=str(old.folder / "journal"), **options)
        self.version = facts["version"]

    def image(self, **how: Any) -> int:
        """Return a snapshot of the old one."""
        self.old.ask("checkpoint", kind="before_swap", **how)
        return self.old.control.take_fd()

    def rehearse(self, old_version: Any = "1", *, migrate: Any = None, extra: Any = None, verify: Any = None, **how: Any) -> Any:
        """Rehearse on a snapshot; functions and values are pickled here."""
        fd = self.image(**how)
        try:
            return self.new.ask(
                "rehearse",
                fd,
                old_version=old_version,
                migrate=None if migrate is None else cloudpickle.dumps(migrate),
                extra=None if extra is None else cloudpickle.dumps(extra),
                verify={"pickled": cloudpickle.dumps(verify)} if callable(verify) else verify,
            )
        finally:
            os.close(fd)

    def hold(self) -> None:
        assert self.old.ask("hold", drain_s=20.0)["running"] == 0

    def move(self, **how: Any) -> Any:
        """Have the old one packed; return what the new one says."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            packing = self.old.begin("pack", ours.fileno(), **{"down": None, "has_down": False, "extra": None, **how})
            preparing = self.new.begin("prepare", theirs.fileno())
        self.old.answer(packing)
        return self.new.answer(preparing)

    def commit(self) -> dict[str, int]:
        """Let the new one serve; return what the migration changed."""
        serving = self.new.begin("serve", base={})
        self.old.tell("leave", reason=["shutdown", "swapped"])
        versions: dict[str, int] = self.new.answer(serving)["versions"]
        return versions

    def whole(self, *args: Any, **how: Any) -> dict[str, int]:
        """Do all of it."""
        self.rehearse(*args, **how)
        self.hold()
        self.move(**{key: value for key, value in how.items() if key in ("down", "has_down")})
        return self.commit()


def segments(process: HostedProcess) -> list[Path]:
    """Return the files of a process's journal."""
    return sorted((process.folder / "journal").glob("*.journal"))
