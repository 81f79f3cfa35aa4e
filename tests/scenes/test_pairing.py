import geopandas
import numpy as np
import pytest
import rasterio
import rioxarray
import shapely
import xarray as xr
from affine import Affine
from pyproj import CRS
from rasterio.warp import Resampling, calculate_default_transform, reproject

from geochange.errors import BadOption, BandMismatch, GridMismatch, UnreadableInput
from geochange.scenes.grid import Tile
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.placement import same_crs
from geochange.scenes.scene import FileSource, open_file
from geochange.scenes.warped import WarpedSource, warp_pixels
from tests.stand_ins import PLACE, SHARED, UTM, textured, write_pair, write_raster

needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="real imagery is not beside the project")


def test_two_dates_on_one_grid_are_read_together(tmp_path):
    scene = open_scene(write_pair(tmp_path, (40, 50)))
    dates, valid = scene.read(Tile(5, 6, 7, 8))
    assert [date.shape for date in dates] == [(3, 7, 8)] * 2
    assert valid.shape == (2, 7, 8)


def test_beyond_the_border_the_scene_is_reflected(tmp_path):
    scene = open_scene(write_pair(tmp_path, (20, 30)))
    (inside, _), _ = scene.read(scene.grid.area)
    (around, _), _ = scene.read(Tile(-4, -6, 60, 70))
    np.testing.assert_array_equal(around, np.pad(inside, ((0, 0), (4, 36), (6, 34)), mode="reflect"))


@pytest.mark.parametrize(
    ("crs", "transform", "shape", "named"),
    [
        ("EPSG:32634", PLACE, (40, 50), "EPSG:32634"),
        (UTM, PLACE @ Affine.translation(0.4, 0), (40, 50), "origin"),
        (UTM, PLACE @ Affine.scale(2), (20, 25), "resolution"),
        (UTM, PLACE, (41, 50), "41 rows"),
    ],
)
def test_other_grids_are_refused_with_the_difference_and_the_fix(tmp_path, crs, transform, shape, named):
    before = write_raster(tmp_path / "a.tif", textured((40, 50)))
    after = write_raster(tmp_path / "b.tif", textured(shape), crs=crs, transform=transform)
    with pytest.raises(GridMismatch, match=named) as caught:
        open_scene([before, after])
    assert "--align" in str(caught.value)


def test_a_refusal_names_both_dates_in_their_order_and_the_first_that_does_not_fit(tmp_path):
    shapes = {"a": (40, 50), "b": (40, 50), "c": (41, 52), "d": (44, 50)}
    paths = [write_raster(tmp_path / f"{name}.tif", textured(shape)) for name, shape in shapes.items()]
    named = r"a\.tif and \S*c\.tif are not on one grid: size 40 rows x 50 columns against 41 rows x 52 columns; add"
    with pytest.raises(GridMismatch, match=named):
        open_scene(paths)


def test_align_crops_where_only_whole_pixels_differ(tmp_path):
    values = textured((60, 70))
    before = write_raster(tmp_path / "a.tif", values[:, 5:45, 10:60], transform=PLACE @ Affine.translation(10, 5))
    after = write_raster(tmp_path / "b.tif", values[:, :40, :55])
    scene = open_scene([before, after], SceneOptions(align=True))
    assert all(isinstance(source, FileSource) for source in scene.sources)
    (first, second), _ = scene.read(scene.grid.area)
    assert first.shape == (3, 35, 45)
    np.testing.assert_array_equal(first, second)


def test_align_brings_another_crs_to_the_first_grid(tmp_path):
    values = textured((300, 300))
    before = write_raster(tmp_path / "a.tif", values)
    with rasterio.open(before) as dataset:
        transform, width, height = calculate_default_transform(UTM, "EPSG:3857", 300, 300, *dataset.bounds)
        there = np.zeros((3, height, width), np.uint8)
        reproject(
            values,
            there,
            src_transform=PLACE,
            src_crs=UTM,
            dst_transform=transform,
            dst_crs="EPSG:3857",
            resampling=Resampling.cubic,
        )
    after = write_raster(tmp_path / "b.tif", there, crs="EPSG:3857", transform=transform, nodata=0)
    scene = open_scene([before, after], SceneOptions(align=True))
    assert isinstance(scene.sources[1], WarpedSource)
    (first, second), valid = scene.read(scene.grid.area)
    inner = valid.all(axis=0)
    assert inner.mean() > 0.97
    assert np.corrcoef(first[:, inner].ravel(), second[:, inner].ravel())[0, 1] > 0.98


