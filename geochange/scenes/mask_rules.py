"""Which numbers of a mask hide a pixel, by the masks that come with images. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geochange.arrays import Array, Bools
from geochange.errors import BadOption


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """Which numbers of a mask hide a pixel."""

    values: tuple[float, ...] | None = None
    """These; None: all but 0."""
    bits: int = 0
    """Numbers that have one of these bits, in place of `values`."""
    clear: float | None = None
    """All but this number, in place of `values`."""

    def hides(self, numbers: Array) -> Bools:
        """Return which of (...) numbers hide a pixel."""
        if self.bits:
            hidden: Bools = (numbers.astype(np.int64) & self.bits) != 0
            return hidden
        if self.clear is not None:
            return np.asarray(numbers != self.clear)
        return np.asarray(numbers != 0 if self.values is None else np.isin(numbers, self.values))


MASKS: Mapping[str, MaskRule] = {
    "scl": MaskRule(values=(0, 1, 3, 8, 9, 10, 11)),
    "qa-pixel": MaskRule(bits=0b111111),
    "fmask": MaskRule(values=(2, 3, 4, 255)),
    "udm2": MaskRule(clear=1),
}
"""Rules of masks that come with images.

scl: Sentinel-2's scene classification, without data, saturated, shadow, clouds of medium and high probability, cirrus,
snow (ESA, Level-2A algorithm). qa-pixel: Landsat Collection 2, fill, dilated cloud, cirrus, cloud, shadow, snow (USGS,
LSDS-1619). fmask: shadow, snow, cloud, no observation (Zhu and Woodcock 2012). udm2: Planet's usable data mask, whose
first band is 1 where the view is clear.
"""


_NAMED = {"scl": "scl", "qa_pixel": "qa-pixel", "fmask": "fmask", "udm2": "udm2"}


def rule_of_band(name: str) -> str | None:
    """Return the name of the rule for an asset or a variable that is a mask by its name; None where it is not."""
    return _NAMED.get(name.lower())


def parse_rule(text: str | None) -> MaskRule:
    """Read --mask-values: the name of a rule, or numbers, as in 3,8,9,10; None: all but 0.

    Raises:
        BadOption: it is neither.
    """
    if text is None:
        return MaskRule()
    if text in MASKS:
        return MASKS[text]
    try:
        return MaskRule(values=tuple(float(part) for part in text.split(",")))
    except ValueError:
        raise BadOption(f"mask values {text!r} must be numbers, as in 3,8,9,10, or one of {', '.join(MASKS)}") from None
