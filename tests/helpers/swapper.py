"""Who swaps "s" and "m", in all the ways there are, and judges what came of it: each either happened, or nothing has changed."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import dspex_runtime as dx
from helpers import siege
from helpers.siege import World
from helpers.swap_clients import User
from helpers.swap_page import MOVES
from helpers.swap_versions import BAD, LAYOUTS, Code
from helpers.waiting import wait_until

# What is done, and how often in comparison.
WAYS: Final = {
    "up s": 12, "up m": 12, "up both": 5, "rollback s": 4, "rollback m": 4, "migrate s": 2, "migrate m": 2, "verified s": 2,
    "verified m": 2, "drained s": 2, "drained m": 2, "syntax": 1, "import": 1, "migration": 1, "unfit": 1, "one of both": 1,
    "not drained": 2, "aborted": 2, "cancelled": 2, "suspended s": 1, "checkpointed": 2, "busy": 1,
}  # fmt: skip
PHASES: Final = ("rehearsing", "verified", "draining", "moving")
LIMIT_S: Final = 120.0
OnProgress = Callable[[dict[str, Any]], None]
WORDS: Final = {"s": 0, "m": 1}


@dataclass(frozen=True)
class Version:
    """One version of one of them."""

    gen: int
    layout: str
    name: str


class Swapper:
    """Swaps, one after the other. What serves is noted in a file, for whoever swaps next."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._choose = random.Random(seed)
        self.code = Code(world.folder)
        self._noted = world.folder / "serving.json"
        self.serving: dict[str, Version] = {}
        self.counts: Counter[str] = Counter()
        self.took: list[float] = []
        if self._noted.exists():
            self.serving = {id: Version(**facts) for id, facts in json.loads(self._noted.read_text()).items()}

    def first(self) -> None:
        """Put the first versions on the disk."""
        for id, layouts in LAYOUTS.items():
            self._serves(id, self.next_version(id, layouts[0]))

    def next_version(self, id: str, layout: str | None = None, bad: str | None = None) -> Version:
        """Put another version on the disk."""
        counter = self._world.folder / "versions"
        gen = 1 + (int(counter.read_text()) if counter.exists() else 0)
        counter.write_text(str(gen))
        layout = layout or self._choose.choice(LAYOUTS[id])
        return Version(gen, layout, self.code.write(id, gen, layout, bad))

    def swap(self, rt: dx.Runtime, way: str) -> None:
        """Swap in one way, and look at what came of it."""
        what, _, which = way.partition(" ")
        ids = [which] if which in WORDS else ["s", "m"] if which == "both" else [self._choose.choice("sm")]
        self.counts[way] += 1
        match what:
            case "rollback":
                self._roll_back(rt, ids[0])
            case "drained":
                # A server is asked for its state, for the rehearsal, when its callback is over.
                phase = "rehearsing" if ids == ["s"] else "draining"
                self._long_call(rt, ids[0], lambda path: self._up(rt, ids, on_progress=_at(phase, path.touch)))
            case "not":
                self._long_call(rt, "m", lambda path: self._refused(rt, ["m"], "drain_timeout", None, path.touch, drain=0.05))
            case "syntax" | "import" | "migration" | "unfit":
                self._refused(rt, ids, BAD[what][0], what, verify="fit")
            case "one":
                self._refused(rt, ["s", "m"], "migrate", "migration")
            case "aborted":
                self._aborted(rt, ids)
            case "cancelled":
                self._cancelled(rt, ids)
            case "suspended":
                rt.server("s").suspend(timeout=LIMIT_S)
                self._up(rt, ids, look=False)
                if rt.server("s").get_status(timeout=LIMIT_S)["status"] != "suspended":
                    self._world.complain("other", "a suspended server goes on after its swap")
                rt.server("s").resume(timeout=LIMIT_S)
                self._look(rt)
            case "checkpointed":
                self._meanwhile(rt, ids, lambda: rt.checkpoint(ids[0]))
            case "busy":
                self._meanwhile(rt, ids, lambda: self._is_busy(rt, ids[0]), ("rehearsing",))
            case "verified":
                self._up(rt, ids, verify="fit")
            case "migrate":
                self._up(rt, ids, migrate=True)
            case _:
                self._up(rt, ids, **({"args": {"tag": self._choose.randrange(100)}} if self._choose.random() < 0.2 else {}))

    # -- ways

    def _up(self, rt: dx.Runtime, ids: list[str], *, look: bool = True, **options: Any) -> None:
        versions = {id: self.next_version(id) for id in ids}
        done = swapped(rt, {id: self._member(id, versions[id], options) for id in ids}, options)
        for result in done.values():
            self._happened(result, versions[result.id])
        if look:
            self._look(rt)

    def _member(self, id: str, version: Version, options: dict[str, Any]) -> dict[str, Any]:
        more = {name: options[name] for name in ("verify", "args") if name in options}
        return {**more, "migrate": self.code.migration(id), "extra": version.name} if options.get("migrate") else more

    def _roll_back(self, rt: dx.Runtime, id: str) -> None:
        versions = [version for version in rt.versions(id) if not version.current]
        if not versions:
            return
        to = self._choose.choice(versions)
        result = rt.rollback(id, to.number, timeout=LIMIT_S, drain=LIMIT_S)
        assert to.version is not None
        gen, _, layout = to.version.partition(".")
        self._happened(result, Version(int(gen), layout, to.version))
        self._look(rt)

    def _refused(
        self, rt: dx.Runtime, ids: list[str], code: str, bad: str | None, over: Callable[[], object] = int, **options: Any
    ) -> None:
        for id in ids:
            self.next_version(id, bad=bad if id == ids[-1] else None)
        try:
            swapped(rt, {id: {"verify": options["verify"]} if "verify" in options else {} for id in ids}, options)
            self._world.complain("other", f"a swap that is {bad or code} was not refused")
        except dx.SwapError as exc:
            if exc.code != code:
                self._world.complain("other", f"a swap that is {bad or code} was refused with {exc.code}: {exc}")
        finally:
            over()
        self._restore(ids)
        self._look(rt)

    def _aborted(self, rt: dx.Runtime, ids: list[str]) -> None:
        def swap(on_progress: OnProgress) -> None:
            self._tried(ids, lambda: swapped(rt, {id: {} for id in ids}, {"on_progress": on_progress}))

        self._with(PHASES, lambda: rt.abort_swap(ids[0]), swap)
        self._look(rt)

    def _meanwhile(self, rt: dx.Runtime, ids: list[str], act: Callable[[], object], phases: Sequence[str] = PHASES) -> None:
        """Swap, and do something else at one of its steps."""
        self._with(phases, act, lambda on_progress: self._up(rt, ids, on_progress=on_progress))

    def _with(self, phases: Sequence[str], act: Callable[[], object], swap: Callable[[OnProgress], object]) -> None:
        ready = threading.Event()

        def acts() -> None:
            ready.wait(LIMIT_S)
            try:
                act()
            except Exception as exc:
                self._world.complain("other", f"while it was swapped: {type(exc).__name__}: {exc}")

        thread = threading.Thread(target=acts)
        thread.start()
        try:
            swap(_at(self._choose.choice(phases), ready.set))
        finally:
            ready.set()
            thread.join()

    def _is_busy(self, rt: dx.Runtime, id: str) -> None:
        try:
            rt.swap(id)
        except dx.SwapError as exc:
            if exc.code == "busy":
                return
            raise
        raise AssertionError("it was swapped twice at a time")

    def _cancelled(self, rt: dx.Runtime, ids: list[str]) -> None:
        phase = self._choose.choice(PHASES)

        async def cancelled() -> dict[str, dx.SwapResult]:
            async with await dx.aio.connect(siege.NAME) as other:
                loop = asyncio.get_running_loop()
                task = asyncio.ensure_future(
                    other.swap(
                        {id: {} for id in ids},
                        drain=LIMIT_S,
                        timeout=LIMIT_S,
                        on_progress=_at(phase, lambda: loop.call_soon_threadsafe(lambda: task.cancel())),
                    )
                )
                return await task  # type: ignore[no-any-return]

        self._tried(ids, lambda: asyncio.run(cancelled()))
        wait_until(lambda: all(rt.info(id).swap is None for id in ids), timeout_s=LIMIT_S, what="the end of a cancelled swap")
        self._look(rt)

    def _tried(self, ids: list[str], swap: Callable[[], dict[str, dx.SwapResult]]) -> None:
        """Swap, and give it up meanwhile: it happened all the same, or not."""
        versions = {id: self.next_version(id) for id in ids}
        try:
            for result in swap().values():
                self._happened(result, versions[result.id])
        except dx.SwapError as exc:
            if exc.code != "aborted":
                self._world.complain("other", f"an aborted swap ended with {exc.code}: {exc}")
            self._restore(ids)
        except asyncio.CancelledError:
            # Nobody was told: who serves says it.
            with dx.connect(siege.NAME) as rt:
                wait_until(lambda: all(rt.info(id).swap is None for id in ids), timeout_s=LIMIT_S, what="its end")
                for id in ids:
                    if about(rt, id)["gen"] == versions[id].gen:
                        self._happened(None, versions[id], id)
                    else:
                        self._restore([id])

    def _long_call(self, rt: dx.Runtime, id: str, swap: Callable[[Path], object]) -> None:
        """Swap while a call runs that ends when a file is there; it is answered by whoever began it."""
        self.counts["long calls"] += 1
        path = self._world.folder / f"until-{self.counts['long calls']}-{self._choose.randrange(2**32)}"
        user = User(self._world, f"x{path.name}", 0)
        n = user.begin(id, "linger")

        def call() -> None:
            try:
                if id == "s":
                    said = rt.server(id).call(("linger", str(path), user.name, n), timeout=LIMIT_S)
                else:
                    said = rt.ref(id).call("linger", str(path), user.name, n, timeout=LIMIT_S)
                user.over(id, "linger", n, said)
            except Exception as exc:
                user.failed(id, "linger", n, exc)

        thread = threading.Thread(target=call)
        thread.start()
        try:
            wait_until(Path(f"{path}.begun").exists, timeout_s=LIMIT_S, what="a long call to begin")
            swap(path)
        finally:
            path.touch()
            thread.join()
        if "lost" in (self._world.folder / f"user-{user.name}").read_text():
            self._world.complain("lost", f"a long call of {id}")

    # -- what came of it

    def _happened(self, result: dx.SwapResult | None, version: Version, id: str | None = None) -> None:
        id = id or (result.id if result is not None else "")
        before = self.serving[id]
        if result is not None:
            self.took.append(result.pause_s)
            if (result.version, result.old_version) != (version.name, before.name):
                said = f"{result.old_version} -> {result.version}"
                self._world.complain("other", f"{id}: {before.name} -> {version.name} was told as {said}")
        self._serves(id, version)
        self._world.page[MOVES + WORDS[id]] += 1
        self.counts["swaps"] += 1

    def _serves(self, id: str, version: Version) -> None:
        self.serving[id] = version
        self._noted.write_text(json.dumps({id: asdict(version) for id, version in self.serving.items()}))

    def _restore(self, ids: list[str]) -> None:
        """Put on the disk what serves."""
        for id in ids:
            self.code.write(id, self.serving[id].gen, self.serving[id].layout)

    def _look(self, rt: dx.Runtime) -> None:
        for id, version in self.serving.items():
            facts, info = about(rt, id), rt.info(id)
            moves = self._world.page[MOVES + WORDS[id]]
            if (facts["gen"], facts["moves"], facts["pid"]) != (version.gen, moves, info.pid) or info.version != version.name:
                text = (
                    f"{version.name} with {moves} swaps, is {facts['gen']} with {facts['moves']}, pid {facts['pid']}; told {info}"
                )
                self._world.complain("other", f"{id} should be {text}")
            if (info.incarnation, info.swap) != (1, None):
                self._world.complain("other", f"{id}: {info}")


def about(rt: dx.Runtime, id: str) -> dict[str, Any]:
    """Ask one of them what it is."""
    if id == "s":
        return dict(rt.server(id).call(("about",), timeout=LIMIT_S))
    return dict(rt.ref(id).call("about", timeout=LIMIT_S))


def swapped(rt: dx.Runtime, members: dict[str, dict[str, Any]], options: dict[str, Any]) -> dict[str, dx.SwapResult]:
    """Swap one or several."""
    how = {"drain": options.get("drain", LIMIT_S), "timeout": LIMIT_S, "on_progress": options.get("on_progress")}
    if len(members) > 1:
        return rt.swap(members, **how)
    [(id, member)] = members.items()
    return {id: rt.swap(id, **member, **how)}


def _at(phase: str, act: Callable[[], object]) -> OnProgress:
    def progress(event: dict[str, Any]) -> None:
        if event["phase"] == phase:
            act()

    return progress
