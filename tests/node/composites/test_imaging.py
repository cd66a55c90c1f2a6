"""The images of several processes: in order, all or none, and no descriptor left over."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dspex_runtime.node.composites.imaging import Images, close_images, copied_images, take_images
from helpers.fake_family import IDS, Family


def take(family: Family, **options: Any) -> list[tuple[Images, Any]]:
    done: list[tuple[Images, Any]] = []
    processes = {record.id: record.process for record in family.boot().records() if record.process is not None}
    take_images(processes, "manual", lambda images, fault: done.append((images, fault)), **options)
    return done


def test_all_of_them_in_the_order_of_the_processes(family: Family) -> None:
    done = take(family, about={"qa": {"note": "n"}})
    asked = family.images(*reversed(IDS))
    assert asked == [*[{"kind": "manual", "held": True}] * 3, {"kind": "manual", "held": True, "about": {"note": "n"}}]
    ((images, fault),) = done
    assert (list(images), fault) == (list(IDS), None)
    assert os.pread(images["qa/far"], 100, 0) == b"qa/far manual"
    close_images(images)
    assert images == {}


def test_where_one_makes_none_there_are_none(family: Family) -> None:
    done = take(family)
    family.images(*IDS[:-1])
    assert done == []
    family.images(IDS[-1], fault="get_state raised")
    assert done == [({}, {"message": "get_state raised"})]


def test_of_those_that_are_not_held_it_is_a_question_like_any_other(family: Family) -> None:
    take(family, held=False)
    assert family.images() == [{"kind": "manual"}] * 4


def test_a_copy_is_somebody_elses(family: Family) -> None:
    done = take(family)
    family.images()
    ((images, _),) = done
    copies = copied_images(images, ["qa", "nobody"])
    assert list(copies) == ["qa"]
    close_images(images)
    assert os.pread(copies["qa"], 100, 0) == b"qa manual"
    close_images(copies)


@pytest.mark.parametrize("times", [1, 2])
def test_to_close_them_again_is_nothing(times: int) -> None:
    images: Images = {"a": os.memfd_create("image")}
    for _ in range(times):
        close_images(images)
    assert images == {}
