"""Rasters, scenes and a detector with context, small enough for laws to be tested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import rasterio
from affine import Affine
from scipy import ndimage

from geochange.arrays import Array, Bools, Floats
from geochange.detectors.detector import Fitted, Scores

UTM = "EPSG:32633"
PLACE = Affine(2.0, 0, 500_000.0, 0, -2.0, 5_400_000.0)
SHARED = Path(__file__).parents[2] / "shared" / "data"


def write_raster(path: Path, values: Array, *, crs: str | None = UTM, transform: Affine = PLACE, **profile: Any) -> str:
    """A GeoTIFF of (band, y, x) values; returns its path as text."""
    count, height, width = values.shape
    settings = {"driver": "GTiff", "crs": crs, "transform": transform, "dtype": values.dtype, **profile}
    with rasterio.open(path, "w", count=count, height=height, width=width, **settings) as dataset:
        dataset.write(values)
    return str(path)


def textured(shape: tuple[int, int], bands: int = 3, seed: int = 0, dtype: str = "uint8") -> Array:
    """(band, y, x) smooth noise with structure at several scales, bands related."""
    rng = np.random.default_rng(seed)
    common = sum(ndimage.gaussian_filter(rng.normal(size=shape), sigma) * sigma for sigma in (1, 3, 9))
    cube = np.stack([common + 0.7 * ndimage.gaussian_filter(rng.normal(size=shape), 1) for _ in range(bands)])
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1.0
    scaled = (cube - cube.min()) / max(float(np.ptp(cube)), 1e-9) * (0.8 * top) + 0.1 * top
    return scaled.astype(dtype)


def changed_pair(shape: tuple[int, int], bands: int = 3, seed: int = 0, dtype: str = "uint8") -> tuple[Array, Array]:
    """Two dates: another season's gain, offset and noise, and rectangles of true change."""
    rng = np.random.default_rng(seed + 1)
    before = textured(shape, bands, seed, dtype)
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1.0
    after = before * np.linspace(0.85, 1.05, bands)[:, None, None] + rng.normal(0, 0.01 * top, before.shape)
    for _ in range(max(2, shape[0] * shape[1] // 4000)):
        height, width = rng.integers(3, 15, 2)
        row, col = rng.integers(0, max(shape[0] - height, 1)), rng.integers(0, max(shape[1] - width, 1))
        after[:, row : row + height, col : col + width] = rng.uniform(0.1, 0.9, (bands, 1, 1)) * top
    return before, np.clip(after, 0, top).astype(dtype)


def write_pair(folder: Path, shape: tuple[int, int] = (96, 128), **options: Any) -> tuple[str, str]:
    """`changed_pair` as GeoTIFFs; returns their paths."""
    before, after = changed_pair(shape, **options)
    return write_raster(folder / "before.tif", before), write_raster(folder / "after.tif", after)


@dataclass(frozen=True)
class BoxMean(Fitted):
    """Mean absolute difference over a box, as a detector with context: it scores each tile with zeros around it."""

    radius: int = 3
    stride: int = 1
    tiles_at_once: int = 1
    name: ClassVar[str] = "box-mean"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("change",)

    @property
    def layers(self) -> Mapping[str, int]:
        return {"difference": 1}

    @property
    def bands(self) -> int | None:
        return None

    @property
    def receptive_radius(self) -> int:
        return self.radius

    @property
    def default_overlap(self) -> int:
        return 4 * self.radius

    @property
    def default_tile(self) -> int:
        return 512

    @property
    def objects(self) -> bool:
        return False

    @property
    def thresholds(self) -> Mapping[str, float]:
        return {"default": 0.5}

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        difference = np.abs(dates[:, 1] - dates[:, 0]).mean(axis=1) / 255
        side = 2 * self.radius + 1
        mean = ndimage.uniform_filter(difference.astype(np.float64), (0, side, side), mode="constant")
        chosen = {"difference": difference[:, None]} if layers else {}
        return Scores(np.clip(mean, 0, 1).astype(np.float32)[:, None], chosen)

    def summary(self) -> Mapping[str, Any]:
        return {}

    def save(self, folder: Path) -> None:
        (folder / "radius.txt").write_text(str(self.radius))

    @classmethod
    def load(cls, folder: Path) -> BoxMean:
        return cls(int((folder / "radius.txt").read_text()))