def test_dates_that_do_not_overlap_are_refused(tmp_path):
    before = write_raster(tmp_path / "a.tif", textured((40, 50)))
    after = write_raster(tmp_path / "b.tif", textured((40, 50)), transform=PLACE @ Affine.translation(500, 0))
    with pytest.raises(GridMismatch, match="do not overlap"):
        open_scene([before, after], SceneOptions(align=True))


def test_a_crs_on_one_side_only_is_refused(tmp_path):
    before = write_raster(tmp_path / "a.tif", textured((40, 50)))
    after = write_raster(tmp_path / "b.tif", textured((40, 50)), crs=None)
    with pytest.raises(GridMismatch, match="no CRS"):
        open_scene([before, after], SceneOptions(align=True))


def test_different_band_counts_are_refused_unless_bands_are_picked(tmp_path):
    before = write_raster(tmp_path / "a.tif", textured((40, 50), bands=3))
    after = write_raster(tmp_path / "b.tif", textured((40, 50), bands=4))
    with pytest.raises(BandMismatch, match=r"3 bands.*4"):
        open_scene([before, after])
    assert open_scene([before, after], SceneOptions(bands=(3, 1))).bands == (3, 1)


def test_a_box_picks_whole_pixels(tmp_path):
    pair = write_pair(tmp_path, (40, 50))
    left, top = PLACE @ (10, 5)
    right, bottom = PLACE @ (30, 25)
    scene = open_scene(pair, SceneOptions(aoi=(left, bottom, right, top)))
    assert scene.shape == (20, 20)
    (part, _), _ = scene.read(scene.grid.area)
    (whole, _), _ = open_scene(pair).read(Tile(5, 10, 20, 20))
    np.testing.assert_array_equal(part, whole)


def test_a_layer_masks_what_lies_outside_whatever_the_window(tmp_path):
    pair = write_pair(tmp_path, (60, 60))
    centre = shapely.Point(PLACE @ (31.3, 28.6)).buffer(40)
    layer = geopandas.GeoSeries([centre], crs=UTM).to_crs("EPSG:4326")
    layer.to_file(tmp_path / "aoi.gpkg")
    scene = open_scene(pair, SceneOptions(aoi=str(tmp_path / "aoi.gpkg")))
    _, whole = scene.read(scene.grid.area)
    assert 0.7 < whole.mean() < 0.85  # a disc in its square
    _, part = scene.read(Tile(7, 9, 20, 13))
    np.testing.assert_array_equal(part, whole[:, 7:27, 9:22])


@pytest.mark.parametrize(
    "aoi",
    [
        (0.0, 0.0, 1.0, 1.0),
        "missing.gpkg",
        (5.0, 0.0, 1.0, 1.0),
        (0.0, 5.0, 1.0, 1.0),
        (*PLACE @ (3, 20), *PLACE @ (3, 5)),
    ],
)
def test_an_area_that_cannot_be_is_refused(tmp_path, aoi):
    with pytest.raises((GridMismatch, UnreadableInput, BadOption)):
        open_scene(write_pair(tmp_path, (40, 50)), SceneOptions(aoi=aoi))


def test_a_fingerprint_tells_other_pixels_and_sees_the_same_again(tmp_path):
    pair = write_pair(tmp_path, (300, 300))
    before = open_scene(pair).fingerprint()
    assert open_scene(pair).fingerprint() == before
    values = textured((300, 300), seed=9)
    write_raster(tmp_path / "after.tif", values)
    assert open_scene(pair).fingerprint() != before


@needs_shared
@pytest.mark.parametrize("later", ["20120731", "20170827", "20200831"])
def test_naip_is_refused_as_it_is_and_read_with_align(later):
    pair = [str(SHARED / "naip_wetlands" / f"naip_{date}.tif") for date in ("20090818", later)]
    with pytest.raises(GridMismatch):
        open_scene(pair)
    scene = open_scene(pair, SceneOptions(align=True))
    (_, after), valid = scene.read(scene.grid.area)
    assert valid.mean() > 0.99
    assert after.shape[0] == 4


@pytest.mark.parametrize("shift", [(3, 2), (0.5, 0.5)], ids=["whole", "half"])
def test_the_stored_numbers_of_an_aligned_date_are_unscaled(tmp_path, shift):
    values = textured((60, 60), bands=1, dtype="uint16")
    paths = []
    for name, transform in (("a", PLACE), ("b", PLACE @ Affine.translation(*shift))):
        paths.append(write_raster(tmp_path / f"{name}.tif", values, transform=transform))
        with rasterio.open(paths[-1], "r+") as dataset:
            dataset.scales, dataset.offsets = (0.0001,), (-0.1,)
    scene = open_scene(paths, SceneOptions(align=True)).stored()
    dates, valid = scene.read(scene.grid.area)
    assert [date.dtype for date in dates] == [np.uint16, np.uint16]
    assert all(date[:, mask].min() > 1 for date, mask in zip(dates, valid, strict=True))


