"""Options as fields of dataclasses declare them: text read by a field's type, and the type in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from geochange.errors import BadOption

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
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
        return _first_that_fits(text, sorted(inner, key=_takes_any_text))
    if kind is Literal:
        return _choose({str(choice): choice for choice in inner}, text)
    if kind is tuple:
        parts = text.split(",")
        each_as = inner[:1] * len(parts) if inner[-1] is Ellipsis else inner
        return tuple(parse_value(part.strip(), each) for part, each in zip(parts, each_as, strict=True))
    if hint is NoneType:
        return _choose({"none": None}, text.lower())
    if hint is bool:
        return _choose(TRUTHS, text.lower())
    parse: Callable[[str], Any] = hint
    return parse(text)


def _takes_any_text(hint: Any) -> bool:
    return get_origin(hint) is None and hint not in (bool, int, float, NoneType)


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
        return " or ".join(map(describe_type, inner))
    if kind is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if kind is tuple:
        return ",".join("..." if each is Ellipsis else describe_type(each) for each in inner)
    return TYPES.get(hint) or f"a {hint.__name__.lower()}"
