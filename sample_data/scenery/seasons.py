"""What looks different at two dates though nothing changed: crops, dry grass, bare trees, wet soil, muddy water.

A date has a season of its own, and each surface goes its own way in it. Colours are chosen to look right, as in
`covers`; they are no measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from geochange.arrays import Floats
from scenery.covers import CROPS, Paint
from scenery.spec import SceneSpec, local_rng

GRASS = ("meadow", "pasture", "mown", "margin", "verge", "bank", "lawn", "garden", "reed")
SOWN = tuple(name for name in CROPS if name not in GRASS)
DECIDUOUS = ("broadleaf", "scrub", "fruit")
SOIL = ("floor", "clearcut", "earth", "mud", "track", "gravel")
WATER = ("deep", "shallow")
STRAW, BARE = (0.190, 0.160, 0.102, 0.270), (0.085, 0.075, 0.058, 0.170)
"""Dry grass, and a wood without leaves."""

RESOWN = 0.75
"""Share of fields that bear another crop at the second date."""

_SEASON = 303


@dataclass(frozen=True, slots=True)
class Season:
    """One date."""

    dry: float  # 0..1, of grass
    bare: float  # 0..1, of trees that lose their leaves
    soil: float  # brightness of bare ground, which is darker when wet
    water: tuple[float, ...]  # factor on each band


def season_of(spec: SceneSpec, date: int) -> Season:
    """The season of a scene's date."""
    rng = local_rng(spec.seed, _SEASON, date)
    silt = np.exp(rng.normal(0, 0.4) + rng.normal(0, (0.2, 0.15, 0.2, 0.2)))
    return Season(rng.uniform(), max(rng.uniform(-1, 1), 0.0), rng.uniform(0.6, 1.25), tuple(map(float, silt)))


def seasoned(spec: SceneSpec, paints: dict[Paint, int], date: int) -> Floats:
    """(paint, band) reflectance at a date, in the order of the paints' numbers."""
    usual = np.array([paint.after if date else paint.before for paint in paints], np.float32)
    if not spec.seasons:
        return usual
    season = season_of(spec, date)
    own = np.array([in_season(spec.seed, paint, season, date) for paint in paints], np.float32)
    return usual + np.float32(spec.seasons) * (own - usual)


def in_season(seed: int, paint: Paint, season: Season, date: int) -> Floats:
    """(band,) reflectance of a surface."""
    own = np.array(paint.after if date else paint.before)
    draws = [chance(seed, paint, date, k) for k in range(3)]
    if paint.cover in SOWN:
        crop = CROPS[SOWN[int(draws[1] * len(SOWN))]] if draws[0] < RESOWN else None
        own = own if crop is None else np.array(crop.before) * np.exp(0.3 * (draws[2] - 0.5))
    elif paint.cover in GRASS or paint.cover in DECIDUOUS:
        aim, share = (STRAW, season.dry) if paint.cover in GRASS else (BARE, season.bare)
        own = own + float(np.clip(share + 0.4 * (draws[0] - 0.5), 0, 1)) * (aim - own)
    elif paint.cover in SOIL:
        own = own * season.soil
    elif paint.cover in WATER:
        own = own * season.water
    return own * np.exp(0.12 * (draws[2] - 0.5))


def chance(seed: int, paint: Paint, date: int, draw: int) -> float:
    """A number in 0..1 that belongs to a surface, the same in every process and in every order of asking."""
    return crc32(np.array([*paint.before, seed, date, draw]).tobytes()) / 2**32
