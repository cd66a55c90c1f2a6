"""`python -m bench [NAME ...]`: run all benchmarks, or the named ones, one after the other."""

from __future__ import annotations

import importlib
import sys

from bench.harness import note_machine

ALL = (
    *("call", "start", "recovery", "thousand", "core", "params_read", "params_set", "params_set_client", "param_recovery"),
    *("compile", "swap", "composite"),
)


def main(names: list[str]) -> int:
    """Run the named benchmarks."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    note_machine()
    for name in names or ALL:
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
