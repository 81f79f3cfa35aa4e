"""Labels as they are stored, in rasters or in layers of polygons, and the classes that they stand for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from geochange.arrays import IGNORE, Array, Ints
from geochange.datasets.options import CollectionOptions
from geochange.errors import BadOption, GridMismatch
from geochange.names import file_of
from geochange.scenes.differences import grid_differences
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.layer_files import is_layer
from geochange.scenes.layers import Layer, VectorLabels, in_pixels, open_layer
from geochange.scenes.numbers import open_numbers, single_band
from geochange.scenes.scene import open_file

JPEG_HALF = 127  # a label stored as JPEG is blurred: change is what lies above
LAYERS_KEPT = 16
_UNKNOWN = 254


def read_labels(path: str, tile: Tile, grid: Grid, image: str, options: CollectionOptions) -> Ints:
    """Read the labels of a part of a scene.

    Args:
        path: a raster on the scene's grid, or a layer of polygons.
        tile: the part.
        grid: the scene's.
        image: name of the scene in messages.
        options: what the stored values stand for.

    Returns:
        (y, x) uint8: 0 unchanged, k for the k-th class, 255 where not labelled.

    Raises:
        UnreadableInput: the file is missing or broken.
        GridMismatch: the raster lies on another grid than the scene, or just one of them has a CRS.
        BadOption: a value stands for no class.
    """
    if is_layer(path):
        return _layer_labels(path, _version(path), image, options).read(tile)[0].astype(np.uint8)
    source = open_numbers(path, options.ignore)
    if source.grid.shape != grid.shape:
        raise GridMismatch(f"{path} has {_size(source.grid)} pixels, {image} has {_size(grid)}")
    if source.grid.crs is not None and grid.crs is not None and (found := grid_differences(grid, source.grid)):
        raise GridMismatch(f"{path} and {image} are not on one grid: {'; '.join(map(str, found))}")
    stored, valid = source.read(tile)
    labels = translate(np.where(valid, single_band(stored, path), 0), options, path)
    return np.where(valid, labels, IGNORE).astype(np.uint8)


def read_objects(path: str, tile: Tile, image: str) -> Ints | None:
    """Read which polygon of a layer each pixel lies in.

    Args:
        path: a raster, or a layer of polygons.
        tile: the part.
        image: the scene's first date.

    Returns:
        (y, x) int32 numbers from 1, 0 outside; None for a raster, whose regions are its objects.
    """
    if not is_layer(path):
        return None
    return _layer_numbers(path, _version(path), image).read(tile)[0].astype(np.int32)


@lru_cache(maxsize=LAYERS_KEPT)
def _layer_numbers(path: str, version: tuple[int, ...], image: str) -> VectorLabels:
    """Return the polygons of a layer on the grid of an image, by their numbers."""
    grid = open_file(image).grid
    polygons = in_pixels(open_layer(path).polygons(grid), grid)
    return VectorLabels(polygons, np.arange(1, len(polygons) + 1))


def translate(stored: Array, options: CollectionOptions, name: str) -> Ints:
    """Translate stored values of a raster to labels; a JPEG of one class is cut at half its range.

    Raises:
        BadOption: a value stands for no class.
    """
    if options.dated:
        return np.where(np.isin(stored, (IGNORE, *options.ignore)), IGNORE, stored).astype(np.uint8)
    values = options.values or tuple(range(1, len(options.classes) + 1))
    if names := [value for value in values if isinstance(value, str)]:
        raise BadOption(f"{name} is a raster and holds numbers; the value {names[0]!r} is not one")
    if name.lower().endswith((".jpg", ".jpeg")) and len(values) == 1:
        return (stored > JPEG_HALF).astype(np.uint8)
    labels = np.full(stored.shape, _UNKNOWN, np.uint8)
    labels[stored == 0] = 0
    for ignored in {IGNORE, *options.ignore} - set(values):
        labels[stored == ignored] = IGNORE
    for k, value in enumerate(values, start=1):
        labels[stored == value] = k
    if (unknown := labels == _UNKNOWN).any():
        raise _no_class(name, stored[unknown].flat[0], values, options)
    return labels


@lru_cache(maxsize=LAYERS_KEPT)
def _layer_labels(path: str, version: tuple[int, ...], image: str, options: CollectionOptions) -> VectorLabels:
    """Return a layer on the grid of an image; `version` differs where the file has been replaced."""
    grid = open_file(image).grid
    layer = open_layer(path)
    return VectorLabels(in_pixels(layer.polygons(grid), grid), polygon_labels(layer, options))


def _version(path: str) -> tuple[int, ...]:
    file = file_of(path)
    if not os.path.exists(file):
        return ()
    status = os.stat(file)
    return status.st_ino, status.st_mtime_ns, status.st_size


def polygon_labels(layer: Layer, options: CollectionOptions) -> Array | None:
    """Return the (n,) label of each polygon of a layer; None where there is one class and no column."""
    if options.label_column is None:
        if len(options.classes) > 1:
            classes = ", ".join(options.classes)
            raise BadOption(f"{layer.path} holds the classes {classes} in some column; name it with --label-column")
        return None
    columns = [str(name) for name in layer.frame.columns if name != layer.frame.geometry.name]
    if options.label_column not in columns:
        raise BadOption(f"{layer.path} has no column {options.label_column!r}; it has {', '.join(columns) or 'none'}")
    values = options.values or options.classes
    known = _labels_by_text(values, options)
    stored = [value_text(value) for value in layer.frame[options.label_column]]
    if unknown := [text for text in stored if text not in known]:
        raise _no_class(layer.path, unknown[0], values, options)
    return np.array([known[text] for text in stored], np.uint8)


def _labels_by_text(values: tuple[int | str, ...], options: CollectionOptions) -> Mapping[str, int]:
    ignored = {value_text(value): IGNORE for value in (IGNORE, *options.ignore)}
    return {"0": 0, **ignored, **{value_text(value): k for k, value in enumerate(values, start=1)}}


def value_text(value: Any) -> str:
    """Return a stored value as text; 3, 3.0 and "3" are one, as columns of numbers with gaps are read as floats."""
    return str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)


def _no_class(name: str, value: Any, values: tuple[int | str, ...], options: CollectionOptions) -> BadOption:
    return BadOption(
        f"{name} holds the value {value}; known are 0, {_listed(values)} for {', '.join(options.classes)}, "
        f"and {_listed(sorted({IGNORE, *options.ignore} - set(values), key=str)) or 'none'} for not labelled"
    )


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))


def _size(grid: Grid) -> str:
    return f"{grid.shape[0]} x {grid.shape[1]}"
