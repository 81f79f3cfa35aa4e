"""`open_pair`: two dates on one grid as lazy DataArrays, for users of xarray."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from geochange.arrays import Array
from geochange.engine.cluster import quiet_libraries
from geochange.pipeline.options import choose_options
from geochange.scenes.grid import Tile
from geochange.scenes.opening import Image
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import Scene, open_scene
from geochange.scenes.scene import rasterio_crs
from geochange.scenes.source import Source

if TYPE_CHECKING:
    import xarray as xr

CHUNK = 1024


def open_pair(
    before: Image, after: Image, options: SceneOptions | None = None, **settings: Any
) -> tuple[xr.DataArray, xr.DataArray]:
    """Open two dates on one grid, without reading their pixels.

    Args:
        before: the earlier image.
        after: the later image.
        options: bands, area of interest, nodata rule, alignment; see `SceneOptions`.
        settings: fields of `SceneOptions`, in place of those in `options`.

    Returns:
        (band, y, x) dask-backed arrays in chunks of 1024 pixels, with CRS, coordinates and nodata as rioxarray keeps
        them, and the date of acquisition, where it is known, in the attribute `date`. An image that can have nodata
        pixels but has no nodata value, or has a number as its nodata rule, comes as float32 (float64 for integers of
        32 bits) with NaN.

    Raises:
        GridMismatch: the dates do not lie on one grid, and `align` is off; or they do not overlap.
        UnreadableInput, BandMismatch: as `geochange.detect`.
    """
    scene = open_scene([before, after], choose_options(SceneOptions, options, settings))
    earlier, later = (_as_array(scene, place) for place in range(2))
    return earlier, later


def _as_array(scene: Scene, place: int) -> xr.DataArray:
    import rioxarray  # noqa: F401  (registers the accessor)
    import xarray as xr

    source = scene.sources[place]
    nodata, dtype = _nodata_of(source, everywhere=scene.area is None)
    height, width = scene.shape
    chunks = ((len(source.bands),), *da.core.normalize_chunks((CHUNK, CHUNK), (height, width)))
    lazy = da.map_blocks(
        _read_chunk, scene, place, nodata, dtype, dtype=dtype, chunks=chunks, meta=np.empty((0, 0, 0), dtype)
    )
    transform = scene.grid.transform
    array: xr.DataArray = xr.DataArray(
        lazy,
        dims=("band", "y", "x"),
        coords={"band": list(source.bands)},
        name=source.name,
        attrs={} if source.date is None else {"date": source.date},
    )
    if transform.b == transform.d == 0:
        array = array.assign_coords(
            x=transform.c + transform.a * (np.arange(width) + 0.5),
            y=transform.f + transform.e * (np.arange(height) + 0.5),
        )
    array = array.rio.write_transform(transform)
    if scene.grid.crs is not None:
        array = array.rio.write_crs(rasterio_crs(scene.grid.crs))
    whole: xr.DataArray = array if nodata is None else array.rio.write_nodata(nodata)
    return whole


def _nodata_of(source: Source, *, everywhere: bool) -> tuple[float | None, np.dtype[Any]]:
    """Return the value of invalid pixels, None where there are none, and the dtype that can hold it.

    A nodata rule that is a number takes the place of the source's own nodata value, which then is a value like others.
    """
    by_itself = isinstance(source.nodata, str)
    if by_itself and source.fill is not None and source.scaling is None:
        return source.fill, source.dtype
    if by_itself and everywhere and not source.masked and source.dtype.kind in "iu":
        return None, source.dtype
    return np.nan, np.result_type(source.dtype, np.float32)


def _read_chunk(
    scene: Scene, place: int, nodata: float | None, dtype: np.dtype[Any], block_info: dict[Any, Any]
) -> Array:
    (top, bottom), (left, right) = block_info[None]["array-location"][1:]
    only = replace(scene, sources=(scene.sources[place],))
    with quiet_libraries():
        (values,), valid = only.read(Tile(top, left, bottom - top, right - left))
    values = values.astype(dtype)
    if nodata is not None:
        values[:, ~valid[0]] = nodata
    return values
