"""Changes cut where their kind changes: the new shore of a lake from the field beside it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from geochange.arrays import Array, Bools
from geochange.engine.work import Work
from geochange.kinds.measure import KindWork
from geochange.kinds.rules import SMOOTH_RADIUS, smooth_kinds
from geochange.polygons.export import FeatureLayer, write_features
from geochange.polygons.features import map_polygons, outline_measures
from geochange.polygons.options import MinArea
from geochange.polygons.regions import BlockRegions, RegionFilter, Regions, trace_block
from geochange.polygons.seams import SeamMerger
from geochange.polygons.store import RegionStore
from geochange.polygons.tracing import RegionTotals, at_least, band_rows, total_regions
from geochange.scenes.feature_files import GEOMETRY, FeatureFile, open_features
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.layers import reproject_polygons

PARENT = "parent"
"""Column: `id` of the change that a piece was cut from; its number in the layer where that has no such column."""

OWN_COLUMNS = {
    "id": pa.int64(),
    PARENT: pa.int64(),
    "area_m2": pa.float64(),
    "area_px": pa.int64(),
    "perimeter_m": pa.float64(),
    "width_m": pa.float64(),
    "compactness": pa.float64(),
}
"""Columns of a piece that are its own; all others are those of the change that it was cut from."""


def cut_pieces(
    features: FeatureFile, measuring: KindWork, smallest: MinArea, work: Work, scratch: Path
) -> tuple[FeatureFile, RegionTotals]:
    """Cut changes into pieces of one kind each, as a layer of its own in a scratch folder, along pixel edges.

    Pieces of changes that touch may be one piece, which has the columns of the first.

    Args:
        features: the changes.
        measuring: with these burnt into its `ids`.
        smallest: smaller pieces are left out.
        work: where tasks run.
        scratch: an existing folder.
    """
    path, grid = scratch / "pieces.parquet", measuring.scene.grid
    blocks, keep = measuring.ids.blocks(), RegionFilter(min_area=smallest.pixels)
    merger = SeamMerger(blocks, keep=keep)
    with RegionStore(scratch, band_rows(grid)) as store:
        for _, traced in work.map("cut", partial(trace_kinds, measuring, keep), blocks):
            store.add(at_least(merger.add(traced), grid, smallest.square_metres))
        store.add(at_least(merger.finish(), grid, smallest.square_metres))
        schema = piece_schema(features)
        layer = FeatureLayer(schema=schema, crs=features.crs)
        write_features(path, _piece_batches(store, features, measuring, schema), layer)
        return open_features(str(path)), total_regions(store, grid, work)


def piece_schema(features: FeatureFile) -> pa.Schema:
    """Return the columns of the changes, those that are measured anew of their own type, and the geometry."""
    kept = [each for each in features.schema if each.name not in OWN_COLUMNS]
    return pa.schema([*(pa.field(*each) for each in OWN_COLUMNS.items()), *kept, pa.field(GEOMETRY, pa.binary())])


def trace_kinds(measuring: KindWork, keep: RegionFilter, block: Tile) -> BlockRegions:
    """Find regions of one kind in the changes of a block."""
    around = block.grow(1 + SMOOTH_RADIUS)
    ids = measuring.ids.read(around)
    changed, classes = ids > 0, np.zeros(around.shape, np.uint8)
    if changed.any():
        dates, validity = measuring.scene.read(around)
        smooth = smooth_kinds(measuring.kinds(dates), changed & validity.all(axis=0))
        classes = np.where(changed, smooth + 1, 0).astype(np.uint8)
    trimmed = classes[SMOOTH_RADIUS:-SMOOTH_RADIUS, SMOOTH_RADIUS:-SMOOTH_RADIUS]
    scene = measuring.scene.grid.area
    return trace_block(trimmed, trimmed, _within(block.grow(1), scene), block, scene, keep=keep)


def _within(tile: Tile, scene: Tile) -> Bools:
    """Return (y, x) which pixels of a tile lie in the scene."""
    inside = np.zeros(tile.shape, bool)
    inside[tile.intersect(scene).slices((tile.row, tile.col))] = True
    return inside


def _piece_batches(
    store: RegionStore, features: FeatureFile, measuring: KindWork, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    parents = pa.Table.from_batches([rows for rows, _ in features.batches()], schema=features.schema)
    start = 1
    for regions in store.chunks():
        parent = np.array([measuring.ids.at(row, col) for row, col in regions.first.tolist()]) - 1
        columns = _measured(regions, features, measuring.scene.grid) | {
            "id": pa.array(np.arange(start, start + len(regions))),
            PARENT: _names_of(parents, parent),
        }
        start += len(regions)
        rows = parents.take(pa.array(parent)).combine_chunks()
        arrays = [columns[name] if name in columns else rows.column(name).combine_chunks() for name in schema.names]
        yield pa.record_batch([_one_chunk(each) for each in arrays], schema=schema)


def _measured(regions: Regions, features: FeatureFile, grid: Grid) -> dict[str, pa.Array]:
    mapped = map_polygons(regions.polygons, grid)
    measured = outline_measures(regions.polygons, grid, mapped)
    placed: Array = shapely.orient_polygons(reproject_polygons(mapped, grid.crs, features.crs, "the image"))
    return {
        **{name: pa.array(values, from_pandas=True) for name, values in measured.items()},
        "area_px": pa.array(regions.counts.area_px),
        GEOMETRY: pa.array(shapely.to_wkb(placed), pa.binary()),
    }


def _names_of(parents: pa.Table, parent: Array) -> pa.Array:
    """Return the changes' own numbers, where they have some."""
    known = "id" in parents.schema.names and pa.types.is_integer(parents.schema.field("id").type)
    return _one_chunk(parents.column("id").take(pa.array(parent)).cast(pa.int64())) if known else pa.array(parent + 1)


def _one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) and column.num_chunks else column
