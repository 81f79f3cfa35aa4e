"""Actions of reviewers: what is asked for, what is recorded, and both as JSON. Pure.

One action is one row of the store, however many changes it touches, so it holds whole or not at all.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

from geochange.errors import BadOption
from geochange.polygons.features import UNREVIEWED

Status = Literal["unreviewed", "kept", "rejected", "unsure", "deleted"]
STATUSES: tuple[Status, ...] = get_args(Status)
DECIDED: tuple[Status, ...] = ("kept", "rejected", "unsure")

_NUMBER = re.compile("[1-9][0-9]{0,9}")

Kind = Literal["decide", "look", "undo", "redo", "draw", "grow", "reshape", "delete", "split", "merge", "qgis"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ORIGINS: Mapping[Kind, str] = {"draw": "drawn", "grow": "grown", "split": "split", "merge": "merged", "qgis": "qgis"}
"""Where changes come from that were not found, by the kind of the action that adds them."""

Fields: TypeAlias = Mapping[str, str | bool | None]
"""Values of some fields of a change or cell: status, label, comment, origin, and geometry, which is WKB in map units as
hexadecimal digits, or None as it was found; looked."""

Outline: TypeAlias = Callable[[Any], str]
"""Returns what a client has drawn as a geometry; raises BadShape."""

MOST_ITEMS = 10_000
MOST_ALIKE = 1_000_000  # items of one action that all get the same values
LONGEST_COMMENT = 2000
LONGEST_NAME = 40


class BadAction(BadOption):
    """An action that cannot be recorded; the message says why."""


class BadShape(BadAction):
    """An outline that cannot be one of a change."""

    def __init__(self, message: str, place: tuple[float, float] | None = None) -> None:
        super().__init__(message)
        self.place = place
        """Column and row of the fault, where it has one."""


class StaleAction(BadAction):
    """An action on a change that someone has touched meanwhile."""

    def __init__(self, message: str, ids: Sequence[str]) -> None:
        super().__init__(message)
        self.ids = tuple(ids)
        """Keys of what has been touched."""


def is_change(key: str) -> bool:
    """Whether a key names a change."""
    return _NUMBER.fullmatch(key) is not None


def change_key(number: int) -> str:
    """Name a change by its id."""
    return str(number)


def cell_key(row: int, col: int) -> str:
    """Name a cell by its place in the lattice of cells."""
    return f"cell {row} {col}"


def is_cell(key: str) -> bool:
    """Whether a key names a cell."""
    return key.startswith("cell ")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    op: str
    """UUID that the client gave it: the same request may come twice."""
    who: str
    kind: Kind
    items: tuple[Wish, ...] = ()
    """Empty for undo and redo, which are of the reviewer's own last action."""


@dataclass(frozen=True, slots=True)
class Wish:
    """New values of fields of one change or cell."""

    key: str
    """Empty for a change that is new."""
    rev: int
    """Revision that the client saw."""
    after: Fields


@dataclass(frozen=True, slots=True)
class Effect:
    """What an action did to one change or cell."""

    key: str
    rev: int
    """Revision after the action."""
    before: Fields
    after: Fields


@dataclass(frozen=True, slots=True)
class Action:
    """A row of the store."""

    seq: int
    at: str
    """ISO 8601, UTC."""
    who: str
    op: str
    kind: Kind
    items: tuple[Effect, ...]
    of: int | None = None
    """The `seq` of what an undo takes back, or a redo does again."""

    def items_json(self) -> str:
        """Return items, and what the action is of, as JSON."""
        rows = [[each.key, each.rev, dict(each.before), dict(each.after)] for each in self.items]
        return json.dumps({"of": self.of, "items": rows}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_row(cls, row: tuple[int, str, str, str, str, str]) -> Action:
        """Make an action of a row (seq, at, who, op, kind, items).

        Raises:
            ValueError: the row is damaged.
        """
        seq, at, who, op, kind, text = row
        if kind not in KINDS:
            raise ValueError(f"action {seq} is a {kind!r}")
        saved = json.loads(text)
        items = tuple(Effect(key, rev, before, after) for key, rev, before, after in saved["items"])
        return cls(seq, at, who, op, kind, items, saved["of"])


def read_request(sent: Any, who: str, classes: Sequence[str], outline: Outline | None = None) -> Request:
    """Check what a client sent.

    Args:
        sent: parsed JSON: `op`, `kind` and `items`, each with `key`, `rev` and `after`; or, to decide on many changes
            alike, `ids`, `revs` and one `after`.
        who: the reviewer.
        classes: names that a label may have.
        outline: makes geometries of what was drawn; None: nothing may be drawn.

    Raises:
        BadAction: something is missing, or is not what it must be.
    """
    if not isinstance(sent, dict):
        raise BadAction("an action is a JSON object")
    op, kind, items = _op(sent.get("op")), sent.get("kind"), sent.get("items", [])
    if kind not in KINDS or kind == "qgis":
        raise BadAction(f"kind {str(kind)[:50]!r} is not one of {', '.join(KINDS[:-1])}")
    if "ids" in sent:
        return Request(op, reviewer_name(who), kind, _alike(sent, kind, classes))
    if not isinstance(items, list) or len(items) > MOST_ITEMS:
        raise BadAction(f"items must be a list of at most {MOST_ITEMS}")
    if (kind in ("undo", "redo")) == bool(items):
        raise BadAction(f"{kind} with {len(items)} items; undo and redo have none, all others some")
    wishes = tuple(_wish(item, kind, classes, outline) for item in items)
    keys = [wish.key for wish in wishes if wish.key]
    if len({*keys}) < len(keys):
        raise BadAction("an action touches each change once")
    return Request(op, reviewer_name(who), kind, wishes)


def reviewer_name(name: str) -> str:
    """Return a reviewer's name, without space around it.

    Raises:
        BadAction: it is empty, or longer than `LONGEST_NAME`.
    """
    name = name.strip()
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise BadAction(f"reviewer {name[:50]!r} must be 1 to {LONGEST_NAME} characters")
    return name


def _op(value: Any) -> str:
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError) as error:
        raise BadAction(f"op {str(value)[:50]!r} must be a UUID") from error


