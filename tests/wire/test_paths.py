"""A value that cannot be sent is found wherever it is."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from dspex_runtime.errors import UnserialisableError
from dspex_runtime.wire import messages as m
from dspex_runtime.wire.codec import Codec


class Holder:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __repr__(self) -> str:
        return "Holder()"


class Slotted:
    __slots__ = ("lock", "unset")

    def __init__(self) -> None:
        self.lock = threading.Lock()


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError

    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


def closure() -> Any:
    lock = threading.Lock()
    return lambda: lock


def with_default(lock: Any) -> Any:
    def function(held: Any = lock) -> None: ...

    return function


class Method:
    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def run(self) -> None: ...


def path_of(value: Any, *, pickle: bool = True) -> str:
    with pytest.raises(UnserialisableError) as info:
        Codec(pickle=pickle).pack([m.CALL, 1, "ask", [value], {}, None, None, 0, None])
    return info.value.path


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, "args[0]"),
        ({"model": Holder(lock=LOCK)}, "args[0]['model'].lock"),
        ({"a": [1, (2, {"b": LOCK})]}, "args[0]['a'][1][1]['b']"),
        (Holder(deep={"k": [Holder(x=LOCK)]}), "args[0].deep['k'][0].x"),
        (Slotted(), "args[0].lock"),
        (closure(), "args[0].<closure lock>"),
        (with_default(LOCK), "args[0].__defaults__[0]"),
        (Method(LOCK).run, "args[0].__self__.lock"),
        (partial(len, key=LOCK), "args[0].keywords['key']"),
        ({1: 2, ("k", Holder(x=LOCK)): 3}, "args[0].keys()[('k', Holder())][1].x"),
        ({BadRepr()}, "args[0]{<BadRepr>}"),
        (memoryview(b"abcd")[::2], "args[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_path_leads_to_the_part_that_cannot_be_sent(value: Any, path: str) -> None:
    assert path_of(value) == path


def test_without_pickle_the_foreign_object_itself_is_the_part() -> None:
    assert path_of({"model": Holder(lock=LOCK)}, pickle=False) == "args[0]['model']"


def test_an_item_is_named_by_the_kind_of_message() -> None:
    for message, path in [
        ([m.REPLY, 1, {"x": LOCK}], "result['x']"),
        ([m.ITEM, 1, LOCK], "item"),
        ([m.CALL, 1, "f", [], {"model": LOCK}, None, None, 0, None], "kwargs['model']"),
        ([m.CONTROL, 1, "start", {"args": [LOCK]}], "args['args'][0]"),
        (["ready", LOCK], "message[1]"),
    ]:
        with pytest.raises(UnserialisableError) as info:
            Codec(pickle=True).pack(message)
        assert info.value.path == path


def test_a_dict_inside_itself_is_told_with_both_places() -> None:
    inner: dict[str, Any] = {}
    inner["again"] = [inner]
    with pytest.raises(UnserialisableError, match=r"contains itself: it is the object at args\[0\]\['x'\]") as info:
        Codec().pack([m.CALL, 1, "f", [{"x": inner}], {}, None, None, 0, None])
    assert info.value.path == "args[0]['x']['again'][0]"


def test_an_object_inside_itself_is_told_by_what_it_holds() -> None:
    node = Holder()
    node.children = [node, LOCK]  # type: ignore[attr-defined]
    assert path_of({"n": node}).startswith("args[0]['n'].children")


def test_what_is_nested_very_deep_is_told_with_both_ends_of_its_path() -> None:
    value: list[Any] = []
    for _ in range(2000):
        value = [value]
    with pytest.raises(UnserialisableError) as caught:
        Codec().pack([m.REPLY, 1, value])
    assert caught.value.path is not None
    assert caught.value.path.startswith("result[0][0]")
    assert "..." in caught.value.path
    assert len(caught.value.path) < 250


def test_what_a_function_or_class_of_main_refers_to_is_found_too() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "LOCK": LOCK}
    exec("def function():\n    return [lambda: LOCK]\nclass Cls:\n    lock = LOCK\n    def run(self): return LOCK\n", namespace)
    assert path_of(namespace["function"]) == "args[0].<global LOCK>"
    assert path_of(namespace["Cls"]) == "args[0].lock"
    assert path_of(namespace["Cls"]()) == "args[0].__class__.lock"
