"""The tiles of one block → probabilities: read once, score tile by tile, blend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.detectors.boxes import PIXEL_PARTS, Boxes, join_boxes
from geochange.detectors.detector import Fitted, Scores, comparable_in
from geochange.engine.blend import taper, weighted
from geochange.engine.thumbnails import Thumbnail, thumbnail_sums
from geochange.scenes.grid import Tile
from geochange.scenes.pairing import Scene
from geochange.scenes.tiling import Block, Tiling


@dataclass(frozen=True)
class Inference:
    """All that a worker needs to score a block."""

    scene: Scene
    fitted: Fitted
    tiling: Tiling
    layers: tuple[str, ...] = ()
    thumbnail: Thumbnail | None = None


def as_floats(dates: list[Array]) -> Floats:
    """Return (time, band, y, x) float32 of dates that may differ in dtype."""
    whole: Floats = tiles_as_floats(dates, [(slice(None), slice(None))])[0]
    return whole


def tiles_as_floats(dates: list[Array], at: Sequence[tuple[slice, slice]]) -> Floats:
    """Return (tile, time, band, y, x) float32 of tiles of one shape, copied once."""
    tiles = np.empty((len(at), len(dates), *dates[0][:, *at[0]].shape), np.float32)
    for tile, part in zip(tiles, at, strict=True):
        for place, date in zip(tile, dates, strict=True):
            place[...] = date[:, *part]
    return tiles


@dataclass(frozen=True, slots=True)
class BlockPixels:
    """A block's pixels with the context of its tiles, read once."""

    dates: list[Array]  # for each date (band, y, x), as stored
    valid: Bools  # (time, y, x)


def score_tiles(
    inference: Inference, block: Block, pixels: BlockPixels
) -> Iterator[tuple[tuple[int, int], Tile, Scores, Bools]]:
    """Yield (index, tile, scores, valid) of each tile of a block, in raster order.

    valid is (y, x), True where the detector can score: as a rule where every date holds data.
    """
    origin = block.context.row, block.context.col
    for batch in batched(inference.tiling.tiles(block), inference.fitted.tiles_at_once):
        at = [tile.slices(origin) for _, tile in batch]
        dates = tiles_as_floats(pixels.dates, at)
        valid = np.stack([pixels.valid[:, *part] for part in at])
        scores = inference.fitted.score(dates, valid, inference.layers)
        for k, (index, tile) in enumerate(batch):
            yield index, tile, one_of(scores, k), comparable_in(inference.fitted, valid[k])


def batched(tiles: Iterable[tuple[tuple[int, int], Tile]], most: int) -> Iterator[list[tuple[tuple[int, int], Tile]]]:
    """Yield tiles in their order, at most so many of one shape at once."""
    batch: list[tuple[tuple[int, int], Tile]] = []
    for each in tiles:
        if batch and (len(batch) == most or each[1].shape != batch[0][1].shape):
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def one_of(scores: Scores, k: int) -> Scores:
    """Return the k-th tile's scores, as a batch of one."""
    layers = {name: layer[k : k + 1] for name, layer in scores.layers.items()}
    return Scores(scores.probability[k : k + 1], layers, scores.boxes[k : k + 1])


@dataclass(frozen=True)
class ScoredBlock:
    """What a block's own tiles give; strips of neighbours are still to be added where tiles are blended."""

    totals: Ints | None  # (class, y, x) int64 over the block's reach; None where nothing is blended
    probability: Floats | None  # (class, y, x) float32 over the block's area where nothing is blended
    layers: dict[str, Floats]  # name -> (band, y, x) over the block's area
    valid: Bools  # (y, x) over the block's area
    thumbnail: Floats | None  # see `thumbnail_sums`
    boxes: Boxes | None  # found in the block's area, in the scene's pixels; None where objects are not looked for


