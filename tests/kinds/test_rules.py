import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from geochange.kinds.indices import compute_index
from geochange.kinds.options import KindRules
from geochange.kinds.rules import (
    APPEARED,
    COVERS,
    KINDS,
    OTHER,
    OUTLINE_REACH,
    SMOOTH_RADIUS,
    VANISHED,
    SceneLevels,
    choose_kinds,
    find_outlines,
    measure_levels,
    pixel_kinds,
    slopes,
    smooth_kinds,
    stand_out,
)

RULES = KindRules()
COVER = {
    "forest": {"green": 0.05, "red": 0.03, "nir": 0.40, "swir1": 0.15},
    "grass": {"green": 0.09, "red": 0.07, "nir": 0.30, "swir1": 0.20},
    "lake": {"green": 0.06, "red": 0.04, "nir": 0.02, "swir1": 0.01},
    "town": {"green": 0.16, "red": 0.18, "nir": 0.22, "swir1": 0.30},
    "sand": {"green": 0.25, "red": 0.30, "nir": 0.35, "swir1": 0.34},
}
"""Reflectances."""


def spectra(names, bands=("green", "red", "nir", "swir1"), gain=1.0):
    """Indices of pixels of these covers, as a scene's pixels have them."""
    by_role = {role: gain * np.array([COVER[name][role] for name in names]) for role in bands}
    wanted = ["NDVI", "MNDWI", "NDBI"] if "swir1" in bands else ["NDVI", "NDWI"] if "nir" in bands else ["NGRDI"]
    found = {name: compute_index(name, by_role) for name in wanted}
    return found | ({"nir": by_role["nir"]} if "nir" in bands else {})


LEVELS = SceneLevels(bright=(0.4, 0.4))


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("forest", "forest", "other"),
        ("sand", "forest", "vegetation gain"),
        ("forest", "sand", "vegetation loss"),
        ("forest", "town", "built-up gain"),
        ("town", "grass", "built-up loss"),
        ("grass", "lake", "water gain"),
        ("town", "lake", "water gain"),
        ("lake", "sand", "water loss"),
        ("lake", "lake", "other"),
        ("sand", "sand", "other"),
    ],
)
def test_kinds_of_what_covers_the_ground(before, after, kind):
    found = pixel_kinds(spectra([before]), spectra([after]), LEVELS, RULES)
    assert KINDS[found[0]] == kind


def test_without_short_wave_infrared_a_town_is_where_vegetation_was():
    bands = ("green", "red", "nir")
    found = pixel_kinds(spectra(["forest", "grass"], bands), spectra(["town", "lake"], bands), LEVELS, RULES)
    assert [KINDS[kind] for kind in found] == ["vegetation loss", "water gain"]


def test_colours_tell_of_vegetation_only():
    bands = ("green", "red")
    found = pixel_kinds(spectra(["forest", "lake"], bands), spectra(["sand", "lake"], bands), LEVELS, RULES)
    assert [KINDS[kind] for kind in found] == ["vegetation loss", "other"]


SWAPPED = np.array([0, 2, 1, 4, 3, 6, 5])


@given(seed=st.integers(0, 1000))
def test_swapped_dates_swap_gain_and_loss(seed):
    random = np.random.default_rng(seed)
    dates = [{name: random.uniform(-1, 1, 300) for name in ("NDVI", "MNDWI", "NDBI")} for _ in range(2)]
    for date in dates:
        date["nir"] = random.uniform(0, 0.5, 300)
        date["NDVI"][:5] = np.nan
    there = pixel_kinds(*dates, measure_levels(*dates), RULES)
    back = pixel_kinds(*dates[::-1], measure_levels(*dates[::-1]), RULES)
    assert len(set(there.tolist())) == COVERS
    np.testing.assert_array_equal(SWAPPED[there], back)


def test_a_season_that_all_of_the_scene_has_is_no_change():
    before, after = ({"NDVI": np.linspace(0.3, 0.8, 101) - drop, "nir": np.full(101, 0.3)} for drop in (0.0, 0.25))
    after["NDVI"][0] = 0.7
    levels = measure_levels(before, after)
    assert levels.offsets["NDVI"] == pytest.approx(-0.25)
    np.testing.assert_array_equal(np.flatnonzero(pixel_kinds(before, after, levels, RULES)), [0])


def test_bright_stubble_is_no_water():
    """A scene of stretched bands, in which NDWI of stubble is over 0 too."""
    before, after = ({"NDWI": np.full(2, 0.1), "NDVI": np.zeros(2), "nir": np.array([160.0, nir])} for nir in (160, 30))
    found = pixel_kinds(before, after, SceneLevels(bright=(170.0, 170.0)), RULES)
    assert [KINDS[kind] for kind in found] == ["other", "water gain"]


def test_slopes_are_those_of_a_gaussian():
    image = np.random.default_rng(0).normal(size=(2, 30, 40))
    expected = [ndimage.gaussian_gradient_magnitude(band, 1, truncate=3) for band in image]
    np.testing.assert_allclose(slopes(image, np.array([1.0, 2.0])), np.hypot(expected[0], expected[1] / 2))


