"""Spectral indices by name, from bands by role. Pure.

The formulas are those of Awesome Spectral Indices (Montero et al. 2023), through the package `spyndex`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from geochange.arrays import Array, Floats
from geochange.errors import BadOption, BandMismatch

ROLES = {
    "coastal": "A",
    "blue": "B",
    "green": "G",
    "yellow": "Y",
    "red": "R",
    "rededge1": "RE1",
    "rededge2": "RE2",
    "rededge3": "RE3",
    "nir": "N",
    "nir2": "N2",
    "swir1": "S1",
    "swir2": "S2",
    "thermal": "T",
}
"""What a band shows -> what formulas call it."""

VISIBLE = ("red", "green", "blue")

_AS_NAMED = {
    "near infrared": "nir",
    "near-infrared": "nir",
    "near_infrared": "nir",
    "nir1": "nir",
    "infrared": "nir",
    "swir": "swir1",
    "swir16": "swir1",
    "swir22": "swir2",
    "rededge": "rededge1",
    "red edge": "rededge1",
    "red edge 1": "rededge1",
    "red edge 2": "rededge2",
    "red edge 3": "rededge3",
}
"""What files call bands besides their roles."""


def parse_roles(text: str) -> dict[str, int]:
    """`blue=1,green=2` → {"blue": 1, "green": 2}.

    Raises:
        BadOption: a role is not known or given twice, or a number is not a band number.
    """
    roles: dict[str, int] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        role, _, number = (each.strip().lower() for each in part.partition("="))
        if role not in ROLES or role in roles or not number.isdecimal() or int(number) < 1:
            raise BadOption(f"band role {part!r} must be as in nir=4, each once, of: {', '.join(ROLES)}")
        roles[role] = int(number)
    if not roles:
        raise BadOption("band roles are empty; give them as in red=1,green=2,blue=3,nir=4")
    return roles


def roles_in(names: Sequence[Sequence[str | None]]) -> dict[str, int]:
    """Roles of bands by the names that a file gives them.

    Args:
        names: for each band, from the first: its description, its colour interpretation; None where there is none.

    Returns:
        Role -> band number from 1; of two bands with one role the first counts.
    """
    roles: dict[str, int] = {}
    for number, texts in enumerate(names, start=1):
        known = [_AS_NAMED.get(text.strip().lower(), text.strip().lower()) for text in texts if text]
        role = next((each for each in known if each in ROLES), None)
        if role is not None:
            roles.setdefault(role, number)
    return roles


def require_index(name: str, roles: Mapping[str, int]) -> str:
    """Return an index's name as the list writes it, where the bands that it needs are there.

    Raises:
        BadOption: there is no such index, or one that needs more than bands; or spyndex is not installed.
        BandMismatch: bands are missing.
    """
    listed = _spyndex().indices
    found = next((each for each in listed if each.lower() == name.lower()), None)
    if found is None:
        raise BadOption(f"index {name!r} is not in the list; see https://awesome-ee-spectral-indices.readthedocs.io")
    by_symbol = {symbol: role for role, symbol in ROLES.items()}
    symbols = [each for each in listed[found].bands if each not in _constants()]
    if others := [each for each in symbols if each not in by_symbol]:
        raise BadOption(f"index {found} needs {others[0]}, which is not a band; choose another")
    if missing := [by_symbol[each] for each in symbols if by_symbol[each] not in roles]:
        raise BandMismatch(f"index {found} needs the band {missing[0]}; say which it is, as in {missing[0]}=4")
    return str(found)


def compute_index(name: str, bands: Mapping[str, Array]) -> Floats:
    """Values of an index.

    Args:
        name: as `require_index` gives it.
        bands: role -> pixels, of any one shape.

    Returns:
        float64 of that shape; NaN where the formula divides by 0.
    """
    listed = _spyndex().indices[name]
    constants = _constants()
    by_symbol = {ROLES[role]: values for role, values in bands.items()}
    needed = {
        each: constants[each] if each in constants else by_symbol[each].astype(np.float64) for each in listed.bands
    }
    with np.errstate(all="ignore"):
        values = np.asarray(listed.compute(needed), np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def brightness(bands: Mapping[str, Array]) -> Floats:
    """Mean of the visible bands that are there, or of all where none is."""
    chosen = [bands[role] for role in VISIBLE if role in bands] or list(bands.values())
    mean: Floats = np.mean([each.astype(np.float64) for each in chosen], axis=0)
    return mean


def _constants() -> dict[str, float]:
    return {
        name: float(each.default)
        for name, each in _spyndex().constants.items()
        if isinstance(each.default, int | float) and name not in ROLES.values()
    }


def _spyndex() -> Any:
    try:
        import spyndex
    except ImportError as error:
        raise BadOption(
            "kinds of change need the package spyndex: pip install 'geochange[indices]', or pip install spyndex"
        ) from error
    return spyndex
