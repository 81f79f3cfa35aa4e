"""The reference: all commands with their options, and the names of the Python API, as Markdown."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, fields
from html import escape

import geochange
from geochange.cli.commands import COMMANDS, Command, default_of, described, metavar_of
from geochange.cli.signatures import Parameter
from geochange.declarations import Options, field_docs


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
    names = [_code(name) for name in option.flags] or [_code(option.metavar or option.name.upper())]
    value = _code(metavar_of(option.hint)) if option.flags and option.hint is not bool else ""
    default = "required" if option.required else default_of(option)
    return _cells("<br>".join(names), value, default, described(option))


def _code(text: str) -> str:
    return f"<code>{escape(text).replace('|', '&#124;')}</code>"


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def api() -> str:
    """Return the reference of all public names, in groups: directives of mkdocstrings, and tables of options."""
    homes = public_names()
    errors = [name for name in homes if homes[name] == "geochange.errors"]
    options = [name for name in homes if is_options(name)]
    rest = [name for name in homes if name not in {*errors, *options}]
    groups = {
        "Functions": [name for name in rest if name[0].islower()],
        "Results": [name for name in rest if name[0].isupper() and name != "Listener"],
        "Options": options,
        "Progress": ["Listener"],
        "Errors": errors,
    }
    parts = []
    for title, names in groups.items():
        sections = (_options(name) if is_options(name) else f"::: {homes[name]}.{name}" for name in names)
        parts += [f"## {title}", *sections]
    return "\n\n".join(parts)


def is_options(name: str) -> bool:
    """Whether a public name is a class of options."""
    found = getattr(geochange, name)
    return isinstance(found, type) and issubclass(found, Options)


def _options(name: str) -> str:
    """Return a section for a class of options: its fields, inherited ones among them, as the API takes them by name."""
    kind = getattr(geochange, name)
    docs = field_docs(kind)
    rows = [
        _cells(
            _code(field.name),
            _code(str(field.type)),
            _code(_default(field)),
            " ".join(docs.get(field.name, "").split()),
        )
        for field in fields(kind)
    ]
    return "\n\n".join(
        [
            f"### {name}",
            inspect.getdoc(kind) or "",
            "\n".join([_cells("field", "type", "default", ""), "|---|---|---|---|", *rows]),
        ]
    )


def _default(field: Field[object]) -> str:
    return repr(field.default if field.default is not MISSING else field.default_factory())


def public_names() -> dict[str, str]:
    """Return the module of each public name."""
    return {name: getattr(geochange, name).__module__ for name in geochange.__all__}
