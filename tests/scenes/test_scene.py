import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.enums import Resampling

from geochange.errors import BandMismatch, UnreadableInput
from geochange.probability.stack import ProbabilitySource
from geochange.scenes.grid import Tile
from geochange.scenes.scene import iso_date, open_array, open_file, read_beyond
from geochange.scenes.warped import WarpedSource
from tests.stand_ins import PLACE, UTM, textured, write_raster


def test_a_window_is_what_rasterio_reads(tmp_path):
    values = textured((60, 80), bands=4, dtype="uint16")
    source = open_file(write_raster(tmp_path / "a.tif", values), bands=(4, 2))
    read, valid = source.read(Tile(10, 20, 30, 40))
    np.testing.assert_array_equal(read, values[[3, 1], 10:40, 20:60])
    assert valid.all()


def open_as(kind, path):
    """A source of each class, over one file."""
    file = open_file(str(path))
    if kind == "file":
        return file
    if kind == "array":
        with xr.open_dataarray(path, engine="rasterio") as array:
            return open_array(array.load(), "array")
    if kind == "warped":
        return WarpedSource(file, file.grid, Resampling.nearest)
    return ProbabilitySource(file, 1 / 255)


@pytest.mark.parametrize("kind", ["file", "array", "warped", "probability"])
def test_every_source_is_cropped_and_picks_bands(tmp_path, kind):
    source = open_as(kind, write_raster(tmp_path / "a.tif", textured((40, 50), bands=3), nodata=7))
    every, valid = source.read(source.grid.area)
    part = Tile(10, 20, 15, 25)
    chosen = source.crop(part).with_bands((3, 1))
    values, there = chosen.read(Tile(1, 2, 5, 6))
    np.testing.assert_array_equal(values, every[[2, 0], 11:16, 22:28])
    np.testing.assert_array_equal(there, valid[11:16, 22:28])
    assert (chosen.count, chosen.bands, chosen.grid) == (3, (3, 1), source.grid.crop(part))
    assert chosen.whole().grid == source.grid
    assert chosen.masked


def test_beyond_its_area_a_source_is_0_and_not_valid(tmp_path):
    source = open_file(write_raster(tmp_path / "a.tif", textured((20, 30))))
    inside, _ = source.read(source.grid.area)
    values, valid = read_beyond(source.read, source.grid.area, Tile(-4, -6, 30, 50))
    np.testing.assert_array_equal(values, np.pad(inside, ((0, 0), (4, 6), (6, 14))))
    np.testing.assert_array_equal(valid, np.pad(np.ones((20, 30), bool), ((4, 6), (6, 14))))


@pytest.mark.parametrize(
    ("rule", "expected"), [("all", [False, True, True]), ("any", [False, False, True]), (7.0, [True, True, False])]
)
def test_nodata_rules(tmp_path, rule, expected):
    values = np.array([[[0, 0, 7]], [[0, 9, 7]]], np.uint8)
    source = open_file(write_raster(tmp_path / "a.tif", values, nodata=0), nodata=rule)
    assert source.read(Tile(0, 0, 1, 3))[1].tolist() == [expected]


def test_nodata_in_bands_that_are_not_used_counts_with_the_rest(tmp_path):
    values = np.array([[[0, 0]], [[0, 5]]], np.uint8)
    source = open_file(write_raster(tmp_path / "a.tif", values, nodata=0), bands=(1,))
    assert source.read(Tile(0, 0, 1, 2))[1].tolist() == [[False, True]]


def test_nan_is_nodata_whatever_the_rule(tmp_path):
    values = np.array([[[np.nan, 1.0]], [[2.0, np.inf]]], np.float32)
    for rule in ("all", "any", -1.0):
        source = open_file(write_raster(tmp_path / "a.tif", values), nodata=rule)
        assert source.read(Tile(0, 0, 1, 2))[1].tolist() == [[False, False]]


