"""Changes cut where their kind changes: the new shore of a lake from the field beside it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from geochange.arrays import Array, Bools
from geochange.engine.cluster import Crew
from geochange.engine.progress import Stages
from geochange.kinds.measure import KindWork
from geochange.kinds.rules import SMOOTH_RADIUS, smooth_kinds
from geochange.polygons.export import FeatureLayer, write_features
from geochange.polygons.features import map_polygons, measure
from geochange.polygons.options import MinArea
from geochange.polygons.regions import BlockRegions, RegionFilter, Regions, trace_block
from geochange.polygons.seams import SeamMerger
from geochange.polygons.store import RegionStore
from geochange.polygons.tracing import at_least
from geochange.scenes.feature_files import GEOMETRY, FeatureFile, open_features, reproject_polygons
from geochange.scenes.grid import Tile

PARENT = "parent"
"""Column: `id` of the change that a piece was cut from; its number in the layer where that has no such column."""

OWN_COLUMNS = {
    "id": pa.int64(),
    PARENT: pa.int64(),
    "area_m2": pa.float64(),
    "area_px": pa.int64(),
    "perimeter_m": pa.float64(),
}
"""Columns of a piece that are its own; all others are those of the change that it was cut from."""


def cut_pieces(
    features: FeatureFile, work: KindWork, smallest: MinArea, *, crew: Crew, stages: Stages, scratch: Path
) -> FeatureFile:
    """Pieces of one kind each, as a layer of its own in a scratch folder, along pixel edges.

    Pieces of changes that touch may be one piece, which has the columns of the first.

    Args:
        features: the changes.
        work: with these burnt into its `ids`.
        smallest: smaller pieces are left out.
        crew: who does it.
        stages: receives progress updates.
        scratch: an existing folder.
    """
    path = scratch / "pieces.parquet"
    blocks, keep = work.ids.blocks(), RegionFilter(min_area=smallest.pixels)
    merger = SeamMerger(blocks, keep=keep)
    with RegionStore(scratch) as store:
        with stages.stage("cut", len(blocks), work.scene.grid.area.size) as listener:
            for block, traced in zip(blocks, crew.map_ordered(partial(trace_kinds, work, keep), blocks), strict=True):
                store.add(at_least(merger.add(traced), work.scene.grid, smallest.square_metres))
                listener.advance(block.size)
            store.add(at_least(merger.finish(), work.scene.grid, smallest.square_metres))
        schema = piece_schema(features)
        layer = FeatureLayer(schema=schema, crs=features.crs)
        write_features(path, _piece_batches(store, features, work, schema), layer)
    return open_features(str(path))


def piece_schema(features: FeatureFile) -> pa.Schema:
    """List the columns of the changes, those that are measured anew of their own type, and the geometry."""
    kept = [each for each in features.schema if each.name not in OWN_COLUMNS]
    return pa.schema([*(pa.field(*each) for each in OWN_COLUMNS.items()), *kept, pa.field(GEOMETRY, pa.binary())])


def trace_kinds(work: KindWork, keep: RegionFilter, block: Tile) -> BlockRegions:
    """Regions of one kind in the changes of a block."""
    around = block.grow(1 + SMOOTH_RADIUS)
    ids = work.ids.read(around)
    changed, classes = ids > 0, np.zeros(around.shape, np.uint8)
    if changed.any():
        dates, validity = work.scene.read(around)
        smooth = smooth_kinds(work.kinds(dates), changed & validity.all(axis=0))
        classes = np.where(changed, smooth + 1, 0).astype(np.uint8)
    trimmed = classes[SMOOTH_RADIUS:-SMOOTH_RADIUS, SMOOTH_RADIUS:-SMOOTH_RADIUS]
    scene = work.scene.grid.area
    return trace_block(trimmed, trimmed, _within(block.grow(1), scene), block, scene, keep=keep)


def _within(tile: Tile, scene: Tile) -> Bools:
    """(y, x) which pixels of a tile lie in the scene."""
    inside = np.zeros(tile.shape, bool)
    inside[tile.intersect(scene).slices((tile.row, tile.col))] = True
    return inside


def _piece_batches(
    store: RegionStore, features: FeatureFile, work: KindWork, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    parents = pa.Table.from_batches([rows for rows, _ in features.batches()], schema=features.schema)
    start = 1
    for regions in store.chunks():
        parent = np.array([work.ids.at(row, col) for row, col in regions.first.tolist()]) - 1
        columns = _measured(regions, features, work) | {
            "id": pa.array(np.arange(start, start + len(regions))),
            PARENT: _names_of(parents, parent),
        }
        start += len(regions)
        rows = parents.take(pa.array(parent)).combine_chunks()
        arrays = [columns[name] if name in columns else rows.column(name).combine_chunks() for name in schema.names]
        yield pa.record_batch([_one_chunk(each) for each in arrays], schema=schema)


def _measured(regions: Regions, features: FeatureFile, work: KindWork) -> dict[str, pa.Array]:
    grid = work.scene.grid
    mapped = map_polygons(regions.polygons, grid)
    area, perimeter = measure(regions.polygons, grid, mapped)
    placed: Array = shapely.orient_polygons(reproject_polygons(mapped, grid.crs, features.crs))
    return {
        "area_m2": pa.array(area, from_pandas=True),
        "area_px": pa.array(regions.counts.area_px),
        "perimeter_m": pa.array(perimeter, from_pandas=True),
        GEOMETRY: pa.array(shapely.to_wkb(placed), pa.binary()),
    }


def _names_of(parents: pa.Table, parent: Array) -> pa.Array:
    """Return the changes' own numbers, where they have some."""
    known = "id" in parents.schema.names and pa.types.is_integer(parents.schema.field("id").type)
    return _one_chunk(parents.column("id").take(pa.array(parent)).cast(pa.int64())) if known else pa.array(parent + 1)


def _one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) and column.num_chunks else column
