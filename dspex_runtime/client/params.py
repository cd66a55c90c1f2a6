"""`.params`: the parameters of one module, or the runtime's own, as a mapping. Reads shared memory, writes through the module.

A read asks nobody, but for the first of a module and the first of a value over 64 KB. A write goes to the module over the pipe of
calls, past its queue; where none runs, the runtime writes. Owns nothing: the view is the session's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dspex_runtime.client import param_ops, part_params
from dspex_runtime.client.calls import call
from dspex_runtime.client.param_ops import GRADIENT, RESET, ROLLBACK, SET, SET_MANY, is_shared
from dspex_runtime.client.steps import blocking, run
from dspex_runtime.errors import NoProcessError, ParameterNotFoundError
from dspex_runtime.types import Change

if TYPE_CHECKING:
    from dspex_runtime.client.channel_pool import ChannelPool
    from dspex_runtime.client.param_watch import Subscribed, Watch
    from dspex_runtime.client.session import Session
    from dspex_runtime.params.view import View

__all__ = ["Params", "Reader"]


class Reader:
    """What the mappings of threads and of tasks share: where they read, and the read that asks nobody."""

    __slots__ = ("_of_parts", "_view", "id", "session")

    def __init__(self, session: Session, id: str) -> None:
        self.session = session
        self.id = id
        self._view: View | None = None
        self._of_parts: dict[str, tuple[Reader, str]] = {}  # by name here: the part's parameters, and the name there

    def __getitem__(self, name: str) -> Any:
        """Return the value that is published now; never waits for the module.

        Raises:
            ParameterNotFoundError: There is no parameter of that name.
            NoProcessError: There is no such module.

        Cost: 0.1 us for a value that has not changed since it was read; lists and dicts are made anew for each reader.
        """
        view = self._view
        try:
            # What `View.get` does with a value that has not changed, without the call: this is the hot path of every reader.
            slot, word, value = view._quick[name]  # type: ignore[union-attr]
            if view._words[slot] == word:  # type: ignore[union-attr]
                return value
        except (AttributeError, IndexError, KeyError):
            pass  # the first read of this module, or of this name; or the view was closed
        return self._read(name)

    def _read(self, name: str) -> Any:
        part = self._of_parts.get(name)
        if part is not None:
            try:
                return part[0][part[1]]
            except (ParameterNotFoundError, NoProcessError):
                self._of_parts.pop(name, None)  # the module may have it itself by now; another thread may have found that, too
        if self._view is not None:
            try:
                return self._view.get(name)
            except Exception:  # the long way fetches what is missing, or says what is wrong
                self._view = None
        if "." in name and (of := run(param_ops.part_with(self, name))) is not None:
            part = self._of_parts[name] = Reader(self.session, of[0]), of[1]
            return part[0][part[1]]
        found = run(param_ops.value(self, name))
        self._view = self.session.tables.known(self.id)
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.id!r}>"


class Params(Reader, Mapping[str, Any]):
    """The parameters of one module: `params["temperature"]`, `params["temperature"] = 0.2`.

    Iterating, `len` and `in` are over the names there are. Safe to use from many threads.
    """

    __slots__ = ("_pool",)

    def __init__(self, session: Session, id: str) -> None:
        super().__init__(session, id)
        self._pool: ChannelPool | None = None

    # -- reading ----------------------------------------------------------------------------------------------------

    entry = blocking(param_ops.entry)
    version = blocking(param_ops.version)
    names = blocking(param_ops.names)
    versions = blocking(param_ops.versions)
    facts = blocking(param_ops.facts)
    meta = blocking(param_ops.meta)
    history = blocking(param_ops.history)
    at = blocking(param_ops.at)

    def stamp(self) -> tuple[int, int]:
        """Return two numbers that are the same as long as nothing is published, and the module's process is the same one.

        Cost: 1 us.
        """
        view = self._view
        try:
            return view.stamp()  # type: ignore[union-attr]
        except Exception:  # the first time; the view was replaced
            found = run(param_ops.stamp(self))
        self._view = self.session.tables.known(self.id)
        return found

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(self.version(name))
        except ParameterNotFoundError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    # -- writing ----------------------------------------------------------------------------------------------------

    def __setitem__(self, name: str, value: Any) -> None:
        self.set(name, value)

    def set(self, name: str, value: Any, expect: int | None = None) -> int:
        """Set a value and return its version. It is kept, as its durability says, and read by everybody when this returns.

        Args:
            name: Of the parameter.
            value: The new value.
            expect: The version that it is to replace.

        Raises:
            ConstraintViolationError: The value is not allowed; nothing changed. Says constraint, limit and value.
            ParameterNotFoundError: There is no parameter of that name.
            ParameterError: "conflict": it is of another version than expected; or it could not be written.
            ProcessDownError: The module ended meanwhile: read the value to know whether it was set.
        """
        return int(self._write(SET, name, value, expect)[0])

    def update(self, values: Mapping[str, Any]) -> dict[str, int]:
        """Set several values and return their versions. All are checked before the first is set, those of each part anew."""
        return {name: int(told[0]) for name, told in self._write(SET_MANY, dict(values)).items()}

    def apply_gradient(self, name: str, gradient: Any) -> int:
        """Take one step of momentum SGD: grad = momentum * grad + (1 - momentum) * gradient; value -= learning_rate * grad.

        Raises:
            GradientNotRequiredError: The parameter was not declared with requires_grad.
            NoProcessError: The module does not run.
        """
        return int(self._write(GRADIENT, name, gradient)[0])

    def rollback(self, name: str, version: int) -> int:
        """Set the value that the parameter had at a version, one of the last 100; it gets a new version, which is returned."""
        return int(self._write(ROLLBACK, name, version)[0])

    def reset(self, name: str) -> int:
        """Set the declared default; returns the version."""
        return int(self._write(RESET, name)[0])

    def _write(self, method: str, *args: Any) -> Any:
        try:
            return self._write_own(method, *args)
        except ParameterNotFoundError:
            if method == SET_MANY:
                of = run(part_params.by_owner(self.session, self.id, args[0]))
                if of.keys() <= {self.id}:
                    raise
                return {here: each for id, names in of.items() for here, each in self._write_in(id, names, args[0]).items()}
            part = run(part_params.in_part(self.session, self.id, args[0]))
            if part is None:
                raise
        return Params(self.session, part[0])._write_own(method, part[1], *args[1:])

    def _write_in(self, id: str, names: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
        told = Params(self.session, id)._write_own(SET_MANY, {there: values[here] for there, here in names.items()})
        return {names[there]: each for there, each in told.items()}

    def _write_own(self, method: str, *args: Any) -> Any:
        missing: NoProcessError | None = None
        while True:
            if not is_shared(self.id):
                pool = self._pool
                if pool is None:
                    pool = self._pool = self.session.pool(self.id)
                try:
                    return call(pool, method, args, {}, None)
                except NoProcessError as exc:
                    missing = exc
            if (told := run(param_ops.kept(self, method, args, missing))) is not None:
                return told

    # -- changes ----------------------------------------------------------------------------------------------------

    def subscribe(self, pattern: str, callback: Callable[[Change], Any]) -> Subscribed:
        """Call a function with every `dx.Change` of a parameter from now on, on a thread of its own, in version order.

        One that is slow gets the latest value and a count of those it missed, and slows nobody down. It goes on over restarts of
        the module. What the function raises is logged.

        Args:
            pattern: A name, or a pattern of names: "retriever.*".
            callback: Takes the change.

        Returns:
            A handle; `close()` it, or use it in a `with` block.

        Raises:
            ParameterNotFoundError: A name that is no pattern, and no parameter of the module.
        """
        from dspex_runtime.client.param_watch import Subscribed

        return Subscribed(self.watch(pattern), callback)

    def watch(self, pattern: str = "*") -> Watch:
        """Return an iterator over the changes of a parameter from now on; see `subscribe`. Ends with the runtime, or `close()`."""
        from dspex_runtime.client.param_watch import Watch
        from dspex_runtime.client.patterns import known

        run(known(self, pattern))
        id, pattern = run(part_params.pattern_of_part(self.session, self.id, pattern))
        return Watch(self.session, pattern, id)
