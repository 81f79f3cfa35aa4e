"""Vectors onto pixels: which paint covers each pixel at each date, and how high it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import floor

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize
from scipy.ndimage import label

from geochange.arrays import Array, Floats, Ints
from geochange.scenes.grid import Tile
from scenery.covers import AFTER, BEFORE, BOTH, KINDS, Paint, plain_paint
from scenery.features import Building, Shape, Tree
from scenery.landscape import furnish_block
from scenery.network import blocks_near
from scenery.spec import SceneSpec
from scenery.textures import CANOPIES, crown_profile, crown_tiles, window

LEAST = 10  # pixels of the smallest true change
FELLED = 1 + KINDS.index("trees_cleared")


@dataclass(slots=True)
class Drawing:
    """What covers the pixels of a tile."""

    tile: Tile
    paints: dict[Paint, int]
    labels: Ints  # (2, y, x) number of the paint, before and after
    heights: Floats  # (2, y, x) metres above the ground
    tones: Floats  # (y, x) brightness of single crowns, 0 elsewhere
    kinds: Ints  # (y, x) code of the true change, 0 for none


@dataclass(slots=True)
class Contents:
    """What may be seen in a tile."""

    shapes: list[Shape] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)


def draw(spec: SceneSpec, tile: Tile) -> Drawing:
    """Draw everything that lies in a tile. The tile may reach beyond the scene; the landscape does."""
    contents = contents_of(spec, tile)
    paints: dict[Paint, int] = {plain_paint("margin"): 0}
    for thing in (*contents.shapes, *contents.buildings, *contents.trees):
        paints.setdefault(thing.paint, len(paints))
    heights = np.zeros((2, *tile.shape), np.float32)
    kinds = np.zeros(tile.shape, np.uint8)
    drawing = Drawing(tile, paints, draw_ground(spec, tile, contents, paints, kinds), heights, heights[0] * 0, kinds)
    draw_canopy(spec, contents, drawing)
    for building in contents.buildings:
        draw_building(spec, building, drawing)
    for tree in contents.trees:
        draw_tree(spec, tree, drawing)
    settle_truth(drawing)
    return drawing


def settle_truth(drawing: Drawing) -> None:
    """Set the kinds to where the dates differ, and undo what is too small to be called a change."""
    labels, heights = drawing.labels, drawing.heights
    regions, _ = label(labels[0] != labels[1])
    specks = (np.bincount(regions.ravel()) < LEAST)[regions] & (regions > 0)
    labels[1][specks], heights[1][specks] = labels[0][specks], heights[0][specks]
    # A felled crown may hang over the outline of what was felled.
    kinds = np.where(drawing.kinds == 0, FELLED, drawing.kinds)
    drawing.kinds = np.where(labels[0] != labels[1], kinds, 0).astype(np.uint8)


def contents_of(spec: SceneSpec, tile: Tile) -> Contents:
    """What stands in a tile, in the order of the blocks."""
    p = spec.pixel
    left, top, right, bottom = tile.col * p, tile.row * p, tile.stop_col * p, tile.stop_row * p

    def near(thing: Building | Tree) -> bool:
        reach = thing.reach
        return left - reach < thing.x < right + reach and top - reach < thing.y < bottom + reach

    contents = Contents()
    for row, index in blocks_near(spec.seed, left, top, right, bottom):
        site = furnish_block(spec.seed, spec.change_rate, row, index, spec.estates)
        boxes = shapely.bounds([shape.outline for shape in site.shapes])
        met = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
        contents.shapes += [site.shapes[k] for k in np.flatnonzero(met)]
        contents.buildings += filter(near, site.buildings)
        contents.trees += filter(near, site.trees)
    return contents


def burn(spec: SceneSpec, tile: Tile, shapes: Iterable[tuple[Shape, int]], dtype: str) -> Ints:
    """(y, x) value of the last shape that covers a pixel's centre; 0 where none does."""
    transform = Affine(spec.pixel, 0, tile.col * spec.pixel, 0, spec.pixel, tile.row * spec.pixel)
    pairs = [(shape.rings, value) for shape, value in shapes if not shape.outline.is_empty]
    if not pairs:
        return np.zeros(tile.shape, dtype)
    return rasterize(pairs, tile.shape, transform=transform, dtype=dtype)


