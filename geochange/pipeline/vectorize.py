"""`vectorize`: any probability or mask raster → a layer of polygons."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geochange.engine.cluster import ClusterOptions, open_crew
from geochange.engine.progress import Listener, Silent, Stages
from geochange.files import require_writable
from geochange.pipeline.regions import (
    RegionOptions,
    RegionTotals,
    found_regions,
    layer_of,
    total_regions,
)
from geochange.pipeline.score_raster import open_scores
from geochange.products.export import write_layer, writer_of


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """What `vectorize` wrote."""

    path: Path
    totals: RegionTotals
    threshold: float | list[float] | dict[str, Any]
    """A number, [low, high] with hysteresis, or what was found where it follows the neighbourhood."""
    threshold_labels: dict[str, Any] | None = None
    """What the labels said, where they chose it."""
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "threshold": self.threshold,
            **({} if self.threshold_labels is None else {"threshold_labels": self.threshold_labels}),
            "changes": {
                "count": self.totals.count,
                "area_px": self.totals.area_px,
                "area_m2": self.totals.area_m2,
            },
            "seconds": self.seconds,
        }


def vectorize(
    raster: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: RegionOptions | None = None,
    *,
    cluster: ClusterOptions | None = None,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> WrittenLayer:
    """Outline the changes in a raster, and write them as one vector layer.

    Args:
        raster: probabilities in 0..1 (float, or whole numbers with a scale), one band a class; or a mask, 0 unchanged.
        out: the file; its suffix names the format: .gpkg, .geojson, .fgb or .parquet.
        options: threshold, smallest area, connectivity, simplifying, dates.
        cluster: where the work is done.
        overwrite: replace a file that is there.
        listener: hears of the progress.

    Raises:
        UnreadableInput: the raster cannot be read.
        OutputInTheWay: the file exists and `overwrite` is off, or it cannot be written.
        BadOption: no format has the file's suffix, or the labels do not tell of the threshold that is wanted.
    """
    path, options, stages = Path(out), options or RegionOptions(), Stages(listener or Silent())
    scores = open_scores(os.fspath(raster))
    writer_of(path)
    require_writable(path, overwrite=overwrite)
    with (
        tempfile.TemporaryDirectory(prefix=".geochange-", dir=path.parent) as scratch,
        open_crew(cluster or ClusterOptions()) as crew,
        found_regions(scores, options, crew, stages, Path(scratch)) as found,
    ):
        with stages.stage("write"):
            write_layer(path, found.outlines.chunks(), layer_of(scores, options))
        totals = total_regions(found.regions, scores.source.grid)
    return WrittenLayer(path, totals, **found.chosen.to_record(), seconds=stages.seconds)