ENDING = ("delete", "split", "merge")
"""Kinds of actions after which some changes are no more."""

TEXTS = ("status", "label", "comment")
NEW = ("geometry", *TEXTS)


def _wish(item: Any, kind: Kind, classes: Sequence[str], outline: Outline | None) -> Wish:
    if not isinstance(item, dict) or not isinstance(item.get("key"), str) or not isinstance(item.get("after"), dict):
        raise BadAction("an item is an object with key, rev and after")
    key, rev, asked = item["key"], item.get("rev"), item["after"]
    if not isinstance(rev, int) or isinstance(rev, bool) or not 0 <= rev < math.inf:
        raise BadAction(f"rev {rev!r} must be a whole number")
    allowed = _allowed(kind, key)
    for name in asked:
        if name not in allowed:
            raise BadAction(f"field {name[:50]!r} of {key[:50]!r} is not what an action of kind {kind!r} touches")
    if key and not is_cell(key) and not is_change(key):
        raise BadAction(f"there is no change {key[:50]!r}")
    if not asked:
        raise BadAction(f"nothing is asked of {key[:50]!r}")
    after = {name: _value(name, value, kind, key, classes, outline) for name, value in asked.items()}
    if not key and not {"geometry", "label"} <= after.keys():
        raise BadAction("a new change has a geometry and a label")
    return Wish(key, rev, after if key else {"status": "kept", "comment": "", **after, "origin": ORIGINS[kind]})


def _alike(sent: Mapping[str, Any], kind: Kind, classes: Sequence[str]) -> tuple[Wish, ...]:
    """Read wishes for many changes, which all get the same values."""
    ids, revs = (_whole_numbers(sent.get(name), name) for name in ("ids", "revs"))
    if kind != "decide" or not 0 < len(ids) <= MOST_ALIKE or len(ids) != len(revs) or len({*ids}) < len(ids):
        raise BadAction(f"ids are for decisions, 1 to {MOST_ALIKE} of them, each once, with as many revs")
    first = _wish({"key": change_key(ids[0]), "rev": revs[0], "after": sent.get("after")}, kind, classes, None)
    return tuple(Wish(change_key(number), rev, first.after) for number, rev in zip(ids, revs, strict=True))


def _whole_numbers(value: Any, name: str) -> list[int]:
    if not isinstance(value, list) or not all(type(each) is int and each >= 0 for each in value):
        raise BadAction(f"{name} must be whole numbers")
    return value


def _allowed(kind: Kind, key: str) -> tuple[str, ...]:
    """Return the fields that an action of a kind may give to a change, a new one or a cell."""
    if is_cell(key):
        return ("looked",) if kind == "look" else ()
    if not key:
        return NEW if kind in ORIGINS else ()
    return {"decide": TEXTS, "reshape": ("geometry",)}.get(kind, ("status",) if kind in ENDING else ())


def _value(  # noqa: PLR0917, all are needed
    name: str, value: Any, kind: Kind, key: str, classes: Sequence[str], outline: Outline | None
) -> str | bool:
    if name == "geometry":
        if outline is None:
            raise BadAction("nothing can be drawn here")
        return outline(value)
    if name == "status" and key and kind in ENDING:
        if value != "deleted":
            raise BadAction(f"status {str(value)[:50]!r} must be deleted in an action of kind {kind!r}")
        return "deleted"
    checks: Mapping[str, Callable[[Any, Sequence[str]], str | bool]] = {
        "looked": _looked,
        "status": _status,
        "label": _label,
        "comment": _comment,
    }
    return checks[name](value, classes)


def _looked(value: Any, classes: Sequence[str]) -> bool:
    if not isinstance(value, bool):
        raise BadAction(f"looked {value!r} must be true or false")
    return value


def _status(value: Any, classes: Sequence[str]) -> str:
    if value not in (UNREVIEWED, *DECIDED):
        raise BadAction(f"status {str(value)[:50]!r} is not one of {', '.join((UNREVIEWED, *DECIDED))}")
    return str(value)


def _label(value: Any, classes: Sequence[str]) -> str:
    if value not in classes:
        raise BadAction(f"label {str(value)[:50]!r} is not one of {', '.join(classes)}")
    return str(value)


def _comment(value: Any, classes: Sequence[str]) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_COMMENT:
        raise BadAction(f"a comment is a text of at most {LONGEST_COMMENT} characters")
    if any("\ud800" <= each <= "\udfff" for each in value):
        raise BadAction("a comment holds half a character")
    return value
