"""Which queued calls can never begin: rules by example, and against a model that plays every call to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex_runtime.host.deadlock import comes_back, deadlocked

RULES: dict[str, tuple[list[int | None], int, dict[str, Any], dict[str, list[str]]]] = {
    "a calls b calls a": ([1], 1, {"q": [["a", 1], ["b", 5]]}, {"q": ["a", "b", "a"]}),
    "a calls itself": ([1], 1, {"q": [["a", 1]]}, {"q": ["a", "a"]}),
    "over three": ([1], 1, {"q": [["z", 4], ["a", 1], ["b", 5], ["c", 6]]}, {"q": ["a", "b", "c", "a"]}),
    "both threads, twice around": ([1, 2], 2, {"q": [["a", 1], ["b", 5], ["a", 2], ["b", 6]]}, {"q": ["a", "b", "a", "b", "a"]}),
    "both threads, two circles": (
        [1, 2], 2, {"q": [["a", 1], ["b", 5]], "r": [["a", 2], ["c", 6]]}, {"q": ["a", "b", "a"], "r": ["a", "c", "a"]}
    ),
    "what waits behind a circle is no part of it": ([1], 1, {"p": None, "q": [["a", 1]], "r": [["b", 9]]}, {"q": ["a", "a"]}),
    "a thread is free": ([1], 2, {"q": [["a", 1], ["b", 5]]}, {}),
    "a thread serves another call": ([1, 2], 2, {"q": [["a", 1], ["b", 5]]}, {}),
    "a thread serves one that called nobody": ([1, None], 2, {"q": [["a", 1], ["b", 5]]}, {}),
    "who made it has ended": ([8], 1, {"q": [["a", 1], ["b", 5]]}, {}),
    "the token of another module": ([1], 1, {"q": [["b", 1]]}, {}),
    "nothing waits": ([1], 1, {}, {}),
    "no call thread is held": ([], 1, {"q": [["a", 1]]}, {}),
}  # fmt: skip


@pytest.mark.parametrize(("held", "threads", "queued", "refused"), RULES.values(), ids=RULES.keys())
def test_the_rules(held: list[int | None], threads: int, queued: dict[str, Any], refused: dict[str, list[str]]) -> None:
    assert dict(deadlocked("a", held, threads, queued.items())) == refused


def test_only_a_chain_with_the_modules_own_id_comes_back() -> None:
    assert comes_back("a", [["a", 1], ["b", 2]])
    assert not comes_back("a", [["b", 2]])
    assert not comes_back("a", None)


@pytest.mark.parametrize("garbage", [[None], ["ab"], [[]], [["a"]], [["a", "1"]], [["a", 1, 2]], [[["a"], 1]], [{"a": 1}]])
def test_garbage_in_a_chain_closes_no_circle(garbage: list[Any]) -> None:
    assert not comes_back("a", garbage)
    assert deadlocked("a", [1], 1, [("q", garbage)]) == []


# -- a model: modules of some threads each, and calls that call others one after the other


@dataclass
class Call:
    """A call of a module: who made it, whom it calls in turn. `calls` counts down as they end."""

    module: str
    caller: Call | None
    token: int
    calls: list[Any] = field(default_factory=list)
    begun: bool = False
    ended: bool = False
    refused: bool = False

    @property
    def chain(self) -> list[list[Any]] | None:
        if self.caller is None:
            return None
        return [*(self.caller.chain or ()), [self.caller.module, self.caller.token]]


class World:
    """Runs calls until nothing moves; asks for a decision whenever a call is queued, as the host does."""

    def __init__(self, threads: dict[str, int]) -> None:
        self.threads = threads
        self.running: dict[str, list[Call]] = {module: [] for module in threads}
        self.queues: dict[str, list[Call]] = {module: [] for module in threads}
        self.refused: list[Call] = []
        self.tokens = 0

    def send(self, plan: Any, caller: Call | None) -> Call:
        module, calls = plan
        self.tokens += 1
        call = Call(module, caller, self.tokens, list(calls))
        self.queues[module].append(call)
        self.begin(module)
        if comes_back(module, call.chain) and call in self.queues[module]:
            self.decide(module)
        return call

    def begin(self, module: str) -> None:
        while self.queues[module] and len(self.running[module]) < self.threads[module]:
            call = self.queues[module].pop(0)
            call.begun = True
            self.running[module].append(call)
            self.go_on(call)

    def go_on(self, call: Call) -> None:
        """It makes its next call, and waits for it; or it has ended, and whoever called it goes on."""
        if call.calls:
            self.send(call.calls.pop(0), call)
            return
        call.ended = True
        self.running[call.module].remove(call)
        self.begin(call.module)
        if call.caller is not None:
            self.go_on(call.caller)

    def decide(self, module: str) -> None:
        held = [call.token for call in self.running[module]]
        queued = [(call, call.chain) for call in self.queues[module]]
        for call, cycle in deadlocked(module, held, self.threads[module], queued):
            assert cycle[0] == cycle[-1] == module
            self.queues[module].remove(call)
            call.refused = True
            self.refused.append(call)
            assert call.caller is not None
            self.go_on(call.caller)


MODULES = "abc"
plans = st.recursive(
    st.tuples(st.sampled_from(MODULES), st.just(())),
    lambda inner: st.tuples(st.sampled_from(MODULES), st.lists(inner, max_size=3)),
    max_leaves=12,
)


@given(st.fixed_dictionaries({module: st.integers(1, 3) for module in MODULES}), plans)
def test_one_caller_always_gets_an_answer(threads: dict[str, int], plan: Any) -> None:
    world = World(threads)
    call = world.send(plan, None)
    assert call.ended
    assert not any(world.running.values())
    assert not any(world.queues.values())


@given(st.fixed_dictionaries({module: st.integers(1, 3) for module in MODULES}), plans)
def test_nothing_is_refused_that_could_have_begun(threads: dict[str, int], plan: Any) -> None:
    """One caller, one call at a time: what finds no thread free finds them all held by those that wait for it."""
    world = World(threads)
    world.send(plan, None)
    for call in world.refused:
        above = call.caller
        holders = 0
        while above is not None:
            holders += above.module == call.module
            above = above.caller
        assert holders >= threads[call.module]


@given(st.fixed_dictionaries({module: st.integers(1, 3) for module in MODULES}), plans)
def test_without_a_circle_nothing_is_refused(threads: dict[str, int], plan: Any) -> None:
    def straight(plan: Any, above: frozenset[str]) -> Any:
        module, calls = plan
        inside = above | {module}
        return module, [straight(call, inside) for call in calls if call[0] not in inside]

    world = World(threads)
    assert world.send(straight(plan, frozenset()), None).ended
    assert world.refused == []


@given(
    st.lists(st.one_of(st.none(), st.integers(1, 4)), max_size=3, unique=True),
    st.integers(1, 3),
    st.lists(st.one_of(st.none(), st.lists(st.tuples(st.sampled_from(MODULES), st.integers(1, 4)), max_size=4)), max_size=4),
)
def test_a_refusal_means_that_every_thread_waits_for_one_that_was_refused(
    held: list[int | None], threads: int, chains: list[Any]
) -> None:
    refused = deadlocked("a", held, threads, list(enumerate(chains)))
    links = [("a", token) for token in held]
    waited_for = {link for link in links if any(chain and link in chain for chain in chains)}
    assert bool(refused) == (len(held) >= threads and waited_for == set(links) and bool(links))
    for place, cycle in refused:
        assert set(chains[place]) & set(links)
        assert (cycle[0], cycle[-1]) == ("a", "a")
