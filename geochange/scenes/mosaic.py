"""Tiles of one date, put together while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine

from geochange.arrays import Array, Bools
from geochange.errors import BadOption, BandMismatch, GridMismatch
from geochange.scenes.band_names import Names
from geochange.scenes.composite import CompositeSource, one_date
from geochange.scenes.dates import date_in_name
from geochange.scenes.differences import grid_differences
from geochange.scenes.grid import Tile, crs_name
from geochange.scenes.options import MosaicOrder
from geochange.scenes.source import Source

PLAIN = Affine(1, 0, 0, 0, -1, 0)
"""Where an image lies that has no place."""


@dataclass(frozen=True, kw_only=True)
class MosaicSource(CompositeSource):
    """Sources on one lattice of pixels, each at its place: of those that hold data at a pixel, the first one counts."""

    places: tuple[Tile, ...]
    """Where each part lies in the image."""
    covered: bool
    """Whether they leave no gap."""

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers, from 1, of the bands that `read` returns."""
        return self.parts[0].bands

    @property
    def choices(self) -> tuple[int, ...]:
        """Numbers of all bands that hold values: those there are to choose from."""
        return self.parts[0].choices

    @property
    def band_names(self) -> tuple[Names, ...]:
        """Of each of `choices`."""
        return self.parts[0].band_names

    @property
    def colours(self) -> tuple[int, int, int] | None:
        """Numbers of the red, green and blue bands, where they are known."""
        return self.parts[0].colours

    @property
    def scaling(self) -> tuple[tuple[float, float], ...] | None:
        """(scale, offset) of each of `choices` of the first part, which `read` applies to what it stores."""
        return self.parts[0].scaling

    @property
    def masked(self) -> bool:
        """Whether there can be pixels that are not valid, NaN apart."""
        return not self.covered or any(part.masked for part in self.parts)

    def with_bands(self, bands: tuple[int, ...]) -> MosaicSource:
        """Return other bands of the same image; the same places among the bands of each tile."""
        wanted = [self.choices.index(band) for band in bands]
        return self.map_parts(lambda part: part.with_bands(tuple(part.choices[place] for place in wanted)))

    def stored(self) -> MosaicSource:
        """Return the same image whose values are read as they are stored, without scale and offset.

        Raises:
            BandMismatch: tiles store them with different scales or offsets.
        """
        if other := next((part for part in self.parts if part.scaling != self.scaling), None):
            raise BandMismatch(
                f"{self.parts[0].name} and {other.name} have different scales and offsets; "
                "their numbers cannot be put together as they are stored"
            )
        return super().stored()

    def read_image(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the image, as `Source.read`; no part is read that is covered by those before it."""
        values, valid = np.zeros((len(self.bands), *tile.shape), self.dtype), np.zeros(tile.shape, bool)
        for part, place in zip(self.parts, self.places, strict=True):
            inside = tile.intersect(place)
            at = inside.slices((tile.row, tile.col))
            if inside.size == 0 or valid[at].all():
                continue
            own, known = part.read(Tile(inside.row - place.row, inside.col - place.col, *inside.shape))
            taken = known & ~valid[at]
            values[:, *at] = np.where(taken, own, values[:, *at])
            valid[at] |= taken
        return values, valid


def mosaic(name: str, tiles: Sequence[Source], order: MosaicOrder = "name") -> Source:
    """Put tiles of one date together; one alone is as it is.

    Args:
        name: what messages call the date.
        tiles: whole images with the same bands in one CRS, whose pixels lie on one lattice.
        order: which one counts where several hold data: the first, or the newest.

    Raises:
        GridMismatch: pixels do not lie on one lattice, or a tile has no place.
        BandMismatch: tiles differ in bands.
        BadOption: the newest is wanted, and a tile has no date.
    """
    first = tiles[0]
    if len(tiles) == 1:
        return first
    _require_alike(tiles)
    tops = [tuple(round(each) for each in first.grid.offset_of(tile.grid)) for tile in tiles]
    row, col = min(top for top, _ in tops), min(left for _, left in tops)
    places = [Tile(top - row, left - col, *tile.grid.shape) for (top, left), tile in zip(tops, tiles, strict=True)]
    shape = max(place.stop_row for place in places), max(place.stop_col for place in places)
    image = first.grid.crop(Tile(row, col, *shape))
    ordered = _ordered(tiles, order)
    return MosaicSource(
        name=name,
        image=image,
        area=image.area,
        parts=tuple(tiles[k] for k in ordered),
        nodata=first.nodata,
        date=one_date([_date_of(tile) for tile in tiles]),
        notes=tuple(dict.fromkeys(note for tile in tiles for note in tile.notes)),
        places=tuple(places[k] for k in ordered),
        covered=_covers(places, image.area),
    )


def _require_alike(tiles: Sequence[Source]) -> None:
    first = tiles[0]
    for tile in tiles:
        if tile.grid.crs is None and tile.grid.transform == PLAIN:
            raise GridMismatch(f"{tile.name} has no place, and cannot be a tile; give it one, as with a world file")
        if len(tile.bands) != len(first.bands):
            raise BandMismatch(
                f"{first.name} has {len(first.bands)} bands, {tile.name} has {len(tile.bands)}; pick the ones that all "
                "tiles have with --bands"
            )
        _require_lattice(first, tile)


def _require_lattice(first: Source, tile: Source) -> None:
    """Refuse a tile that cannot be put beside another one without its pixels being interpolated."""
    row, col = first.grid.offset_of(tile.grid)
    moved = first.grid.crop(Tile(round(row), round(col), *tile.grid.shape))
    apart = [each for each in grid_differences(moved, tile.grid) if each.subject != "overlap"]
    if apart:
        raise GridMismatch(
            f"{first.name} and {tile.name} are not tiles of one image: {apart[0]}; bring them to one lattice, with "
            f"gdalwarp -t_srs {crs_name(first.grid.crs)} -tr {' '.join(f'{x:.9g}' for x in first.grid.resolution)} -tap"
        )


def _ordered(tiles: Sequence[Source], order: MosaicOrder) -> list[int]:
    """Return the numbers of tiles from the top one down; tiles of one date in the order given."""
    places = range(len(tiles))
    if order == "name":
        return list(places)
    dates = [_date_of(tile) for tile in tiles]
    if None in dates:
        undated = tiles[dates.index(None)].name
        raise BadOption(f"--mosaic newest needs the date of each tile, and {undated} has none in its tags or name")
    return sorted(places, key=lambda k: str(dates[k]), reverse=True)


def _date_of(tile: Source) -> str | None:
    return tile.date or date_in_name(tile.name)


def _covers(places: Sequence[Tile], area: Tile) -> bool:
    boxes = [shapely.box(each.col, each.row, each.stop_col, each.stop_row) for each in places]
    return bool(shapely.union_all(boxes).area == area.size)
