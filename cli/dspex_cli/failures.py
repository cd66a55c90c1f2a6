"""Errors to exit codes and messages. The only place that knows both; commands just let errors rise.

0 ok · 1 error · 2 usage or invalid config · 3 something asked about is not running · 4 no runtime reachable · 8 time-out ·
130 interrupted.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any, Final

import click

from dspex_cli.output import dumps, visible

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
NOT_RUNNING: Final = 3
UNREACHABLE: Final = 4
TIMEOUT: Final = 8
INTERRUPTED: Final = 130

# Frames of installed packages, of Python's own and of ours.
NOT_USERS: Final = ("/site-packages/", "/lib/python3", "/dspex_runtime/", 'File "<')
SWAPS: Final = {"not_running": NOT_RUNNING, "timeout": TIMEOUT, "drain_timeout": TIMEOUT}  # of the codes of a SwapError
PARAMETER_FACTS: Final = ("name", "constraint", "limit", "value")  # of a refused value


def report(error: BaseException, *, as_json: bool, verbose: bool) -> int:
    """Print an error where it belongs (stderr; with -o json on stdout) and return the exit code."""
    facts = describe(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not as_json:
        print(facts["message"], file=sys.stderr, flush=True)  # bare `dspex`: the help itself is the answer
    elif as_json:
        print(dumps({"error": facts}, indent=2), flush=True)
    else:
        print(_text(error, facts, verbose=verbose), file=sys.stderr, flush=True)
    return exit_code(error)


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error."""
    if isinstance(error, click.UsageError):
        return USAGE
    if isinstance(error, click.ClickException):
        return error.exit_code
    from dspex_runtime import errors

    table = (
        (errors.ConfigError, USAGE),
        (errors.RuntimeUnreachableError, UNREACHABLE),
        (errors.CallTimeoutError, TIMEOUT),
        (errors.NoProcessError, NOT_RUNNING),
    )
    if isinstance(error, errors.SwapError):
        return SWAPS.get(error.code, ERROR)
    return next((code for kind, code in table if isinstance(error, kind)), ERROR)


def describe(error: BaseException) -> dict[str, Any]:
    """Return the error as the object of `-o json`: code, message, id, hint, and what else the kind of error has."""
    if isinstance(error, click.ClickException):
        return {
            "code": "usage" if isinstance(error, click.UsageError) else "error",
            "message": error.format_message(),
            "id": None,
            "hint": None,
        }
    from dspex_runtime.errors import DspexError, RemoteError

    cause = error.__cause__
    if isinstance(error, DspexError):
        message = error.message.partition("\n")[0].rstrip(":") if getattr(error, "problems", None) else error.message
        facts = {"code": error.code, "message": message, "id": error.id, "hint": error.hint}
        extra = {key: getattr(error, key, None) for key in ("problems", "reason", "remote_traceback", "type_name", "incarnation")}
        told = {key: value for key, value in extra.items() if value not in (None, [], "")}
        refused = {key: value for key in PARAMETER_FACTS if (value := getattr(error, key, None)) is not None}
        return {**facts, **told, **refused}
    if isinstance(cause, RemoteError):
        # A module's own exception, raised here as its own type.
        facts = {"code": "remote", "message": f"{_type_name(error)}: {error}", "id": cause.id, "hint": None}
        return {**facts, "type_name": cause.type_name, "incarnation": cause.incarnation, "remote_traceback": cause.remote_traceback}
    return {
        "code": "internal",
        "message": f"{_type_name(error)}: {error}",
        "id": None,
        "hint": "run again with -v for the traceback",
    }


def _type_name(error: BaseException) -> str:
    return type(error).__qualname__


def _users_frame(traceback: str, message: str) -> list[str]:
    """Return the last frame that is the user's, and what was raised there: where most frames are dspy's, or ours."""
    found: list[str] = []
    lines = traceback.splitlines()
    for index, line in enumerate(lines):
        if line.lstrip().startswith('File "') and not any(part in line for part in NOT_USERS):
            found = [line, *itertools.takewhile(lambda each: not each.lstrip().startswith('File "'), lines[index + 1 :])]
    frame = list(itertools.takewhile(lambda each: each.startswith(" "), found))
    raised = [line for line in found[len(frame) : len(frame) + 1] if line and line not in message]
    code = [line.strip() for line in frame[1:] if line.strip(" ^~")]
    return [*(f"  {line.strip()}" for line in frame[:1]), *(f"    {line}" for line in code), *(f"  {line}" for line in raised)]


def _by_frame(error: BaseException) -> bool:
    """Return whether of an error's traceback the user's last frame tells enough."""
    from dspex_runtime.errors import CompileError, ReloadError, SwapError

    return isinstance(error, CompileError | ReloadError | SwapError)


def _text(error: BaseException, facts: dict[str, Any], *, verbose: bool) -> str:
    lines = [f"error: {facts['message']}"]
    lines.extend(f"  {problem}" for problem in facts.get("problems", ()) if problem not in facts["message"])
    if facts["code"] == "remote" and facts["id"]:
        lines.append(f"  raised in {facts['id']!r}, incarnation {facts.get('incarnation')}")
    remote = facts.get("remote_traceback")
    by_frame = _by_frame(error)
    if remote and (verbose or not (by_frame or facts["code"] == "remote")):
        lines += ["", remote.rstrip()]
    elif remote:
        lines += _users_frame(remote, facts["message"]) if by_frame else []
        lines.append("  hint: -v prints the module's traceback")
    if facts["hint"]:
        lines.append(f"  hint: {facts['hint']}")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        lines.append(f"  hint: {error.ctx.command_path} --help")
    if verbose and facts["code"] == "internal":
        import traceback

        lines += ["", "".join(traceback.format_exception(error)).rstrip()]
    return visible("\n".join(lines))
