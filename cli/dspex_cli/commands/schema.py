"""dspex schema: the shape of the YAML."""

from __future__ import annotations

import click

from dspex_cli.group import command
from dspex_cli.options import Settings
from dspex_cli.output import Output, dumps


@command("schema")
@click.pass_obj
def command_object(settings: Settings) -> None:
    """Print the JSON Schema of the YAML, for editors.

    Save it and begin a file with: # yaml-language-server: $schema=dspex.schema.json
    """
    from dspex_runtime.config import json_schema

    output = Output(settings)
    schema = json_schema()
    output.result(schema, lambda: output.line(dumps(schema, indent=2)))
