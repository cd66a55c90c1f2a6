"""A runtime is found by its name from when it is open until it is closed; running out of descriptors: test_node."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dspex_runtime.errors import ConfigError
from dspex_runtime.node.front_door import FrontDoor
from dspex_runtime.osproc import rendezvous
from helpers.fake_tree import ManualLoop


class House:
    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.guests: list[socket.socket] = []
        self.door = FrontDoor(self.loop, self.guests.append)

    def visit(self) -> None:
        """Connect, and be gone again."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.door.path)
        self.loop.turn()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[House]:
    monkeypatch.setenv("DSPEX_RUNTIME_DIR", str(tmp_path))
    house = House()
    yield house
    house.door.close()
    house.loop.close()
    for guest in house.guests:
        guest.close()


def test_the_name_is_taken_before_anybody_is_let_in(house: House) -> None:
    assert house.door.path == ""
    house.door.claim("t")
    assert house.door.path == rendezvous.socket_path("t")
    with pytest.raises(ConfigError, match="t"):
        rendezvous.claim("t")
    with pytest.raises(OSError, match="No such file"):
        house.visit()
    house.door.open()
    house.visit()
    assert len(house.guests) == 1


def test_a_connection_that_is_gone_again_is_nobody(house: House) -> None:
    house.door.claim("t")
    house.door.open()
    house.door._knock()
    assert house.guests == []


def test_closed_it_lets_nobody_in_and_the_name_is_free(house: House) -> None:
    house.door.close()  # also before it was claimed
    house.door.claim("t")
    house.door.open()
    house.door.close()
    house.door.close()
    with pytest.raises(OSError, match="No such file"):
        house.visit()
    rendezvous.claim("t").release()
