"""`align`: AFTER on BEFORE's grid, as a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from geochange.arrays import Array, Bools
from geochange.engine.cluster import ClusterOptions
from geochange.engine.progress import Listener
from geochange.engine.raster_output import bytes_needed, write_cog
from geochange.engine.work import grid_blocks, open_work
from geochange.engine.workers import Needs
from geochange.files import require_geotiff, require_writable, scratch_beside
from geochange.pipeline.check import measure_shift
from geochange.pipeline.options import choose_options_and_cluster
from geochange.scenes.grid import Tile, require_workable
from geochange.scenes.opening import Image, files_of
from geochange.scenes.options import NO_MASK, SceneOptions
from geochange.scenes.pairing import RESAMPLINGS, open_image, open_scene
from geochange.scenes.registration import Shift
from geochange.scenes.scene import open_masked
from geochange.scenes.warped import WarpedSource
from geochange.scenes.writing import describe_like, geotiff_profile

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, slots=True)
class Aligned:
    """What `align` wrote."""

    path: Path
    removed: Shift | None
    """The shift that was measured and removed; None where that was not asked for."""

    def open(self) -> xr.DataArray:
        """Open the raster lazily: (band, y, x), NaN where there are no data."""
        return open_masked(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        shift = None if self.removed is None else {"row": self.removed.row, "col": self.removed.col}
        return {"file": str(self.path), "removed_shift": shift}


def align(
    before: Image,
    after: Image,
    out: str | os.PathLike[str],
    options: SceneOptions | None = None,
    *,
    remove_shift: bool = False,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Aligned:
    """Write AFTER on the whole grid of BEFORE, as a COG; what it does not cover is nodata.

    Args:
        before: the image whose grid is wanted.
        after: the image to bring to it.
        out: the GeoTIFF to write.
        options: bands, nodata rule, resampling.
        remove_shift: measure the shift that is left, as `check` does, and move AFTER's content back by it.
        overwrite: replace a file that is there.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        GridMismatch: the images do not overlap.
        NothingValid: the shift cannot be measured.
        OutputInTheWay: the file exists and `overwrite` is off, or it cannot be written.
    """
    options, cluster = choose_options_and_cluster(SceneOptions, options, cluster, settings)
    path, options = Path(out), replace(options, align=True)
    require_geotiff(path)
    masks = options.mask_before, options.mask_after
    inputs = [*files_of(before), *files_of(after), before, after, *masks]
    require_writable([path], overwrite=overwrite, inputs=inputs)
    scene = open_scene([before, after], options)
    with open_work(cluster, listener, Needs(inputs=inputs, folder=path.absolute().parent)) as work:
        shift = measure_shift(scene, work) if remove_shift else None
        scaled = open_image(after, 1, options, options.mask_after)
        source, grid = scaled.stored(), open_image(before, 0, options, NO_MASK).grid
        require_workable(grid, scene.sources[0].name)
        offset = (0.0, 0.0) if shift is None else (shift.row, shift.col)
        warped = WarpedSource(source, grid, RESAMPLINGS[options.resampling], offset)
        needed = bytes_needed(grid.shape, len(source.bands) * source.dtype.itemsize)
        with scratch_beside(path, needed) as scratch, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            plain = scratch / "aligned.tif"
            profile = geotiff_profile(grid, len(warped.bands), warped.dtype, source.fill, tile=512)
            with rasterio.open(plain, "w", **profile | {"compress": "ZSTD", "zstd_level": 1}) as dataset:
                describe_like(dataset, scaled)
                for block, (values, valid) in work.map("align", warped.read, grid_blocks(grid)):
                    _write_block(dataset, block, values, valid)
            with work.stages.stage("pack"):
                write_cog(plain, path)
    return Aligned(path, shift)


def _write_block(dataset: Any, block: Tile, values: Array, valid: Bools) -> None:
    if dataset.nodata is None:
        dataset.write_mask(valid, window=block.window)
    else:
        values = np.where(valid, values, np.array(dataset.nodata).astype(values.dtype))
    dataset.write(values, window=block.window)
