"""The command line of an algorithm, from the values of its parameters. It needs no QGIS.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from geochange_qgis.parameters import Option, name_of, options_of


def argument_line(command: dict[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Return the words after `geochange`: the command with its options, then its inputs.

    Args:
        command: as the description has it.
        values: by the names of parameters: texts, numbers, truth values, or lists of these. None, an empty text and an
            empty list are not given; nor is what is the default anyway.
    """
    words = list(command["name"].split())
    inputs: list[str] = []
    for option in options_of(command):
        value = values.get(name_of(option))
        if value is None or value in ("", []):
            continue
        if option["flags"]:
            words += option_words(option, value)
        else:
            inputs += [str(each) for each in value] if isinstance(value, list) else [str(value)]
    return [*words, "--", *inputs] if inputs else words


def option_words(option: Option, value: Any) -> list[str]:
    """Return the words of one option; none where the value is the default."""
    flag, kind = option["flags"][0], option["type"]
    if kind == "flag":
        return _flag_words(option, value)
    if kind == "pairs":
        return [f"{flag}={each}" for each in shlex.split(str(value))]
    if kind == "list" and isinstance(value, list):
        if value == option["default"]:
            return []
        return [f"{flag}={_text(each)}" for each in value] if option.get("again") else [f"{flag}={_joined(value)}"]
    text = _text(value)
    return [] if text == _text(option["default"]) else [f"{flag}={text}"]


def _flag_words(option: Option, value: Any) -> list[str]:
    wanted = {"on": True, "off": False}.get(value, value) if isinstance(value, str) else bool(value)
    if wanted == option["default"]:
        return []
    return [option["flags"][0] if wanted else option["off"]]


def _joined(values: list[Any]) -> str:
    return ",".join(map(_text, values))


def _text(value: Any) -> str:
    """Return a number with all its digits, a list with commas, and any text as it is."""
    if isinstance(value, list):
        return _joined(value)
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else repr(value)
    return str(value)
