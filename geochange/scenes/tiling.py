"""Cutting a grid into overlapping tiles and into blocks of whole tiles. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from geochange.errors import BadOption
from geochange.scenes.grid import Tile
from geochange.scenes.options import TileOptions


@dataclass(frozen=True, slots=True)
class Cut:
    """One axis of a scene, cut into tiles and blocks; everything is anchored to the scene's origin.

    Tile i covers `size` pixels from i * step - margin, the last one only what the axis needs, in whole strides. Its
    outer `margin` is thrown away; of what is kept, the first and last `ramp` pixels are blended with the neighbour.
    Laws: at most two tiles are kept at a pixel; every pixel lies at least `margin` inside each tile that is kept
    there, so also at the scene's border, beyond which the scene is reflected.
    """

    length: int  # pixels of the axis
    size: int  # pixels of a tile; the last one may have fewer
    step: int  # from one tile to the next
    margin: int  # thrown away on each side of a tile
    tiles_per_block: int
    stride: int = 1  # of the detector

    @property
    def ramp(self) -> int:
        """Pixels that neighbouring tiles blend over."""
        return self.size - 2 * self.margin - self.step

    @property
    def tiles(self) -> int:
        """How many there are."""
        return max(1, ceil((self.length - self.ramp) / self.step))

    @property
    def blocks(self) -> int:
        """How many there are."""
        return ceil(self.tiles / self.tiles_per_block)

    def tile_start(self, tile: int) -> int:
        """Return the first pixel of a tile, which may lie before the axis."""
        return tile * self.step - self.margin

    def tile_size(self, tile: int) -> int:
        """Return the pixels of a tile."""
        needed = self.length + self.margin - self.tile_start(tile)
        return min(self.size, ceil(needed / self.stride) * self.stride)

    def block_tiles(self, block: int) -> range:
        """Return the numbers of a block's tiles."""
        first = block * self.tiles_per_block
        return range(first, min(first + self.tiles_per_block, self.tiles))

    def block_span(self, block: int) -> tuple[int, int]:
        """(start, stop) of the pixels that the block's file holds."""
        tiles = self.block_tiles(block)
        return tiles.start * self.step, self.length if tiles.stop == self.tiles else tiles.stop * self.step


def cut_axis(
    length: int, options: TileOptions, *, radius: int, stride: int, default_tile: int, default_overlap: int
) -> Cut:
    """Cut an axis so that steps and margins are multiples of the stride.

    The margin is the receptive radius where the overlap has room for it (then tiles are exact), else a quarter of
    the overlap; never so little that three tiles would meet at a pixel.
    """
    largest = options.tile_size or default_tile
    options.require_overlap_below(largest)
    overlap = default_overlap if options.overlap is None else options.overlap
    exact = ceil(radius / stride) * stride
    all_at_once = ceil((length + 2 * exact) / stride) * stride
    if overlap >= all_at_once:
        overlap = 2 * exact  # one tile holds all that there is
    size = min(largest, max(all_at_once, overlap + stride))  # a tile need not be larger than the scene
    step = (size - min(overlap, size - 1)) // stride * stride
    if step < 1:
        raise BadOption(f"tile size {size} less overlap {overlap} must be at least the detector's stride {stride}")
    overlap = size - step
    margin = exact if 2 * exact <= overlap else overlap // 4 // stride * stride
    crowded = ceil(max(overlap - 2 * margin - step, 0) / 2 / stride) * stride
    if 2 * (margin + crowded) > overlap:
        raise BadOption(
            f"tile size {size} with overlap {overlap} leaves no room for margins in steps of the stride, "
            f"{stride}; choose multiples of it"
        )
    return Cut(length, size, step, margin + crowded, max(1, round((options.block_size or largest) / step)), stride)


@dataclass(frozen=True, slots=True)
class Block:
    """A rectangle of whole tiles: one task, one file."""

    index: tuple[int, int]  # (row, col) among the blocks
    area: Tile  # pixels that its file holds; blocks partition the scene
    context: Tile  # pixels that its tiles read
    reach: Tile  # pixels that its tiles are kept at: `area` and the strips handed on to the right and below

    @property
    def name(self) -> str:
        """What the block's files are called."""
        return f"{self.index[0]:05d}_{self.index[1]:05d}"


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a scene is cut on both axes."""

    rows: Cut
    cols: Cut

    @property
    def blended(self) -> bool:
        """Whether neighbouring tiles share pixels, so that blocks hand strips to their neighbours."""
        return self.rows.ramp > 0 or self.cols.ramp > 0

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of blocks."""
        return self.rows.blocks, self.cols.blocks

    def blocks(self) -> Iterator[Block]:
        """All blocks, in raster order."""
        return (self.block((row, col)) for row in range(self.rows.blocks) for col in range(self.cols.blocks))

    def block(self, index: tuple[int, int]) -> Block:
        """Return the block at (row, col)."""
        spans = [cut.block_span(i) for cut, i in zip((self.rows, self.cols), index, strict=True)]
        tiles = [cut.block_tiles(i) for cut, i in zip((self.rows, self.cols), index, strict=True)]
        contexts = [
            (cut.tile_start(t.start), cut.tile_start(t.stop - 1) + cut.tile_size(t.stop - 1))
            for cut, t in zip((self.rows, self.cols), tiles, strict=True)
        ]
        reaches = [
            (start, min(cut.length, stop + cut.ramp))
            for cut, (start, stop) in zip((self.rows, self.cols), spans, strict=True)
        ]
        return Block(index, _tile_of(spans), _tile_of(contexts), _tile_of(reaches))

    def tiles(self, block: Block) -> Iterator[tuple[tuple[int, int], Tile]]:
        """(index, tile) of each tile of a block, in raster order."""
        for row in self.rows.block_tiles(block.index[0]):
            for col in self.cols.block_tiles(block.index[1]):
                start = self.rows.tile_start(row), self.cols.tile_start(col)
                yield (row, col), Tile(*start, self.rows.tile_size(row), self.cols.tile_size(col))


SQUARE = 256  # pixels per side of what a sample of a scene is made of


def partition(shape: tuple[int, int], cell: tuple[int, int]) -> Iterator[Tile]:
    """Cut a grid's pixels into cells of (rows, cols), the last ones ragged, in raster order."""
    for row in range(0, shape[0], cell[0]):
        for col in range(0, shape[1], cell[1]):
            yield Tile(row, col, min(cell[0], shape[0] - row), min(cell[1], shape[1] - col))


def sampled(shape: tuple[int, int], every: int) -> Iterator[Tile]:
    """Yield squares of a grid, the last ones cut off, of which one in so many is taken along rows and along columns."""
    for tile in partition(shape, (SQUARE, SQUARE)):
        if tile.row // SQUARE % every == 0 and tile.col // SQUARE % every == 0:
            yield tile


def _tile_of(spans: list[tuple[int, int]]) -> Tile:
    (top, bottom), (left, right) = spans
    return Tile(top, left, bottom - top, right - left)


LARGEST_CELL = 256  # pixels per side of the cells that are resampled


def cell_side(shape: tuple[int, int]) -> int:
    """Pixels per side of the cells that a grid is cut into: about 16 along its longer side, 8 to 256 pixels each."""
    return int(min(max(2 ** round(np.log2(max(shape) / 16)), 8), LARGEST_CELL))
