"""Thresholds as a user writes them, the options of choosing one, and those of fitting a stacking model. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from geochange.declarations import REGIONS, Options
from geochange.errors import BadOption

if TYPE_CHECKING:
    from geochange.scenes.grid import Tile

HISTOGRAM_NAMES = ("otsu", "em", "kittler")
DEFAULT_SIDE = 512  # pixels per side of a cell of a local threshold
SMALLEST = 32  # pixels per side: fewer say little of their unchanged

F1 = "f1"
BY_LABELS = ("precision=", "recall=", F1)
"""How thresholds begin that labels can be asked for; a network keeps some of the first two."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Change is every region of pixels >= low that holds one >= high; equal for a plain threshold.

    One above 1 was found where nothing has changed.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise BadOption(f"threshold {self.text} must lie in 0..1, the low one first; try 0.5 or 0.4:0.7")

    @property
    def text(self) -> str:
        """As the user writes it."""
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}:{self.high:g}"

    @property
    def peak(self) -> float:
        """What one pixel of a region must reach; 0 without hysteresis."""
        return self.high if self.high > self.low else 0.0

    def at(self, tile: Tile) -> float:
        """Return the threshold of the pixels of a tile: here the same everywhere."""
        return self.low

    @property
    def record(self) -> Any:
        """A number, or [low, high] with hysteresis, for run.json."""
        return self.low if self.low == self.high else [self.low, self.high]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRule:
    """How a threshold follows the neighbourhood."""

    size: float = DEFAULT_SIDE
    """Of a cell, per side."""

    metres: bool = False
    """Whether the size is in metres, else in pixels."""

    high: float | None = None
    """What one pixel of a change must reach besides (hysteresis)."""

    def __post_init__(self) -> None:
        if not self.metres and self.size < SMALLEST:
            raise BadOption(f"threshold local: cells of {self.size:g} pixels are too small; {SMALLEST} are the least")
        if self.high is not None and not 0 <= self.high <= 1:
            raise BadOption(f"threshold local with hysteresis: {self.high:g} must lie in 0..1, as in local:512px:0.8")

    def side(self, gsd: float | None) -> int:
        """Return pixels per side of a cell, in a raster of this pixel size in metres.

        Raises:
            BadOption: metres are asked for without a CRS, or the cells are too small.
        """
        if self.metres and gsd is None:
            raise BadOption(f"threshold local:{self.size:g}m needs a CRS, which the raster lacks; give pixels")
        side = round(self.size / gsd) if self.metres and gsd else round(self.size)
        if side < SMALLEST:
            raise BadOption(f"threshold local: cells of {side} pixels are too small; {SMALLEST} are the least")
        return side


def parse_local(text: str) -> LocalRule:
    """Parse `local`, `local:512px`, `local:300m`, and with hysteresis `local:512px:0.8`.

    Raises:
        BadOption: the text is none of these.
    """
    match = re.fullmatch(r"local(?::([0-9]+(?:\.[0-9]+)?)(px|m)?(?::([0-9]*\.?[0-9]+))?)?", text)
    if match is None:
        raise BadOption(f"threshold {text!r} must be as in local, local:512px, local:300m or local:512px:0.8")
    size, unit, high = match.groups()
    return LocalRule(size=float(size or DEFAULT_SIDE), metres=unit == "m", high=None if high is None else float(high))


def _require_share(text: str) -> None:
    """Refuse a precision or recall that is not a number within 0..1."""
    _, equals, share = text.partition("=")
    try:
        possible = not equals or 0 < float(share) <= 1
    except ValueError:
        possible = False
    if not possible:
        raise BadOption(f"threshold {text!r} must name a share above 0 and at most 1, as in precision=0.9")


def parse_threshold(text: str) -> Threshold | LocalRule | str:
    """Parse a threshold as the user writes it: "0.5", "low:high", "local", or the name of another, which stays a name.

    Names are those of the automatic ones, "precision=0.9" or "recall=0.9" of those that a network keeps or labels
    give, and "f1".

    Raises:
        BadOption: the text is none of these, or a number lies outside 0..1.
    """
    if text in {*HISTOGRAM_NAMES, "default", F1} or text.startswith(("precision=", "recall=")):
        _require_share(text)
        return text
    if text.partition(":")[0] == "local":
        return parse_local(text)
    low, colon, high = text.partition(":")
    try:
        found = Threshold(float(low), float(high if colon else low))
    except ValueError as error:
        if isinstance(error, BadOption):
            raise
        known = ", ".join(("low:high", "local:512px", "precision=0.9", "recall=0.9", F1, *HISTOGRAM_NAMES))
        raise BadOption(f"threshold {text!r} is not a number, or one of {known}") from error
    if found.high > 1:
        raise BadOption(f"threshold {text} must lie in 0..1, the low one first; try 0.5 or 0.4:0.7")
    return found


@dataclass(frozen=True, kw_only=True)
class ThresholdOptions(Options):
    """How probable a change must be."""

    panel: ClassVar[str] = REGIONS

    threshold: str | float | None = None
    """Smallest probability of a change: a number, low:high (hysteresis), otsu, em, kittler, local:512px;
    precision=0.9, recall=0.9, f1; None: that of the raster or the detector, else 0.5."""

    labels: str | None = field(default=None, metadata={"names": "map"})
    """What is known to have changed, for precision=0.9, recall=0.9 or f1: a raster (0 unchanged, 255 not labelled), a
    layer, or a run that was reviewed."""

    label_column: str | None = None
    """Column of the layer that says whether a polygon has changed; None: all have, and what lies outside has not."""

    least: float = field(default=0.0, metadata={"flags": ()})
    """The lowest threshold that labels may choose."""

    held_out: str | None = field(default=None, metadata={"flags": ()})
    """A raster of labels by which the threshold that others have chosen is scored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = self.parsed_threshold
        by_labels = isinstance(wanted, str) and wanted.startswith(BY_LABELS)
        if self.labels is None and (wanted == F1 or self.label_column is not None):
            raise BadOption("threshold f1 and a label column need --labels: a raster or layer that says what changed")
        if self.labels is not None and not by_labels:
            raise BadOption(
                f"labels need a threshold of precision=0.9, recall=0.9 or f1; it is {self.threshold or 'the default'}"
            )

    @property
    def parsed_threshold(self) -> Threshold | LocalRule | str:
        """The threshold, or the rule or name by which it is found."""
        return parse_threshold("default" if self.threshold is None else str(self.threshold))


@dataclass(frozen=True, kw_only=True)
class FitOptions(Options):
    """How a stacking model is fitted."""

    penalty: float = 1.0
    """Of squared coefficients; scikit-learn's C is its inverse."""

    seed: int = 0
    """Of the sample."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.penalty < float("inf"):
            raise BadOption(f"penalty {self.penalty} must be above 0")
        if self.seed < 0:
            raise BadOption(f"seed {self.seed} must be 0 or more")
