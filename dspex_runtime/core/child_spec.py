"""Child and supervisor specs: what is to run and how it is kept running. Plain frozen values, already validated.

The supervisor machine reads only what concerns supervision; `launch` is carried through to whoever starts the process.
`dspex_runtime.config` makes these from YAML or dicts and is the only place that checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dspex_runtime.types import AutoShutdown, ChildId, Durability, Kind, OnDown, RestartType, Strategy

DEFAULT_START_TIMEOUT_S: Final = 30.0  # OTP waits for ever; Python imports hang
DEFAULT_CALL_TIMEOUT_S: Final = 60.0
DEFAULT_MAILBOX: Final = 1000  # requests accepted and not begun
DEFAULT_CHECKPOINTS: Final = 10  # kept of one module
GIVEN: Final = -1  # in place of a file's time: a process has its text from `LaunchSpec.sources`


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before restart n (n >= 2) of a crash loop: initial * factor**(n-2), at most `max_s`, +- jitter.

    The first restart is at once. A child that stayed ready for `stable_after_s` starts counting anew.
    """

    initial_s: float = 0.1
    factor: float = 2.0
    max_s: float = 30.0
    jitter: float = 0.25  # share of the delay, 0 <= jitter <= 1
    stable_after_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How a child is stopped: asked, given `timeout_s`, then killed.

    `timeout_s` None is OTP's infinity, `brutal` its brutal_kill. `drain_s` bounds how long running calls may finish,
    within the time-out.
    """

    timeout_s: float | None = 5.0
    brutal: bool = False
    drain_s: float = 5.0


BRUTAL_KILL: Final = Shutdown(timeout_s=0.0, brutal=True, drain_s=0.0)
INFINITY: Final = Shutdown(timeout_s=None)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one module may use; None is no limit."""

    memory_bytes: int | None = None
    mailbox: int = DEFAULT_MAILBOX
    call_timeout_s: float = DEFAULT_CALL_TIMEOUT_S
    max_calls: int | None = None
    nice: int = 0


@dataclass(frozen=True, slots=True)
class Liveness:
    """A module is hung when busy past its call's deadline + grace, or idle with a request queued for longer than grace."""

    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """What must go well before the module counts as ready: exactly one of a call and a command.

    Attributes:
        call: A method that must return without raising, and not False.
        timeout_s: How long it may take.
        command: What must end with status 0: text for /bin/sh, or a program and its arguments. It runs in the module's process.
    """

    call: str | None = None
    timeout_s: float = 10.0
    command: str | tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """When a module's whole state is saved by itself, and how many of its checkpoints are kept; `every_s` None: when asked only."""

    every_s: float | None = None
    keep: int = DEFAULT_CHECKPOINTS


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a child needs of another, which is started before it.

    Attributes:
        on_down: What it means for the child that the other is down.
        fallback: Full id of the module that answers the child's calls meanwhile; with `degrade` only.
    """

    on_down: OnDown = OnDown.WAIT
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """A child that is one of several behind one id.

    Attributes:
        of: Full id of the group: what callers name.
        number: 0, 1, 2 ...: the child's own id ends with "#number".
        shares: A parameter that is written under the group's id is written in all of them.
    """

    of: str
    number: int
    shares: bool = True


@dataclass(frozen=True, slots=True)
class PartsSpec:
    """How the parts of one owner are supervised, its sub-modules that are processes of their own; None: as its class says.

    Attributes:
        overrides: Child keys by the part's name, in place of those that the class declares: plain data, as the YAML has it.
    """

    strategy: Strategy | None = None
    max_restarts: int | None = None
    max_seconds: float | None = None
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """Everything the process itself needs. Plain data: it crosses the wire as a map.

    Attributes:
        target: "pkg.mod:Name", "file.py:Name" (absolute path), a saved-program directory, or None when `pickled` is set.
        label: What a pickled one is called, "pkg.mod:Name"; nobody looks it up.
        pickled: cloudpickle bytes of a class or an instance (from `rt.start(obj)`); the parent never opens them.
        args, kwargs: Constructor (module) or `init` (server) arguments; `pickled_args` the same, pickled by a client.
        sys_path: Prepended to sys.path in the child before the target is imported.
        lm: {"model": ..., ...}, {"class": "file.py:Name", "args": {...}} or {"class": name, "pickled": bytes}; None: none.
        dspy: Settings for dspy in the child (track_usage, adapter, callbacks, cache, ...). Like lm and env it may hold a secret.
        load: Absolute path of the .json whose state a module begins with.
        params: Values of its parameters that the configuration gives, by name.
        durability: What a write of a parameter survives that does not say so itself.
        checkpoint: None: the defaults of `Checkpoint`.
        shared: Whether the runtime has shared parameters.
        inline: Launches of its sub-modules, as maps by name, that are built in its own process although they are to be processes.
        sources: Texts by absolute path that are loaded in place of what the disk has there (or has no more). Empty: from disk.
    """

    kind: Kind
    target: str | None = None
    label: str | None = None
    pickled: bytes | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    pickled_args: bytes | None = None
    sys_path: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    lm: Mapping[str, Any] | None = field(default=None, repr=False)
    dspy: Mapping[str, Any] | None = field(default=None, repr=False)
    concurrency: int = 1
    trap_exit: bool = True
    limits: Limits = Limits()
    liveness: Liveness | None = Liveness()
    readiness: Readiness | None = None
    load: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    durability: Durability = Durability.JOURNAL
    checkpoint: Checkpoint | None = None
    shared: bool = False
    sources: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    inline: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def initial_call(self) -> str | None:
        """What error reports say was started."""
        return self.target or self.label


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """One supervisor: its strategy, its restart budget and its children in start order.

    Attributes:
        auto_shutdown: Always `never` for a dynamic one.
        dynamic: Elixir's DynamicSupervisor: no children of its own, one_for_one, children are added while it runs.
        max_children: Of a dynamic one: how many it may have, those that are restarting included; None is no limit.
        extra_arguments: Of a dynamic one: put before each child's own positional arguments.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 3
    max_seconds: float = 5.0
    children: tuple[ChildSpec, ...] = ()
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    dynamic: bool = False
    max_children: int | None = None
    extra_arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child of a supervisor.

    Exactly one of `launch` (a process) and `supervisor` (a nested supervisor) is set.

    Attributes:
        depends_on: What it needs, by full id.
        after: Siblings that are started before it, for its own or its descendants' sake. Where a supervisor's children have any,
            those that are not after one another are started side by side.
        replica: Set when it is one of several behind one id.
        parts: How its sub-modules are supervised; None: as its class says.
        template: Its processes are forked from one that was built before, once there is one.
    """

    id: ChildId
    kind: Kind
    restart: RestartType = RestartType.PERMANENT
    shutdown: Shutdown = Shutdown()
    significant: bool = False
    start_timeout_s: float | None = DEFAULT_START_TIMEOUT_S
    backoff: Backoff | None = Backoff()
    launch: LaunchSpec | None = None
    supervisor: SupervisorSpec | None = None
    version: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    register: Any = None  #: key under which every incarnation is registered before its init runs; None: none
    depends_on: Mapping[str, Dependency] = field(default_factory=dict)
    after: frozenset[ChildId] = frozenset()
    replica: Replica | None = None
    parts: PartsSpec | None = None
    template: bool = False
