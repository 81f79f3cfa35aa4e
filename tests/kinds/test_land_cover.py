import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.kinds import land_cover as from_to
from geochange.kinds.land_cover import (
    Cover,
    CoverPieces,
    dissolve,
    find_transitions,
    longest_neighbours,
    opened,
    overlay,
    snap_to_lattice,
)

CLASSES = ("forest", "grass", "town")


def cover(seed, count=12, size=100.0, hole=False):
    """A patchwork of classes over a square; with a hole, a part of it has none."""
    random = np.random.default_rng(seed)
    box = shapely.box(0, 0, size, size)
    cells = shapely.voronoi_polygons(shapely.multipoints(random.uniform(0, size, (count, 2))), extend_to=box)
    polygons = shapely.intersection(shapely.get_parts(cells), box)
    if hole:
        polygons = shapely.difference(polygons, shapely.box(*random.uniform(0, 40, 2), *random.uniform(60, 100, 2)))
        polygons = polygons[~shapely.is_empty(polygons)]
    return Cover(snap_to_lattice(polygons), random.choice(np.array(CLASSES, object), len(polygons)))


def boxes(*each):
    """A cover of boxes (left, bottom, right, top, class)."""
    return Cover(
        snap_to_lattice(np.array([shapely.box(*box[:4]) for box in each])), np.array([box[4] for box in each], object)
    )


def areas(pieces):
    found = {}
    for polygon, *pair in zip(pieces.polygons, pieces.before, pieces.after, strict=True):
        found[tuple(pair)] = found.get(tuple(pair), 0) + polygon.area
    return found


def frame(layer, column):
    return geopandas.GeoDataFrame({column: layer.classes}, geometry=layer.polygons)


seeds = st.integers(0, 10_000)
few = settings(max_examples=25)


@few
@given(seeds, st.booleans())
def test_areas_by_pair_are_those_of_geopandas(seed, hole):
    before, after = cover(seed, hole=hole), cover(seed + 1)
    found = find_transitions(before, after)
    expected = geopandas.overlay(frame(before, "from"), frame(after, "to")).dissolve(["from", "to"]).area
    assert areas(found.changes) == pytest.approx(
        {pair: area for pair, area in expected.items() if pair[0] != pair[1]}, abs=0.5
    )
    same = sum(area for pair, area in expected.items() if pair[0] == pair[1])
    assert found.unchanged == pytest.approx(same, abs=0.5)


@few
@given(seeds, st.sampled_from([0.0, 30.0, 300.0]), st.sampled_from([0.0, 2.0]))
def test_all_that_both_cover_is_changed_unchanged_or_dropped(seed, min_area, tolerance):
    before, after = cover(seed, hole=True), cover(seed + 1, hole=True)
    found = find_transitions(before, after, min_area=min_area, tolerance=tolerance)
    covered = [shapely.union_all(each.polygons) for each in (before, after)]
    both = shapely.intersection(*covered).area
    assert found.changes.area() + found.unchanged + found.dropped == pytest.approx(both, abs=0.5)
    assert found.only_before == pytest.approx(covered[0].area - both, abs=0.5)
    assert found.only_after == pytest.approx(covered[1].area - both, abs=0.5)


@few
@given(seeds)
def test_with_a_name_for_what_is_missing_all_that_either_covers_counts(seed):
    before, after = cover(seed, hole=True), cover(seed + 1, hole=True)
    found = find_transitions(before, after, missing="nothing")
    either = shapely.union_all(np.concatenate([before.polygons, after.polygons])).area
    assert found.changes.area() + found.unchanged == pytest.approx(either, abs=0.5)
    gone = sum(area for pair, area in areas(found.changes).items() if pair[1] == "nothing")
    assert gone == pytest.approx(found.only_before, abs=0.5)


@few
@given(seeds, st.sampled_from([0.0, 200.0]))
def test_swapped_layers_swap_before_and_after(seed, min_area):
    before, after = cover(seed), cover(seed + 1)
    there, back = (find_transitions(*each, min_area=min_area) for each in ((before, after), (after, before)))
    assert areas(there.changes) == pytest.approx(
        {pair[::-1]: area for pair, area in areas(back.changes).items()}, abs=0.5
    )


