"""Staying in step with one hosted program: fetched at first need, fetched again when others change it, and edits are sent.

Owns what is known of the process's program: its parts, the versions of its parameters, and which of them were changed here since. A
look at an unchanged program asks nobody: it compares two words of the shared table.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from threading import get_ident
from time import monotonic
from typing import Any, Final, Protocol

from dspex_runtime.errors import DspexError, NoProcessError, ParameterError, ParameterNotFoundError, ProcessDownError
from dspex_runtime.modules.mirror import lms as mirror_lms
from dspex_runtime.modules.mirror.changes import Edit, Edits
from dspex_runtime.modules.mirror.classes import renew
from dspex_runtime.modules.mirror.following import unfollowed
from dspex_runtime.modules.mirror.tree import Marks, Tree
from dspex_runtime.modules.mirror.writer import MirrorWriter
from dspex_runtime.modules.parts import ROOT, parameter_name

MIRROR: Final = "$mirror"
EDIT: Final = "$edit"
_NO_TABLE: Final = (0, 0)  # stamp of a module without parameters
NO_TABLE_FOR_S: Final = 1.0  # after that it is asked whether its program is another one: no table would tell


class Params(Protocol):
    """What a mirror reads of a module's parameters: `ref.params`."""

    def stamp(self) -> tuple[int, int]:
        """Return the incarnation that writes, and a number that grows with everything published."""
        ...

    def versions(self) -> dict[str, int]:
        """Return the published versions."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what the module keeps beside its parameters."""
        ...


