"""Grids over the antimeridian and around the poles: what lies 20 degrees further west is the same."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer
from rasterio.enums import Resampling

from geochange.scenes.differences import overlap_share
from geochange.scenes.grid import Grid
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.placement import extents_in, is_closed, pixels_reached
from geochange.scenes.scene import open_file
from geochange.scenes.warped import WarpedSource, on_grid
from tests.stand_ins import textured, write_raster

DEGREES = "EPSG:4326"
ZONES = {"EPSG:32601": -180, "EPSG:32660": 174}
"""UTM zones and their western edges."""


def grid(crs, transform, shape):
    return Grid(CRS.from_user_input(crs), transform, shape)


def utm(zone, lon, shape, size=300.0, lat=50.0):
    """A grid of a UTM zone whose middle lies at a longitude."""
    x, y = Transformer.from_crs(DEGREES, zone, always_xy=True).transform(lon, lat)
    return grid(zone, Affine(size, 0, x - shape[1] / 2 * size, 0, -size, y + shape[0] / 2 * size), shape)


def degrees(left, width, size=0.01, top=52.0, height=400):
    return grid(DEGREES, Affine(size, 0, left, 0, -size, top), (height, width))


def moved_west(place):
    """The same pixels 20 degrees further west: in degrees so many fewer, in UTM by another central meridian."""
    if place.crs.is_geographic:
        return Grid(place.crs, Affine.translation(-20, 0) @ place.transform, place.shape)
    number = int(place.crs.to_authority()[1]) % 100
    central = number * 6 - 183 - 20
    return Grid(CRS(f"+proj=tmerc +lon_0={central} +k=0.9996 +x_0=500000 +datum=WGS84"), place.transform, place.shape)


def sampled_share(before, after, side=200):
    """Share of before's area that after covers, by points, whose longitudes are counted from after's middle."""
    rows, cols = (np.arange(side) + 0.5 for _ in range(2))
    cols, rows = np.meshgrid(cols / side * before.shape[1], rows / side * before.shape[0])
    x, y = before.transform @ (cols, rows)
    x, y = Transformer.from_crs(before.crs, after.crs, always_xy=True).transform(x, y)
    if after.crs.is_geographic:
        middle = (after.bounds[0] + after.bounds[2]) / 2
        x = middle + (x - middle + 180) % 360 - 180
    left, bottom, right, top = after.bounds
    return ((x > left) & (x < right) & (y > bottom) & (y < top)).mean()


OVER = {
    "179 to 181": degrees(179, 200),
    "-181 to -179": degrees(-181, 200),
    "-180 to 180": degrees(-180, 36_000),
    "0 to 360": degrees(0, 36_000),
    "west of 180": degrees(178, 200),
    "east of -180": degrees(-180, 200),
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("lon", [179.9, 180.0, -179.8])
@pytest.mark.parametrize("name", OVER)
def test_the_share_that_is_covered_is_that_of_the_ground(zone, lon, name):
    scene, other = utm(zone, lon, (200, 300)), OVER[name]

    assert overlap_share(scene, other) == pytest.approx(sampled_share(scene, other), abs=0.01)
    if other.shape[1] < 1000:
        assert overlap_share(other, scene) == pytest.approx(sampled_share(other, scene), abs=0.01)


@given(lon=st.floats(178, 182), lat=st.floats(-75, 75), rows=st.integers(50, 300), cols=st.integers(50, 300))
@settings(max_examples=30, deadline=None)
def test_two_zones_overlap_as_two_that_do_not_meet_at_180(lon, lat, rows, cols):
    one, other = utm("EPSG:32601", lon, (rows, cols), lat=lat), utm("EPSG:32660", lon + 0.1, (cols, rows), lat=lat)
    further = utm("EPSG:32657", lon - 24, (rows, cols), lat=lat), utm("EPSG:32656", lon - 23.9, (cols, rows), lat=lat)

    assert overlap_share(one, other) == pytest.approx(overlap_share(*further), abs=1e-6)
    assert overlap_share(one, other) == pytest.approx(sampled_share(one, other), abs=0.02)


@pytest.mark.parametrize("turns", [-1, 0, 1])
def test_a_grid_in_degrees_lies_the_same_after_whole_turns(turns):
    place = degrees(179.5, 100)
    turned = Grid(place.crs, Affine.translation(360 * turns, 0) @ place.transform, place.shape)

    (extent,) = extents_in(turned, place)

    np.testing.assert_allclose((extent.top, extent.left, extent.bottom, extent.right), (0, 0, *place.shape), atol=1e-6)
    assert overlap_share(place, turned) == pytest.approx(1)


def test_degrees_to_another_datum_s_degrees_keep_their_width():
    over, whole = degrees(179, 200), Grid(CRS("EPSG:4258"), Affine(0.01, 0, -180, 0, -0.01, 52), (400, 36_000))

    assert sorted(round(each.left) for each in extents_in(over, whole)) == [-100, 35_900]
    assert overlap_share(over, whole) == pytest.approx(1)


def test_a_grid_around_a_pole_needs_all_longitudes_up_to_it():
    polar = grid("EPSG:3413", Affine(1000, 0, -5e5, 0, -1000, 5e5), (1000, 1000))
    earth = grid(DEGREES, Affine(0.5, 0, -180, 0, -0.5, 90), (360, 720))

    reached = pixels_reached(earth, polar)

    assert (reached.row, reached.col, reached.width) == (0, 0, 720)
    lowest = Transformer.from_crs(3413, 4326, always_xy=True).transform(-5e5, 5e5)[1]
    assert reached.stop_row == pytest.approx((90 - lowest) * 2, abs=1)
    assert overlap_share(polar, earth) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("left", "width", "closed"), [(-180, 720, True), (0, 720, True), (-180, 719, False)])
def test_only_a_grid_around_the_earth_is_closed(left, width, closed):
    assert is_closed(grid(DEGREES, Affine(0.5, 0, left, 0, -0.5, 90), (10, width))) is closed
    assert not is_closed(grid("EPSG:32633", Affine(0.5, 0, left, 0, -0.5, 90), (10, width)))


def content(place):
    """Values that depend on where a pixel lies on the ground alone, smooth over 180 degrees."""
    cols, rows = np.meshgrid(np.arange(place.shape[1]) + 0.5, np.arange(place.shape[0]) + 0.5)
    x, y = place.transform @ (cols, rows)
    lon, lat = Transformer.from_crs(place.crs, DEGREES, always_xy=True).transform(x, y)
    return (1000 * (np.sin(np.radians(lon) * 50) + np.cos(np.radians(lat) * 70)) + 3000)[None].astype("float32")


@pytest.mark.parametrize("name", ["179 to 181", "-181 to -179", "-180 to 180", "0 to 360"])
@pytest.mark.parametrize("resampling", [Resampling.nearest, Resampling.cubic])
def test_degrees_are_brought_to_a_scene_over_180(tmp_path, name, resampling):
    place = OVER[name]
    if place.shape[1] > 1000:
        place = grid(DEGREES, Affine(0.05, 0, place.bounds[0], 0, -0.05, 52), (80, 7200))
    source = open_file(write_raster(tmp_path / "a.tif", content(place), crs=DEGREES, transform=place.transform))
    scene = utm("EPSG:32601", 180, (300, 320))

    values, valid = on_grid(source, scene, resampling).read(scene.area)

    assert valid.all()
    near = 1200 if resampling is Resampling.nearest else 200  # of a degree: half a pixel of the steepest content
    assert np.abs(values - content(scene)).max() < near * place.resolution[0]


@pytest.mark.parametrize("name", ["179 to 181", "-181 to -179"])
@pytest.mark.parametrize("to_degrees", [True, False])
def test_aligning_over_180_is_aligning_20_degrees_further_west(tmp_path, name, to_degrees):
    pair = utm("EPSG:32601", 180, (300, 320)), OVER[name]
    first, other = pair[::-1] if to_degrees else pair
    found = []
    for where, places in (("over", (first, other)), ("west", (moved_west(first), moved_west(other)))):
        paths = [
            write_raster(
                tmp_path / f"{where}{i}.tif", textured(each.shape), crs=each.crs.to_wkt(), transform=each.transform
            )
            for i, each in enumerate(places)
        ]
        scene = open_scene(paths, SceneOptions(align=True))
        found.append((scene.shape, *scene.read(scene.grid.area)))

    (shape, dates, valid), (expected_shape, expected_dates, expected_valid) = found
    assert shape == expected_shape
    np.testing.assert_array_equal(valid, expected_valid)
    for date, expected in zip(dates, expected_dates, strict=True):
        assert np.abs(date.astype(int) - expected.astype(int)).max() <= 1


def test_two_zones_are_aligned_over_180(tmp_path):
    one, other = utm("EPSG:32601", 180, (300, 320)), utm("EPSG:32660", 180, (300, 320))
    source = open_file(write_raster(tmp_path / "a.tif", content(other), crs=str(other.crs), transform=other.transform))

    values, valid = on_grid(source, one, Resampling.cubic).read(one.area)

    assert valid.mean() == pytest.approx(overlap_share(one, other), abs=0.01)
    assert np.abs(values - content(one))[:, valid].max() < 2


@pytest.mark.parametrize("left", [-180, 0])
def test_few_pixels_are_read_of_a_raster_of_the_whole_earth(tmp_path, left, monkeypatch):
    place = grid(DEGREES, Affine(0.05, 0, left, 0, -0.05, 52), (80, 7200))
    source = open_file(write_raster(tmp_path / "a.tif", content(place), crs=DEGREES, transform=place.transform))
    read, kept = [], type(source).read
    monkeypatch.setattr(type(source), "read", lambda self, tile: read.append(tile.size) or kept(self, tile))
    scene = utm("EPSG:32601", 180, (300, 320))

    WarpedSource(source, scene).read(scene.area)

    assert 0 < sum(read) < 80 * 80 * 4


@pytest.mark.parametrize("left", [-2e6, -5e5])
@pytest.mark.parametrize("shape", [(1000, 3000), (3000, 3000)])
def test_a_pole_anywhere_in_a_grid_is_seen(left, shape):
    earth = Grid(CRS(4326), Affine(0.5, 0, -180, 0, -0.5, 90), (360, 720))
    polar = Grid(CRS(3413), Affine(1000, 0, left, 0, -1000, 5e5), shape)
    reached = pixels_reached(earth, polar)
    assert (reached.row, reached.col, reached.width) == (0, 0, 720)


@pytest.mark.parametrize(
    ("crs", "transform", "closed"),
    [
        (DEGREES, Affine(0.5, 0, -180, 0, -0.5, 90), True),
        (DEGREES, Affine(0.5, 0, 7, 0, 0.25, -90), True),
        (DEGREES, Affine(-0.5, 0, 180, 0, -0.5, 90), True),
        (DEGREES, Affine(0.5 + 1e-9, 0, -180, 0, -0.5, 90), True),
        (DEGREES, Affine(0.501, 0, -180, 0, -0.5, 90), False),
        (DEGREES, Affine(0.499, 0, -180, 0, -0.5, 90), False),
        (DEGREES, Affine(0.5, 0, -180, 0.001, -0.5, 90), False),
        ("EPSG:32633", Affine(0.5, 0, -180, 0, -0.5, 90), False),
    ],
    ids=["earth", "rows-up", "columns-west", "rounding", "wider", "narrower", "sheared", "metres"],
)
def test_a_grid_is_closed_where_its_rows_go_once_round_the_earth(crs, transform, closed):
    assert is_closed(grid(crs, transform, (360, 720))) == closed
