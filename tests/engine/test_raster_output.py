"""Rasters that tasks write block by block: the same bytes however they are cut, and whole or not at all."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from pyproj import CRS
from rio_cogeo.cogeo import cog_validate

from geochange.engine.cluster import ClusterOptions
from geochange.engine.cog import RasterSpec, encode_block
from geochange.engine.raster_output import bytes_needed, raster_output, write_cog
from geochange.engine.work import open_work
from geochange.errors import BlockFailed, DiskFull
from geochange.files import write_whole
from geochange.scenes.grid import Grid
from tests.stand_ins import PLACE, UTM, textured, write_raster

SHAPE = (300, 410)
SPEC = RasterSpec(
    grid=Grid(CRS(UTM), PLACE, SHAPE),
    dtype=np.dtype("uint8"),
    nodata=255,
    band_names=("one", "two"),
    tags={"SOURCE": "a test"},
    scale=0.5,
)


def values_of(tile):
    """(2, y, x) of a tile: a pattern in which each pixel differs from its neighbours."""
    rows, cols = np.mgrid[tile.row : tile.stop_row, tile.col : tile.stop_col]
    return np.stack([(rows * 7 + cols) % 255, (rows + cols * 3) % 255]).astype(np.uint8)


def write_block(output, block):
    write_whole(output.file(block), encode_block(values_of(block), SPEC.nodata))


def write(path, side, cluster=None):
    with raster_output(path, SPEC, side) as output, open_work(cluster, None) as work:
        for _ in work.map("write", partial(write_block, output), output.blocks):
            pass
        output.pack(work)
    return path


def test_the_raster_is_a_cog_that_says_what_the_spec_says(tmp_path):
    path = write(tmp_path / "out.tif", 128)
    assert cog_validate(path, quiet=True)[0]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), values_of(SPEC.grid.area))
        assert (dataset.crs, dataset.transform, dataset.nodata) == (UTM, PLACE, 255)
        assert (dataset.descriptions, dataset.scales) == (("one", "two"), (0.5, 0.5))
        assert dataset.tags()["SOURCE"] == "a test"


def test_bytes_do_not_depend_on_blocks_or_workers(tmp_path):
    cuts = [(512, None), (100, ClusterOptions(threads=3)), (77, ClusterOptions(workers=1))]
    contents = {write(tmp_path / f"{side}.tif", side, cluster).read_bytes() for side, cluster in cuts}
    assert len(contents) == 1


def test_scratch_lies_beside_the_raster_and_goes(tmp_path):
    with raster_output(tmp_path / "out.tif", SPEC, 128) as output:
        assert output.scratch.parent == tmp_path
        assert output.scratch.name.startswith(".geochange-")
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(Path("out.tif"), 128)
    assert list(tmp_path.iterdir()) == [path.absolute()]


def test_what_fails_leaves_nothing_and_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "out.tif"
    path.write_bytes(b"earlier")
    failed = pytest.raises(BlockFailed, match="a part of the raster failed 3 times: RasterioIOError")
    with failed, raster_output(path, SPEC, 128) as output, open_work(None, None) as work:
        output.pack(work)  # its block files are missing
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_too_small_is_refused_first(tmp_path, monkeypatch):
    needed = bytes_needed(SHAPE, 2)
    assert needed > 2 * 2 * SPEC.grid.area.size  # block files and the COG
    monkeypatch.setattr("geochange.files.shutil.disk_usage", lambda folder: SimpleNamespace(free=needed - 1))
    with pytest.raises(DiskFull, match=r"GB free, the run needs up to"), raster_output(tmp_path / "out.tif", SPEC, 128):
        pass
    monkeypatch.setattr("geochange.files.shutil.disk_usage", lambda folder: SimpleNamespace(free=needed))
    with raster_output(tmp_path / "out.tif", SPEC, 128):
        pass


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_any_raster_becomes_a_cog(tmp_path, dtype):
    values = textured(SHAPE, 2).astype(dtype)
    write_cog(write_raster(tmp_path / "plain.tif", values), tmp_path / "cog.tif")
    assert cog_validate(tmp_path / "cog.tif", quiet=True)[0]
    with rasterio.open(tmp_path / "cog.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
