"""The reference: all commands with their options, and the names of the Python API, as Markdown."""

from __future__ import annotations

import geochange
from geochange.cli.commands import COMMANDS, Command, default_of, metavar_of
from geochange.cli.signatures import Parameter


def commands() -> str:
    """Return a section a command, with a table of its options for each panel of its help."""
    return "\n\n".join(_section(command) for command in COMMANDS.values())


def _section(command: Command) -> str:
    parts = [f"## geochange {command.name}", command.summary]
    options = command.parameters()
    for panel in dict.fromkeys(map(command.panel_of, options)):
        rows = [_row(option) for option in options if command.panel_of(option) == panel]
        parts += [f"**{panel}**", "\n".join(["| option | value | default | |", "|---|---|---|---|", *rows])]
    return "\n\n".join(parts)


def _row(option: Parameter) -> str:
    names = "<br>".join(f"`{name}`" for name in option.flags) or f"`{option.metavar or option.name.upper()}`"
    value = f"`{metavar_of(option.hint)}`" if option.flags and option.hint is not bool else ""
    default = "required" if option.required else default_of(option)
    cells = names, value, default, option.help
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def api() -> str:
    """Return the directives of mkdocstrings for all public names, in groups."""
    homes = public_names()
    errors = [name for name in homes if homes[name] == "geochange.errors"]
    rest = [name for name in homes if name not in errors]
    groups = {
        "Functions": [name for name in rest if name[0].islower()],
        "Options": [name for name in rest if name.endswith("Options")],
        "Results": [name for name in rest if name[0].isupper() and not name.endswith("Options")],
        "Errors": errors,
    }
    parts = []
    for title, names in groups.items():
        if names:
            parts += [f"## {title}", *(f"::: {homes[name]}.{name}" for name in sorted(names))]
    return "\n\n".join(parts)


def public_names() -> dict[str, str]:
    """Return the module of each public name."""
    return {name: getattr(geochange, name).__module__ for name in geochange.__all__}
