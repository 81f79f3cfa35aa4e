"""The contract for every way of detecting change. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.errors import BadOption
from geochange.scenes.grid import Tile
from geochange.scenes.options import PHYSICAL, Values

if TYPE_CHECKING:
    from geochange.detectors.boxes import Boxes

DEFAULT_TILE = 512  # pixels per side

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Series(Protocol):
    """What a detector may know of a scene before it reads a pixel."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""

    @property
    def dates(self) -> int:
        """How many dates there are; 2 for a pair."""

    @property
    def times(self) -> tuple[float, ...] | None:
        """When each date was acquired, in years with fractions; None unless all are known."""

    @property
    def bands(self) -> tuple[int, ...]:
        """Band numbers in the files, from 1, in the order in which arrays hold them."""

    @property
    def gsd(self) -> float | None:
        """Ground sampling distance: metres a pixel, the mean of both directions; None where there is no CRS."""

    @property
    def largest(self) -> float:
        """The largest value that the files' data types can hold; infinite for floats."""


Kernel = Callable[[Floats, Bools, Tile], R]
"""An array function over one block: dates (time, band, y, x) float32, valid (time, y, x), and the block's place.

The arrays reach `halo` pixels beyond the block on each side (the scene is reflected beyond its border); values of
invalid pixels are 0. Kernels are module-level functions or partials of them, so that workers can receive them.
"""


class MapBlocks(Protocol):
    """Runs a kernel over the statistics lattice, in parallel; yields the results in lattice order.

    Blocks partition the scene. No option that a user may choose changes the lattice, so sums taken in the
    order of the results are the same for any number of workers. Each call is one pass over the scene's pixels.
    """

    def __call__(self, kernel: Kernel[R], halo: int = 0, every: int = 1) -> Iterator[R]:
        """Run a kernel over all blocks, each with `halo` pixels more on each side.

        With `every` above 1 blocks are a sample: one square in so many, along rows and along columns; others are not
        read.
        """


@dataclass(frozen=True, slots=True)
class Scores:
    """What a detector gives for a batch of tiles."""

    probability: Floats
    """(n, class, y, x) float32 in 0..1; any finite number where a pixel is not valid."""

    layers: Mapping[str, Floats] = field(default_factory=dict)
    """Name -> (n, band, y, x) float32, for each layer asked for; NaN where the layer has no value."""

    boxes: tuple[Boxes, ...] = ()
    """Of each tile, in its pixels, where a detector finds objects: all that are likely at all, many for one object."""


class Fitted(Protocol):
    """A detector with its scene-wide statistics: scores tiles on any worker."""

    name: ClassVar[str]
    """The name in the catalogue."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Output classes, "change" where there is one."""

    @property
    def layers(self) -> Mapping[str, int]:
        """Further rasters on offer: name -> number of bands."""

    @property
    def bands(self) -> int | None:
        """Bands that it needs; None for any."""

    @property
    def receptive_radius(self) -> int:
        """Pixels of context that an exact score needs on each side."""

    @property
    def stride(self) -> int:
        """Tile origins are multiples of this."""

    @property
    def default_overlap(self) -> int:
        """Pixels that neighbouring tiles share by default."""

    @property
    def default_tile(self) -> int:
        """Pixels per side of a tile by default."""

    @property
    def largest_tile(self) -> int | None:
        """Pixels per side that a tile may have at most; None for any."""

    @property
    def objects(self) -> bool:
        """Whether `score` gives boxes too, which then are the changes; else they are regions of the probability.

        A box is found at a cell, whose place in the scene must not depend on the tile, and lies within the receptive
        radius of it. The tile that answers for the cell answers for the box.
        """

    @property
    def tiles_at_once(self) -> int:
        """How many tiles `score` is best given at once."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Thresholds on the probability, fitted on the statistic: "default", and by method ("otsu", "em")."""

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score (n, time, band, y, x) float32 dates with (n, time, y, x) validity.

        A tile's scores depend on that tile alone: not on n, nor on the other tiles of the batch.
        """

    def summary(self) -> Mapping[str, Any]:
        """Scene statistics worth keeping in run.json: plain numbers and lists."""

    def save(self, folder: Path) -> None:
        """Write plain arrays and JSON, never pickles, into an existing folder."""

    @classmethod
    def load(cls, folder: Path) -> Fitted:
        """Read what `save` wrote."""


def values_for(detector: Detector | Fitted) -> Values:
    """Return which values a detector takes: what its `values` says, where it has that, else quantities."""
    wanted: Values = getattr(detector, "values", PHYSICAL)
    return wanted


def confidence_for(wanted: float | None, fitted: Fitted) -> float:
    """Return the least confidence of a change: as given, else what the detector's `min_confidence` says, else 0."""
    own: float = getattr(fitted, "min_confidence", 0.0)
    return own if wanted is None else wanted


def comparable_in(fitted: Fitted, valid: Bools) -> Bools:
    """(y, x) where a detector can score, of (time, y, x) validity.

    That is what the detector's function `comparable` says, where it has one; else where every date holds data.
    """
    own: Callable[[Bools], Bools] | None = getattr(fitted, "comparable", None)
    return np.asarray(valid.all(axis=0)) if own is None else own(valid)


class Detector(Protocol):
    """A way of detecting change: a frozen dataclass of its options."""

    name: ClassVar[str]
    dates: ClassVar[int | None]
    """How many dates it compares; None where `fit` checks that itself."""
    fitted: ClassVar[type[Fitted]]
    """What `fit` returns; its `load` reads what was saved."""

    def fit(self, series: Series, map_blocks: MapBlocks) -> Fitted:
        """Take scene-wide statistics.

        Raises:
            NothingValid: no pixel holds data at every date, or the dates hold nothing to compare.
            BandMismatch: the bands do not fit the detector.
        """


def require_dates(name: str, compared: int | None, given: int) -> None:
    """Refuse another number of dates than a detector compares, and say what to do.

    Args:
        name: of the detector.
        compared: dates that it compares; None: any number.
        given: dates of the scene.

    Raises:
        BadOption: they differ.
    """
    if compared is None or compared == given:
        return
    advice = ""
    if compared == 2 and given > 2:
        advice = (
            "; name the two to compare, compare each with the one before (`geochange watch FOLDER`), take -d breaks or "
            "-d baseline, or train conv-gru for series"
        )
    elif compared > 2:
        advice = f"; name as many dates as it was trained on, {compared}"
    raise BadOption(f"{name} compares {compared} dates, but {given} were given{advice}")