def score_block(inference: Inference, block: Block) -> ScoredBlock:
    """Score a block's tiles and put them together."""
    classes = len(inference.fitted.classes)
    blended = inference.tiling.blended
    totals = np.zeros((classes, *block.reach.shape), np.int64) if blended else None
    probability = None if blended else np.empty((classes, *block.area.shape), np.float32)
    layers = {
        name: np.full((inference.fitted.layers[name], *block.area.shape), np.nan, np.float32)
        for name in inference.layers
    }
    valid = np.zeros(block.area.shape, bool)
    pixels, boxes = BlockPixels(*inference.scene.read(block.context)), []
    for index, tile, scores, tile_valid in score_tiles(inference, block, pixels):
        if totals is not None:
            kept = tile.intersect(block.reach)
            into = kept.slices((block.reach.row, block.reach.col))
            totals[:, *into] += _weighted_part(
                scores.probability[0], inference.tiling, index, kept.slices((tile.row, tile.col))
            )
        own = _owned(inference.tiling, index, block)
        into, out_of = own.slices((block.area.row, block.area.col)), own.slices((tile.row, tile.col))
        if probability is not None:
            probability[:, *into] = scores.probability[0][:, *out_of]
        for name, layer in layers.items():
            layer[:, *into] = np.where(tile_valid[out_of], scores.layers[name][0][:, *out_of], np.nan)
        valid[into] = tile_valid[out_of]
        boxes += [own_boxes(found, tile, own, tile_valid, inference.scene.shape) for found in scores.boxes]
    found = join_boxes(boxes) if inference.fitted.objects else None
    return ScoredBlock(totals, probability, layers, valid, _thumbnail(inference, block, pixels), found)


def _thumbnail(inference: Inference, block: Block, pixels: BlockPixels) -> Floats | None:
    if inference.thumbnail is None:
        return None
    own = block.area.slices((block.context.row, block.context.col))
    dates = [date[:, *own] for date in pixels.dates]
    return thumbnail_sums(dates, pixels.valid[:, *own], block.area, inference.thumbnail)


def own_boxes(boxes: Boxes, tile: Tile, own: Tile, valid: Bools, shape: tuple[int, int]) -> Boxes:
    """Return the boxes that a tile answers for: their cells lie in its own pixels, their centres hold data.

    Args:
        boxes: in the tile's pixels.
        tile: where it lies in the scene.
        own: the pixels that it answers for.
        valid: (y, x) of the tile, True where the detector can score.
        shape: of the scene; boxes end at its border.

    Returns:
        In the scene's pixels; those that touch its border or a pixel without data say so.
    """
    moved = boxes.move(tile.row, tile.col)
    rows, cols = (moved.cells // PIXEL_PARTS).T
    mine = (rows >= own.row) & (rows < own.stop_row) & (cols >= own.col) & (cols < own.stop_col)
    limits = np.array([shape[1], shape[0]] * 2) * PIXEL_PARTS
    corners = np.clip(moved.corners, 0, limits)
    mine &= (corners[:, 2:] - corners[:, :2] >= PIXEL_PARTS).all(axis=1)  # what is left at the border may be a sliver
    kept = replace(moved, corners=corners).where(mine)
    centres = kept.centres - (tile.row, tile.col)
    inside: Bools = np.logical_and.reduce((centres >= 0) & (centres < valid.shape), axis=1)
    kept, centres = kept.where(inside), centres[inside]
    kept = kept.where(valid[centres[:, 0], centres[:, 1]])
    border = (kept.corners == 0).any(axis=1) | (kept.corners[:, 2:] == limits[2:]).any(axis=1)
    return replace(kept, on_edge=border | _touches_nodata(kept, tile, valid))


def _touches_nodata(boxes: Boxes, tile: Tile, valid: Bools) -> Bools:
    """Return (n,) whether a pixel of a box, or beside it, holds no data."""
    empty = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), np.int64)
    np.cumsum(np.cumsum(~valid, axis=0), axis=1, out=empty[1:, 1:])
    left, top = boxes.corners[:, :2].T // PIXEL_PARTS - 1
    right, bottom = -(-boxes.corners[:, 2:].T // PIXEL_PARTS) + 1
    left, right = (np.clip(each - tile.col, 0, valid.shape[1]) for each in (left, right))
    top, bottom = (np.clip(each - tile.row, 0, valid.shape[0]) for each in (top, bottom))
    count = empty[bottom, right] - empty[top, right] - empty[bottom, left] + empty[top, left]
    touches: Bools = count > 0
    return touches


def _weighted_part(probability: Floats, tiling: Tiling, index: tuple[int, int], part: tuple[slice, slice]) -> Ints:
    """Return the part of a tile that lies in its block's reach, times its weights."""
    rows, cols = taper(tiling.rows, index[0])[part[0]], taper(tiling.cols, index[1])[part[1]]
    return weighted(probability[:, *part], rows, cols)


def _owned(tiling: Tiling, index: tuple[int, int], block: Block) -> Tile:
    """Return the pixels that a tile alone answers for: one step, or all to the border for the last tile of an axis."""
    starts, stops = [], []
    for cut, i in zip((tiling.rows, tiling.cols), index, strict=True):
        starts.append(i * cut.step)
        stops.append(cut.length if i == cut.tiles - 1 else (i + 1) * cut.step)
    own = Tile(starts[0], starts[1], stops[0] - starts[0], stops[1] - starts[1])
    return own.intersect(block.area)
