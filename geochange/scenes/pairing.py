"""Two or more dates on one grid: opened together, refused where they do not fit, or aligned while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, get_args

import numpy as np
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.features import geometry_mask
from shapely.affinity import affine_transform

from geochange.arrays import Array, Bools
from geochange.errors import BadOption, BandMismatch, GridMismatch
from geochange.files import files_digest
from geochange.scenes.composite import CompositeSource
from geochange.scenes.dates import dates_of, decimal_years
from geochange.scenes.differences import grid_differences
from geochange.scenes.displaced import displaced
from geochange.scenes.grid import Grid, Tile, crs_name, extent_of, pixels_within, reflect, require_workable
from geochange.scenes.layers import open_layer, reproject_polygons
from geochange.scenes.lengths import length_on
from geochange.scenes.mask_rules import parse_rule
from geochange.scenes.masks import BUFFER, MaskedSource, with_mask
from geochange.scenes.normalised import normalised
from geochange.scenes.opening import Image, open_date
from geochange.scenes.options import NO_MASK, ResamplingName, SceneOptions
from geochange.scenes.placement import pixels_reached
from geochange.scenes.scene import FileSource
from geochange.scenes.shift_field import ShiftField
from geochange.scenes.source import DerivedSource, Source
from geochange.scenes.warped import WarpedSource, on_grid, require_overlap

RESAMPLINGS = {name: Resampling[name] for name in get_args(ResamplingName)}


@dataclass(frozen=True)
class Scene:
    """Dates of one scene on one grid."""

    sources: tuple[Source, ...]
    grid: Grid
    area: shapely.Geometry | None = None  # area of interest in pixels of the grid (x = column, y = row)
    given_days: tuple[str, ...] = ()  # dates of acquisition, in place of those of tags and names

    def noting_unread(self, folder: Path) -> Scene:
        """Return the scene whose parts that cannot be read hold no data, and are noted in a folder."""
        return replace(self, sources=tuple(_noting(source, folder) for source in self.sources))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.grid.shape

    @property
    def dates(self) -> int:
        """How many there are."""
        return len(self.sources)

    @property
    def days(self) -> tuple[str | None, ...]:
        """Dates of acquisition: as given, else by tags, else by names of files."""
        return dates_of(self.given_days, [each.date for each in self.sources], [each.name for each in self.sources])

    @property
    def times(self) -> tuple[float, ...] | None:
        """Dates of acquisition as decimal years; None unless all are known."""
        return decimal_years(self.days)

    @property
    def bands(self) -> tuple[int, ...]:
        """Band numbers in the files, from 1, as arrays hold them."""
        return self.sources[0].bands

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that are read, as GDAL takes them."""
        return tuple(dict.fromkeys(name for source in self.sources for name in source.files))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen for the user when the dates were opened; with its name what is not so at all of them."""
        named = {f"{source.name}: {note}": note for source in self.sources for note in source.notes}
        common = [note for note in named.values() if all(note in source.notes for source in self.sources)]
        return tuple(dict.fromkeys(note if note in common else text for text, note in named.items()))

    @property
    def gsd(self) -> float | None:
        """Ground sampling distance in metres, see `Grid.gsd`."""
        return self.grid.gsd

    @property
    def largest(self) -> float:
        """The largest value that the dates' types can hold; infinite for floats."""
        return max(float(np.iinfo(s.dtype).max) if s.dtype.kind in "iu" else np.inf for s in self.sources)

    @cached_property
    def bytes_per_pixel(self) -> int:
        """Of all dates and bands, as stored."""
        return sum(len(source.bands) * source.dtype.itemsize for source in self.sources)

    def read(self, tile: Tile) -> tuple[list[Array], Bools]:
        """Pixels of a tile that may reach beyond the border, where the scene is reflected.

        Returns:
            For each date (band, y, x) in its own dtype, 0 where not valid; and (time, y, x) validity.
        """
        rows = reflect(tile.row, tile.stop_row, self.shape[0])
        cols = reflect(tile.col, tile.stop_col, self.shape[1])
        inside = Tile(rows.min(), cols.min(), int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1)
        values, masks = zip(*(source.read(inside) for source in self.sources), strict=True)
        wanted = self._wanted(inside)
        valid = np.stack([mask if wanted is None else mask & wanted for mask in masks])
        for date, mask in zip(values, valid, strict=True):
            if not mask.all():
                date[:, ~mask] = 0
        if inside == tile:
            return list(values), valid
        above, left = rows - inside.row, cols - inside.col
        dates = [date.take(above, axis=1).take(left, axis=2) for date in values]
        return dates, valid.take(above, axis=1).take(left, axis=2)

    def stored(self) -> Scene:
        """Return the scene with numbers as the files store them, without their bands' scale and offset."""
        return replace(self, sources=tuple(source.stored() for source in self.sources))

    def move(
        self, place: int, shift: tuple[float, float], resampling: Resampling, field: ShiftField | None = None
    ) -> Scene:
        """Return the scene with one date's content moved back while it is read.

        Args:
            place: of the date.
            shift: (row, col) pixels by which all of it lies off.
            resampling: how pixels are interpolated.
            field: pixels by which it lies off besides, place by place, in place of a field removed before.
        """
        source = self.sources[place]
        total = source.shift[0] + shift[0], source.shift[1] + shift[1]
        if field is None:
            moved: Source = WarpedSource(source.whole(), self.grid, resampling, total)
        else:
            moved = displaced(source.whole(), self.grid, field, resampling, total)
        return replace(self, sources=(*self.sources[:place], moved, *self.sources[place + 1 :]))

    def normalised(self, lines: Sequence[tuple[float, float]]) -> Scene:
        """Return the scene with its last date's values times a gain plus an offset, for each band."""
        return replace(self, sources=(*self.sources[:-1], normalised(self.sources[-1], tuple(lines))))

    def _wanted(self, tile: Tile) -> Bools | None:
        """(y, x), True inside the area of interest; None where there is none."""
        if self.area is None:
            return None
        shifted = affine_transform(self.area, [1, 0, 0, 1, -tile.col, -tile.row])
        if shifted.is_empty:
            return np.zeros(tile.shape, bool)
        wanted: Bools = geometry_mask([shifted], tile.shape, Affine.identity(), invert=True)
        return wanted

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies this input: names, grids, and a hash of sampled pixels."""
        return {
            "shape": list(self.shape),
            "transform": list(self.grid.transform)[:6],
            "crs": crs_name(self.grid.crs),
            "bands": list(self.bands),
            "area": None if self.area is None else blake2b(self.area.wkb, digest_size=16).hexdigest(),
            "dates": [_source_fingerprint(source) for source in self.sources],
        }


def open_scene(images: Sequence[Image], options: SceneOptions | None = None) -> Scene:
    """Open dates as one scene on the first one's grid.

    Raises:
        UnreadableInput: an image is missing or is not a raster, or the scene is too large.
        GridMismatch: the dates do not lie on one grid and `align` is off, or they do not overlap.
        BandMismatch: they differ in bands.
        BadOption: there are not as many masks as images.
    """
    options = options or SceneOptions()
    masks = options.masks_of(len(images))
    opened = [open_image(image, k, options, mask) for k, (image, mask) in enumerate(zip(images, masks, strict=True))]
    _require_same_bands(opened)
    if length_on(BUFFER, options.mask_buffer, opened[0].grid, least=0) != (0, 0) and not any(map(_is_masked, opened)):
        raise BadOption(f"{BUFFER} needs --mask-before or --mask-after: the images come without masks of their own")
    scene = _restrict(_together(opened, options), options)
    require_workable(scene.grid, opened[0].name)
    return scene


def _together(opened: Sequence[Source], options: SceneOptions) -> Scene:
    """Bring dates to the first one's grid, where they do not lie on it."""
    first, *others = opened
    if all(_same_grid(first.grid, other.grid) for other in others):
        return Scene(tuple(opened), first.grid)
    if not options.align:
        raise GridMismatch(_refusal(first, others))
    first = first.crop(_common_part(first, others))
    return Scene((first, *(_brought(other, first, options) for other in others)), first.grid)


