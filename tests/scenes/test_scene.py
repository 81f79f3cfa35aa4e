import zipfile
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rasterio.control
import rasterio.rpc
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import ColorInterp, Resampling
from rioxarray import open_rasterio

from geochange.errors import BandMismatch, UnreadableInput
from geochange.probability.raster import open_scores
from geochange.probability.stack import ProbabilitySource
from geochange.scenes.grid import Tile
from geochange.scenes.interpretation import iso_date
from geochange.scenes.scene import open_array, open_file, open_masked
from geochange.scenes.source import read_beyond
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
    return ProbabilitySource(file, replace(open_scores(str(path)), step=1 / 255))


@pytest.mark.parametrize("kind", ["file", "array", "warped", "probability"])
def test_every_source_is_cropped_and_picks_bands(tmp_path, kind):
    source = open_as(kind, write_raster(tmp_path / "a.tif", textured((40, 50), bands=3), nodata=7))
    every, valid = source.read(source.grid.area)
    part = Tile(10, 20, 15, 25)
    chosen = source.crop(part).with_bands((3, 1))
    values, there = chosen.read(Tile(1, 2, 5, 6))
    np.testing.assert_array_equal(values, every[[2, 0], 11:16, 22:28])
    np.testing.assert_array_equal(there, valid[11:16, 22:28])
    assert (chosen.choices, chosen.bands, chosen.grid) == ((1, 2, 3), (3, 1), source.grid.crop(part))
    assert chosen.whole().grid == source.grid
    assert chosen.masked


@pytest.mark.parametrize("kind", ["file", "array", "warped", "probability"])
def test_every_source_obeys_another_rule_of_nodata(tmp_path, kind):
    values = textured((40, 50), bands=2) // 8 * 8  # each band has many 96s where the other has none
    values[:, 5:9, 5:30] = 96
    path = write_raster(tmp_path / "a.tif", values, nodata=96)
    source = open_array(open_rasterio(path).load(), "array") if kind == "array" else open_as(kind, path)
    for rule, missing in (("any", (values == 96).any(axis=0)), ("all", (values == 96).all(axis=0))):
        other = source.with_nodata(rule)
        assert other.nodata == rule
        np.testing.assert_array_equal(other.read(other.grid.area)[1], ~missing)
    assert source.nodata == "all"


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


