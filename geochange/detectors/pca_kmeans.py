"""PCA of the neighbourhoods of the difference image, and k-means of two on their components (Celik 2009).

The decision between two means is linear in the components, and the components are linear in the neighbourhood. So
the whole method is one filter of the difference image, and its answer is the statistic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial, reduce
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from geochange.arrays import Array, Bools, Floats
from geochange.detectors.contrast import (
    LARGEST_STATISTIC,
    STATISTIC_ROUNDING,
    Contrast,
    ContrastFitted,
    TolerantOptions,
    contrast_counts,
    counted_posterior,
    require_pair,
    standardised_pair,
    with_tolerance,
)
from geochange.detectors.detector import MapBlocks, Scores, Series
from geochange.detectors.mixture import StatisticCounts, ceiling_of, count_statistic
from geochange.detectors.statistics import (
    Moments,
    find_inliers,
    jointly_valid,
    moments_of,
    on_sample,
    sampling_steps,
    total_counts,
)
from geochange.errors import BadOption
from geochange.scenes.grid import Tile

KMEANS_SAMPLE = 250_000  # pixels, with data or not, on which k-means runs where the scene has more
KMEANS_STEPS = 100


def correlate(image: Floats, kernel: Floats) -> Floats:
    """(y, x) float32 image under an (h, h) kernel of odd h; the result lacks h // 2 pixels on each side."""
    h = len(kernel)
    height, width = image.shape[0] - h + 1, image.shape[1] - h + 1
    total = np.zeros((height, width), np.float32)
    scratch = np.empty_like(total)
    for (row, col), weight in np.ndenumerate(kernel.astype(np.float32)):
        total += np.multiply(image[row : row + height, col : col + width], weight, out=scratch)
    return total


def principal_components(patches: Moments, energy: float) -> Floats:
    """(s, h * h) leading eigenvectors of the patches that hold at least `energy` of the variance; each sums to >= 0."""
    variances, vectors = np.linalg.eigh(patches.covariance)
    variances, vectors = np.maximum(variances[::-1], 0), vectors.T[::-1]
    held = np.cumsum(variances) / max(variances.sum(), np.finfo(float).tiny)
    count = min(int(np.searchsorted(held, energy)) + 1, len(vectors))
    return vectors[:count] * np.where(vectors[:count].sum(axis=1, keepdims=True) < 0, -1.0, 1.0)


def two_means(features: Floats) -> tuple[Floats, Floats]:
    """(s,) centres of two clusters of (s, n) features, from a split at the mean of the first; the still one first."""
    upper = features[0] > features[0].mean()
    for _ in range(KMEANS_STEPS):
        if upper.all() or not upper.any():
            break
        still, changed = features[:, ~upper].mean(axis=1), features[:, upper].mean(axis=1)
        axis = changed - still
        update = axis @ features > axis @ (still + changed) / 2
        if np.array_equal(update, upper):
            return still, changed
        upper = update
    centre = features.mean(axis=1)
    return (still, changed) if upper.any() and not upper.all() else (centre, centre)


@dataclass(frozen=True)
class DifferenceImage:
    """Length of the standardised change vector, in which a hot or dead pixel weighs no more than what is around it.

    A pixel counts as no more than the largest of its eight neighbours, so that it does not make a change of its whole
    neighbourhood; and a few large ones count as no more than a ceiling.
    """

    contrast: Contrast
    ceiling: float = LARGEST_STATISTIC
    """As a statistic, the square of a length."""

    def __call__(self, dates: Floats, valid: Bools) -> Floats:
        """(y - 2, x - 2) float32 lengths, without the outermost pixels; 0 where not valid."""
        statistic = np.minimum(self.contrast.tolerant_statistic(dates, valid), np.float32(self.ceiling))
        lengths = np.sqrt(statistic) * jointly_valid(valid)
        inner: Floats = np.minimum(lengths[INNER], largest_neighbour(lengths))
        return inner


INNER = (slice(1, -1), slice(1, -1))


