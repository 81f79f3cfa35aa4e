"""Houses with gardens along the streets, farmsteads, vehicles."""

from __future__ import annotations

from math import pi

import numpy as np
import shapely
from shapely import Polygon

from scenery.covers import AFTER, Paint, plain_paint, tinted_paint
from scenery.features import PLOT, YARD, Building, Shape, Site, Street, Tree, kind_code
from scenery.network import ROAD_WIDTH, curve_length
from scenery.parcels import Frame, frames_along, spacings

ROOFS = ("tile_red", "tile_red", "tile_red", "tile_brown", "tile_brown", "slate", "fibre")
PLOTS = ("lawn", "lawn", "lawn", "garden", "garden", "pasture", "meadow")
CARS = ("white_car", "dark_car", "white_car", "red_car", "blue_car", "dark_car")
VILLAGE_REACH = 190.0  # metres of street on each side of a village's junction


def build_village(site: Site) -> None:
    """Plots with houses along the streets near villages, as far as they find room."""
    for street in site.streets:
        if street.kind == "track" or not street.villages:
            continue
        middles, widths = spacings(street.curve, site.rng, 17, 29)
        near = np.min(np.abs(middles[:, None] - np.array(street.villages)), axis=1, initial=np.inf) < VILLAGE_REACH
        offset = ROAD_WIDTH[street.kind] / 2 + 2.1
        frames = frames_along(street.curve, street.side, offset, middles[near])
        for frame, width in zip(frames, widths[near], strict=True):
            settle_plot(site, frame, float(width))


def claim(site: Site, ground: Polygon) -> bool:
    """Take a piece of land if it lies free inside the block."""
    if not site.ground.contains(ground) or site.taken.intersects(ground):
        return False
    if site.claimed and shapely.area(shapely.intersection(site.claimed, ground)).max() > 2:
        return False
    site.claimed.append(ground)
    return True


def settle_plot(site: Site, frame: Frame, width: float) -> None:
    """One plot: house, drive, garden, trees; now and then it is still, or again, without a house."""
    rng = site.rng
    depth = rng.uniform(32, 48)
    plot = frame.quad(-width / 2, width / 2, 0, depth)
    if not claim(site, plot):
        return
    site.shapes.append(Shape(PLOT, plot, tinted_paint(str(rng.choice(PLOTS)), rng, spread=0.16)))
    if rng.random() < 0.94:
        garden = frame.quad(-width / 2 + 1, width / 2 - 1, depth * 0.6, depth - 1)
        if rng.random() < 0.4:
            site.shapes.append(Shape(YARD, garden, tinted_paint("garden", rng, spread=0.14)))
        build_house(site, frame, width, depth)
    plant_garden(site, frame, width, depth)


def build_house(site: Site, frame: Frame, width: float, depth: float) -> None:
    """A house near the street with its drive, perhaps a wing, and a shed behind."""
    rng = site.rng
    when = site.fate(0.06, 0.13)
    kind = kind_code("building_new" if when == AFTER else "building_gone", when)
    roof = tinted_paint(str(rng.choice(ROOFS)), rng, spread=0.13)
    length, breadth = rng.uniform(10, min(15, width - 4)), rng.uniform(8, 10.5)
    turned = rng.random() < 0.35
    setback = rng.uniform(4, 9) + (length if turned else breadth) / 2
    x = rng.uniform(-0.5, 0.5) * max(width - length - 3, 0)
    centre, angle = frame.place(x, setback), frame.angle + (pi / 2 if turned else 0) + rng.normal(0, 0.02)
    pitch, hipped, eave = rng.uniform(0.55, 0.95), bool(rng.random() < 0.2), rng.uniform(3.5, 6)
    house = Building(*centre, angle, length, breadth, eave, pitch, hipped, roof, when, kind)
    drive = frame.quad(x + breadth / 2 - 1.5, x + breadth / 2 + 2.5, -1.6, setback)
    site.shapes.append(Shape(YARD, drive, tinted_paint(str(rng.choice(["paving", "gravel"])), rng)))
    site.buildings.append(house)
    if rng.random() < 0.3:
        wing = frame.place(x + rng.choice([-1, 1]) * length * 0.3, setback + breadth * 0.7)
        site.buildings.append(Building(*wing, angle + pi / 2, breadth, 6, eave, pitch, False, roof, when, kind))
    if rng.random() < 0.45:
        add_shed(site, frame.place(rng.uniform(-0.35, 0.35) * width, depth * rng.uniform(0.62, 0.85)), frame.angle)


def add_shed(site: Site, place: tuple[float, float], angle: float) -> None:
    """A small outbuilding."""
    rng, when = site.rng, site.fate(0.06, 0.06)
    kind = kind_code("building_new" if when == AFTER else "building_gone", when)
    roof = tinted_paint(str(rng.choice(["fibre", "metal", "tile_brown", "slate"])), rng, spread=0.15)
    size = rng.uniform(4, 7), rng.uniform(3.2, 5)
    site.buildings.append(Building(*place, angle, *size, 2.5, 0.25, False, roof, when, kind))


