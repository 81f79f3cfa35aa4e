"""`align`: AFTER on BEFORE's grid, as a file."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from geochange.arrays import Array, Bools
from geochange.engine.cluster import ClusterOptions, available_cores, open_crew
from geochange.engine.cog import copy_to_cog
from geochange.engine.progress import Listener, Silent, Stages
from geochange.files import appearing, require_geotiff, require_space, require_writable
from geochange.pipeline.check import measure_shift
from geochange.scenes.grid import Tile
from geochange.scenes.pairing import RESAMPLINGS, SceneOptions, open_image, open_scene
from geochange.scenes.registration import Shift
from geochange.scenes.scene import ArraySource, FileSource, rasterio_crs
from geochange.scenes.tiling import partition
from geochange.scenes.warped import WarpedSource
from geochange.scenes.writing import describe_like

BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Aligned:
    """What `align` wrote."""

    path: Path
    removed: Shift | None
    """The shift that was measured and removed; None where that was not asked for."""

    def to_dict(self) -> dict[str, Any]:
        shift = None if self.removed is None else {"row": self.removed.row, "col": self.removed.col}
        return {"file": str(self.path), "removed_shift": shift}


def align(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: SceneOptions | None = None,
    *,
    remove_shift: bool = False,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
) -> Aligned:
    """Write AFTER on the whole grid of BEFORE, as a COG; what it does not cover is nodata.

    Args:
        before: the image whose grid is wanted.
        after: the image to bring to it.
        out: the file.
        options: bands, nodata rule, resampling.
        remove_shift: measure the shift that is left, as `check` does, and move AFTER's content back by it.
        overwrite: replace a file that is there.
        cluster: where the work is done.
        listener: hears of the progress.

    Raises:
        GridMismatch: the images do not overlap.
        NothingValid: the shift cannot be measured.
        OutputInTheWay: the file exists and `overwrite` is off, or it cannot be written.
    """
    path, stages = Path(out), Stages(listener or Silent())
    options = replace(options or SceneOptions(), align=True)
    require_geotiff(path)
    require_writable([path], overwrite=overwrite, inputs=[before, after])
    scene = open_scene([before, after], options)
    with open_crew(cluster or ClusterOptions()) as crew:
        shift = measure_shift(scene, crew, stages) if remove_shift else None
        source = open_image(after, 1, options)
        grid = open_image(before, 0, options).grid
        offset = (0.0, 0.0) if shift is None else (shift.row, shift.col)
        warped = WarpedSource(source, grid, RESAMPLINGS[options.resampling], offset)
        require_space(path.parent, int(grid.area.size * len(source.bands) * source.dtype.itemsize * 2.4))
        blocks = list(partition(grid.shape, (BLOCK, BLOCK)))
        with (
            tempfile.TemporaryDirectory(prefix=".geochange-", dir=path.parent) as scratch,
            stages.stage("align", len(blocks), grid.area.size) as progress,
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        ):
            plain = Path(scratch) / "aligned.tif"
            with rasterio.open(plain, "w", **_profile(source, warped)) as dataset:
                describe_like(dataset, source)
                for block, (values, valid) in zip(blocks, crew.map_ordered(warped.read, blocks), strict=True):
                    _write_block(dataset, block, values, valid)
                    progress.advance(block.size)
            with appearing(path) as temporary:
                copy_to_cog(plain, temporary, source.dtype, available_cores())
    return Aligned(path, shift)


def _profile(source: FileSource | ArraySource, warped: WarpedSource) -> dict[str, Any]:
    height, width = warped.grid.shape
    return {
        "driver": "GTiff",
        "count": len(warped.bands),
        "height": height,
        "width": width,
        "dtype": warped.dtype,
        "crs": rasterio_crs(warped.grid.crs),
        "transform": warped.grid.transform,
        "nodata": source.fill,
        "photometric": "MINISBLACK",  # else GDAL takes the fourth band of 8-bit files for alpha
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "ZSTD",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }


def _write_block(dataset: Any, block: Tile, values: Array, valid: Bools) -> None:
    window = Window(block.col, block.row, block.width, block.height)
    if dataset.nodata is None:
        dataset.write_mask(valid, window=window)
    else:
        values = np.where(valid, values, np.array(dataset.nodata).astype(values.dtype))
    dataset.write(values, window=window)
