"""`datasets export`: labelled pairs → a COCO file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.features
import shapely
from shapely.geometry.base import BaseGeometry

from geochange.arrays import IGNORE
from geochange.datasets.coco import polygon_fields, write_coco_file
from geochange.datasets.labels import polygon_labels, read_labels
from geochange.datasets.listings import LabelledPair, list_pairs
from geochange.datasets.options import CollectionOptions, LabelOptions
from geochange.engine.progress import Listener, Silent, Stages
from geochange.errors import BadOption
from geochange.files import require_writable
from geochange.names import is_elsewhere, relative_name
from geochange.pipeline.options import CocoOptions, choose_options
from geochange.scenes.grid import Grid
from geochange.scenes.layer_files import is_layer
from geochange.scenes.layers import in_pixels, open_layer
from geochange.scenes.scene import open_file


@dataclass(frozen=True, slots=True)
class ExportedLabels:
    """What was written."""

    path: Path
    images: int
    """Pairs."""
    objects: dict[str, int]
    """Class -> how many."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


def export_labels(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: CocoOptions | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> ExportedLabels:
    """Write the labels of pairs as a COCO file: an image a pair, an annotation an object.

    An image's `file_name` is its later date, `before` the earlier one, as paths from the file. Objects are the polygons
    of a layer, with their corners, or the regions of a raster that share an edge; those with holes, for which COCO has
    no corners, are masks. Where nothing is labelled is a crowd of the first class.

    Args:
        data: a folder A, B, label, or a table of scenes.
        out: the .json file.
        options: classes, and how they are stored; which split.
        overwrite: replace a file that is there.
        listener: receives progress updates.
        settings: options by name, in place of those in `options`.

    Raises:
        UnreadableInput: nothing is there, or a file is broken.
        BadOption: OUT is no .json file, a stored value stands for no class, or the split has no pairs.
        OutputInTheWay: OUT exists and `overwrite` is off.
    """
    options, path = choose_options(CocoOptions, options, settings), Path(out)
    if path.suffix.lower() != ".json":
        raise BadOption(f"{path.name}: COCO files end in .json")
    pairs = [pair for pair in list_pairs(Path(data)) if options.split in (None, pair.split)]
    if not pairs:
        raise BadOption(f"{data} has no pairs of the split {options.split}")
    require_writable([path], overwrite=overwrite, inputs=[data])
    reading = CollectionOptions(**{each.name: getattr(options, each.name) for each in fields(LabelOptions)})
    grids = [open_file(pair.dates[0]).grid for pair in pairs]
    images = [_image(number, pair, grid, path) for number, (pair, grid) in enumerate(zip(pairs, grids, strict=True), 1)]
    categories = [{"id": number, "name": name} for number, name in enumerate(options.classes, start=1)]
    counts: Counter[str] = Counter(dict.fromkeys(options.classes, 0))
    with Stages(listener or Silent()).stage("export", len(pairs)) as progress:

        def annotations() -> Iterator[dict[str, Any]]:
            numbers = iter(range(1, 1 << 62))
            for number, (pair, grid) in enumerate(zip(pairs, grids, strict=True), start=1):
                for label, shape in _objects(pair, grid, reading):
                    unknown = label == IGNORE
                    counts.update(() if unknown else (options.classes[label - 1],))
                    found = polygon_fields(shape, grid.shape) | ({"iscrowd": 1} if unknown else {})
                    category = 1 if unknown else label
                    yield {"id": next(numbers), "image_id": number, "category_id": category, **found}
                progress.advance(grid.area.size)

        write_coco_file(path, {"images": images, "categories": categories}, annotations())
    return ExportedLabels(path, len(pairs), dict(counts))


def _image(number: int, pair: LabelledPair, grid: Grid, out: Path) -> dict[str, Any]:
    before, *_, after = (_from_file(name, out) for name in pair.dates)
    rows, cols = grid.shape
    split = {} if pair.split is None else {"split": pair.split}
    return {"id": number, "file_name": after, "before": before, "height": rows, "width": cols, **split}


def _from_file(name: str, out: Path) -> str:
    return name if is_elsewhere(name) else relative_name(name, str(out.absolute().parent))


def _objects(pair: LabelledPair, grid: Grid, options: CollectionOptions) -> Iterator[tuple[int, BaseGeometry]]:
    """Yield (label, polygon in pixels) of each object; 255 where nothing is labelled."""
    assert pair.labels is not None
    if is_layer(pair.labels):
        layer = open_layer(pair.labels)
        shapes, labels = in_pixels(layer.polygons(grid), grid), polygon_labels(layer, options)
        order = np.argsort(layer.frame["id"], kind="stable") if "id" in layer.frame else np.arange(len(shapes))
        for place in order:
            yield 1 if labels is None else int(labels[place]), shapes[place]
        return
    found = read_labels(pair.labels, grid.area, grid, pair.dates[0], options)
    for shape, label in rasterio.features.shapes(found, mask=found > 0, connectivity=4):
        yield int(label), shapely.geometry.shape(shape)
