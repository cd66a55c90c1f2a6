"""Another spec while it runs: of one child, or of the supervisor itself (OTP: what `code_change` of a supervisor may do).

Nothing is started or stopped here. A request like others: while the supervisor is starting or sweeping it waits for its turn.
"""

from __future__ import annotations

from dspex_runtime.core import answers
from dspex_runtime.core.child_spec import ChildSpec, SupervisorSpec
from dspex_runtime.core.child_table import Life
from dspex_runtime.core.instructions import Err, Ok
from dspex_runtime.core.supervision_state import SupervisionState

__all__ = ["change_child", "change_supervisor"]


def change_child(supervision: SupervisionState, spec: ChildSpec) -> Ok | Err:
    """Give a child another spec, running or not."""
    record = supervision.table.get(spec.id)
    if record is None:
        return answers.not_found(spec.id, supervision.table)
    supervision.respecify(record, spec)
    return Ok()


def change_supervisor(supervision: SupervisionState, spec: SupervisorSpec) -> Ok | Err:
    """Supervise by another spec.

    Raises:
        ValueError: It is that of another kind of supervisor.
    """
    if spec.dynamic != supervision.spec.dynamic:
        raise ValueError(f"a supervisor with dynamic: {supervision.spec.dynamic} cannot become one with dynamic: {spec.dynamic}")
    if spec.strategy is not supervision.spec.strategy:
        # Others may be down until this one is up, by the strategy that there was: by another one nobody would start them.
        due = next((record for record in supervision.table if record.life is Life.RESTARTING), None)
        if due is not None:
            return Err("restarting", f"the strategy cannot be changed while {due.id!r} is being restarted", child_id=due.id)
    supervision.reconfigure(spec)
    return Ok()