def draw_ground(spec: SceneSpec, tile: Tile, contents: Contents, paints: dict[Paint, int], kinds: Ints) -> Ints:
    """(2, y, x) labels of the surfaces; marks the kinds of those that are there at one date only."""
    surfaces = sorted((shape for shape in contents.shapes if shape.canopy is None), key=lambda shape: shape.order)
    dated = [(shape, shape.kind) for shape in surfaces if shape.when != BOTH]
    labels = [
        burn(spec, tile, ((shape, paints[shape.paint]) for shape in surfaces if shape.when & date), "int16")
        for date in ((BEFORE, AFTER) if dated else (BEFORE,))
    ]
    np.maximum(kinds, burn(spec, tile, dated, "uint8"), out=kinds)
    return np.stack([labels[0], labels[-1]])


def draw_canopy(spec: SceneSpec, contents: Contents, drawing: Drawing) -> None:
    """Woods, hedges and bushes: each crown of a periodic canopy whose middle lies in a wood stands there whole."""
    covered = [shape for shape in contents.shapes if shape.canopy is not None]
    if not covered:
        return
    tile = drawing.tile
    rows, cols = np.arange(tile.height)[:, None], np.arange(tile.width)[None, :]
    for name, (period, *_) in CANOPIES.items():
        crowns = crown_tiles(spec.seed, spec.pixel)[name]
        view = [
            window(layer, tile.row, tile.col, tile.shape, period)
            for layer in (crowns.height, crowns.tone, crowns.row_shift, crowns.col_shift)
        ]
        height, tone, row_shift, col_shift = view
        at = np.clip(rows + row_shift, 0, tile.height - 1) * tile.width + np.clip(cols + col_shift, 0, tile.width - 1)
        mine = [shape for shape in covered if shape.canopy in (name, "none")]
        for date in (0, 1):
            if date == 0 or any(shape.when != BOTH for shape in mine):
                standing = [
                    (shape, drawing.paints[shape.paint] if shape.canopy == name else 0)
                    for shape in mine
                    if shape.when & (date + 1)
                ]
                wood = burn(spec, tile, standing, "int16").ravel()[at]
            stands = (wood > 0) & (height > drawing.heights[date])
            drawing.labels[date][stands] = wood[stands]
            drawing.heights[date][stands] = height[stands]
            drawing.tones[stands] = tone[stands]


def patch_of(spec: SceneSpec, tile: Tile, thing: Building | Tree) -> tuple[tuple[slice, slice], Floats, Floats] | None:
    """(place in the tile, x and y in metres from the thing's middle) of the pixels around a thing."""
    p, reach = spec.pixel, thing.reach + spec.pixel
    side = int(2 * reach / p) + 2
    box = Tile(floor((thing.y - reach) / p), floor((thing.x - reach) / p), side, side).intersect(tile)
    if box.size == 0:
        return None
    x = (np.arange(box.col, box.stop_col) + 0.5) * p - thing.x
    y = (np.arange(box.row, box.stop_row) + 0.5) * p - thing.y
    return box.slices((tile.row, tile.col)), x[None, :], y[:, None]


def draw_building(spec: SceneSpec, building: Building, drawing: Drawing) -> None:
    """A roof over whatever was there."""
    found = patch_of(spec, drawing.tile, building)
    if found is None:
        return
    place, x, y = found
    c, s = np.cos(building.angle), np.sin(building.angle)
    inward_u = building.length / 2 - np.abs(x * c + y * s)
    inward_v = building.breadth / 2 - np.abs(y * c - x * s)
    inside = (inward_u > 0) & (inward_v > 0)
    run = np.minimum(inward_u, inward_v) if building.hipped else inward_v
    put(drawing, place, inside, building.eave + building.pitch * run, building)


def draw_tree(spec: SceneSpec, tree: Tree, drawing: Drawing) -> None:
    """A dome, where it rises above what is there."""
    found = patch_of(spec, drawing.tile, tree)
    if found is None:
        return
    place, x, y = found
    dome = tree.height * crown_profile((x**2 + y**2) / tree.radius**2)
    put(drawing, place, dome > 0, dome, tree)


def put(drawing: Drawing, place: tuple[slice, slice], inside: Array, height: Floats, thing: Building | Tree) -> None:
    """Mark a thing's pixels at the dates at which it is there."""
    for date in (0, 1):
        if thing.when & (date + 1):
            here = inside & (height > drawing.heights[date][place]) if isinstance(thing, Tree) else inside
            drawing.heights[date][place][here] = height[here]
            drawing.labels[date][place][here] = drawing.paints[thing.paint]
    drawing.tones[place][inside] = 0
    if thing.kind:
        drawing.kinds[place][inside] = thing.kind
