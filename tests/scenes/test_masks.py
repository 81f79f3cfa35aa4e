"""Masks beside an image: what they hide holds no data, wherever they come from and however the image is read."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

import geochange
from geochange.errors import BadOption, GridMismatch, UnreadableInput
from geochange.scenes.grid import Tile
from geochange.scenes.mask_rules import MASKS, parse_rule
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from tests.stand_ins import textured, write_raster

SHAPE = (90, 120)
PLACE = Affine(10, 0, 500_000, 0, -10, 5_400_000)


@pytest.fixture
def pair(tmp_path):
    pixels = textured(SHAPE, bands=3)
    later = pixels.copy()
    later[:, 40:60, 70:90] = 255 - later[:, 40:60, 70:90]
    return [write_raster(tmp_path / f"{k}.tif", each, transform=PLACE) for k, each in (("a", pixels), ("b", later))]


def write_mask(path, numbers, transform=PLACE, **kind):
    return write_raster(path, numbers[None], transform=transform, **kind)


def hidden_of(pair, tile=None, **masks):
    """(time, y, x) what masks take from a scene."""
    scene, plain = open_scene(pair, SceneOptions(**masks)), open_scene(pair)
    tile = tile or scene.grid.area
    return plain.read(tile)[1] & ~scene.read(tile)[1]


def test_a_raster_hides_what_is_not_0_at_its_date_alone(pair, tmp_path):
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[10:20, 30:50] = 1
    mask = write_mask(tmp_path / "m.tif", numbers)
    found = hidden_of(pair, mask_after=mask)
    np.testing.assert_array_equal(found, [np.zeros(SHAPE, bool), numbers > 0])
    found = hidden_of(pair, mask_before=mask, mask_after=mask)
    np.testing.assert_array_equal(found, [numbers > 0, numbers > 0])


def test_a_number_counts_also_where_the_file_calls_it_nodata(pair, tmp_path):
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[5:9] = 255
    mask = write_mask(tmp_path / "m.tif", numbers, nodata=255)
    assert hidden_of(pair, mask_before=mask, mask_values="fmask")[0, 5:9].all()


@pytest.mark.parametrize(
    ("text", "hides", "shows"),
    [
        ("scl", [0, 1, 3, 8, 9, 10, 11], [2, 4, 5, 6, 7]),
        ("qa-pixel", [1, 2, 4, 8, 16, 32, 21890, 22280, 55052], [21824, 21952, 64]),
        ("fmask", [2, 3, 4, 255], [0, 1]),
        ("udm2", [0], [1]),
        ("3,8", [3, 8], [0, 1, 9]),
        (None, [1, 2, 255], [0]),
    ],
)
def test_rules_hide_what_the_products_say(text, hides, shows):
    """Of Landsat: 21824 is clear, 21952 clear water, 22280 a cloud, 55052 a cloud with cirrus (USGS, LSDS-1619)."""
    rule = parse_rule(text)
    assert rule.hides(np.array(hides)).all()
    assert not rule.hides(np.array(shows)).any()


def test_a_coarser_mask_is_brought_to_the_image_by_the_nearest_pixel(pair, tmp_path):
    numbers = np.zeros((30, 40), np.uint8)
    numbers[4:8, 10:15] = 9
    mask = write_mask(tmp_path / "m.tif", numbers, PLACE @ Affine.scale(3))
    found = hidden_of(pair, mask_before=mask, mask_values="scl")[0]
    expected = np.isin(np.kron(numbers, np.ones((3, 3), int)), MASKS["scl"].values)
    np.testing.assert_array_equal(found, expected)


def test_polygons_hide_as_their_raster_does_and_in_any_crs(pair, tmp_path):
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[10:30, 20:60] = 1
    box = shapely.box(500_200, 5_400_000 - 300, 500_600, 5_400_000 - 100)
    frame = geopandas.GeoDataFrame(geometry=[box], crs=rasterio.open(pair[0]).crs)
    for name, each in (("own", frame), ("world", frame.to_crs(4326))):
        each.to_file(tmp_path / f"{name}.gpkg")
        found = hidden_of(pair, mask_before=str(tmp_path / f"{name}.gpkg"))[0]
        assert (found != (numbers > 0)).sum() <= (0 if name == "own" else 120)  # edges of a turned box


@given(row=st.integers(0, 60), col=st.integers(0, 80), height=st.integers(1, 30), width=st.integers(1, 40))
@pytest.mark.parametrize("buffer", ["25m", "2.5px", 30])
def test_a_buffer_is_a_disc_and_the_same_in_every_window(tmp_path_factory, buffer, row, col, height, width):
    folder = tmp_path_factory.getbasetemp() / "buffer"
    pair = [str(folder / "a.tif"), str(folder / "b.tif")]
    rng = np.random.default_rng(2)
    numbers = (rng.random(SHAPE) > 0.997).astype(np.uint8)
    if not folder.exists():
        folder.mkdir()
        for path in pair:
            write_raster(path, textured(SHAPE, bands=2), transform=PLACE)
        write_mask(folder / "m.tif", numbers)
    radius = 3 if buffer == 30 else 2.5
    y, x = np.mgrid[-3:4, -3:4]
    expected = binary_dilation(numbers > 0, y**2 + x**2 <= radius**2)
    tile = Tile(row, col, height, width)
    found = hidden_of(pair, tile, mask_after=str(folder / "m.tif"), mask_buffer=buffer)[1]
    np.testing.assert_array_equal(found, expected[tile.slices()])


def test_an_area_of_interest_and_alignment_see_the_same_mask(pair, tmp_path):
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[10:20, 30:50] = 1
    mask = write_mask(tmp_path / "m.tif", numbers)
    whole = hidden_of(pair, mask_before=mask, mask_buffer="1px")[0]
    aoi = (500_350.0, 5_400_000 - 300.0, 500_900.0, 5_400_000 - 50.0)
    scene = open_scene(pair, SceneOptions(mask_before=mask, mask_buffer="1px", aoi=aoi))
    np.testing.assert_array_equal(~scene.read(scene.grid.area)[1][0], whole[5:30, 35:90])
    moved = write_raster(tmp_path / "moved.tif", textured(SHAPE, bands=3), transform=PLACE @ Affine.translation(4, 2))
    shifted = write_mask(tmp_path / "m2.tif", numbers, PLACE @ Affine.translation(4, 2))
    scene = open_scene([pair[0], moved], SceneOptions(mask_after=shifted, align=True))
    np.testing.assert_array_equal(~scene.read(scene.grid.area)[1][1], numbers[: SHAPE[0] - 2, : SHAPE[1] - 4] > 0)


def test_masked_pixels_are_nodata_in_all_results_and_the_run_goes_on_only_with_the_same_mask(pair, tmp_path):
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[45:50, 75:85] = 1
    mask = write_mask(tmp_path / "m.tif", numbers)
    run = geochange.detect(*pair, tmp_path / "out", detector="change-vector", mask_after=mask)
    with rasterio.open(run.probability) as dataset:
        np.testing.assert_array_equal(dataset.read(1) == 255, numbers > 0)
    overlap = run.changes().intersection(shapely.box(500_750, 5_400_000 - 500, 500_850, 5_400_000 - 450)).area
    assert overlap.sum() == 0
    write_mask(tmp_path / "m.tif", 1 - numbers)
    with pytest.raises(geochange.OutputInTheWay, match="differs in"):
        geochange.detect(*pair, tmp_path / "out", detector="change-vector", mask_after=mask, resume=True)


def test_check_counts_it_and_align_writes_it_as_nodata(pair, tmp_path):
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[:45] = 1
    mask = write_mask(tmp_path / "m.tif", numbers)
    assert geochange.check(*pair).nodata == 0
    assert geochange.check(*pair, mask_before=mask).nodata == pytest.approx(0.5, abs=0.02)
    with rasterio.open(geochange.align(*pair, tmp_path / "aligned.tif", mask_after=mask).path) as dataset:
        np.testing.assert_array_equal(dataset.dataset_mask() == 0, numbers > 0)


def test_each_pair_of_a_table_has_its_own(pair, tmp_path):
    numbers = np.zeros(SHAPE, np.uint8)
    numbers[40:60] = 1
    write_mask(tmp_path / "m.tif", numbers)
    table = tmp_path / "pairs.csv"
    table.write_text(f"before,after,out,mask_after\n{pair[0]},{pair[1]},one,m.tif\n{pair[0]},{pair[1]},two,\n")
    geochange.detect_many(table, tmp_path / "results", detector="change-vector")
    hidden = []
    for name in ("one", "two"):
        with rasterio.open(tmp_path / name / "probability.tif") as dataset:
            hidden.append((dataset.read(1) == 255).sum())
    assert hidden == [numbers.sum(), 0]


def test_what_cannot_be_is_refused(pair, tmp_path):
    plain = [write_raster(tmp_path / f"p{k}.tif", textured(SHAPE), crs=None, transform=Affine.identity()) for k in "ab"]
    numbers = np.zeros((30, 40), np.uint8)
    small = write_raster(tmp_path / "s.tif", numbers[None], crs=None, transform=Affine.identity())
    far = write_mask(tmp_path / "far.tif", numbers, Affine(10, 0, 900_000, 0, -10, 5_400_000))
    with pytest.raises(BadOption, match="mask values 'clouds' must be numbers, as in 3,8,9,10, or one of scl"):
        SceneOptions(mask_before="m.tif", mask_values="clouds")
    with pytest.raises(BadOption, match="--mask-buffer -1px must be a length from 0"):
        SceneOptions(mask_before="m.tif", mask_buffer="-1px")
    with pytest.raises(BadOption, match="--mask-values needs --mask-before or --mask-after"):
        SceneOptions(mask_values="scl", mask_before="off")
    with pytest.raises(BadOption, match="--mask-buffer needs --mask-before or --mask-after: the images come without"):
        open_scene(pair, SceneOptions(mask_buffer="5m", mask_after="off"))
    with pytest.raises(BadOption, match="--mask-buffer 5m is in metres, which needs a CRS"):
        open_scene(plain, SceneOptions(mask_before=plain[0], mask_buffer="5m"))
    with pytest.raises(GridMismatch, match="rows and columns"):
        open_scene(plain, SceneOptions(mask_before=small))
    with pytest.raises(GridMismatch, match="do not overlap"):
        open_scene(pair, SceneOptions(mask_before=far))
    with pytest.raises(UnreadableInput, match="none does not exist"):
        open_scene(pair, SceneOptions(mask_before=str(tmp_path / "none")))
