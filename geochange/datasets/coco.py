"""Objects as COCO has them (Lin et al. 2014): a file of images, categories and annotations, masks by runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from geochange.arrays import Bools
from geochange.files import appearing


def write_coco_file(path: Path, head: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]]) -> None:
    """Write a COCO file, an annotation a line, as they come.

    Args:
        path: a .json file.
        head: all but the annotations.
        annotations: may be many.

    Raises:
        DiskFull: the disk has no room for it.
    """
    with appearing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "annotations": [')
        for place, annotation in enumerate(annotations):
            file.write((",\n" if place else "\n") + json.dumps(annotation, ensure_ascii=False))
        file.write("\n]}\n")


def mask_fields(shape: BaseGeometry, size: tuple[int, int]) -> dict[str, Any]:
    """Return box, area and mask of a polygon, by pixel centres.

    Args:
        shape: in pixels, x = column and y = row.
        size: (rows, cols) of the image.
    """
    left, top, right, bottom = (int(edge) for edge in _outward(shape.bounds))
    mask = np.zeros((bottom - top, right - left), np.uint8)
    rasterize([shape], out=mask, transform=Affine.translation(left, top))
    return {
        "bbox": [left, top, right - left, bottom - top],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(size), "counts": runs_of(mask > 0, (top, left), size)},
    }


def polygon_fields(shape: BaseGeometry, size: tuple[int, int]) -> dict[str, Any]:
    """Return box, area and corners of a polygon; one with holes, which COCO has no corners for, as a mask."""
    parts: Sequence[Any] = shapely.get_parts(shape)
    if any(len(part.interiors) for part in parts):
        return mask_fields(shape, size)
    left, top, right, bottom = shape.bounds
    return {
        "bbox": [left, top, right - left, bottom - top],
        "area": shape.area,
        "iscrowd": 0,
        "segmentation": [shapely.get_coordinates(part.exterior)[:-1].ravel().tolist() for part in parts],
    }


def _outward(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = np.round(bounds, 6)  # what lies on the edges of pixels may be off by a rounding
    left, top = np.floor(left), np.floor(top)
    return left, top, max(np.ceil(right), left + 1), max(np.ceil(bottom), top + 1)


def runs_of(mask: Bools, origin: tuple[int, int], shape: tuple[int, int]) -> list[int]:
    """Return the lengths of runs, column by column, that are outside and inside in turn.

    Args:
        mask: (y, x), a part of an image.
        origin: row and column of the part in the image.
        shape: (rows, cols) of the image.
    """
    edges = np.diff(np.pad(mask.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    cols, rows = np.nonzero(edges.T)
    places = (cols + origin[1]) * shape[0] + rows + origin[0]
    bounds = np.concatenate([[0], places, [shape[0] * shape[1]]])
    lengths: list[int] = np.diff(bounds).tolist()
    return lengths
