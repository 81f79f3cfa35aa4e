import hashlib

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rio_cogeo.cogeo import cog_validate

from geochange.engine import cog_assembly, cog_tiles
from geochange.engine.cluster import ClusterOptions
from geochange.engine.cog import RasterSpec, build_vrt, copy_to_cog, encode_block
from geochange.engine.cog_assembly import TILE, assemble_cog
from geochange.engine.cog_tiles import chunk_side, compress_tiles, halve
from geochange.engine.work import open_work
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
    (folder / "tiles").mkdir()
    with open_work(ClusterOptions(threads=threads), None) as work:
        levels = compress_tiles(folder / "all.vrt", spec, folder / "tiles", work)
    assemble_cog(spec, levels, folder / "all.tif")
    assert not list((folder / "tiles").glob("*.tiles"))
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
        np.testing.assert_equal(dataset.nodata, float(np.float32(nodata)))  # as GDAL reads it of 32 bits
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


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(2304, 4096), (1537, 700), (4, 3000), (512, 513), (2048, 1)])
def test_it_is_what_gdal_makes_of_the_same_pixels(tmp_path, dtype, shape, monkeypatch):
    monkeypatch.setattr(cog_tiles, "CHUNK_BYTES", 1024**2 * (1 if dtype == "uint8" else 4))  # so that there are many
    random = np.random.default_rng(0)
    values = random.integers(0, 255, (1, *shape)).astype(dtype)
    nodata = 255 if dtype == "uint8" else np.nan
    values[:, : shape[0] // 2, shape[1] // 3 :: 7] = nodata
    own = assembled(values, tmp_path / "run", cell=(600, 1000), nodata=nodata)
    copy_to_cog(tmp_path / "run" / "all.vrt", tmp_path / "gdal.tif", 1)
    with rasterio.open(own) as found, rasterio.open(tmp_path / "gdal.tif") as wanted:
        np.testing.assert_array_equal(found.read(), values)
        np.testing.assert_equal(found.nodatavals, wanted.nodatavals)
        for name in ("descriptions", "scales", "offsets", "colorinterp", "mask_flag_enums", "crs", "transform"):
            assert getattr(found, name) == getattr(wanted, name)
        for name in ("dtype", "blockxsize", "blockysize", "compress", "interleave"):
            assert found.profile[name] == wanted.profile[name]
        assert found.tags() == wanted.tags()
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        overviews = found.overviews(1)
        assert overviews == wanted.overviews(1)[: len(overviews)]
        assert len(overviews) == len(wanted.overviews(1)) or min(shape) < 8
    assert cog_validate(own, quiet=True)[0]
    for level, step in enumerate(overviews):
        with rasterio.open(own, overview_level=level) as found:
            assert found.shape == (shape[0] // step, shape[1] // step)
            if shape[0] % step == shape[1] % step == 0:  # else GDAL weights pixels by parts
                with rasterio.open(tmp_path / "gdal.tif", overview_level=level) as wanted:
                    np.testing.assert_allclose(found.read(), wanted.read(), rtol=1e-6, equal_nan=True)


def test_one_larger_than_4_gib_is_a_bigtiff(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 255, (2, *SHAPE)).astype(np.uint8)
    classic = assembled(values, tmp_path / "classic")
    monkeypatch.setattr(cog_assembly, "LARGEST_CLASSIC", 10_000)
    big = assembled(values, tmp_path / "big")
    assert [path.read_bytes()[2] for path in (classic, big)] == [42, 43]
    assert cog_validate(big, quiet=True)[0]
    with rasterio.open(big) as found, rasterio.open(classic) as wanted:
        np.testing.assert_array_equal(found.read(), values)
        assert (found.tags(), found.profile, found.scales) == (wanted.tags(), wanted.profile, wanted.scales)
        np.testing.assert_array_equal(found.read(out_shape=(2, 350, 450)), wanted.read(out_shape=(2, 350, 450)))


@pytest.mark.parametrize(("bytes_per_pixel", "side"), [(1, 4096), (4, 2048), (5, 1024), (16, 1024), (10_000, 512)])
def test_chunks_are_tiles_doubled_as_often_as_memory_allows(bytes_per_pixel, side):
    assert chunk_side(bytes_per_pixel) == side
    assert side % TILE == 0


def test_halving_leaves_out_what_holds_no_data():
    values = np.array([[[1, 2, 255, 255, 9], [3, 255, 255, 255, 9], [255, 255, 0, 1, 9]]], np.uint8)
    np.testing.assert_array_equal(halve(values, 255), [[[2, 255]]])
    np.testing.assert_array_equal(halve(values.astype(np.float32), 255), [[[2, 255]]])
    floats = np.where(values == 255, np.nan, values).astype(np.float32)
    np.testing.assert_array_equal(halve(floats, np.nan), np.array([[[2, np.nan]]], np.float32))
