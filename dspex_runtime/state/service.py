"""What the keeper does with its disk, one request after the other on a thread of its own. What needs no disk: `vault`.

A disk that is full or read-only, a file that is damaged or of a later version is an alarm; what is owed is tried again, and nothing
of it reaches a module. The operations are `protocol`'s, one method each.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from dspex_runtime.errors import CheckpointError, ParameterError, StartError
from dspex_runtime.state.access import Access
from dspex_runtime.state.checkpoint_service import Answer, Args, CheckpointService, operations_of
from dspex_runtime.state.debts import Debts
from dspex_runtime.state.files import JournalFiles, discard_state
from dspex_runtime.state.folding import fold
from dspex_runtime.state.health import Health
from dspex_runtime.state.layout import NAME
from dspex_runtime.state.loading import Loader
from dspex_runtime.state.past import merged, shown, volatile_versions
from dspex_runtime.state.store import Store, unpacked
from dspex_runtime.state.vault import Vault
from dspex_runtime.wire.codec import Codec

__all__ = ["Answer", "Args", "Service"]

log = logging.getLogger(__name__)

RETRY_S: Final = 2.0  # what the disk did not take is tried again after so long


class Service:
    """See the module docstring. Every method belongs to the disk thread."""

    def __init__(self, vault: Vault, health: Health) -> None:
        self._vault = vault
        self._health = health
        self._codec = Codec()
        self._debts = Debts()
        self._files = JournalFiles(Path())
        self._access = Access(health, self._rescued)
        self._loader = Loader(self._access, vault, health)
        self._operations = operations_of(self) | operations_of(CheckpointService(self._access, vault, health))

    def handle(self, op: str, args: Args, fds: list[int]) -> Answer:
        """Carry out one operation. Descriptors that come in stay the caller's.

        Raises:
            DspexError: It cannot be done; what there was before is whole.
        """
        operation = self._operations.get(op)
        if operation is None:
            raise CheckpointError(f"the keeper has no operation {op!r}")
        return operation(args, fds)

    def settle(self) -> float | None:
        """Write some of what is owed; return in how many seconds there is more to do, None: nothing is owed any more."""
        _ = self._access.is_in_place  # tells
        if not self._debts or self._access.refused:
            return None
        if not self._pay():
            return RETRY_S
        return 0.0 if self._debts else None

    def _pay(self) -> bool:
        """Write some of what is owed; False when the disk does not take it."""
        if not self._access.is_writable:
            return False
        try:
            self._access.run(lambda store, _: self._debts.pay(store, partial(self._fold, store)))
        except CheckpointError:
            return False  # its health was told
        except OSError as exc:
            self._access.failed(exc)
            return False
        except Exception as exc:  # a fault of ours, or of what is stored: the next try may fare better, and others must not wait
            log.exception("what is owed could not be written")
            self._access.failed(exc)
            return False
        self._health.well()
        return True

    def _pay_all(self) -> None:
        while self._debts and self._pay():
            pass

    def _fold(self, store: Store, id: str) -> None:
        try:
            position = fold(store, id, self._files.path(id), lambda text: self._health.report(text, id))
        except ParameterError as exc:  # of a later version: left alone
            self._health.report(str(exc), id)
            return
        try:
            self._loader.keep_specs(store, id)
        except sqlite3.Error:
            raise
        except Exception as exc:  # the values are in
            log.exception("specs of %s", id)
            self._health.report(f"the specs of {id!r} cannot be kept: {exc}", id)
        self._files.trim(id, position)

    def _folded(self, id: str) -> None:
        """Have all that an id's journal says by now in the store, as far as that works."""
        self._debts.fold(id)
        self._pay_all()

    def _rescued(self) -> None:
        for id in self._files.ids():
            self._debts.fold(id)

    # -- from open to close -----------------------------------------------------------------------------------------

    def op_open(self, args: Args, _fds: list[int]) -> Answer:
        """Open the store and take in every journal; answer what is known. The first keeper refuses one that cannot be read."""
        state_dir = Path(args["state_dir"])
        if args.get("fresh"):
            _discard(state_dir)
        self._files = JournalFiles(state_dir)
        self._access.path = state_dir / NAME
        if not args.get("again"):
            self._access.check_read()
        journals = self._files.ids()
        for id in journals:
            self._debts.fold(id)
        self._pay_all()
        if not self._access.is_open:
            return {"ids": {}, "kept": journals}, []
        known, kept = self._access.run(lambda store, _: ({id: _noted(store, id) for id in store.ids()}, store.ids_with_state()))
        unfolded = journals if self._debts else []
        self._vault.unread.update(kept)
        return {"ids": known, "kept": sorted({*kept, *unfolded})}, []

    def op_close(self, _args: Args, _fds: list[int]) -> Answer:
        """Take in every journal and close the store. Nobody writes any more."""
        try:
            self._take_in_all()
        except Exception:
            log.exception("%s: not everything was taken in; it stays in the journals", self._access.path)
        finally:
            self._access.close()
        return None, []

    def _take_in_all(self) -> None:
        for id in self._files.ids():
            self._debts.fold(id)
        self._pay_all()
        if self._debts:
            log.error("%s: not everything was taken in (%s); it stays in the journals", self._access.path, self._health.trouble)
        elif self._access.is_open:
            for id in self._files.ids():
                self._files.empty(id, self._access.run(partial(_folded, id)))

    # -- what is told -----------------------------------------------------------------------------------------------

    def op_note(self, args: Args, _fds: list[int]) -> Answer:
        """Keep facts of the parent."""
        self._debts.note(args["id"], args["facts"])
        return None, []

    def op_configured(self, args: Args, _fds: list[int]) -> Answer:
        """Keep the configuration's values."""
        self._debts.configure(args["id"], args["data"])
        return None, []

    def op_ended(self, args: Args, _fds: list[int]) -> Answer:
        """Keep why an incarnation ended, and take in its journal."""
        self._debts.note(args["id"], args["facts"])
        self._debts.fold(args["id"])
        return None, []

    def op_fold(self, args: Args, _fds: list[int]) -> Answer:
        """Take in a journal."""
        self._debts.fold(args["id"])
        return None, []

    def op_events(self, args: Args, _fds: list[int]) -> Answer:
        """Keep events."""
        self._debts.events(args["records"])
        return None, []

    def op_drop(self, args: Args, _fds: list[int]) -> Answer:
        """Forget all of an id."""
        id = args["id"]
        self._debts.drop(id)
        self._files.discard(id)
        if self._access.is_open:
            self._access.run(lambda store, _: _in_transaction(store, lambda: store.drop(id)))
        return None, []

    # -- what is asked ----------------------------------------------------------------------------------------------

    def op_give(self, args: Args, _fds: list[int]) -> Answer:
        """Read what the store has for the next incarnation of an id into the vault, and give it from there."""
        self._loader.load(args["id"])
        return self._vault.lend(args["id"])

    def op_history(self, args: Args, _fds: list[int]) -> Answer:
        """The last versions of a parameter."""
        n = int(args.get("n", 100))
        if n < 1:
            raise ParameterError(f"a history has its last n versions, and n is 1 or more; got {n}", id=args["id"])
        return shown(self._versions(args["id"], args["name"], n + 1), n), []

    def _versions(self, id: str, name: str, n: int) -> list[Any]:
        self._folded(id)
        if self._debts.owes_fold(id):  # the newest versions would be missing, as if they had never been
            raise CheckpointError(
                f"what {name!r} of {id!r} was cannot be had now: {self._health.trouble or 'the store is busy'}", id=id
            )
        stored = self._access.run(lambda store, _: store.history(id, name, n))
        fd = self._vault.volatile(id)
        versions = merged(stored, [] if fd is None else volatile_versions(fd, name), n)
        shown_now = self._loader.published(id, name, versions[0].version if versions else 0)
        return merged(versions, shown_now, n) if shown_now else versions

    def op_value_at(self, args: Args, _fds: list[int]) -> Answer:
        """A value of the past; None: it is not kept."""
        found = [each for each in self._versions(args["id"], args["name"], 1000) if each.version == args["version"]]
        return (found[0].data if found and not found[0].removed else None), []

    def op_executions(self, args: Args, _fds: list[int]) -> Answer:
        """The last calls of a module that does not run."""
        self._folded(args["id"])
        return self._access.run(lambda store, _: store.executions(args["id"], int(args["n"]))), []

    def op_metrics(self, args: Args, _fds: list[int]) -> Answer:
        """The figures of a module over all its incarnations."""
        self._folded(args["id"])
        return self._access.run(lambda store, _: _noted(store, args["id"]).get("metrics") or {}), []

    def op_past_events(self, args: Args, _fds: list[int]) -> Answer:
        """The last events, of earlier runtimes, too."""
        self._pay_all()
        return self._access.run(lambda store, _: [unpacked(body) for body in store.events(int(args["n"]))]), []

    def op_read(self, args: Args, _fds: list[int]) -> Answer:
        """Have in the vault what the store has of an id; answer the specs of its parameters."""
        id = args["id"]
        self._loader.load(id)
        if not self._access.is_open:
            return {}, []
        return self._access.run(lambda store, _: {name: each.meta for name, each in store.parameters(id).items() if each.meta}), []

    def encoded(self, given: dict[str, Any]) -> dict[str, bytes]:
        """Return configured values as they are kept."""
        from dspex_runtime.params import values

        return {name: bytes(values.encode(self._codec, value)) for name, value in given.items()}


def _discard(state_dir: Path) -> None:
    try:
        discard_state(state_dir)
    except OSError as exc:
        raise StartError(f"{state_dir} cannot be discarded: {exc}", hint="remove it, or name another state_dir") from exc


def _folded(id: str, store: Store, _rows: object) -> int:
    return store.folded(id)


def _noted(store: Store, id: str) -> dict[str, Any]:
    """What the parent shows of an id: what it noted itself, with the larger figures of its own and the module's."""
    noted, metrics = store.noted(id), store.facts(id).get("metrics") or {}
    if metrics and metrics.get("calls", 0) >= (noted.get("metrics") or {}).get("calls", 0):
        noted["metrics"] = metrics
    return noted


def _in_transaction(store: Store, function: Callable[[], None]) -> None:
    with store.writing():
        function()
