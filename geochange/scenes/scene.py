"""One date of a scene: windowed reads with validity, from a file or from an xarray DataArray."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geochange.arrays import Array, Bools
from geochange.errors import BandMismatch, UnreadableInput
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.options import NodataRule

if TYPE_CHECKING:
    import xarray as xr

# Plain images are welcome here, and files of single blocks have no place of their own.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


class Source(Protocol):
    """One date on a grid: all that anything outside of `scenes` may ask of it."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def path(self) -> str | None:
        """The file that holds the bands; None where there is none."""

    @property
    def grid(self) -> Grid:
        """Where the pixels lie."""

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers, from 1, of the bands that `read` returns."""

    @property
    def count(self) -> int:
        """How many bands there are to choose from."""

    @property
    def colours(self) -> tuple[int, int, int] | None:
        """Numbers of the red, green and blue bands, where they are known."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values that `read` returns."""

    @property
    def nodata(self) -> NodataRule:
        """What makes a pixel invalid."""

    @property
    def fill(self) -> float | None:
        """The nodata value of the bands."""

    @property
    def masked(self) -> bool:
        """Whether there can be pixels that are not valid, NaN apart."""

    @property
    def date(self) -> str | None:
        """Date or time of acquisition, where it is known."""

    @property
    def storage(self) -> tuple[int, int]:
        """(rows, cols) of the blocks in which the pixels are stored."""

    @property
    def shift(self) -> tuple[float, float]:
        """(row, col) pixels by which the content lies off, and is moved back while it is read."""

    def crop(self, tile: Tile) -> Source:
        """Return the part that a tile of this source's grid covers."""

    def whole(self) -> Source:
        """Return all of the image that this comes from, on the image's own grid."""

    def with_bands(self, bands: tuple[int, ...]) -> Source:
        """Return other bands of the same image."""

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid: values (band, y, x) in the source's dtype, valid (y, x).

        Raises:
            UnreadableInput: the file breaks off, or cannot be read there.
        """


def read_beyond(read: Callable[[Tile], tuple[Array, Bools]], area: Tile, tile: Tile) -> tuple[Array, Bools]:
    """Read a tile that may reach beyond an area of pixels: there values are 0, and none is valid.

    Args:
        read: takes a tile inside the area, gives values (..., y, x) and valid (y, x); as `Source.read`.
        area: what can be read.
        tile: shares a pixel with the area.
    """
    inside = tile.intersect(area)
    values, valid = read(inside)
    around = (
        (inside.row - tile.row, tile.stop_row - inside.stop_row),
        (inside.col - tile.col, tile.stop_col - inside.stop_col),
    )
    return np.pad(values, ((0, 0),) * (values.ndim - 2) + around), np.pad(valid, around)


@dataclass(frozen=True, kw_only=True)
class StoredSource:
    """An image as it is stored, or a part of it, in its own pixels; see `Source`."""

    name: str
    grid: Grid
    bands: tuple[int, ...]
    count: int  # bands of the image, alpha apart
    dtype: np.dtype[Any]
    nodata: NodataRule
    extent: tuple[int, int]  # (rows, cols) of the image
    origin: tuple[int, int] = (0, 0)  # (row, col) of the grid's first pixel in the image
    storage: tuple[int, int]
    date: str | None
    masked: bool
    fill: float | None
    path: str | None = None
    colours: tuple[int, int, int] | None = None
    shift: ClassVar[tuple[float, float]] = (0.0, 0.0)

    def crop(self, tile: Tile) -> Self:
        """Return the part that a tile of this source's grid covers."""
        origin = self.origin[0] + tile.row, self.origin[1] + tile.col
        return replace(self, grid=self.grid.crop(tile), origin=origin)

    def whole(self) -> Self:
        """Return all of the image that this is a part of."""
        return self.crop(Tile(-self.origin[0], -self.origin[1], *self.extent))

    def with_bands(self, bands: tuple[int, ...]) -> Self:
        """Return other bands of the same image."""
        return replace(self, bands=bands)

    def _in_image(self, tile: Tile) -> Tile:
        return Tile(tile.row + self.origin[0], tile.col + self.origin[1], *tile.shape)


