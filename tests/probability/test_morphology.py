"""Opening and closing with a disc: against scipy and scikit-image, and laws of morphology."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import disk

from geochange.probability.morphology import Close, Disc, Open, grey_dilation, grey_erosion
from tests.refinement_cases import in_blocks, part_of, parts

RADII = st.sampled_from([1.0, 1.5, 2.0, 3.2])
DISC = Disc.of_radius(2)


def footprint(disc):
    """(y, x) of the disc's pixels."""
    reach = max(disc.half_widths)
    return np.array([np.abs(np.arange(-reach, reach + 1)) <= half for half in disc.half_widths])


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 8])
def test_disc_is_that_of_scikit_image(radius):
    np.testing.assert_array_equal(footprint(Disc.of_radius(radius)), disk(radius))


def test_disc_is_an_ellipse_where_pixels_are_not_square():
    assert Disc.of_radius(2, 4).half_widths == (0, 3, 4, 3, 0)


@pytest.mark.parametrize(("radii", "reach"), [((2,), 2), ((2.9,), 2), ((1, 3), 3), ((3, 1), 3), ((0.5,), 0)])
def test_an_opening_looks_twice_as_far_as_its_disc(radii, reach):
    disc = Disc.of_radius(*radii)
    assert disc.reach == reach
    assert Open(disc).reach == Close(disc).reach == 2 * reach


@given(parts(), RADII)
def test_erosion_and_dilation_are_those_of_scipy(part, radius):
    disc, whole = Disc.of_radius(radius), np.ones(part.valid.shape, bool)
    for found, expected, beyond in (
        (grey_erosion, ndimage.grey_erosion, 255),
        (grey_dilation, ndimage.grey_dilation, 0),
    ):
        for codes in part.codes:
            there = expected(codes, footprint=footprint(disc), mode="constant", cval=beyond)
            np.testing.assert_array_equal(found(codes, whole, disc), there)


def test_signed_values_are_ordered_as_signed():
    values = np.array([[-5, 3, -7, 2, 0]], np.int32)
    valid = np.ones(values.shape, bool)
    disc = Disc((1,))
    assert grey_erosion(values, valid, disc).tolist() == [[-5, -7, -7, -7, 0]]
    assert grey_dilation(values, valid, disc).tolist() == [[3, 3, 3, 2, 2]]


@given(parts(), RADII, st.integers(1, 254))
@pytest.mark.parametrize("step", [Open, Close])
def test_thresholding_may_come_first_or_last(step, part, radius, cutoff):
    correction = step(Disc.of_radius(radius))
    mask = replace(part, codes=(part.codes >= cutoff).astype(np.uint8), steps=1)
    np.testing.assert_array_equal(correction.apply(mask) > 0, correction.apply(part) >= cutoff)


@given(parts(), RADII)
def test_opening_only_takes_and_closing_only_gives(part, radius):
    disc = Disc.of_radius(radius)
    assert (Open(disc).apply(part) <= part.codes).all()
    assert (Close(disc).apply(part) >= part.codes).all()


@given(parts(), RADII)
@pytest.mark.parametrize("step", [Open, Close])
def test_twice_is_once(step, part, radius):
    correction = step(Disc.of_radius(radius))
    once = correction.apply(part)
    np.testing.assert_array_equal(correction.apply(replace(part, codes=once)), once)


@given(parts(), RADII)
def test_closing_is_the_opening_of_what_is_left(part, radius):
    disc = Disc.of_radius(radius)
    other = replace(part, codes=254 - part.codes)
    np.testing.assert_array_equal(254 - Close(disc).apply(other), Open(disc).apply(part))


@settings(max_examples=30)
@given(parts(), RADII, st.integers(1, 9))
@pytest.mark.parametrize("step", [Open, Close])
def test_blocks_do_not_matter(step, part, radius, block):
    correction = step(Disc.of_radius(radius))
    np.testing.assert_array_equal(in_blocks(part, (correction,), block), correction.apply(part))


def test_specks_go_and_areas_stay():
    codes = np.zeros((20, 20), np.uint8)
    codes[2:4, 2:4], codes[8:16, 6:17] = 200, 150
    expected = np.where(codes == 150, 150, 0)
    opened = Open(Disc.of_radius(1)).apply(part_of(codes))[0]
    np.testing.assert_array_equal(opened[9:15, 7:16], expected[9:15, 7:16])
    assert not opened[:7].any()


def test_holes_in_the_data_neither_take_nor_give():
    codes, valid = np.full((15, 15), 200, np.uint8), np.ones((15, 15), bool)
    valid[5:9, 3:11] = False
    part = part_of(np.where(valid, codes, 0).astype(np.uint8), valid)
    for step in (Open(DISC), Close(DISC)):
        assert (step.apply(part)[0][valid] == 200).all()


@pytest.mark.parametrize("step", [Open, Close])
@pytest.mark.parametrize("radii", [(1, 3), (3, 1)])
@settings(max_examples=30)
@given(parts(), st.integers(1, 9))
def test_blocks_do_not_matter_where_pixels_are_not_square(step, radii, part, block):
    correction = step(Disc.of_radius(*radii))
    np.testing.assert_array_equal(in_blocks(part, (correction,), block), correction.apply(part))
