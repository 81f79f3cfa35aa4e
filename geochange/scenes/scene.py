"""One date of a scene: windowed reads with validity, from a file or from an xarray DataArray."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import rasterio
from pyproj import CRS
from rasterio._err import CPLE_BaseError
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geochange.arrays import Array, Bools
from geochange.errors import UnreadableInput
from geochange.names import is_elsewhere
from geochange.open_datasets import close_own, open_dataset
from geochange.parsing import parsing
from geochange.remote import again, remote_options
from geochange.scenes.band_names import Names, Wanted, find_bands
from geochange.scenes.grid import Grid, Tile, require_workable
from geochange.scenes.interpretation import (
    alpha_bands,
    band_names_of,
    band_names_of_array,
    colours_of,
    flags_of_alpha,
    grid_of,
    iso_date,
    palette_of,
    representable,
    require_bands,
    require_file,
    require_grid,
    require_real,
    scaling_of,
    scaling_of_attributes,
    transform_of,
    usual_rule,
)
from geochange.scenes.options import NodataRule
from geochange.scenes.shift_field import ShiftField
from geochange.scenes.unread import note_unread, stored_parts

if TYPE_CHECKING:
    import xarray as xr

ENVIRONMENT = {"GDAL_PNG_WHOLE_IMAGE_OPTIM": False}
"""With it, GDAL 3.10 makes up the rest of a cut-off PNG."""

READ_PAUSES = 0.3, 1.0, 3.0  # seconds before a part of a file elsewhere is read again
OPEN_PAUSES = (0.3,)  # what is not there at all should be told soon

# Plain images are welcome here, and files of single blocks have no place of their own.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


@dataclass(frozen=True, kw_only=True)
class StoredSource:
    """An image as it is stored, or a part of it, in its own pixels; see `Source`."""

    name: str
    grid: Grid
    bands: tuple[int, ...]
    choices: tuple[int, ...]
    stored_dtype: np.dtype[Any]
    nodata: NodataRule
    extent: tuple[int, int]  # (rows, cols) of the image
    origin: tuple[int, int] = (0, 0)  # (row, col) of the grid's first pixel in the image
    storage: tuple[int, int]
    date: str | None
    masked: bool
    fill: float | None
    path: str | None = None
    band_names: tuple[Names, ...] = ()
    colours: tuple[int, int, int] | None = None
    scaling: tuple[tuple[float, float], ...] | None = None
    shift: ClassVar[tuple[float, float]] = (0.0, 0.0)
    local_shift: ClassVar[ShiftField | None] = None
    mark: ClassVar[str] = ""
    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that are read, as GDAL takes them."""
        return () if self.path is None else (self.path,)

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

    def with_nodata(self, rule: NodataRule) -> Self:
        """Return the same image with another rule of what is nodata."""
        return replace(self, nodata=rule)

    def stored(self) -> Self:
        """Return the same image whose values are read as they are stored, without scale and offset."""
        return replace(self, scaling=None)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values that `read` returns: a float where they are scaled."""
        return self.stored_dtype if self.scaling is None else np.result_type(self.stored_dtype, np.float32)

    def _quantities(self, stored: Array) -> Array:
        """Turn (band, y, x) stored values into the quantities that they stand for."""
        if self.scaling is None:
            return stored
        values = np.empty(stored.shape, self.dtype)
        for own, band, out in zip(stored, self.bands, values, strict=True):
            scale, offset = self.scaling[self.choices.index(band)]
            out[:] = own * scale + offset
        return values

    def _in_image(self, tile: Tile) -> Tile:
        return Tile(tile.row + self.origin[0], tile.col + self.origin[1], *tile.shape)


@dataclass(frozen=True, slots=True)
class _Window:
    """What is read of a dataset, and as how many (rows, cols)."""

    window: Any
    shape: tuple[int, int]

    def read(self, dataset: Any, bands: tuple[int, ...]) -> Array:
        """(band, y, x) stored values; bands whose types differ are read one by one, in the type that holds them all."""
        if len({dataset.dtypes[band - 1] for band in bands}) > 1:
            return np.concatenate([self.read(dataset, (band,)) for band in bands])
        values: Array = dataset.read(bands, window=self.window, out_shape=(len(bands), *self.shape))
        return values

    def read_masks(self, dataset: Any, bands: tuple[int, ...]) -> Array:
        """(band, y, x) masks, 0 where a band has no data."""
        masks: Array = dataset.read_masks(list(bands), window=self.window, out_shape=(len(bands), *self.shape))
        return masks


@dataclass(frozen=True, kw_only=True)
class FileSource(StoredSource):
    """A raster file, or a part of it."""

    path: str

    masks: tuple[int, ...] = ()
    """Numbers of alpha bands: 0 where a pixel is not valid."""
    flagged: bool = False
    """Whether the bands have nodata values, or the file a mask."""
    by_value: bool = False
    """Whether all bands have one nodata value, and there is no mask."""
    palette: bytes | None = None
    """Red, green, blue and alpha of each stored value, a byte each, of a file whose one band has a colour table."""
    unread: Path | None = None
    """Folder where parts that cannot be read are noted, which then hold no data; None: they are errors."""

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid, see `Source.read`."""
        return self.read_thinned(tile, tile.shape)

    def read_thinned(self, tile: Tile, shape: tuple[int, int]) -> tuple[Array, Bools]:
        """Read a tile as fewer (rows, cols), each pixel one of the tile's, or of the file's overviews."""
        try:
            return again(self.path, partial(self._read, _Window(self._in_image(tile).window, shape)), READ_PAUSES)
        except UnreadableInput:
            if self.unread is None:
                raise
            with readable(self.path):
                rasterio.open(self.path).close()  # an image that is gone is another thing
        values, valid = self._read_what_can_be(tile, self.unread)
        rows, cols = (np.arange(few) * many // few for few, many in zip(shape, tile.shape, strict=True))
        return values[:, rows[:, np.newaxis], cols], valid[rows[:, np.newaxis], cols]

    def _read_what_can_be(self, tile: Tile, unread: Path) -> tuple[Array, Bools]:
        """Read a tile, block by block of the file; those that cannot be read hold no data, and are noted."""
        wanted = self._in_image(tile)
        values, valid = np.zeros((len(self.bands), *tile.shape), self.dtype), np.zeros(tile.shape, bool)
        for block in stored_parts(wanted, self.storage, self.extent):
            part = block.intersect(wanted)
            at = part.slices((wanted.row, wanted.col))
            try:
                read = again(self.path, partial(self._read, _Window(part.window, part.shape)), READ_PAUSES)
            except UnreadableInput:
                note_unread(unread, self.path, block)
            else:
                values[:, *at], valid[at] = read
        return values, valid

    def _read(self, window: _Window) -> tuple[Array, Bools]:
        with readable(self.path), open_dataset(self.path) as dataset:
            if self.palette is not None:
                return self._read_colours(dataset, window, self.palette)
            values = self._read_bands(dataset, self.bands, window)
            return self._quantities(values), self._validity(dataset, values, window)

    def _read_bands(self, dataset: Any, bands: tuple[int, ...], window: _Window) -> Array:
        """Read bands in the type that holds all of the file's."""
        return window.read(dataset, bands).astype(self.stored_dtype, copy=False)

    def _read_colours(self, dataset: Any, window: _Window, palette: bytes) -> tuple[Array, Bools]:
        table = np.frombuffer(palette, np.uint8).reshape(-1, 4)
        stored = window.read(dataset, (1,))[0]
        colours = np.moveaxis(table[np.minimum(stored, len(table) - 1)], -1, 0)
        known = (stored < len(table)) & (stored != (self.fill if isinstance(self.nodata, str) else self.nodata))
        valid: Bools = known & (colours[3] > 0)
        return colours[[band - 1 for band in self.bands]], valid

    def _validity(self, dataset: Any, values: Array, window: _Window) -> Bools:
        known = [reduce(np.logical_and, np.isfinite(values))] if values.dtype.kind == "f" else []
        known += [band > 0 for band in (window.read(dataset, self.masks) if self.masks else ())]
        if not isinstance(self.nodata, str):
            every = values if set(self.bands) == {*self.choices} else self._read_bands(dataset, self.choices, window)
            known.append((every != self.nodata).any(axis=0))
        elif self.flagged:
            known.append(_over_bands(self.nodata, self._known_by_band(dataset, values, window)))
        valid: Bools = reduce(np.logical_and, known) if known else np.ones(values.shape[1:], bool)
        return valid

    def _known_by_band(self, dataset: Any, values: Array, window: _Window) -> Bools:
        """(band, y, x) where the dataset's nodata values or its mask say that there are data: where all, or used."""
        wanted = self.bands if self.nodata == "any" else self.choices
        if self.by_value and set(wanted) <= {*self.bands}:
            known: Bools = values != self.fill
            return known
        return window.read_masks(dataset, wanted) > 0


def _over_bands(rule: NodataRule, known: Bools) -> Bools:
    """Combine (band, y, x) validity: a pixel is valid where some band is, or with the rule "any" where all are."""
    return reduce(np.logical_and if rule == "any" else np.logical_or, known)


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
            wanted = values if self.nodata == "any" else every
            valid &= _over_bands(self.nodata, wanted != fill)
        return self._quantities(values), valid


def open_file(
    path: str, *, bands: Wanted | None = None, nodata: NodataRule | None = None, as_stored: bool = False
) -> FileSource:
    """Open a raster that rasterio reads.

    Args:
        path: a file, a VRT, or a `/vsi` path.
        bands: numbers from 1, or names, in the order wanted; None for all but alpha.
        nodata: what makes a pixel invalid, see `NodataRule`; None as `usual_rule` has it. NaN in a band that is used
            always does.
        as_stored: take numbers as they are stored, as those of classes are: without colour table, scale and offset.

    Raises:
        UnreadableInput: missing, not a raster, complex-valued, or without a place that a grid can have.
        BandMismatch: a band number is out of range, or a name not known.
    """
    if os.path.exists(path):
        path = os.path.abspath(path)  # workers may stand in another folder
        require_file(path)
    return again(path, partial(_open_file, path, bands, nodata, as_stored), OPEN_PAUSES)


def _open_file(path: str, bands: Wanted | None, nodata: NodataRule | None, as_stored: bool) -> FileSource:
    with parsing(path, "a raster"), readable(path), open_dataset(path) as dataset:
        require_bands(dataset, path)
        require_grid(dataset, path)
        masks = alpha_bands(dataset)
        palette = None if as_stored else palette_of(dataset)
        choices = tuple(band for band in range(1, dataset.count + 1) if band not in masks)
        dtype = require_real(path, np.result_type(*(dataset.dtypes[band - 1] for band in choices)))
        flags = [dataset.mask_flag_enums[band - 1] for band in choices]
        fills = {dataset.nodatavals[band - 1] for band in choices}
        fill = representable(dataset.nodatavals[choices[0] - 1], dtype)
        flagged = any({MaskFlags.nodata, MaskFlags.per_dataset} & {*each} - flags_of_alpha(each) for each in flags)
        source = FileSource(
            name=path,
            path=path,
            grid=grid_of(dataset),
            bands=(),
            choices=choices if palette is None else (1, 2, 3),
            stored_dtype=dtype if palette is None else np.dtype(np.uint8),
            nodata=usual_rule([representable(each, dtype) for each in fills], dtype) if nodata is None else nodata,
            extent=(dataset.height, dataset.width),
            storage=dataset.block_shapes[0],
            date=iso_date(dataset.tags().get("TIFFTAG_DATETIME") or dataset.tags().get("ACQUISITION_DATE")),
            masked=flagged or bool(masks) or palette is not None,
            fill=fill,
            colours=colours_of(dataset.colorinterp) if palette is None else (1, 2, 3),
            scaling=None if as_stored or palette is not None else scaling_of(dataset, choices),
            masks=masks,
            flagged=flagged,
            by_value=len(fills) == 1 and all(each == [MaskFlags.nodata] for each in flags),
            palette=palette,
        )
        names = band_names_of(dataset, choices) if palette is None else (("red",), ("green",), ("blue",))
        return replace(source, bands=find_bands(path, bands, source.choices, names), band_names=names)


def with_fill(source: FileSource, fill: float | None) -> FileSource:
    """Return a file that says nothing of nodata as if it had a nodata value; others as they are."""
    if fill is None or source.masked or np.isnan(fill):
        return source
    return replace(
        source,
        fill=representable(fill, source.stored_dtype),
        nodata=usual_rule([fill], source.stored_dtype),
        masked=True,
        flagged=True,
        by_value=True,
    )


def open_grid(path: str) -> Grid:
    """Return the grid of a raster, all of which is to be gone through.

    Raises:
        UnreadableInput: missing, not a raster, or too large.
    """
    grid = open_file(path, as_stored=True).grid
    require_workable(grid, path)
    return grid


def open_array(
    array: xr.DataArray, name: str, *, bands: Wanted | None = None, nodata: NodataRule | None = None
) -> ArraySource:
    """Take a DataArray with dimensions (band, y, x) or (y, x) in any order, its CRS and nodata as rioxarray keeps them.

    Scale and offset that are still to be applied are read from its attributes, as rioxarray leaves them there.

    Raises:
        UnreadableInput: it has no rows and columns that rioxarray knows, other dimensions, or complex numbers.
        BandMismatch: a band number is out of range.
    """
    cube = _cube_of(array, name)
    count, rows, cols = cube.shape
    with parsing(name, "an array"):
        crs = CRS(array.rio.crs) if array.rio.crs else None
        grid = Grid(crs, transform_of(crs, array.rio.transform()), (rows, cols))
    dtype = require_real(name, np.dtype(cube.dtype))
    fill = array.rio.nodata
    date = array.attrs.get("date") or array.attrs.get("TIFFTAG_DATETIME")
    choices = tuple(range(1, count + 1))
    names = band_names_of_array(array, count)
    return ArraySource(
        name=name,
        array=cube,
        grid=grid,
        bands=find_bands(name, bands, choices, names),
        choices=choices,
        band_names=names,
        stored_dtype=dtype,
        nodata=usual_rule([fill], dtype) if nodata is None else nodata,
        extent=(rows, cols),
        storage=(cube.chunks[1][0], cube.chunks[2][0]) if cube.chunks else (rows, cols),
        date=iso_date(None if date is None else str(date)),
        masked=fill is not None or nodata not in (None, "any", "all"),
        fill=fill,
        scaling=scaling_of_attributes(array.attrs, count),
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


def rasterio_crs(crs: CRS | None) -> rasterio.CRS | None:
    """Convert a pyproj CRS to rasterio's."""
    return None if crs is None else rasterio.CRS.from_user_input(crs)


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn rasterio's errors into one line that names the file, and GDAL's warnings into log entries."""
    try:
        with rasterio.Env(**ENVIRONMENT, **(remote_options() if is_elsewhere(path) else {})):
            yield
    except (RasterioError, CPLE_BaseError) as error:  # GDAL's own pass through some calls
        close_own()  # an open dataset would report GDAL's error again, as if it were its own
        cause = error.__cause__ or error
        if not is_elsewhere(path) and not os.path.exists(path):
            raise UnreadableInput(f"{path} does not exist") from error
        raise UnreadableInput(f"{path} cannot be read: {' '.join(str(cause).split())}") from error


def open_masked(path: str | os.PathLike[str]) -> xr.DataArray:
    """Open a raster of our own lazily: (band, y, x) float values as they are meant, NaN where there are no data."""
    import rioxarray

    opened: Any = rioxarray.open_rasterio(path, mask_and_scale=True)
    array: xr.DataArray = opened
    return array