def test_an_internal_mask_is_obeyed(tmp_path):
    path = tmp_path / "masked.tif"
    mask = np.ones((20, 20), bool)
    mask[5:9] = False
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=1, height=20, width=20, dtype="uint8", crs=UTM, transform=PLACE
        ) as dataset,
    ):
        dataset.write(np.ones((1, 20, 20), np.uint8))
        dataset.write_mask(mask)
    np.testing.assert_array_equal(open_file(str(path)).read(Tile(0, 0, 20, 20))[1], mask)


def test_an_alpha_band_is_a_mask_and_no_band(tmp_path):
    values = np.stack([textured((20, 20), 1)[0]] * 3 + [np.full((20, 20), 255, np.uint8)])
    values[3, :5] = 0
    path = write_raster(tmp_path / "rgba.tif", values, photometric="RGB", alpha="yes")
    source = open_file(path)
    assert source.bands == (1, 2, 3)
    assert source.read(Tile(0, 0, 20, 20))[1].sum() == 15 * 20


def test_plain_images_lie_as_qgis_shows_them(tmp_path):
    values = textured((30, 40))
    with rasterio.open(tmp_path / "a.png", "w", driver="PNG", count=3, height=30, width=40, dtype="uint8") as dataset:
        dataset.write(values)
    source = open_file(str(tmp_path / "a.png"))
    assert source.grid.crs is None
    assert source.grid.bounds == (0, -30, 40, 0)


def test_a_fourth_band_that_gdal_calls_alpha_is_data_where_it_varies(tmp_path):
    values = textured((40, 40), bands=4)
    source = open_file(write_raster(tmp_path / "rgbn.tif", values, photometric="RGB", alpha="yes"))
    assert source.bands == (1, 2, 3, 4)
    assert source.read(Tile(0, 0, 40, 40))[1].all()


@pytest.mark.parametrize("band", [0, -1, 4])
def test_a_band_out_of_range_is_refused(tmp_path, band):
    with pytest.raises(BandMismatch, match=r"bands 1\.\.3"):
        open_file(write_raster(tmp_path / "a.tif", textured((9, 9))), bands=(band,))


def test_files_that_are_no_rasters_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("not a raster")
    with pytest.raises(UnreadableInput, match=r"notes\.txt"):
        open_file(str(tmp_path / "notes.txt"))
    with pytest.raises(UnreadableInput, match="does not exist"):
        open_file(str(tmp_path / "missing.tif"))


def test_a_truncated_file_is_named_where_it_is_read(tmp_path):
    path = tmp_path / "cut.tif"
    write_raster(path, np.random.default_rng(0).integers(0, 255, (3, 300, 300)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:150_000])
    source = open_file(str(path))
    with pytest.raises(UnreadableInput, match=r"cut\.tif cannot be read"):
        source.read(Tile(0, 0, 300, 300))


def test_a_file_replaced_under_its_name_is_opened_anew(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.full((1, 8, 8), 1, np.uint8))
    assert open_file(path).read(Tile(0, 0, 8, 8))[0].max() == 1
    write_raster(tmp_path / "b.tif", np.full((1, 8, 8), 2, np.uint8))
    (tmp_path / "b.tif").replace(path)
    assert open_file(path).read(Tile(0, 0, 8, 8))[0].max() == 2


def test_a_dataarray_reads_as_the_file_that_it_came_from(tmp_path):
    import rioxarray

    values = textured((50, 60))
    values[:, :10] = 0
    path = write_raster(tmp_path / "a.tif", values, nodata=0)
    array = rioxarray.open_rasterio(path, chunks=16)
    source, file = open_array(array, "a"), open_file(path)
    assert source.grid == file.grid
    for ours, theirs in zip(source.read(Tile(3, 5, 30, 40)), file.read(Tile(3, 5, 30, 40)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_dataarray_of_two_dimensions_has_one_band():
    source = open_array(xr.DataArray(np.ones((4, 5), np.float32), dims=("y", "x")), "flat")
    assert source.bands == (1,)
    assert source.read(Tile(0, 0, 4, 5))[0].shape == (1, 4, 5)


def test_dates_of_tiff_tags_become_iso():
    assert iso_date("2020:08:31 17:05:00") == "2020-08-31T17:05:00"
    assert iso_date("August 2020") == "August 2020"
    assert iso_date(None) is None
