"""Where a proxy is not looked into is a matter of the thread."""

from __future__ import annotations

import threading

from dspex_runtime.modules.mirror.following import follows, unfollowed


def test_it_is_closed_for_this_thread_until_the_last_one_leaves() -> None:
    seen = []
    with unfollowed():
        with unfollowed():
            assert not follows()
        assert not follows()
        thread = threading.Thread(target=lambda: seen.append(follows()))
        thread.start()
        thread.join()
    assert follows()
    assert seen == [True]
