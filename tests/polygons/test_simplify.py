import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geochange.polygons.regions import concatenate
from geochange.polygons.simplify import simplify_regions
from tests.region_cases import Map, trace_whole

TOLERANCE = 1.5  # pixels


@pytest.fixture(
    scope="module", params=[(1, 4), (1, 8), (3, 4), (3, 8)], ids=lambda case: f"{case[0]}-classes-{case[1]}"
)
def regions(request):
    classes, connectivity = request.param
    fields = np.random.default_rng(classes).standard_normal((classes + 1, 60, 80))
    values = ndimage.gaussian_filter(fields, (0, 2, 2)).argmax(axis=0).astype(np.uint8)
    return trace_whole(Map(values, values.astype(np.int64), np.ones(values.shape, bool)), connectivity)


def in_chunks(regions, size):
    return [regions.where(np.arange(start, min(start + size, len(regions)))) for start in range(0, len(regions), size)]


def simplified(regions, size=10_000, waiting_regions=10_000, tolerance=TOLERANCE):
    return concatenate(
        list(simplify_regions(in_chunks(regions, size), tolerance, waiting_regions=waiting_regions))
    ).sort()


def test_vertices_become_fewer_by_half(regions):
    before, after = (shapely.get_num_coordinates(part.polygons).sum() for part in (regions, simplified(regions)))

    assert after < 0.6 * before


def test_polygons_stay_valid_and_of_their_type(regions):
    polygons = simplified(regions).polygons

    assert shapely.is_valid(polygons).all()
    assert not shapely.is_empty(polygons).any()
    np.testing.assert_array_equal(shapely.get_type_id(polygons), shapely.get_type_id(regions.polygons))


def test_neighbours_do_not_overlap(regions):
    polygons = simplified(regions).polygons

    one, other = shapely.STRtree(polygons).query(polygons)
    pairs = one < other
    assert shapely.area(shapely.intersection(polygons[one[pairs]], polygons[other[pairs]])).max(initial=0) < 1e-9


def test_adjoining_classes_leave_no_gap():
    classes = np.array([[1] * 6 + [2] * 6, [1] * 7 + [2] * 5, [1] * 5 + [2] * 7, [1] * 6 + [2] * 6], np.uint8)
    regions = trace_whole(Map(classes, classes.astype(np.int64), classes > 0))

    together = shapely.union_all(simplified(regions).polygons)

    assert together.area == pytest.approx(classes.size)


def test_chunks_do_not_matter(regions):
    whole, cut = simplified(regions), simplified(regions, size=3, waiting_regions=5)

    np.testing.assert_array_equal(cut.first, whole.first)
    assert shapely.to_wkb(cut.polygons).tolist() == shapely.to_wkb(whole.polygons).tolist()


def test_nothing_stays_nothing():
    assert len(concatenate(list(simplify_regions([], TOLERANCE)))) == 0


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.sampled_from([4, 8]), st.sampled_from([0.8, 1.5, 3.0, 6.0]))
def test_classes_that_share_edges_neither_overlap_nor_gap(seed, classes, connectivity, tolerance):
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.standard_normal((classes, 24, 30)), (0, 1, 1))
    values = (fields.argmax(axis=0) + 1).astype(np.uint8)
    regions = trace_whole(Map(values, values.astype(np.int64), values > 0), connectivity)
    chunks = in_chunks(regions, int(rng.integers(1, 9)))

    polygons = concatenate(list(simplify_regions(chunks, tolerance, waiting_regions=int(rng.integers(1, 9))))).polygons

    assert_neither_overlap_nor_gap(polygons, values.shape, tolerance)


def assert_neither_overlap_nor_gap(polygons, shape, tolerance):
    together = shapely.union_all(polygons)
    scene = shapely.box(0, 0, *shape[::-1])
    lost = shapely.get_parts(scene.difference(together))
    lost = lost[~shapely.is_empty(lost)]
    assert shapely.is_valid(polygons).all()
    assert shapely.area(polygons).sum() == pytest.approx(together.area, abs=1e-6)  # nothing is counted twice
    assert (shapely.length(shapely.intersection(lost, scene.exterior)) > 0).all()  # corners of the scene, no gaps
    assert (shapely.area(lost) <= 2 * tolerance**2).all()


@pytest.mark.parametrize("seed", range(5))
def test_polygons_that_meet_at_the_last_row_of_a_chunk_are_simplified_together(seed):
    fields = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((4, 24, 24)), (0, 0.7, 0.7))
    classes = fields.argmax(axis=0).astype(np.uint8)
    regions = trace_whole(Map(classes, classes.astype(np.int64), np.ones(classes.shape, bool)))
    whole, cut = simplified(regions), simplified(regions, size=1, waiting_regions=1)
    assert shapely.to_wkb(cut.polygons).tolist() == shapely.to_wkb(whole.polygons).tolist()


@pytest.mark.parametrize("shape", [(90, 14), (14, 90)], ids=["tall", "wide"])
def test_chunks_do_not_matter_in_long_scenes(shape):
    fields = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((3, *shape)), (0, 1, 1))
    classes = fields.argmax(axis=0).astype(np.uint8)
    regions = trace_whole(Map(classes, classes.astype(np.int64), np.ones(shape, bool)))
    whole, cut = simplified(regions), simplified(regions, size=1, waiting_regions=1)
    assert shapely.to_wkb(cut.polygons).tolist() == shapely.to_wkb(whole.polygons).tolist()


def test_groups_come_out_as_soon_as_nothing_can_join_them():
    classes = np.kron(np.ones((9, 1)), [[1, 1, 1], [0, 0, 0]]).astype(np.uint8)
    regions = trace_whole(Map(classes, classes.astype(np.int64), np.ones(classes.shape, bool)))
    chunks = list(simplify_regions(in_chunks(regions, 1), TOLERANCE, waiting_regions=2))
    assert [len(chunk) for chunk in chunks[:-1]] == [1] * 8
    assert sum(map(len, chunks)) == 9


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.sampled_from([0.8, 1.5, 3.0, 6.0]))
def test_classes_that_meet_anywhere_along_a_long_edge_neither_overlap_nor_gap(seed, connectivity, tolerance):
    rng = np.random.default_rng(seed)
    values = np.ones((24, 31), np.uint8)
    for _ in range(25):
        row, col = rng.integers(0, values.shape)
        height, width = rng.integers(1, 11, 2)
        values[row : row + height, col : col + width] = rng.integers(1, 6)
    regions = trace_whole(Map(values, values.astype(np.int64), values > 0), connectivity)

    polygons = simplified(regions, tolerance=tolerance).polygons

    assert_neither_overlap_nor_gap(polygons, values.shape, tolerance)
    corners = {tuple(corner) for corner in shapely.get_coordinates(regions.polygons)}
    assert {tuple(corner) for corner in shapely.get_coordinates(polygons)} <= corners


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_areas_that_meet_are_simplified_as_with_a_vertex_at_every_corner_of_a_neighbour(seed, classes):
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.standard_normal((classes + 1, 24, 30)), (0, 1, 1))
    values = fields.argmax(axis=0).astype(np.uint8)
    regions = trace_whole(Map(values, values.astype(np.int64), np.ones(values.shape, bool)))
    corners = shapely.multipoints(shapely.get_coordinates(regions.polygons))

    expected = shapely.coverage_simplify(shapely.snap(regions.polygons, corners, 1e-6), TOLERANCE)

    assert shapely.equals(simplified(regions).polygons, expected).all()
