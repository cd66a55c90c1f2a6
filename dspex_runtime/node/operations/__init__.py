"""What a client or a module may ask of the runtime, by the name it asks with.

Each operation takes the node, the request's arguments (their types are right: `arguments`) and the responder that answers it,
now or later. Raising a DspexError answers with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from dspex_runtime.node.operations import (
    alarms,
    callees,
    checkpoints,
    compile,
    groups,
    inspection,
    lifecycle,
    naming,
    params,
    parts,
    reload,
    signals,
    supervisor_api,
    swap,
)
from dspex_runtime.node.session import Responder

if TYPE_CHECKING:
    from dspex_runtime.node.node import Node

Operation = Callable[["Node", dict[str, Any], Responder], None]

TABLE: Final[dict[str, Operation]] = {
    "start": lifecycle.start,
    "stop": lifecycle.stop,
    "restart": lifecycle.restart,
    "kill": lifecycle.kill,
    "delete": lifecycle.delete,
    "shutdown": lifecycle.shutdown,
    "info": inspection.info,
    "modules": inspection.modules,
    "tree": inspection.tree,
    "analyze": inspection.analyze,
    "status": inspection.status,
    "log_path": inspection.log_path,
    "wait": inspection.wait,
    "exit_of": inspection.exit_of,
    "callees": callees.callees,
    "monitor": signals.monitor,
    "demonitor": signals.demonitor,
    "link": signals.link,
    "unlink": signals.unlink,
    "exit": signals.exit,
    "module_op": inspection.module_op,
    "unanswered": inspection.unanswered,
    "start_supervisor": supervisor_api.start_supervisor,
    "start_child": supervisor_api.start_child,
    "terminate_child": supervisor_api.terminate_child,
    "restart_child": supervisor_api.restart_child,
    "delete_child": supervisor_api.delete_child,
    "which_child": supervisor_api.which_child,
    "which_children": supervisor_api.which_children,
    "count_children": supervisor_api.count_children,
    "get_childspec": supervisor_api.get_childspec,
    "register": naming.register,
    "unregister": naming.unregister,
    "update_value": naming.update_value,
    "whereis": naming.whereis,
    "lookup": naming.lookup,
    "keys": naming.keys,
    "select": naming.select,
    "lock": naming.lock,
    "unlock": naming.unlock,
    "listen": naming.listen,
    "unlisten": naming.unlisten,
    "param_table": params.param_table,
    "param_blob": params.param_blob,
    "param_history": params.param_history,
    "param_value_at": params.param_value_at,
    "param_write": params.param_write,
    "param_subscribe": params.param_subscribe,
    "param_unsubscribe": params.param_unsubscribe,
    "checkpoint": checkpoints.checkpoint,
    "checkpoints": checkpoints.checkpoints,
    "image": checkpoints.image,
    "export": checkpoints.export,
    "import": checkpoints.import_,
    "restore": checkpoints.restore,
    "prune": checkpoints.prune,
    "past_events": checkpoints.past_events,
    "attach_parts": parts.attach_parts,
    "compile": compile.compile_,
    "scale": groups.scale,
    "spread": groups.spread,
    "board": groups.board,
    "swap": swap.swap,
    "abort_swap": swap.abort_swap,
    "rollback": swap.rollback,
    "versions": swap.versions,
    "reload": reload.reload,
    "changed_sources": reload.changed_sources,
    "set_alarm": alarms.set_alarm,
    "clear_alarm": alarms.clear_alarm,
    "alarms": alarms.alarms,
}
