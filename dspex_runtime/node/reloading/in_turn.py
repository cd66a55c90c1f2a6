"""Several things that each take a callback, one after the other, to the first that fails. Pure control flow: no loop, no stack."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from dspex_runtime.errors import DspexError

__all__ = ["Action", "Done", "in_turn"]

Done: TypeAlias = Callable[[DspexError | None], None]
Action: TypeAlias = Callable[[Done], None]


def in_turn(actions: Iterable[Action], done: Done) -> None:
    """Carry out actions, each when the one before has said that it is through; `done` gets the first error, or None.

    The next one is taken from the iterable when its turn comes, so a generator can decide by what has happened. An action that
    raises a DspexError has failed with it. However many answer at once, the stack does not grow.
    """
    waiting = iter(actions)
    runs = False
    ready = True

    def answered(error: DspexError | None) -> None:
        nonlocal ready
        if error is not None:
            done(error)
            return
        ready = True
        if not runs:
            run()

    def run() -> None:
        nonlocal runs, ready
        runs = True
        try:
            while ready:
                ready = False
                try:
                    action = next(waiting, None)
                    if action is not None:
                        action(_once(answered))
                except DspexError as exc:
                    done(exc)
                    return
                if action is None:
                    done(None)
                    return
        finally:
            runs = False

    run()


def _once(done: Done) -> Done:
    """Return it for one use: what an action says after it has failed is nothing any more."""
    used = False

    def answer(error: DspexError | None) -> None:
        nonlocal used
        if not used:
            used = True
            done(error)

    return answer
