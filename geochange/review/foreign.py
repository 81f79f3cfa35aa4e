"""Polygons from anywhere as a layer of changes, to be reviewed; or an empty one, to be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from geochange.arrays import Array
from geochange.errors import BadOption
from geochange.parsing import parsing
from geochange.polygons.export import FeatureLayer, write_features
from geochange.polygons.features import MEASURES, SCHEMA, UNREVIEWED, map_polygons, outline_measures
from geochange.qgis.style import status_style
from geochange.scenes.grid import Grid
from geochange.scenes.layers import in_pixels, open_layer

LABEL, SCORES = "label", ("score_mean", "score_max")
MOST_LABELS = 50


def labels_in(layer: str | None) -> tuple[str, ...]:
    """Return the classes that a layer names in its column `label`, by name; ("change",) where it, or a layer, has none.

    Raises:
        UnreadableInput: it is no layer of polygons.
        BadOption: there are more than `MOST_LABELS`.
    """
    frame = None if layer is None else open_layer(layer).frame
    if frame is None or LABEL not in frame.columns:
        return ("change",)
    found = sorted({str(value) for value in frame[LABEL].dropna()})
    if len(found) > MOST_LABELS:
        raise BadOption(f"the column label of {layer} holds {len(found)} names; give the classes with --classes")
    return tuple(found) or ("change",)


def read_changes(layer: str, grid: Grid, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Read the polygons of a layer that meet the scene, cut at its border, as rows of a layer of changes.

    Their class is what the column `label` says, else the first one; scores are taken over from `score_mean` and
    `score_max`.

    Args:
        layer: a file, or `FILE|layername=NAME`.
        grid: the scene's.
        classes: that a change may have.

    Raises:
        UnreadableInput: it is no layer of polygons.
        GridMismatch: only one of layer and grid has a CRS.
        BadOption: it names another class.
    """
    opened = open_layer(layer)
    frame, polygons = opened.frame, in_pixels(opened.polygons(grid), grid)
    labels = [str(value) for value in frame[LABEL].fillna(classes[0])] if LABEL in frame else [classes[0]] * len(frame)
    if unknown := sorted({*labels} - {*classes}):
        raise BadOption(f"{layer} holds the class {unknown[0]!r}; it is not one of {', '.join(classes)}")
    with parsing(layer, "a layer whose scores are numbers"):
        scores = {
            name: frame[name].to_numpy(float) if name in frame else np.full(len(frame), np.nan) for name in SCORES
        }
    rows, cols = grid.shape
    cut = shapely.intersection(shapely.make_valid(polygons), shapely.box(0, 0, cols, rows))
    found = []
    for place, shape in enumerate(cut):
        for part in shapely.get_parts(shape):
            if part.geom_type == "Polygon" and part.area > 0:
                own = {name: float(values[place]) for name, values in scores.items()}
                found.append({"shape": part, "label": labels[place], **own})
    return found


def write_changes(path: Path, changes: Sequence[dict[str, Any]], grid: Grid) -> None:
    """Write rows of `read_changes`, or none, as the layer that a review begins with.

    Raises:
        DiskFull: the disk has no room for it.
    """
    shapes: Array = np.array([each["shape"] for each in changes], object)
    mapped = shapely.orient_polygons(map_polygons(shapes, grid)) if len(changes) else shapes
    measured = outline_measures(shapes, grid, mapped) if len(changes) else dict.fromkeys(MEASURES, np.zeros(0))
    rows, cols = grid.shape
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    columns = {
        "id": np.arange(1, len(changes) + 1),
        "label": [each["label"] for each in changes],
        **{name: [each[name] for each in changes] for name in SCORES},
        **measured,
        "area_px": [round(float(each)) for each in shapely.area(shapes)] if len(changes) else [],
        "contrast": [None] * len(changes),
        "confidence": [None] * len(changes),
        "on_edge": ((bounds <= 0).any(axis=1) | (bounds[:, 2] >= cols) | (bounds[:, 3] >= rows)).tolist(),
        "date_before": [None] * len(changes),
        "date_after": [None] * len(changes),
        "status": [UNREVIEWED] * len(changes),
        "comment": [""] * len(changes),
        "geometry": shapely.to_wkb(mapped) if len(changes) else [],
    }
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in SCHEMA]
    layer = FeatureLayer(schema=SCHEMA, crs=grid.crs, style=status_style())
    write_features(path, iter([pa.record_batch(arrays, schema=SCHEMA)]), layer)
