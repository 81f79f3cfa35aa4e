"""What is asked of a synthetic scene, and the random numbers that belong to a place."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

PATCH = 512
"""Pixels per side of the squares that are rendered at a time, anchored at the scene's origin: no block size matters."""

REACH_M = 26.0
"""Metres from which light reaches a pixel: the longest shadow, a crown's radius and the optics' blur."""

LARGEST_SHIFT = 5.0
"""Pixels by which relief and a bent image may displace what lies at a place."""

LOWEST_SUN = 37.0
"""Degrees, from which no shadow is longer than light may reach."""

CHANGES = 75.0
"""True changes a square kilometre, unless asked otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSpec:
    """A pair of images to be made. All of it but the size decides what lies where."""

    width: int = 1024  # pixels
    height: int = 1024  # pixels
    seed: int = 1
    pixel: float = 1.0  # metres per side
    changes: float = CHANGES  # about how many true changes a square kilometre
    dtype: str = "uint8"  # or uint16: reflectance times 10000
    nodata_border: bool = False  # both dates end at a tilted swath edge
    estates: float = 0.0  # share of fields that are built up, a third of them at one date only
    seasons: float = 0.0  # how unlike the dates look without change: 0, the same summer; 1, any season, sun and camera
    sun: tuple[float, float] | None = None  # azimuth, elevation at the second date, in degrees
    local_shift: float = 0.0  # pixels by which the second image is displaced at most, smoothly, otherwise everywhere

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1:
            raise ValueError(f"size {self.width} x {self.height}: both must be at least 1")
        if not 0.25 <= self.pixel <= 10:
            raise ValueError(f"pixel {self.pixel} m must lie in 0.25..10")
        if self.seed < 0 or self.changes < 0:
            raise ValueError(f"seed {self.seed} and changes {self.changes} must not be negative")
        if not (0 <= self.estates <= 1 and 0 <= self.seasons <= 1):
            raise ValueError(f"estates {self.estates} and seasons {self.seasons} must lie in 0..1")
        if self.sun is not None and not (0 <= self.sun[0] < 360 and LOWEST_SUN <= self.sun[1] <= 90):
            raise ValueError(f"sun {self.sun}: azimuth must lie in 0..360, elevation in {LOWEST_SUN:g}..90")
        if not 0 <= self.local_shift <= LARGEST_SHIFT:
            raise ValueError(f"local shift {self.local_shift} must lie in 0..{LARGEST_SHIFT:g} pixels")
        if self.dtype not in ("uint8", "uint16"):
            raise ValueError(f"dtype {self.dtype!r} must be uint8 or uint16")

    @property
    def halo(self) -> int:
        """Pixels beyond a patch that its pixels depend on."""
        return halo_of(self.pixel, self.local_shift)

    @property
    def change_rate(self) -> float:
        """Factor on the probabilities of change."""
        return self.changes / CHANGES


def halo_of(pixel: float, local_shift: float = 0.0) -> int:
    """Pixels of this size within the reach of light, and of the optics, wherever they are displaced to."""
    return ceil(REACH_M / pixel) + 3 + ceil(local_shift)


def local_rng(seed: int, *place: int) -> np.random.Generator:
    """The random numbers of one place: the same in every process and in every order of asking."""
    return np.random.default_rng([seed, *(number & 0xFFFFFFFF for number in place)])
