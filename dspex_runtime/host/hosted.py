"""What the loop knows of the thing it hosts: one protocol, two implementations (a GenServer, a dspy.Module).

There is one hosting path. The loop owns time, threads, channels and counting; a `Hosted` only turns a request into a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from dspex_runtime.errors import CallError, StartError
from dspex_runtime.exit_reason import ExitReason
from dspex_runtime.types import Kind

if TYPE_CHECKING:  # a server without parameters loads none of it
    from dspex_runtime.params.owner import Holder
    from dspex_runtime.params.spec import ParameterSpec

# What `get_user_state` gives where nothing is kept beside the parameters; None is a state.
NO_STATE: Final = object()

# A callback kept the reply for later (`dx.NoReply`); whoever holds `from_` gives it with `dx.reply`.
NO_REPLY: Final = object()


class UnknownMethodError(CallError, AttributeError):
    """The module has no such public method; the message lists those it has."""

    code = "unknown_method"


class QuietStartError(StartError):
    """The start failed in a way that the module expects (`dx.Fail`): its reason is told to whoever starts it, nobody else."""


class ProcessEndedError(Exception):
    """A callback ended the process: with `reason`, after replying `reply` to the caller when there is one."""

    def __init__(self, reason: ExitReason, *, reply: Any = NO_REPLY) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Entry:
    """One callable method, looked up once per process and name.

    Attributes:
        function: Called with the request's args and kwargs, or with the `Request` itself when `takes_request`.
        on_loop: It is `async`: it runs on the loop thread and takes no call thread.
        idempotent: Declared with `@dx.idempotent`: a retried key is answered from the record.
    """

    name: str
    function: Callable[..., Any]
    takes_request: bool = False
    on_loop: bool = False
    idempotent: bool = False


class Declared(NamedTuple):
    """One parameter of what is hosted: under dspy's name, and where its value lives."""

    name: str
    spec: ParameterSpec
    holder: Holder


class Hosted(Protocol):
    """What runs in this process. Every method is called on the main thread, unless it says otherwise.

    The order of a start: `build`, then `parameters` (kept values are stored in their holders), `set_mode`, `start`, and then
    `set_user_state`.
    """

    kind: Kind
    version: str | None
    # One call at a time, and an exception in a callback ends the process (a GenServer); else it only fails the call.
    serial: bool

    def build(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Make the object: of the user's code only its constructor runs. Once."""
        ...

    def start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Initialise (and build first, where nobody did); False when it chose to be ignored."""
        ...

    def parameters(self) -> Sequence[Declared]:
        """Return the parameters there are now; a name keeps its holder for as long as it leads to the same place."""
        ...

    @property
    def changes_unsaid(self) -> bool:
        """Whether `changed` is to be asked after calls. Of a server that has nothing but numbers and text it is not."""
        ...

    def changed(self) -> bool:
        """Return whether user code may have changed parameters past their cells (predictors, lists), or which there are.

        A few microseconds; called after every call, on the thread that ran it. What it does not see (a signature edited in
        place, say) a comparison of what the holders `load` does.
        """
        ...

    @property
    def mode(self) -> str:
        """Return "train" or "eval"."""
        ...

    def set_mode(self, mode: str) -> None:
        """Switch between "train" and "eval", through the whole tree."""
        ...

    @property
    def keeps_user_state(self) -> bool:
        """Whether the user's class takes back what `get_user_state` returns. Known before the object is built."""
        ...

    def get_user_state(self) -> Any:
        """Return what the user wants kept beside the parameters, or NO_STATE."""
        ...

    def set_user_state(self, saved: Any) -> None:
        """Give back what `get_user_state` returned, to an initialised object."""
        ...

    @property
    def changes_code(self) -> bool:
        """Whether the user's class defines `code_change`. Known before the object is built."""
        ...

    def code_change(self, old_version: Any, state: Any, extra: Any) -> Any:
        """Run the user's `code_change`: return what a state of another version is in this one."""
        ...

    def get_rest(self) -> dict[str, Any]:
        """Return what a checkpoint holds beside parameters and user state: plain data, {} for none."""
        ...

    def set_rest(self, rest: Mapping[str, Any]) -> None:
        """Put it back, after the parameters of the same checkpoint; what no longer fits is left out."""
        ...

    def has_more(self) -> bool:
        """Whether `after_call` has something to do."""
        ...

    def after_call(self) -> float | None:
        """What runs after READY or a reply and before anything queued (a GenServer's handle_continue).

        Returns:
            The seconds after which the server wants to be told that nothing has come (its plain time-out), or None.
        """
        ...

    def find(self, method: str) -> Entry:
        """Return the method to run, or raise `UnknownMethodError`. Called on any call thread."""
        ...

    @property
    def degrades(self) -> bool:
        """Whether the user's class answers calls while something is down that it depends on. Known before the object is built."""
        ...

    def find_degraded(self, method: str, fallback: str | None) -> Entry | None:
        """Return how a method is run while something is down: by the class itself, else by another module; None: as ever.

        What it returns marks the request that it runs as degraded. Called on any call thread.
        """
        ...

    def idempotent_methods(self) -> list[str]:
        """Names of the methods declared idempotent."""
        ...

    def call_facts(self) -> dict[str, Any]:
        """Return what whoever calls it may want to know before: "takes", a list of keywords or None for any; "awaited"."""
        ...

    def terminate(self, reason: ExitReason) -> None:
        """Run the user's clean-up, once; what it raises becomes the exit reason."""
        ...

    def get_state(self) -> Any:
        """Return the state as it is between two callbacks."""
        ...

    def replace_state(self, function: Callable[[Any], Any]) -> Any:
        """Set the state to function(state) and return it."""
        ...

    def status(self) -> dict[str, Any]:
        """Return what is shown to people, through the user's `format_status` where there is one."""
        ...
