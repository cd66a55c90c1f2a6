"""What is imported before the first fork, and what is refused, by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dspex_runtime.osproc import preload as subject
from dspex_runtime.osproc.preload import PreloadError, own_modules, preload, resolve, set_environment
from helpers.fake_runtime import FakeRuntime
from helpers.waiting import wait_gone

REFUSED = [
    ("missing module", "no_such_module_at_all", "", ["no_such_module_at_all", "ModuleNotFoundError"]),
    ("raises", "broken_import", "1 / 0", ["broken_import", "ZeroDivisionError"]),
    ("exits", "leaving_import", "import sys; sys.exit(3)", ["leaving_import", "SystemExit"]),
    (
        "Python thread",
        "threaded_import",
        "import threading\nthreading.Thread(target=threading.Event().wait, name='price-list-fetcher', daemon=True).start()",
        ["threaded_import", "'price-list-fetcher'", "1 thread(s)"],
    ),
    (
        "native thread",
        "pooled_import",
        "import _thread, threading\nlock = threading.Lock()\nlock.acquire()\n_thread.start_new_thread(lock.acquire, ())",
        ["pooled_import", "native thread"],
    ),
    (
        "child process",
        "helper_import",
        "import subprocess\nhelper = subprocess.Popen(['sleep', '1000'])",
        ["helper_import", "child process(es)", "sleep 1000"],
    ),
    (
        "CUDA",
        "cuda_import",
        (
            "import sys, types\n"
            "torch = sys.modules['torch'] = types.ModuleType('torch')\n"
            "torch.cuda = types.SimpleNamespace(is_initialized=lambda: True)"
        ),
        ["cuda_import", "CUDA"],
    ),
]


@pytest.mark.process
@pytest.mark.parametrize(("name", "source", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_bad_preload_is_refused_by_name(tmp_path: Path, name: str, source: str, words: list[str]) -> None:
    if source:
        (tmp_path / f"{name}.py").write_text(source + "\n")
    with FakeRuntime() as rt:
        kind, why = rt.spawn(["json", name, "decimal"], path=[str(tmp_path)])
        assert kind == "failed"
        for word in words:
            assert word in why["message"]
        assert (why["traceback"] is not None) == ("Error" in words[1] or words[1] == "SystemExit")
        assert wait_gone([rt.zygote.pid]) == []
        assert os.waitstatus_to_exitcode(os.waitpid(rt.zygote.pid, 0)[1]) == 1


@pytest.mark.process
def test_the_culprit_is_the_module_being_imported_not_a_later_one(tmp_path: Path) -> None:
    (tmp_path / "first_module.py").write_text(REFUSED[3][2])
    (tmp_path / "second_module.py").write_text("")
    with FakeRuntime() as rt:
        _, why = rt.spawn(["first_module", "second_module"], path=[str(tmp_path)])
        assert "first_module" in why["message"]
        assert "second_module" not in why["message"]


@pytest.mark.process
def test_a_thread_that_ends_by_itself_is_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "brief_thread.py").write_text("import threading\nthreading.Thread(target=lambda: sum(range(10**5))).start()\n")
    with FakeRuntime() as rt:
        assert rt.spawn(["brief_thread"], path=[str(tmp_path)])[0] == "ready"


@pytest.mark.process
def test_an_entry_that_is_not_there_is_a_failure_that_names_it() -> None:
    with FakeRuntime() as rt:
        kind, why = rt.spawn(entry="helpers.zygote_entries:nothing")
        assert kind == "failed"
        assert "helpers.zygote_entries:nothing" in why["message"]


@pytest.mark.process
def test_the_rehearsal_runs_in_the_zygote_and_every_fork_has_what_it_left() -> None:
    with FakeRuntime() as rt:
        assert rt.spawn(rehearsal="helpers.zygote_entries:rehearse")[0] == "ready"
        seen = [child.ask("from helpers.zygote_entries import rehearsals; reply(rehearsals)") for child in rt.fork(2)]
        assert seen[0] == seen[1]
        assert set(seen[0]) == {rt.zygote.pid}
        assert len(seen[0]) > 8  # often enough for its bytecode to be specialised


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fail_to_rehearse", ["the rehearsal of a start failed", "no rehearsal today"]),
        ("rehearse_with_a_thread", ["the rehearsal of a start left ", "'understudy'"]),
        ("nothing", ["helpers.zygote_entries:nothing"]),
    ],
)
def test_a_rehearsal_that_cannot_be_forked_after_is_refused(name: str, words: list[str]) -> None:
    with FakeRuntime() as rt:
        kind, why = rt.spawn(rehearsal=f"helpers.zygote_entries:{name}")
        assert kind == "failed"
        assert [word for word in words if word not in why["message"]] == []


@pytest.mark.process
def test_every_fork_has_what_was_imported_and_nothing_to_collect_in_it() -> None:
    with FakeRuntime() as rt:
        assert rt.spawn(["colorsys"], env={"OMP_NUM_THREADS": "3"})[0] == "ready"
        source = "import sys, gc; reply(['colorsys' in sys.modules, gc.get_freeze_count() > 0, gc.isenabled()])"
        child = rt.fork_one()
        assert child.ask(source) == [True, True, True]
        variables = "LITELLM_LOCAL_MODEL_COST_MAP", "OMP_NUM_THREADS"
        assert child.ask(f"reply([os.environ[name] for name in {variables}])") == ["True", "3"]


def test_a_user_keeps_the_number_of_threads_they_set_and_gets_one_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "")
    for own, then in [("4", "4"), (None, "1")]:
        if own is None:
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("OMP_NUM_THREADS", own)
        set_environment()
        assert (os.environ["OMP_NUM_THREADS"], os.environ["LITELLM_LOCAL_MODEL_COST_MAP"]) == (then, "True")


def test_names_are_imported_once_in_order_and_nothing_is_imported_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []

    def fake_import(name: str) -> None:
        imported.append(name)
        if name == "bad":
            raise ImportError("no bad")

    monkeypatch.setattr(subject.importlib, "import_module", fake_import)
    monkeypatch.setattr(subject, "check_alone", lambda *_: None)
    monkeypatch.setattr(subject.gc, "freeze", lambda: None)  # would freeze the test run's heap
    assert preload(["b", "a", "b"]) == ["b", "a"]
    with pytest.raises(PreloadError, match="'bad' failed: ImportError: no bad") as caught:
        preload(["c", "bad", "d"])
    assert imported == ["b", "a", "c", "bad"]
    assert "ImportError" in (caught.value.traceback_text or "")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [("helpers.zygote_entries:main", ["helpers.zygote_entries"]), ("toplevel:main", ["toplevel"])],
)
def test_of_a_foreign_entry_only_its_own_module_is_imported(entry: str, expected: list[str]) -> None:
    assert own_modules(entry) == expected


def test_of_our_own_entry_the_whole_package_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "dspy", raising=False)
    names = own_modules("dspex_runtime.osproc.zygote:main")
    assert names[0] == "dspex_runtime.osproc.zygote"
    assert {"dspex_runtime.osproc.board", "dspex_runtime.osproc.mark"} <= set(names)
    assert all(name.startswith("dspex_runtime.osproc.") for name in names)


def test_with_dspy_the_package_on_it_and_what_reaches_others_are_imported_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dspy", sys)
    names = own_modules("dspex_runtime.osproc.zygote:main")
    assert {"dspex_runtime.modules.rehearsal", "dspex_runtime.client.runtime", "dspex_runtime.client.own_names"} <= set(names)
    assert own_modules("helpers.zygote_entries:main") == ["helpers.zygote_entries"]


def test_resolve_returns_the_function() -> None:
    function: Callable[..., object] = resolve("os.path:join")
    assert function is os.path.join