@dataclass(frozen=True, kw_only=True)
class FileSource(StoredSource):
    """A raster file, or a part of it."""

    path: str

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid, see `Source.read`."""
        window = self._in_image(tile).window
        with readable(self.path):
            dataset = _open_in_thread(self.path)
            values = dataset.read(self.bands, window=window)
            return values, self._validity(dataset, values, window)

    def _validity(self, dataset: Any, values: Array, window: Any) -> Bools:
        finite = reduce(np.logical_and, np.isfinite(values)) if values.dtype.kind == "f" else None
        if isinstance(self.nodata, str) and not self.masked:
            return np.ones(values.shape[1:], bool) if finite is None else finite
        if isinstance(self.nodata, str):
            valid = _own_mask(dataset, self, values, window)
        else:
            numbers = list(range(1, self.count + 1))
            every = values if len(self.bands) == self.count else dataset.read(numbers, window=window)
            valid = ~(every == self.nodata).all(axis=0)
        return valid if finite is None else valid & finite


def _own_mask(dataset: Any, source: FileSource, values: Array, window: Any) -> Bools:
    """Read the dataset's own mask over all its bands."""
    whole = set(source.bands) == set(range(1, source.count + 1))
    if source.fill is not None and not np.isnan(source.fill) and whole and _masked_by_value(dataset):
        return _over_bands(source.nodata, values != source.fill)
    return _over_bands(source.nodata, dataset.read_masks(list(range(1, source.count + 1)), window=window) > 0)


def _over_bands(rule: NodataRule, known: Bools) -> Bools:
    """Combine (band, y, x) validity: a pixel is valid where some band is, or with the rule "any" where all are."""
    return reduce(np.logical_and if rule == "any" else np.logical_or, known)


def _masked_by_value(dataset: Any) -> bool:
    return all(flags == [MaskFlags.nodata] for flags in dataset.mask_flag_enums) and len(set(dataset.nodatavals)) == 1


