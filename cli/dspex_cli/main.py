"""`dspex`: parse, call the client, print, exit code. Never decides anything about the tree."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from dspex_cli.commands import TABLE
from dspex_cli.group import DspexGroup, ReaderGone
from dspex_cli.options import Settings, asks_for_json

EPILOG = "Exit codes: 0 ok, 1 error, 2 usage or invalid config, 3 not running, 4 no runtime reachable, 8 time-out, 130 interrupted."


@click.group(
    name="dspex",
    cls=DspexGroup,
    table=TABLE,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="dspex-runtime", prog_name="dspex")
def dspex() -> None:
    """DSPy modules as supervised processes: start a tree, watch it, call it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; nothing escapes as a traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    settings = Settings()
    try:
        code = dspex.main(arguments, prog_name="dspex", standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return 130
    except (ReaderGone, BrokenPipeError):
        _discard_stdout()
        return 0
    except SystemExit as exc:  # click's completion protocol ends this way
        return exc.code if isinstance(exc.code, int) else 1
    except Exception as exc:
        from dspex_cli import failures

        try:
            return failures.report(exc, as_json=asks_for_json(arguments), verbose=settings.verbose)
        except BrokenPipeError:
            _discard_stdout()
            return failures.exit_code(exc)
    return code if isinstance(code, int) else 0


def _discard_stdout() -> None:
    # The interpreter flushes stdout once more at its exit and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