@pytest.mark.parametrize("tile", [Tile(3, 40, 20, 30), Tile(50, 2, 9, 60), Tile(0, 0, 1, 1), Tile(30, 30, 20, 20)])
def test_windows_of_a_crooked_area_are_those_of_the_whole(tmp_path, tile):
    pair = write_pair(tmp_path, (64, 96))
    corners = [(4, 60), (20, 5), (90, 12), (50, 30), (70, 62)]  # (col, row)
    geopandas.GeoSeries([shapely.Polygon([PLACE @ each for each in corners])], crs=UTM).to_file(tmp_path / "aoi.gpkg")
    scene = open_scene(pair, SceneOptions(aoi=str(tmp_path / "aoi.gpkg")))
    _, whole = scene.read(scene.grid.area)
    assert 0.2 < whole.mean() < 0.8
    inside = tile.intersect(scene.grid.area)
    _, part = scene.read(inside)
    np.testing.assert_array_equal(part, whole[(slice(None), *inside.slices())])


@pytest.mark.parametrize("pixel", [(2, -2), (2, 2), (2, -6)], ids=["north-up", "rows-up", "oblong"])
def test_a_layer_masks_its_own_place_of_a_turned_scene(tmp_path, pixel):
    place = Affine.translation(PLACE.c, PLACE.f) @ Affine.rotation(30) @ Affine.scale(*pixel)
    pair = [write_raster(tmp_path / f"{name}.tif", textured((40, 60)), transform=place) for name in "ab"]
    corners = [(12, 8), (50, 8), (50, 30), (12, 30)]  # (col, row)
    wanted = shapely.Polygon([place @ corner for corner in corners])
    geopandas.GeoSeries([wanted], crs=UTM).to_file(tmp_path / "aoi.gpkg")
    scene = open_scene(pair, SceneOptions(aoi=str(tmp_path / "aoi.gpkg")))
    _, valid = scene.read(scene.grid.area)
    rows, cols = np.nonzero(valid[0])
    row, col = open_scene(pair).grid.offset_of(scene.grid)
    rows, cols = rows + round(row), cols + round(col)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (8, 29, 12, 49)
    assert valid[0].sum() == 22 * 38


def test_the_nodata_that_is_asked_for_holds_for_dates_in_memory_as_for_files(tmp_path):
    paths = write_pair(tmp_path, (40, 50), bands=1)
    value = float(rioxarray.open_rasterio(paths[0]).values[0, 5, 6])
    options = SceneOptions(nodata=value)
    of_files, of_arrays = (
        open_scene(pair, options).read(Tile(0, 0, 40, 50))[1]
        for pair in (paths, [rioxarray.open_rasterio(path).load() for path in paths])
    )
    assert not of_arrays[0, 5, 6]
    assert (of_arrays == of_files).all()


def test_dates_in_memory_are_called_by_their_names_or_their_places():
    dates = [xr.DataArray(np.ones((count, 6, 7), np.float32), dims=("band", "y", "x")) for count in (3, 4)]
    with pytest.raises(BandMismatch, match=r"^date 1 has 3 bands, date 2 has 4;"):
        open_scene(dates)
    with pytest.raises(BandMismatch, match=r"^spring has 3 bands, date 2 has 4;"):
        open_scene([dates[0].rename("spring"), dates[1].rename(7)])


def test_dates_that_overlap_the_first_but_not_each_other_are_refused(tmp_path):
    places = {"middle": 0, "west": -30, "east": 30}
    paths = [
        write_raster(tmp_path / f"{name}.tif", textured((40, 50)), transform=PLACE @ Affine.translation(col, 0))
        for name, col in places.items()
    ]
    with pytest.raises(GridMismatch, match=r"no pixel lies in all of .*middle.tif, .*west.tif, .*east.tif; leave out"):
        open_scene(paths, SceneOptions(align=True))
    assert open_scene(paths[:2], SceneOptions(align=True)).shape == (40, 20)


