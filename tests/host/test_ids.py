"""What stands for an id: text, references of the same runtime, proxies; nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dspex_runtime.client.ref import ModuleRef, ServerRef
from dspex_runtime.client.via import NamedRef, Via
from dspex_runtime.errors import ConfigError
from dspex_runtime.host.ids import id_of, is_named, of_proxy

HERE = "/run/x.sock"


class Proxy:
    def __init__(self, ref: Any) -> None:
        self._ref = ref

    @property
    def dx(self) -> Any:
        return self._ref


@pytest.mark.parametrize("target", ["g/a", ServerRef(None, "g/a", HERE), Proxy(ModuleRef(None, "g/a", HERE))])
def test_text_references_and_proxies_lead_to_an_id(target: Any) -> None:
    assert id_of(target, HERE) == "g/a"


@pytest.mark.parametrize("target", [5, None, ["a"], 1.5, float("nan"), b"a", {"id": "a"}, ServerRef])
def test_what_is_none_of_them_is_refused(target: Any) -> None:
    with pytest.raises(ConfigError, match="expected the id of a child, or a reference to it"):
        id_of(target, HERE)


def test_a_reference_of_another_runtime_is_refused() -> None:
    with pytest.raises(ConfigError, match="leads to another runtime"):
        id_of(ServerRef(None, "a", "/run/y.sock"), HERE)


def test_another_way_to_the_same_socket_is_the_same_runtime(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert id_of(ServerRef(None, "a", f"{tmp_path}/link/x.sock"), f"{tmp_path}/real/x.sock") == "a"


def test_a_reference_by_key_is_known_without_being_looked_up() -> None:
    named = NamedRef(None, Via("k"), "server", "/nowhere")
    assert is_named(of_proxy(Proxy(named)))
    assert of_proxy(named) is named
    assert not is_named(ServerRef(None, "a", HERE))
