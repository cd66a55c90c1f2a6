"""An object has one token while it lives, a version while it is what it was, and is sent once per version and host."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.modules.relay import objects as relay_objects
from dspex_runtime.modules.relay.objects import by_token, kept
from dspex_runtime.modules.relayed.objects import MOST, Guests


def lm() -> DummyLM:
    return DummyLM([{"answer": str(n)} for n in range(9)])


def test_a_token_is_one_objects_own_for_as_long_as_it_lives() -> None:
    model, other = lm(), lm()
    token = kept(model).token
    assert kept(model).token == token != kept(other).token
    known = by_token(token)
    assert known is not None
    assert known.object is model
    del model
    gc.collect()
    assert by_token(token) is None


def test_what_cannot_be_watched_has_none() -> None:
    with pytest.raises(TypeError):
        kept([1])


CHANGES: list[tuple[str, Callable[[Any], Any], int]] = [
    ("nothing", lambda model: None, 0),
    ("an attribute", lambda model: setattr(model, "model", "other"), 1),
    ("an option", lambda model: model.kwargs.update(temperature=0.123), 1),
    ("a call of it", lambda model: model.history.append({}), 0),
    ("a callback", lambda model: setattr(model, "callbacks", [1]), 0),
    ("an answer that was used", lambda model: next(model.answers), 0),
    ("a list that grew", lambda model: model.notes.append(1), 1),
]


@pytest.mark.parametrize(("change", "versions"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_version_ends_with_a_change_that_a_host_must_know_of(change: Any, versions: int) -> None:
    model = lm()
    model.notes = []
    known = kept(model)
    change(model)
    known.refresh()
    assert known.version == versions


def test_the_body_goes_once_to_each_host_and_again_in_a_new_version() -> None:
    model = lm()
    sent = [kept(model).message(host, "lm")[2] is not None for host in (1, 1, 2)]
    model.kwargs["temperature"] = 0.5
    assert [*sent, kept(model).message(1, "lm")[2] is not None] == [True, False, True, True]


def test_guest_and_caller_have_one_cursor() -> None:
    model, guests = lm(), Guests()
    known = kept(model)
    assert guests.take([known.message(1, "lm")]) == []
    guest = guests.get(known.token)
    next(guest.answers), next(guest.answers)
    known.catch_up(guests.left([known.token])[known.token])
    assert next(model.answers) == {"answer": "2"}
    assert guests.take([known.message(1, "lm")]) == []
    assert next(guest.answers) == {"answer": "3"}
    known.catch_up({"answers": 8})  # an answer that comes late takes nothing back
    assert next(model.answers) == {"answer": "3"}


def test_a_host_says_what_it_has_not() -> None:
    model, guests = lm(), Guests()
    known = kept(model)
    message = known.message(1, "lm")
    assert guests.take([[message[0], message[1], None, {}]]) == [known.token]
    assert guests.take([message]) == []
    assert guests.token_of(guests.get(known.token)) == known.token
    assert guests.take([[message[0], message[1] + 1, None, {}]]) == [known.token]


def test_a_host_keeps_the_last_ones_only() -> None:
    guests, models = Guests(), [dspy.LM(f"openai/{n}") for n in range(MOST + 1)]
    for model in models:
        guests.take([kept(model).message(1, "lm")])
    assert len(guests.all()) == MOST
    assert guests.take([kept(models[0]).message(1, "lm")]) == [kept(models[0]).token]
    assert guests.take([kept(models[-1]).message(1, "lm")]) == []


def test_what_one_call_brings_is_kept_for_it_however_much_that_is() -> None:
    guests, models = Guests(), [dspy.LM(f"openai/{n}") for n in range(MOST + 1)]
    guests.take([kept(models[0]).message(1, "lm")])
    brought = [kept(model).message(1, "lm") for model in models[1:]] + [kept(lm()).message(1, "lm")]
    assert guests.take(brought) == []
    assert [guests.get(token) for token, *_ in brought]
    assert len(guests.all()) == len(brought)


def test_a_forked_child_has_tokens_of_its_own() -> None:
    model = lm()
    token = kept(model).token
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, kept(model).token.encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        theirs = file.read().decode()
    os.waitpid(pid, 0)
    assert theirs
    assert theirs != token
    assert relay_objects.kept(model).token == token
