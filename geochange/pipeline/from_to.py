"""`from-to`: two layers of land cover → what changed into what, as polygons or as labels to learn from."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import rasterio
import shapely
from pyproj import CRS

from geochange.arrays import IGNORE, Array, Ints
from geochange.datasets.labels import value_text
from geochange.datasets.options import MOST_CLASSES
from geochange.engine.progress import Listener, Silent, Stages
from geochange.errors import BadOption, GridMismatch, NothingValid
from geochange.files import GEOTIFF_SUFFIXES, appearing_together, require_writable
from geochange.kinds.land_cover import Cover, CoverPieces, Transitions, find_transitions, snap_to_lattice
from geochange.pipeline.options import FromToOptions, choose_options
from geochange.polygons.export import FeatureLayer, naming_layer, writer_of
from geochange.polygons.options import parse_min_area
from geochange.qgis.style import class_style
from geochange.scenes.feature_files import GEOMETRY
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.ground import ground_areas, unit_metres
from geochange.scenes.layers import Layer, VectorLabels, in_pixels, open_layer, reproject_polygons
from geochange.scenes.scene import open_grid, rasterio_crs
from geochange.scenes.tiling import partition

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

LABEL_BLOCK = 1024
AREA_DECIMALS = 2  # of square metres
LEGEND = ("value", "name", "from", "to", "pixels")

TRANSITION_SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "change": pa.string(),
        "from": pa.string(),
        "to": pa.string(),
        "area_m2": pa.float64(),
        GEOMETRY: pa.binary(),
    }
)


@dataclass(frozen=True, slots=True)
class Transition:
    """One class that became another."""

    name: str
    """Without spaces and commas, as `geochange train --classes` takes it."""
    before: str
    after: str
    polygons: int
    area_m2: float

    def to_dict(self) -> dict[str, Any]:
        """Return names, count and area."""
        return {"name": self.name, "from": self.before, "to": self.after} | {
            "polygons": self.polygons,
            "area_m2": round(self.area_m2, AREA_DECIMALS),
        }


@dataclass(frozen=True, slots=True)
class FromTo:
    """What `from_to` found and wrote."""

    files: tuple[Path, ...]
    transitions: tuple[Transition, ...]
    """In the order of their labels: 1, 2, ..."""
    square_metres: dict[str, float]
    """Areas that are not a change, by name."""
    left_out: tuple[int, int]
    """Polygons without a class, before and after."""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def classes(self) -> str:
        """As `geochange train --classes` takes them."""
        return ",".join(each.name for each in self.transitions)

    def changes(self) -> GeoDataFrame:
        """Read the changes back, from the first layer that was written.

        Raises:
            BadOption: only label rasters were written.
        """
        layers = [path for path in self.files if path not in _rasters(self.files)]
        if not layers:
            raise BadOption(f"{self.files[0]} holds labels; name a layer too, as in changes.gpkg, to read changes")
        return open_layer(str(layers[0])).frame

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of the command."""
        return {
            "files": [str(path) for path in self.files],
            "classes": self.classes,
            "changes": [each.to_dict() for each in self.transitions],
            **{f"{name}_m2": round(area, AREA_DECIMALS) for name, area in self.square_metres.items()},
            "without_class": list(self.left_out),
            "seconds": self.seconds,
        }


