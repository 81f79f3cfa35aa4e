"""Right angles: known shapes come back, what does not fit stays, and chunks do not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy import ndimage
from shapely.affinity import affine_transform, rotate, translate

from geochange.errors import BadOption
from geochange.polygons.regions import concatenate
from geochange.polygons.right_angles import (
    RightAngles,
    _Ring,
    _spans,
    choose_outlines,
    main_direction,
    square_outline,
    square_regions,
)
from geochange.polygons.simplify import simplify_regions
from tests.region_cases import Map, maps, trace_whole

OPTIONS = RightAngles()
WHATEVER = RightAngles(askew=1.0, turn=45.0, least_iou=0.0, area_change=1.0, reach=50.0)
BOX = shapely.box(0, 0, 30, 18)
SHAPES = {
    "box": BOX,
    "L": BOX.difference(shapely.box(16, 9, 31, 19)),
    "U": BOX.difference(shapely.box(10, 8, 20, 19)),
    "court": BOX.difference(shapely.box(9, 6, 21, 12)),
}


def pixels_of(shapes, shape=(60, 60)):
    """Regions of the pixels whose centres lie in shapes, each of its own class."""
    classes = rasterize([(each, number) for number, each in enumerate(shapes, 1)], out_shape=shape, dtype=np.uint8)
    return trace_whole(Map(classes, classes.astype(np.int64), np.ones(shape, bool)))


def placed(shape, angle, shift=(0.0, 0.0)):
    turned = rotate(shape, angle, origin="centroid")
    return translate(turned, 30 + shift[0] - turned.centroid.x, 30 + shift[1] - turned.centroid.y)


def iou(one, other):
    return one.intersection(other).area / one.union(other).area


def turns(ring):
    """Cosines of the angles between neighbouring edges of a ring."""
    edges = np.diff(shapely.get_coordinates(ring), axis=0)
    edges /= np.hypot(*edges.T)[:, np.newaxis]
    return (edges * np.roll(edges, -1, axis=0)).sum(axis=1)


def right_angled(polygon):
    return all(np.abs(turns(ring)).max() < 1e-5 for ring in (polygon.exterior, *polygon.interiors))


@settings(max_examples=40)
@given(st.floats(0, 90), st.tuples(st.floats(0, 1), st.floats(0, 1)))
@pytest.mark.parametrize("name", ["box", "L"])
def test_known_shapes_come_back_at_any_angle(name, angle, shift):
    truth = placed(SHAPES[name], angle, shift)
    pixels = pixels_of([truth]).polygons[0]
    found = square_outline(pixels, OPTIONS)
    assert right_angled(found)
    assert iou(found, truth) > max(iou(pixels, truth) - 0.02, 0.87)
    assert shapely.get_num_coordinates(found) == shapely.get_num_coordinates(truth)


@pytest.mark.parametrize("angle", [0, 12, 30, 45, 77])
@pytest.mark.parametrize("name", ["U", "court"])
def test_notches_and_holes_come_back(name, angle):
    truth = placed(SHAPES[name], angle)
    found = square_outline(pixels_of([truth]).polygons[0], OPTIONS)
    assert right_angled(found)
    assert iou(found, truth) > 0.93
    assert len(found.interiors) == (name == "court")


def test_pixels_that_have_right_angles_stay_as_they_are():
    pixels = pixels_of([translate(SHAPES["U"], 10, 10)]).polygons[0]
    assert square_outline(pixels, OPTIONS).equals(pixels)


def test_diagonals_are_kept_where_they_are_allowed():
    truth = placed(BOX.difference(shapely.Polygon([(16, 0), (30, 0), (30, 14)])), 20)
    pixels = pixels_of([truth]).polygons[0]
    found = square_outline(pixels, RightAngles(diagonals=True))
    assert iou(found, truth) > 0.95
    assert sorted(np.round(turns(found.exterior), 3)) == [0, 0, 0, 0.707, 0.707]
    assert square_outline(pixels, OPTIONS) is None


@pytest.mark.parametrize(
    "shape", [shapely.Point(30, 30).buffer(20), shapely.Polygon([(5, 5), (55, 10), (30, 55)])], ids=["disc", "triangle"]
)
def test_what_has_no_right_angles_is_left(shape):
    assert square_outline(pixels_of([shape]).polygons[0], OPTIONS) is None


@settings(max_examples=60)
@given(maps(classes=1, max_side=16))
def test_whatever_is_accepted_is_valid_and_close(scene):
    regions = trace_whole(scene)
    for polygon in regions.polygons:
        found = square_outline(polygon, RightAngles(tolerance=0.8))
        if found is not None:
            assert found.is_valid
            assert abs(found.area / polygon.area - 1) <= 0.05
            assert iou(found, polygon) >= 0.8
            assert found.exterior.is_ccw == polygon.exterior.is_ccw
            assert len(found.interiors) == len(polygon.interiors)


def test_angles_are_right_on_the_ground_where_pixels_are_not_square():
    ground = placed(SHAPES["L"], 30)
    pixels = pixels_of([affine_transform(ground, [2, 0, 0, 1, -30, 0])], (60, 90)).polygons[0]
    found = square_outline(pixels, OPTIONS, stretch=np.sqrt(2))
    assert right_angled(affine_transform(found, [0.5, 0, 0, 1, 0, 0]))
    assert not right_angled(found)


@pytest.mark.parametrize("angle", [0, 10, 44, 89])
def test_main_direction_is_that_of_most_edges(angle):
    rng = np.random.default_rng(angle)
    way = np.radians(angle) + np.array([0, np.pi / 2, np.pi, -np.pi / 2, 0.6])
    edges = np.array([20, 8, 15, 8, 6])[:, np.newaxis] * np.stack([np.cos(way), np.sin(way)], axis=1)
    found = main_direction(edges + rng.normal(0, 0.05, edges.shape))
    assert np.abs(np.sin(2 * (found - np.radians(angle)))) < 0.03


def chosen(regions, options=OPTIONS, size=10_000, waiting_regions=10_000, plain=None):
    """The regions with their final outlines, by first pixel, and how many are squared."""
    plain = regions if plain is None else plain
    parts = [np.arange(start, min(start + size, len(regions))) for start in range(0, len(regions), size)]
    chunks = [(regions.where(at), plain.where(at), square_regions(regions.where(at), options)) for at in parts]
    found, counts = zip(*choose_outlines(chunks, options, waiting_regions=waiting_regions), strict=True)
    return concatenate(found).sort(), sum(counts)


@pytest.fixture(scope="module", params=[1, 3], ids=["one-class", "three-classes"])
def scene(request):
    fields = np.random.default_rng(request.param).standard_normal((request.param + 1, 80, 100))
    values = ndimage.gaussian_filter(fields, (0, 1.5, 1.5)).argmax(axis=0).astype(np.uint8)
    return trace_whole(Map(values, values.astype(np.int64), np.ones(values.shape, bool)))


LENIENT = RightAngles(turn=45.0, least_iou=0.5, area_change=0.3, reach=6.0)


@pytest.mark.parametrize("tolerance", [0, 1.5])
def test_chunks_do_not_matter(scene, tolerance):
    plain = concatenate(list(simplify_regions([scene], tolerance))).sort() if tolerance else scene
    whole, count = chosen(scene, LENIENT, plain=plain)
    cut, parts = chosen(scene, LENIENT, size=3, waiting_regions=5, plain=plain)
    assert count == parts > 0
    np.testing.assert_array_equal(cut.first, whole.first)
    assert shapely.to_wkb(cut.polygons).tolist() == shapely.to_wkb(whole.polygons).tolist()


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4), st.sampled_from([6, 8]))
def test_chunks_do_not_matter_where_outlines_clash(seed, size, waiting_regions, apart):
    rng = np.random.default_rng(seed)
    places = [(row, col) for row in range(3, 45, apart) for col in range(3, 30, 6) if rng.random() < 0.7]
    regions = pixels_of([shapely.box(col, row, col + 4, row + 4) for row, col in places], (60, 60))
    grown = shapely.buffer(regions.polygons, rng.choice([0.5, 1.5, 2.9], len(regions)), join_style="mitre")
    squared = np.where(rng.random(len(regions)) < 0.7, grown, None)

    def outcome(size, waiting_regions):
        parts = [np.arange(start, min(start + size, len(regions))) for start in range(0, len(regions), size)]
        chunks = [(regions.where(at), regions.where(at), squared[at]) for at in parts]
        found, counts = zip(*choose_outlines(chunks, OPTIONS, waiting_regions=waiting_regions), strict=True)
        return shapely.to_wkb(concatenate(found).sort().polygons).tolist(), sum(counts)

    assert outcome(size, waiting_regions) == outcome(1000, 1000)


@pytest.mark.parametrize("tolerance", [0, 1.5])
def test_outlines_keep_clear_of_each_other(scene, tolerance):
    plain = scene
    if tolerance:
        plain = concatenate(list(simplify_regions([scene], tolerance))).sort()
    polygons = chosen(scene, LENIENT, plain=plain)[0].polygons
    one, other = shapely.STRtree(polygons).query(polygons)
    pairs = one < other
    overlap = shapely.area(shapely.intersection(polygons[one[pairs]], polygons[other[pairs]]))
    assert overlap.max(initial=0) < 1e-6
    assert shapely.is_valid(polygons).all()


def test_squared_outlines_that_would_overlap_are_not_taken():
    near = [placed(shapely.box(0, 0, 20, 10), 20, (0, -7)), placed(shapely.box(0, 0, 20, 10), 20, (0, 7))]
    regions = pixels_of(near)
    squared = square_regions(regions, OPTIONS)
    clash = squared.copy()
    clash[0] = shapely.union(clash[0], shapely.buffer(clash[1], -4).representative_point().buffer(1))
    ((apart, count),) = choose_outlines([(regions, regions, squared)], OPTIONS)
    ((kept, none),) = choose_outlines([(regions, regions, clash)], OPTIONS)
    assert (count, none) == (2, 0)
    assert shapely.equals(apart.polygons, squared).all()
    assert shapely.equals(kept.polygons, regions.polygons).all()


def test_areas_that_share_an_edge_keep_it():
    halves = [shapely.box(10, 10, 30, 40), shapely.box(30, 10, 50, 40), placed(shapely.box(0, 0, 12, 6), 30, (0, 20))]
    regions = pixels_of(halves, (70, 60))
    found, count = chosen(regions)
    assert count == 1
    assert shapely.equals(found.polygons, regions.polygons).tolist() == [True, True, False]


def test_areas_cut_by_the_border_or_nodata_stay():
    truth = placed(shapely.box(0, 0, 20, 10), 20)
    assert chosen(pixels_of([truth]))[1] == 1
    assert chosen(pixels_of([translate(truth, -24, 0)]))[1] == 0
    classes = rasterize([truth], out_shape=(60, 60), dtype=np.uint8)
    valid = np.ones(classes.shape, bool)
    valid[30, 10:24] = False
    assert chosen(trace_whole(Map(classes, classes.astype(np.int64), valid)))[1] == 0


def test_parts_that_touch_at_corners_become_one_multipolygon_or_none():
    classes = np.zeros((60, 60), np.uint8)
    classes[10:20, 10:30] = classes[20:35, 30:50] = 1
    regions = trace_whole(Map(classes, classes.astype(np.int64), np.ones(classes.shape, bool)), connectivity=8)
    found, count = chosen(regions)
    assert count == 1
    assert found.polygons[0].geom_type == "MultiPolygon"
    assert found.polygons[0].equals(regions.polygons[0])


@pytest.mark.parametrize(("row", "overlaps"), [(25, True), (26, True), (28, False), (30, False)])
def test_parts_are_squared_together_unless_their_outlines_come_to_overlap(row, overlaps):
    rows, cols = np.indices((60, 60))
    cut = (rows >= 10) & (cols >= 10) & (rows < 30) & (cols < 30) & (rows + cols <= 52)  # without its last corner
    cut[row:46, 54 - row : 46] = True  # touches the stairs of the cut at one corner
    classes = cut.astype(np.uint8)
    regions = trace_whole(Map(classes, classes.astype(np.int64), np.ones(cut.shape, bool)), connectivity=8)
    one, other = (square_outline(part, OPTIONS) for part in shapely.get_parts(regions.polygons[0]))

    (found,) = square_regions(regions, OPTIONS)

    assert (one.intersection(other).area > 0.5) == overlaps
    assert (found is None) == overlaps
    assert overlaps or found.equals(shapely.MultiPolygon([one, other]))


@pytest.mark.parametrize("spare", [1e-6, -1e-6])
@pytest.mark.parametrize("limit", ["least_iou", "area_change", "reach"])
@pytest.mark.parametrize("grows", [True, False])
def test_an_outline_is_taken_as_far_as_each_limit_goes(limit, spare, grows):
    growing = shapely.Polygon([(0, 0), (40, 3), (30, 30), (0, 34)])
    cut = growing if grows else pixels_of([placed(SHAPES["L"], 33)]).polygons[0]
    found = square_outline(cut, WHATEVER)
    assert (found.area > cut.area) == grows
    apart = {
        "least_iou": iou(found, cut),
        "area_change": abs(found.area / cut.area - 1),
        "reach": found.hausdorff_distance(cut),
    }[limit]
    most = apart - spare if limit == "least_iou" else apart + spare
    assert (square_outline(cut, replace(WHATEVER, **{limit: most})) is not None) == (spare > 0)


def test_nothing_stays_nothing():
    ((found, count),) = choose_outlines([], OPTIONS)
    assert (len(found), count) == (0, 0)


SHARES = ("askew", "least_iou", "area_change")


@pytest.mark.parametrize(
    "settings",
    [{"tolerance": 0}, {"reach": 0}, {"reach": -1}, {"turn": 0}, {"turn": 45.1}]
    + [{share: value} for share in SHARES for value in (-0.1, 1.1)],
)
def test_options_that_cannot_be_are_refused(settings):
    with pytest.raises(BadOption, match=r"right angles (need|must lie)"):
        RightAngles(**settings)


@pytest.mark.parametrize("share", [0, 1])
def test_options_may_be_as_large_as_their_limits(share):
    options = RightAngles(turn=45, tolerance=0.1, reach=0.1, **dict.fromkeys(SHARES, share))
    assert {getattr(options, name) for name in SHARES} == {share}


OCTAGON = [(6, 0), (24, 0), (30, 6), (30, 16), (24, 22), (6, 22), (0, 16), (0, 6)]
L = [(0, 0), (30, 0), (30, 9), (16, 9), (16, 18), (0, 18)]


@pytest.mark.parametrize("points", [OCTAGON, L], ids=["octagon", "L"])
def test_sides_go_all_the_way_round_whichever_one_is_left_out(points):
    ring = _Ring(np.array(points, float), 0.0, RightAngles(diagonals=True))
    spans = [(i, (i + 1) % len(points)) for i in range(len(points))]
    sides = [ring._side(ring._axis(*span), *span) for span in spans]
    for i in range(len(sides)):
        left = ring._without(sides, i)
        assert len(left) in (len(sides) - 1, len(sides) - 2)
        for one, after in zip(left, [*left[1:], left[0]], strict=True):
            assert one.stop == after.start


@pytest.mark.parametrize("turn", [0, 20, 70, 87])
def test_the_main_direction_weighs_edges_by_their_squared_lengths(turn):
    lengths, angles = np.array([10.0, 1.0, 10.0]), np.radians(np.array([0, 5, 90]) + turn)
    edges = lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert np.degrees(main_direction(edges)) == pytest.approx((turn + 5 * 1 / 201) % 90, abs=1e-6)


@pytest.mark.parametrize("tolerance", [0.8, 1.0, 2.5])
@pytest.mark.parametrize("angle", [5, 20, 33, 64, 85])
@pytest.mark.parametrize("name", SHAPES)
def test_corners_are_those_of_douglas_and_peucker_on_both_halves_of_a_ring(name, angle, tolerance):
    ring = shapely.get_coordinates(pixels_of([placed(SHAPES[name], angle)]).polygons[0].exterior)[:-1]
    first = np.argmax(np.hypot(*(ring - ring.mean(axis=0)).T).round(6))
    second = np.argmax(np.hypot(*(ring - ring[first]).T).round(6))
    turned = np.concatenate([ring, ring])
    halves = [
        turned[start : start + (stop - start) % len(ring) + 1] for start, stop in ((first, second), (second, first))
    ]
    expected = [
        corner
        for half in halves
        for corner in shapely.get_coordinates(shapely.LineString(half).simplify(tolerance, preserve_topology=False))[
            :-1
        ]
    ]

    spans = _spans(ring, tolerance)

    assert [stop for _, stop in spans] == [start for start, _ in spans[1:] + spans[:1]]
    np.testing.assert_array_equal(ring[[start for start, _ in spans]], expected)


def test_sides_that_run_on_beside_each_other_are_joined_by_a_step():
    points = [(0, 0), (20, 0), (28, 4), (48, 4), (48, 24), (0, 24)]
    stepped = [(0, 0), (20, 0), (20, 2), (28, 2), (28, 4), (48, 4), (48, 24), (0, 24)]
    for angle in (0, 90, 180, 30):
        turned, expected = (rotate(shapely.Polygon(each), angle, origin=(24, 12)) for each in (points, stepped))
        found = square_outline(turned, OPTIONS)
        assert found.hausdorff_distance(expected) < 1e-5
        assert found.symmetric_difference(expected).area < 1e-4


@pytest.mark.parametrize("spare", [1e-9, -1e-9])
def test_the_share_of_askew_edges_may_be_as_large_as_the_option(spare):
    cut = shapely.Polygon([(0, 0), (40, 0), (40, 18), (28, 34), (0, 34)])  # 20 of 140 pixels are 37 degrees off
    found = square_outline(cut, RightAngles(askew=1 / 7 + spare, least_iou=0.5, area_change=0.3, reach=20))
    assert (found is not None) == (spare > 0)


@pytest.mark.parametrize("diagonals", [False, True])
@pytest.mark.parametrize(
    "points",
    [[(0, 0), (40, 0), (40, 30)], [(0, 0), (30, 0), (30, 30)], [(0, 0), (20, -1.2), (40, 0), (40, 30)]],
    ids=["3-4-5", "isosceles", "bent"],
)
def test_three_sides_are_too_few_whatever_else_is_allowed(points, diagonals):
    assert square_outline(shapely.Polygon(points), replace(WHATEVER, diagonals=diagonals)) is None


def test_outlines_that_are_not_squared_are_those_to_be_written():
    regions = pixels_of([shapely.box(5, 5, 15, 12), shapely.box(30, 8, 45, 20), shapely.box(5, 30, 20, 40)])
    plain = replace(regions, polygons=shapely.buffer(regions.polygons, -0.5, join_style="mitre"))
    squared = np.array([shapely.buffer(regions.polygons[0], 0.3, join_style="mitre"), None, None], object)

    ((found, count),) = choose_outlines([(regions, plain, squared)], OPTIONS)

    assert count == 1
    assert shapely.equals(found.polygons, [squared[0], *plain.polygons[1:]]).all()


def test_edges_are_shared_where_the_pixels_share_them():
    regions = pixels_of([shapely.box(10, 10, 30, 40), shapely.box(30, 10, 50, 40)])
    plain = replace(regions, polygons=shapely.buffer(regions.polygons, -1, join_style="mitre"))

    ((found, count),) = choose_outlines([(regions, plain, regions.polygons)], OPTIONS)

    assert count == 0
    assert shapely.equals(found.polygons, plain.polygons).all()


@pytest.mark.parametrize("side", [0, 1, 2, 3])
@pytest.mark.parametrize(("tolerance", "stays"), [(1.2, True), (1.25 - 1e-9, True), (1.25 + 1e-9, False), (1.3, False)])
def test_a_cut_off_corner_is_a_diagonal_from_four_tolerances_on(tolerance, stays, side):
    leg = 5 / np.sqrt(2)  # the cut is 5 pixels long
    box = np.array([(0, 0), (40, 0), (40, 24), (0, 24)], float)
    corner, before, after = box[side], box[side - 1], box[(side + 1) % 4]
    ends = [corner + leg * (other - corner) / np.hypot(*(other - corner)) for other in (before, after)]
    cut = shapely.Polygon([*box[:side], *ends, *box[side + 1 :]])
    for angle in (0, 20, 65):
        turned = rotate(cut, angle, origin=(20, 12))
        found = square_outline(turned, replace(WHATEVER, diagonals=True, tolerance=tolerance))
        if stays:
            assert found.hausdorff_distance(turned) < 1e-5
        else:
            assert right_angled(found)
            assert found.equals(square_outline(turned, replace(WHATEVER, tolerance=tolerance)))


@pytest.mark.parametrize("angle", [0, 9, 20, 33, 57, 81])
@pytest.mark.parametrize("name", ["box", "L", "court"])
def test_shapes_without_diagonals_are_the_same_where_diagonals_are_allowed(name, angle):
    pixels = pixels_of([placed(SHAPES[name], angle)]).polygons[0]
    plain = square_outline(pixels, OPTIONS)
    assert right_angled(plain)
    assert square_outline(pixels, RightAngles(diagonals=True)).equals(plain)


@pytest.mark.parametrize("angle", [0, 17, 40, 71])
def test_all_four_diagonals_of_an_octagon_come_back(angle):
    octagon = placed(shapely.Polygon(OCTAGON), angle)
    found = square_outline(octagon, RightAngles(diagonals=True))
    assert found.hausdorff_distance(octagon) < 1e-5
    np.testing.assert_allclose(turns(found.exterior), 2**-0.5, atol=1e-5)
    assert square_outline(octagon, OPTIONS) is None
