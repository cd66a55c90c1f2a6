"""A new version on a copy of what the old one has: parameters, mode, state; migrated. Again, when the old one has gone on.

Owns the order in which it is given, and what has to be put back before it is given again. Nothing here is seen by anybody, and any
of it may be refused; what is left when nothing was is the plan by which the real table is taken over (`params.moving_in`).

    parameters    as at a start: what somebody has set is kept, what nobody has is today's default, what is configured otherwise
                  is what is configured. Then what the migration made of them. A kept value that this class refuses, and that no
                  migration has changed, refuses the swap
    mode, rest    as at a start: what a client, a restore or a compile changed; plain attributes are what the constructor says
    a module      code_change gets {"params", "state"}, then set_state what came of "state"
    a server      set_state, where there is one, gets what the old one's get_state returned; else its state is the old one's.
                  code_change gets the state after that
    back again    what the old one's class made of its state takes the place of that state, and no code_change is run here
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dspex_runtime.errors import ConstraintViolationError, ParameterError, ProtocolError, SwapError
from dspex_runtime.host import context
from dspex_runtime.host.checkpoint_image import REST, without
from dspex_runtime.host.moving import migration
from dspex_runtime.host.moving.copied import Copied
from dspex_runtime.host.moving.migration import MIGRATE, Change, Migrated
from dspex_runtime.host.moving.state import CANNOT_BE_SENT, copy_of
from dspex_runtime.host.moving.verifying import verify
from dspex_runtime.params.moving_in import SWAP, Plan
from dspex_runtime.params.values import Annex, decode

if TYPE_CHECKING:
    from dspex_runtime.host.hosted import Hosted
    from dspex_runtime.host.parameters import Parameters
    from dspex_runtime.params.image import Image
    from dspex_runtime.params.owner import Owner
    from dspex_runtime.wire.codec import Codec

__all__ = ["Rehearsal", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """What the parent asks for: see `migration.chosen` and `verifying`."""

    old_version: str | None
    migrate: bytes | None = None
    extra: bytes | None = None
    verify: Mapping[str, Any] | None = None


class Rehearsal:
    """One new version, before it serves.

    Args:
        request: How it is to be migrated and verified.
        hosted: Built, initialised (a server without set_state is not), and with copies of its own of what it declares.
        parameters: Of this process, which rehearses.
        codec: Of this process.

    Attributes:
        plan: What was rehearsed last.
    """

    def __init__(self, request: Request, hosted: Hosted, parameters: Parameters, codec: Codec, *, id: str) -> None:
        self.plan = Plan({}, frozenset(), {})
        self._request = request
        self._hosted = hosted
        self._parameters = parameters
        self._codec = codec
        self._id = id
        owner = parameters.owner
        self._own = owner.image() if owner is not None else {}  # what it has when nothing is given to it
        self._mode = hosted.mode
        # What `init` of a server returned, to be given to set_state once more.
        self._state = Copied(hosted.get_state(), codec) if hosted.serial and hosted.keeps_user_state else None
        self._user: Copied | None = None  # the module's state that set_state got last
        self._is_used = False

    def become(self, image: Image) -> dict[str, Any]:
        """Take over what is in an image; return what came of it: version, migrated, parameters, dropped.

        Raises:
            SwapError: "migrate": a value, a state or the migration itself was refused.
        """
        if self._is_used:
            self._start_over()
        self._is_used = True
        if context.Process.mail is not None:
            context.Process.mail.start_over()
        owner = self._copy(image)
        before = owner.image()
        change = self._change(image)
        if self._hosted.serial:
            self._become_server(image, change)
            dropped: frozenset[str] = frozenset()
        else:
            dropped = self._become_module(image, change, owner)
        self._look()
        after = owner.image()
        migrated = {name for name, entry in after.items() if name in before and _differ(entry, before[name])}
        for name, exc in owner.refused.items():
            if name in after and name not in migrated and name not in dropped:
                raise self._refused(exc, name)
        self.plan = Plan(after, frozenset(migrated), owner.facts())
        return {
            "version": self._hosted.version,
            "migrated": change is not None or bool(image.down),
            "parameters": sorted(migrated),
            "dropped": sorted(name for name in image.parameters if name not in after),
        }

    def verify(self) -> None:
        """Ask whether it is fit to serve, where the request says how; what that did to parameters and state is undone.

        Raises:
            SwapError: "verify": it is not.
        """
        how = self._request.verify
        if how is None:
            return
        verify(how, self._hosted, self._codec, id=self._id)
        owner = self._parameters.owner
        assert owner is not None
        self._look()
        owner.restore({name: entry for name, entry in self.plan.parameters.items() if name in owner.names()}, who=SWAP)
        if self._user is not None:
            self._give_state(self._user)
        now = owner.image()  # a first call may have made predictors
        parameters = {name: self.plan.parameters.get(name, entry) for name, entry in now.items()}
        self.plan = self.plan._replace(parameters=parameters, migrated=frozenset(self.plan.migrated) & parameters.keys())

    # -- parameters

    def _start_over(self) -> None:
        """Have what there was before anything was given."""
        owner, hosted = self._parameters.owner, self._hosted
        if owner is not None:
            owner.restore({name: entry for name, entry in self._own.items() if name in owner.names()}, who=SWAP)
        hosted.set_mode(self._mode)
        if self._state is not None:
            state = self._state.one()
            hosted.replace_state(lambda _: state)

    def _copy(self, image: Image) -> Owner:
        try:
            owner = self._parameters.rehearse(self._hosted, copy_of(image))
        except ParameterError as exc:
            raise migration.refused(exc, f"the parameters of the new version of {self._id!r}", self._id) from None
        rest = owner.facts().get(REST) or {}
        if rest:
            self._hosted.set_rest(without(rest, owner.names()))
        return owner

    def _look(self) -> None:
        try:
            self._parameters.look_again()
        except Exception as exc:
            raise migration.refused(exc, f"what the migration made of the parameters of {self._id!r}", self._id) from None

    def _refused(self, exc: Exception, name: str) -> SwapError:
        if isinstance(exc, ConstraintViolationError):
            error = migration.refused(exc, f"the new version of {self._id!r} refuses what is kept", self._id)
        else:
            error = migration.refused(exc, f"the new version of {self._id!r} cannot take over what is kept of {name}", self._id)
        error.hint = error.hint or "define code_change, or give migrate: what it returns takes the place of the kept value"
        return error

    # -- the user's own

    def _change(self, image: Image) -> Change | None:
        request = self._request
        if request.migrate is None and image.down is not None:
            return None
        return migration.chosen(request.migrate, self._hosted, request.old_version, request.extra, self._id)

    @property
    def _what(self) -> str:
        return f"{'code_change' if self._request.migrate is None else 'migrate'} of {self._id!r}"

    def _become_server(self, image: Image, change: Change | None) -> None:
        hosted = self._hosted
        if image.down and self._request.migrate is None:
            packed: bytes | None = image.down
        elif hosted.keeps_user_state:
            packed = image.user if image.user is not None else image.server
        else:
            packed = image.server if image.server is not None else image.user
        if packed is None:
            raise SwapError(f"what came of {self._id!r} has no state of a server", code=MIGRATE, id=self._id)
        if packed == CANNOT_BE_SENT:
            text = f"the state of {self._id!r} cannot be sent, and its new version has no set_state for what get_state returned"
            raise SwapError(text, code=MIGRATE, id=self._id, hint="define set_state(saved, state) in the new version, too")
        state = self._unpacked(packed)
        if hosted.keeps_user_state:
            migration.run(lambda: hosted.set_user_state(state), f"set_state of {self._id!r}", self._id)
            state = hosted.get_state()
        if change is not None:
            state = migration.run(lambda: change(state), self._what, self._id)
        hosted.replace_state(lambda _: state)

    def _become_module(self, image: Image, change: Change | None, owner: Owner) -> frozenset[str]:
        """Return the names that the migration has left out."""
        state = None if image.user is None else self._unpacked(image.user)
        data = {name: entry[1] for name, entry in image.parameters.items()}
        if image.down and self._request.migrate is None:
            what = f"code_change of the version before of {self._id!r}"
            made = migration.taken(self._unpacked(image.down), data, self._codec, what=what, id=self._id)
        elif change is not None:
            made = migration.migrated(change, data, state, self._codec, what=self._what, id=self._id)
        else:
            made = Migrated(state=state)
        self._set(made, owner)
        self._user = None
        if self._hosted.keeps_user_state and (image.user is not None or made.state is not None):
            self._user = Copied(made.state, self._codec)
            self._give_state(self._user)
        return frozenset(made.dropped)

    def _set(self, made: Migrated, owner: Owner) -> None:
        names = owner.names()
        for name in made.params:
            if name not in names:
                raise migration.undeclared(name, names, self._what, self._id)
        values = {name: decode(self._codec, self._own[name][1]) for name in made.dropped if name in names and name in self._own}
        values = {name: value for name, value in {**values, **made.params}.items() if name not in owner.reconfigured}
        try:
            owner.set_many(values, who=SWAP)
        except Exception as exc:
            raise migration.refused(exc, self._what, self._id) from None

    def _give_state(self, user: Copied) -> None:
        state = user.one()
        migration.run(lambda: self._hosted.set_user_state(state), f"set_state of {self._id!r}", self._id)

    def _unpacked(self, packed: bytes) -> Any:
        try:
            return self._codec.unpack(packed)[0]
        except ProtocolError as exc:
            text = f"the state of {self._id!r} cannot be read by its new version: {exc}"
            hint = "keep the classes in it importable under the same name, or keep plain data (get_state, set_state)"
            raise SwapError(text, code=MIGRATE, id=self._id, hint=hint) from None


def _differ(one: list[Any], other: list[Any]) -> bool:
    return bool(one[1] != other[1]) or Annex.unpack(one[2]).grad != Annex.unpack(other[2]).grad
