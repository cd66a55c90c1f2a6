"""An LM is shown without its secrets, and what stands for it becomes it again."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import dspy
import pytest
from dspy.utils import DummyLM

from dspex_runtime.errors import CallError
from dspex_runtime.modules.mirror import lms as mirror_lms
from dspex_runtime.modules.mirror.lms import HostedLM, pack, show, unpack


@pytest.fixture
def lm() -> Any:
    found = dspy.LM("openai/some", api_key="secret", api_base="https://user:secret@host/v1", temperature=0.5)
    found.history.append({"prompt": "secret"})
    return found


def test_it_is_shown_without_secrets_and_history(lm: Any) -> None:
    parcel = show(lm)
    assert b"secret" not in pickle.dumps(parcel)
    there = unpack(parcel)
    assert type(there) is dspy.LM
    assert (there.model, there.kwargs["temperature"], there.history) == ("openai/some", 0.5, [])
    assert unpack(show(lm)) is there, "of one LM there is one"


def test_what_stands_for_it_comes_back_as_it(lm: Any) -> None:
    assert unpack(pack(unpack(show(lm)))) is lm


def test_a_changed_copy_comes_back_as_one_copy_of_it_with_its_key(lm: Any) -> None:
    copied = unpack(show(lm)).copy(temperature=1.0, rollout_id=7)
    found = unpack(pack(copied))
    assert (found.kwargs["api_key"], found.kwargs["temperature"], found.kwargs["rollout_id"]) == ("secret", 1.0, 7)
    assert lm.kwargs["temperature"] == 0.5
    assert unpack(pack(copied)) is found
    assert unpack(show(found)) is copied, "its maker sees the LM it set"


def test_an_lm_of_the_clients_is_one_lm_in_the_host_and_the_same_one_when_shown() -> None:
    mine = DummyLM([{"answer": "a"}])
    mine.history.append({})
    theirs = unpack(pack(mine))
    assert theirs is not mine
    assert (unpack(pack(mine)) is theirs, theirs.history) == (True, [])
    assert unpack(show(theirs)) is mine


def test_one_that_cannot_be_sent_is_named_and_comes_back_too() -> None:
    own = DummyLM([{"answer": "a"}])
    own.client = threading.Lock()
    there = unpack(show(own))
    assert isinstance(there, HostedLM)
    with pytest.raises(CallError, match="'dummy'"):
        there.forward()
    assert unpack(pack(there)) is own
    assert unpack(pack(there.copy(temperature=1.0))).kwargs["temperature"] == 1.0


def test_one_of_an_earlier_process_is_the_configured_one_or_an_error(lm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parcel = pack(unpack(show(lm)))
    monkeypatch.setattr(mirror_lms, "_own", {})
    with pytest.raises(ValueError, match="'openai/some' belonged to an earlier process"):
        unpack(parcel)
    configured = dspy.LM("openai/some", api_key="new", api_base="https://host/v1", temperature=0.5)
    with dspy.context(lm=configured):
        assert unpack(parcel).kwargs["api_key"] == "new"
