"""Parts of a probability raster, and the steps that correct them. Pure.

All steps keep the same rules. A step takes probabilities as whole numbers and gives new ones, so that thresholds
still act later. It looks no further than `reach` pixels, and what it gives for a pixel is the same bits wherever the
part begins: sums over windows are sums of whole numbers, and other sums run in one order. What is not valid, and all
beyond the part, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from geochange.arrays import Bools, Ints


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ScorePart:
    """A part of a probability raster, and of the image that leads its correction."""

    codes: Ints
    """(class, y, x) probabilities in whole numbers, 0..steps."""

    valid: Bools
    """(y, x), False beyond the scene."""

    guide: Ints
    """(band, y, x) int32 from `guide_codes`; no bands where no step needs an image."""

    steps: int
    """The code of probability 1."""

    cutoff: int
    """The smallest code that reaches the threshold."""


class Step(Protocol):
    """One correction."""

    @property
    def reach(self) -> int:
        """Pixels on each side that a pixel's new value depends on."""

    @property
    def needs_guide(self) -> bool:
        """Whether it looks at the image."""

    def apply(self, part: ScorePart) -> Ints:
        """Return (class, y, x) new codes, of the type of the part's."""


def apply_steps(part: ScorePart, steps: Sequence[Step]) -> Ints:
    """Return the codes of a part after all steps, one after the other; only those `reach` inside the part are final."""
    for step in steps:
        part = replace(part, codes=step.apply(part))
    return part.codes
