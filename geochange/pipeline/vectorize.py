"""`vectorize`: any probability or mask raster → a layer of polygons."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geochange.arrays import Array
from geochange.engine.cluster import ClusterOptions
from geochange.engine.progress import Listener
from geochange.engine.work import Work, open_work
from geochange.engine.workers import Needs
from geochange.files import require_writable, scratch_beside
from geochange.pipeline.options import VectorizeOptions, choose_options_and_cluster
from geochange.polygons.export import writer_of
from geochange.polygons.layer_means import LayerMeans
from geochange.polygons.parallel_export import write_layers
from geochange.polygons.regions import Regions
from geochange.polygons.right_angles import RightAngles, choose_outlines, square_regions
from geochange.polygons.store import RegionStore
from geochange.polygons.tracing import FoundRegions, RegionTotals, band_rows, found_regions, layer_of, total_regions
from geochange.probability.content import require_no_threshold, understand
from geochange.probability.raster import open_scores
from geochange.review.threshold import Scored, labelled_by, review_of
from geochange.scenes.grid import Grid
from geochange.scenes.layers import open_layer

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

SQUARED_AT_ONCE = 256  # regions of one task


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """What `vectorize` wrote."""

    path: Path
    totals: RegionTotals
    threshold: float | list[float] | dict[str, Any]
    """A number, [low, high] with hysteresis, or what was found where it follows the neighbourhood."""
    threshold_labels: dict[str, Any] | None = None
    """The labels' figures, where they chose it."""
    squared: int | None = None
    """How many outlines have right angles; None where none were asked for."""

    seconds: dict[str, float] = field(default_factory=dict)

    def changes(self) -> GeoDataFrame:
        """Read the layer back."""
        return open_layer(str(self.path)).frame

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "file": str(self.path),
            "threshold": self.threshold,
            **({} if self.threshold_labels is None else {"threshold_labels": self.threshold_labels}),
            "changes": {
                "count": self.totals.count,
                "area_px": self.totals.area_px,
                "area_m2": self.totals.area_m2,
            },
            "squared": self.squared,
            "seconds": self.seconds,
        }


def vectorize(
    raster: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: VectorizeOptions | None = None,
    *,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> WrittenLayer:
    """Outline the changes in a raster, and write them as one vector layer.

    Args:
        raster: probabilities in 0..1 (float, or whole numbers with a scale), one band a class; or a mask, 0 unchanged.
        out: the file; its suffix names the format: .gpkg, .geojson, .fgb or .parquet.
        options: threshold, smallest area, connectivity, simplifying, right angles, dates.
        overwrite: replace a file that is there.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        UnreadableInput: the raster cannot be read.
        OutputInTheWay: the file exists and `overwrite` is off, or it cannot be written.
        BadOption: no format has the file's suffix, or the labels do not give the threshold that is wanted.
    """
    options, cluster = choose_options_and_cluster(VectorizeOptions, options, cluster, settings)
    path, review = Path(out), review_of(options)
    scores = open_scores(os.fspath(raster))
    writer_of(path)
    require_writable([path], overwrite=overwrite, inputs=[raster, options.labels])
    with (
        scratch_beside(path) as scratch,
        open_work(cluster, listener, Needs(inputs=[raster], folder=scratch)) as work,
        RegionStore(scratch, band_rows(scores.source.grid)) as store,
        ExitStack() as stack,
    ):
        scores = understand(scores, work)
        require_no_threshold(scores, options.threshold)
        if review is not None:
            scored = Scored(scores.provenance.detector, scores.thresholds.get("default", 0.5))
            options = labelled_by(review, options, scratch / "labels", scored, work.stages.notice)
        found = stack.enter_context(found_regions(scores, options, work, scratch))
        squared, outlines = None, found.outlines
        if options.right_angles:
            square = RightAngles(diagonals=options.diagonals)
            with work.stages.stage("right angles"):
                squared, outlines = _square(found, square, scores.source.grid, work, store), store
        with work.stages.stage("write"):
            write_layers([path], outlines, layer_of(scores, options), LayerMeans(()), work)
        totals = total_regions(found.regions, scores.source.grid, work)
    return WrittenLayer(path, totals, **found.chosen.to_record(), squared=squared, seconds=work.stages.seconds)


def _square(found: FoundRegions, options: RightAngles, grid: Grid, work: Work, store: RegionStore) -> int:
    """Put all regions into the store, with right angles where these fit; returns how many have them."""
    pairs = zip(found.regions.chunks(SQUARED_AT_ONCE), found.outlines.chunks(SQUARED_AT_ONCE), strict=True)
    chunks = work.crew.map_ordered(partial(_square_task, options, _stretch(grid)), pairs)
    squared = 0
    for regions, count in choose_outlines(chunks, options):
        store.add(regions)
        squared += count
    return squared


def _square_task(options: RightAngles, stretch: float, pair: tuple[Regions, Regions]) -> tuple[Regions, Regions, Array]:
    """Return regions as the pixels have them, as they are written otherwise, and their squared outlines."""
    return *pair, square_regions(pair[0], options, stretch)


def _stretch(grid: Grid) -> float:
    """Return the square root of a pixel's height over its width on the ground."""
    height, width = grid.pixel_metres or grid.resolution[::-1]
    return sqrt(height / width)
