"""What an opened image says of itself: which bands hold values, what they mean, and where it lies."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS
from rasterio.enums import ColorInterp, MaskFlags

from geochange.errors import UnreadableInput
from geochange.scenes.band_names import Names
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.options import NodataRule

SUBDATASETS_NAMED = 6


def require_file(path: str) -> None:
    """Refuse pipes, sockets and devices, which GDAL would wait for."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UnreadableInput(f"{path} is not a file that can be read again and again; write it to one")


def flags_of_alpha(flags: list[MaskFlags]) -> set[MaskFlags]:
    """Return the flags that an alpha band brings: none of the bands' own."""
    return {MaskFlags.per_dataset} if MaskFlags.alpha in flags else set()


def usual_rule(fills: Iterable[float | None], dtype: np.dtype[Any]) -> NodataRule:
    """Return "any" where no nodata value can be a measurement of one band alone, else "all".

    A negative value, and the largest of a type of 16 bits or more, says in any band that there is none; a 0, or the 255
    of bytes, may be a dark or bright pixel of one band.
    """
    largest = np.iinfo(dtype).max if dtype.kind in "iu" and dtype.itemsize > 1 else 1e20
    known = [fill for fill in fills if fill is not None and not np.isnan(fill)]
    return "any" if known and all(fill < 0 or fill >= largest for fill in known) else "all"


def representable(fill: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return a nodata value as the bands hold it."""
    if fill is None or dtype != np.float32:
        return fill
    with np.errstate(over="ignore"):
        return float(np.float32(fill))


def require_bands(dataset: Any, path: str) -> None:
    """Refuse, with UnreadableInput, a file without bands of its own, such as a NetCDF file of several variables."""
    if dataset.count == 0:
        parts = ", ".join(dataset.subdatasets[:SUBDATASETS_NAMED])
        named = f"name one of its parts: {parts}" if parts else "it is empty"
        raise UnreadableInput(f"{path} holds no bands of its own; {named}")


def require_grid(dataset: Any, path: str) -> None:
    """Refuse a file that points locate, not a grid: warped, it has one."""
    if dataset.crs is not None or dataset.transform != Affine.identity():
        return
    warp = f"give it a grid with `gdalwarp %s {path} warped.tif`"
    if points := dataset.gcps[0]:
        raise UnreadableInput(f"{path} is located by {len(points)} ground control points alone; {warp % '-tps'}")
    if dataset.rpcs is not None:
        raise UnreadableInput(f"{path} is located by rational polynomials (RPCs) alone; {warp % '-rpc'}")
    if dataset.tags(ns="GEOLOCATION"):
        raise UnreadableInput(f"{path} is located by arrays of coordinates alone; {warp % '-geoloc'}")


def palette_of(dataset: Any) -> bytes | None:
    """Return the colour table of a file whose one band has one."""
    if dataset.count > 1 or dataset.colorinterp[0] is not ColorInterp.palette:
        return None
    table = dataset.colormap(1)
    colours = np.zeros((max(table) + 1, 4), np.uint8)
    colours[list(table)] = list(table.values())
    return colours.tobytes()


def scaling_of(dataset: Any, choices: Sequence[int]) -> tuple[tuple[float, float], ...] | None:
    """Return scale and offset of each band; None where no band has one."""
    scaling = tuple((dataset.scales[band - 1], dataset.offsets[band - 1]) for band in choices)
    return None if set(scaling) == {(1.0, 0.0)} else scaling


def scaling_of_attributes(attributes: Mapping[Any, Any], count: int) -> tuple[tuple[float, float], ...] | None:
    """Return scale and offset of each band of a DataArray, as rioxarray leaves them; None where none has one."""
    scales = np.broadcast_to(attributes.get("scales", attributes.get("scale_factor", 1.0)), count)
    offsets = np.broadcast_to(attributes.get("offsets", attributes.get("add_offset", 0.0)), count)
    scaling = tuple(zip(scales.astype(float).tolist(), offsets.astype(float).tolist(), strict=True))
    return None if set(scaling) == {(1.0, 0.0)} else scaling


def alpha_bands(dataset: Any) -> tuple[int, ...]:
    """Return the numbers of bands that are masks, not data, wherever they stand.

    GDAL takes the fourth band of any 8-bit GeoTIFF for alpha unless its tags say otherwise. A mask holds two extremes,
    whatever the larger of them is; of near infrared, hardly a pixel does.
    """
    named = [band for band, colour in enumerate(dataset.colorinterp, 1) if colour is ColorInterp.alpha]
    return tuple(band for band in named if dataset.count > 1 and _holds_extremes(dataset, band))


def _holds_extremes(dataset: Any, band: int) -> bool:
    parts = [
        dataset.read(band, window=Tile(int(row), int(col), 64, 64).intersect(Tile(0, 0, *dataset.shape)).window)
        for row in np.linspace(0, max(dataset.height - 64, 0), 4)
        for col in np.linspace(0, max(dataset.width - 64, 0), 4)
    ]
    top = max(part.max() for part in parts)
    return float(np.mean([np.mean((part > 0) & (part < top)) for part in parts])) < 0.1


def iso_date(tag: str | None) -> str | None:
    """`2020:08:31 17:05:00`, as TIFF writes it, → `2020-08-31T17:05:00`; other texts as they are."""
    match = re.fullmatch(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)", tag or "")
    return "{}-{}-{}T{}".format(*match.groups()) if match else tag


def colours_of(interpretations: tuple[ColorInterp, ...]) -> tuple[int, int, int] | None:
    """Return the numbers of the red, green and blue bands; None where they are not named."""
    wanted = ColorInterp.red, ColorInterp.green, ColorInterp.blue
    if any(colour not in interpretations for colour in wanted):
        return None
    red, green, blue = (interpretations.index(colour) + 1 for colour in wanted)
    return red, green, blue


UNNAMED = {"gray", "undefined", "palette", "alpha"}
"""What GDAL calls bands of which it knows nothing."""


def band_names_of(dataset: Any, choices: Sequence[int]) -> tuple[Names, ...]:
    """Return what a file calls each band: by its description, and by its colour."""
    texts = [(dataset.descriptions[band - 1], dataset.colorinterp[band - 1].name) for band in choices]
    return tuple(tuple(text for text in each if text and text not in UNNAMED) for each in texts)


def band_names_of_array(array: Any, count: int) -> tuple[Names, ...]:
    """Return what a DataArray calls each band: by `long_name`, as rioxarray has it, or by text of its coordinates."""
    named = array.attrs.get("long_name")
    texts = list(named) if isinstance(named, list | tuple) else [named]
    columns = [texts] if len(texts) == count else []
    for coordinate in array.coords.values():
        if coordinate.ndim == 1 and len(coordinate) == count and coordinate.dtype.kind in "UOT":
            columns.append(coordinate.values.tolist())
    return tuple(tuple(str(column[k]) for column in columns if column[k]) for k in range(count))


def require_real(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a data type; UnreadableInput where its numbers are complex."""
    if dtype.kind == "c":
        raise UnreadableInput(f"{name} holds complex numbers; give magnitude or intensity instead")
    return dtype


def grid_of(dataset: Any) -> Grid:
    """Return where the pixels of a dataset lie."""
    crs = CRS.from_user_input(dataset.crs) if dataset.crs else None
    return Grid(crs, transform_of(crs, dataset.transform), (dataset.height, dataset.width))


def transform_of(crs: CRS | None, transform: Affine) -> Affine:
    """Plain images: x is the column, y is minus the row, as QGIS shows them."""
    return Affine(1, 0, 0, 0, -1, 0) if crs is None and transform == Affine.identity() else transform