def plant_garden(site: Site, frame: Frame, width: float, depth: float) -> None:
    """A few trees and bushes behind the house, and a hedge on some borders."""
    rng = site.rng
    for _ in range(rng.poisson(2.2)):
        x, y = frame.place(rng.uniform(-0.45, 0.45) * width, depth * rng.uniform(0.5, 0.97))
        radius = rng.uniform(1.4, 4.2)
        site.trees.append(Tree(x, y, radius, radius * rng.uniform(1.3, 2.2), tree_paint(rng)))
    if rng.random() < 0.35:
        hedge = frame.quad(-width / 2, -width / 2 + 1.3, 3, depth)
        site.shapes.append(Shape(PLOT, hedge, tinted_paint("scrub", rng), canopy="scrub"))


def tree_paint(rng: np.random.Generator) -> Paint:
    """One tree's leaves."""
    return tinted_paint(str(rng.choice(["broadleaf", "broadleaf", "scrub", "conifer"])), rng, spread=0.16)


def add_farmstead(site: Site) -> None:
    """A yard with barns, a house and trees beside a street outside the village."""
    rng = site.rng
    streets = [street for street in site.streets if street.kind != "track"]
    if not streets or rng.random() > 0.62:
        return
    street = streets[int(rng.integers(len(streets)))]
    distance = rng.uniform(0.2, 0.8) * curve_length(street.curve)
    offset = ROAD_WIDTH[street.kind] / 2 + 2.1
    (frame,) = frames_along(street.curve, street.side, offset, np.array([distance]))
    ground = frame.quad(-34, 34, 3, 66)
    if not claim(site, ground):
        return
    site.shapes.append(Shape(PLOT, ground.buffer(-4).buffer(4), tinted_paint("pasture", rng)))
    site.shapes.append(Shape(YARD, frame.quad(-22, 20, -2, 46).buffer(-5).buffer(5), tinted_paint("gravel", rng)))
    site.shapes.append(Shape(YARD, frame.quad(-3, 3, -4.6, 10), tinted_paint("gravel", rng)))
    furnish_farm(site, frame)


def furnish_farm(site: Site, frame: Frame) -> None:
    """Two or three barns around the yard, a house, a ring of trees."""
    rng = site.rng
    slots = ((-25, 30, pi / 2, 38, 15), (0, 53, 0, 40, 16), (25, 30, pi / 2, 30, 14))
    for x, y, turn, longest, broadest in slots:
        when = site.fate(0.10, 0.22)
        kind = kind_code("building_new" if when == AFTER else "building_gone", when)
        roof = tinted_paint(str(rng.choice(["fibre", "metal", "tile_brown", "tile_red", "slate"])), rng, spread=0.12)
        length, breadth = longest * rng.uniform(0.65, 1), broadest * rng.uniform(0.75, 1)
        barn = (*frame.place(x, y), frame.angle + turn, length, breadth, 5.5, rng.uniform(0.25, 0.5), False, roof)
        if rng.random() < 0.85:
            site.buildings.append(Building(*barn, when, kind))
    house = (*frame.place(-10, 11), frame.angle, 13, 9.5, 5, 0.8, False, tinted_paint("tile_red", rng))
    site.buildings.append(Building(*house))
    for _ in range(rng.poisson(9)):
        x, y = frame.place(rng.choice([-1, 1]) * rng.uniform(31, 36), rng.uniform(4, 66))
        radius = rng.uniform(2.2, 4.8)
        site.trees.append(Tree(x, y, radius, radius * rng.uniform(1.6, 2.3), tree_paint(rng)))
    for _ in range(2):
        park(site, frame.place(rng.uniform(-14, 14), rng.uniform(20, 38)), rng.uniform(0, pi), 0.3)


def park(site: Site, place: tuple[float, float], angle: float, changing: float) -> None:
    """A van or a lorry, which may be away at one of the dates."""
    rng = site.rng
    when = site.fate(changing / 2, changing / 2)
    length, breadth = (rng.uniform(5.2, 6.6), 2.5) if rng.random() < 0.7 else (rng.uniform(8, 12), 2.7)
    paint = plain_paint(str(rng.choice(CARS)))
    site.buildings.append(
        Building(*place, angle, length, breadth, 2.0, 0.0, False, paint, when, kind_code("vehicle", when))
    )


def drive_past(site: Site, street: Street) -> None:
    """Traffic on a road: hardly a vehicle stays where it is between the dates."""
    rng = site.rng
    busy = {"main": 1.1, "lane": 0.5, "track": 0.15}[street.kind]
    for _ in range(rng.poisson(busy)):
        distance = rng.uniform(0, curve_length(street.curve))
        side = int(rng.choice([-1, 1]))
        (frame,) = frames_along(street.curve, side, ROAD_WIDTH[street.kind] * 0.22, np.array([distance]))
        park(site, frame.place(0, 0), frame.angle, 0.9)
