"""What all commands take, as one JSON value, for programs that offer them in their own way: `geochange --describe`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from geochange.cli.commands import BETWEEN, COMMANDS, Command, is_mapping
from geochange.cli.signatures import Parameter

FORM = 1
"""Number of the form of the description; it rises where a reader must change."""

SCALARS: Mapping[Any, str] = {int: "integer", float: "number"}
NAMED = ("raster", "layer", "map", "file", "folder", "band", "extent")
TYPES = ("flag", "integer", "number", "text", "choice", "list", "pairs", *NAMED)
"""All types: a map is a raster or a layer, pairs are NAME=VALUE, and an extent is left,bottom,right,top or a layer."""

ARGUMENTS = {
    **dict.fromkeys(("before", "after", "between", "image", "raster", "rasters", "probability"), "raster"),
    **dict.fromkeys(("changes", "layer", "from_to.before", "from_to.after"), "layer"),
    **dict.fromkeys(("predicted", "reference"), "map"),
    **dict.fromkeys(("pairs", "model", "picture", "save_model", "show_augmented"), "file"),
    **dict.fromkeys(("run", "folder", "watch.images", "import_dataset.source", "finetune.review"), "folder"),
}
"""What the text of a function's argument names, by the argument, or by function and argument. The fields of options
say it themselves, by `names` in their metadata."""

WRITTEN = ("out", "folder", "picture", "save_model", "show_augmented")
"""Arguments that name what is written."""

OUTPUTS = {"Folder": "folder", ".gpkg": "layer", "suffix names": "layer", "GeoTIFF": "raster", ".tif": "raster"}
"""What is written to an output whose help has these words; a file where it has none of them."""


def description_text() -> str:
    """Return the description as JSON, the same bytes each time."""
    return json.dumps(describe_commands(), indent=1) + "\n"


def describe_commands() -> dict[str, Any]:
    """Return the version, the number of the form, and all commands in the order of the help."""
    commands = [describe_command(command) for command in COMMANDS.values()]
    return {"geochange": version("geochange"), "form": FORM, "commands": commands}


def describe_command(command: Command) -> dict[str, Any]:
    """Return what a command takes: its inputs in the order in which they are given, and its options."""
    options = [each for each in command.parameters() if each.flags]
    return {
        "name": command.name,
        "summary": command.summary,
        "inputs": [_describe(command, each) for each in _inputs(command)],
        "options": [_describe(command, each) for each in options],
    }


def _inputs(command: Command) -> list[Parameter]:
    """Return the arguments; dates between the first and the last stand where they are given."""
    first, rest = command.signature.inputs[:1], command.signature.inputs[1:]
    return [*first, *(each for each in command.signature.keywords if each.name == BETWEEN), *rest]


def _describe(command: Command, parameter: Parameter) -> dict[str, Any]:
    own = parameter in (*command.signature.inputs, *command.signature.keywords)
    names = _argument_names(command, parameter) if own else parameter.names
    flags = () if parameter.name == BETWEEN else parameter.flags
    found = {
        "name": parameter.name,
        "flags": list(flags),
        **value_of(parameter.hint, names),
        "default": default_value(parameter),
        "unset": parameter.unset,
        "required": parameter.required,
        "help": parameter.help,
        "panel": command.panel_of(parameter) if flags else command.panel_of(Parameter(parameter.name, str, "")),
    }
    if parameter.written or (own and parameter.name in WRITTEN):
        found["written"] = True
    if flags and _may_be_switched_off(parameter):
        found["off"] = f"--no-{flags[0].removeprefix('--')}"
    if flags and found["type"] == "list" and parameter.hint == list[str]:
        found["again"] = True  # the flag is given for each entry
    return found


def _argument_names(command: Command, parameter: Parameter) -> str | None:
    name = parameter.name
    if name == "out":
        return next((kind for words, kind in OUTPUTS.items() if words in parameter.help), "file")
    return ARGUMENTS.get(f"{command.function_name}.{name}", ARGUMENTS.get(name))


def _may_be_switched_off(parameter: Parameter) -> bool:
    return parameter.default is True or _without_none(parameter.hint) == [bool] != [parameter.hint]


def _without_none(hint: Any) -> list[Any]:
    """Return the types of a union but None, and those of a single one."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [each for each in kinds if each is not NoneType]


def value_of(hint: Any, names: str | None = None) -> dict[str, Any]:
    """Return the type of a value, of those in `TYPES`, with its choices or the type of its entries.

    Args:
        hint: as the function or the options class declares it.
        names: what its text names, if that is known.
    """
    kinds = _without_none(hint)
    return {"type": names or "text"} if len(kinds) > 1 else _single_value(kinds[0], names)


def _single_value(hint: Any, names: str | None) -> dict[str, Any]:
    kind, inner = get_origin(hint), get_args(hint)
    if is_mapping(hint):
        return {"type": "pairs"}
    if kind in (list, tuple):
        fixed = {"length": len(inner)} if kind is tuple and inner[-1] is not Ellipsis else {}
        return {"type": "list", "of": value_of(inner[0], names), **fixed}
    if kind is Literal:
        return {"type": "choice", "choices": [str(each) for each in inner]}
    if hint is bool:
        return {"type": "flag"}
    return {"type": names or SCALARS.get(hint, "text")}


def default_value(parameter: Parameter) -> Any:
    """Return the default as JSON has it: choices as text, and None where nothing is given."""
    value = parameter.default
    if value is None:
        return False if parameter.hint is bool else None
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if value_of(parameter.hint)["type"] in ("choice", "text"):
        return str(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value
