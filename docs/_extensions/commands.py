"""The directive ``.. commands::``, which writes the command line's reference from the commands.

What it prints is what the program does: no option can be missing, and none can be out of date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from securerelay.cli.entry import cli


def describe(command: click.Command, path: str) -> Iterator[str]:
    """Yield the lines of reStructuredText that describe a command and the commands under it.

    Args:
        command: what click knows.
        path: how it is called, such as ``securerelay keys``.
    """
    context = click.Context(command, info_name=path)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from describe(child, f"{path} {name}")
        return
    verb = path.partition(" ")[2]
    usage = " ".join(command.collect_usage_pieces(context))
    yield from [verb, "-" * len(verb), "", "::", "", f"    {path} {usage}", ""]
    for text in (command.help, command.epilog):
        for paragraph in (text or "").split("\n\n"):
            yield from [*paragraph_of(paragraph), ""]
    yield from options(command)


def paragraph_of(paragraph: str) -> list[str]:
    """Return one paragraph of help; one that click keeps verbatim becomes a literal block."""
    lines = paragraph.splitlines()
    if lines and lines[0].strip() == "\b":
        return ["::", "", *("    " + line for line in lines[1:])]
    return [prose(line.strip()) for line in lines]


def prose(text: str) -> str:
    """Return text as reStructuredText that shows just this text, with `...` as literals."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*|_\\])", r"\\\1", part) for part in parts[::2]]
    return "``".join(parts)


def options(command: click.Command) -> Iterator[str]:
    """Yield a definition list of a command's own options; those of every command are told once."""
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        if not parameter.expose_value:
            continue
        names = ", ".join([*parameter.opts, *parameter.secondary_opts])
        value = "" if parameter.is_flag or parameter.count else f" {value_of(parameter)}"
        yield from [f"``{names}{value}``", f"    {prose(parameter.help or '')}", ""]


def value_of(parameter: click.Option) -> str:
    """Return the word that stands for an option's value."""
    if parameter.metavar:
        return parameter.metavar
    if isinstance(parameter.type, click.Choice):
        return "|".join(str(choice) for choice in parameter.type.choices)
    return parameter.type.name.upper()


class Commands(SphinxDirective):
    """``.. commands::`` takes no argument and no content."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each command."""
        self.env.note_reread()  # the commands may change while this page does not
        lines = StringList(list(describe(cli, "securerelay")), source="securerelay.cli")
        holder = nodes.section()
        holder.document = self.state.document
        nested_parse_with_titles(self.state, lines, holder)
        return holder.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
