"""What is asked of a synthetic scene, and the random numbers that belong to a place."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

PATCH = 512
"""Pixels per side of the squares that are rendered at a time, anchored at the scene's origin: no block size matters."""

REACH_M = 26.0
"""Metres from which light reaches a pixel: the longest shadow, a crown's radius and the optics' blur."""

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

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1:
            raise ValueError(f"size {self.width} x {self.height}: both must be at least 1")
        if not 0.25 <= self.pixel <= 10:
            raise ValueError(f"pixel {self.pixel} m must lie in 0.25..10")
        if self.seed < 0 or self.changes < 0:
            raise ValueError(f"seed {self.seed} and changes {self.changes} must not be negative")
        if not (0 <= self.estates <= 1 and 0 <= self.seasons <= 1):
            raise ValueError(f"estates {self.estates} and seasons {self.seasons} must lie in 0..1")
        if self.dtype not in ("uint8", "uint16"):
            raise ValueError(f"dtype {self.dtype!r} must be uint8 or uint16")

    @property
    def halo(self) -> int:
        """Pixels beyond a patch that its pixels depend on."""
        return halo_of(self.pixel)

    @property
    def change_rate(self) -> float:
        """Factor on the probabilities of change."""
        return self.changes / CHANGES


def halo_of(pixel: float) -> int:
    """Pixels of this size within the reach of light, and of the optics."""
    return ceil(REACH_M / pixel) + 3


def local_rng(seed: int, *place: int) -> np.random.Generator:
    """The random numbers of one place: the same in every process and in every order of asking."""
    return np.random.default_rng([seed, *(number & 0xFFFFFFFF for number in place)])
