"""dspex checkpoint: the saved states of modules and servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dspex_cli import completing, link, wording
from dspex_cli.commands.param import cell, when
from dspex_cli.group import subgroup
from dspex_cli.options import Settings
from dspex_cli.output import Output

if TYPE_CHECKING:
    import dspex_runtime as dx

F = TypeVar("F", bound=Callable[..., Any])

NUMBER = click.IntRange(min=1)
COLUMNS = ("NUMBER", "CREATED", "KIND", "SIZE", "VERSION", "NOTE")

command_object = subgroup("checkpoint", "Save, list, compare and restore the state of modules.")


def _id(function: F) -> F:
    return click.argument("id", shell_complete=completing.ids)(function)


def _number(name: str, metavar: str = "[NUMBER]", *, required: bool = False) -> Callable[[F], F]:
    return click.argument(name, metavar=metavar, type=NUMBER, required=required, shell_complete=completing.checkpoints)


@command_object.subcommand("create")
@_id
@click.pass_obj
def create(settings: Settings, id: str) -> None:
    """Save a module as it is now, an owner with its parts; returns when it is on the disk."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        info = runtime.checkpoint(id)
    told = f", with {_with(info)}" if info.parts else ""
    output.result(_facts(info), lambda: output.say(f"saved {id} as checkpoint {info.number}  ({wording.size(info.size)}){told}"))


@command_object.subcommand("list")
@_id
@click.pass_obj
def list_all(settings: Settings, id: str) -> None:
    """List the checkpoints of a module, newest first; also of one that is stopped or has failed."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        found = runtime.checkpoints(id)
    rows = [[info.number, when(info.created_at), info.kind, wording.size(info.size), info.version, info.note] for info in found]
    columns: tuple[str, ...] = COLUMNS
    if any(info.parts or info.of for info in found):
        columns, rows = (*COLUMNS, "WITH"), [[*row, _with(info)] for row, info in zip(rows, found, strict=True)]
    output.result([_facts(info) for info in found], lambda: output.table(columns, rows, styled=None))


@command_object.subcommand("show")
@_id
@_number("number")
@click.pass_obj
def show(settings: Settings, id: str, number: int | None) -> None:
    """Show what is in a checkpoint; the newest one without NUMBER."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        found = runtime.inspect_checkpoint(id, number)
        output.result(found, lambda: _show(output, found))


@command_object.subcommand("diff")
@_id
@_number("old", "OLD", required=True)
@_number("new", "[NEW]")
@click.pass_obj
def diff(settings: Settings, id: str, old: int, new: int | None) -> None:
    """Show which parameters differ between two checkpoints, or between one and what they are now."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        found = runtime.diff_checkpoints(id, old, new)
        rows = [[each["name"], each["change"], cell(each["old"]), cell(each["new"])] for each in found]
        output.result(found, lambda: output.table(("NAME", "CHANGE", "OLD", "NEW"), rows, styled=None))


@command_object.subcommand("restore")
@_id
@_number("number")
@click.pass_obj
def restore(settings: Settings, id: str, number: int | None) -> None:
    """Put a module back to a checkpoint, the newest one without NUMBER.

    What it is now is saved first. One that is stopped or has failed is what it was when it is started again. An owner that was
    saved with its parts is put back with them.
    """
    output = Output(settings)
    with link.runtime(settings) as runtime:
        info = runtime.restore(id, number)
    told = f", and so {'are' if len(info.parts) > 1 else 'is'} {_with(info)}" if info.parts else ""
    output.result(_facts(info), lambda: output.say(f"{id} is what it was at checkpoint {number or info.number}{told}"))


@command_object.subcommand("prune")
@_id
@click.argument("numbers", metavar="[NUMBER]...", type=NUMBER, nargs=-1, shell_complete=completing.checkpoints)
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Forget all but the newest N.")
@click.pass_obj
def prune(settings: Settings, id: str, numbers: tuple[int, ...], keep: int | None) -> None:
    """Forget checkpoints of a module: those with these numbers, or all but the newest."""
    output = Output(settings)
    if bool(numbers) == (keep is not None):
        raise click.UsageError("say which checkpoints go: their numbers, or --keep N")
    with link.runtime(settings) as runtime:
        gone = runtime.prune_checkpoints(id, keep, list(numbers) or None)
    told = ", ".join(map(str, gone)) or "none"
    output.result({"id": id, "removed": gone}, lambda: output.say(f"removed checkpoints of {id}: {told}"))


@command_object.subcommand("export")
@_id
@_number("number")
@click.option("--to", "path", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="The file to write.")
@click.pass_obj
def export(settings: Settings, id: str, number: int | None, path: str) -> None:
    """Write a checkpoint into a file, the newest one without NUMBER; `checkpoint import` takes it, here or elsewhere."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        info = runtime.export_checkpoint(id, path, number)
    output.result({**_facts(info), "file": path}, lambda: output.say(f"wrote checkpoint {info.number} of {id} to {path}"))


@command_object.subcommand("import")
@_id
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.pass_obj
def import_file(settings: Settings, id: str, path: str) -> None:
    """Take in a file that `checkpoint export` wrote, as the newest checkpoint; `checkpoint restore` puts the module back to it."""
    output = Output(settings)
    with link.runtime(settings) as runtime:
        info = runtime.import_checkpoint(id, path)
    output.result(_facts(info), lambda: output.say(f"took in {path} as checkpoint {info.number} of {id}"))


def _facts(info: dx.CheckpointInfo) -> dict[str, Any]:
    return {key: getattr(info, key) for key in ("id", "number", "created_at", "kind", "size", "version", "note", "parts", "of")}


def _with(info: dx.CheckpointInfo) -> str | None:
    """Say what was saved with it: the parts of an owner, or the owner of a part."""
    return _with_of(_facts(info))


def _with_of(facts: dict[str, Any]) -> str | None:
    if facts["of"] is not None:
        owner, number = facts["of"]
        return f"{owner} {number}"
    own = f"{facts['id']}/"
    return ", ".join(f"{part.removeprefix(own)} {number}" for part, number in facts["parts"].items()) or None


def _show(output: Output, found: dict[str, Any]) -> None:
    head = [(key, found[key]) for key in ("number", "kind")]
    size = [("when", when(found["when"])), ("size", wording.size(found["size"])), ("version", found["version"])]
    facts = [(key, cell(value)) for key, value in found["facts"].items()]
    user = [("own state", None if found["user"] is None else cell(found["user"]))]
    output.fields([*head, *size, *([("with", _with_of(found))] if found["parts"] or found["of"] else []), *facts, *user])
    output.line()
    rows = [[name, cell(p["value"]), p["version"], when(p["updated_at"]), p["who"]] for name, p in found["parameters"].items()]
    output.table(("NAME", "VALUE", "VERSION", "UPDATED", "WHO"), rows, styled=None)
