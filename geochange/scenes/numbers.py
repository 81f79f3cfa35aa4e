"""Rasters whose values are classes: numbers as they are stored, 0 for unchanged."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from geochange.arrays import Array
from geochange.errors import UnreadableInput
from geochange.scenes.scene import FileSource, open_file


def open_numbers(path: str, ignore: Collection[int | str] = ()) -> FileSource:
    """Open a raster of classes.

    A nodata value of 0 is what many programs write beside a mask: 0 is unchanged there, unless it is to be ignored.

    Raises:
        UnreadableInput: it is missing, or no raster.
    """
    source = open_file(path, as_stored=True)
    return with_background(source) if has_background_nodata(source, ignore) else source


def has_background_nodata(source: FileSource, ignore: Collection[int | str] = ()) -> bool:
    """Whether 0, the background of a raster of classes, is its nodata value, and is not to be ignored."""
    return source.fill == 0 and source.by_value and 0 not in ignore


def with_background(source: FileSource) -> FileSource:
    """Return a raster of classes in which 0 is a value as others."""
    return replace(source, fill=None, flagged=False, by_value=False, masked=bool(source.masks))


def single_band(values: Array, name: str) -> Array:
    """Return the one band, or all alike, of (band, y, x) classes as (y, x).

    Raises:
        UnreadableInput: the bands differ: it is a picture in colours, not in classes.
    """
    if len(values) > 1 and not np.array_equal(values, np.broadcast_to(values[:1], values.shape)):
        raise UnreadableInput(colours_refused(name, len(values)))
    first: Array = values[0]
    return first


def colours_refused(name: str, bands: int) -> str:
    """Say why a picture of several bands is not a raster of classes."""
    return (
        f"{name} has {bands} bands that differ: a picture in colours, where one number a pixel names its class; "
        "give a raster of one band"
    )
