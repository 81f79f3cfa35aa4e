import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rasterio import features
from scipy import ndimage
from shapely.geometry import shape

from geochange.polygons.rings import find_corners, trace_rings

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def polygons_of(mask):
    return trace_rings(find_corners(ndimage.label(mask)[0])).polygons()


def as_wkb(polygons):
    return sorted(shapely.to_wkb(shapely.normalize(np.array(polygons, object))).tolist()) if len(polygons) else []


@given(masks)
def test_polygons_equal_those_of_rasterio(mask):
    theirs = [shape(outline) for outline, _ in features.shapes(mask.astype(np.uint8), mask=mask)]

    assert as_wkb(polygons_of(mask)) == as_wkb(theirs)


@given(masks)
def test_polygons_are_valid(mask):
    assert shapely.is_valid(polygons_of(mask)).all()


@given(masks)
def test_rings_have_no_vertex_on_a_straight_line(mask):
    rings = trace_rings(find_corners(ndimage.label(mask)[0]))

    steps = np.diff(rings.coordinates, axis=0)
    inside = np.delete(steps, rings.offsets[1:-1] - 1, axis=0)
    turns = (inside[1:] != 0).argmax(axis=1) != (inside[:-1] != 0).argmax(axis=1)
    between_rings = np.cumsum(np.diff(rings.offsets) - 1)[:-1] - 1
    assert np.delete(turns, between_rings).all()


@given(masks, st.integers(0, 12))
def test_corners_of_two_parts_of_a_mask_sum_to_those_of_the_whole(mask, cut):
    labels = mask.astype(np.int32)
    whole = find_corners(labels)
    pieces = [find_corners(labels[:cut]), find_corners(labels[cut:], (min(cut, len(mask)), 0))]

    joined = type(whole)(
        *(np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("part", "row", "col", "weight"))
    ).relabel(np.arange(2))

    for name in ("row", "col", "weight"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_shell_that_touches_itself_at_a_corner_becomes_a_shell_and_a_hole():
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)

    (polygon,) = polygons_of(mask)

    assert len(polygon.interiors) == 1
    assert polygon.is_valid


def test_shell_runs_clockwise_on_the_screen_from_the_first_pixel():
    (polygon,) = polygons_of(np.array([[0, 0, 0], [0, 1, 1]], bool))

    assert list(polygon.exterior.coords) == [(1, 1), (3, 1), (3, 2), (1, 2), (1, 1)]
