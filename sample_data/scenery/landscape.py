"""Blocks of land, furnished: roads, water, houses, fields. Each block follows from the seed and its place alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import shapely
from shapely import LineString
from shapely.geometry.base import BaseGeometry

from scenery.countryside import cultivate
from scenery.covers import plain_paint, tinted_paint
from scenery.features import (
    BANK,
    DEEP,
    LANE,
    MAIN,
    PLOT,
    TRACK,
    WATER,
    Shape,
    Site,
    Street,
    Tree,
)
from scenery.network import (
    ROAD_WIDTH,
    block_columns,
    block_polygon,
    cross_road,
    curve_length,
    is_village,
    line_kind,
    line_road,
    ribbon,
    river_curve,
    river_polygon,
)
from scenery.spec import local_rng
from scenery.village import add_farmstead, build_village, drive_past, tree_paint

SURFACE = {"main": (MAIN, "asphalt"), "lane": (LANE, "old_asphalt"), "track": (TRACK, "track")}
_FURNISH, _EDGES = 101, 102


@lru_cache(maxsize=320)  # a strip of blocks across 40,000 m, about a megabyte each
def furnish_block(seed: int, rate: float, row: int, index: int, estates: float = 0.0) -> Site:
    """Everything that belongs to one block, and to the line above and the cross road left of it."""
    rng = local_rng(seed, _FURNISH, row, index)
    ground = block_polygon(seed, row, index)
    streets = block_streets(seed, row, index)
    taken = taken_ground(seed, row, index, streets)
    site = Site(seed, row, index, rate, rng, ground, streets, taken, estates)
    lay_roads(site)
    lay_river(site)
    shapely.prepare([site.ground, site.taken])
    build_village(site)
    add_farmstead(site)
    site.take(shapely.union_all(shapely.buffer(site.claimed, 0.5, join_style="mitre")))
    cultivate(site)
    return site


def block_streets(seed: int, row: int, index: int) -> list[Street]:
    """The roads around a block, with the side on which the block lies."""
    first, last = block_columns(seed, row, index)
    roads = [(*line_road(seed, row, col), 1, (row, col), (row, col + 1)) for col in (first, first + 1)]
    roads += [(*line_road(seed, row + 1, col), -1, (row + 1, col), (row + 1, col + 1)) for col in (first, first + 1)]
    roads.append((*cross_road(seed, row, first), -1, (row, first), (row + 1, first)))
    roads.append((*cross_road(seed, row, last), 1, (row, last), (row + 1, last)))
    streets = []
    for kind, curve, side, start, stop in roads:
        if kind in ROAD_WIDTH:
            ends = ((start, 0.0), (stop, curve_length(curve)))
            villages = tuple(distance for place, distance in ends if is_village(seed, *place))
            streets.append(Street(curve, kind, side, villages))
    return streets


def taken_ground(seed: int, row: int, index: int, streets: list[Street]) -> BaseGeometry:
    """Roads with their verges, and rivers with their banks."""
    first, last = block_columns(seed, row, index)
    ground = [ribbon(street.curve, ROAD_WIDTH[street.kind] + 4) for street in streets]
    for line in (row, row + 1):
        if line_kind(seed, line) == "river":
            ground += [river_polygon(seed, line, col).buffer(7, quad_segs=1) for col in range(first - 1, last + 1)]
    return shapely.union_all(ground)


def lay_roads(site: Site) -> None:
    """The line above and the cross road to the left: verges, surfaces, trees, traffic."""
    first, _ = block_columns(site.seed, site.row, site.index)
    own = [line_road(site.seed, site.row, col) for col in (first, first + 1)]
    own.append(cross_road(site.seed, site.row, first))
    for kind, curve in own:
        if kind not in ROAD_WIDTH:
            continue
        order, cover = SURFACE[kind]
        site.shapes.append(Shape(PLOT, ribbon(curve, ROAD_WIDTH[kind] + 3.6), tinted_paint("verge", site.rng)))
        site.shapes.append(Shape(order, ribbon(curve, ROAD_WIDTH[kind]), plain_paint(cover)))
        drive_past(site, Street(curve, kind, 1, ()))
        if site.rng.random() < 0.3:
            plant_avenue(site, curve, ROAD_WIDTH[kind] / 2 + 3.4)


def plant_avenue(site: Site, curve: np.ndarray, offset: float) -> None:
    """Trees along one side of a road, with gaps."""
    rng = site.rng
    line = LineString(curve).offset_curve(offset * float(rng.choice([-1, 1])))
    for distance in np.arange(5, line.length, rng.uniform(10, 16)):
        point = line.interpolate(distance + rng.normal(0, 0.8))
        if rng.random() < 0.8:
            radius = rng.uniform(2.4, 4.0)
            site.trees.append(Tree(point.x, point.y, radius, radius * 2, tree_paint(rng)))


def lay_river(site: Site) -> None:
    """The river above the block, if there is one: banks, water, bushes along it."""
    if line_kind(site.seed, site.row) != "river":
        return
    first, last = block_columns(site.seed, site.row, site.index)
    bank, water, deep = tinted_paint("bank", site.rng), plain_paint("shallow"), plain_paint("deep")
    for col in range(first, last):
        river = river_polygon(site.seed, site.row, col)
        site.shapes.append(Shape(BANK, river.buffer(4.5, quad_segs=3), bank))
        site.shapes.append(Shape(WATER, river, water))
        site.shapes.append(Shape(DEEP, river.buffer(-2.4), deep))
        line_banks(site, river_curve(site.seed, site.row, col), river)


def line_banks(site: Site, curve: np.ndarray, river: BaseGeometry) -> None:
    """Bushes and trees in stretches along both banks."""
    rng, n = site.rng, len(curve)
    for _ in range(7):
        start, count = int(rng.integers(0, n - 8)), int(rng.integers(6, 20))
        stretch = LineString(curve[start : start + count]).offset_curve(
            float(rng.choice([-1, 1])) * rng.uniform(10, 13)
        )
        ground = stretch.buffer(rng.uniform(2, 4.5), quad_segs=2) - river
        site.shapes.append(Shape(PLOT, ground, tinted_paint("scrub", rng), canopy="wood"))
