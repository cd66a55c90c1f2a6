"""Where dspy keeps its settings: what `dspy.configure` and `dspy.context` say is there, and dspy reads it there."""

from __future__ import annotations

import dspy

from dspex_runtime.modules import dspy_settings
from dspex_runtime.modules.dspy_settings import DEFAULTS, configured, overrides
from dspex_runtime.modules.runtime_env import restored


def test_what_is_said_is_found_where_it_was_said() -> None:
    with restored():
        dspy_settings.module.config_owner_thread_id = dspy_settings.module.config_owner_async_task = None
        dspy.configure(num_threads=3)
        with dspy.context(max_errors=7):
            assert (configured["num_threads"], configured["max_errors"]) == (3, DEFAULTS["max_errors"])
            assert overrides.get()["max_errors"] == 7
        configured["num_threads"] = 4
        assert dspy.settings.num_threads == 4
        assert dspy_settings.module.config_owner_thread_id is not None
    token = overrides.set({"num_threads": 5})
    assert dspy.settings.num_threads == 5
    overrides.reset(token)
    assert dspy.settings.num_threads == DEFAULTS["num_threads"]
