"""Built-up land in the place of fields: houses along streets, slabs of flats, halls. Some stand at one date only."""

from __future__ import annotations

from math import cos, sin

import numpy as np
import shapely

from scenery.covers import AFTER, BEFORE, BOTH, tinted_paint
from scenery.features import SITE, YARD, Building, Shape, Site, Tree, kind_code
from scenery.parcels import Field, rectangle
from scenery.village import tree_paint

LEAST_AREA, LEAST_BREADTH = 1500.0, 30.0  # square metres, metres
NEW, GONE = 0.3, 0.05
"""Shares of estates that stand at the second date only, and at the first only."""

HOUSES = ("tile_red", "tile_brown", "slate", "slate", "fibre", "tar")
FLATS = ("tar", "fibre", "white_roof", "tile_brown", "slate")
HALLS = ("metal", "white_roof", "blue_steel", "fibre", "tar", "metal")


def build_estate(site: Site, field: Field) -> bool:
    """Build a field up, if it is large enough."""
    rng = site.rng
    ground = site.free(field.ground.buffer(-3, join_style="mitre"))
    if ground.area < LEAST_AREA or field.breadth < LEAST_BREADTH:
        return False
    when = estate_fate(site)
    kind = kind_code("building_new" if when == AFTER else "building_gone", when)
    style = str(rng.choice(["houses", "houses", "flats", "halls"]))
    lay_out = {"houses": (16, 12, 7, 26, 0.75), "flats": (48, 13, 16, 22, 0.0), "halls": (60, 32, 14, 16, 0.12)}
    length, breadth, gap, street, pitch = lay_out[style]
    roofs, eave = {"houses": (HOUSES, 4.5), "flats": (FLATS, 15.0), "halls": (HALLS, 8.0)}[style]
    length, breadth = length * rng.uniform(0.75, 1.3), breadth * rng.uniform(0.8, 1.25)
    if style == "halls" or (style == "flats" and rng.random() < 0.5):
        paving = tinted_paint(str(rng.choice(["paving", "gravel", "old_asphalt"])), rng)
        site.shapes.append(Shape(SITE, ground, paving, when, kind))
    usual = tinted_paint(str(rng.choice(roofs)), rng, spread=0.1)
    centre, step = ground.centroid, (length + gap, breadth + street)
    for v in np.arange(-field.breadth / 2 + step[1] / 2, field.breadth / 2, step[1]):
        lay_street(site, field, v + (breadth + street) / 2, when, kind)
        for u in np.arange(-field.length / 2 + step[0] / 2, field.length / 2, step[0]):
            x, y = place(field, centre.x, centre.y, u + rng.normal(0, gap / 8), v + rng.normal(0, 0.8))
            size = length * rng.uniform(0.85, 1.1), breadth * rng.uniform(0.85, 1.1)
            if rng.random() < 0.08 or not ground.contains(rectangle(x, y, *size, field.angle)):
                continue
            roof = usual if rng.random() < 0.6 else tinted_paint(str(rng.choice(roofs)), rng, spread=0.14)
            hipped = style == "houses" and bool(rng.random() < 0.4)
            site.buildings.append(Building(x, y, field.angle, *size, eave, pitch, hipped, roof, when, kind))
            if style != "halls" and rng.random() < 0.3:
                stand = place(field, x, y, length / 2 + gap / 2, rng.uniform(-6, 6))
                site.trees.append(Tree(*stand, rng.uniform(1.4, 3.0), 5.0, tree_paint(rng)))
    return True


def estate_fate(site: Site) -> int:
    """When an estate stands: shares of all, however many other changes a scene has; always where it has none."""
    draw = site.rng.random()
    if not site.rate or GONE <= draw <= 1 - NEW:
        return BOTH
    return BEFORE if draw < GONE else AFTER


def lay_street(site: Site, field: Field, v: float, when: int, kind: int) -> None:
    """A street of an estate, along its field."""
    centre = field.ground.centroid
    x, y = place(field, centre.x, centre.y, 0.0, v)
    strip = rectangle(x, y, field.length, 6.0, field.angle) & site.free(field.ground.buffer(-3, join_style="mitre"))
    if not shapely.is_empty(strip):
        site.shapes.append(Shape(YARD, strip, tinted_paint("old_asphalt", site.rng), when, kind))


def place(field: Field, x: float, y: float, u: float, v: float) -> tuple[float, float]:
    """The point `u` metres along a field's longer side and `v` across from another."""
    return x + u * cos(field.angle) - v * sin(field.angle), y + u * sin(field.angle) + v * cos(field.angle)
