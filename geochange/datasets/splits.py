"""Blocks or cells of one large scene, held out for validation behind a gap. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from geochange.datasets.collection import cut
from geochange.scenes.grid import Tile

SCENE_PART = 2048  # pixels per side, at most, of the parts of a scene that hold out one block each
SPLIT_GAP = 64  # pixels between held-out tiles and training tiles
NARROWEST_TILE = 64  # pixels, of a training tile
FEWEST_CELLS = 4  # labelled ones, of which some can be held out
LEAST_LEFT = 0.5  # share of the scene that must be left for training


def divide_scene(tiles: Sequence[Tile], share: float, seed: int, side: int) -> tuple[list[Tile], list[Tile]]:
    """Divide a scene into training tiles and held-out tiles, at least `SPLIT_GAP` pixels apart.

    Args:
        tiles: the parts of the scene that can be read.
        share: share of the area to hold out.
        seed: seed of the places of held-out blocks.
        side: largest side of a tile.

    Returns:
        Training tiles and held-out ones; all tiles and none where less than half of the scene would be left.
    """
    shape = max(tile.stop_row for tile in tiles), max(tile.stop_col for tile in tiles)
    blocks = _place_blocks(shape, share, seed)
    pieces = [_largest_outside(piece, blocks) for tile in tiles for piece in _cut(tile, side)]
    training = [piece for piece in pieces if min(piece.shape) >= NARROWEST_TILE]
    if sum(piece.size for piece in training) < LEAST_LEFT * sum(tile.size for tile in tiles):
        return list(tiles), []
    held_out = [piece for block in blocks for piece in _cut(block, side)]
    return training, [each for each in held_out if sum(each.intersect(tile).size for tile in tiles) == each.size]


def choose_cells(changed: Sequence[bool], order: Sequence[int], share: float) -> list[int]:
    """Choose labelled cells of a scene to hold out, some with change among them.

    Args:
        changed: whether each cell holds change.
        order: in which cells are taken, a random one.
        share: of the cells to hold out.

    Returns:
        Numbers of cells; none where fewer than `FEWEST_CELLS` are labelled, or where change would be missing on one of
        both sides.
    """
    if len(changed) < FEWEST_CELLS or share <= 0:
        return []
    count = min(max(1, round(share * len(changed))), len(changed) // 2)
    chosen = list(order[:count])
    if not any(changed[cell] for cell in chosen):
        chosen = [*chosen[:-1], *[cell for cell in order[count:] if changed[cell]][:1]]
    left = [cell for cell in order if cell not in chosen]
    return chosen if all(any(changed[cell] for cell in part) for part in (chosen, left)) else []


def _place_blocks(shape: tuple[int, int], share: float, seed: int) -> list[Tile]:
    """Place one block in each cell of the scene, at a random corner."""
    rng, blocks = np.random.default_rng(seed), []
    for cell in cut(shape, SCENE_PART):
        height, width = (round(length * np.sqrt(share)) for length in cell.shape)
        down, right = rng.integers(2, size=2).tolist()
        row, col = cell.row + down * (cell.height - height), cell.col + right * (cell.width - width)
        blocks.append(Tile(row, col, height, width))
    return blocks


def _cut(tile: Tile, side: int) -> Iterator[Tile]:
    for piece in cut(tile.shape, side):
        yield replace(piece, row=tile.row + piece.row, col=tile.col + piece.col)


def _largest_outside(tile: Tile, blocks: Sequence[Tile]) -> Tile:
    """Return the largest part of a tile beyond the gap around each block; of zero size where there is none."""
    for block in blocks:
        near = tile.intersect(block.grow(SPLIT_GAP))
        if near.size:
            above = replace(tile, height=near.row - tile.row)
            below = replace(tile, row=near.stop_row, height=tile.stop_row - near.stop_row)
            left = replace(tile, width=near.col - tile.col)
            right = replace(tile, col=near.stop_col, width=tile.stop_col - near.stop_col)
            tile = max(above, below, left, right, key=lambda part: part.size)
    return tile
