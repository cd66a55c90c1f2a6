"""What the runtime reaps when it inherited the processes of a zygote."""

from __future__ import annotations

import pytest

from helpers.fresh import run_fresh


@pytest.mark.process
def test_adopted_children_are_reaped_among_those_asked_about_only() -> None:
    assert run_fresh("""
known, foreign, living = dead(fork(3)), dead(fork(9)), fork(None)
say(reap_exited([known, living, 1]) == [(known, 3 << 8)])
say(exited(foreign))
say(reap_exited([known, living]))
say([reap_strays([living]), exited(foreign)])
end(living)
say([reap_strays([living]), exited(living)])
""") == [True, 9 << 8, [], [1, None], [0, 9]]


@pytest.mark.process
def test_a_subreaper_inherits_orphans_with_their_exact_status() -> None:
    assert run_fresh("""
set_subreaper()
r, w = os.pipe()
middle = os.fork()
if middle == 0:
    orphan = os.fork()
    if orphan == 0:
        signal.pause()
        os._exit(0)
    os.write(w, str(orphan).encode())
    os._exit(0)
orphan = int(os.read(r, 32))
os.waitpid(middle, 0)
say(reap_exited([orphan]))
end(orphan)
say(reap_exited([orphan]) == [(orphan, 9)])
""") == [[], True]
