"""Which kind of parameter each option of a command is in QGIS. It needs no QGIS.

The options themselves stand in `commands.json`, which `geochange --describe` has written; none are listed here.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DESCRIPTION = Path(__file__).with_name("commands.json")
FORM = 1
"""Form of the description that is read here."""

ALGORITHMS = ("detect", "check", "align", "vectorize", "evaluate", "refine", "fuse", "kinds", "review")
"""Commands that are offered, in the order of the toolbox's documentation."""

GROUPS = {
    "Compare images": ("detect", "check", "align"),
    "Work on changes": ("vectorize", "refine", "fuse", "kinds"),
    "Judge changes": ("evaluate", "review"),
}

OWN = ("as_json", "quiet", "options_file")
"""Options that are no matter of the user here."""

ADVANCED = ("Images", "Detector", "Network", "Model", "Tiles and workers", "Output")
"""Panels whose options are shown with the advanced parameters."""

LEADING = ("image", "before", "raster", "probability")
"""Images that bands may be of, the most likely first."""

SIMPLE = {
    "integer": "integer",
    "number": "number",
    "text": "text",
    "pairs": "pairs",
    "choice": "choice",
    "extent": "extent",
    "raster": "raster",
    "layer": "layer",
    "map": "map",
    "file": "file",
    "folder": "folder",
    "band": "text",
}
MANY = {"raster": "rasters", "layer": "layers", "map": "maps", "choice": "choices", "band": "bands"}
"""Lists that QGIS has a parameter for; others are texts with commas."""

CHOSEN = ("flag", "choice", "integer", "number")
"""Kinds that always have a value where there is a default, so that QGIS need not call them optional."""

Option = dict[str, Any]
"""An input or an option, as the description has it."""


class FormUnknown(Exception):
    """The description is of another form than the plugin reads."""


@dataclass(frozen=True)
class Field:
    """A parameter of an algorithm, as far as that can be said without QGIS."""

    name: str
    """In QGIS: the option's name, as MIN_AREA for --min-area."""
    kind: str
    """flag, switch (on, off or neither), those of `SIMPLE` and `MANY`, or what is written: raster output, layer output,
    file output, folder output."""
    option: Option
    label: str
    default: Any
    optional: bool
    advanced: bool
    choices: tuple[str, ...] = ()
    parent: str | None = None
    """Parameter with the raster that bands and extents belong to."""

    @property
    def help(self) -> str:
        """The declared help, and what it means that nothing is given."""
        unset = self.option["unset"]
        return f"{self.option['help']} Default: {unset}." if unset else str(self.option["help"])


def read_commands(path: Path = DESCRIPTION) -> dict[str, dict[str, Any]]:
    """Return the commands of a description, by name.

    Raises:
        FormUnknown: it is of another form, or there is none.
    """
    if not path.exists():
        raise FormUnknown(f"{path.name} is missing: the plugin is made by `make qgis-plugin`")
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["form"] != FORM:
        raise FormUnknown(f"{path.name} is of form {found['form']}, and the plugin reads form {FORM}")
    return {command["name"]: command for command in found["commands"]}


def described_version(path: Path = DESCRIPTION) -> str:
    """Return the version of geochange whose commands the plugin knows."""
    return str(json.loads(path.read_text(encoding="utf-8"))["geochange"])


def options_of(command: dict[str, Any]) -> list[Option]:
    """Return what a user may give to a command: its inputs, then its options, in the order of the help."""
    return [*command["inputs"], *(each for each in command["options"] if each["name"] not in OWN)]


def fields_of(command: dict[str, Any]) -> list[Field]:
    """Return the parameters of a command: those that are needed first, what is written last."""
    found = [_field(each, command) for each in options_of(command)]
    return sorted(found, key=lambda each: (is_output(each), each.advanced, not each.option["required"]))


def is_output(field: Field) -> bool:
    """Whether a parameter names what is written."""
    return field.kind.endswith(" output")


def is_report(command: dict[str, Any]) -> bool:
    """Whether a command's answer is what it is called for: it need not write anything."""
    return not any(each.get("written") and each["required"] for each in command["options"])


def name_of(option: Option) -> str:
    """Return the name of a parameter: that of the option on the command line, in capitals."""
    name = option["flags"][0].lstrip("-") if option["flags"] else option["name"]
    return str(name).replace("-", "_").upper()


def kind_of(option: Option) -> str:
    """Return the kind of a parameter, as `Field` has it."""
    kind = option["type"]
    if kind == "flag":
        return "switch" if option["default"] is None else "flag"
    if kind == "list":
        return MANY.get(option["of"]["type"], "text")
    if option.get("written"):
        return f"{kind} output"
    return SIMPLE[kind]


def _field(option: Option, command: dict[str, Any]) -> Field:
    kind = kind_of(option)
    return Field(
        name=name_of(option),
        kind=kind,
        option=option,
        label=_label(option),
        default=_default(option, kind),
        optional=not option["required"] and (kind not in CHOSEN or option["default"] is None),
        advanced=_is_advanced(option, command),
        choices=_choices(option, kind),
        parent=_parent(command) if kind in ("bands", "extent") else None,
    )


def _label(option: Option) -> str:
    words = name_of(option).replace("_", " ").lower()
    label = {"aoi": "area of interest", "output": "results"}.get(words, words)
    return label[:1].upper() + label[1:]


def _default(option: Option, kind: str) -> Any:
    """Return what the parameter shows at first; lists in QGIS's texts have commas."""
    default = option["default"]
    if kind == "text" and isinstance(default, list):
        return ",".join(map(str, default)) or None
    if kind in ("pairs", "rasters", "layers", "maps", "bands") and not default:
        return None
    return default


def _choices(option: Option, kind: str) -> tuple[str, ...]:
    if kind == "switch":
        return ("on", "off")
    return tuple(option.get("choices") or option.get("of", {}).get("choices") or ())


def _is_advanced(option: Option, command: dict[str, Any]) -> bool:
    """Say whether an option is rare: where the help has a first panel, all that is not in it."""
    if option["required"] or option["name"] == "overwrite":
        return False
    if option["type"] == "extent":  # where images are compared, it comes from the canvas
        return not any(each["name"] == "before" and each["required"] for each in command["inputs"])
    panels = {each["panel"] for each in command["options"]}
    if option["panel"] == "Arguments":
        return option["type"] == "list"  # dates between the first and the last
    return option["panel"] != "Most used" if "Most used" in panels else option["panel"] in ADVANCED


def _parent(command: dict[str, Any]) -> str | None:
    known = {each["name"]: each for each in options_of(command)}
    return next((name_of(known[each]) for each in LEADING if each in known), None)
