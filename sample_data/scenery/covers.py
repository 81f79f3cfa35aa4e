"""What the ground is covered with, and how that looks at both dates.

Reflectances (red, green, blue, near infrared) are typical broad-band values of a temperate summer, chosen to look right
from the air; they are no measurements. From the first date to the second, vegetation moves on by a few weeks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

Bands = tuple[float, float, float, float]

BEFORE, AFTER, BOTH = 1, 2, 3

KINDS = (
    "building_new",
    "building_gone",
    "road_new",
    "trees_cleared",
    "water_grown",
    "excavation",
    "field_converted",
    "vehicle",
)
"""Kinds of true change; a truth raster holds 1 + the index."""


@dataclass(frozen=True, slots=True)
class Cover:
    """A kind of surface."""

    before: Bands
    after: Bands
    grain: float = 0.05  # relative amplitude of the texture from pixel to pixel
    mottle: float = 0.04  # the same at some 5 m
    vigour: float = 0.0  # plants' vigour at some 30 m: more infrared, less red
    row_period: float = 0.0  # metres between rows; 0 for none
    row_depth: float = 0.0  # relative amplitude of the rows
    tram: float = 0.0  # relative darkening of the tractor's tracks


CROPS = {
    "wheat": Cover((0.052, 0.082, 0.040, 0.37), (0.064, 0.090, 0.044, 0.355), 0.05, 0.05, 0.16, 2.9, 0.030, 0.20),
    "barley": Cover((0.125, 0.120, 0.062, 0.35), (0.150, 0.135, 0.070, 0.335), 0.05, 0.06, 0.12, 3.1, 0.035, 0.18),
    "rape": Cover((0.072, 0.108, 0.046, 0.43), (0.080, 0.110, 0.050, 0.415), 0.06, 0.06, 0.12, 3.4, 0.02, 0.15),
    "beet": Cover((0.045, 0.078, 0.036, 0.46), (0.043, 0.076, 0.035, 0.475), 0.05, 0.05, 0.15, 2.7, 0.05, 0.10),
    "maize": Cover((0.105, 0.108, 0.068, 0.30), (0.088, 0.101, 0.058, 0.335), 0.07, 0.06, 0.20, 2.6, 0.09, 0.06),
    "potato": Cover((0.080, 0.094, 0.055, 0.34), (0.074, 0.092, 0.051, 0.355), 0.06, 0.05, 0.18, 2.4, 0.11, 0.05),
    "ploughed": Cover((0.122, 0.103, 0.069, 0.185), (0.132, 0.111, 0.075, 0.197), 0.07, 0.07, -0.14, 3.3, 0.07, 0.0),
    "harrowed": Cover((0.176, 0.151, 0.103, 0.245), (0.185, 0.159, 0.109, 0.255), 0.05, 0.05, -0.14, 4.1, 0.04, 0.05),
    "stubble": Cover((0.214, 0.188, 0.124, 0.305), (0.225, 0.198, 0.133, 0.313), 0.05, 0.05, -0.10, 5.2, 0.06, 0.04),
    "meadow": Cover((0.070, 0.097, 0.048, 0.365), (0.078, 0.102, 0.052, 0.352), 0.08, 0.09, 0.16),
    "pasture": Cover((0.086, 0.109, 0.058, 0.335), (0.094, 0.113, 0.061, 0.325), 0.09, 0.11, 0.18),
    "mown": Cover((0.112, 0.132, 0.070, 0.345), (0.118, 0.134, 0.073, 0.340), 0.05, 0.05, 0.10, 6.4, 0.07, 0.0),
}

COVERS = CROPS | {
    "margin": Cover((0.080, 0.102, 0.054, 0.330), (0.088, 0.106, 0.057, 0.322), 0.10, 0.12, 0.10),
    "verge": Cover((0.098, 0.116, 0.064, 0.325), (0.104, 0.118, 0.067, 0.318), 0.08, 0.08, 0.08),
    "bank": Cover((0.058, 0.084, 0.042, 0.345), (0.062, 0.087, 0.044, 0.338), 0.12, 0.16, 0.12),
    "lawn": Cover((0.072, 0.104, 0.050, 0.390), (0.080, 0.108, 0.054, 0.378), 0.07, 0.08, 0.06),
    "garden": Cover((0.085, 0.098, 0.060, 0.300), (0.087, 0.100, 0.061, 0.296), 0.16, 0.20, 0.05),
    "floor": Cover((0.030, 0.040, 0.024, 0.190), (0.031, 0.041, 0.025, 0.188), 0.14, 0.16),
    "broadleaf": Cover((0.032, 0.054, 0.027, 0.375), (0.033, 0.054, 0.028, 0.365), 0.07, 0.04, 0.22),
    "conifer": Cover((0.022, 0.036, 0.023, 0.225), (0.022, 0.036, 0.023, 0.222), 0.07, 0.04, 0.16),
    "scrub": Cover((0.040, 0.062, 0.032, 0.345), (0.042, 0.063, 0.033, 0.337), 0.08, 0.05, 0.18),
    "fruit": Cover((0.044, 0.068, 0.034, 0.370), (0.046, 0.070, 0.036, 0.362), 0.07, 0.04, 0.10),
    "clearcut": Cover((0.150, 0.122, 0.088, 0.235), (0.150, 0.122, 0.088, 0.235), 0.16, 0.22, -0.10),
    "earth": Cover((0.245, 0.192, 0.138, 0.310), (0.245, 0.192, 0.138, 0.310), 0.06, 0.12, -0.10, 7.5, 0.04, 0.0),
    "solar": Cover((0.060, 0.066, 0.082, 0.105), (0.060, 0.066, 0.082, 0.105), 0.05, 0.03, 0.0, 6.5, 0.42, 0.0),
    "foil": Cover((0.330, 0.335, 0.330, 0.345), (0.330, 0.335, 0.330, 0.345), 0.04, 0.04, 0.0, 9.0, 0.16, 0.0),
    "deep": Cover((0.018, 0.028, 0.026, 0.010), (0.020, 0.030, 0.027, 0.011), 0.03, 0.03),
    "shallow": Cover((0.030, 0.042, 0.034, 0.022), (0.032, 0.043, 0.035, 0.023), 0.05, 0.06),
    "mud": Cover((0.165, 0.142, 0.108, 0.190), (0.165, 0.142, 0.108, 0.190), 0.07, 0.12),
    "reed": Cover((0.068, 0.080, 0.046, 0.260), (0.072, 0.083, 0.048, 0.255), 0.14, 0.16, 0.08),
    "asphalt": Cover((0.118, 0.118, 0.116, 0.135), (0.121, 0.121, 0.119, 0.138), 0.03, 0.04),
    "asphalt_new": Cover((0.078, 0.078, 0.075, 0.088), (0.078, 0.078, 0.075, 0.088), 0.03, 0.03),
    "old_asphalt": Cover((0.155, 0.150, 0.142, 0.175), (0.158, 0.153, 0.145, 0.178), 0.05, 0.06),
    "track": Cover((0.205, 0.174, 0.130, 0.260), (0.212, 0.180, 0.135, 0.265), 0.09, 0.12),
    "gravel": Cover((0.215, 0.200, 0.172, 0.240), (0.220, 0.205, 0.176, 0.245), 0.07, 0.07),
    "paving": Cover((0.175, 0.168, 0.158, 0.195), (0.178, 0.171, 0.160, 0.198), 0.06, 0.06),
    "tile_red": Cover((0.205, 0.102, 0.070, 0.245), (0.205, 0.102, 0.070, 0.245), 0.05, 0.03),
    "tile_brown": Cover((0.122, 0.080, 0.060, 0.165), (0.122, 0.080, 0.060, 0.165), 0.05, 0.04),
    "slate": Cover((0.078, 0.082, 0.090, 0.098), (0.078, 0.082, 0.090, 0.098), 0.05, 0.04),
    "metal": Cover((0.285, 0.295, 0.300, 0.290), (0.285, 0.295, 0.300, 0.290), 0.02, 0.02, 0.0, 4.0, 0.03, 0.0),
    "fibre": Cover((0.190, 0.180, 0.168, 0.200), (0.190, 0.180, 0.168, 0.200), 0.05, 0.07),
    "tar": Cover((0.098, 0.096, 0.094, 0.105), (0.098, 0.096, 0.094, 0.105), 0.04, 0.06),
    "white_roof": Cover((0.370, 0.372, 0.368, 0.360), (0.370, 0.372, 0.368, 0.360), 0.03, 0.03),
    "blue_steel": Cover((0.070, 0.140, 0.290, 0.240), (0.070, 0.140, 0.290, 0.240), 0.02, 0.02, 0.0, 4.0, 0.03, 0.0),
    "white_car": Cover((0.420, 0.420, 0.415, 0.400), (0.420, 0.420, 0.415, 0.400), 0.02, 0.0),
    "dark_car": Cover((0.030, 0.030, 0.034, 0.035), (0.030, 0.030, 0.034, 0.035), 0.02, 0.0),
    "red_car": Cover((0.240, 0.040, 0.035, 0.260), (0.240, 0.040, 0.035, 0.260), 0.02, 0.0),
    "blue_car": Cover((0.040, 0.070, 0.190, 0.080), (0.040, 0.070, 0.190, 0.080), 0.02, 0.0),
}


@dataclass(frozen=True, slots=True)
class Paint:
    """A cover as one object wears it: one field's shade of green, the direction of its rows."""

    before: Bands
    after: Bands
    grain: float
    mottle: float
    vigour: float
    row_x: float = 0.0  # radians of the rows' phase per metre eastward
    row_y: float = 0.0  # and southward
    row_depth: float = 0.0
    tram: float = 0.0
    tram_ratio: float = 0.0  # rows per pair of tractor's tracks, inverted
    cover: str = ""  # its name in `COVERS`


