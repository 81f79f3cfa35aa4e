import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.features import shapes
from shapely.geometry import shape

from geochange.polygons.preview import CHANGE, NODATA, Captions, covered_cells, render_preview, stretch


@settings(max_examples=50)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))), st.integers(1, 5))
def test_covered_cells_are_the_pixels_that_made_the_polygons(mask, step):
    found = [shape(geometry) for geometry, _ in shapes(mask.astype(np.uint8), mask=mask)]
    size = -(-mask.shape[0] // step), -(-mask.shape[1] // step)
    np.testing.assert_array_equal(covered_cells(np.array(found, object), size, step), mask[::step, ::step])


def test_a_stretch_uses_the_whole_range_and_marks_nodata():
    date = np.linspace(100, 200, 400).reshape(1, 20, 20)
    date[0, 0, :3] = np.nan
    picture = stretch(date)
    assert picture.shape == (20, 20, 3)
    assert tuple(picture[0, 0]) == NODATA
    assert picture.min() == 0
    assert picture[1:].max() == 255


@pytest.mark.parametrize("scene", [(1, 1), (3, 5000), (300, 300), (900, 20)])
def test_any_shape_makes_a_picture(scene):
    scene = tuple(-(-side // max(1, round(max(scene) / 900))) for side in scene)
    dates = np.random.default_rng(0).random((2, 3, *scene))
    picture = render_preview(*dates, np.zeros(scene, bool), Captions())
    assert min(picture.size) > 30
    assert max(picture.size) < 4000


def test_changes_stand_out_in_the_third_panel_only():
    changed = np.zeros((100, 100), bool)
    changed[40:60, 40:60] = True
    grey = np.full((1, 100, 100), 0.5)
    picture = np.asarray(render_preview(grey, grey, changed, Captions()))
    marked = (picture == CHANGE).all(axis=-1)
    assert marked.any()
    assert not marked[:, : picture.shape[1] * 2 // 3].any()


def test_an_all_nodata_date_still_makes_a_picture():
    empty = np.full((3, 10, 10), np.nan)
    assert render_preview(empty, empty, np.zeros((10, 10), bool), Captions()).size[0] > 10
