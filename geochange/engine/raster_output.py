"""A large raster: block files in a scratch folder beside it, then one Cloud Optimized GeoTIFF that appears whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geochange.engine.cog import RasterSpec, build_vrt, copy_to_cog
from geochange.engine.cog_assembly import Level, assemble_cog
from geochange.engine.cog_tiles import chunk_side, compress_tiles
from geochange.engine.work import Work, grid_blocks
from geochange.files import appearing, replacing, scratch_beside
from geochange.open_datasets import release
from geochange.scenes.grid import Tile
from geochange.system import available_cores

ROOM = 2.4  # times a raster's size: block files, and tiles with their overviews, where neither compresses


def bytes_needed(shape: tuple[int, int], bytes_per_pixel: int) -> int:
    """Return what a raster takes on the disk while it is written, at the worst.

    Tiles go as they are copied into the file, a row of chunks after the other.
    """
    row = min(chunk_side(bytes_per_pixel), shape[0]) * shape[1]
    return int((shape[0] * shape[1] * ROOM + row) * bytes_per_pixel)


def write_cog(source: Path, path: Path) -> None:
    """Copy any raster to a COG by GDAL, on all cores; the file appears whole.

    Raises:
        DiskFull: the file could not be written whole.
    """
    with appearing(path) as temporary:
        copy_to_cog(source, temporary, available_cores())


def assemble(spec: RasterSpec, levels: Sequence[Level], path: Path) -> None:
    """Put a COG together of what `compress_tiles` has left; the file appears whole.

    Raises:
        DiskFull: the file could not be written whole.
    """
    with replacing(path) as temporary:
        assemble_cog(spec, levels, temporary)


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

    def pack(self, work: Work) -> None:
        """Copy all block files to the raster."""
        virtual, tiles = self.scratch / "all.vrt", self.scratch / "tiles"
        build_vrt([(self.file(block), block) for block in self.blocks], self.spec, virtual)
        tiles.mkdir()
        with work.stages.stage("pack"):
            assemble(self.spec, compress_tiles(virtual, self.spec, tiles, work), self.path)
        work.crew.tell(partial(release, self.scratch))


@contextmanager
def raster_output(path: Path, spec: RasterSpec, side: int) -> Iterator[RasterOutput]:
    """Make the scratch folder of a raster; it is gone at the end.

    Raises:
        DiskFull: the disk holds less than the raster may need.
    """
    with scratch_beside(path, bytes_needed(spec.grid.shape, spec.bytes_per_pixel)) as scratch:
        yield RasterOutput(path, spec, scratch, side)
