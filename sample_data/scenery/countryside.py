"""Fields, woods, lakes, hedges and single trees, and what becomes of them."""

from __future__ import annotations

from itertools import pairwise
from math import cos, sin, sqrt

import numpy as np
import shapely
from shapely import LineString, Polygon

from scenery.covers import AFTER, BOTH, plain_paint, tinted_paint
from scenery.estates import build_estate
from scenery.features import BANK, DEEP, FIELD, FIELD_INNER, SITE, TRACK, WATER, Shape, Site, Tree, kind_code
from scenery.parcels import Field, blob, divide, long_side, place_inside, polygons_of, rectangle
from scenery.village import park, tree_paint

CROPS = ("wheat", "wheat", "wheat", "barley", "rape", "beet", "maize", "potato", "ploughed", "harrowed", "stubble")
GRASS = ("meadow", "meadow", "pasture", "mown")
SLIVER = 60.0  # m²
MOST_CHANGED = 7500.0  # m², so that no change covers a whole scene


def cultivate(site: Site) -> None:
    """Divide the block into fields and give each its use."""
    if site.ground.area < SLIVER:  # a village has taken all of it
        return
    rng = site.rng
    woody = float(rng.choice([0.04, 0.1, 0.22, 0.5]))
    grassy = float(rng.choice([0.15, 0.3, 0.6]))
    fields = divide(site.ground, rng, float(rng.choice([7500, 12000, 18000])))
    wet = bool(rng.random() < 0.4)
    pave_farm_road(site, fields)
    for field in sorted(fields, key=lambda field: -field.ground.area):
        sow(site, field, grassy)
        if site.estates and rng.random() < site.estates and build_estate(site, field):
            continue
        roomy = field.breadth > 70 and field.ground.area < 45000
        if wet and roomy and dig_lake(site, field):
            wet = False
        elif rng.random() < woody and field.breadth > 30:
            plant_wood(site, field)
        elif rng.random() < 0.05 and field.ground.area < 12000:
            plant_orchard(site, field)
        else:
            disturb(site, field)
        plant_borders(site, field)


def sow(site: Site, field: Field, grassy: float) -> None:
    """A crop or grass, with headlands where the tractor turned."""
    rng = site.rng
    name = str(rng.choice(GRASS if rng.random() < grassy else CROPS))
    paint = tinted_paint(name, rng, field.angle)
    inner = field.ground.buffer(-rng.uniform(0.6, 1.6), join_style="mitre")
    if inner.is_empty:
        return
    if not paint.row_depth or field.breadth < 45:
        site.shapes.append(Shape(FIELD, inner, paint))
        return
    turned = type(paint)(
        paint.before, paint.after, paint.grain, paint.mottle, paint.vigour, -paint.row_y, paint.row_x, paint.row_depth
    )
    site.shapes.append(Shape(FIELD, inner, turned))
    site.shapes.append(Shape(FIELD_INNER, inner.buffer(-rng.uniform(7, 10), join_style="mitre"), paint))


def plant_wood(site: Site, field: Field) -> None:
    """A wood with its floor; part of it may be felled."""
    rng = site.rng
    ground = field.ground.buffer(3) & site.ground
    ground = site.free(ground).buffer(-5, quad_segs=2).buffer(5, quad_segs=3)
    leaves = tinted_paint("conifer" if rng.random() < 0.3 else "broadleaf", rng)
    floor = tinted_paint("floor", rng)
    for part in polygons_of(ground, 500):
        site.shapes += [Shape(FIELD_INNER, part, floor), Shape(FIELD, part, leaves, canopy="wood")]
        if rng.random() < 0.27 * site.rate:
            fell(site, part)


def fell(site: Site, wood: Polygon) -> None:
    """Clear a part of a wood: bare ground afterwards, with few trees left standing."""
    rng = site.rng
    centre = place_inside(wood, rng, 12)
    if centre is None:
        return
    angle, _, breadth = long_side(wood)
    radius = min(rng.uniform(18, 44), breadth * 0.6)
    patch = blob(rng, centre.x, centre.y, radius=radius, stretch=rng.uniform(1, 1.3), angle=angle) & wood
    kind = kind_code("trees_cleared", AFTER)
    for part in polygons_of(patch, 150):
        ground = tinted_paint("clearcut" if rng.random() < 0.7 else "pasture", rng)
        site.shapes.append(Shape(SITE, part, ground, AFTER, kind))
        site.shapes.append(Shape(SITE, part, ground, AFTER, kind, canopy="none"))


