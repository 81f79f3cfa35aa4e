"""One synthetic pair as files: both dates, labels, and the boxes of its changes; cell by cell, in parallel."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely

from geochange.arrays import IGNORE, Array, Bools, Floats, Ints
from geochange.datasets.listings import LABEL
from geochange.datasets.options import CHANGE_KINDS
from geochange.datasets.synthesis import SYNTHETIC_CELL, PairPlan, SyntheticChange, synthesize_cell
from geochange.datasets.unchanged import EFFECT_HALO
from geochange.engine.work import Work, grid_blocks
from geochange.errors import OutputInTheWay
from geochange.files import appearing
from geochange.polygons.features import map_polygons
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.layer_files import writable_path
from geochange.scenes.options import NodataRule
from geochange.scenes.pairing import Scene
from geochange.scenes.source import Source, read_beyond
from geochange.scenes.writing import describe_like, geotiff_profile

FOLDERS, OBJECTS = ("A", "B", LABEL), "objects"


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A cell of a pair as its files hold it."""

    dates: tuple[Array, ...]
    valid: Bools
    labels: Ints
    objects: tuple[SyntheticChange, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair, to be synthesized and written."""

    scene: Scene
    changed: Source | None
    plan: PairPlan
    name: str
    folder: Path
    nodata: NodataRule | None = None
    label_kinds: bool = False
    """Whether the kinds of change have labels of their own."""

    @property
    def source(self) -> Source:
        """The first date."""
        return self.scene.sources[0]

    @property
    def fill(self) -> float | None:
        """The nodata value of the files; None where a mask gives it, or there are data everywhere."""
        given = self.nodata
        return self.source.fill if self.source.fill is not None or isinstance(given, str) else given

    def really_changed(self, tile: Tile) -> Bools:
        """Return (y, x) of a tile, which may reach beyond the border."""
        if self.changed is None:
            return np.zeros(tile.shape, bool)
        values, _ = read_beyond(self.changed.read, self.scene.grid.area, tile)
        changed: Bools = (values != 0).any(axis=0)
        return changed

    def label(self, stored: StoredCell) -> Ints:
        """Return the labels of a cell as they are written."""
        changed = (stored.labels > 0) & (stored.labels != IGNORE)
        return stored.labels if self.label_kinds else np.where(changed, np.uint8(1), stored.labels)


def synthesize_task(pair: Pair, cell: Tile) -> StoredCell:
    """Synthesize one cell of a pair."""
    around = cell.grow(EFFECT_HALO)
    images, masks = pair.scene.read(around)
    valid, known = np.stack([masks.all(axis=0), ~pair.really_changed(around)])
    cell_pair = synthesize_cell([image.astype(float) for image in images], valid & known, cell, pair.plan)
    inside, known = (mask[EFFECT_HALO:-EFFECT_HALO, EFFECT_HALO:-EFFECT_HALO] for mask in (valid, known))
    dates = tuple(as_stored(date, inside, images[0].dtype, pair.fill) for date in cell_pair.dates)
    labels = np.where(inside & known, cell_pair.labels, IGNORE).astype(np.uint8)
    return StoredCell(dates, inside, labels, cell_pair.objects)


def as_stored(date: Floats, valid: Bools, dtype: np.dtype[Any], fill: float | None) -> Array:
    """Return values in their type, with the nodata value only where there are no data."""
    if dtype.kind == "f":
        return np.where(valid, date, np.nan if fill is None else fill).astype(dtype)
    empty = 0 if fill is None else fill
    limits = np.iinfo(dtype)
    whole = np.clip(np.rint(date), limits.min, limits.max)
    if fill is not None:
        whole[whole == fill] = fill + 1 if fill < limits.max else fill - 1
    return np.where(valid, whole, empty).astype(dtype)


def write_pair(pair: Pair, work: Work) -> Counter[str]:
    """Write one pair, its labels and its objects; return how many there are of each kind."""
    scene, folder = pair.scene, pair.folder
    found: list[SyntheticChange] = []
    dated = geotiff_profile(scene.grid, len(scene.bands), pair.source.dtype, pair.fill, tile=SYNTHETIC_CELL)
    profiles = dated, dated, geotiff_profile(scene.grid, 1, "uint8", tile=SYNTHETIC_CELL)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), ExitStack() as stack:
        *dates, labels = (
            stack.enter_context(
                rasterio.open(stack.enter_context(appearing(folder / part / f"{pair.name}.tif")), "w", **profile)
            )
            for part, profile in zip(FOLDERS, profiles, strict=True)
        )
        for file in dates:
            describe_like(file, pair.source)
        for cell, stored in work.map(
            "synthesize", partial(synthesize_task, pair), grid_blocks(scene.grid, SYNTHETIC_CELL)
        ):
            for file, values in zip(dates, stored.dates, strict=True):
                file.write(values, window=cell.window)
                if pair.fill is None and pair.source.masked:
                    file.write_mask(stored.valid, window=cell.window)
            labels.write(pair.label(stored), 1, window=cell.window)
            found += stored.objects
    write_objects(found, scene.grid, folder / OBJECTS / f"{pair.name}.gpkg")
    return Counter(each.kind for each in found)


def write_objects(found: Sequence[SyntheticChange], grid: Grid, path: Path) -> None:
    """Write the boxes of changes as a layer, with kind, size in pixels and metres, and contrast."""
    import geopandas
    from pyogrio.errors import DataLayerError, DataSourceError

    boxes = np.array([each.box for each in found], float).reshape(-1, 4)
    rows, cols = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    pixels = shapely.box(boxes[:, 1], boxes[:, 0], boxes[:, 3], boxes[:, 2])
    columns = {
        "id": np.arange(1, len(found) + 1),
        "kind": np.array([each.kind for each in found], dtype=object),
        "label": np.array([CHANGE_KINDS.index(each.kind) + 1 for each in found], np.int32),
        "area_px": np.array([each.area for each in found], np.int32),
        "rows": rows.astype(np.int32),
        "cols": cols.astype(np.int32),
        "contrast": np.array([round(each.contrast, 3) for each in found], float),
    }
    crs = None if grid.crs is None else grid.crs.to_wkt()
    frame = geopandas.GeoDataFrame(columns, geometry=map_polygons(pixels, grid), crs=crs)
    try:
        with appearing(path) as temporary, warnings.catch_warnings(), writable_path(temporary) as file:
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            frame.to_file(file, layer=OBJECTS, driver="GPKG", engine="pyogrio", geometry_type="Polygon", VERSION="1.3")
    except (DataSourceError, DataLayerError) as error:
        raise OutputInTheWay(f"{path.name} could not be written: {error}") from error