@pytest.mark.parametrize(
    "changed", ["last pixel", "first pixel", "validity", "dtype", "scale", "origin", "crs", "rows", "bands", "area"]
)
def test_a_fingerprint_differs_with_each_property_of_the_input(tmp_path, changed):
    values, path = textured((200, 150), dtype="uint8") // 2 + 10, tmp_path / "a.tif"
    place, crs, options = PLACE, UTM, SceneOptions()
    before = open_scene([write_raster(path, values)]).fingerprint()
    path.unlink()
    if changed in ("last pixel", "first pixel"):
        values[2, *((-1, -1) if changed == "last pixel" else (0, 0))] += 1
    values = {"dtype": values.astype(np.uint16), "rows": np.pad(values, ((0, 0), (0, 1), (0, 0)))}.get(changed, values)
    place = PLACE @ Affine.translation(0.5, 0) if changed == "origin" else place
    crs = "EPSG:32634" if changed == "crs" else crs
    write_raster(path, values, transform=place, crs=crs, nodata=None if changed != "validity" else int(values[0, 0, 0]))
    if changed == "validity":
        options = SceneOptions(nodata="any")
    if changed == "scale":
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = (2.0,) * 3
    if changed == "bands":
        options = SceneOptions(bands=(1, 3))
    if changed == "area":
        layer = shapely.box(*PLACE @ (-9, 209), *PLACE @ (159, -9))
        geopandas.GeoSeries([layer], crs=UTM).to_file(tmp_path / "aoi.gpkg")
        options = SceneOptions(aoi=str(tmp_path / "aoi.gpkg"))
    after = open_scene([path], options).fingerprint()
    for fingerprint in (before, after):  # of the files' bytes, which differ in all of these
        del fingerprint["dates"][0]["files"]
    assert after != before


@pytest.mark.parametrize("name", ["nearest", "bilinear", "cubic"])
def test_an_aligned_date_is_interpolated_as_asked(tmp_path, name):
    moved = Affine(1, 0, 500_000.4, 0, -1, 5_400_000.3)
    before = write_raster(tmp_path / "a.tif", textured((60, 70)), transform=Affine(1, 0, 500_000, 0, -1, 5_400_000))
    after = write_raster(tmp_path / "b.tif", textured((60, 70)), transform=moved)
    scene = open_scene([before, after], SceneOptions(align=True, resampling=name))
    source = open_file(str(after))
    expected, _ = warp_pixels(*source.read(source.grid.area), source.grid, scene.grid, Resampling[name])
    found, valid = scene.sources[1].read(scene.grid.area)
    np.testing.assert_array_equal(found[:, 8:-8, 8:-8], expected[:, 8:-8, 8:-8])
    assert valid[8:-8, 8:-8].all()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("EPSG:4326", "OGC:CRS84", True),  # whose axes are in the other order
        ("EPSG:4326", "EPSG:4258", False),
        ("EPSG:32633", CRS.from_epsg(32633).to_wkt(), True),
        ("EPSG:32633", "EPSG:32634", False),
        (None, "EPSG:32633", False),
        ("EPSG:32633", None, False),
        (None, None, True),
    ],
)
def test_crss_are_the_same_where_coordinates_mean_the_same_place(one, other, same):
    assert same_crs(*(None if each is None else CRS(each) for each in (one, other))) is same


@pytest.mark.parametrize(
    ("types", "largest"),
    [
        (("uint8", "uint8"), 255),
        (("uint8", "uint16"), 65535),
        (("int16", "uint8"), 32767),
        (("float32", "uint8"), np.inf),
    ],
)
def test_the_largest_value_is_that_which_any_date_can_hold(tmp_path, types, largest):
    pair = [write_raster(tmp_path / f"{k}.tif", np.ones((1, 4, 5), kind)) for k, kind in enumerate(types)]
    assert open_scene(pair).largest == open_scene(pair[::-1]).largest == largest


def test_content_that_is_moved_twice_is_moved_by_both(tmp_path):
    scene = open_scene(write_pair(tmp_path, (60, 80)))
    twice = scene.move(1, (2, 3), Resampling.nearest).move(1, (1, -5), Resampling.nearest)
    assert twice.sources[1].shift == (3, -2)
    (before, after), valid = twice.read(twice.grid.area)
    (plain, moved), _ = scene.read(scene.grid.area)
    np.testing.assert_array_equal(before, plain)
    np.testing.assert_array_equal(after[:, :57, 2:], moved[:, 3:, :-2])
    assert valid[1, :57, 2:].all()
    assert not valid[1, 57:].any()


def test_a_date_that_lies_elsewhere_is_identified_by_its_own_place(tmp_path):
    told = []
    for pixel in (-2.0, -2.5):
        place = Affine(2, 0, 500_000, 0, pixel, 5_400_000)
        paths = [
            write_raster(tmp_path / f"{k}.tif", textured((60, 80)), transform=each)
            for k, each in enumerate((PLACE, place))
        ]
        told.append(open_file(paths[1]).grid.transform)
        fingerprint = open_scene(paths[1:]).fingerprint()
        assert fingerprint["transform"] == fingerprint["dates"][0]["transform"] == list(place)[:6]
    assert told[0] != told[1]
