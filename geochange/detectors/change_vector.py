"""Change vector analysis: how far, and in which direction, each pixel moved among the bands (Malila 1980)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from geochange.arrays import Floats
from geochange.detectors.contrast import (
    ContrastFitted,
    PairOptions,
    change_statistic,
    fitted_contrast,
    require_pair,
    standardised_pair,
)
from geochange.detectors.detector import MapBlocks, Series
from geochange.detectors.statistics import find_inliers


@dataclass(frozen=True)
class ChangeVectorFitted(ContrastFitted):
    """Change vectors with a scene's means and deviations of each band."""

    name: ClassVar[str] = "change-vector"

    @property
    def layers(self) -> Mapping[str, int]:
        """Magnitude and direction of the change vector."""
        return {"magnitude": 1, "direction": len(self.contrast.weights)}

    def layer(self, name: str, dates: Floats) -> Floats:
        """`magnitude` in standard deviations; `direction` is the vector over its length (0 where that is 0)."""
        vector = np.stack(list(self.contrast.variates(dates.reshape(-1, *dates.shape[2:]))))
        length = np.sqrt(change_statistic(iter(vector.copy())))[None]
        if name == "magnitude":
            return length
        return np.divide(vector, length, out=np.zeros_like(vector), where=length > 0)


@dataclass(frozen=True, kw_only=True)
class ChangeVector(PairOptions):
    """Length of the difference of all bands, each date's band brought to mean 0 and deviation 1."""

    name: ClassVar[str] = "change-vector"
    dates: ClassVar[int | None] = 2
    fitted: ClassVar[type[ChangeVectorFitted]] = ChangeVectorFitted

    def fit(self, series: Series, map_blocks: MapBlocks) -> ChangeVectorFitted:
        """Take the scene's moments and the histogram of the vectors' lengths."""
        require_pair(series, self.name)
        found = find_inliers(series, map_blocks)
        contrast = standardised_pair(found, series)
        return ChangeVectorFitted(*fitted_contrast(found.seen, contrast, self, series))
