"""When images were acquired: dates as texts, given, of tags or of names of files, and as decimal years."""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Sequence
from pathlib import PurePath

_DATE_IN_NAME = re.compile(r"(?<!\d)((?:19|20)\d\d)(?:[-_]?([01]\d)(?:[-_]?([0-3]\d))?)?(?!\d)")
_DATE = re.compile(r"(\d{4})(?:-(\d\d?)(?:-(\d\d?)(?:[T ].*)?)?)?")


def date_in_name(name: str) -> str | None:
    """Return the date that a file's name holds, as in 1985.tif, S2_20240702.tif or 2024-07-02.tif."""
    match = _DATE_IN_NAME.search(PurePath(name).stem)
    return None if match is None else "-".join(part for part in match.groups() if part)


def dates_of(given: Sequence[str], stored: Sequence[str | None], names: Sequence[str]) -> tuple[str | None, ...]:
    """Return the dates of images: as given, else by their tags, else by their names."""
    if given:
        return tuple(given)
    return tuple(tag or date_in_name(name) for tag, name in zip(stored, names, strict=True))


def decimal_years(dates: Sequence[str | None]) -> tuple[float, ...] | None:
    """Return dates as years with fractions; None unless all of them are dates.

    A year or a month stands for its middle: 1985 is 1985.5.
    """
    years = [None if date is None else _decimal_year(date) for date in dates]
    known = tuple(year for year in years if year is not None)
    return known if len(known) == len(years) else None


def _decimal_year(date: str) -> float | None:
    match = _DATE.fullmatch(date.strip())
    if match is None:
        return None
    year, month, day = (int(part or 0) for part in match.groups())
    if not month:
        return year + 0.5
    if not (year >= 1 and month <= 12 and day <= monthrange(year, month)[1]):
        return None
    middle = monthrange(year, month)[1] / 2
    before = sum(monthrange(year, earlier)[1] for earlier in range(1, month))
    return year + (before + (day - 0.5 if day else middle)) / (366 if isleap(year) else 365)
