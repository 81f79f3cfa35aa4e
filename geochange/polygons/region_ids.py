"""Polygons burnt into numbers, block by block, on disk: which polygon holds each pixel of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely import STRtree

from geochange.arrays import Array, Ints
from geochange.files import save_array
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition

ID_BLOCK = 1024


@dataclass(frozen=True)
class RegionIds:
    """Numbers of polygons in a folder of block files; a block without polygons has none."""

    folder: Path
    shape: tuple[int, int]

    def burn(self, polygons: Array, first: int) -> None:
        """Burn numbers of polygons from `first` on, by pixel centre; where they overlap, the last one counts.

        Args:
            polygons: (n,) in pixels, x = column and y = row.
            first: above 0.
        """
        index = STRtree(polygons)
        for block in self._blocks(_around(polygons).intersect(Tile(0, 0, *self.shape))):
            near = np.sort(index.query(shapely.box(block.col, block.row, block.stop_col, block.stop_row)))
            if not near.size:
                continue
            path = self._file(block)
            self.folder.mkdir(exist_ok=True)
            ids = np.load(path) if path.exists() else np.zeros(block.shape, np.int32)
            shapes = zip(polygons[near], (near + first).tolist(), strict=True)
            rasterize(shapes, out=ids, transform=Affine.translation(block.col, block.row))
            save_array(path, ids)

    def read(self, tile: Tile) -> Ints:
        """(y, x) int32 numbers of a tile; 0 where there is no polygon, and beyond the scene."""
        ids = np.zeros(tile.shape, np.int32)
        for block in self._blocks(tile.intersect(Tile(0, 0, *self.shape))):
            path, part = self._file(block), block.intersect(tile)
            if path.exists():
                stored = np.load(path, mmap_mode="r")
                ids[part.slices((tile.row, tile.col))] = stored[part.slices((block.row, block.col))]
        return ids

    def at(self, row: int, col: int) -> int:
        """Return the number at a pixel."""
        return int(self.read(Tile(row, col, 1, 1))[0, 0])

    def blocks(self) -> list[Tile]:
        """All blocks of the scene, in raster order."""
        return list(partition(self.shape, (ID_BLOCK, ID_BLOCK)))

    def _blocks(self, tile: Tile) -> list[Tile]:
        """List the blocks that a tile inside the scene meets."""
        if not tile.size:
            return []
        top, left = tile.row // ID_BLOCK * ID_BLOCK, tile.col // ID_BLOCK * ID_BLOCK
        scene = Tile(0, 0, *self.shape)
        cells = partition((tile.stop_row - top, tile.stop_col - left), (ID_BLOCK, ID_BLOCK))
        return [Tile(top + cell.row, left + cell.col, ID_BLOCK, ID_BLOCK).intersect(scene) for cell in cells]

    def _file(self, block: Tile) -> Path:
        return self.folder / f"ids-{block.row // ID_BLOCK:05d}-{block.col // ID_BLOCK:05d}.npy"


def _around(polygons: Array) -> Tile:
    """Return the smallest tile that holds all polygons."""
    left, top, right, bottom = shapely.total_bounds(polygons)
    if not np.isfinite([left, top, right, bottom]).all():
        return Tile(0, 0, 0, 0)
    row, col = int(np.floor(top)), int(np.floor(left))
    return Tile(row, col, int(np.ceil(bottom)) - row, int(np.ceil(right)) - col)
