"""`kinds`: a layer of changes and the two images → the same layer, with what kind of change each is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import shapely

from geochange.arrays import Floats
from geochange.engine.cluster import ClusterOptions
from geochange.engine.progress import Listener
from geochange.engine.work import Work, open_work
from geochange.engine.workers import Needs
from geochange.errors import GridMismatch
from geochange.files import load_array, require_writable, save_array, scratch_beside
from geochange.kinds.measure import ZONES, KindWork, measure_block, prepare_work
from geochange.kinds.options import KindOptions
from geochange.kinds.pieces import cut_pieces
from geochange.kinds.rules import COVERS, KINDS, NIR, choose_kinds, stand_out
from geochange.pipeline.options import choose_options_and_cluster
from geochange.polygons.export import FeatureLayer, write_features, writer_of
from geochange.polygons.region_ids import RegionIds
from geochange.polygons.tracing import RegionTotals
from geochange.qgis.style import kind_style
from geochange.scenes.feature_files import GEOMETRY, FeatureFile, open_features
from geochange.scenes.grid import Grid, crs_name
from geochange.scenes.layers import in_pixels, open_layer, reproject_polygons
from geochange.scenes.opening import Image, files_of
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import Scene, open_scene

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

FIGURE_DECIMALS = 4
REGIONS_AT_ONCE = 4096  # regions


@dataclass(frozen=True, slots=True)
class WrittenKinds:
    """What `kinds` wrote."""

    path: Path
    counts: Mapping[str, int]
    """Kind -> changes; "" for those that no pixel with data lies in."""
    basis: Mapping[str, Any]
    """Bands, indices and offsets that they follow from."""
    seconds: Mapping[str, float] = field(default_factory=dict)

    def changes(self) -> GeoDataFrame:
        """Read the layer back."""
        return open_layer(str(self.path)).frame

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {"file": str(self.path), "kinds": dict(self.counts), **self.basis, "seconds": dict(self.seconds)}


def kinds(
    changes: str | os.PathLike[str],
    before: Image,
    after: Image,
    out: str | os.PathLike[str],
    options: KindOptions | None = None,
    *,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> WrittenKinds:
    """Find what kind of change each polygon of a layer is, and write the layer with that.

    Columns are added: `kind`, `kind_share` (of its pixels that are of it), the mean of each index before and after
    (`ndvi_before`, ...), and `outline_before`, `outline_after` (over 0.5 where the image has an edge there).

    Args:
        changes: a layer of polygons, in any CRS.
        before: the earlier image.
        after: the later one; brought to the grid of the earlier one while it is read.
        out: the file; its suffix names the format: .gpkg, .geojson, .fgb or .parquet.
        options: which band is which, further indices, whether changes are cut where their kind changes, rules.
        overwrite: replace a file that is there.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        UnreadableInput: an input is missing, or is not what it should be.
        BandMismatch: it is not known which band is which, or bands for an index are missing.
        GridMismatch: images and layer do not overlap, or only one of them has a CRS.
        OutputInTheWay: the file exists and `overwrite` is off, or it cannot be written.
    """
    options, cluster = choose_options_and_cluster(KindOptions, options, cluster, settings)
    path = Path(out)
    writer_of(path)
    images = before, after, *files_of(before), *files_of(after)
    require_writable([path], overwrite=overwrite, inputs=[changes, *images])
    features = open_features(os.fspath(changes))
    scene = open_scene([before, after], SceneOptions(align=True, nodata=options.nodata))
    with (
        scratch_beside(path) as scratch,
        open_work(cluster, listener, Needs(inputs=images, folder=scratch)) as work,
    ):
        measured = measure_kinds(features, scene, options, work, scratch)
        with work.stages.stage("write"):
            write_kinds(path, measured)
        return WrittenKinds(path, measured.counts(), measured.basis(), work.stages.seconds)


@dataclass(frozen=True)
class MeasuredKinds:
    """Sums of all regions of a layer, on disk, and the kinds that follow."""

    features: FeatureFile
    """The regions: the layer's, or the pieces that they were cut into."""
    measuring: KindWork
    files: tuple[tuple[Path, int, int], ...]
    """(file, smallest and largest number in it), in raster order of the blocks."""
    size: int
    """Regions."""
    totals: RegionTotals | None = None
    """Count and area of the pieces; None where nothing was cut."""

    def columns(self, start: int, stop: int) -> dict[str, pa.Array]:
        """Return columns of the regions start ... stop - 1, counted from 0."""
        votes, *sums = np.split(self._sums(start + 1, stop + 1), range(COVERS, self.measuring.columns, 3), axis=1)
        means = [_means(each) for each in sums]
        outlines = [stand_out(*(part[date] for part in means[-len(ZONES) :])) for date in (0, 1)]
        before, after = outlines if self.measuring.finds_objects else [np.full(stop - start, np.nan)] * 2
        codes, share = choose_kinds(
            votes.astype(np.int64), before, after, self.measuring.rules, objects_first=NIR not in self.measuring.roles
        )
        dated = {**dict(zip(self.measuring.named, means, strict=False)), "outline": outlines}
        figures = {"kind_share": share} | {
            f"{name.lower()}_{date}": values
            for name, pair in dated.items()
            for date, values in zip(("before", "after"), pair, strict=True)
        }
        rounded = {name: np.round(values, FIGURE_DECIMALS) for name, values in figures.items()}
        return {
            "kind": pa.array(np.array((*KINDS, None), object)[codes], pa.string()),
            **{name: pa.array(values, pa.float64(), from_pandas=True) for name, values in rounded.items()},
        }

    def _sums(self, start: int, stop: int) -> Floats:
        """Return (stop - start, column) sums of regions numbered start ... stop - 1, blocks added in their order."""
        total = np.zeros((stop - start, self.measuring.columns))
        for path, first, last in self.files:
            if first < stop and last >= start:
                stored = load_array(path)
                ids = stored[:, 0].astype(np.int64)
                here = slice(*np.searchsorted(ids, (start, stop)))
                total[ids[here] - start] += stored[here, 1:]
        return total

    def counts(self) -> dict[str, int]:
        """Count regions by kind; "" for those without a pixel."""
        found = dict.fromkeys((*KINDS, ""), 0)
        for start in range(0, self.size, REGIONS_AT_ONCE):
            for kind in self.columns(start, min(start + REGIONS_AT_ONCE, self.size))["kind"].to_pylist():
                found[kind or ""] += 1
        return {kind: count for kind, count in found.items() if count}

    def basis(self) -> dict[str, Any]:
        """Return bands, indices and offsets that the kinds follow from, for run.json."""
        return {
            "band_roles": dict(zip(self.measuring.roles, self.measuring.scene.bands, strict=True)),
            "indices": list(self.measuring.indices),
            "offsets": {name: round(value, FIGURE_DECIMALS) for name, value in self.measuring.levels.offsets.items()},
        }


