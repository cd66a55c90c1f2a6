"""dspex call: words to arguments, a result to print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from dspex_cli import completing, link
from dspex_cli.group import NumbersCommand, command
from dspex_cli.options import DURATION, Settings, assignments, is_assignment, json_or_text
from dspex_cli.output import Output, dumps, visible

if TYPE_CHECKING:
    import dspex_runtime as dx

CALL = "__call__"


@dataclass(slots=True)
class Request:
    """What is asked: a module's method with arguments, or a server's request."""

    method: str = CALL
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    request: Any = None


@command("call", cls=NumbersCommand)
@click.argument("id", shell_complete=completing.ids)
@click.argument("words", metavar="[METHOD] [K=V]...", nargs=-1)
@click.option(
    "--json",
    "json_text",
    metavar="JSON|-",
    help="Arguments as JSON (object: named, list: positional), or a server's request; - is stdin.",
)
@click.option("--timeout", type=DURATION, metavar="DURATION", help="Give up after this; exit 8.")
@click.option("--stream", is_flag=True, help="Print the items of a stream as they come.")
@click.pass_obj
def command_object(
    settings: Settings, id: str, words: tuple[str, ...], json_text: str | None, timeout: float | None, stream: bool
) -> None:
    """Call a module or a server and print the result.

    METHOD defaults to the module's call. A value that is JSON is passed as such, anything else as text. For a GenServer the request
    is the word without `=`, or what --json says.
    """
    output = Output(settings)
    given = _json_argument(json_text)
    with link.runtime(settings) as runtime:
        kind = str(runtime.info(id).kind)
        if kind == "supervisor":
            raise click.UsageError(f"{id!r} is a supervisor and takes no calls; call one of its children")
        if kind == "server":
            if stream:
                raise click.UsageError("a GenServer answers once; --stream is for modules")
            request = server_request(words, given)
            # OTP's five seconds are the client's default, too.
            result = runtime.server(id).call(request, **({} if timeout is None else {"timeout": timeout}))
            _show(output, result)
            return
        call = module_request(words, given)
        if "timeout" in call.kwargs:
            raise click.UsageError(
                "`timeout` is the client's own argument and cannot be passed to the module; --timeout limits the call"
            )
        if stream:
            _items(output, _stream(runtime, id, call, timeout))
        else:
            _show(output, runtime.ref(id).call(call.method, *call.args, timeout=timeout, **call.kwargs))


def module_request(words: tuple[str, ...], given: tuple[bool, Any]) -> Request:
    """Return method and arguments; `given` is (whether --json was there, its value)."""
    request = Request()
    if words and not is_assignment(words[0]):
        request.method, words = words[0], words[1:]
        if not request.method.isidentifier():
            raise click.UsageError(f"{request.method!r} is neither a method name nor name=value; text goes as name='…'")
    has_json, value = given
    match value if has_json else {}:
        case dict() as named:
            request.kwargs.update(named)
        case list() as positional:
            request.args.extend(positional)
        case other:
            raise click.UsageError(f"--json takes an object or a list for a module, got {type(other).__name__}")
    for name, item in assignments(words).items():
        if name in request.kwargs:
            raise click.UsageError(f"{name!r} is given twice, in --json and as {name}=…")
        request.kwargs[name] = item
    return request


def server_request(words: tuple[str, ...], given: tuple[bool, Any]) -> Any:
    """Return the request of a GenServer: one word, `k=v` words as an object, or the value of --json; None when nothing is said."""
    has_json, value = given
    if has_json and words:
        raise click.UsageError("a request is either a word or --json, not both")
    if has_json:
        return value
    if len(words) == 1 and not is_assignment(words[0]):
        return json_or_text(words[0])
    if not all(is_assignment(word) for word in words):
        raise click.UsageError("a GenServer takes one request: one word, or name=value pairs, or --json")
    return assignments(words) if words else None


def _json_argument(text: str | None) -> tuple[bool, Any]:
    if text is None:
        return False, None
    source = "stdin" if text == "-" else "--json"
    try:
        return True, json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as exc:
        raise click.UsageError(f"{source} is not JSON: {exc}") from None


def _stream(runtime: dx.Runtime, id: str, call: Request, timeout: float | None) -> Iterable[Any]:
    method = None if call.method == CALL else call.method
    stream: Iterable[Any] = runtime.ref(id).stream(method, *call.args, timeout=timeout, **call.kwargs)
    return stream


def _items(output: Output, items: Iterable[Any]) -> None:
    for item in items:
        output.item(item, lambda item=item: output.line(_readable(item)))  # type: ignore[misc]
    # What the method returned after its last item: all there is when it does not stream.
    value = getattr(items, "value", None)
    if value is not None:
        output.item(value, lambda: output.line(_readable(value)))


def _show(output: Output, result: Any) -> None:
    def show() -> None:
        # A Prediction arrives as its fields: one paragraph each reads better than JSON.
        if isinstance(result, dict) and result and all(isinstance(key, str) for key in result):
            output.fields((key, _readable(value)) for key, value in result.items())
        else:
            output.line(_readable(result))

    output.result(result, show)


def _readable(value: Any) -> str:
    """A result for people. Into a file or a pipe text goes as it is; a terminal would obey what is in it."""
    if isinstance(value, str):
        return visible(value) if sys.stdout.isatty() else value
    return dumps(value, indent=2 if isinstance(value, dict) else None)
