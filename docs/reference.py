"""The reference: all commands with their options, and the names of the Python API, as Markdown."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "geochange"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option or argument of a command."""

    names: tuple[str, ...]
    help: str
    value: str
    """What kind of value it takes, in capitals or as choices; empty for a switch."""
    default: str
    panel: str
    """The heading under which `--help` lists it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of `geochange`."""

    name: str
    help: str
    options: tuple[Option, ...]


def commands() -> str:
    """Return a section a command, with a table of its options for each panel of its help."""
    return "\n\n".join(_section(command) for command in declared())


def _section(command: Command) -> str:
    parts = [f"## geochange {command.name}", command.help]
    for panel in dict.fromkeys(option.panel for option in command.options):
        rows = [_row(option) for option in command.options if option.panel == panel]
        heading = [f"**{panel}**"] if panel else []
        parts += [*heading, "\n".join(["| option | value | default | |", "|---|---|---|---|", *rows])]
    return "\n\n".join(parts)


def _row(option: Option) -> str:
    names = "<br>".join(f"`{name}`" for name in option.names)
    cells = names, option.value and f"`{option.value}`", option.default, option.help
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def declared() -> Iterator[Command]:
    """Yield all commands as the command line declares them."""
    from geochange.cli.commands import COMMANDS

    for name, declared_command in COMMANDS.items():
        command = declared_command.build()
        yield Command(name=name, help=command.help, options=tuple(map(_option, command.params)))


def _option(parameter: object) -> Option:
    is_option = parameter.param_type_name == "option"
    names = (
        (*parameter.opts, *parameter.secondary_opts) if is_option else (parameter.metavar or parameter.name.upper(),)
    )
    return Option(
        names=names,
        help=parameter.help or "",
        value=_value(parameter) if is_option else "",
        default=_default(parameter),
        panel=parameter.rich_help_panel or "",
    )


def _value(parameter: object) -> str:
    if parameter.is_flag:
        return ""
    annotation = parameter.type_descriptor.annotation
    return parameter.metavar or {int: "INTEGER", float: "NUMBER", Path: "PATH"}.get(annotation, "TEXT")


def _default(parameter: object) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    return "" if parameter.default is None or parameter.default is False else f"`{parameter.default}`"


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
    """Return the module of each name in `geochange.__all__`, as type checkers see it."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: str(node.module) for node in imports for alias in node.names}
    public = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    )
    return {name: homes[name] for name in public}
