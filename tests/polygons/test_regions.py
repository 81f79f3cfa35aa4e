import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio import features
from scipy import ndimage

from geochange.polygons.regions import RegionFilter, label_classes, trace_block
from geochange.scenes.grid import Tile
from tests.region_cases import maps, trace_whole


@given(maps(), st.sampled_from([4, 8]))
def test_polygons_drawn_give_the_classes_back(scene, connectivity):
    regions = trace_whole(scene, connectivity)

    shapes = zip(regions.polygons, regions.counts.classes.tolist(), strict=True)
    drawn = features.rasterize(
        [(geometry, value) for geometry, value in shapes] or [(shapely.box(0, 0, 0, 0), 0)], scene.shape
    )
    np.testing.assert_array_equal(drawn, np.where(scene.valid, scene.classes, 0))


@given(maps(), st.sampled_from([4, 8]))
def test_areas_are_pixel_counts(scene, connectivity):
    regions = trace_whole(scene, connectivity)

    np.testing.assert_array_equal(shapely.area(regions.polygons), regions.counts.area_px)


@given(maps(), st.sampled_from([4, 8]))
def test_polygons_are_valid(scene, connectivity):
    assert shapely.is_valid(trace_whole(scene, connectivity).polygons).all()


@given(maps(classes=1))
def test_regions_joined_at_corners_are_as_many_as_scipy_labels(scene):
    _, count = ndimage.label(np.where(scene.valid, scene.classes, 0), np.ones((3, 3)))

    assert len(trace_whole(scene, 8)) == count


@given(maps(classes=1))
def test_scores_are_those_of_scipy(scene):
    regions = trace_whole(scene, 4)
    labels, count = ndimage.label(np.where(scene.valid, scene.classes, 0))
    names = labels[tuple(regions.first.T)]

    assert count == len(regions)
    np.testing.assert_array_equal(regions.counts.score_sum, ndimage.sum_labels(scene.scores, labels, names))
    np.testing.assert_array_equal(regions.counts.score_max, ndimage.maximum(scene.scores, labels, names))


@given(maps(classes=1))
def test_on_edge_are_regions_that_grow_into_nodata_or_over_the_border(scene):
    regions = trace_whole(scene, 4)
    outside = np.pad(~scene.valid, 1, constant_values=True)
    beside = ndimage.binary_dilation(outside)[1:-1, 1:-1]
    labels, _ = ndimage.label(np.where(scene.valid, scene.classes, 0))

    names = labels[tuple(regions.first.T)]
    np.testing.assert_array_equal(regions.counts.on_edge, [beside[labels == name].any() for name in names])


def test_scores_near_the_largest_integer_are_summed_exactly():
    classes = np.pad(np.ones((1, 3), np.uint8), 1)
    scores = np.full(classes.shape, 2**60 + 1)

    traced = trace_block(classes, scores, classes > 0, Tile(0, 0, 1, 3), Tile(0, 0, 1, 3))

    assert traced.counts.score_sum.tolist() == [3 * 2**60 + 3]


@given(maps(), st.integers(0, 4), st.integers(0, 255))
def test_filter_keeps_the_large_and_the_strong(scene, min_area, min_peak):
    every = trace_whole(scene, 4)
    kept = trace_whole(scene, 4, RegionFilter(min_area=min_area, min_peak=min_peak))

    fits = (every.counts.area_px >= min_area) & (every.counts.score_max >= min_peak)
    np.testing.assert_array_equal(kept.first, every.first[fits])


def test_neighbouring_classes_are_apart_with_either_connectivity():
    classes = np.array([[1, 2], [2, 1]], np.uint8)

    assert label_classes(classes, 4).max() == 4
    assert label_classes(classes, 8).max() == 2


def test_arrays_without_the_pixel_around_the_block_are_refused():
    block = Tile(0, 0, 3, 3)
    inner = np.ones((3, 3), np.uint8)

    with pytest.raises(ValueError, match="one pixel around"):
        trace_block(inner, inner, inner > 0, block, block)


@pytest.mark.parametrize("connectivity", [0, 6])
def test_other_connectivities_are_refused(connectivity):
    block = Tile(0, 0, 1, 1)
    around = np.ones((3, 3), np.uint8)

    with pytest.raises(ValueError, match=f"connectivity {connectivity} must be 4 or 8"):
        trace_block(around, around, around > 0, block, block, connectivity=connectivity)
