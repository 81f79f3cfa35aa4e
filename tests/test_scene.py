import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.enums import Resampling

from geochange.errors import BadOption, BandMismatch, UnreadableInput
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.scene import WarpedSource, iso_date, open_array, open_file, parse_nodata, warp
from tests.stand_ins import PLACE, UTM, textured, write_raster


def test_a_window_is_what_rasterio_reads(tmp_path):
    values = textured((60, 80), bands=4, dtype="uint16")
    source = open_file(write_raster(tmp_path / "a.tif", values), bands=(4, 2))
    read, valid = source.read(Tile(10, 20, 30, 40))
    np.testing.assert_array_equal(read, values[[3, 1], 10:40, 20:60])
    assert valid.all()


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


@pytest.mark.parametrize("target_crs", [UTM, "EPSG:4326"])
def test_a_warped_pixel_does_not_depend_on_the_window(tmp_path, target_crs):
    source = open_file(write_raster(tmp_path / "a.tif", textured((700, 640))))
    with rasterio.open(source.path) as dataset:
        transform, width, height = rasterio.warp.calculate_default_transform(UTM, target_crs, 640, 700, *dataset.bounds)
    grid = Grid(rasterio_to_pyproj(target_crs), transform @ Affine.translation(0.37, 0.61), (height, width))
    warped = WarpedSource(source, grid)
    whole, whole_valid = warped.read(grid.area)
    for tile in (Tile(0, 0, 5, 5), Tile(250, 250, 20, 20), Tile(101, 17, 333, 404)):
        part, valid = warped.read(tile)
        np.testing.assert_array_equal(part, whole[:, *tile.slices()])
        np.testing.assert_array_equal(valid, whole_valid[tile.slices()])


def rasterio_to_pyproj(name):
    from pyproj import CRS

    return CRS.from_user_input(name)


def test_warping_agrees_with_gdals_warped_vrt(tmp_path):
    from rasterio.vrt import WarpedVRT

    path = write_raster(tmp_path / "a.tif", textured((200, 200)))
    source = open_file(path)
    grid = Grid(source.grid.crs, source.grid.transform @ Affine.translation(0.4, 0.3), (190, 190))
    ours, _ = WarpedSource(source, grid, Resampling.bilinear).read(grid.area)
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(dataset, transform=grid.transform, width=190, height=190, resampling=Resampling.bilinear) as vrt,
    ):
        theirs = vrt.read()
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_interpolation_leaves_invalid_pixels_out(tmp_path):
    values = np.full((1, 40, 40), 200, np.uint8)
    values[:, :, 20:] = 0
    source = open_file(write_raster(tmp_path / "a.tif", values, nodata=0))
    grid = Grid(source.grid.crs, source.grid.transform @ Affine.translation(0.25, 0), (40, 39))
    warped, valid = WarpedSource(source, grid).read(grid.area)
    assert set(np.unique(warped[0][valid])) == {200}
    assert valid[:, :19].all()
    assert not valid[:, 21:].any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_warping_onto_the_same_grid_changes_nothing(dtype):
    values = textured((40, 50), dtype="uint8").astype(dtype)
    grid = Grid(None, Affine(1, 0, 0, 0, -1, 0), (40, 50))
    warped, valid = warp(values, np.ones((40, 50), bool), grid, grid, Resampling.cubic)
    np.testing.assert_array_equal(warped, values)
    assert valid.all()


def test_a_shift_is_moved_back(tmp_path):
    values = textured((80, 90))
    moved = np.roll(values, (3, -2), axis=(1, 2))
    source = open_file(write_raster(tmp_path / "moved.tif", moved))
    back, _ = WarpedSource(source, source.grid, shift=(3.0, -2.0)).read(source.grid.area)
    np.testing.assert_array_equal(back[:, 5:-5, 5:-5], values[:, 5:-5, 5:-5])


def test_dates_of_tiff_tags_become_iso():
    assert iso_date("2020:08:31 17:05:00") == "2020-08-31T17:05:00"
    assert iso_date("August 2020") == "August 2020"
    assert iso_date(None) is None


def test_nodata_texts():
    assert parse_nodata(None) == "all"
    assert parse_nodata("any") == "any"
    assert parse_nodata("-9999") == -9999.0
    with pytest.raises(BadOption):
        parse_nodata("none")
