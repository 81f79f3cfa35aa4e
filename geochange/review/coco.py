"""Changes of a review as COCO has objects (Lin 2014): one image, a mask of each change by its runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize

from geochange.arrays import Bools
from geochange.files import appearing
from geochange.review.actions import Status
from geochange.review.saved import SavedReview
from geochange.scenes.layers import in_pixels

SUFFIX = ".json"
ATTRIBUTES = ["id", "score_mean"]


def write_coco(path: Path, saved: SavedReview, wanted: Sequence[Status] | None) -> None:
    """Write changes as a COCO file of one image, the scene's later date, in whose pixels all numbers are.

    Each change has a mask, by pixel centres, as uncompressed runs; its status, score and comment are `attributes`.

    Args:
        path: a .json file.
        saved: the review.
        wanted: statuses; None: all.

    Raises:
        DiskFull: the disk has no room for it.
    """
    run = saved.run
    rows, cols = run.scene.shape
    names = [source.name for source in run.scene.sources]
    image = {"id": 1, "file_name": Path(names[-1]).name, "before": Path(names[0]).name, "height": rows, "width": cols}
    categories = [{"id": number, "name": name} for number, name in enumerate(run.classes, start=1)]
    head = json.dumps({"images": [image], "categories": categories}, ensure_ascii=False)
    with appearing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(head[:-1] + ', "annotations": [')
        for place, annotation in enumerate(_annotations(saved, wanted)):
            file.write((",\n" if place else "\n") + json.dumps(annotation, ensure_ascii=False))
        file.write("\n]}\n")


def _annotations(saved: SavedReview, wanted: Sequence[Status] | None) -> Iterator[dict[str, Any]]:
    grid, classes = saved.run.scene.grid, saved.run.classes
    for rows in saved.features(wanted, ATTRIBUTES):
        shapes = in_pixels(shapely.from_wkb([each["geometry"] for each in rows]), grid)
        for each, shape in zip(rows, shapes, strict=True):
            left, top, right, bottom = (int(edge) for edge in _outward(shape.bounds))
            mask = np.zeros((bottom - top, right - left), np.uint8)
            rasterize([shape], out=mask, transform=Affine.translation(left, top))
            yield {
                "id": each["id"],
                "image_id": 1,
                "category_id": classes.index(each["label"]) + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": {"size": list(grid.shape), "counts": runs_of(mask > 0, (top, left), grid.shape)},
                "attributes": {"status": each["status"], "score": each["score_mean"], "comment": each["comment"]},
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
