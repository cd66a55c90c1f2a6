"""Small public values shared by every layer: ids, states, what a child looks like from outside."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NewType

from dspex_runtime.exit_reason import ExitReason

__all__ = [
    "AutoShutdown", "Change", "CheckpointInfo", "ChildId", "Down", "Durability", "Exit", "FullId", "Incarnation", "Kind",
    "ModuleInfo", "OnDown", "Registered", "ReloadResult", "ReloadStep", "RestartType", "State", "Strategy", "SwapResult",
    "Unregistered", "VersionInfo",
]  # fmt: skip

ChildId = NewType("ChildId", str)  # unique within its supervisor
FullId = NewType("FullId", str)  # "sup/sub/id", unique within the runtime
Incarnation = NewType("Incarnation", int)  # 1, 2, 3 ... for one FullId; (FullId, Incarnation) names a process for ever


class Kind(StrEnum):
    """What a child is."""

    MODULE = "module"
    SERVER = "server"
    SUPERVISOR = "supervisor"


class RestartType(StrEnum):
    """When a child that ended is started again (OTP `restart`)."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(StrEnum):
    """Which siblings a restart takes along (OTP `strategy`)."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class AutoShutdown(StrEnum):
    """When a supervisor ends because significant children did (OTP `auto_shutdown`)."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class Durability(StrEnum):
    """What an acknowledged write of a parameter survives."""

    MEMORY = "memory"  # any crash of the module; not the end of the runtime
    JOURNAL = "journal"  # the kill of every process
    FSYNC = "fsync"  # a loss of power


class OnDown(StrEnum):
    """What a dependency that is down means for who depends on it."""

    WAIT = "wait"  # calls park until it is back or their deadline passes
    FAIL = "fail"  # calls fail at once
    DEGRADE = "degrade"  # `forward_degraded`, or a fallback module, answers
    RESTART = "restart"  # it is restarted when the dependency is back
    STOP = "stop"  # it is stopped


class State(StrEnum):
    """What a child is doing, as `ps` shows it."""

    PENDING = "PENDING"  # waits for its turn or a dependency
    STARTING = "STARTING"
    READY = "READY"
    DEGRADED = "DEGRADED"
    BACKOFF = "BACKOFF"  # a restart is due, not yet begun
    DRAINING = "DRAINING"
    SWAPPING = "SWAPPING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"  # by request; `start` brings it back
    EXITED = "EXITED"  # by itself, and its restart type says to leave it
    FAILED = "FAILED"  # its supervisor gave up; `start` brings it back


