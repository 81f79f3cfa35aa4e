import hashlib

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rio_cogeo.cogeo import cog_validate

from geochange.engine.cog import RasterSpec, build_vrt, copy_to_cog, encode_block
from geochange.scenes.grid import Grid
from geochange.scenes.tiling import partition
from tests.stand_ins import PLACE, UTM

SHAPE = (700, 900)


def blocks_of(values, folder, cell):
    for place, tile in enumerate(partition(values.shape[1:], cell)):
        path = folder / f"{place}.tif"
        path.write_bytes(encode_block(values[:, *tile.slices()], 255))
        yield path, tile


def assembled(values, folder, *, cell=(300, 512), threads=1, crs=UTM, transform=PLACE, nodata=255, **more):
    names = tuple(f"band {number}" for number in range(1, len(values) + 1))
    grid = Grid(CRS(crs) if crs else None, transform, values.shape[1:])
    spec = RasterSpec(
        grid=grid, dtype=values.dtype, nodata=nodata, band_names=names, tags={"MADE": "of <blocks>"}, **more
    )
    folder.mkdir()
    build_vrt(blocks_of(values, folder, cell), spec, folder / "all.vrt")
    copy_to_cog(folder / "all.vrt", folder / "all.tif", threads)
    return folder / "all.tif"


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_blocks_become_one_valid_cog_with_the_same_pixels(tmp_path, dtype):
    values = np.random.default_rng(0).integers(0, 254, (2, *SHAPE)).astype(dtype)
    path = assembled(values, tmp_path / "run", scale=0.25 if dtype == "uint8" else None)
    assert cog_validate(path, quiet=True)[0]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
        assert dataset.crs == UTM
        assert dataset.transform == PLACE
        assert dataset.descriptions == ("band 1", "band 2")
        assert dataset.tags()["MADE"] == "of <blocks>"
        assert dataset.scales[0] == (0.25 if dtype == "uint8" else 1)
        assert dataset.nodata == 255
        assert dataset.overviews(1)


@pytest.mark.parametrize("nodata", [float(np.finfo(np.float32).min), -9999.5, 1e-7, float("nan")])
def test_a_nodata_value_is_kept_to_its_last_digit(tmp_path, nodata):
    values = np.random.default_rng(0).normal(size=(1, 64, 80)).astype(np.float32)
    values[0, :9] = nodata
    with rasterio.open(assembled(values, tmp_path / "run", nodata=nodata)) as dataset:
        np.testing.assert_equal(dataset.nodata, nodata)
        np.testing.assert_array_equal(dataset.read_masks(1) == 0, np.arange(64)[:, None] < np.full(80, 9))


def test_bytes_do_not_depend_on_blocks_or_threads(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (1, *SHAPE)).astype(np.uint8)
    digests = {
        hashlib.sha256(assembled(values, tmp_path / str(n), cell=cell, threads=n).read_bytes()).hexdigest()
        for n, cell in ((1, (300, 512)), (2, (700, 900)), (4, (100, 130)))
    }
    assert len(digests) == 1


def test_rotated_grids_and_plain_images_keep_their_transform(tmp_path):
    values = np.ones((1, 30, 40), np.uint8)
    rotated = Affine(2.0, 0.5, 100.0, 0.4, -2.0, 200.0)
    with rasterio.open(assembled(values, tmp_path / "a", transform=rotated)) as dataset:
        assert dataset.transform.almost_equals(rotated)
    with rasterio.open(assembled(values, tmp_path / "b", crs=None, transform=Affine(1, 0, 0, 0, -1, 0))) as dataset:
        assert dataset.crs is None


def test_overviews_are_means(tmp_path):
    values = np.zeros((1, *SHAPE), np.uint8)
    values[:, ::2, ::2] = 200
    with rasterio.open(assembled(values, tmp_path / "run"), overview_level=0) as dataset:
        assert (dataset.read(1) == 50).all()