def from_to(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    out: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    options: FromToOptions | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> FromTo:
    """Overlay two layers of polygons with classes, and write where the class changed.

    Args:
        before: a layer of the first date; its polygons do not overlap.
        after: one of the second; brought to the CRS of the first.
        out: files to write: layers (.gpkg, .geojson, .fgb, .parquet) with the columns `from`, `to`, `change` (both
            together) and `area_m2`; label rasters (.tif: 0 unchanged, 1, 2, ... the changes, 255 not labelled), each
            with a legend beside it (.csv).
        options: columns, the grid of labels, the smallest area, the tolerance of digitising.
        overwrite: replace files that are there.
        listener: receives progress updates.
        settings: options by name, in place of those in `options`.

    Raises:
        UnreadableInput: a layer or the grid cannot be read.
        BadOption: a column is missing, there are too many changes for labels, or no grid for them.
        GridMismatch: one of layers and grid has no CRS.
        NothingValid: the layers have no place in common.
        OutputInTheWay: a file exists and `overwrite` is off, or it cannot be written.
    """
    options, stages = choose_options(FromToOptions, options, settings), Stages(listener or Silent())
    paths = _outputs(out, options, [before, after, options.grid], overwrite=overwrite)
    layers = open_layer(os.fspath(before)), open_layer(os.fspath(after))
    named = options.label_column, options.label_column_after or options.label_column
    covers, left_out = zip(*(read_cover(*each) for each in zip(layers, named, strict=True)), strict=True)
    crs, grid = _common_crs(layers), None if options.grid is None else _open_grid(options.grid)
    plane = Plane.of(crs, covers[0].polygons)
    brought = reproject_polygons(covers[1].polygons, layers[1].frame.crs, crs, layers[1].path)
    covers = covers[0], replace(covers[1], polygons=brought)
    with stages.stage("overlay"):
        snapped = [replace(cover, polygons=snap_to_lattice(plane.enter(cover.polygons))) for cover in covers]
        found = find_transitions(
            *snapped, min_area=_min_area_m2(options, grid), tolerance=options.tolerance, missing=options.missing
        )
    if not found.unchanged and not len(found.changes) and not found.dropped:
        raise NothingValid(f"{layers[0].path} and {layers[1].path} have no place in common; are they of one area?")
    mapped = replace(found.changes, polygons=shapely.orient_polygons(plane.leave(found.changes.polygons)))
    transitions = list_transitions(mapped, crs)
    with stages.stage("write"), appearing_together([*paths, *_legends(paths)]) as temporaries:
        legends = iter(temporaries[len(paths) :])
        for path, temporary in zip(paths, temporaries, strict=False):
            if grid is not None and path in _rasters(paths):
                _write_labels(temporary, next(legends), Labels.of(covers, mapped, crs, grid), transitions)
            else:
                with naming_layer(path):
                    _write_layer(temporary, mapped, crs, transitions)
    return FromTo(paths, transitions, _square_metres(found), (left_out[0], left_out[1]), stages.seconds)


def _outputs(
    out: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    options: FromToOptions,
    inputs: Sequence[str | os.PathLike[str] | None],
    *,
    overwrite: bool,
) -> tuple[Path, ...]:
    """Return the files to write; refuse, before any work is done, those that cannot be."""
    paths = tuple(Path(each) for each in ([out] if isinstance(out, str | os.PathLike) else out))
    rasters = _rasters(paths)
    if rasters and options.grid is None:
        raise BadOption(f"{rasters[0].name} is a raster: say on which grid, with --grid IMAGE")
    for path in paths:
        if path not in rasters:
            writer_of(path)
    require_writable([*paths, *_legends(paths)], overwrite=overwrite, inputs=inputs)
    return paths


def _rasters(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in GEOTIFF_SUFFIXES]


def _legends(paths: Sequence[Path]) -> list[Path]:
    """Return the tables beside label rasters."""
    return [path.with_suffix(".csv") for path in _rasters(paths)]


def _open_grid(path: str) -> Grid:
    grid = open_grid(path)
    if grid.crs is None:
        raise GridMismatch(f"{path} has no CRS, without which layers cannot be brought to it; give it one")
    return grid


def _min_area_m2(options: FromToOptions, grid: Grid | None) -> float:
    """Return the smallest area in square metres; pixels are those of the grid."""
    smallest = parse_min_area(options.min_area)
    sides = None if grid is None else grid.pixel_metres
    return smallest.square_metres if sides is None else smallest.square_metres + smallest.pixels * sides[0] * sides[1]


def read_cover(layer: Layer, column: str) -> tuple[Cover, int]:
    """Polygons and classes of a layer, and how many polygons have none.

    Raises:
        BadOption: there is no such column.
    """
    frame = layer.frame
    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    if column not in columns:
        raise BadOption(
            f"{layer.path} has no column {column!r}, it has {', '.join(columns) or 'none'}; give --label-column"
        )
    known = frame[column].notna().to_numpy()
    classes = np.array([value_text(value) for value in frame[column][known]], object)
    return Cover(np.asarray(frame.geometry.values, dtype=object)[known], classes), int((~known).sum())


def _common_crs(layers: tuple[Layer, Layer]) -> CRS:
    for layer in layers:
        if layer.frame.crs is None:
            raise GridMismatch(f"{layer.path} has no CRS, without which areas are not known; give it one")
    return CRS.from_user_input(layers[0].frame.crs)


@dataclass(frozen=True, slots=True)
class Plane:
    """A plane of metres for a CRS: map units as long as they are on the ground in the middle of the polygons."""

    east: float
    """Metres a unit."""
    north: float

    @classmethod
    def of(cls, crs: CRS, polygons: Array) -> Plane:
        """Choose the plane for polygons in map units."""
        return cls(*unit_metres(crs, shapely.total_bounds(polygons)))

    def enter(self, polygons: Array) -> Array:
        """Bring polygons from map units to metres."""
        entered: Array = shapely.transform(polygons, lambda xy: xy * (self.east, self.north))
        return entered

    def leave(self, polygons: Array) -> Array:
        """Bring polygons from metres to map units."""
        left: Array = shapely.transform(polygons, lambda xy: xy / (self.east, self.north))
        return left


def list_transitions(pieces: CoverPieces, crs: CRS) -> tuple[Transition, ...]:
    """Add up the changes by class before and after."""
    areas, pairs = ground_areas(pieces.polygons, crs), list(zip(pieces.before, pieces.after, strict=True))
    found = []
    for one, other in sorted(set(pairs)):
        own = np.array([pair == (one, other) for pair in pairs])
        found.append(Transition(change_name(one, other), one, other, int(own.sum()), float(areas[own].sum())))
    return tuple(found)


def change_name(before: str, after: str) -> str:
    """One word for a change, as `geochange train --classes` takes it."""
    return re.sub(r"[\s,]+", "_", f"{before}_to_{after}")


def _square_metres(found: Transitions) -> dict[str, float]:
    names = ("unchanged", "only_before", "only_after", "dropped", "absorbed")
    return {name: getattr(found, name) for name in names}


def _write_layer(path: Path, pieces: CoverPieces, crs: CRS, transitions: Sequence[Transition]) -> None:
    layer = FeatureLayer(
        schema=TRANSITION_SCHEMA, crs=crs, style=class_style("change", [each.name for each in transitions])
    )
    writer_of(path)(path, iter([_features(pieces, crs)]), layer)


def _features(pieces: CoverPieces, crs: CRS) -> pa.RecordBatch:
    names = [change_name(*pair) for pair in zip(pieces.before, pieces.after, strict=True)]
    columns = {
        "id": np.arange(1, len(pieces) + 1),
        "change": names,
        "from": pieces.before,
        "to": pieces.after,
        "area_m2": np.round(ground_areas(pieces.polygons, crs), AREA_DECIMALS),
        GEOMETRY: shapely.to_wkb(pieces.polygons),
    }
    return pa.record_batch(
        [pa.array(columns[each.name], each.type) for each in TRANSITION_SCHEMA], schema=TRANSITION_SCHEMA
    )


@dataclass(frozen=True)
class Labels:
    """What is known of the pixels of a grid."""

    before: VectorLabels
    after: VectorLabels
    """Classes of both dates by one numbering, 0 where not covered."""
    changes: VectorLabels
    grid: Grid

    @classmethod
    def of(cls, covers: tuple[Cover, Cover], pieces: CoverPieces, crs: CRS, grid: Grid) -> Labels:
        """Burn layers and changes onto a grid.

        Raises:
            BadOption: there are more classes or changes than labels.
        """
        classes = np.unique(np.concatenate([cover.classes for cover in covers]).astype(str))
        pairs = sorted(set(zip(pieces.before, pieces.after, strict=True)))
        if max(len(classes), len(pairs)) > MOST_CLASSES:
            raise BadOption(
                f"{len(classes)} classes and {len(pairs)} changes are too many; {MOST_CLASSES} labels are the most: "
                "join classes, or raise --min-area"
            )

        def burn(polygons: Array, labels: Ints) -> VectorLabels:
            return VectorLabels(in_pixels(reproject_polygons(polygons, crs, grid.crs), grid), labels)

        number = {pair: place for place, pair in enumerate(pairs, start=1)}
        of_pieces = np.array([number[pair] for pair in zip(pieces.before, pieces.after, strict=True)], np.intp)
        dates = [burn(cover.polygons, np.searchsorted(classes, cover.classes.astype(str)) + 1) for cover in covers]
        return cls(dates[0], dates[1], burn(pieces.polygons, of_pieces), grid)

    def read(self, tile: Tile) -> Ints:
        """(y, x) uint8: the number of a change, 0 where the class is the same at both dates, else 255.

        What was too small or too thin to be a change is not known.
        """
        before, after, change = (each.read(tile)[0] for each in (self.before, self.after, self.changes))
        same = (before > 0) & (before == after)
        return np.where(change > 0, change, np.where(same, 0, IGNORE)).astype(np.uint8)


def _write_labels(path: Path, legend: Path, labels: Labels, transitions: Sequence[Transition]) -> None:
    """Write the raster, and its legend."""
    height, width = labels.grid.shape
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": height,
        "width": width,
        "dtype": "uint8",
        "crs": rasterio_crs(labels.grid.crs),
        "transform": labels.grid.transform,
        "nodata": IGNORE,
        "tiled": True,
        "compress": "DEFLATE",
        "bigtiff": "IF_SAFER",
    }
    counts = np.zeros(IGNORE + 1, np.int64)
    with rasterio.open(path, "w", **profile) as dataset:
        for tile in partition(labels.grid.shape, (LABEL_BLOCK, LABEL_BLOCK)):
            values = labels.read(tile)
            counts += np.bincount(values.ravel(), minlength=counts.size)
            dataset.write(values, 1, window=tile.window)
    legend.write_text(_legend(transitions, counts), encoding="utf-8")


def _legend(transitions: Sequence[Transition], counts: Ints) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(LEGEND)
    writer.writerow((0, "unchanged", "", "", counts[0]))
    for value, each in enumerate(transitions, start=1):
        writer.writerow((value, each.name, each.before, each.after, counts[value]))
    writer.writerow((IGNORE, "not labelled", "", "", counts[IGNORE]))
    return table.getvalue()
