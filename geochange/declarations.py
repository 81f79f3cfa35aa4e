"""Options as fields of dataclasses declare them: text read by a field's type, and the type in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from geochange.errors import BadOption

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
MANY = {int: "whole numbers", float: "numbers", str: "names"}
TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "none"}


def parse_option(name: str, text: str, hint: Any) -> Any:
    """Read an option's text by its type, as `parse_value` does.

    Raises:
        BadOption: the text is not of that type.
    """
    try:
        return parse_value(text, hint)
    except ValueError as error:
        raise BadOption(f"{name} must be {describe_type(hint)}, not {text!r}") from error


def parse_value(text: str, hint: Any) -> Any:
    """Read text as a value of a type.

    Args:
        text: as on the command line, such as "4,3".
        hint: bool, int, float, str, Path, a `Literal`, a tuple of fixed or of any length, None ("none"), or a union of
            these. A union's types are tried in order, those that take any text last.

    Raises:
        ValueError: the text is not of that type.
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return _first_that_fits(text, sorted(_read_from_text(inner), key=_rank))
    if kind is Literal:
        return _choose({str(choice): choice for choice in inner}, text)
    if kind is tuple:
        return _parse_tuple(text, inner)
    if hint is NoneType:
        return _choose({"none": None}, text.lower())
    if hint is bool:
        return _choose(TRUTHS, text.lower())
    parse: Callable[[str], Any] = hint
    return parse(text)


def _read_from_text(hints: tuple[Any, ...]) -> list[Any]:
    """Leave out path-like types beside `str`, which names a path as well."""
    return [each for each in hints if str not in hints or getattr(get_origin(each), "__name__", "") != "PathLike"]


def _parse_tuple(text: str, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """Read "4,3,2", of any length also "none"; of fixed length also "3:32"."""
    if kinds[-1] is not Ellipsis:
        parts = re.split("[,:]", text)
        return tuple(parse_value(part.strip(), each) for part, each in zip(parts, kinds, strict=True))
    return () if text.lower() == "none" else tuple(parse_value(part.strip(), kinds[0]) for part in text.split(","))


def _rank(hint: Any) -> int:
    """Return when a type of a union is tried: "none" first, and last what takes any text."""
    if hint is NoneType:
        return 0
    return 2 if get_origin(hint) is None and hint not in (bool, int, float) else 1


def _first_that_fits(text: str, hints: list[Any]) -> Any:
    for hint in hints[:-1]:
        try:
            return parse_value(text, hint)
        except ValueError:
            continue
    return parse_value(text, hints[-1])


def _choose(choices: Mapping[str, Any], text: str) -> Any:
    if text not in choices:
        raise ValueError(text)
    return choices[text]


def describe_type(hint: Any) -> str:
    """Describe a field's type in words, for messages and help."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(map(describe_type, _read_from_text(inner)))
    if kind is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if kind is tuple:
        many = MANY.get(inner[0]) or f"values, each {describe_type(inner[0])},"
        return f"{many if inner[-1] is Ellipsis else f'{len(inner)} {many}'} with commas between"
    return TYPES.get(hint) or f"a {hint.__name__.lower()}"
