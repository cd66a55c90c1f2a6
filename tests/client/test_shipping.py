"""One dump: locks become new ones where they may, and what only this process can import goes by value either way."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from dspex_runtime.client.shipping import dumps


def test_a_lock_is_new_or_an_error() -> None:
    lock = threading.Lock()
    with lock:
        assert pickle.loads(dumps([lock], new_locks=True))[0].acquire(blocking=False)
    with pytest.raises(TypeError, match="lock"):
        dumps([lock], new_locks=False)


@pytest.mark.parametrize("new_locks", [True, False])
def test_a_class_of_main_travels_whole(new_locks: bool) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Tool:\n    factor = 2\n", namespace)
    assert pickle.loads(dumps(namespace["Tool"](), new_locks=new_locks)).factor == 2
