"""`align`: AFTER on BEFORE's grid, as a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.enums import Resampling

from geochange.arrays import Array, Bools
from geochange.detectors.normalisation import GainsAndOffsets, fit_normalisation
from geochange.engine.cluster import ClusterOptions
from geochange.engine.lattice import SceneBlocks
from geochange.engine.progress import Listener
from geochange.engine.raster_output import bytes_needed, write_cog
from geochange.engine.work import Work, grid_blocks, open_work
from geochange.engine.workers import Needs
from geochange.files import require_geotiff, require_writable, scratch_beside
from geochange.pipeline.check import measure_shift
from geochange.pipeline.local_shift import removable_shift
from geochange.pipeline.options import choose_options_and_cluster
from geochange.scenes.displaced import displaced
from geochange.scenes.grid import Grid, Tile, require_workable
from geochange.scenes.normalised import normalised
from geochange.scenes.opening import Image, files_of
from geochange.scenes.options import NO_MASK, SceneOptions
from geochange.scenes.pairing import RESAMPLINGS, Scene, open_image, open_scene
from geochange.scenes.registration import Shift
from geochange.scenes.scene import open_masked
from geochange.scenes.shift_field import LocalShift
from geochange.scenes.source import Source
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
    removed_local: LocalShift | None
    """The shifts that were measured place by place, and removed; None where none were."""
    normalisation: GainsAndOffsets | None
    """(gain, offset) of each band; None where that was not asked for."""

    def open(self) -> xr.DataArray:
        """Open the raster lazily: (band, y, x), NaN where there are no data."""
        return open_masked(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        shift = None if self.removed is None else {"row": self.removed.row, "col": self.removed.col}
        removed_local = None if self.removed_local is None else self.removed_local.to_dict()
        return {
            "file": str(self.path),
            "removed_shift": shift,
            "removed_local_shift": removed_local,
            "normalisation": None if self.normalisation is None else [list(line) for line in self.normalisation],
        }


def align(
    before: Image,
    after: Image,
    out: str | os.PathLike[str],
    options: SceneOptions | None = None,
    *,
    remove_shift: bool = False,
    remove_local_shift: bool = False,
    normalize: bool = False,
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
        remove_local_shift: measure how the shift varies over the scene, and move AFTER back by it place by place; where
            nothing can be measured it stays.
        normalize: bring AFTER's values to BEFORE's, band by band, by the pixels that have not changed; the file holds
            float32 then.
        overwrite: replace a file that is there.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        GridMismatch: the images do not overlap.
        NothingValid: the shift cannot be measured, or too little is unchanged to normalise by.
        OutputInTheWay: the file exists and `overwrite` is off, or it cannot be written.
    """
    options, cluster = choose_options_and_cluster(SceneOptions, options, cluster, settings)
    path, options = Path(out), replace(options, align=True)
    require_geotiff(path)
    inputs = [*files_of(before), *files_of(after), before, after, *options.mask_files]
    require_writable([path], overwrite=overwrite, inputs=inputs)
    scene = open_scene([before, after], options)
    with open_work(cluster, listener, Needs(inputs=inputs, folder=path.absolute().parent)) as work:
        shift = measure_shift(scene, work) if remove_shift else None
        offset = (0.0, 0.0) if shift is None else (shift.row, shift.col)
        resampling, local, lines = RESAMPLINGS[options.resampling], None, None
        if any(offset):
            scene = scene.move(1, offset, resampling)
        if remove_local_shift:
            local = removable_shift(scene, work)
        if local is not None:
            scene = scene.move(1, (0.0, 0.0), resampling, local.field)
        if normalize:
            lines = fit_normalisation(scene, SceneBlocks(scene, work))
        source = open_image(after, 1, options, options.masks_of(2)[1])
        grid = open_image(before, 0, options, NO_MASK).grid
        require_workable(grid, scene.sources[0].name)
        brought = _on_whole_grid(source.stored() if lines is None else source, grid, scene, resampling)
        _write(brought if lines is None else normalised(brought, lines), source, path, work, with_scales=lines is None)
    return Aligned(path, shift, local, lines)


def _on_whole_grid(source: Source, grid: Grid, scene: Scene, resampling: Resampling) -> Source:
    """Bring AFTER to a grid of which the scene is a part, moved as it is there."""
    offset, field = scene.sources[1].shift, scene.sources[1].local_shift
    if field is None:
        return WarpedSource(source, grid, resampling, offset)
    return displaced(source, grid, field.crop(_seen_from(scene.grid, grid)), resampling, offset)


def _write(source: Source, described: Source, path: Path, work: Work, *, with_scales: bool) -> None:
    needed = bytes_needed(source.grid.shape, len(source.bands) * source.dtype.itemsize)
    with scratch_beside(path, needed) as scratch, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        plain = scratch / "aligned.tif"
        profile = geotiff_profile(source.grid, len(source.bands), source.dtype, source.fill, tile=512)
        with rasterio.open(plain, "w", **profile | {"compress": "ZSTD", "zstd_level": 1}) as dataset:
            describe_like(dataset, described, with_scales=with_scales)
            for block, (values, valid) in work.map("align", source.read, grid_blocks(source.grid)):
                _write_block(dataset, block, values, valid)
        with work.stages.stage("pack"):
            write_cog(plain, path)


def _seen_from(part: Grid, whole: Grid) -> Tile:
    """Return where a whole grid lies in a part of it."""
    row, col = part.offset_of(whole)
    return Tile(round(row), round(col), *whole.shape)


def _write_block(dataset: Any, block: Tile, values: Array, valid: Bools) -> None:
    if dataset.nodata is None:
        dataset.write_mask(valid, window=block.window)
    else:
        values = np.where(valid, values, np.array(dataset.nodata).astype(values.dtype))
    dataset.write(values, window=block.window)
