"""What kind of change a region is: vegetation, water, built-up, or an object that appeared or vanished. Pure.

Each pixel of a region is judged by indices of both dates, and the region is what most of its pixels are. An object
shows along its outline: there the image changes faster than inside it and around it, at the date at which it is there.

All rules treat the two dates alike: with the dates swapped, gain becomes loss, and what appeared vanished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.kinds.options import KindRules

KINDS = (
    "other",
    "vegetation gain",
    "vegetation loss",
    "water gain",
    "water loss",
    "built-up gain",
    "built-up loss",
    "object appeared",
    "object vanished",
)
OTHER, VEGETATION_GAIN, VEGETATION_LOSS, WATER_GAIN, WATER_LOSS, BUILT_UP_GAIN, BUILT_UP_LOSS, APPEARED, VANISHED = (
    range(len(KINDS))
)
COVERS = 7
"""The first kinds, which pixels can have."""

VEGETATION = ("NDVI", "NGRDI")
WATER = ("MNDWI", "NDWI")
BUILT_UP = "NDBI"
"""Indices for each; of several the first that the bands allow. Rouse 1974, Tucker 1979; Xu 2006, McFeeters
1996; Zha 2003."""

NIR, BRIGHTNESS = "nir", "brightness"

SLOPE_SMOOTHING = 1.0  # deviation, in pixels, of the Gaussian whose slope is measured
SLOPE_RADIUS = 3  # pixels that a slope depends on
INNER_DISTANCE = 1.0  # pixels from the outermost ones of a region beyond which the outline has no say
OUTER_DISTANCES = (2.0, 8.0)  # pixels outside it
OUTLINE_REACH = 12  # pixels around a block that its outlines depend on
SMOOTH_RADIUS = 2  # pixels


@dataclass(frozen=True, slots=True)
class SceneLevels:
    """What indices are over all of the scene, from a sample of its pixels."""

    offsets: Mapping[str, float] = field(default_factory=dict)
    """Index -> median of after less before: season and light, which are not a change of kind."""

    middles: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Index -> midway between its 5th and 95th percentile, before and after."""

    bright: tuple[float, float] = (np.inf, np.inf)
    """90th percentile of near infrared before and after."""


def measure_levels(before: Mapping[str, Floats], after: Mapping[str, Floats]) -> SceneLevels:
    """Levels of a scene.

    Args:
        before: index, or NIR -> (n,) values of sampled pixels; NaN where there is none.
        after: as `before`.
    """
    offsets, middles = {}, {}
    for name in before:
        known = np.isfinite(before[name]) & np.isfinite(after[name])
        first, second = before[name][known], after[name][known]
        if name == NIR or not first.size:
            continue
        offsets[name] = float(np.median(second - first))
        middles[name] = (_middle(first), _middle(second))
    bright = [
        float(np.nanquantile(date[NIR], 0.9)) if NIR in date and date[NIR].size else np.inf for date in (before, after)
    ]
    return SceneLevels(offsets, middles, (bright[0], bright[1]))


def _middle(values: Floats) -> float:
    return float(np.quantile(values, (0.05, 0.95)).mean())


@dataclass(frozen=True, slots=True)
class _Date:
    """Indices at one date, and what they are compared with."""

    values: Mapping[str, Floats]
    middles: Mapping[str, float]
    bright: float
    shift: float
    """The share of the scene's offset that is added where dates are compared."""
    offsets: Mapping[str, float]

    def first_of(self, names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in self.values), None)

    def level(self, name: str) -> Floats:
        """Return an index without season and light."""
        return self.values[name] + self.shift * self.offsets.get(name, 0.0)

    def nowhere(self) -> Bools:
        return np.zeros(next(iter(self.values.values())).shape, bool)


def pixel_kinds(
    before: Mapping[str, Floats], after: Mapping[str, Floats], levels: SceneLevels, rules: KindRules
) -> Ints:
    """Find the kind of each pixel.

    Args:
        before: index, or NIR -> values, of any one shape.
        after: as `before`.
        levels: of the scene.
        rules: thresholds.

    Returns:
        uint8 of that shape: one of the first `COVERS` kinds. Water outdoes built-up, and that vegetation.
    """
    first, second = (
        _Date(
            values,
            {name: each[place] for name, each in levels.middles.items()},
            levels.bright[place],
            shift,
            levels.offsets,
        )
        for place, (values, shift) in enumerate(((before, 0.5), (after, -0.5)))
    )
    kinds = first.nowhere().astype(np.uint8)
    _mark(kinds, _greener(first, second, rules), _greener(second, first, rules), VEGETATION_GAIN)
    _mark(kinds, _built_over(first, second, rules), _built_over(second, first, rules), BUILT_UP_GAIN)
    wet = [_is_water(date, rules) for date in (first, second)]
    _mark(kinds, wet[1] & ~wet[0], wet[0] & ~wet[1], WATER_GAIN)
    kinds[wet[0] & wet[1]] = OTHER
    return kinds


def _mark(kinds: Ints, gain: Bools, loss: Bools, kind: int) -> None:
    kinds[gain], kinds[loss] = kind, kind + 1


def _greener(first: _Date, second: _Date, rules: KindRules) -> Bools:
    """Where the second date has vegetation, and clearly more than the first."""
    name = second.first_of(VEGETATION)
    if name is None:
        return second.nowhere()
    change, least = (rules.ndvi_change, rules.ndvi) if name == "NDVI" else (rules.ngrdi_change, rules.ngrdi)
    green: Bools = second.values[name] >= min(least, second.middles.get(name, least))
    return green & (second.level(name) - first.level(name) >= change)