def test_outlines_lie_where_they_should():
    ids = np.zeros((60, 60), np.int32)
    ids[20:40, 20:40] = 7
    outlines = find_outlines(ids)
    distance = np.maximum(*(np.abs(axis - 29.5) for axis in np.indices(ids.shape)))  # 9.5 at the border
    for part, inner, outer in ((outlines.edge, 9, 10.6), (outlines.inside, -1, 7.6)):
        row = part[30]
        np.testing.assert_array_equal(row > 0, (distance[30] > inner) & (distance[30] < outer))
    np.testing.assert_array_equal(np.flatnonzero(outlines.around[30]), [*range(12, 18), *range(42, 48)])
    assert set(np.unique(outlines.edge)) == {0, 7}


def test_around_one_region_lies_no_other():
    ids = np.zeros((40, 60), np.int32)
    ids[10:30, 10:26], ids[10:30, 30:46] = 1, 2
    outlines = find_outlines(ids)
    np.testing.assert_array_equal(outlines.around[20, 26:30], 0)
    assert (outlines.around[ids > 0] == 0).all()


def test_outlines_of_a_part_are_those_of_the_whole():
    ids = (
        ndimage.label(ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(120, 120)), 3) > 0.03)[0]
    ).astype(np.int32)
    whole, part = find_outlines(ids), find_outlines(ids[30:90, 40:110])
    inner = np.s_[OUTLINE_REACH:-OUTLINE_REACH, OUTLINE_REACH:-OUTLINE_REACH]
    for name in ("edge", "inside", "around"):
        np.testing.assert_array_equal(getattr(part, name)[inner], getattr(whole, name)[30:90, 40:110][inner])


def test_an_object_stands_out_at_its_date_alone():
    image = np.random.default_rng(0).normal(0, 0.1, (2, 1, 60, 60))
    image[1, 0, 20:40, 20:40] += 3
    ids = np.zeros((60, 60), np.int32)
    ids[20:40, 20:40] = 1
    outlines = find_outlines(ids)
    found = []
    for date in image:
        slope = slopes(date, np.ones(1))
        means = [np.array([slope[part > 0].mean()]) for part in (outlines.edge, outlines.inside, outlines.around)]
        found.append(stand_out(*means))
    assert found[0] == pytest.approx(0.5, abs=0.05)
    assert found[1] > 0.9
    votes = np.eye(COVERS, dtype=int)[[OTHER]]
    assert choose_kinds(votes, *found, RULES, objects_first=False)[0] == [APPEARED]
    assert choose_kinds(votes, *found[::-1], RULES, objects_first=False)[0] == [VANISHED]


def test_where_nothing_can_be_measured_nothing_stands_out():
    nothing, one = np.array([np.nan]), np.array([1.0])
    assert stand_out(one, nothing, np.array([3.0])) == [0.25]
    assert np.isnan(stand_out(one, nothing, nothing)).all()
    assert np.isnan(stand_out(nothing, one, one)).all()
    assert stand_out(0 * one, 0 * one, 0 * one) == [0.5]


def test_a_region_is_what_most_of_its_pixels_are():
    votes = np.array([[10, 0, 0, 30, 0, 0, 0], [30, 0, 20, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]])
    kinds, share = choose_kinds(votes, *np.full((2, 3), np.nan), RULES, objects_first=True)
    assert kinds.tolist() == [KINDS.index("water gain"), OTHER, -1]
    np.testing.assert_allclose(share, [0.75, 0.6, np.nan])


@pytest.mark.parametrize("first", [True, False])
def test_objects_outdo_covers_only_where_they_are_to(first):
    votes = np.eye(COVERS, dtype=int)[[OTHER, 2]]
    kinds, share = choose_kinds(votes, np.full(2, 0.5), np.full(2, 0.8), RULES, objects_first=first)
    assert kinds.tolist() == [APPEARED, APPEARED if first else 2]
    assert np.isnan(share[0])


def test_lone_pixels_are_smoothed_away_and_only_inside_counts():
    kinds = np.zeros((20, 20), np.uint8)
    kinds[:, 10:] = 3
    kinds[5, 5] = 1
    inside = np.ones((20, 20), bool)
    inside[:, 15:] = False
    smooth = smooth_kinds(kinds, inside)
    assert smooth[5, 5] == 0
    np.testing.assert_array_equal(smooth[:, 15:], kinds[:, 15:])
    np.testing.assert_array_equal(np.delete(smooth, 5, axis=0), np.delete(kinds, 5, axis=0))


def test_a_part_is_smoothed_as_the_whole():
    random = np.random.default_rng(0)
    kinds, inside = random.integers(0, COVERS, (50, 60)).astype(np.uint8), random.random((50, 60)) < 0.8
    whole = smooth_kinds(kinds, inside)
    part = smooth_kinds(kinds[7:40, 13:], inside[7:40, 13:])
    inner = np.s_[SMOOTH_RADIUS:-SMOOTH_RADIUS, SMOOTH_RADIUS:-SMOOTH_RADIUS]
    np.testing.assert_array_equal(part[inner], whole[7:40, 13:][inner])