class InStep:
    """What one proxy shows of its program. Safe to use from many threads.

    Args:
        root: The proxy.
        attributes: The proxy's own attributes, kept up to date here.
        ref: The reference to the process.
        class_of: Gives the class of the proxy for what the program is (see `mirror.image.kind_of`) and the name of its class.

    Attributes:
        attributes: As given.
        loaded: There is something to be in step with.
        cls: The class that the proxy is to have.
        lm: Stands for the one that the process is configured with; None for none.
        ref: As given.
        in_step: This is what the process has, or will have; a copy is not.
    """

    def __init__(self, root: Any, attributes: dict[str, Any], ref: Any, class_of: Callable[[str, str], type]) -> None:
        self.attributes = attributes
        self.loaded = False
        self.in_step = True
        self.lm: Any = None
        self.cls = type(root)
        self.ref = ref
        self._class_of = class_of
        self._lock = threading.RLock()
        self._pushing = threading.Lock()
        self._inside: int | None = None  # the thread that is at work here
        self._writer = MirrorWriter(ref, lambda name: self._tree.parts[name])
        self._tree = Tree(root, attributes, self._writer, ref)
        self._edits = Edits(root, self._tree)
        self._stamp: tuple[int, int] | None = None
        self._versions: dict[str, int] = {}  # that the parts here are of
        self._seen: dict[str, int] = {}  # that were published at the last look
        self._edits_seen = 0
        self._process: int | None = None  # in which the program was seen
        self._ask_process_at = 0.0
        self._outdated = False
        self._sending = False

    @property
    def at_work(self) -> bool:
        """Whether this very thread is bringing the mirror up to date."""
        return self._inside == get_ident()

    def sync(self) -> None:
        """Fetch the program at the first need, and again when somebody else changed it. Edits made here stay.

        Raises:
            NoProcessError: Nothing was fetched yet, and the module does not run.

        Cost: 2 us where nothing changed.
        """
        if not self.in_step or self.at_work:
            return
        stamp = self._now()
        if self.loaded and stamp == self._stamp and not self._outdated:
            return
        with self.working():
            if not self.loaded or stamp != self._stamp or self._outdated:
                self._refresh(stamp)

    def outdated(self) -> None:
        """Look at the whole program at the next look: it is another one, or the same one with other code. Waits for nobody."""
        self._outdated = True

    def push(self) -> None:
        """Send what was changed here, as a whole or not at all. Where there is nothing that costs a microsecond a part.

        Raises:
            ParameterError: "conflict": somebody else changed one of these predictors since it was read here; names both versions.
                Nothing was changed in the process; the mirror shows what is there, without the edit.
            ConstraintViolationError: A value is refused; likewise.
            UnserialisableError: A value cannot be sent.
        """
        if not self.has_edits:
            return
        with self._pushing:  # and not at work: the process may be at a call that wants to know a part's name
            with self.working():
                pending = self._edits.pending()
                edit = self._edits.of(pending, self._versions)
                before = self._tree.marked(edit, self._edits.parts())
                self._edits.take(pending)
                self._sending = True
            try:
                self._send(edit, pending, before)
            finally:
                self._sending = False

    def _send(self, edit: Edit, pending: set[str], before: Marks) -> None:
        if not any(edit.values()):  # callbacks and the like, which stay here
            return
        try:
            told = self.ref.call(EDIT, edit)
        except ParameterError as exc:
            self._give_up(pending, exc)
            raise
        except BaseException:
            with self.working():
                self._tree.unmark(before)
                self._edits.note(pending)
            raise
        with self.working():
            self._pushed(edit, told)

    @property
    def has_edits(self) -> bool:
        """Whether there is something to push."""
        return self.in_step and self.loaded and not self._edits.untouched()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the mirror: within this nobody else changes it, and looking at it does not ask the process."""
        with self._lock, unfollowed():  # a proxy of another program among the parts is none of this one's
            before, self._inside = self._inside, get_ident()
            try:
                yield
            finally:
                self._inside = before

    def _now(self) -> tuple[int, int] | None:
        """Return the stamp of what is published now."""
        if self._stamp == _NO_TABLE and not self._outdated:
            if monotonic() < self._ask_process_at:
                return _NO_TABLE
            self._ask_process_at = monotonic() + NO_TABLE_FOR_S
            if not self._is_another():
                return _NO_TABLE
            self._outdated = True
        try:
            found: tuple[int, int] = self.ref.params.stamp()
        except ParameterNotFoundError:
            return _NO_TABLE
        except DspexError:
            if not self.loaded:
                raise
            return self._stamp
        return found

    def _is_another(self) -> bool:
        """Return whether the program runs in another process by now: a swap keeps the incarnation, and may leave all values be."""
        try:
            pid = self.ref.info().pid
        except DspexError:
            return False
        return pid not in (None, self._process)

    def _refresh(self, stamp: tuple[int, int] | None) -> None:
        if self._sending:  # what the process has is just becoming what is here
            return
        outdated, self._outdated = self._outdated, False
        if not outdated and self.loaded and self._stamp and stamp and stamp[0] == self._stamp[0] and self._is_as_known():
            self._stamp = stamp
            return
        try:
            self._take(self._ask())
        except NoProcessError:
            self._outdated |= outdated
            if not self.loaded:
                raise
            return  # stopped: what was read last is the best there is
        except (ImportError, AttributeError):  # a class of the user's that is in a file of the process
            self._take(self._ask(by_value=True))
        self._stamp = stamp
        self._ask_process_at = monotonic() + NO_TABLE_FOR_S

    def _ask(self, **how: bool) -> dict[str, Any]:
        try:
            image: dict[str, Any] = self.ref.call(MIRROR, **how)
        except NoProcessError:
            raise
        except ProcessDownError:  # while it was at it: the next one shows what this one would have
            image = self.ref.call(MIRROR, **how)
        return image

    def _is_as_known(self) -> bool:
        """Return whether what is published is what was seen last: of one's own push nothing new is learned."""
        try:
            params = self.ref.params
            if params.versions() != self._seen or params.facts().get("edits", 0) != self._edits_seen:
                return False
        except DspexError:
            return False
        return not self._is_another()

    def _take(self, image: dict[str, Any], *, anew: Container[str] = ()) -> None:
        """Become what an image says, but for edits that were not sent yet: those keep the version that they were made of."""
        pending = {name for name in self._edits.pending() if name not in anew} if self.loaded else set()
        self._tree.take(image["objects"], edited=pending, anew=anew)
        self.cls = self._class_of(self._tree.kind(ROOT), self._tree.label(ROOT))
        old, self._seen = self._versions, dict(image["versions"])
        kept = {name: old[name] for name in map(parameter_name, pending) if name in old and name in self._seen}
        self._versions = self._seen | kept
        self._edits_seen = image["edits"]
        if self._process not in (None, image["process"]):
            renew(self.ref)
        self._process = image["process"]
        self.lm = mirror_lms.unpack(image["lm"]) if image["lm"] is not None else None
        if not self.loaded:
            self.ref.track(self)
        self.loaded = True
        self._edits.take(name for name in self._tree.parts if name not in pending)

    def _pushed(self, edit: Edit, told: dict[str, Any]) -> None:
        for name in map(parameter_name, (*edit["parts"], *edit["cells"])):
            if name in told["versions"]:
                self._versions[name] = self._seen[name] = told["versions"][name]
        if told["edits"] == self._edits_seen + 1:
            self._edits_seen = told["edits"]
        if edit["replaced"]:
            self._stamp = None  # what is in there has versions that only another look tells

    def _give_up(self, pending: set[str], exc: ParameterError) -> None:
        """Show what the process has in place of an edit that it refused."""
        exc.hint = "the proxy shows again what its process has; edit that, if the edit is still wanted"
        if exc.code == "conflict":
            exc.message = f"{exc.message}; {exc.hint}"
            exc.args = (exc.message,)
        with self.working():
            try:
                self._take(self._ask(), anew=pending)
            except DspexError:
                self._edits.note(pending)
