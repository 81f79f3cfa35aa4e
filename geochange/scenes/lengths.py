"""Lengths that are given in metres or in pixels. Pure."""

from __future__ import annotations

import re
from math import isfinite

from geochange.errors import BadOption
from geochange.scenes.grid import Grid


def shown_length(text: str | float) -> str:
    """Return a length as it was given."""
    return text if isinstance(text, str) else f"{text:g}"


def parse_length(name: str, text: str | float, *, least: float | None = None) -> tuple[float, bool]:
    """Parse `2` or `2m` as (2.0, False), metres, and `3px` as (3.0, True), pixels.

    Args:
        name: of the option.
        text: what was given.
        least: what it may be; None: anything above 0.

    Raises:
        BadOption: it is neither, or too little.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*(px|m)?\s*", str(text))
    try:
        amount = float(match[1]) if match else -1.0
    except ValueError:
        amount = -1.0
    enough = amount > 0 if least is None else amount >= least
    if match is None or not (enough and isfinite(amount)):
        limit = "a radius above 0" if least is None else f"a length from {least:g}"
        raise BadOption(f"{name} {shown_length(text)} must be {limit}: metres, as in 2, or pixels, as in 3px")
    return amount, match[2] == "px"


def length_on(name: str, text: str | float, grid: Grid, *, least: float | None = None) -> tuple[float, float]:
    """Return a length in pixels of a grid, along rows and along columns; see `parse_length`.

    Raises:
        BadOption: it is none, or in metres without a CRS.
    """
    amount, in_pixels = parse_length(name, text, least=least)
    metres = (1.0, 1.0) if in_pixels or amount == 0 else grid.pixel_metres
    if metres is None:
        raise BadOption(f"{name} {shown_length(text)} is in metres, which needs a CRS; give pixels, as in {name} 3px")
    return amount / metres[0], amount / metres[1]