def plant_orchard(site: Site, field: Field) -> None:
    """Fruit trees in rows on grass."""
    rng = site.rng
    ground = site.free(field.ground.buffer(-5, quad_segs=1))
    if ground.is_empty:
        return
    site.shapes.append(Shape(FIELD_INNER, ground, tinted_paint("meadow", rng)))
    centre, gap = ground.centroid, rng.uniform(5.5, 7.5)
    steps = np.arange(-field.length / 2, field.length / 2, gap)
    u, v = (axis.ravel() for axis in np.meshgrid(steps, steps[np.abs(steps) < field.breadth / 2]))
    x = centre.x + u * cos(field.angle) - v * sin(field.angle)
    y = centre.y + u * sin(field.angle) + v * cos(field.angle)
    inside = shapely.contains_xy(ground, x, y) & (rng.random(len(x)) < 0.93)
    paint = tinted_paint("fruit", rng)
    radii = rng.uniform(1.3, 2.3, len(x))
    site.trees += [
        Tree(float(a), float(b), float(r), 3.4, paint)
        for a, b, r in zip(x[inside], y[inside], radii[inside], strict=True)
    ]


def dig_lake(site: Site, field: Field) -> bool:
    """A lake in a field, if there is room; its level may have risen."""
    rng = site.rng
    centre = field.ground.centroid
    radius = field.breadth * rng.uniform(0.26, 0.34)
    stretch = min(sqrt(field.length / field.breadth), 1.5)
    shore = blob(rng, centre.x, centre.y, radius=radius, stretch=stretch, angle=field.angle)
    shore = shore & site.free(field.ground).buffer(-6, quad_segs=2)
    parts = polygons_of(shore, 1200)
    if len(parts) != 1:
        return False
    shore = parts[0].buffer(-4).buffer(4)
    site.shapes.append(Shape(BANK, shore.buffer(6), tinted_paint("reed", rng)))
    risen = rng.random() < 0.75 * site.rate
    lower = blob(rng, centre.x, centre.y, radius=radius * 1.05, stretch=stretch, angle=field.angle)
    low = shore.buffer(-rng.uniform(4, 11)) & lower
    low = low.buffer(-3).buffer(3) if risen else shore
    shallow = plain_paint("shallow")
    site.shapes += [Shape(BANK, shore, tinted_paint("mud", rng)), Shape(WATER, low, shallow)]
    site.shapes.append(Shape(DEEP, low.buffer(-5), plain_paint("deep")))
    if risen:
        site.shapes.append(Shape(WATER, shore, shallow, AFTER, kind_code("water_grown", AFTER)))
    fringe = shore.buffer(9) - shore.buffer(2.5)
    gaps = blob(rng, centre.x + radius, centre.y, radius=radius * 1.3, stretch=1, angle=0)
    site.shapes.append(Shape(FIELD, site.free(fringe - gaps), tinted_paint("scrub", rng), canopy="scrub"))
    site.take(shore.buffer(9, quad_segs=2))
    return True


def disturb(site: Site, field: Field) -> None:
    """Turn a part of a field into something else: an excavation, solar panels, foil."""
    rng, rate = site.rng, site.rate
    draw = rng.random()
    if draw < 0.035 * rate:
        excavate(site, field)
    elif draw < 0.065 * rate:
        convert(site, field, str(rng.choice(["solar", "solar", "foil"])))
    elif draw < 0.16 * rate:
        spot = place_inside(site.free(field.ground), rng, 8)
        if spot is not None:
            park(site, (spot.x, spot.y), field.angle, 1.0 / rate)


