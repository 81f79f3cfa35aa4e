"""`datasets import`: pairs and labels as other data sets and tools have them → a table that `train` takes."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rasterio
import shapely
from shapely.geometry.base import BaseGeometry

from geochange.arrays import Array, Ints
from geochange.datasets.annotations import FORMS
from geochange.datasets.balance import class_shares, count_classes
from geochange.datasets.foreign import ForeignData, ForeignPair, LabelledObjects
from geochange.datasets.labels import read_labels
from geochange.datasets.layouts import LAYOUTS
from geochange.datasets.listings import TABLE_COLUMNS
from geochange.datasets.options import CollectionOptions
from geochange.engine.progress import Listener, Silent, Stages
from geochange.errors import BadOption, GridMismatch, UnreadableInput
from geochange.files import appearing
from geochange.names import relative_name
from geochange.pipeline.options import ImportOptions, choose_options
from geochange.pipeline.run_folder import RunFolder
from geochange.polygons.export import FeatureLayer, write_features
from geochange.redaction import plain
from geochange.scenes.grid import Grid, map_points
from geochange.scenes.scene import open_file, rasterio_crs
from geochange.scenes.tiling import partition

COMMAND, TABLE, LABELS, IMAGES = "datasets import", "pairs.csv", "labels", "images"
TARGETS = (TABLE, f"{LABELS}/*.tif", f"{LABELS}/*.fgb", f"{IMAGES}/*.tif")
CLASS_COLUMN = "class"
COUNTED_SIDE = 4096  # pixels of labels that are counted at once
SCHEMA = pa.schema({"id": pa.int64(), CLASS_COLUMN: pa.string(), "geometry": pa.binary()})


@dataclass(frozen=True, slots=True)
class Imported:
    """What was imported, and where it lies."""

    folder: Path
    record: dict[str, Any]
    """Content of run.json."""

    @property
    def table(self) -> Path:
        """The pairs, as `train` takes them."""
        return self.folder / TABLE

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return self.record


def import_dataset(
    form: str,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ImportOptions | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> Imported:
    """Make a data set of other people's tools, or a published one as it unpacks, one that `train` takes.

    Images stay where they are, but for bands in files of their own, which are stacked. OUT holds pairs.csv, labels/
    (a raster, or a layer with the column `class` where labels are objects; 255 is not labelled), and run.json with the
    classes, how many pairs and objects there are, and the shares of pixels.

    Args:
        form: the tool: coco, yolo, voc, labelme, layers, colours, masks; or the data set: levir-cd, whu-cd, s2looking,
            oscd, xbd, dsifn, sysu-cd, second or hrscd.
        source: the folder that holds it.
        out: folder for the table and the labels.
        options: where annotations lie, and what is taken; see `ImportOptions`.
        overwrite: replace what an earlier run left.
        listener: receives progress updates.
        settings: options by name, in place of those in `options`.

    Raises:
        UnreadableInput: the folder is not in this layout, or a file is broken.
        BadOption: an option is missing, or is not for this form.
        OutputInTheWay: OUT holds another run, and `overwrite` is off.
    """
    options, stages = choose_options(ImportOptions, options, settings), Stages(listener or Silent())
    found = _read(form, Path(source), options)
    if not found.classes:
        raise UnreadableInput(f"{source} holds no labelled object")
    folder = RunFolder(Path(out), COMMAND, TARGETS, [source, options.annotations, options.colours])
    with folder.owned():
        folder.begin({"command": COMMAND}, resume=None, overwrite=overwrite)
        try:
            record = _record(form, found, _write(found, folder, stages))
            folder.publish(record)
        except BaseException:
            folder.abandon()
            raise
    for note in found.notes:
        stages.notice(note)
    return Imported(folder.out, record)


def _read(form: str, source: Path, options: ImportOptions) -> ForeignData:
    if form not in (known := (*FORMS, *LAYOUTS)):
        raise BadOption(f"there is no form {form!r} of data sets; there are {', '.join(known)}")
    if not source.is_dir():
        raise UnreadableInput(f"{source} is no folder")
    annotations, colours = (None if each is None else Path(each) for each in (options.annotations, options.colours))
    if form in LAYOUTS:
        if annotations or colours:
            raise BadOption(f"{form} has its annotations where they were published; leave out --annotations, --colours")
        return LAYOUTS[form](source, options.of)
    if options.of != "change":
        raise BadOption(f"--of is for second and hrscd, not for {form}")
    return FORMS[form](source, annotations, colours)


@dataclass(slots=True)
class _Written:
    """What has been written."""

    rows: list[tuple[str, ...]]
    """Before, after and labels of each pair, as paths from OUT."""
    counts: list[Ints]
    """Of pixels: unchanged, of each class, not labelled."""


def _write(found: ForeignData, folder: RunFolder, stages: Stages) -> _Written:
    """Write labels, stacked images and the table."""
    written = _Written([], [])
    digits = len(str(len(found.pairs)))
    reading = CollectionOptions(classes=found.classes, label_column=CLASS_COLUMN if _of_layers(found) else None)
    for name in (LABELS, IMAGES):
        (folder.ready / name).mkdir()
    with stages.stage("import", len(found.pairs)) as progress:
        for number, pair in enumerate(found.pairs, start=1):
            name = f"{number:0{digits}d}_{_plain(pair.name)}"
            dates = [_image(files, folder.ready / IMAGES / f"{name}_{k}.tif") for k, files in enumerate(pair.dates, 1)]
            grid = open_file(str(dates[0])).grid
            labels = _labels(pair, grid, folder.ready / LABELS / name)
            written.counts.append(_count(labels, dates[0], grid, reading))
            written.rows.append(tuple(_from_out(each, folder) for each in (*dates, labels)))
            progress.advance(grid.area.size)
    with (folder.ready / TABLE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow((*TABLE_COLUMNS, "split"))
        table.writerows((*row, pair.split or "") for row, pair in zip(written.rows, found.pairs, strict=True))
    return written


def _plain(name: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in name)


def _from_out(path: Path, folder: RunFolder) -> str:
    """Return a path as the table in OUT names it."""
    if path.is_relative_to(folder.ready):
        return path.relative_to(folder.ready).as_posix()
    return relative_name(str(path), str(folder.out))


def _image(files: Sequence[Path], out: Path) -> Path:
    """Return the image of a date; bands in files of their own are stacked on the grid of the finest, nearest."""
    if len(files) == 1:
        return files[0]
    opened = [open_file(str(each)) for each in files]
    finest = max(opened, key=lambda source: source.grid.area.size)
    height, width = finest.grid.shape
    place = _place(finest.grid)
    profile = {"driver": "GTiff", "count": len(files), "tiled": True, "compress": "deflate", **place}
    profile["dtype"] = np.result_type(*(source.dtype for source in opened))
    with appearing(out) as temporary, rasterio.open(temporary, "w", height=height, width=width, **profile) as stack:
        for number, path in enumerate(files, start=1):
            with rasterio.open(path) as band:
                stack.write(band.read(1, out_shape=(height, width)), number)
                stack.set_band_description(number, path.stem.rpartition("_")[2])
    return out


def _place(grid: Grid) -> dict[str, Any]:
    return {} if grid.crs is None else {"crs": rasterio_crs(grid.crs), "transform": grid.transform}


def _labels(pair: ForeignPair, grid: Grid, out: Path) -> Path:
    labels = pair.labels
    if isinstance(labels, LabelledObjects):
        return _write_outlines(labels, grid, out.with_name(f"{out.name}.fgb"))
    return _write_raster(labels.read(), grid, pair, out.with_name(f"{out.name}.tif"))


def _write_raster(labels: Ints, grid: Grid, pair: ForeignPair, out: Path) -> Path:
    if labels.shape != grid.shape:
        raise GridMismatch(f"the labels of {pair.name} have {labels.shape} pixels, the images {grid.shape}")
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "compress": "deflate", **_place(grid)}
    height, width = grid.shape
    with appearing(out) as temporary, rasterio.open(temporary, "w", height=height, width=width, **profile) as raster:
        raster.write(labels, 1)
    return out


def _write_outlines(labels: LabelledObjects, grid: Grid, out: Path) -> Path:
    shapes = [_valid(each.shape) for each in labels.objects]
    kept = [k for k, shape in enumerate(shapes) if not shape.is_empty]
    mapped: Array = shapely.transform(
        np.array([shapely.multipolygons(shapely.get_parts(shapes[k])) for k in kept], object),
        partial(map_points, grid.transform),
    )
    columns = [
        pa.array([labels.objects[k].number for k in kept], pa.int64()),
        pa.array([labels.objects[k].name for k in kept], pa.string()),
        pa.array(shapely.to_wkb(mapped).tolist(), pa.binary()),
    ]
    batch = pa.record_batch(columns, schema=SCHEMA)
    write_features(out, iter([batch]), FeatureLayer(schema=SCHEMA, crs=grid.crs, geometry_type="MultiPolygon"))
    return out


def _valid(shape: BaseGeometry) -> BaseGeometry:
    """Return the polygons of a shape, which may cross itself."""
    if shape.is_valid:
        return shape
    parts = [each for part in shapely.get_parts(shapely.make_valid(shape)) for each in shapely.get_parts(part)]
    return shapely.MultiPolygon([each for each in parts if each.geom_type == "Polygon"])


def _count(labels: Path, image: Path, grid: Grid, options: CollectionOptions) -> Ints:
    """Count pixels: unchanged, of each class, not labelled."""
    counts = np.zeros(len(options.classes) + 2, np.int64)
    for tile in partition(grid.shape, (COUNTED_SIDE, COUNTED_SIDE)):
        counts += count_classes(read_labels(str(labels), tile, grid, str(image), options), len(options.classes))
    return counts


def _record(form: str, found: ForeignData, written: _Written) -> dict[str, Any]:
    objects = Counter(
        each.name for pair in found.pairs if isinstance(pair.labels, LabelledObjects) for each in pair.labels.objects
    )
    shares = class_shares(np.array(written.counts)).tolist()
    column = {"label_column": CLASS_COLUMN} if _of_layers(found) else {}
    return plain(
        {
            "form": form,
            "classes": list(found.classes),
            "pairs": dict(Counter(pair.split or "all" for pair in found.pairs)),
            "objects": dict(sorted(objects.items())),
            "pixels": int(np.sum(written.counts)),
            "shares": dict(zip(("unchanged", *found.classes), shares, strict=True)),
            "not_labelled": float(np.sum(written.counts, axis=0)[-1] / max(np.sum(written.counts), 1)),
            "options": {"classes": list(found.classes), **column},
            "notes": list(found.notes),
            "versions": {"geochange": version("geochange")},
            "files": {"table": TABLE, "made": [each for row in written.rows for each in row if not _outside(each)]},
        }
    )


def _outside(name: str) -> bool:
    return name.startswith("..") or Path(name).is_absolute()


def _of_layers(found: ForeignData) -> bool:
    return any(isinstance(pair.labels, LabelledObjects) for pair in found.pairs)