def write_bands(path, values, nodata=None, interpretation=None, **profile):
    """A GeoTIFF whose bands are named as given."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(values),
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        crs=UTM,
        transform=PLACE,
        nodata=nodata,
        photometric="MINISBLACK",
        **profile,
    ) as dataset:
        if interpretation is not None:
            dataset.colorinterp = [ColorInterp[name] for name in interpretation]
        dataset.write(values)
    return str(path)


@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    bands=st.integers(1, 5),
    place=st.integers(0, 5),
    top=st.sampled_from([1, 255, 65535]),
    nodata=st.sampled_from([None, 0, 7]),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_an_alpha_band_is_a_mask_wherever_it_stands_and_whatever_its_type(
    tmp_path_factory, dtype, bands, place, top, nodata, data
):
    limit = np.iinfo(dtype).max if dtype != "float32" else 65535
    values = np.arange(bands * 900).reshape(bands, 30, 30).astype(dtype) % 50 + 10
    values[:, 4, 4] = nodata or 0
    alpha = np.full((30, 30), min(top, limit), dtype)
    hidden = data.draw(st.integers(0, 29))
    alpha[hidden] = 0
    place = min(place, bands)
    stacked = np.insert(values, place, alpha, axis=0)
    names = ["gray"] + ["undefined"] * bands
    names = [*names[:place], "alpha", *names[place:bands]]
    path = write_bands(tmp_path_factory.mktemp("alpha") / "a.tif", stacked, nodata, names)
    source = open_file(path)
    read, valid = source.read(source.grid.area)
    expected = alpha > 0
    if nodata is not None:
        expected &= ~(values == nodata).all(axis=0)
    assert source.bands == tuple(band for band in range(1, bands + 2) if band != place + 1)
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(valid, expected)


@pytest.mark.parametrize(
    ("dtype", "fill", "rule"),
    [
        ("int16", -9999, "any"),
        ("uint16", 65535, "any"),
        ("float32", -3.4028234663852886e38, "any"),
        ("float32", 1e20, "any"),
        ("uint16", 0, "all"),
        ("uint8", 255, "all"),
        ("int16", 0, "all"),
        ("float32", 0, "all"),
    ],
)
def test_a_nodata_value_that_no_band_can_measure_counts_in_any_band(tmp_path, dtype, fill, rule):
    values = np.full((2, 1, 3), 5, dtype)
    values[0, 0, 1] = values[:, 0, 2] = fill
    source = open_file(write_bands(tmp_path / "a.tif", values, fill))
    assert source.nodata == rule
    assert source.read(Tile(0, 0, 1, 3))[1].tolist() == [[True, rule == "all", False]]


def test_nodata_in_any_band_means_the_bands_that_are_used(tmp_path):
    values = np.array([[[5, 5]], [[5, -9999]]], np.int16)
    path = write_bands(tmp_path / "a.tif", values, -9999)
    assert open_file(path, bands=(1,)).read(Tile(0, 0, 1, 2))[1].all()
    assert open_file(path).read(Tile(0, 0, 1, 2))[1].tolist() == [[True, False]]


@given(
    scales=st.lists(st.floats(1e-5, 100), min_size=2, max_size=2),
    offsets=st.lists(st.floats(-1000, 1000), min_size=2, max_size=2),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "int32", "float32", "float64"]),
)
@settings(max_examples=40, deadline=None)
def test_scale_and_offset_are_applied_as_rioxarray_does(tmp_path_factory, scales, offsets, dtype):
    path = tmp_path_factory.mktemp("scaled") / "a.tif"
    values = (np.arange(2 * 12).reshape(2, 3, 4) + 3).astype(dtype)
    values[:, 0, 0] = 0
    write_bands(path, values, 0)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = scales, offsets
    source = open_file(str(path))
    read, valid = source.read(source.grid.area)
    wanted = values * np.array(scales)[:, None, None] + np.array(offsets)[:, None, None]
    np.testing.assert_allclose(read, wanted, rtol=1e-6, atol=1e-5 * max(map(abs, offsets)))
    assert read.dtype == source.dtype == np.result_type(dtype, np.float32)
    assert not valid[0, 0]
    np.testing.assert_array_equal(source.stored().read(source.grid.area)[0], values)
    picked = source.with_bands((2,)).read(source.grid.area)[0]
    np.testing.assert_array_equal(picked[0], read[1])


def test_a_dataarray_that_is_not_yet_scaled_is_scaled_as_its_file(tmp_path):
    path = write_bands(tmp_path / "a.tif", np.arange(12, dtype=np.uint16).reshape(1, 3, 4), 0)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = [0.1], [-5.0]
    file = open_file(path)
    for masked in (False, True):
        array = open_array(rioxarray.open_rasterio(path, mask_and_scale=masked), "a")
        for one, other in zip(file.read(file.grid.area), array.read(array.grid.area), strict=True):
            there = file.read(file.grid.area)[1]
            np.testing.assert_allclose(np.where(there, one, 0), np.where(there, other, 0), rtol=1e-6)


def test_a_colour_table_is_read_as_the_colours_that_it_shows(tmp_path):
    classes = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) % 5
    table = {0: (9, 8, 7, 255), 1: (200, 0, 10, 255), 2: (0, 90, 0, 255), 3: (1, 2, 3, 0), 4: (255, 255, 255, 255)}
    path = tmp_path / "classes.png"
    with rasterio.open(path, "w", driver="PNG", count=1, height=8, width=8, dtype="uint8") as dataset:
        dataset.write(classes)
        dataset.write_colormap(1, table)
    source = open_file(str(path))
    read, valid = source.read(source.grid.area)
    np.testing.assert_array_equal(np.moveaxis(read, 0, -1), np.array([table[k][:3] for k in range(5)])[classes[0]])
    np.testing.assert_array_equal(valid, classes[0] != 3)
    assert (source.bands, source.colours, source.dtype) == ((1, 2, 3), (1, 2, 3), np.uint8)
    np.testing.assert_array_equal(source.with_bands((2,)).read(source.grid.area)[0], read[1:2])
    stored = open_file(str(path), as_stored=True)
    np.testing.assert_array_equal(stored.read(stored.grid.area)[0], classes)


def test_an_image_that_points_locate_is_refused_with_the_command_that_helps(tmp_path):
    plain = {"driver": "GTiff", "count": 1, "height": 9, "width": 9, "dtype": "uint8"}
    corners = [(0, 0, 14, 48), (0, 9, 14.1, 48), (9, 0, 14, 47.9), (9, 9, 14.1, 47.9)]
    points = [rasterio.control.GroundControlPoint(*each, 0) for each in corners]
    with rasterio.open(tmp_path / "gcps.tif", "w", **plain) as dataset:
        dataset.gcps = points, rasterio.CRS.from_epsg(4326)
    with pytest.raises(UnreadableInput, match=r"4 ground control points alone; .*gdalwarp -tps"):
        open_file(str(tmp_path / "gcps.tif"))
    ones = [1.0] + [0.0] * 19
    rpcs = rasterio.rpc.RPC(1, 1, 48, 1, ones, ones, 1, 1, 14, 1, ones, ones, 1, 1, 1, 1)
    with rasterio.open(tmp_path / "rpcs.tif", "w", **plain) as dataset:
        dataset.rpcs = rpcs
    with pytest.raises(UnreadableInput, match=r"RPCs\) alone; .*gdalwarp -rpc"):
        open_file(str(tmp_path / "rpcs.tif"))


def test_a_file_of_parts_names_them(tmp_path):
    xr.Dataset({name: (("y", "x"), np.zeros((3, 4))) for name in ("vv", "vh")}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(UnreadableInput, match=r"(?i)netcdf:.*:vv, netcdf:.*:vh"):
        open_file(str(tmp_path / "a.nc"))


@pytest.mark.parametrize(("rule", "expected"), [("all", [True, True, False]), ("any", [True, False, False])])
def test_nodata_rules_hold_for_dataarrays_too(tmp_path, rule, expected):
    values = np.array([[[5, 0, 0]], [[5, 9, 0]]], np.uint8)
    path = write_raster(tmp_path / "a.tif", values, nodata=0)
    for masked in (False, True):
        source = open_array(rioxarray.open_rasterio(path, masked=masked), "a", nodata=rule)
        read = source.read(Tile(0, 0, 1, 3))[1].tolist()[0]
        assert read == (expected if not masked else [True, False, False])  # rioxarray's NaN is nodata in any band


@pytest.mark.parametrize(
    ("nodata", "rule", "masked"),
    [(None, None, False), (None, "any", False), (None, "all", False), (None, 7.0, True), (9, None, True)],
)
def test_an_array_is_masked_where_some_value_means_no_data(tmp_path, nodata, rule, masked):
    path = write_raster(tmp_path / "a.tif", textured((9, 9)), nodata=nodata)
    assert open_array(rioxarray.open_rasterio(path), "a", nodata=rule).masked is masked


def test_an_array_is_stored_as_it_is_chunked():
    array = xr.DataArray(np.zeros((2, 30, 50), np.float32), dims=("band", "y", "x"))
    assert open_array(array, "a").storage == (30, 50)
    assert open_array(array.chunk({"band": 1, "y": 7, "x": 11}), "a").storage == (7, 11)


@pytest.mark.parametrize("bands", [None, (2, 1), (1,), (2,), (3, 2)])
def test_bands_of_several_types_are_read_in_the_one_that_holds_them_all(tmp_path, bands):
    """As gdalbuildvrt -separate leaves them."""
    values = [textured((20, 31), 1, seed, dtype) for seed, dtype in enumerate(("uint8", "float32", "uint16"))]
    values[0][0, 3, 4] = values[2][0, 5, 6] = 0
    parts = []
    for number, (each, kind) in enumerate(zip(values, ("Byte", "Float32", "UInt16"), strict=True), 1):
        write_raster(tmp_path / f"{number}.tif", each)
        parts.append(
            f'<VRTRasterBand dataType="{kind}" band="{number}"><NoDataValue>0</NoDataValue><SimpleSource>'
            f'<SourceFilename relativeToVRT="1">{number}.tif</SourceFilename></SimpleSource></VRTRasterBand>'
        )
    (tmp_path / "a.vrt").write_text(f'<VRTDataset rasterXSize="31" rasterYSize="20">{"".join(parts)}</VRTDataset>')
    chosen = [band - 1 for band in bands or (1, 2, 3)]
    every = np.concatenate(values).astype(np.float32)
    for rule, there in (("any", (every[chosen] != 0).all(axis=0)), (0.0, (every != 0).any(axis=0))):
        source = open_file(str(tmp_path / "a.vrt"), bands=bands, nodata=rule)
        found, valid = source.read(Tile(2, 1, 15, 20))
        assert found.dtype == source.dtype == np.float32
        np.testing.assert_array_equal(found, every[chosen][:, 2:17, 1:21])
        np.testing.assert_array_equal(valid, there[2:17, 1:21])


def test_an_array_without_a_place_that_a_grid_can_have_is_named(tmp_path):
    array = rioxarray.open_rasterio(write_raster(tmp_path / "a.tif", textured((9, 9)))).load()
    flat = array.drop_vars(["x", "y"]).rio.write_transform(Affine(0, 0, 5, 0, 0, 5))
    with pytest.raises(UnreadableInput, match="flat cannot be read as an array"):
        open_array(flat, "flat")


def test_transparent_colours_hold_no_data(tmp_path):
    stored = np.arange(40 * 50, dtype=np.uint8).reshape(40, 50) % 4
    image = Image.fromarray(stored, "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    image.save(tmp_path / "p.png", transparency=bytes([255, 0, 0, 255]))  # two, so that GDAL makes none of them nodata
    source = open_file(str(tmp_path / "p.png"))
    values, valid = source.read(source.grid.area)
    np.testing.assert_array_equal(valid, (stored != 1) & (stored != 2))
    assert values[:, 0, 3].tolist() == [100, 110, 120]


def test_a_result_is_opened_as_it_is_meant_with_nan_for_nodata(tmp_path):
    values = np.full((1, 6, 8), 100, np.uint8)
    values[0, 2, 3] = 255
    path = write_raster(tmp_path / "a.tif", values, nodata=255)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.004,), (0.1,)
    opened = open_masked(path).values
    assert np.argwhere(np.isnan(opened[0])).tolist() == [[2, 3]]
    np.testing.assert_allclose(opened[~np.isnan(opened)], 0.5, rtol=1e-6)


@pytest.mark.parametrize("bands", [None, (1, 2), (2,)])
def test_a_nodata_value_that_is_given_must_fill_all_bands_of_a_pixel(tmp_path, bands):
    values = np.full((2, 1, 4), 9, np.uint8)
    values[0, 0, 1] = values[1, 0, 2] = 5
    values[:, 0, 3] = 5
    path = write_raster(tmp_path / "a.tif", values)
    for source in (open_file(path, bands=bands, nodata=5), open_array(open_rasterio(path), "a", bands=bands, nodata=5)):
        assert source.read(source.grid.area)[1].tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_band_keeps_its_own_scale_wherever_the_alpha_band_stands(tmp_path, place):
    bands = [(7, 0.5, 1.0, ColorInterp.undefined), (9, 0.1, -3.0, ColorInterp.undefined)]
    stored = [*bands[:place], (255, 1.0, 0.0, ColorInterp.alpha), *bands[place:]]
    values = np.stack([np.full((8, 8), value, np.uint16) for value, *_ in stored])
    path = write_raster(tmp_path / "a.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (tuple(each[k] for each in stored) for k in (1, 2))
        dataset.colorinterp = tuple(each[3] for each in stored)
    source = open_file(path)
    read, valid = source.read(source.grid.area)
    assert valid.all()
    np.testing.assert_allclose(read[:, 0, 0], [7 * 0.5 + 1, 9 * 0.1 - 3], rtol=1e-6)


def test_the_only_band_is_data_even_if_it_is_called_alpha(tmp_path):
    values = np.zeros((1, 30, 30), np.uint8)
    values[0, 5:9] = 255
    path = write_raster(tmp_path / "mask.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.alpha]
    source = open_file(path)
    assert source.bands == (1,)
    assert (source.read(Tile(0, 0, 30, 30))[0] == values).all()


def test_nodata_in_any_band_means_the_bands_that_are_used_of_dataarrays_too(tmp_path):
    values = np.array([[[5, 5, 0]], [[5, -9999, -9999]]], np.int16)
    array = open_rasterio(write_bands(tmp_path / "a.tif", values, -9999))
    assert open_array(array, "a", bands=(1,)).read(Tile(0, 0, 1, 3))[1].all()
    assert open_array(array, "a", bands=(2,)).read(Tile(0, 0, 1, 3))[1].tolist() == [[True, False, False]]
    assert open_array(array, "a", bands=(1,), nodata="all").read(Tile(0, 0, 1, 3))[1].all()


@pytest.mark.parametrize(
    ("dtype", "fill", "expected"),
    [
        ("float32", None, None),
        ("float32", 0.1, float(np.float32(0.1))),
        ("float32", -9999.0, -9999.0),
        ("float64", 0.1, 0.1),
        ("float64", None, None),
        ("uint8", 7, 7),
    ],
)
def test_a_nodata_value_is_known_as_the_bands_hold_it(tmp_path, dtype, fill, expected):
    values = np.full((1, 2, 3), 5, dtype)
    values[0, 1, 2] = 0 if fill is None else fill
    source = open_file(write_raster(tmp_path / "a.tif", values, nodata=fill))
    assert source.fill == expected
    assert source.masked is (fill is not None)
    assert source.read(source.grid.area)[1].sum() == (6 if fill is None else 5)


@pytest.mark.parametrize("seen", [1, 2, 128, 255])
def test_any_value_of_a_mask_but_0_means_that_there_are_data(tmp_path, seen):
    path = write_raster(tmp_path / "a.tif", textured((20, 30)))
    mask = np.full((1, 20, 30), seen, np.uint8)
    mask[0, 3:9, 5:20] = 0
    write_raster(tmp_path / "a.tif.msk", mask)
    with rasterio.open(tmp_path / "a.tif.msk", "r+") as dataset:
        dataset.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": "2" for band in (1, 2, 3)})
    source = open_file(path)
    np.testing.assert_array_equal(source.read(source.grid.area)[1], mask[0] > 0)


@pytest.mark.parametrize(("share", "bands"), [(0.05, (1, 2)), (0.2, (1, 2, 3))])
def test_an_alpha_band_may_fade_at_its_borders(tmp_path, share, bands):
    values = textured((100, 130), bands=3)
    values[2] = 255
    values[2, :, ::20] = 100
    if share > 0.05:
        values[2, ::6] = 150
    source = open_file(write_bands(tmp_path / "a.tif", values, None, ["gray", "undefined", "alpha"]))
    assert source.bands == bands


@pytest.mark.parametrize("bands", [(1, 2), (2, 1), (2,), (1,)])
@pytest.mark.parametrize("fills", [(5, 9), (9, 9)])
def test_each_band_has_a_nodata_value_of_its_own(tmp_path, bands, fills):
    values = np.random.default_rng(0).choice(np.array([5, 9, 30], np.uint8), (2, 20, 31))
    write_raster(tmp_path / "a.tif", values)
    one = (
        '<VRTRasterBand dataType="Byte" band="{0}"><NoDataValue>{1}</NoDataValue><SimpleSource><SourceFilename '
        'relativeToVRT="1">a.tif</SourceFilename><SourceBand>{0}</SourceBand></SimpleSource></VRTRasterBand>'
    )
    both = "".join(one.format(band, fill) for band, fill in enumerate(fills, 1))
    (tmp_path / "a.vrt").write_text(f'<VRTDataset rasterXSize="31" rasterYSize="20">{both}</VRTDataset>')
    there = values != np.array(fills)[:, None, None]
    for rule, expected in (("any", there[[band - 1 for band in bands]].all(axis=0)), ("all", there.any(axis=0))):
        source = open_file(str(tmp_path / "a.vrt"), bands=bands, nodata=rule)
        np.testing.assert_array_equal(source.read(source.grid.area)[1], expected)


def test_a_pixel_is_valid_where_no_alpha_band_hides_it(tmp_path):
    values = textured((60, 80), bands=4)
    values[1] = values[3] = 255
    values[1, :9], values[3, :, :7] = 0, 0
    source = open_file(write_bands(tmp_path / "a.tif", values, None, ["gray", "alpha", "undefined", "alpha"]))
    assert source.bands == (1, 3)
    expected = np.ones((60, 80), bool)
    expected[:9] = expected[:, :7] = False
    np.testing.assert_array_equal(source.read(source.grid.area)[1], expected)


def test_values_beyond_the_colour_table_and_those_wholly_transparent_have_no_colour(tmp_path):
    stored = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    stored[0, 2, 3] = 255
    write_raster(tmp_path / "a.tif", stored)
    table = [(10, 20, 30), (40, 50, 60), (70, 80, 90), (1, 2, 3), (4, 5, 6)]
    alphas = (255, 1, 128, 0, 254)
    entries = "".join(
        f'<Entry c1="{r}" c2="{g}" c3="{b}" c4="{a}"/>' for (r, g, b), a in zip(table, alphas, strict=True)
    )
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="3"><VRTRasterBand dataType="Byte" band="1">'
        f"<ColorInterp>Palette</ColorInterp><ColorTable>{entries}</ColorTable><SimpleSource>"
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    source = open_file(str(tmp_path / "a.vrt"))
    values, valid = source.read(source.grid.area)
    assert values.reshape(3, -1)[:, :5].T.tolist() == [list(colour) for colour in table]
    np.testing.assert_array_equal(valid, (stored[0] < 5) & (stored[0] != 3))


def test_what_is_no_raster_is_told_with_its_cause(tmp_path):
    """A folder, a file inside an archive, and a raster whose pixels have no size."""
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.tif", "no raster")
    write_raster(tmp_path / "flat.tif", textured((9, 9)), transform=Affine(2, 0, 5, 0, 0, 5))
    with pytest.raises(UnreadableInput, match=r"folder cannot be read: "):
        open_file(str(tmp_path / "folder"))
    with pytest.raises(UnreadableInput, match=r"a\.zip/x\.tif cannot be read: "):
        open_file(f"/vsizip/{tmp_path}/a.zip/x.tif")
    with pytest.raises(UnreadableInput, match=r"flat\.tif cannot be read as a raster: its geotransform"):
        open_file(str(tmp_path / "flat.tif"))


@pytest.mark.parametrize("turned", [False, True])
def test_a_fourth_band_is_data_even_if_it_varies_only_far_from_the_first_pixel(tmp_path, turned):
    values = textured((70, 400), bands=4)
    values[3, :, :200] = 0
    values = values.swapaxes(1, 2) if turned else values
    assert open_file(write_raster(tmp_path / "a.tif", values, photometric="RGB", alpha="yes")).bands == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("names", "colours"),
    [
        (("red", "green", "blue"), (1, 2, 3)),
        (("undefined", "blue", "red", "green"), (3, 4, 2)),
        (("red", "green", "undefined"), None),
        (("gray", "undefined", "blue"), None),
    ],
)
def test_the_bands_of_colours_are_known_where_all_three_are_named(tmp_path, names, colours):
    path = write_bands(tmp_path / "a.tif", textured((20, 30), bands=len(names)), interpretation=names)
    assert open_file(path).colours == colours
