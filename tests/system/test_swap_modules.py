"""Hot swaps of dspy modules, with their parameters, between real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

import dspex_runtime as dx
from helpers.runtimes import Standing
from helpers.swapping import load, more, restarted
from helpers.system import FOLDER
from helpers.waiting import wait_until

pytestmark = pytest.mark.process

MODULES = FOLDER / "programs_swap_modules.py"


@pytest.fixture(scope="module")
def shared_runtime(standing: Standing) -> dx.Runtime:
    return standing("swapmodules", runtime={"spares": 1}, tree={"max_restarts": 1000, "children": []})


@pytest.fixture
def modules(shared_runtime: dx.Runtime) -> dx.Runtime:
    return shared_runtime


class TestModules:
    """dspy modules, with parameters."""

    @pytest.fixture
    def ref(self, modules: dx.Runtime) -> Iterator[dx.ModuleRef]:
        modules.start_child("root", {"id": "m", "module": f"{MODULES}:Adder", "concurrency": 2, "backoff": "none"})
        yield modules.ref("m")
        modules.delete("m")

    def test_calls_and_writes_go_on(self, modules: dx.Runtime, ref: dx.ModuleRef) -> None:
        written = []
        with (
            load(lambda who, n: ref.call(x=n)) as answered,
            load(lambda _, n: written.append(ref.params.set("step", float(n))), threads=1),
        ):
            for _ in range(4):
                more(answered, 20)
                modules.swap("m", f"{MODULES}:Adder")
        assert ref.params["step"] == float(len(written) - 1)
        history = ref.params.history("step")
        versions = [change["version"] for change in history]
        assert versions == list(range(versions[0], versions[0] - len(versions), -1))
        assert ref.call(x=0).done == len(answered) + 1
        assert modules.info("m").restarts == 0

    def test_parameters_are_migrated(self, modules: dx.Runtime, ref: dx.ModuleRef) -> None:
        ref.params["step"] = 4.0
        result = modules.swap("m", f"{MODULES}:NewAdder")
        assert result.migrated
        assert ref.call(x=1).y == 9.0
        assert dict(ref.params) == {"stride": 8.0}
        os.kill(result.pid or 0, signal.SIGKILL)
        restarted(modules, "m", result.incarnation)
        assert ref.call(x=1).y == 9.0

    def test_changes_are_told_through_a_swap(self, modules: dx.Runtime, ref: dx.ModuleRef) -> None:
        changes: list[float] = []
        with modules.subscribe("m.*", lambda change: changes.append(change.value)):
            ref.params["step"] = 2.0
            modules.swap("m", f"{MODULES}:Adder")
            ref.params["step"] = 3.0
            wait_until(lambda: changes == [2.0, 3.0], what="both changes")
