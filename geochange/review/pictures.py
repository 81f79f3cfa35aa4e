"""Where the pixels of the page come from: each date and the probability, thinned as they are read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.errors import GeochangeError
from geochange.polygons.preview import CUT, limits_of_dates
from geochange.probability.raster import ScoreRaster
from geochange.review.run import ReviewRun
from geochange.review.tiles import Lattice, draw_colours, draw_probability
from geochange.scenes.grid import Tile
from geochange.scenes.source import Source
from geochange.scenes.thinning import display_source, read_thinned, reads_thinned

log = logging.getLogger("geochange")

SAMPLES, SAMPLE = 8, 64  # windows a side of the scene, and their pixels, from which the stretch is taken
DATES = ("before", "after")
PROBABILITY = "probability"
MOST_WARPED = 1 << 21  # pixels of a date that is aligned while it is read, for one tile


class NotYet(Exception):
    """A picture that is being prepared."""


def sample_windows(shape: tuple[int, int]) -> list[Tile]:
    """Lay windows over a scene of (rows, cols), evenly."""
    starts = [np.unique(np.linspace(0, max(each - SAMPLE, 0), SAMPLES).astype(int)).tolist() for each in shape]
    return [Tile(row, col, min(SAMPLE, shape[0]), min(SAMPLE, shape[1])) for row in starts[0] for col in starts[1]]


@dataclass(frozen=True, slots=True)
class Look:
    """How dates are drawn."""

    name: str
    """Addresses of tiles have it, so that these may be kept for ever."""
    places: tuple[int, ...]
    """Of the bands that are drawn red, green and blue, or grey, among those of the scene."""
    limits: Floats
    """(date, band, 2) values that are drawn black and white."""


@dataclass
class Pictures:
    """All pictures of a run, as bytes of tiles."""

    run: ReviewRun
    ends: list[Source] = field(init=False)
    """The first and the last date, as they are shown."""
    preparing: bool = field(init=False, default=False)
    looks: dict[str, Look] = field(init=False, default_factory=dict)
    """Those that were asked for, by name."""

    def __post_init__(self) -> None:
        self.ends = [self.run.scene.sources[0], self.run.scene.sources[-1]]

    def prepare(self, folder: Path) -> None:
        """Make what is needed to show all of both dates fast; it may take minutes."""
        self.preparing = True
        try:
            for place, source in enumerate(list(self.ends)):
                self.ends[place] = display_source(source, self.run.scene.grid, folder)
        except GeochangeError as error:
            log.warning("pictures of the whole scene come slowly: %s", error)
        finally:
            self.preparing = False

    @cached_property
    def lattice(self) -> Lattice:
        """Of the scene."""
        return Lattice(self.run.scene.shape)

    @cached_property
    def look(self) -> Look:
        """How dates are drawn at first: in the colours of the file, else its first three bands, or its only one."""
        scene = self.run.scene
        colours = scene.sources[0].colours or (1, 2, 3)
        named = all(colour in scene.bands for colour in colours)
        return self.look_of(colours if named else scene.bands[: 3 if len(scene.bands) >= 3 else 1], CUT)

    def look_of(self, bands: Sequence[int], cut: float) -> Look:
        """Return how dates are drawn in three bands, or in one, from now on.

        Args:
            bands: numbers of bands of the scene.
            cut: per cent of the pixels that are drawn black, and white.
        """
        places = tuple(self.run.scene.bands.index(band) for band in bands)
        before, after = (values[list(places)] for values in self._samples)
        limits = limits_of_dates(before, after, cut)
        told = f"{self.run.scene.fingerprint()} {places} {limits.tolist()}"
        name = blake2b(told.encode(), digest_size=8).hexdigest()
        return self.looks.setdefault(name, Look(name, places, limits))

    @cached_property
    def _samples(self) -> list[Floats]:
        """(band, 1, pixel) values of both dates in windows all over the scene, NaN where not valid."""
        dates: list[Floats] = []
        for source in (self.run.scene.sources[0], self.run.scene.sources[-1]):
            parts = [source.read(window) for window in sample_windows(self.run.scene.shape)]
            seen = [np.where(valid, values, np.nan).reshape(len(values), -1) for values, valid in parts]
            dates.append(np.concatenate(seen, axis=1).astype(np.float64)[:, None])
        return dates

    def tile(self, layer: str, look: Look, zoom: int, col: int, row: int) -> bytes | None:
        """Return a JPEG or PNG; None where there is no such tile.

        Raises:
            NotYet: the date is aligned while it is read, and the tile is large.
        """
        found = self.lattice.tile(zoom, col, row)
        if found is None:
            return None
        part, shape = found
        if layer == PROBABILITY:
            assert self.run.scores is not None
            return draw_probability(*self._probability(self.run.scores, part, shape))
        place = DATES.index(layer)
        source = self.ends[place]
        if part.size > MOST_WARPED and not reads_thinned(source):
            raise NotYet
        values, valid = read_thinned(source, part, shape)
        return draw_colours(values[list(look.places)], valid, look.limits[place])

    def values_at(self, row: int, col: int) -> dict[str, Any]:
        """Values of all bands of both dates, and of all classes, at a pixel of the scene; None where not valid."""
        pixel = Tile(row, col, 1, 1)
        found: dict[str, Any] = {}
        for name, source in zip(DATES, (self.run.scene.sources[0], self.run.scene.sources[-1]), strict=True):
            values, valid = source.read(pixel)
            found[name] = values[:, 0, 0].tolist() if valid[0, 0] else None
        if (scores := self.run.scores) is not None:
            codes, valid = scores.read(pixel)
            found[PROBABILITY] = (codes[:, 0, 0] * scores.step).round(4).tolist() if valid[0, 0] else None
        return found

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of what can be drawn."""
        return DATES if self.run.scores is None else (*DATES, PROBABILITY)

    def _probability(self, scores: ScoreRaster, part: Tile, shape: tuple[int, int]) -> tuple[Floats, Bools]:
        values, valid = read_thinned(scores.source, part, shape)
        return scores.probabilities(values, valid).max(axis=0), valid
