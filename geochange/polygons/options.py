"""What counts as a change, and how it is outlined."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, ClassVar, Literal

from geochange.declarations import REGIONS, Options
from geochange.errors import BadOption
from geochange.probability.options import ThresholdOptions

if TYPE_CHECKING:
    from geochange.scenes.grid import Grid

LONGEST_DATE = 64  # characters


@dataclass(frozen=True, slots=True)
class MinArea:
    """The smallest change that is kept."""

    pixels: int = 0
    square_metres: float = 0.0


def parse_min_area(text: str | float) -> MinArea:
    """Read `4px` or `4` as pixels, and `100m2` as square metres.

    Raises:
        BadOption: it is neither, or negative.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*(px|m2|m²)?\s*", str(text))
    try:
        amount = float(match[1]) if match else -1.0
    except ValueError:
        amount = -1.0
    if match is None or not 0 <= amount < 1e18:
        raise BadOption(f"min-area {text!r} must be pixels, as in 4px, or square metres, as in 100m2; 0 or more")
    return MinArea(square_metres=amount) if match[2] in {"m2", "m²"} else MinArea(pixels=ceil(amount))


@dataclass(frozen=True, kw_only=True)
class MinAreaOptions(Options):
    """The smallest change that is kept."""

    panel: ClassVar[str] = REGIONS

    min_area: str | float = "4px"
    """Smallest change, in pixels or square metres, as in 4px or 100m2; 0 keeps all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_min_area(self.min_area)

    def smallest_on(self, grid: Grid, name: str) -> MinArea:
        """Return the smallest change on the grid of an image with this name.

        Raises:
            BadOption: it is in square metres, and the grid has no CRS.
        """
        smallest = parse_min_area(self.min_area)
        if smallest.square_metres > 0 and grid.crs is None:
            raise BadOption(f"min-area {self.min_area!r} needs a CRS, which {name} lacks; give pixels, as in 4px")
        return smallest


@dataclass(frozen=True, kw_only=True)
class RegionOptions(ThresholdOptions, MinAreaOptions):
    """What counts as a change, and how it is outlined."""

    panel: ClassVar[str] = REGIONS

    connectivity: Literal[4, 8] = 4
    """8: pixels that touch at a corner are one change; 4: they are not."""

    min_confidence: float | None = None
    """Least confidence of a change, 0 to 1, by its width and by how far it stands out; slivers have little. None: what
    the detector has, 0.2 for those without training, 0 for networks."""

    simplify: float = 0.0
    """Tolerance for simpler outlines, in metres, or in pixels where there is no CRS; 0 keeps pixel edges."""

    date_before: str | None = None
    """Date of BEFORE; None: from the tags."""

    date_after: str | None = None
    """Date of AFTER; None: from the tags."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise BadOption(f"min-confidence {self.min_confidence:g} must lie in 0..1")
        if not 0 <= self.simplify < inf:
            raise BadOption(f"simplify {self.simplify} must be 0 or more metres")
        if long := [date for date in (self.date_before, self.date_after) if date and len(date) > LONGEST_DATE]:
            raise BadOption(f"date {long[0][:20]}... has {len(long[0])} characters; {LONGEST_DATE} are the most")
        if unprintable := [date for date in (self.date_before, self.date_after) if date and not date.isprintable()]:
            raise BadOption(f"date {unprintable[0]!r} must be text that can be printed")

    def tolerance_on(self, grid: Grid) -> float:
        """Return the tolerance in pixels of a grid, of their longer side."""
        return self.simplify / max(grid.pixel_metres or (1.0, 1.0))
