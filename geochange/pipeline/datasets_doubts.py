"""`datasets doubts`: labels that a network doubts which has not seen them → a layer, worst first."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS

from geochange.datasets.collection import Collection
from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint
from geochange.engine.progress import Listener, Relay, Silent
from geochange.errors import BadOption
from geochange.files import require_writable, scratch_beside
from geochange.learning.doubts import DoubtedRegion, find_doubts
from geochange.learning.material import Material, gather, make_network, make_samples, require_labels
from geochange.learning.options import DoubtOptions
from geochange.learning.run_options import parse_training_data
from geochange.learning.scoring import scene_of
from geochange.learning.training import BEST, fit
from geochange.pipeline.options import choose_options
from geochange.polygons.export import FeatureLayer, write_features
from geochange.polygons.features import map_polygons
from geochange.scenes.layers import reproject_polygons
from geochange.scenes.scene import open_file

LAYER = "doubts"
SCHEMA = pa.schema(
    {
        "rank": pa.int64(),
        "image": pa.string(),
        "kind": pa.string(),
        "label": pa.string(),
        "doubt": pa.float64(),
        "area_px": pa.int64(),
        "geometry": pa.binary(),
    }
)


@dataclass(frozen=True, slots=True)
class DoubtedLabels:
    """What was doubted, and where it lies."""

    path: Path
    counts: dict[str, int]
    """Why -> regions."""
    area_px: dict[str, int]
    """Why -> their pixels."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


def doubt_labels(
    data: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: DoubtOptions | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> DoubtedLabels:
    """Find labels that may be wrong: those that a network doubts which was trained on the other ones.

    Scenes are parted into folds; for each, a network is trained on the others and scores it (confident learning,
    Northcutt 2021). The layer has a polygon a region with the columns rank (1 is the worst: the most pixels that are
    wrong if the network is right), image, kind, label, doubt and area_px. It is in the CRS of the images, WGS 84 where
    they have several, and in columns and negative rows where they have none.

    Args:
        data: folders or tables, as for `train`.
        out: the layer to write, in the format that its suffix names.
        options: folds, and how networks are trained.
        overwrite: replace a file that is there.
        listener: receives each update, and notices.
        settings: options by name, in place of those in `options`.

    Raises:
        BadOption: there are fewer scenes than folds, or options do not fit each other or the data.
        UnreadableInput: an image is broken or missing.
        OutputInTheWay: OUT exists and `overwrite` is off.
    """
    options, path, listener = choose_options(DoubtOptions, options, settings), Path(out), listener or Silent()
    require_writable([path], overwrite=overwrite, inputs=data)
    sources = [parse_training_data(text) for text in data]
    start = None if options.start is None else load_checkpoint(find_checkpoint(options.start))
    material = gather(sources, replace(options, val_share=0.0), start)
    material = replace(material, training=(*material.training, *material.held_out), held_out=())
    require_labels(material, options, listener, start)
    scenes = sorted({scene_of(item.pair.name) for each in material.training for item in each.items})
    if len(scenes) < options.folds:
        raise BadOption(f"{len(scenes)} scenes cannot be parted into {options.folds} folds; give fewer --folds")
    order = np.random.default_rng(options.seed).permutation(len(scenes))
    found: list[DoubtedRegion] = []
    with scratch_beside(path) as scratch:
        for fold in range(options.folds):
            held = {scenes[k] for k in order[fold :: options.folds]}
            checkpoint = _train_without(held, material, options, start, scratch / str(fold), listener)
            for each in material.training:
                part = _part(each, held, inside=True)
                if len(part):
                    found += find_doubts(checkpoint, part, gsd=options.gsd, smallest=options.smallest)
            listener.notice(f"fold {fold + 1} of {options.folds}: {len(found)} doubts so far")
        found.sort(key=lambda doubt: -doubt.weight)
        _write(path, found, options.classes)
    counts = Counter(doubt.kind for doubt in found)
    areas = Counter[str]()
    for doubt in found:
        areas[doubt.kind] += doubt.area_px
    return DoubtedLabels(path, dict(counts), dict(areas))


def _part(collection: Collection, scenes: set[str], *, inside: bool) -> Collection:
    return collection.part(
        [k for k, item in enumerate(collection.items) if (scene_of(item.pair.name) in scenes) == inside]
    )


def _train_without(  # noqa: PLR0917, what is trained, on what, where
    held: set[str],
    material: Material,
    options: DoubtOptions,
    start: Checkpoint | None,
    folder: Path,
    listener: Listener,
) -> Checkpoint:
    """Train a network on all scenes but some."""
    rest = tuple(part for each in material.training if len(part := _part(each, held, inside=False)))
    own = replace(material, training=rest)
    network, about, _ = make_network(own, options, start, ())
    folder.mkdir()
    fitting = replace(options.fitting(), every=options.steps, patience=None)
    fit(
        network, about, make_samples(own, options, network), [], folder, fitting,
        listener=Relay(listener, lambda figures: None),
    )  # fmt: skip
    checkpoint = load_checkpoint(folder / BEST)
    shutil.rmtree(folder)
    return checkpoint


def _write(path: Path, found: Sequence[DoubtedRegion], classes: Sequence[str]) -> None:
    names = ("unchanged", *classes)
    grids = {doubt.item.pair.dates[0]: open_file(doubt.item.pair.dates[0]).grid for doubt in found}
    systems = {None if grid.crs is None else grid.crs.to_wkt(): grid.crs for grid in grids.values()}
    if len(systems) > 1 and None in systems:
        raise BadOption("some images have a CRS and others have none: doubt the labels of each kind by themselves")
    crs = next(iter(systems.values()), None) if len(systems) <= 1 else CRS.from_epsg(4326)
    shapes = []
    for doubt in found:
        grid = grids[doubt.item.pair.dates[0]]
        mapped = map_polygons(np.array([doubt.shape], object), grid)
        shapes.append(mapped[0] if grid.crs == crs else reproject_polygons(mapped, grid.crs, crs)[0])
    columns = {
        "rank": range(1, len(found) + 1),
        "image": [Path(doubt.item.pair.dates[-1]).name for doubt in found],
        "kind": [doubt.kind for doubt in found],
        "label": [names[doubt.label] for doubt in found],
        "doubt": [round(doubt.doubt, 4) for doubt in found],
        "area_px": [doubt.area_px for doubt in found],
        "geometry": [shapely.to_wkb(shape) for shape in shapes],
    }
    batch = pa.record_batch([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)
    write_features(path, iter([batch]), FeatureLayer(schema=SCHEMA, crs=crs, name=LAYER))
