"""Options as fields of dataclasses declare them: text read by a field's type, and the type in words. Pure."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from numbers import Integral, Real
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
    """Base of all classes of options: each field becomes a value of its type, or raises BadOption."""

    panel: ClassVar[str] = "Options"
    """Where the help lists the fields that a class declares itself."""

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, hint in _hints(kind).items():
            object.__setattr__(self, name, _conform_option(name, getattr(self, name), hint))


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    """Return the types of the fields."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _conform_option(name: str, value: Any, hint: Any) -> Any:
    """Return an option's value in its declared type, as `conform` does; raises BadOption where that cannot be."""
    words = name.replace("_", " ")
    if get_origin(hint) is tuple and isinstance(value, list | tuple) and get_args(hint)[-1] is Ellipsis:
        return tuple(_conform_option(name, each, get_args(hint)[0]) for each in value)
    try:
        return conform(value, hint)
    except ValueError as error:
        known = describe_type(hint).removesuffix(" or none")
        verb = "is not" if known.startswith("one of") else "must be"
        raise BadOption(f"{words} {value!r} {verb} {known}") from error


def conform(value: Any, hint: Any) -> Any:
    """Return a value as its declared type has it.

    Lists become tuples, numbers of numpy those of Python, paths and dates text. Where a tuple is declared, text is read
    as on the command line.

    Raises:
        ValueError: it is not of that type.
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return _conform_to_one(value, inner)
    if kind is tuple:
        return _conform_to_tuple(value, inner)
    if kind is Literal:
        return _choose({(type(choice), choice): choice for choice in inner}, (type(value), value))
    if kind is not None and issubclass(kind, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(value)
        return {key: _as_text(each) for key, each in value.items()}
    return _conform_to_class(value, kind or hint)


def _conform_to_one(value: Any, hints: tuple[Any, ...]) -> Any:
    if isinstance(value, str) and any(get_origin(each) is tuple for each in hints):
        return parse_value(value, Union[hints])  # noqa: UP007  (of types that are only known here)
    for hint in hints:
        with suppress(ValueError):  # the next type may fit; where none does, that is raised below
            return conform(value, hint)
    raise ValueError(value)


def _conform_to_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, str):
        return _parse_tuple(value, kinds)
    if not isinstance(value, Iterable):
        raise ValueError(value)
    entries = tuple(value)
    wanted = kinds[:1] * len(entries) if kinds[-1] is Ellipsis else kinds
    return tuple(conform(each, hint) for each, hint in zip(entries, wanted, strict=True))


def _conform_to_class(value: Any, kind: type[Any]) -> Any:
    if kind is str:
        value = _as_text(value)
    if kind in (int, float) and isinstance(value, Real) and not isinstance(value, bool):
        if kind is float or isinstance(value, Integral) or float(value).is_integer():
            return kind(value)
    elif kind not in (int, float) and isinstance(value, kind):
        return value
    raise ValueError(value)


def _as_text(value: Any) -> Any:
    """Return a path or a date as text, and all else as it is."""
    if isinstance(value, date):
        return value.isoformat()
    return value.__fspath__() if hasattr(value, "__fspath__") else value


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


def _choose(choices: Mapping[Any, Any], key: Any) -> Any:
    if key not in choices:
        raise ValueError(key)
    return choices[key]


def describe_type(hint: Any) -> str:
    """Describe a field's type in words, for messages and help."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(map(describe_type, _read_from_text(inner)))
    if kind is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if kind is tuple:
        kinds = get_args(inner[0]) if get_origin(inner[0]) in (Union, UnionType) else (inner[0],)
        named = " or ".join(filter(None, map(MANY.get, kinds)))
        many = named or describe_type(inner[0]).replace("one of", "one or more of", 1)
        return f"{many if inner[-1] is Ellipsis else f'{len(inner)} {many}'} with commas between"
    if kind is not None and issubclass(kind, Mapping):
        return "values by name"
    return TYPES.get(hint) or f"a {hint.__name__.lower()}"


def field_docs(kind: type[Any]) -> dict[str, str]:
    """Return the docstring below each field of a dataclass and of its bases."""
    docs: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if each.__module__.split(".")[0] != "builtins":
            docs |= _own_docs(each)
    return docs


@cache
def _own_docs(kind: type[Any]) -> dict[str, str]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(after.value.value)
        for field, after in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
    }
