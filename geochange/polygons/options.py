"""What counts as a change, and how it is outlined."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil

from geochange.errors import BadOption
from geochange.polygons.regions import CONNECTIVITIES
from geochange.probability.threshold_search import ThresholdOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOptions:
    """What counts as a change, and how it is outlined."""

    threshold: str | float | None = None
    """A number in 0..1, `low:high` for hysteresis, `otsu`, `em`, `kittler`, `local:512px`; `precision=0.9` or
    `recall=0.9` of a network's own or by labels, `f1` by labels; None for the detector's, else 0.5."""

    labels: str | None = None
    """A raster (0 unchanged, 255 not labelled) or a layer that says what has changed, to choose the threshold by."""

    label_column: str | None = None
    """The column of a layer that says so; None: what is in a polygon has changed, and what is not has not."""

    min_area: str | float = "4"
    """Smallest change: pixels, or square metres as in "100m2"."""

    connectivity: int = 4
    """8: pixels that touch at a corner are one change; 4: they are not."""

    simplify: float = 0.0
    """Tolerance in map units; 0 keeps pixel edges."""

    date_before: str | None = None
    date_after: str | None = None

    def __post_init__(self) -> None:
        if self.connectivity not in CONNECTIVITIES:
            raise BadOption(f"connectivity {self.connectivity} must be 4 or 8")
        if not self.simplify >= 0:
            raise BadOption(f"simplify {self.simplify} must be 0 or more map units")
        parse_min_area(self.min_area)
        self.thresholds()

    def thresholds(self) -> ThresholdOptions:
        return ThresholdOptions(wanted=self.threshold, labels=self.labels, label_column=self.label_column)


def parse_min_area(text: str | float) -> MinArea:
    """`4` → pixels, `100m2` → square metres."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*(px|m2|m²)?\s*", str(text))
    try:
        amount = float(match[1]) if match else -1.0
    except ValueError:
        amount = -1.0
    if match is None or not 0 <= amount < 1e18:
        raise BadOption(f"min-area {text!r} must be pixels, as in 4, or square metres, as in 100m2; 0 or more")
    return MinArea(square_metres=amount) if match[2] in {"m2", "m²"} else MinArea(pixels=ceil(amount))


@dataclass(frozen=True, slots=True)
class MinArea:
    """The smallest change that is kept."""

    pixels: int = 0
    square_metres: float = 0.0
