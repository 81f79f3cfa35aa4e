"""The statistics lattice: a scene's pixels in fixed cells, which no option changes, and kernels mapped over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isqrt

from geochange.detectors.detector import Kernel, R
from geochange.engine.inference import as_floats
from geochange.engine.work import Work
from geochange.scenes.grid import Tile
from geochange.scenes.pairing import Scene
from geochange.scenes.tiling import partition, sampled

CELL_BYTES = 1 << 25  # of the pixels of a cell as float32, all bands and dates
CELL_SIDE = 1024
BLOCK_BYTES = 1 << 24  # of the pixels of a default block, as stored
STRIP_BYTES = 1 << 26  # the same for files stored in strips: the wider a block, the less often a strip is unpacked


def statistics_cell(scene: Scene) -> tuple[int, int]:
    """Return (rows, cols) of a cell: it follows from the scene alone.

    Files stored in strips are read in whole rows, for else each strip would be unpacked once for every cell beside it.
    """
    values = scene.dates * len(scene.bands)
    pixels = max(min(CELL_BYTES // (4 * values), CELL_SIDE**2), 64 * 64)
    if stored_in_strips(scene) and scene.shape[1] * 16 <= pixels:
        return max(pixels // scene.shape[1] // 16 * 16, 16), scene.shape[1]
    side = max(isqrt(pixels) // 64 * 64, 64)
    return side, side


def default_block(scene: Scene, step: tuple[int, int]) -> tuple[int, int]:
    """Return (rows, cols) of a default block, given the step between tiles: square, or wide for strips."""
    if stored_in_strips(scene):
        return step[0], max(STRIP_BYTES // scene.bytes_per_pixel // step[0], step[1])
    pixels = min(BLOCK_BYTES // scene.bytes_per_pixel, 2048 * 2048)
    return max(isqrt(pixels), step[0]), max(isqrt(pixels), step[1])


def stored_in_strips(scene: Scene) -> bool:
    """Return whether some date is stored in whole rows, as GeoTIFFs are unless asked otherwise."""
    return any(source.storage[1] >= scene.shape[1] > 4 * source.storage[0] for source in scene.sources)


@dataclass(frozen=True, slots=True)
class SceneBlocks:
    """`MapBlocks` over a scene: see `geochange.detectors.detector`."""

    scene: Scene
    work: Work

    def __call__(self, kernel: Kernel[R], halo: int = 0, every: int = 1) -> Iterator[R]:
        """Yield the kernel's results of all cells, or of a sample of squares, in order."""
        shape = self.scene.shape
        cells = list(sampled(shape, every) if every > 1 else partition(shape, statistics_cell(self.scene)))
        self.work.stages.listener.begin("fit", len(cells), sum(cell.size for cell in cells))
        for _, result in self.work.each(partial(lattice_task, self.scene, kernel, halo), cells):
            yield result


def lattice_task(scene: Scene, kernel: Kernel[R], halo: int, cell: Tile) -> R:
    """Run a kernel on one cell."""
    dates, valid = scene.read(cell.grow(halo))
    return kernel(as_floats(dates), valid, cell)