@dataclass(frozen=True, slots=True)
class Down:
    """What a monitor delivers, once: this incarnation of this id ended, for this reason.

    `ref` is what `dx.monitor` returned in the module that watches; a client's `Monitor` stands for itself.
    """

    id: str
    incarnation: int
    reason: ExitReason
    ref: int | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """An exit signal, as a server that traps exits gets it: from a link, or from `exit(id, reason)`.

    `id` and `incarnation` are the sender's; a client's is "client#PID", incarnation 0.
    """

    id: str
    incarnation: int
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Change:
    """A parameter has a new value: what subscribers get, in version order.

    Attributes:
        id: Full id of the module; "$shared" for the runtime's own parameters.
        name: Of the parameter.
        version: 1, 2, 3 ... for one name.
        value: The new value.
        when: Seconds since the epoch.
        who: Who wrote it, as text.
        skipped: How many versions between the one told before and this one were not told, because the subscriber was slow.
    """

    id: str
    name: str
    version: int
    value: Any
    when: float
    who: str
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """One checkpoint of one module.

    Attributes:
        id: Full id of the module.
        number: 1, 2, 3 ... for one module; never used again.
        created_at: Seconds since the epoch.
        kind: Why it was made: "manual", "periodic", "before_restore", "restored" (what a restore gave back), "before_compile",
            "compiled", "before_swap", "swapped" (what a swap took over, and what it made of it), "import".
        size: Bytes.
        version: Of the module.
        note: What it holds, for people: of one that a compile made, the optimizer and the score.
        parts: Of an owner that was saved with its parts, all in the same moment: their checkpoints' numbers by full id. Restored,
            exported and pruned together.
        of: Of a part that was saved with its owner: the owner's full id, and the number of the owner's checkpoint.
    """

    id: str
    number: int
    created_at: float
    kind: str
    size: int
    version: str | None = None
    note: str | None = None
    parts: dict[str, int] = field(default_factory=dict, hash=False)
    of: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class SwapResult:
    """One module that another version took the place of.

    Attributes:
        id: Full id.
        version: Of what serves now, as `ps` shows it.
        old_version: Of what served before.
        number: In `rt.versions(id)`.
        pid: Of the new process.
        incarnation: As it was: a swap is no restart.
        seconds: All of it.
        rehearsal_s: The new version's start, migration and verification, beside the old one.
        drain_s: What ran had until then to finish; callers waited.
        pause_s: What callers waited beyond the drain.
        migrated: Whether user code (`migrate`, `code_change`) made the state what it is.
        moved: How much went with it: "channels", "queued", "timers".
    """

    id: str
    version: str | None
    old_version: str | None
    number: int
    pid: int | None
    incarnation: int
    seconds: float
    rehearsal_s: float
    drain_s: float
    pause_s: float
    migrated: bool
    moved: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version of one module that has served.

    Attributes:
        number: 1, 2, 3 ... for one module, in the order in which they came to serve; never used again.
        version: As the spec or the class says; None where neither does.
        target: What was hosted.
        args: Its arguments, as text where they cannot be shown otherwise.
        source_hash: Of its own file and of the user's modules that it imports; None where they are not known.
        when: When it came to serve, seconds since the epoch.
        why: "start", "swap", "rollback to 2", "reload", or what the caller said.
        current: Whether it serves now.
    """

    number: int
    version: str | None
    target: str | None
    args: Any
    source_hash: str | None
    when: float
    why: str
    current: bool


@dataclass(frozen=True, slots=True)
class ReloadStep:
    """What a reload does with one child, or with the runtime itself ("runtime").

    Attributes:
        id: Full id; "root" for the root supervisor.
        action: "remove", "live", "swap", "restart", "add"; "down/up" of what no reload can do.
        changes: Maps with field, action (what this one alone takes), old, new; `hidden`: it may be a secret and is not told.
        note: Why it is done so, where that is not plain.
        state: "planned", "done", "failed", "not_done", "refused".
        seconds: That it took.
        message: Why it failed.
    """

    id: str
    action: str
    changes: tuple[dict[str, Any], ...] = ()
    note: str | None = None
    state: str = "planned"
    seconds: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload did, or would do.

    Attributes:
        steps: In the order in which they are done; none: what runs is what the file says.
        refused: Changes that only `dspex down` and `dspex up` can make; with any of these nothing is done.
        left: Full ids of children that the file does not name and that stay, as they were added at run time.
        applied: Whether it was to be done, and not only planned.
    """

    steps: tuple[ReloadStep, ...] = ()
    refused: tuple[ReloadStep, ...] = ()
    left: tuple[str, ...] = ()
    applied: bool = True

    def __bool__(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.steps or self.refused)


@dataclass(frozen=True, slots=True)
class Registered:
    """What `dx.listen` delivers to a server's handle_info: this process was registered under this key."""

    key: Any
    id: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Unregistered:
    """What `dx.listen` delivers to a server's handle_info: an entry was removed on purpose; the end of its process is no such."""

    key: Any
    id: str


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """One child, seen from outside; `ps -o json` prints these keys."""

    id: str
    kind: str
    state: str
    pid: int | None = None
    incarnation: int = 0
    restarts: int = 0
    started_at: float | None = None  # seconds since the epoch
    uptime_s: float | None = None
    version: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    last_exit: ExitReason | None = None
    supervisor: dict[str, Any] | None = None  # of a supervisor: strategy, restart budget and how much of it is used, children
    checkpoint: dict[str, Any] | None = None  # the newest one: number, created_at, kind
    swap: dict[str, Any] | None = None  # while one is under way: phase, since (epoch seconds), to
    group: str | None = None  # of a replica: full id of its group
    replicas: list[str] | None = None  # of a group: full ids of its replicas
    params: str | None = None  # of a group: "shared" or "own"
    depends_on: dict[str, dict[str, Any]] = field(default_factory=dict)  # by full id: on_down, fallback, state
    waiting_for: list[str] = field(default_factory=list)  # full ids of those that are not up
    needed_by: list[str] = field(default_factory=list)  # full ids of those that depend on it

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dict, in `ps` order."""
        return asdict(self)