@dataclass(frozen=True, kw_only=True)
class ArraySource(StoredSource):
    """An xarray DataArray (band, y, x) or (y, x) with rioxarray's conventions; dask-backed ones are read lazily."""

    array: xr.DataArray

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid, see `Source.read`."""
        rows, cols = self._in_image(tile).slices()
        every = self.array[:, rows, cols].compute(scheduler="synchronous").values
        values = every[[band - 1 for band in self.bands]]
        valid = np.isfinite(values).all(axis=0) if values.dtype.kind == "f" else np.ones(values.shape[1:], bool)
        fill = self.fill if isinstance(self.nodata, str) else self.nodata
        if fill is not None and not np.isnan(fill):
            valid &= _over_bands(self.nodata, every != fill)
        return values, valid


@dataclass(frozen=True)
class DerivedSource:
    """A source derived from another one, whose properties it has unless a class overrides them."""

    source: Source

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source.name

    @property
    def path(self) -> str | None:
        """The file that holds the bands; None where there is none."""
        return self.source.path

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers, from 1, of the bands that `read` returns."""
        return self.source.bands

    @property
    def count(self) -> int:
        """How many bands there are to choose from."""
        return self.source.count

    @property
    def colours(self) -> tuple[int, int, int] | None:
        """Numbers of the red, green and blue bands, where they are known."""
        return self.source.colours

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values that `read` returns."""
        return self.source.dtype

    @property
    def nodata(self) -> NodataRule:
        """What makes a pixel invalid."""
        return self.source.nodata

    @property
    def fill(self) -> float | None:
        """The nodata value of the bands."""
        return self.source.fill

    @property
    def masked(self) -> bool:
        """Whether there can be pixels that are not valid, NaN apart."""
        return self.source.masked

    @property
    def date(self) -> str | None:
        """Date or time of acquisition, where it is known."""
        return self.source.date

    @property
    def storage(self) -> tuple[int, int]:
        """(rows, cols) of the blocks in which the pixels are stored."""
        return self.source.storage

    def with_bands(self, bands: tuple[int, ...]) -> Self:
        """Return other bands of the same image."""
        return replace(self, source=self.source.with_bands(bands))


def open_file(path: str, *, bands: tuple[int, ...] | None = None, nodata: NodataRule = "all") -> FileSource:
    """Open a raster that rasterio reads.

    Args:
        path: a file, a VRT, or a `/vsi` path.
        bands: numbers from 1 in the order wanted; None for all but alpha.
        nodata: what makes a pixel invalid, see `NodataRule`. NaN in a band that is used always does.

    Raises:
        UnreadableInput: missing, not a raster, or complex-valued.
        BandMismatch: a band number is out of range.
    """
    path = os.path.abspath(path) if os.path.exists(path) else path  # workers may stand in another folder
    with readable(path):
        dataset = _open_in_thread(path)
        if dataset.count == 0:
            raise UnreadableInput(f"{path} holds no bands of its own; name one of its subdatasets")
        count = dataset.count - _has_alpha(dataset)
        dtype = np.result_type(*dataset.dtypes[:count])
        return FileSource(
            name=path,
            path=path,
            grid=_grid_of(dataset),
            bands=pick_bands(path, bands, count),
            dtype=_real(path, dtype),
            count=count,
            nodata=nodata,
            extent=(dataset.height, dataset.width),
            storage=dataset.block_shapes[0],
            date=iso_date(dataset.tags().get("TIFFTAG_DATETIME") or dataset.tags().get("ACQUISITION_DATE")),
            masked=any(_can_mask(flags, dataset.count > count) for flags in dataset.mask_flag_enums[:count]),
            fill=dataset.nodata,
            colours=_colours(dataset.colorinterp),
        )


def open_array(
    array: xr.DataArray, name: str, *, bands: tuple[int, ...] | None = None, nodata: NodataRule = "all"
) -> ArraySource:
    """Take a DataArray with dimensions (band, y, x) or (y, x) in any order, its CRS and nodata as rioxarray keeps them.

    Raises:
        UnreadableInput: it has no rows and columns that rioxarray knows, other dimensions, or complex numbers.
        BandMismatch: a band number is out of range.
    """
    cube = _cube_of(array, name)
    crs = CRS(array.rio.crs) if array.rio.crs else None
    count, rows, cols = cube.shape
    fill = array.rio.nodata if array.rio.nodata is not None else array.rio.encoded_nodata
    date = array.attrs.get("date") or array.attrs.get("TIFFTAG_DATETIME")
    return ArraySource(
        name=name,
        array=cube,
        grid=Grid(crs, _transform_of(crs, array.rio.transform()), (rows, cols)),
        bands=pick_bands(name, bands, count),
        dtype=_real(name, np.dtype(cube.dtype)),
        count=count,
        nodata=nodata,
        extent=(rows, cols),
        storage=(cube.chunks[1][0], cube.chunks[2][0]) if cube.chunks else (rows, cols),
        date=iso_date(None if date is None else str(date)),
        masked=fill is not None or nodata not in ("any", "all"),
        fill=fill,
    )


def _cube_of(array: xr.DataArray, name: str) -> xr.DataArray:
    """Return the array as (band, y, x), rows and columns found by rioxarray, whatever they are called."""
    import rioxarray  # registers the accessor

    refusal = f"{name} has dimensions {array.dims}; (band, y, x) or (y, x) are needed"
    if array.ndim not in (2, 3):
        raise UnreadableInput(refusal)
    try:
        rows, cols = array.rio.y_dim, array.rio.x_dim
    except rioxarray.exceptions.MissingSpatialDimensionError as error:
        raise UnreadableInput(f"{refusal}; name them with rename or rio.set_spatial_dims") from error
    cube = array if array.ndim == 3 else array.expand_dims("band")
    return cube.transpose(..., rows, cols)


def _has_alpha(dataset: Any) -> bool:
    """Whether the last band is a mask, not data.

    GDAL takes the fourth band of any 8-bit GeoTIFF for alpha unless its tags say otherwise. A mask holds its two
    extremes; of near infrared, hardly a pixel does.
    """
    if dataset.colorinterp[-1] is not ColorInterp.alpha:
        return False
    top = np.iinfo(dataset.dtypes[-1]).max if np.dtype(dataset.dtypes[-1]).kind in "iu" else 1
    between = [
        float(np.mean((part > 0) & (part < top)))
        for row in np.linspace(0, max(dataset.height - 64, 0), 4)
        for col in np.linspace(0, max(dataset.width - 64, 0), 4)
        for part in [dataset.read(dataset.count, window=Tile(int(row), int(col), 64, 64).window)]
    ]
    return bool(np.mean(between) < 0.1)


def _can_mask(flags: list[MaskFlags], has_alpha: bool) -> bool:
    return MaskFlags.all_valid not in flags and (has_alpha or MaskFlags.alpha not in flags)


def iso_date(tag: str | None) -> str | None:
    """`2020:08:31 17:05:00`, as TIFF writes it, → `2020-08-31T17:05:00`; other texts as they are."""
    match = re.fullmatch(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)", tag or "")
    return "{}-{}-{}T{}".format(*match.groups()) if match else tag


def _colours(interpretations: tuple[ColorInterp, ...]) -> tuple[int, int, int] | None:
    wanted = ColorInterp.red, ColorInterp.green, ColorInterp.blue
    if any(colour not in interpretations for colour in wanted):
        return None
    red, green, blue = (interpretations.index(colour) + 1 for colour in wanted)
    return red, green, blue


def pick_bands(name: str, wanted: tuple[int, ...] | None, count: int) -> tuple[int, ...]:
    """Return the band numbers wanted, or all; BandMismatch where one is out of range."""
    if wanted is None:
        return tuple(range(1, count + 1))
    wrong = [band for band in wanted if not 1 <= band <= count]
    if wrong or not wanted:
        raise BandMismatch(f"band {wrong[0] if wrong else '-'} is out of range: {name} has bands 1..{count}")
    return wanted


def rasterio_crs(crs: CRS | None) -> rasterio.CRS | None:
    """Convert a pyproj CRS to rasterio's."""
    return None if crs is None else rasterio.CRS.from_user_input(crs)


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn rasterio's errors into one line that names the file, and GDAL's warnings into log entries."""
    try:
        with rasterio.Env(GDAL_PNG_WHOLE_IMAGE_OPTIM=False):  # with it, GDAL 3.10 makes up the rest of a cut-off PNG
            yield
    except RasterioError as error:
        _handles.close()  # an open dataset would report GDAL's error again, as if it were its own
        cause = error.__cause__ or error
        if not path.startswith("/vsi") and "://" not in path and not os.path.exists(path):
            raise UnreadableInput(f"{path} does not exist") from error
        raise UnreadableInput(f"{path} cannot be read: {' '.join(str(cause).split())}") from error


def _real(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "c":
        raise UnreadableInput(f"{name} holds complex numbers; give magnitude or intensity instead")
    return dtype


def _grid_of(dataset: Any) -> Grid:
    crs = CRS.from_user_input(dataset.crs) if dataset.crs else None
    return Grid(crs, _transform_of(crs, dataset.transform), (dataset.height, dataset.width))


def _transform_of(crs: CRS | None, transform: Affine) -> Affine:
    """Plain images: x is the column, y is minus the row, as QGIS shows them."""
    return Affine(1, 0, 0, 0, -1, 0) if crs is None and transform == Affine.identity() else transform


@dataclass
class _Handles(threading.local):
    """Open datasets of this thread: GDAL's are not to be shared between threads, and opening costs milliseconds."""

    limit: int = 8
    datasets: OrderedDict[tuple[Any, ...], Any] = field(default_factory=OrderedDict)

    def open(self, path: str) -> Any:
        key = (path, *_version(path))
        dataset = self.datasets.pop(key, None)
        if dataset is None:
            dataset = rasterio.open(path)
        self.datasets[key] = dataset
        while len(self.datasets) > self.limit:
            self.datasets.popitem(last=False)[1].close()
        return dataset

    def close(self) -> None:
        while self.datasets:
            self.datasets.popitem()[1].close()


def _version(path: str) -> tuple[int, ...]:
    """Return what identifies a file, and differs from one that has since taken its place."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size


_handles = _Handles()


def _open_in_thread(path: str) -> Any:
    return _handles.open(path)


def open_masked(path: str | os.PathLike[str]) -> xr.DataArray:
    """Open a raster of our own lazily: (band, y, x) float values as they are meant, NaN where there are no data."""
    import rioxarray

    opened: Any = rioxarray.open_rasterio(path, mask_and_scale=True)
    array: xr.DataArray = opened
    return array