def largest_neighbour(image: Floats) -> Floats:
    """(y - 2, x - 2) largest of the eight neighbours of each pixel but the outermost."""
    sides = np.maximum(image[:, :-2], image[:, 2:])
    rows = np.maximum(sides, image[:, 1:-1])
    return np.maximum(sides[1:-1], np.maximum(rows[:-2], rows[2:]))


def patch_block(dates: Floats, valid: Bools, tile: Tile, *, difference: DifferenceImage, h: int) -> Moments:
    """Kernel (halo h): moments of the h x h patches, cut from the scene's origin, that begin in this block."""
    patches = sliding_window_view(difference(dates, valid), (h, h))
    whole = sliding_window_view(jointly_valid(valid)[INNER], (h, h))
    rows, cols = on_sample(tile, (h, h))
    inside = (slice(h - 1, h - 1 + tile.height), slice(h - 1, h - 1 + tile.width))
    chosen = whole[inside][rows, cols].all(axis=(2, 3))
    return moments_of(patches[inside][rows, cols][chosen].reshape(-1, h * h).T)


def feature_block(
    dates: Floats, valid: Bools, tile: Tile, *, difference: DifferenceImage, components: Floats, steps: tuple[int, int]
) -> Floats:
    """Kernel (halo h // 2 + 1): (s, n) components around the valid pixels of the block that lie on the sample."""
    h = round(components.shape[1] ** 0.5)
    inner = (slice(h // 2, h // 2 + tile.height), slice(h // 2, h // 2 + tile.width))
    rows, cols = on_sample(tile, steps)
    patches = sliding_window_view(difference(dates, valid), (h, h))[rows, cols]
    return components @ patches[jointly_valid(valid)[INNER][inner][rows, cols]].reshape(-1, h * h).T


def response_block(
    dates: Floats, valid: Bools, tile: Tile, *, difference: DifferenceImage, kernel: Floats
) -> StatisticCounts:
    """Kernel (halo h // 2 + 1): count the squared response to the filter."""
    margin = len(kernel) // 2
    inner = (slice(margin, margin + tile.height), slice(margin, margin + tile.width))
    response = squared_response(difference(dates, valid), kernel)
    return count_statistic(response, jointly_valid(valid)[INNER][inner], len(kernel) + 2)


def _pad(values: Array, margin: int) -> Array:
    """Reflect (..., y, x) beyond its edges."""
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + [(margin, margin)] * 2, mode="reflect")


def squared_response(image: Floats, kernel: Floats) -> Floats:
    """Square of the filter's response, 0 where it is negative; the result lacks the filter's margin."""
    return np.maximum(correlate(image, kernel), 0) ** 2


@dataclass(frozen=True)
class PcaKMeansFitted(ContrastFitted):
    """The filter that PCA and k-means amount to on a scene, with the posterior of its response."""

    name: ClassVar[str] = "pca-kmeans"
    arrays: ClassVar[tuple[str, ...]] = ("kernel",)
    kernel: Floats
    """(h, h)."""
    boundary: float
    """Squared response midway between the two means."""
    ceiling: float
    """Squared length of change vectors beyond which all count alike."""

    @property
    def layers(self) -> Mapping[str, int]:
        """The difference image, and the filter's response."""
        return {"difference": 1, "response": 1}

    @property
    def receptive_radius(self) -> int:
        """What the filter, the posterior and the tolerance need."""
        return len(self.kernel) // 2 + 1 + self.posterior.radius + self.contrast.tolerance.reach

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Those of the posterior, and that of k-means."""
        fitted = dict(self.posterior.thresholds)
        if self.posterior.mixture.share:
            fitted["kmeans"] = self.posterior.threshold_at(self.boundary)
        return fitted

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score tiles, see `Fitted.score`."""
        joint = jointly_valid(valid)
        difference, pairs = DifferenceImage(self.contrast, self.ceiling), zip(dates, valid, strict=True)
        images = np.stack([difference(_pad(tile, 1), _pad(there, 1)) for tile, there in pairs])
        margin = len(self.kernel) // 2
        response = np.stack([squared_response(image, self.kernel) for image in _pad(images, margin)])
        probability = self.posterior.probability(response, joint)
        shown = {"difference": images, "response": np.sqrt(response)}
        drawn = {name: np.where(joint, shown[name], np.float32(np.nan))[:, None] for name in layers}
        return Scores(probability[:, None], drawn)

    def summary(self) -> Mapping[str, Any]:
        """Return the mixture, the thresholds and the filter."""
        return {
            "mixture": self.posterior.to_json()["mixture"],
            "thresholds": dict(self.thresholds),
            "kernel": self.kernel.tolist(),
            "shift_tolerance": self.contrast.tolerance.to_json(),
            **self.remarks(),
        }

    def numbers(self) -> dict[str, Any]:
        """Return where the means part, and the ceiling."""
        return {"boundary": self.boundary, "ceiling": self.ceiling}


@dataclass(frozen=True, kw_only=True)
class PcaKMeans(TolerantOptions):
    """Two means of the principal components of each pixel's neighbourhood in the difference image."""

    name: ClassVar[str] = "pca-kmeans"
    dates: ClassVar[int | None] = 2
    fitted: ClassVar[type[PcaKMeansFitted]] = PcaKMeansFitted

    size: int = 3
    """Pixels per side of the neighbourhood, odd."""

    energy: float = 0.9
    """Share of the neighbourhoods' variance that the components keep."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2 == 0 or not 1 <= self.size <= 31:
            raise BadOption(f"size is {self.size}; it must be an odd number in 1..31")
        if not 0 < self.energy <= 1:
            raise BadOption(f"energy is {self.energy}; it must lie above 0 and at most at 1")

    def fit(self, series: Series, map_blocks: MapBlocks) -> PcaKMeansFitted:
        """Find the filter, and take the histogram of its response."""
        require_pair(series, self.name)
        inliers = find_inliers(series, map_blocks)
        contrast = standardised_pair(inliers, series)
        lengths = contrast_counts(inliers.seen, contrast)
        ceiling = ceiling_of(lengths.histogram, STATISTIC_ROUNDING)
        difference = DifferenceImage(contrast, min(ceiling, LARGEST_STATISTIC))
        kernel, boundary = self._filter(series, inliers.within, difference)
        respond = partial(response_block, difference=difference, kernel=kernel)
        counts = total_counts(inliers.seen(respond, self.size // 2 + 1))
        posterior = counted_posterior(counts, 0.0)
        alone = counted_posterior(lengths, 0.0)  # of each pixel's own length
        tolerant = with_tolerance(inliers.seen, contrast, alone, self, series)
        return PcaKMeansFitted(tolerant, posterior, kernel, boundary, difference.ceiling)

    def _filter(self, series: Series, map_blocks: MapBlocks, difference: DifferenceImage) -> tuple[Floats, float]:
        """Return the (h, h) filter, and the squared response midway between the means."""
        h = self.size
        cut = partial(patch_block, difference=difference, h=h)
        patches = reduce(Moments.__add__, map_blocks(cut, h))
        even = np.full((1, h * h), 1 / h)  # where no patch is whole, or none differs: the mean
        components = principal_components(patches, self.energy) if patches.scatter.any() else even
        steps = sampling_steps(prod(series.shape), KMEANS_SAMPLE)
        feature = partial(feature_block, difference=difference, components=components, steps=steps)
        features = np.hstack(list(map_blocks(feature, h // 2 + 1)))
        still, changed = two_means(features) if features.shape[1] else (np.zeros(len(components)),) * 2
        axis = changed - still if (changed != still).any() else np.eye(len(components))[0]
        axis = axis / np.linalg.norm(axis)
        boundary = max(float(axis @ (still + changed)) / 2, 0.0) ** 2
        return (axis @ components).reshape(h, h), boundary