def _built_over(first: _Date, second: _Date, rules: KindRules) -> Bools:
    """Where the second date is built up, or open soil, and the first is not."""
    if BUILT_UP not in second.values or "NDVI" not in second.values:
        return second.nowhere()
    earlier, later = (date.values[BUILT_UP] - date.values["NDVI"] for date in (first, second))
    change = (second.level(BUILT_UP) - second.level("NDVI")) - (first.level(BUILT_UP) - first.level("NDVI"))
    built: Bools = (later >= rules.built_up) & (earlier < rules.built_up)
    return built & (change >= rules.built_up_change)


def _is_water(date: _Date, rules: KindRules) -> Bools:
    name = date.first_of(WATER)
    if name is None:
        return date.nowhere()
    wet: Bools = date.values[name] >= max(rules.water, date.middles.get(name, rules.water))
    return wet & (date.values[NIR] <= rules.dark * date.bright) if NIR in date.values else wet


def smooth_kinds(kinds: Ints, inside: Bools) -> Ints:
    """(y, x) the kind that most pixels around each one have, of those inside; its own where several are as many.

    Args:
        kinds: (y, x) uint8.
        inside: (y, x) which pixels count. What lies within `SMOOTH_RADIUS` of the array's border may come out wrong.
    """
    side = 2 * SMOOTH_RADIUS + 1
    most, smooth = np.full(kinds.shape, -1), kinds.copy()
    for kind in range(COVERS):
        own = (kinds == kind) & inside
        count = 2 * np.rint(ndimage.uniform_filter(own.astype(np.float64), side, mode="constant") * side**2) + own
        smooth[count > most] = kind
        most = np.maximum(most, count)
    return np.where(inside, smooth, kinds)


def slopes(bands: Array, scale: Floats) -> Floats:
    """(y, x) how fast an image changes from pixel to pixel.

    Args:
        bands: (band, y, x) pixels.
        scale: (band,) deviation of each over the scene.
    """
    total = np.zeros(bands.shape[1:])
    for band, size in zip(bands, scale, strict=True):
        for order in ((1, 0), (0, 1)):
            slope = ndimage.gaussian_filter(band / size, SLOPE_SMOOTHING, order=order, radius=SLOPE_RADIUS)
            total += slope**2
    return np.sqrt(total)


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Which pixels lie at the outline of which region, inside it, and around it; (y, x) ids each, 0 for none."""

    edge: Ints
    inside: Ints
    around: Ints


def find_outlines(ids: Ints) -> Outlines:
    """Sort the pixels of a block by where they lie.

    Args:
        ids: (y, x) region of each pixel, from 1; 0 for none. What lies within `OUTLINE_REACH` of the array's border may
            come out wrong.
    """
    padded = np.pad(ids, 1, mode="edge")
    border = np.zeros(ids.shape, bool)
    for beside in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        border |= beside != ids
    border &= ids > 0
    deep = ndimage.distance_transform_edt(~border) if border.any() else np.full(ids.shape, np.inf)
    far, nearest = ndimage.distance_transform_edt(ids == 0, return_indices=True)
    owner = ids[tuple(nearest)]
    outside = ids == 0
    edge = np.where(border | (outside & (far < 2)), owner, 0)
    inside = np.where(~outside & (deep > INNER_DISTANCE), ids, 0)
    around = np.where(outside & (far > OUTER_DISTANCES[0]) & (far <= OUTER_DISTANCES[1]), owner, 0)
    return Outlines(edge, inside, around)


def stand_out(edge: Floats, inside: Floats, around: Floats) -> Floats:
    """(n,) slope at the outline over itself and that away from it: 0.5 where there is no outline to see.

    Args:
        edge: (n,) mean slope at the outlines; NaN where no pixel lies there.
        inside: (n,) as `edge`, inside.
        around: (n,) as `edge`, around.
    """
    sides = np.stack([inside, around])
    known = np.isfinite(sides)
    away = np.where(known, sides, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    total = np.where(known.any(axis=0), edge + away, np.nan)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, edge / total, np.where(total == 0, 0.5, np.nan))


def choose_kinds(
    votes: Array, outline_before: Floats, outline_after: Floats, rules: KindRules, *, objects_first: bool
) -> tuple[Ints, Floats]:
    """Choose the kind of each region.

    Args:
        votes: (n, COVERS) pixels of each kind.
        outline_before: (n,) of `stand_out`; NaN where there are to be no objects.
        outline_after: as `outline_before`.
        rules: thresholds.
        objects_first: whether objects outdo what their pixels are, as where there is no near infrared.

    Returns:
        (n,) kinds, -1 of regions without a pixel, and (n,) share of the pixels that are of it; NaN for objects.
    """
    kinds = votes.argmax(axis=1)
    total = votes.sum(axis=1)
    share = votes.max(axis=1) / np.maximum(total, 1)
    open_to_objects = (kinds == OTHER) | objects_first
    for one, other, kind in ((outline_before, outline_after, APPEARED), (outline_after, outline_before, VANISHED)):
        stands = (other >= rules.outline) & (other - one >= rules.outline_change) & open_to_objects
        kinds, share = np.where(stands, kind, kinds), np.where(stands, np.nan, share)
    return np.where(total > 0, kinds, -1), np.where(total > 0, share, np.nan)