@dataclass(frozen=True, slots=True)
class Opening:
    """How dates were opened as a scene, by which they are opened again."""

    options: SceneOptions
    shift: tuple[float, float] = (0.0, 0.0)
    """Rows and columns, in pixels, that the second date was moved back by."""
    local_shift: ShiftField | None = None
    """Pixels that it was moved back by besides, place by place."""
    normalisation: tuple[tuple[float, float], ...] | None = None
    """(gain, offset) of each of its bands."""

    def open(self, images: Sequence[Image]) -> Scene:
        """Open them; errors as of `open_scene`."""
        scene = open_scene(images, self.options)
        if self.local_shift is not None or any(self.shift):
            scene = scene.move(1, self.shift, RESAMPLINGS[self.options.resampling], self.local_shift)
        return scene if self.normalisation is None else scene.normalised(self.normalisation)


def open_image(image: Image, position: int, options: SceneOptions, mask: str | None = None) -> Source:
    """Open the image that stands at a position among the dates, by itself.

    Args:
        image: see `Image`.
        position: from 0.
        options: bands, nodata rule, order of tiles, values and width of masks.
        mask: what is to be left out of it; none at all with `NO_MASK`, None: what the image's own mask hides.
    """
    source = open_date(image, f"date {position + 1}", options, with_own_mask=mask is None)
    if mask is None or mask == NO_MASK:
        return source
    return with_mask(source, mask, parse_rule(options.mask_values), options.mask_buffer)


