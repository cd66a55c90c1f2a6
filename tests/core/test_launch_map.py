from dspex_runtime.core.child_spec import Checkpoint, LaunchSpec, Limits, Liveness, Readiness
from dspex_runtime.core.launch_map import from_map, to_map
from dspex_runtime.types import Durability, Kind


def test_a_launch_spec_comes_back_as_it_went() -> None:
    full = LaunchSpec(
        Kind.MODULE,
        target="pkg:Name",
        args=(1, "x"),
        kwargs={"k": [1]},
        sys_path=("/src",),
        env={"A": "b"},
        lm={"model": "m"},
        limits=Limits(memory_bytes=1),
        liveness=Liveness(3.0),
        readiness=Readiness("selftest"),
        params={"temperature": 0.2},
        durability=Durability.FSYNC,
        checkpoint=Checkpoint(30.0, 3),
        shared=True,
        sources={"/src/it.py": b"x = 1\n"},
    )
    bare = LaunchSpec(Kind.SERVER, pickled=b"x", liveness=None)
    assert from_map(to_map(full)) == full
    assert from_map(to_map(bare)) == bare


def test_the_map_is_plain() -> None:
    data = to_map(LaunchSpec(Kind.MODULE))
    assert type(data["kind"]) is str
    assert type(data["limits"]) is dict
    assert type(data["durability"]) is str
