import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.features import shapes
from shapely.geometry import shape

from geochange.polygons.preview import (
    CHANGE,
    NODATA,
    PANEL,
    PANEL_GAP,
    Captions,
    band_limits,
    common_limits,
    covered_cells,
    enlarge_pixels,
    hectares,
    outline_changes,
    render_preview,
    stretch,
)


@settings(max_examples=50)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))), st.integers(1, 5))
def test_covered_cells_are_the_pixels_that_made_the_polygons(mask, step):
    found = [shape(geometry) for geometry, _ in shapes(mask.astype(np.uint8), mask=mask)]
    size = -(-mask.shape[0] // step), -(-mask.shape[1] // step)
    np.testing.assert_array_equal(covered_cells(np.array(found, object), size, step), mask[::step, ::step])


@pytest.mark.parametrize(
    ("square_metres", "text"),
    [
        *[(0, "0 ha"), (1, "0.0001 ha"), (2_500, "0.25 ha"), (12_345, "1.23 ha"), (123_400, "12.3 ha")],
        *[(999_900, "100 ha"), (1_236_000, "124 ha"), (9_996_000, "1,000 ha"), (98_765_432, "9,877 ha")],
    ],
)
def test_areas_read_as_hectares_of_three_digits_or_whole_ones(square_metres, text):
    assert hectares(square_metres) == text


def test_changes_are_outlined_inside_their_border_and_the_rest_is_paler_and_less_coloured():
    picture = np.random.default_rng(3).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    changed = np.zeros((9, 12), bool)
    changed[3:8, 5:10] = changed[0:3, 0:4] = True
    edge = np.zeros((9, 12), bool)
    edge[3:8, 5:10] = edge[2, 0:4] = edge[0:3, 3] = True
    edge[4:7, 6:9] = False  # nor where the scene ends

    drawn = outline_changes(picture, changed).astype(float)

    brightness = picture.mean(axis=-1, keepdims=True)
    pale = 255 + 0.8 * (brightness - 255) + 0.55 * (picture - brightness)
    np.testing.assert_allclose(drawn[~changed], pale[~changed], atol=0.51)
    inside = changed & ~edge
    np.testing.assert_allclose(drawn[inside], 0.45 * pale[inside] + 0.55 * np.array(CHANGE), atol=0.51)
    assert ((drawn == CHANGE).all(axis=-1) == edge).all()


def test_a_stretch_uses_the_whole_range_and_marks_nodata():
    date = np.linspace(100, 200, 400).reshape(1, 20, 20)
    date[0, 0, :3] = np.nan
    picture = stretch(date, band_limits(date))
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


def ground(bands=3, seed=0):
    return np.random.default_rng(seed).normal(100, 20, (bands, 60, 80))


@pytest.mark.parametrize("bands", [1, 3])
def test_ground_that_has_not_changed_looks_the_same_at_both_dates(bands):
    before = ground(bands)
    after = before.copy()
    after[:, :30] += 60
    limits = common_limits(before, after)
    one, other = stretch(before, limits), stretch(after, limits)
    np.testing.assert_array_equal(one[30:], other[30:])
    assert other[:30].mean() > one[:30].mean() + 50


def test_common_limits_are_percentiles_of_both_dates_and_do_not_depend_on_their_order():
    before, after = ground(), ground(seed=1) + 30
    after[0, 0, 0] = np.nan
    limits = common_limits(before, after)
    for band in range(3):
        both = np.concatenate([before[band].ravel(), after[band].ravel()])
        np.testing.assert_allclose(limits[band], np.nanpercentile(both, (2, 98)))
    np.testing.assert_allclose(common_limits(after, before), limits)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_dates_of_different_scale_are_stretched_each_alone_and_said_to_be(scale, monkeypatch):
    captions = []
    monkeypatch.setattr(
        "geochange.polygons.preview._arrange", lambda pictures, texts, columns: captions.append((pictures, texts))
    )
    dates = ground(), ground() * scale
    assert common_limits(*dates) is None
    render_preview(*dates, np.zeros((60, 80), bool), Captions(before="2009"))
    (((before, after, _), texts),) = captions
    np.testing.assert_array_equal(before, after)
    assert texts == ["2009 · own stretch", "after · own stretch", "changes"]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("low", "high", "seen"), [(0, 50, False), (0, 150, True), (850, 1000, True), (970, 1000, False), (400, 430, True)]
)
def test_a_date_that_would_be_black_or_white_in_all_bands_is_not_seen(low, high, seen, swapped):
    wide, narrow = (np.linspace(*ends, 1200).reshape(30, 40) for ends in ((0, 1000), (low, high)))
    for bands in ([narrow] * 3, [narrow], [narrow, wide, narrow]):
        dates = np.stack([wide] * len(bands)), np.stack(bands)
        found = common_limits(*(dates[::-1] if swapped else dates))
        assert (found is not None) == (seen or bands[len(bands) // 2] is wide)


def test_a_stretch_is_linear_between_its_limits_in_each_band():
    date = np.array([[[0, 1, 2.5, 10, 99]], [[-3, 4, 7, 8, 5]], [[6, 6, np.nan, 5, 7]]])
    picture = stretch(date, np.array([[0, 10], [4, 8], [6, 6]]))
    assert picture.dtype == np.uint8
    assert picture[0].tolist() == [[0, 0, 0], [26, 0, 0], [*NODATA], [255, 255, 0], [255, 64, 255]]
    grey = stretch(date[:1], np.array([[-10, 10]]))
    assert grey[0].tolist() == [[128] * 3, [140] * 3, [159] * 3, [255] * 3, [255] * 3]


def places(sheet, picture):
    """(top, left) wherever a picture lies in a sheet."""
    high, wide = picture.shape[:2]
    first = (sheet[: len(sheet) - high + 1, : sheet.shape[1] - wide + 1] == picture[0, 0]).all(axis=-1)
    return [
        (top, left)
        for top, left in np.argwhere(first).tolist()
        if np.array_equal(sheet[top : top + high, left : left + wide], picture)
    ]


@pytest.mark.parametrize(
    ("shape", "stacked"), [((30, 40), False), ((40, 30), False), ((20, 34), False), ((20, 35), True)]
)
def test_panels_lie_beside_each_other_or_below_where_wide_each_whole_under_its_caption(shape, stacked):
    before, after = np.random.default_rng(1).random((2, 3, *shape))
    changed = np.zeros(shape, bool)
    changed[4:9, 5:20] = True
    sheet = np.asarray(render_preview(before, after, changed, Captions()))

    factor = PANEL // max(shape)
    limits = common_limits(before, after)
    one, other = (enlarge_pixels(stretch(date, limits), factor) for date in (before, after))
    pictures = one, other, outline_changes(other, enlarge_pixels(changed, factor))
    tops, lefts = zip(*(place for picture in pictures for place in places(sheet, picture)), strict=True)

    high, wide = one.shape[:2]
    along, across, side = (tops, lefts, high) if stacked else (lefts, tops, wide)
    assert len(along) == 3
    assert len(set(across)) == 1
    assert len(set(np.diff(along))) == 1
    assert min(np.diff(along)) >= side + PANEL_GAP
    assert lefts[0] == PANEL_GAP
    assert sheet.shape[0] - (tops[-1] + high) >= PANEL_GAP
    assert sheet.shape[1] - (lefts[-1] + wide) >= PANEL_GAP
    bottoms = [0, *(top + high for top in tops[:2])] if stacked else [0] * 3
    for top, left, above in zip(tops, lefts, bottoms, strict=True):
        assert (sheet[above:top, left : left + wide] < 100).all(axis=-1).any()
        assert (sheet[top - 1, left : left + wide] == 255).all()  # no letter is cut off
