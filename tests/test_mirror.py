"""Every dspex_runtime/x/y.py has its tests in tests/x/test_y.py, or is listed here with what tests it, or why nothing does."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dspex_runtime"
TESTS = ROOT / "tests"

SKIPPED_NAMES = {"__init__.py", "__main__.py"}  # re-exports and start-up; what they start is tested
PLAIN_VALUES = {
    "config/runtime_spec.py",
    "core/child_spec.py",
    "core/dependency_events.py",
    "core/dynamic_work.py",
    "core/events.py",
    "core/instructions.py",
    "core/operation.py",
    "core/swap_events.py",
    "core/swap_instructions.py",
    "host/hosted.py",
    "osproc/warmth.py",
    "params/holders.py",
    "state/protocol.py",
    "types.py",
    "version.py",
}
# Parts that have no life of their own: tested through what they are part of.
COVERED_BY = {
    "client/reloading.py": "system/test_reload.py",
    "client/descriptors.py": "client/test_params.py",
    "node/splitting.py": "system/test_replicas_state.py",
    "client/async_orchestration.py": "system/test_orchestration.py",
    "client/orchestration.py": "system/test_orchestration.py",
    "modules/apart.py": "system/test_orchestration.py",
    "host/deadlock_refusal.py": "system/test_deadlock.py",
    "config/composition_differences.py": "config/test_plan.py",
    "config/differences.py": "config/test_plan.py",
    "config/steps.py": "config/test_plan.py",
    "node/operations/reload.py": "node/reloading/test_reload.py",
    "node/reloading/applying.py": "node/reloading/test_reload.py",
    "node/reloading/respecifying.py": "node/reloading/test_reload.py",
    "node/reloading/running.py": "node/reloading/test_reload.py",
    "node/reloading/telling.py": "node/reloading/test_reload.py",
    "client/alarm_ops.py": "system/test_alarms.py",
    "host/alarms.py": "system/test_alarms.py",
    "client/async_ref.py": "client/test_ref.py",
    "client/async_request.py": "client/test_async_requests.py",
    "client/background_loop.py": "client/test_async_calls.py",
    "client/compiling.py": "system/test_compile.py",
    "client/collection.py": "client/test_requests.py",
    "client/events.py": "client/test_runtime.py",
    "client/exits.py": "client/test_calls.py",
    "client/incoming.py": "client/test_connection.py",
    "client/inspection_ops.py": "client/test_runtime.py",
    "client/lifecycle_ops.py": "client/test_runtime.py",
    "client/mux.py": "client/test_async_calls.py",
    "client/mux_links.py": "client/test_async_calls.py",
    "client/own_names.py": "system/test_registry.py",
    "client/own_refs.py": "system/test_parts.py",
    "client/part_params.py": "system/test_parts.py",
    "host/sub_modules.py": "modules/test_parts_process.py",
    "node/operations/parts.py": "node/test_parts.py",
    "node/owned.py": "node/test_parts.py",
    "client/param_ops.py": "client/test_params.py",
    "client/proxies.py": "client/test_runtime.py",
    "client/ref_ops.py": "client/test_ref.py",
    "client/request.py": "client/test_requests.py",
    "client/runtime_core.py": "client/test_runtime.py",
    "client/signal_ops.py": "client/test_monitor.py",
    "client/supervisor_ops.py": "client/test_runtime.py",
    "config/child_schema.py": "config/test_schema.py",
    "config/collections_of.py": "config/test_value_types.py",
    "config/policy_schema.py": "config/test_schema.py",
    "config/removals.py": "config/test_plan.py",
    "config/process_rules.py": "config/test_rules.py",
    "config/tree_walk.py": "config/test_dependency_rules.py",
    "config/quantities.py": "config/test_value_types.py",
    "config/section.py": "config/test_schema.py",
    "core/dependency_node.py": "core/test_dependencies.py",
    "core/dependency_prospects.py": "core/test_dependencies.py",
    "core/reports.py": "core/test_supervision.py",
    "host/causes.py": "host/test_calls.py",
    "host/compiling.py": "host/test_keeping.py",
    "host/chores.py": "host/test_executions.py",
    "host/operations.py": "host/test_control.py",
    "host/loop_control.py": "host/test_server_loop.py",
    "host/loop_state.py": "host/test_server_loop.py",
    "host/stopping.py": "host/test_control.py",
    "host/traced.py": "host/test_debug.py",
    "host/building.py": "host/test_bootstrap.py",
    "host/template.py": "system/test_templates.py",
    "node/template.py": "node/test_templates.py",
    "node/template_life.py": "node/test_templates.py",
    "host/understudy.py": "host/test_prefault.py",
    "node/control_pipe.py": "node/test_module_process.py",
    "node/dependency_view.py": "node/test_dependencies.py",
    "node/compile_copy.py": "node/test_compiling.py",
    "node/keeper_events.py": "node/test_node.py",
    "node/swapping/beside.py": "node/swapping/test_driver.py",
    "node/swapping/leaving.py": "node/swapping/test_driver.py",
    "node/swapping/member.py": "node/swapping/test_driver.py",
    "node/swapping/order.py": "node/swapping/test_driver.py",
    "node/swapping/results.py": "node/swapping/test_driver.py",
    "node/swapping/swaps.py": "node/swapping/test_driver.py",
    "node/swapping/understudy.py": "node/swapping/test_driver.py",
    "node/keeper_link.py": "node/test_keeping.py",
    "modules/mirror/edits.py": "modules/mirror/test_mirror.py",
    "modules/mirror/image.py": "modules/mirror/test_tree.py",
    "modules/mirror/step.py": "modules/mirror/test_mirror.py",
    "modules/mirror/writer.py": "modules/mirror/test_mirror.py",
    "modules/relay/events.py": "modules/relay/test_calling.py",
    "modules/relay/protocol.py": "modules/relay/test_calling.py",
    "modules/relay/record.py": "modules/relay/test_calling.py",
    "modules/relayed/serving.py": "modules/relay/test_calling.py",
    "modules/relayed/channel.py": "modules/relay/test_calling.py",
    "modules/relayed/context.py": "modules/relay/test_context.py",
    "modules/relayed/events.py": "modules/relay/test_calling.py",
    "modules/relayed/logs.py": "modules/relay/test_calling.py",
    "modules/relayed/objects.py": "modules/relay/test_objects.py",
    "modules/relayed/record.py": "modules/relay/test_calling.py",
    "osproc/zygote_loop.py": "osproc/test_zygote.py",
    "state/loading.py": "state/test_service.py",
    "osproc/rights.py": "osproc/test_channel.py",
    "osproc/stream.py": "osproc/test_channel.py",
    "params/coercion.py": "params/test_constraints.py",
    "params/coder.py": "params/test_owner.py",
    "params/journal.py": "params/test_segments.py",
    "params/journals.py": "params/test_ledger.py",
    "params/publisher.py": "params/test_owner.py",
    "params/writes.py": "params/test_ledger.py",
    "wire/bodies.py": "wire/test_codec.py",
}


def own_test(inside: str) -> Path:
    return TESTS / Path(inside).parent / f"test_{Path(inside).name}"


def test_every_file_has_its_tests() -> None:
    missing = [
        f"{inside} has no {own_test(inside).relative_to(ROOT)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name not in SKIPPED_NAMES
        if (inside := path.relative_to(PACKAGE).as_posix()) not in PLAIN_VALUES | COVERED_BY.keys()
        if not own_test(inside).is_file()
    ]
    assert not missing, "\n".join(missing)


def test_every_exception_is_one() -> None:
    stale = [
        inside for inside in PLAIN_VALUES | COVERED_BY.keys() if not (PACKAGE / inside).is_file() or own_test(inside).is_file()
    ]
    assert not stale
    assert not [test for test in COVERED_BY.values() if not (TESTS / test).is_file()]