def _means(sums: Floats) -> tuple[Floats, Floats]:
    """Turn (n, 3) count, before, after into means; NaN where nothing was counted."""
    count = np.where(sums[:, 0] > 0, sums[:, 0], np.nan)
    return sums[:, 1] / count, sums[:, 2] / count


def measure_kinds(
    features: FeatureFile, scene: Scene, options: KindOptions, work: Work, scratch: Path
) -> MeasuredKinds:
    """Measure all polygons of a layer, block by block, into a scratch folder.

    Raises:
        BadOption, BandMismatch, NothingValid: as `prepare_work`.
        GridMismatch: only one of layer and scene has a CRS, or they do not meet.
    """
    measuring = prepare_work(scene, options, RegionIds(scratch / "changes", scene.shape))
    with work.stages.stage("number"):
        size = number_regions(features, scene.grid, measuring.ids)
    totals = None
    if options.split_kinds:
        smallest = options.smallest_on(scene.grid, scene.sources[0].name)
        features, totals = cut_pieces(features, measuring, smallest, work, scratch)
        measuring = replace(measuring, ids=RegionIds(scratch / "pieces", scene.shape))
        with work.stages.stage("number"):
            size = number_regions(features, scene.grid, measuring.ids)
    files = []
    for block, found in work.map("kinds", partial(measure_block, measuring), measuring.ids.blocks()):
        if found is not None:
            path = scratch / f"sums-{block.row}-{block.col}.npy"
            save_array(path, np.concatenate([found.ids[:, None], found.sums], axis=1))
            files.append((path, int(found.ids[0]), int(found.ids[-1])))
    if size and not files:
        raise GridMismatch(
            f"none of the {size:,} changes of {features.path} lies on the images; are they of one place?"
        )
    return MeasuredKinds(features, measuring, tuple(files), size, totals)


def number_regions(features: FeatureFile, grid: Grid, ids: RegionIds) -> int:
    """Burn all polygons of a layer, numbered from 1 in its order; how many there are."""
    if (features.crs is None) != (grid.crs is None):
        raise GridMismatch(
            f"{features.path} has {crs_name(features.crs)}, the images have {crs_name(grid.crs)}; give both a CRS"
        )
    count = 0
    for _, polygons in features.batches():
        if len(polygons):
            placed = reproject_polygons(polygons, features.crs, grid.crs, features.path)
            ids.burn(in_pixels(placed, grid), count + 1)
        count += len(polygons)
    return count


def write_kinds(path: Path, measured: MeasuredKinds) -> None:
    """Write a layer with the columns that were measured."""
    features, added = measured.features, measured.columns(0, 0)
    kept = [each for each in features.schema if each.name not in added]
    fields = [*kept, *(pa.field(name, column.type) for name, column in added.items()), pa.field(GEOMETRY, pa.binary())]
    layer = FeatureLayer(
        schema=pa.schema(fields), crs=features.crs, geometry_type=features.geometry_type, style=kind_style()
    )
    write_features(path, _feature_batches(measured, layer.schema), layer)


def _feature_batches(measured: MeasuredKinds, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    start = 0
    for rows, polygons in measured.features.batches(REGIONS_AT_ONCE):
        columns = measured.columns(start, start + len(polygons))
        columns |= {GEOMETRY: pa.array(shapely.to_wkb(polygons), pa.binary())}
        start += len(polygons)
        arrays = [columns[name] if name in columns else rows.column(name) for name in schema.names]
        yield pa.record_batch(arrays, schema=schema)
