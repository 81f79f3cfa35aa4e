"""The made landscape: a pure function of seed and place, with a truth that is exact."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter, label, shift
from shapely import Point

from geochange.scenes.grid import Tile
from geochange.scenes.registration import window_shift

SAMPLE = Path(__file__).parents[1] / "sample_data"
sys.path.insert(0, str(SAMPLE))

from make_scene import OutputOptions, main, make_block, write_pair  # noqa: E402
from scenery.covers import KINDS  # noqa: E402
from scenery.drawing import LEAST, draw  # noqa: E402
from scenery.estates import FLATS, HALLS, HOUSES  # noqa: E402
from scenery.landscape import furnish_block  # noqa: E402
from scenery.light import AFTER_EXPOSURE, BEFORE_EXPOSURE, direct_light, displacement, focus, shadow  # noqa: E402
from scenery.network import block_polygon, blocks_near, line_kind, to_lattice  # noqa: E402
from scenery.spec import PATCH, SceneSpec  # noqa: E402

SPEC = SceneSpec(seed=4, width=700, height=600)
WHOLE = Tile(0, 0, 600, 700)


@pytest.fixture(scope="module")
def scene():
    return make_block(SPEC, WHOLE)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    write_pair(SPEC, folder, OutputOptions(block=512, truth_raster=True))
    return folder


@settings(max_examples=6)
@given(row=st.integers(0, 560), col=st.integers(0, 660), height=st.integers(1, 40), width=st.integers(1, 40))
def test_block_of_a_part_is_the_part_of_the_block(scene, row, col, height, width):
    part = make_block(SPEC, Tile(row, col, height, width))
    for made, whole in zip(part, scene, strict=True):
        np.testing.assert_array_equal(made, whole[..., row : row + height, col : col + width])


@pytest.mark.parametrize(
    "more", [{"estates": 0.6, "seasons": 1.0}, {"local_shift": 2.0, "sun": (230.0, 40.0)}], ids=["seasons", "bent"]
)
def test_block_of_a_part_is_the_part_of_the_block_of_any_kind(more):
    spec = SceneSpec(seed=4, **more)
    whole = make_block(spec, Tile(400, 400, 220, 220))  # over the corner of four patches
    for made, expected in zip(make_block(spec, Tile(490, 480, 60, 50)), whole, strict=True):
        np.testing.assert_array_equal(made, expected[..., 90:150, 80:130])


def test_seasons_change_how_dates_look_and_not_what_is_there():
    tile = Tile(0, 0, 300, 300)
    same, other = (make_block(SceneSpec(seed=4, seasons=seasons), tile) for seasons in (0.0, 1.0))
    np.testing.assert_array_equal(other[2], same[2])
    unlike = [np.corrcoef(made[0][0].ravel(), made[1][0].ravel())[0, 1] for made in (same, other)]
    assert unlike[1] < 0.8
    assert unlike[0] > 0.9


def test_estates_are_built_up_and_some_of_them_are_new():
    tile = Tile(0, 0, PATCH, PATCH)
    none, many, calm = (
        draw(SceneSpec(seed=4, estates=estates, changes=changes), tile)
        for estates, changes in ((0.0, 1.0), (0.7, 1.0), (0.7, 0.0))
    )

    def standing(drawing):
        roofs = [number for paint, number in drawing.paints.items() if paint.cover in {*HOUSES, *FLATS, *HALLS}]
        return (np.isin(drawing.labels[0], roofs) & (drawing.kinds == 0)).mean()

    assert standing(none) + 0.02 < standing(many)
    assert (many.kinds == 1 + KINDS.index("building_new")).mean() > 0.02
    assert not calm.kinds.any()


@pytest.mark.parametrize("block", [160, 1024])
def test_files_do_not_depend_on_the_block_size(tmp_path, scene, block):
    write_pair(SPEC, tmp_path, OutputOptions(block=block, truth_vector=False))
    for name, expected in zip(("before", "after"), scene, strict=False):
        with rasterio.open(tmp_path / f"{name}.tif") as image:
            np.testing.assert_array_equal(image.read(), expected)


def test_files_do_not_depend_on_the_workers(tmp_path, written):
    write_pair(SPEC, tmp_path, OutputOptions(block=512, workers=2, truth_raster=True))
    for name in ("before.tif", "after.tif", "truth.tif"):
        with rasterio.open(tmp_path / name) as many, rasterio.open(written / name) as one:
            np.testing.assert_array_equal(many.read(), one.read())


def test_scene_does_not_depend_on_its_size(scene):
    larger = SceneSpec(seed=SPEC.seed, width=5000, height=9000)
    for made, whole in zip(make_block(larger, Tile(500, 500, 64, 64)), scene, strict=True):
        np.testing.assert_array_equal(made, whole[..., 500:564, 500:564])


def test_patches_meet_without_a_seam():
    drawing = draw(SPEC, Tile(0, 0, PATCH, PATCH).grow(SPEC.halo))
    neighbour = draw(SPEC, Tile(0, PATCH, PATCH, PATCH).grow(SPEC.halo))
    core = slice(SPEC.halo, -SPEC.halo)
    shared = slice(PATCH + SPEC.halo - 3, PATCH + SPEC.halo + 3), slice(SPEC.halo - 3, SPEC.halo + 3)
    np.testing.assert_array_equal(drawing.heights[:, core, shared[0]], neighbour.heights[:, core, shared[1]])
    np.testing.assert_array_equal(drawing.kinds[core, shared[0]], neighbour.kinds[core, shared[1]])


def test_another_seed_is_another_place(scene):
    other, _, _ = make_block(SceneSpec(seed=5), Tile(0, 0, 200, 200))
    differs = np.abs(other.astype(int) - scene[0][:, :200, :200]).max(axis=0) > 10
    assert differs.mean() > 0.5


def test_truth_polygons_cover_just_the_changed_pixels(written, scene):
    truth = geopandas.read_file(written / "truth.gpkg", layer="truth")
    with rasterio.open(written / "before.tif") as image:
        transform, crs = image.transform, image.crs
    codes = [1 + KINDS.index(kind) for kind in truth["kind"]]
    pairs = zip(truth.geometry, codes, strict=True)
    np.testing.assert_array_equal(rasterize(pairs, WHOLE.shape, transform=transform, dtype="uint8"), scene[2])
    assert truth.crs == crs
    assert truth.geometry.area.sum() == (scene[2] > 0).sum() == truth["area_px"].sum()


def test_truth_polygons_have_their_corners_on_pixel_corners(written):
    corners = geopandas.read_file(written / "truth.gpkg").get_coordinates().to_numpy()
    with rasterio.open(written / "before.tif") as image:
        cols, rows = ~image.transform @ corners.T
    np.testing.assert_array_equal([cols, rows], np.rint([cols, rows]))


def test_truth_raster_is_zero_and_one(written, scene):
    with rasterio.open(written / "truth.tif") as truth:
        np.testing.assert_array_equal(truth.read(1), scene[2] > 0)


def test_no_change_is_a_speck(scene):
    regions, _ = label(scene[2] > 0)
    border = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    sizes = np.bincount(regions.ravel())
    sizes[border] = LEAST
    assert sizes[1:].min() >= LEAST


def test_without_changes_the_ground_is_the_same():
    calm = SceneSpec(seed=4, changes=0)
    drawing = draw(calm, Tile(0, 0, 400, 400))
    np.testing.assert_array_equal(drawing.labels[0], drawing.labels[1])
    np.testing.assert_array_equal(drawing.heights[0], drawing.heights[1])
    assert not drawing.kinds.any()


def test_more_changes_change_more():
    few, many = ((draw(SceneSpec(seed=4, changes=n), Tile(0, 0, 450, 450)).kinds > 0).sum() for n in (20, 200))
    assert 0 < 2 * few < many


def test_true_changes_are_seen_and_the_rest_hardly(scene):
    before, after, kinds = (layer.astype(float) for layer in scene)
    ratio = before.mean(axis=(1, 2)) / after.mean(axis=(1, 2))
    moved = np.abs(after * ratio[:, None, None] - before).mean(axis=0)
    assert np.median(moved[kinds > 0]) > 4 * np.median(moved[kinds == 0])


@pytest.mark.parametrize("exposure", [BEFORE_EXPOSURE, AFTER_EXPOSURE])
def test_focus_blurs_and_displaces_as_scipy_does(exposure):
    image = gaussian_filter(np.random.default_rng(1).normal(size=(80, 80)), 3)
    blurred = gaussian_filter(image, exposure.blur)
    expected = shift(blurred, exposure.shift, order=3)[10:-10, 10:-10]
    np.testing.assert_allclose(focus(image, exposure, halo=10), expected, atol=0.02 * image.std())


def test_shadow_is_as_long_as_the_sun_is_low():
    heights = np.zeros((60, 60), np.float32)
    heights[30, 30] = 8.0
    hidden = shadow(heights, (0.0, 1.0), rise=0.5, pixel=1.0)
    assert list(np.flatnonzero(hidden[30] > 0.4)) == list(range(15, 30))
    assert not np.delete(hidden, 30, axis=0).any()


def test_flat_ground_lies_in_full_light():
    np.testing.assert_array_equal(direct_light(np.zeros((9, 9), np.float32), BEFORE_EXPOSURE, 1.0), 1)


@given(x=st.floats(-4000, 4000), y=st.floats(-4000, 4000), seed=st.integers(0, 50))
@settings(max_examples=25)
@example(x=-3454.0, y=0.0, seed=0)  # in a sliver where a cross road meets the bend of a line
def test_no_place_lies_in_two_blocks_or_far_from_all(x, y, seed):
    blocks = [block_polygon(seed, *place) for place in blocks_near(seed, x, y, x, y)]
    assert sum(block.contains(Point(x, y)) for block in blocks) <= 1
    assert min(block.distance(Point(x, y)) for block in blocks) < 10


def test_no_two_rivers_run_side_by_side():
    kinds = [line_kind(3, row) for row in range(-60, 60)]
    assert kinds.count("river") == 40
    assert ("river", "river") not in pairwise(kinds)


def test_lattice_turns_but_does_not_stretch():
    origin, east, south = (np.array(to_lattice(4, *place)) * (440, 275) for place in ((0, 0), (10, 0), (0, 10)))
    np.testing.assert_allclose([np.hypot(*(east - origin)), np.hypot(*(south - origin))], 10)


def test_images_are_georeferenced_and_described(written):
    with rasterio.open(written / "before.tif") as before, rasterio.open(written / "after.tif") as after:
        assert before.crs.is_projected
        assert before.transform == after.transform
        assert before.res == (1.0, 1.0)
        assert before.descriptions == ("red", "green", "blue", "nir")
        assert before.tags()["TIFFTAG_DATETIME"] < after.tags()["TIFFTAG_DATETIME"]
        assert before.nodata is None


def test_nodata_border_is_a_swath_edge_on_both_dates(tmp_path):
    spec = SceneSpec(seed=4, width=300, height=200, nodata_border=True)
    write_pair(spec, tmp_path, OutputOptions(truth_raster=True, truth_vector=False))
    with rasterio.open(tmp_path / "before.tif") as before, rasterio.open(tmp_path / "after.tif") as after:
        valid = [image.dataset_mask() > 0 for image in (before, after)]
    with rasterio.open(tmp_path / "truth.tif") as truth:
        assert not truth.read(1)[~(valid[0] & valid[1])].any()
    assert all(0 < (~mask).mean() < 0.2 for mask in valid)
    assert (valid[0] != valid[1]).any()


def test_a_block_that_roads_leave_nothing_of_is_furnished():
    assert furnish_block(507, 4.0, 0, 0).ground.area == 0


def test_uint16_holds_reflectance():
    tile = Tile(0, 0, 128, 128)
    numbers, _, _ = make_block(SceneSpec(seed=4, dtype="uint16"), tile)
    assert numbers.dtype == np.uint16
    red, nir = numbers[0].mean() / 10000, numbers[3].mean() / 10000
    assert 0.02 < red < 0.15 < nir < 0.5


def test_coarser_pixels_show_the_same_place():
    fine, coarse = SceneSpec(seed=4, pixel=1.0), SceneSpec(seed=4, pixel=2.0)
    labels = [draw(spec, Tile(0, 0, size, size)).heights[0] > 0 for spec, size in ((fine, 400), (coarse, 200))]
    shares = [mask.reshape(10, mask.shape[0] // 10, 10, -1).mean(axis=(1, 3)).ravel() for mask in labels]
    assert np.corrcoef(shares)[0, 1] > 0.9


@pytest.mark.parametrize(
    "arguments",
    [
        ["--size", "0"],
        ["--pixel", "50"],
        ["--seasons", "2"],
        ["--estates", "-1"],
        ["--seed", "-1"],
        ["--block", "100"],
        ["--workers", "0"],
    ],
)
def test_command_refuses_in_one_line(tmp_path, arguments):
    with pytest.raises(SystemExit, match=r"^make_scene: [^\n]+$"):
        main([str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


def test_committed_sample_is_what_its_command_makes():
    spec = SceneSpec(seed=4)
    tile = Tile(480, 480, 64, 64)
    for name, expected in zip(("before", "after"), make_block(spec, tile), strict=False):
        with rasterio.open(SAMPLE / f"{name}.tif") as image:
            made = image.read(window=tile.window).astype(int)
        # Another libm may round a pixel the other way.
        assert np.abs(made - expected).max() <= 1


def test_committed_sample_is_small_and_varied():
    assert sum(path.stat().st_size for path in SAMPLE.glob("*.tif")) < 8e6
    truth = geopandas.read_file(SAMPLE / "truth.gpkg", layer="truth")
    assert 40 <= len(truth) <= 120
    assert set(truth["kind"]) == set(KINDS)
    assert 0.02 < truth.geometry.area.sum() / 1024**2 < 0.05


def test_the_second_image_is_bent_by_the_field_and_the_first_is_not():
    straight, bent = (make_block(SceneSpec(seed=4, local_shift=most), Tile(0, 0, 512, 512)) for most in (0.0, 3.0))
    np.testing.assert_array_equal(straight[0], bent[0])
    np.testing.assert_array_equal(straight[2], bent[2])
    field = displacement(SceneSpec(seed=4, local_shift=3.0), np.arange(512), np.arange(512))
    assert 1 < np.hypot(*field).max() <= 3
    for row, col in ((0, 0), (200, 300), (384, 128)):
        part = (slice(row, row + 128), slice(col, col + 128))
        found = window_shift(straight[1][:, *part], bent[1][:, *part], np.ones((128, 128), bool))
        np.testing.assert_allclose((found.row, found.col), field[:, *part].mean(axis=(1, 2)), atol=0.25)


def test_another_sun_changes_the_second_date_alone():
    usual, later = (make_block(SceneSpec(seed=4, sun=sun), Tile(0, 0, 256, 256)) for sun in (None, (230.0, 40.0)))
    np.testing.assert_array_equal(usual[0], later[0])
    assert np.abs(usual[1].astype(int) - later[1]).mean() > 2
