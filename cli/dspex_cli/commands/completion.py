"""dspex completion: click's own scripts."""

from __future__ import annotations

import click

from dspex_cli.group import command


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command_object(ctx: click.Context, shell: str) -> None:
    """Print a completion script for bash, zsh or fish.

    bash: eval "$(dspex completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc; fish: dspex completion fish | source
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # the choice above has only shells click knows
    print(found(ctx.find_root().command, {}, "dspex", "_DSPEX_COMPLETE").source())