@few
@given(seeds)
def test_changes_do_not_overlap_and_touch_no_equal_one(seed):
    found = find_transitions(cover(seed), cover(seed + 1), min_area=20, tolerance=1).changes
    assert shapely.is_valid(found.polygons).all()
    assert shapely.union_all(found.polygons).area == pytest.approx(found.area(), abs=0.5)
    for kind in set(zip(found.before, found.after, strict=True)):
        own = found.polygons[(found.before == kind[0]) & (found.after == kind[1])]
        assert len(shapely.get_parts(shapely.union_all(own))) == len(own)


def test_chunks_make_no_difference(monkeypatch):
    before, after = cover(3, 40), cover(4, 40)
    whole = find_transitions(before, after).changes
    monkeypatch.setattr(from_to, "OVERLAID_AT_ONCE", 7)
    cut = find_transitions(before, after).changes
    assert shapely.equals_exact(whole.polygons, cut.polygons, 1e-9).all()
    assert whole.before.tolist() == cut.before.tolist()


def test_touching_pieces_of_one_change_are_one():
    pieces = overlay(
        boxes((0, 0, 10, 10, "grass"), (10, 0, 20, 10, "grass"), (20, 0, 30, 10, "forest")),
        boxes((0, 0, 30, 10, "town")),
    )
    found = dissolve(pieces)
    assert len(pieces) == 3
    assert [polygon.area for polygon in found.polygons] == [100, 200]
    assert found.before.tolist() == ["forest", "grass"]


def test_layers_that_share_borders_only_have_nothing_in_common():
    found = overlay(boxes((0, 0, 10, 10, "grass")), boxes((10, 0, 20, 10, "town"), (0, 10, 5, 20, "town")))
    assert len(found) == 0


def test_crossed_outlines_are_repaired():
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    before = Cover(snap_to_lattice(np.array([bow])), np.array(["grass"], object))
    found = find_transitions(before, boxes((0, 0, 10, 10, "town")))
    assert found.changes.area() == pytest.approx(50)


def test_opening_parts_strips_from_squares():
    shape = shapely.union_all([shapely.box(0, 0, 20, 20), shapely.box(20, 0, 80, 1)])
    wide, thin = opened(CoverPieces(np.array([shape]), np.array(["a"], object), np.array(["b"], object)), 2.0)
    assert shapely.equals(wide.polygons[0], shapely.box(0, 0, 20, 20))
    assert shapely.equals(thin.polygons[0], shapely.box(20, 0, 80, 1))


BEFORE = boxes((0, 0, 100, 100, "grass"))


def changed(*after, **options):
    """What becomes of changes within grass."""
    town = Cover(
        snap_to_lattice(np.array([shapely.box(*box[:4]) for box in after])), np.array([box[4] for box in after], object)
    )
    rest = shapely.difference(BEFORE.polygons[0], shapely.union_all(town.polygons))
    layer = Cover(np.append(town.polygons, rest), np.append(town.classes, "grass"))
    return find_transitions(BEFORE, layer, **options)


def test_a_shift_in_digitising_is_no_change():
    found = changed((0, 0, 100, 1, "town"), (30, 30, 60, 60, "town"), (60, 30, 80, 30.5, "town"), tolerance=2)
    assert [polygon.bounds for polygon in found.changes.polygons] == [(30, 30, 60, 60)]
    assert found.dropped == pytest.approx(110)


def test_a_strip_between_changes_joins_the_one_that_it_borders_most():
    found = changed((20, 20, 40, 60, "town"), (40, 20, 41, 60, "forest"), (41, 30, 60, 60, "water"), tolerance=2)
    assert areas(found.changes) == pytest.approx({("grass", "town"): 840, ("grass", "water"): 570})
    assert (found.absorbed, found.dropped) == (pytest.approx(40), 0)


def test_a_small_change_joins_a_neighbour_or_goes():
    found = changed((20, 20, 40, 40, "town"), (40, 20, 43, 23, "forest"), (70, 70, 73, 73, "forest"), min_area=10)
    assert areas(found.changes) == pytest.approx({("grass", "town"): 409})
    assert (found.absorbed, found.dropped) == (pytest.approx(9), pytest.approx(9))


def test_of_equal_borders_the_first_change_counts():
    kept = CoverPieces(np.array([shapely.box(0, 0, 10, 10), shapely.box(12, 0, 22, 10)]), *np.full((2, 2), "x", object))
    sliver = CoverPieces(np.array([shapely.box(10, 0, 12, 10)]), *np.full((2, 1), "y", object))
    assert longest_neighbours(sliver, kept, np.zeros(1)).tolist() == [0]
    assert longest_neighbours(sliver, kept.where([]), np.zeros(1)).tolist() == [-1]