def excavate(site: Site, field: Field) -> None:
    """Topsoil pushed away, with a heap beside."""
    rng = site.rng
    spot = place_inside(site.free(field.ground), rng, 20)
    if spot is None:
        return
    radius, stretch = rng.uniform(16, 38), rng.uniform(1, 1.4)
    pit = blob(rng, spot.x, spot.y, radius=radius, stretch=stretch, angle=field.angle)
    pit = site.free(pit & field.ground.buffer(-3))
    for part in polygons_of(pit, 150):
        site.shapes.append(Shape(SITE, part, tinted_paint("earth", rng), AFTER, kind_code("excavation", AFTER)))
        core = part.buffer(-7)
        if core.area > 120:
            kind = kind_code("excavation", AFTER)
            site.shapes.append(Shape(SITE, core, tinted_paint("gravel", rng), AFTER, kind))


def convert(site: Site, field: Field, name: str) -> None:
    """Rows of solar panels or of foil on a rectangle within the field."""
    rng = site.rng
    spot = place_inside(site.free(field.ground), rng, 18)
    if spot is None:
        return
    length, breadth = min(rng.uniform(50, 120), field.length), min(rng.uniform(35, 62), field.breadth * 0.8)
    ground = site.free(rectangle(spot.x, spot.y, length, breadth, field.angle) & field.ground.buffer(-5))
    paint = tinted_paint(name, rng, field.angle, spread=0.05)
    for part in polygons_of(ground, 300):
        site.shapes.append(Shape(SITE, part, paint, AFTER, kind_code("field_converted", AFTER)))


def plant_borders(site: Site, field: Field) -> None:
    """Hedges along some sides of a field, single trees along others; some are gone later."""
    rng = site.rng
    corners = shapely.get_coordinates(field.ground.simplify(4))
    for start, stop in pairwise(corners):
        length = float(np.hypot(*(stop - start)))
        if length < 40:
            continue
        draw = rng.random()
        if draw < 0.16:
            plant_hedge(site, start, stop)
        elif draw < 0.42:
            for at in rng.uniform(0, 1, rng.poisson(length / 70)):
                plant_tree(site, *(start + at * (stop - start) + rng.normal(0, 1, 2)))


def plant_hedge(site: Site, start: np.ndarray, stop: np.ndarray) -> None:
    """Bushes between two fields."""
    rng = site.rng
    first, last = np.sort(rng.uniform(0, 1, 2)) * [0.4, 1] if rng.random() < 0.5 else (0.02, 0.98)
    line = LineString([start + first * (stop - start), start + last * (stop - start)])
    ground = line.buffer(rng.uniform(1.6, 3.2), quad_segs=1)
    if not site.ground.contains(ground):
        ground = ground & site.ground
    paint, when = tinted_paint("scrub", rng), site.fate(0.055)
    for part in polygons_of(site.free(ground), 40):
        site.shapes.append(Shape(FIELD, part, paint, when, kind_code("trees_cleared", when), canopy="scrub"))


def plant_tree(site: Site, x: float, y: float) -> None:
    """A single tree in the open."""
    rng = site.rng
    if not shapely.contains_xy(site.ground, x, y) or shapely.contains_xy(site.taken, x, y):
        return
    radius, when = rng.uniform(2.4, 5.6), site.fate(0.05)
    height = radius * rng.uniform(1.5, 2.2)
    site.trees.append(Tree(x, y, radius, height, tree_paint(rng), when, kind_code("trees_cleared", when)))


def pave_farm_road(site: Site, fields: list[Field]) -> None:
    """A way between the fields: a track at both dates, or a new road at the second."""
    rng = site.rng
    draw = rng.random()
    longest = max(fields, key=lambda field: field.length if field.breadth > 40 else 0)
    corners = shapely.get_coordinates(longest.ground.simplify(5))
    start, stop = max(pairwise(corners), key=lambda ends: float(np.hypot(*(ends[1] - ends[0]))))
    line = LineString([start, stop])
    if line.length < 60 or draw > 0.5 + 0.32 * site.rate:
        return
    new = draw > 0.5
    ground = line.buffer(2.6 if new else 1.6, cap_style="flat") & site.ground
    free = site.free(ground)
    when = AFTER if new else BOTH
    paint = plain_paint("asphalt_new" if new else "track")
    for part in polygons_of(free, 60):
        site.shapes.append(Shape(TRACK, part, paint, when, kind_code("road_new", when)))
    site.take(ground.buffer(2, quad_segs=1))
