"""What travels by value, and what an object that does not is told."""

from __future__ import annotations

import pickle
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import dspy
import pytest

from dspex_runtime.client.pickling import pickled, pickled_instance
from dspex_runtime.errors import UnserialisableError


class Holder:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def travelled(value: Any) -> Any:
    return pickle.loads(pickled_instance(value))


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


LOCKS = [threading.Lock, threading.RLock, threading.local]


@pytest.mark.parametrize("make", LOCKS, ids=lambda make: make.__name__)
def test_a_lock_is_replaced_by_a_new_one_of_its_kind(make: Any) -> None:
    original = Holder(deep={"k": [make()]})
    arrived = travelled(original).deep["k"][0]
    assert type(arrived) is type(make())
    assert arrived is not original.deep["k"][0]


def test_a_lock_that_is_held_arrives_free() -> None:
    holder = Holder(lock=threading.Lock(), again=None)
    holder.again = holder.lock
    with holder.lock:
        twin = travelled(holder)
    assert twin.lock.acquire(blocking=False)
    assert twin.again is twin.lock


def test_what_is_made_of_locks_travels_with_its_state() -> None:
    holder = Holder(event=threading.Event(), items=queue.Queue(), places=threading.BoundedSemaphore(2), told=threading.Condition())
    holder.event.set()
    holder.items.put("first")
    holder.places.acquire()
    twin = travelled(holder)
    assert (twin.event.is_set(), twin.items.get_nowait(), twin.places._value) == (True, "first", 1)
    with twin.told:
        twin.told.notify_all()


def test_a_program_with_a_lock_travels_as_dspys_deepcopy_copies_it() -> None:
    class Guarded(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("question -> answer")
            self.lock = threading.Lock()
            self.tools = [lambda text: text.upper()]

        def forward(self, text: str) -> Any:
            with self.lock:
                return self.tools[0](text)

    assert travelled(Guarded())(text="a") == "A"


def test_arguments_keep_their_locks_or_do_not_travel() -> None:
    with pytest.raises(UnserialisableError, match=r"arguments\[0\]\[0\]\.lock, a _thread\.lock, cannot be sent to its process"):
        pickled(((Holder(lock=threading.Lock()),), {}), "arguments")


def with_tool(connection: Any) -> dspy.Module:
    program = dspy.ReAct("question -> answer", tools=[])
    program.fetch = lambda: connection
    return program


def test_what_cannot_travel_is_named_with_its_path_and_type(connection: socket.socket) -> None:
    class Typed:
        shared = connection

    class Deep(dspy.Module):
        def __init__(self, **attributes: Any) -> None:
            self.__dict__.update(attributes)

    cases: dict[str, tuple[Any, str]] = {
        "Deep.db": (Deep(db=connection), "socket.socket"),
        "Deep.sub.pool[1]['x']": (Deep(sub=Deep(pool=[1, {"x": connection}])), "socket.socket"),
        "ReAct.fetch.<closure connection>": (with_tool(connection), "socket.socket"),
        "Deep.numbers": (Deep(numbers=(n for n in ())), "builtins.generator"),
        "Deep.typed.__class__.shared": (Deep(typed=Typed()), "socket.socket"),
    }
    for path, (value, kind) in cases.items():
        with pytest.raises(UnserialisableError) as info:
            pickled_instance(value)
        assert (info.value.path, f"{path}, a {kind}, cannot be sent" in str(info.value)) == (path, True), info.value
        assert info.value.hint is not None


def test_a_thread_does_not_travel_though_its_locks_would() -> None:
    with pytest.raises(UnserialisableError, match=r"Holder\.thread"):
        pickled_instance(Holder(thread=threading.Thread(target=print)))
