"""A large raster: block files in a scratch folder beside it, then one Cloud Optimized GeoTIFF that appears whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from geochange.engine.cog import RasterSpec, build_vrt, copy_to_cog
from geochange.engine.work import grid_blocks
from geochange.files import appearing, scratch_beside
from geochange.scenes.grid import Tile
from geochange.system import available_cores

ROOM = 2.4  # times a raster's size: block files, and the COG with its overviews, where neither compresses


def bytes_needed(pixels: int, bytes_per_pixel: int) -> int:
    """Return what a raster takes on the disk while it is written, at the worst."""
    return int(pixels * bytes_per_pixel * ROOM)


def write_cog(source: Path, path: Path) -> None:
    """Copy a raster to a COG, on all cores; the file appears whole.

    Raises:
        DiskFull: the file could not be written whole.
    """
    with appearing(path) as temporary:
        copy_to_cog(source, temporary, available_cores())


@dataclass(frozen=True, slots=True)
class RasterOutput:
    """A raster on its way: tasks leave its block files."""

    path: Path
    spec: RasterSpec
    scratch: Path
    side: int  # pixels per side of a block; the raster does not depend on it

    @property
    def blocks(self) -> list[Tile]:
        """All blocks, in raster order."""
        return grid_blocks(self.spec.grid, self.side)

    def file(self, block: Tile) -> Path:
        """Return where the file of a block is to lie."""
        return self.scratch / f"{block.row}_{block.col}.tif"

    def pack(self) -> None:
        """Copy all block files to the raster."""
        virtual = self.scratch / "all.vrt"
        build_vrt([(self.file(block), block) for block in self.blocks], self.spec, virtual)
        write_cog(virtual, self.path)


@contextmanager
def raster_output(path: Path, spec: RasterSpec, side: int) -> Iterator[RasterOutput]:
    """Make the scratch folder of a raster; it is gone at the end.

    Raises:
        DiskFull: the disk holds less than the raster may need.
    """
    bytes_per_pixel = len(spec.band_names) * spec.dtype.itemsize
    with scratch_beside(path, bytes_needed(spec.grid.area.size, bytes_per_pixel)) as scratch:
        yield RasterOutput(path, spec, scratch, side)
