"""Changes of a review as COCO has objects (Lin et al. 2014): one image, a mask of each change by its runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import shapely

from geochange.datasets.coco import mask_fields, write_coco_file
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
    write_coco_file(path, {"images": [image], "categories": categories}, _annotations(saved, wanted))


def _annotations(saved: SavedReview, wanted: Sequence[Status] | None) -> Iterator[dict[str, Any]]:
    grid, classes = saved.run.scene.grid, saved.run.classes
    for rows in saved.features(wanted, ATTRIBUTES):
        shapes = in_pixels(shapely.from_wkb([each["geometry"] for each in rows]), grid)
        for each, shape in zip(rows, shapes, strict=True):
            yield {
                "id": each["id"],
                "image_id": 1,
                "category_id": classes.index(each["label"]) + 1,
                **mask_fields(shape, grid.shape),
                "attributes": {"status": each["status"], "score": each["score_mean"], "comment": each["comment"]},
            }
