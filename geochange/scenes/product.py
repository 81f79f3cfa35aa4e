"""Products of several files, as they are downloaded: which file is which band, and what is to be known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from geochange.scenes.band_names import Names, Wanted, find_bands
from geochange.scenes.grid import Grid
from geochange.scenes.mask_rules import MASKS
from geochange.scenes.masks import note_of, with_mask
from geochange.scenes.options import SceneOptions
from geochange.scenes.scene import FileSource, open_file, with_fill
from geochange.scenes.source import Source
from geochange.scenes.stacked import stack


@dataclass(frozen=True, slots=True, kw_only=True)
class BandFile:
    """A band of a product, and where its pixels are."""

    names: Names
    """What it is called: by the product, then by common names."""
    path: str
    """As GDAL takes it."""
    number: int = 1
    """Of the band in its file."""
    scaling: tuple[float, float] | None = None
    """(scale, offset) by which the product turns numbers into quantities, where the file itself says nothing."""
    nodata: float | None = None
    """The number that stands for no data, where the file itself says nothing."""
    place: Grid | None = None
    """Where the pixels lie, where the file itself says nothing."""
    usual: bool = True
    """Whether the band shows the ground, and is taken where no bands are asked for."""

    def open(self) -> FileSource:
        """Open it, with what the product says where the file says nothing."""
        source = with_fill(open_file(self.path, bands=(self.number,)), self.nodata)
        source = replace(source, choices=(self.number,), scaling=self._scaling(source))
        if self.place is not None and source.grid.crs is None and source.grid.shape == self.place.shape:
            source = replace(source, grid=self.place)
        return source

    def _scaling(self, source: FileSource) -> tuple[tuple[float, float], ...] | None:
        if source.scaling is not None:
            return (source.scaling[source.choices.index(self.number)],)
        return None if self.scaling in (None, (1.0, 0.0)) else (self.scaling,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductMask:
    """The mask that comes with a product."""

    path: str
    rule: str
    """Its name in `mask_rules.MASKS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A date as it is downloaded: bands in files of their own, and mostly a mask."""

    name: str
    """What messages call it."""
    bands: tuple[BandFile, ...]
    date: str | None = None
    mask: ProductMask | None = None
    notes: tuple[str, ...] = ()
    """What a user should know of it."""

    def open(self, options: SceneOptions, *, with_own_mask: bool) -> Source:
        """Open the bands that are wanted as one date, without what the product's own mask hides.

        Raises:
            BandMismatch: a band is not known.
            UnreadableInput: a file is missing, or is not a raster.
        """
        chosen = self.choose(options.bands)
        sources = [each.open() for each in chosen]
        names = [each.names for each in chosen]
        found = stack(self.name, sources, names, self.date, options.nodata)
        found = replace(found, notes=(*self._notes(chosen, options.bands), *found.notes))
        if self.mask is None or not with_own_mask:
            return found
        found = replace(found, notes=(*found.notes, note_of(self.mask.path, self.mask.rule)))
        return with_mask(found, self.mask.path, MASKS[self.mask.rule], options.mask_buffer)

    def choose(self, wanted: Wanted | None) -> list[BandFile]:
        """Return the bands that are wanted, else those that show the ground; all, where none does.

        Raises:
            BandMismatch: one is not known.
        """
        if wanted is None:
            return [each for each in self.bands if each.usual] or [*self.bands]
        numbers = range(1, len(self.bands) + 1)
        found = find_bands(self.name, wanted, numbers, [each.names for each in self.bands])
        return [self.bands[number - 1] for number in found]

    def _notes(self, chosen: Sequence[BandFile], wanted: Wanted | None) -> tuple[str, ...]:
        if wanted is not None or len(chosen) == len(self.bands):
            return self.notes
        listed = ",".join(each.names[0] for each in chosen)
        return (f"bands {listed} are taken, of {len(self.bands)}; --bands chooses others", *self.notes)

    @property
    def files(self) -> tuple[str, ...]:
        """All files that may be read."""
        masks = () if self.mask is None else (self.mask.path,)
        return tuple(dict.fromkeys([*(each.path for each in self.bands), *masks]))
