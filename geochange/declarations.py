"""Options as fields of dataclasses declare them: text read by a field's type, and the type in words. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from geochange.errors import BadOption

TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
MANY = {int: "whole numbers", float: "numbers", str: "names"}
TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "none"}

REGIONS, TILES, OUTPUT = "Threshold and polygons", "Tiles and workers", "Output"
"""Panels that options of several classes share."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all classes of options. A value that is not among the choices of its `Literal` raises BadOption."""

    panel: ClassVar[str] = "Options"
    """Where the help lists the fields that a class declares itself."""

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, hint in _chosen_fields(kind):
            value = getattr(self, name)
            many = isinstance(value, tuple) and get_origin(hint) is tuple
            wanted = get_args(hint)[0] if many else hint
            for each in value if many else (value,):
                if not _fits(each, wanted):
                    known = describe_type(wanted).removesuffix(" or none")
                    raise BadOption(f"{name.replace('_', ' ')} {each!r} is not {known}")


@cache
def _chosen_fields(kind: type[Any]) -> list[tuple[str, Any]]:
    """Return name and type of the fields that have choices."""
    return [(name, hint) for name, hint in get_type_hints(kind).items() if any(_choices(hint))]


def _choices(hint: Any) -> Iterator[Any]:
    """Yield the choices of all `Literal` in a type."""
    for inner in get_args(hint):
        yield from (inner,) if get_origin(hint) is Literal else _choices(inner)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, as far as choices go."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if kind is Literal:
        return value in inner
    return isinstance(value, (int, float) if hint is float else kind or hint)


def parse_option(name: str, text: str, hint: Any) -> Any:
    """Read an option's text by its type, as `parse_value` does.

    Raises:
        BadOption: the text is not of that type.
    """
    try:
        return parse_value(text, hint)
    except ValueError as error:
        raise BadOption(f"{name} must be {describe_type(hint)}, not {text!r}") from error


def parse_named(name: str, texts: Sequence[str]) -> dict[str, str]:
    """Read `NAME=VALUE` texts of an option that takes several.

    Raises:
        BadOption: a text is not of that form.
    """
    pairs = [text.partition("=") for text in texts]
    if wrong := [text for text, (key, equals, _) in zip(texts, pairs, strict=True) if not (key and equals)]:
        raise BadOption(f"{name} {wrong[0]!r} must be NAME=VALUE")
    return {key: value for key, _, value in pairs}


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
