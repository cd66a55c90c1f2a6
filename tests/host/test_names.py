"""Names and locks inside a module process: what is asked of the runtime, and that no lock is left behind by who did not get it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dspex_runtime.errors import CallTimeoutError, ConfigError, DspexError, RegistryError, RuntimeUnreachableError
from dspex_runtime.host import names
from dspex_runtime.host.context import CallCancelledError


class Parent:
    """Plays the runtime: keeps what it is asked, answers as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[Any] = []

    def answer(self, op: str, args: dict[str, Any]) -> Any:
        self.asked.append((op, args))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def ask(self, op: str, args: dict[str, Any], *limits: Any, **options: Any) -> Any:
        return self.answer(op, args)

    async def aask(self, op: str, args: dict[str, Any], **options: Any) -> Any:
        return self.answer(op, args)

    @property
    def ops(self) -> list[str]:
        return [op for op, _ in self.asked]


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    parent = Parent()
    monkeypatch.setattr(names, "ask", parent.ask)
    monkeypatch.setattr(names, "aask", parent.aask)
    monkeypatch.setattr(names, "uplink", lambda: parent)
    monkeypatch.setattr(names, "self_id", lambda: "me")
    yield parent
    assert parent.answers == []


def test_register_speaks_for_this_process(parent: Parent) -> None:
    names.register(("k", 1), [2], unique=False)
    assert parent.asked == [("register", {"key": ("k", 1), "value": [2], "unique": False})]


def test_unregister_with_match_says_so_also_for_none(parent: Parent) -> None:
    parent.answers = [2, 1]
    assert (names.unregister("k"), names.unregister("k", None)) == (2, 1)
    assert parent.asked == [("unregister", {"key": "k"}), ("unregister", {"key": "k", "match": None})]


@pytest.mark.parametrize("function", [names.register, names.unregister, lambda key: names.update_value(key, str), names.lock])
def test_what_is_no_key_is_refused_here(parent: Parent, function: Any) -> None:
    with pytest.raises(ConfigError, match="a key is a str"):
        function([])
    assert parent.asked == []


class TestUpdateValue:
    """Made from the value that is there."""

    def test_is_tried_again_when_the_value_has_changed_meanwhile(self, parent: Parent) -> None:
        entry = {"id": "me", "unique": True, "revision": 3, "value": 5}
        parent.answers = [[entry], False, [{**entry, "revision": 4, "value": 6}], True]
        assert names.update_value("k", lambda value: value + 1) == (7, 6)
        assert [args["revision"] for op, args in parent.asked if op == "update_value"] == [3, 4]

    @pytest.mark.parametrize(
        "found", [[], [{"id": "other", "unique": True, "value": 1}], [{"id": "me", "unique": False, "value": 1}]]
    )
    def test_of_what_this_process_does_not_hold_alone_is_the_runtimes_to_refuse(self, parent: Parent, found: Any) -> None:
        parent.answers = [found, RegistryError("not_registered", "no")]
        with pytest.raises(RegistryError):
            names.update_value("k", lambda _: pytest.fail("there is nothing to make a value from"))


class TestLock:
    """Entered when granted, left in any case; nothing is held by who gave up."""

    def test_is_released_when_the_block_raises(self, parent: Parent) -> None:
        with pytest.raises(ValueError, match="no"), names.lock("k", 5):
            raise ValueError("no")
        (_, asked), (_, unlocked) = parent.asked
        assert parent.ops == ["lock", "unlock"]
        assert asked["timeout"] == 5
        assert asked["token"] == unlocked["token"]

    GIVEN_UP = (CallTimeoutError("late"), KeyboardInterrupt(), SystemExit())
    REFUSED = (RegistryError("already_locked", "no"), DspexError("no"), CallCancelledError())

    @pytest.mark.parametrize("error", [*GIVEN_UP, *REFUSED], ids=lambda error: type(error).__name__)
    def test_a_wait_that_was_given_up_is_taken_back_and_a_refusal_is_not(self, parent: Parent, error: BaseException) -> None:
        # Granted in the moment it was given up, it would be held by nobody; refused, it is held further out, and stays so.
        parent.answers = [error]
        with pytest.raises(type(error)), names.lock("k"):
            pytest.fail("not entered")
        assert parent.ops == ["lock", "unlock"] if error in self.GIVEN_UP else ["lock"]

    @pytest.mark.parametrize("error", [CallTimeoutError("late"), RuntimeUnreachableError("gone")])
    def test_leaving_fails_for_nobody(self, parent: Parent, error: Exception) -> None:
        parent.answers = [None, error]
        with names.lock("k"):
            pass

    def test_left_on_another_thread_or_task_it_is_released_all_the_same(self, parent: Parent) -> None:
        # By a token that holds nothing it would be released for nobody, and be held until the process ends.
        on_threads, in_tasks = names.lock("k"), names.lock("l")

        async def left_by_another_task() -> None:
            await in_tasks.__aenter__()
            await asyncio.create_task(in_tasks.__aexit__(None, None, None))

        on_threads.__enter__()
        thread = threading.Thread(target=on_threads.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
        asyncio.run(left_by_another_task())
        assert parent.ops == ["lock", "unlock"] * 2
        tokens = [args["token"] for _, args in parent.asked]
        assert (tokens[0], tokens[2]) == (tokens[1], tokens[3])

    def test_not_entered_it_cannot_be_left(self, parent: Parent) -> None:
        with pytest.raises(RegistryError, match="was left without having been entered") as caught:
            names.lock("k").__exit__(None, None, None)
        assert (caught.value.code, parent.asked) == ("not_locked", [])

    def test_tasks_have_tokens_of_their_own(self, parent: Parent) -> None:
        async def use() -> None:
            async with names.lock("k"):
                await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(use(), use())

        asyncio.run(main())
        tokens = {args["token"] for _, args in parent.asked}
        assert (sorted(parent.ops), len(tokens)) == (["lock", "lock", "unlock", "unlock"], 2)

    def test_a_cancelled_task_takes_its_wait_back(self, parent: Parent) -> None:
        parent.answers = [asyncio.CancelledError()]

        async def use() -> None:
            async with names.lock("k"):
                pytest.fail("not entered")

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(use())
        assert parent.ops == ["lock", "unlock"]
