"""What a program behind a proxy cannot do as in-process, each with its reason. The one list: tests ask it, the README shows it.

`python -m tests.dspy_compat.differences` prints the README's table. Every row is asserted by a test that names it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One row.

    Args:
        name: How tests ask for it.
        here: What dspy does in one process.
        there: What happens instead.
        reason: Why no process boundary can do without it.
    """

    name: str
    here: str
    there: str
    reason: str


DIFFERENCES = (
    Difference(
        "class",
        "`isinstance(program, UsersClass)` holds",
        "it does not; `isinstance(proxy, dspy.Module)` does, and `type(proxy)` has the name and the source of the user's class",
        "the object is elsewhere, and its class may be importable only there",
    ),
    Difference(
        "attributes",
        "plain attributes and methods of the user's class are there",
        "predictors, sub-modules and `dx.Parameter`s are; methods are `proxy.dx.call(name, …)`, plain attributes the process's own:"
        " setting or deleting one on the proxy is an AttributeError, as is adding or taking out a part; other names stay local",
        "an attribute read here could be another by the time it arrives; what is versioned can be mirrored, the rest cannot",
    ),
    Difference(
        "save_program",
        "`save(path, save_program=True)` writes the whole program",
        'refused, by name; `save("state.json")` and `.pkl` work, `rt.checkpoint(id)` keeps all',
        "the program is not in this process",
    ),
    Difference(
        "copies",
        "what is given to a program and what it returns are the same objects on both sides",
        "equal copies: what the program does to an argument is not seen here, nor there what a callback does to its inputs; the "
        "program does not wait for callbacks",
        "another address space",
    ),
    Difference(
        "closures",
        "tools, reward functions and mocks write into the caller's memory",
        "what is inside the hosted program runs there, on a copy of what it closed over (LMs and callbacks are relayed)",
        "another address space",
    ),
    Difference(
        "patches",
        "`mock.patch` of dspy, litellm or the program's own module reaches the program",
        "the hosted program does not see it: give it an LM of your own, `dspy.context(lm=…)`, or `dspex_runtime.testing`'s server",
        "another interpreter",
    ),
    Difference(
        "no forward",
        "a program without `forward` fails at its first call",
        "it fails at start",
        "a process that can answer nothing is not ready",
    ),
    Difference(
        "flex",
        "a bare `dspy.Flex` is a parameter of itself, and its state is the code that it wrote",
        "hosted bare it lists no parameters; its code stays in its process, and in its checkpoints",
        "what is published of a program is data; dspy calls Flex experimental",
    ),
    Difference(
        "logs",
        "what `dspy` logs and warns goes to this process's handlers",
        "to the log of the module (`dspex logs`, `rt.logs(id)`); here too under `dspy.context(relay_logs=True)`",
        "a log belongs to the process that writes it",
    ),
    Difference(
        "concurrency",
        "as many calls run at once as threads make them",
        "as many as the module's `concurrency` says, 1 by default; others wait, and a straggler that lost is cancelled",
        "the process decides what it takes; a program of its own need not be safe for threads",
    ),
    Difference(
        "await",
        "`acall` of a program without `aforward` is an AttributeError, and a plain call of one that has nothing else",
        "both run: on a thread of its process, or on its loop",
        "the caller waits for a message either way",
    ),
)


# Tests of dspy's own suite that show a difference when their programs are hosted: where, and which.
UPSTREAM = {
    "test_best_of_n.py::test_refine_forward_success_first_attempt": "closures",
    "test_best_of_n.py::test_refine_module_custom_fail_count": "closures",
    "test_refine.py::test_refine_forward_success_first_attempt": "closures",
    "test_refine.py::test_refine_module_custom_fail_count": "closures",
    "test_settings.py::test_dspy_context_with_async_task_group": "closures",
    "test_base_module.py::test_save_with_extra_modules": "save_program",
    "test_base_module.py::test_module_history": "patches",
    "test_base_module.py::test_module_history_async": "patches",
    "test_base_module.py::test_module_history_with_concurrency": "patches",
    "test_base_module.py::test_usage_tracker_in_parallel": "patches",
    "test_settings.py::test_dspy_context_with_dspy_parallel": "patches",
}

BY_NAME = {difference.name: difference for difference in DIFFERENCES}


def table() -> str:
    """Return the table in Markdown."""
    rows = [f"| {each.here} | {each.there} | {each.reason} |" for each in DIFFERENCES]
    return "\n".join(["| in one process | behind a proxy | because |", "|---|---|---|", *rows])


if __name__ == "__main__":
    print(table())