def plain_paint(name: str) -> Paint:
    """The cover just as the table has it."""
    cover = COVERS[name]
    return Paint(cover.before, cover.after, cover.grain, cover.mottle, cover.vigour, cover=name)


def tinted_paint(name: str, rng: np.random.Generator, angle: float = 0.0, spread: float = 0.1) -> Paint:
    """The cover with one object's own tint, its rows along `angle` (radians, from east towards south).

    Brightness varies by `spread`, the bands among themselves by a third of it; between the dates each object goes its
    own way by one or two per cent.
    """
    cover = COVERS[name]
    draws = rng.normal(size=10)
    tint = np.exp(spread * (draws[0] + draws[1:5] / 3))
    ageing = np.exp(0.012 * draws[5] + 0.008 * draws[6:])
    before = tuple(float(value) for value in cover.before * tint)
    after = tuple(float(value) for value in cover.after * tint * ageing)
    if not cover.row_period:
        return Paint(before, after, cover.grain, cover.mottle, cover.vigour, cover=name)
    pace = 2 * pi / (cover.row_period * rng.uniform(0.85, 1.2))
    ratio = 2 * pi / (pace * rng.uniform(17, 26))
    row_x, row_y = -sin(angle) * pace, cos(angle) * pace
    return Paint(
        before, after, cover.grain, cover.mottle, cover.vigour, row_x, row_y, cover.row_depth, cover.tram, ratio, name
    )
