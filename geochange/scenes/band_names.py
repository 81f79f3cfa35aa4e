"""Bands by name: the common names of STAC, a product's own, and what files say of their bands. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from geochange.errors import BandMismatch

Wanted: TypeAlias = tuple[int | str, ...]
"""Bands as `--bands` gives them: numbers from 1, or names."""

Names: TypeAlias = tuple[str, ...]
"""What one band is called: by its product or file, then by common names."""

COMMON_NAMES = (
    "coastal",
    "blue",
    "green05",
    "green",
    "yellow",
    "red",
    "rededge",
    "rededge071",
    "rededge075",
    "rededge078",
    "nir",
    "nir08",
    "nir09",
    "cirrus",
    "swir16",
    "swir22",
    "pan",
    "lwir",
    "lwir11",
    "lwir12",
)
"""Those of STAC's extension eo, but for swir15 and lwir09, which no product here has."""

_BROADER: Mapping[str, str] = {"nir": "nir08"}
"""What is wanted -> the part of it that some sensors have in its place, as Landsat's near infrared."""
_SAME: Mapping[str, str] = {
    "near infrared": "nir",
    "near-infrared": "nir",
    "near_infrared": "nir",
    "nir1": "nir",
    "swir1": "swir16",
    "swir2": "swir22",
    "panchromatic": "pan",
    "rededge1": "rededge071",
    "rededge2": "rededge075",
    "rededge3": "rededge078",
}


def find_bands(image: str, wanted: Wanted | None, choices: Sequence[int], names: Sequence[Names]) -> tuple[int, ...]:
    """Return the numbers of the bands that are wanted; of all, where none are.

    Args:
        image: what messages call it.
        wanted: numbers among `choices`, or names.
        choices: numbers of the bands that there are.
        names: of each of them.

    Raises:
        BandMismatch: a number is out of range, or a name is not known or is that of several bands; the message lists
            what there is. A band's first name goes before the further ones of others.
    """
    if wanted is None:
        return tuple(choices)
    if not wanted:
        raise BandMismatch(f"band - is out of range: {image} has bands {list_bands(choices)}")
    return tuple(_find(image, each, choices, names) for each in wanted)


def _find(image: str, wanted: int | str, choices: Sequence[int], names: Sequence[Names]) -> int:
    if isinstance(wanted, int):
        if wanted not in choices:
            raise BandMismatch(f"band {wanted} is out of range: {image} has bands {list_bands(choices)}")
        return wanted
    for name in filter(None, (wanted, _BROADER.get(_plain(wanted)))):
        for rank in range(max(map(len, names), default=0)):
            found = [
                number
                for number, each in zip(choices, names, strict=True)
                if rank < len(each) and _plain(each[rank]) == _plain(name)
            ]
            if len(found) > 1:
                several = ", ".join(names[choices.index(number)][0] for number in found)
                raise BandMismatch(f"band {wanted!r} is the name of several bands of {image}: {several}; give one")
            if found:
                return found[0]
    known = ", ".join("/".join(dict.fromkeys(each)) for each in names if each)
    told = f"has {known}" if known else f"names no band; give numbers, {list_bands(choices)}"
    raise BandMismatch(f"band {wanted!r} is not known: {image} {told}")


def _plain(name: str) -> str:
    """Return a name as names are compared: B04 and b4 are one, as are swir1 and swir16."""
    lower = name.strip().lower()
    return re.sub(r"^b0*(?=\d)", "b", _SAME.get(lower, lower))


def list_bands(choices: Sequence[int]) -> str:
    """Write band numbers as 1..4 where they follow each other, else one by one."""
    first, last = choices[0], choices[-1]
    return f"{first}..{last}" if [*choices] == [*range(first, last + 1)] else ", ".join(map(str, choices))


def colours_among(names: Sequence[Names]) -> tuple[int, int, int] | None:
    """Return the numbers, from 1, of bands that are named red, green and blue; None where one is not."""
    known = [[_plain(name) for name in each] for each in names]
    red, green, blue = (
        next((k for k, each in enumerate(known, 1) if colour in each), 0) for colour in ("red", "green", "blue")
    )
    return (red, green, blue) if red and green and blue else None
