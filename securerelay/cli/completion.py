"""``securerelay completion``: what makes a shell complete the command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from securerelay.cli.options import Common, Verb

SHELLS = ("bash", "zsh", "fish")


@click.command(
    cls=Verb,
    epilog='Example: eval "$(securerelay completion bash)"',
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script that completes verbs and options; evaluate it in the shell's start-up file."""
    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - click knows all three
        raise click.UsageError(f"cannot complete in {shell}")
    root = context.find_root()
    script = kind(root.command, {}, "securerelay", "_SECURERELAY_COMPLETE").source()
    out = context.ensure_object(Common).out
    if out.json:
        out.say({"shell": shell, "script": script}, "")
    else:
        click.echo(script)