def _is_masked(source: Source) -> bool:
    """Return whether a mask hides pixels of a date, or of one of its tiles."""
    parts = source.parts if isinstance(source, CompositeSource) else ()
    return isinstance(source, MaskedSource) or any(map(_is_masked, parts))


def _require_same_bands(opened: Sequence[Source]) -> None:
    first = opened[0]
    for other in opened[1:]:
        if len(other.bands) != len(first.bands):
            raise BandMismatch(
                f"{first.name} has {len(first.bands)} bands, {other.name} has {len(other.bands)}; "
                "pick the ones that both have with --bands"
            )


def _same_grid(first: Grid, other: Grid) -> bool:
    return not grid_differences(first, other)


def _refusal(first: Source, others: Sequence[Source]) -> str:
    other = next(source for source in others if not _same_grid(first.grid, source.grid))
    differences = "; ".join(str(difference) for difference in grid_differences(first.grid, other.grid))
    return (
        f"{first.name} and {other.name} are not on one grid: {differences}; add --align to bring AFTER to BEFORE's grid"
    )


def _common_part(first: Source, others: Sequence[Source]) -> Tile:
    """Find the pixels of the first grid that every other date reaches."""
    part = first.grid.area
    for other in others:
        require_overlap(other, first.grid, first.name)
        part = part.intersect(pixels_reached(first.grid, other.grid))
    if part.size == 0:
        names = ", ".join(source.name for source in (first, *others))
        raise GridMismatch(f"no pixel lies in all of {names}; leave out those that lie apart")
    return part


def _brought(source: Source, first: Source, options: SceneOptions) -> Source:
    """Return the source on the first one's grid: a part of it where it only starts elsewhere by whole pixels."""
    row, col = source.grid.offset_of(first.grid)
    whole = Tile(round(row), round(col), *first.grid.shape)
    if _same_grid(source.grid.crop(whole), first.grid) and whole.intersect(source.grid.area) == whole:
        return source.crop(whole)
    return on_grid(source, first.grid, RESAMPLINGS[options.resampling], first.name)


def _restrict(scene: Scene, options: SceneOptions) -> Scene:
    """Crop the scene to the area of interest."""
    if options.aoi is None:
        return scene
    geometry = _aoi_geometry(options.aoi, scene.grid)
    part = pixels_within(scene.grid, geometry.bounds) if not geometry.is_empty else Tile(0, 0, 0, 0)
    if part.size == 0:
        raise GridMismatch(f"the area of interest {options.aoi} does not meet the scene, {extent_of(scene.grid)}")
    grid = scene.grid.crop(part)
    sources = tuple(source.crop(part) for source in scene.sources)
    if not isinstance(options.aoi, str):
        return Scene(sources, grid)
    inverse = ~grid.transform
    pixels = affine_transform(geometry, [inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f])
    return Scene(sources, grid, pixels)


def _aoi_geometry(aoi: str | tuple[float, float, float, float], grid: Grid) -> shapely.Geometry:
    if not isinstance(aoi, str):
        left, bottom, right, top = aoi
        if not (left < right and bottom < top):
            raise BadOption(f"area of interest {aoi} must be left,bottom,right,top with left < right and bottom < top")
        return shapely.box(*aoi)
    frame = open_layer(aoi).frame
    polygons = reproject_polygons(np.asarray(frame.geometry.values, dtype=object), frame.crs, grid.crs, aoi)
    return shapely.union_all(shapely.make_valid(polygons))


def _source_fingerprint(source: Source) -> dict[str, Any]:
    height, width = source.grid.shape
    digest = blake2b(digest_size=16)
    side = 64
    for row in np.linspace(0, max(height - side, 0), 5).astype(int):
        for col in np.linspace(0, max(width - side, 0), 5).astype(int):
            values, valid = source.read(Tile(int(row), int(col), min(side, height), min(side, width)))
            digest.update(np.ascontiguousarray(values).tobytes())
            digest.update(valid.tobytes())
    return {
        "name": source.name,
        "files": files_digest(source.files),
        "dtype": str(source.dtype),
        "transform": list(source.grid.transform)[:6],
        "scaling": None if source.scaling is None else [list(each) for each in source.scaling],
        "sample": digest.hexdigest(),
    }


def _noting(source: Source, folder: Path) -> Source:
    if isinstance(source, DerivedSource):
        return replace(source, source=_noting(source.source, folder))
    if isinstance(source, CompositeSource):
        return source.map_parts(lambda part: _noting(part, folder))
    return replace(source, unread=folder) if isinstance(source, FileSource) else source
