"""Corrections led by an image: against their definitions, against other ways to compute them, and laws of blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.errors import BadOption
from geochange.probability.boundaries import (
    LARGEST_RADIUS,
    GuidedFilter,
    LocalField,
    box_sum,
    guide_codes,
    guided_filter,
    solve_positive,
)
from geochange.probability.morphology import Disc, Open
from geochange.probability.refinement import apply_steps
from tests.refinement_cases import in_blocks, part_of, parts

STEPS = [
    GuidedFilter(radii=(2,), eps=0.01),
    GuidedFilter(radii=(1, 3), eps=0.5),
    LocalField(iterations=2, radius=2),
    LocalField(iterations=3, radius=1, weight=8.0),
]


@settings(max_examples=25)
@given(parts(), st.integers(1, 9))
@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_blocks_do_not_matter(step, part, block):
    np.testing.assert_array_equal(in_blocks(part, (step,), block), step.apply(part))


@settings(max_examples=25)
@given(parts(), st.integers(1, 9))
def test_blocks_do_not_matter_to_several_steps(part, block):
    steps = GuidedFilter(radii=(1,)), LocalField(iterations=1, radius=1), Open(Disc.of_radius(1))
    np.testing.assert_array_equal(in_blocks(part, steps, block), apply_steps(part, steps))


@settings(max_examples=10)
@given(parts(max_side=40), st.integers(17, 60))
@pytest.mark.parametrize("step", [GuidedFilter(radii=(2,)), LocalField(iterations=2, radius=2)], ids=repr)
def test_blocks_do_not_matter_to_float_probabilities(step, part, block):
    fine = replace(part, codes=part.codes.astype(np.int32) * 66000, steps=1 << 24, cutoff=1 << 23)
    np.testing.assert_array_equal(in_blocks(fine, (step,), block), step.apply(fine))


@settings(max_examples=25)
@given(parts())
@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_pixels_that_are_not_valid_lead_nobody(step, part):
    rng = np.random.default_rng(0)
    other = replace(
        part,
        codes=np.where(part.valid, part.codes, rng.integers(0, 255, part.codes.shape)).astype(np.uint8),
        guide=np.where(part.valid, part.guide, rng.integers(-2000, 2000, part.guide.shape)).astype(np.int32),
    )
    found, expected = step.apply(other), step.apply(part)
    np.testing.assert_array_equal(found[:, part.valid], expected[:, part.valid])


@settings(max_examples=25)
@given(parts())
@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_the_order_of_the_bands_does_not_matter(step, part):
    turned = replace(part, guide=part.guide[::-1])
    assert np.abs(step.apply(turned).astype(int) - step.apply(part)).max() <= 1


def test_guide_is_in_steps_of_the_deviation():
    values = np.array([[[10.0, 12.0, 14.0, 1e9]], [[5.0, 5.0, 5.0, 5.0]]])
    valid = np.array([[True, True, False, True]])
    codes = guide_codes(values, valid, np.array([12.0, 5.0]), np.array([2.0, 0.0]))
    assert codes.tolist() == [[[-256, 0, 0, 2048]], [[0, 0, 0, 0]]]


@given(parts(), st.integers(1, 5))
def test_box_sums_are_sums_over_squares(part, radius):
    values = part.guide.astype(np.int64)
    padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)))
    side = 2 * radius + 1
    expected = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2)).sum(axis=(-2, -1))
    np.testing.assert_array_equal(box_sum(values, radius), expected)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_systems_are_solved_as_numpy_does(size):
    rng = np.random.default_rng(size)
    root = rng.normal(size=(20, size, size))
    matrix, right = root @ root.swapaxes(1, 2) + 0.1 * np.eye(size), rng.normal(size=(20, size, 2))
    expected = np.linalg.solve(matrix, right)
    found = solve_positive(np.moveaxis(matrix, 0, -1)[..., np.newaxis], np.moveaxis(right, 0, -1)[..., np.newaxis])
    np.testing.assert_allclose(np.moveaxis(found[..., 0], -1, 0), expected, rtol=1e-6)


def guided_by_hand(part, radius, eps):
    """The guided filter as He, Sun and Tang define it, window by window."""
    valid, (height, width) = part.valid, part.valid.shape
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for row, col in np.argwhere(valid):
        window = np.zeros_like(valid)
        window[max(row - radius, 0) : row + radius + 1, max(col - radius, 0) : col + radius + 1] = True
        window &= valid
        image, score = part.guide[:, window] / 256, part.codes[0, window].astype(float)
        centred = image - image.mean(axis=1, keepdims=True)
        covariance = centred @ centred.T / window.sum() + eps * np.eye(len(image))
        slope = np.linalg.solve(covariance, centred @ (score - score.mean()) / window.sum())
        total[window] += slope @ centred + score.mean()
        count[window] += 1
    return total / np.maximum(count, 1)


@settings(max_examples=15)
@given(parts(classes=1, max_side=10), st.integers(1, 3), st.sampled_from([0.01, 1.0]))
def test_guided_filter_is_as_defined(part, radius, eps):
    found = guided_filter(part, radius, eps)[0]
    np.testing.assert_allclose(found[part.valid], guided_by_hand(part, radius, eps)[part.valid], atol=1e-2)


def edge_scene(offset: int = 0):
    """A bright half in an image of two bands, and probabilities of it that blur and lie `offset` pixels off."""
    cols = np.arange(40)
    image = np.where(cols < 20, -200, 200) * np.array([[[1]], [[-1]]]) + np.zeros((2, 30, 40), int)
    soft = 254 / (1 + np.exp(-(cols - 19.5 - offset) / 2))
    return part_of(np.rint(soft)[np.newaxis].repeat(30, axis=0).astype(np.uint8), guide=image.astype(np.int32))


def test_guided_filter_of_a_linear_function_of_the_image_is_that_function():
    rng = np.random.default_rng(0)
    guide = rng.integers(-500, 500, (3, 30, 30)).astype(np.int32)
    codes = np.rint(127 + guide[0] * 0.1 - guide[2] * 0.05).astype(np.uint8)
    found = GuidedFilter(radii=(3,), eps=1e-6).apply(part_of(codes, guide=guide))[0]
    assert np.abs(found.astype(int) - codes).max() <= 1


def test_bands_that_repeat_each_other_lead_as_one():
    part = edge_scene()
    grey = replace(part, guide=part.guide[[0, 0, 0]])
    one = GuidedFilter(eps=1e-6).apply(replace(part, guide=part.guide[:1]))
    assert np.abs(GuidedFilter(eps=1e-6).apply(grey).astype(int) - one).max() <= 1


def test_guided_filter_sharpens_a_soft_edge_at_the_image_s():
    part = edge_scene()
    found = GuidedFilter(radii=(4,), eps=0.01).apply(part)[0]
    assert np.diff(part.codes[0, 15].astype(int))[19] < 40
    assert np.diff(found[15].astype(int))[19] > 110


@pytest.mark.parametrize("radii", [(2,), (4, 1, 3)])
def test_several_radii_are_averaged_and_kept_within_0_and_1(radii):
    rng = np.random.default_rng(0)
    codes = np.repeat(rng.choice(np.array([0, 254], np.uint8), (1, 20, 6)), 5, axis=2)
    guide = (codes * np.array([2, -1])[:, None, None] + rng.normal(0, 150, (2, 20, 30))).astype(np.int32)
    part = part_of(codes, guide=guide)
    mean = np.mean([guided_by_hand(part, radius, 0.05) for radius in radii], axis=0)
    assert mean.min() < -1
    assert mean.max() > 255
    found = GuidedFilter(radii=radii, eps=0.05).apply(part)[0]
    np.testing.assert_allclose(found, np.clip(mean, 0, 254), atol=0.52)


def test_guided_filter_without_contrast_is_a_mean_of_means():
    part = part_of(
        (np.eye(9)[4][:, np.newaxis] * np.eye(9)[4] * 243).astype(np.uint8), guide=np.zeros((1, 9, 9), np.int32)
    )
    found = GuidedFilter(radii=(1,)).apply(part)[0]
    np.testing.assert_array_equal(found[4, 2:7], [9, 18, 27, 18, 9])


def field_by_hand(part, field):
    """Mean field over the pixels of a window, pixel by pixel, with probabilities in place of log-odds."""
    height, width = part.valid.shape
    reach = range(-field.radius, field.radius + 1)
    offsets = [(r, c) for r in reach for c in reach if (r, c) != (0, 0)]
    near = {(r, c): np.exp(-(r * r + c * c) / (2 * (field.radius / 2) ** 2)) for r, c in offsets}
    unit = field.weight / sum(near.values())
    share = np.clip(part.codes[0] / 254, 0.5 / 254, 1 - 0.5 / 254)
    middle = (part.cutoff - 0.5) / 254
    own = np.log(share / (1 - share)) - np.log(middle / (1 - middle))
    belief = 1 / (1 + np.exp(-own))
    for _ in range(field.iterations):
        energy = own.copy()
        for row, col in np.argwhere(part.valid):
            for r, c in offsets:
                y, x = row + r, col + c
                if 0 <= y < height and 0 <= x < width and part.valid[y, x]:
                    apart = ((part.guide[:, row, col] - part.guide[:, y, x]) / 256.0) ** 2
                    alike = np.exp(-apart.mean() / (2 * field.contrast**2))
                    kernel = unit * near[r, c] * (field.smoothness + (1 - field.smoothness) * alike)
                    energy[row, col] += kernel * (belief[y, x] - (1 - belief[y, x]))
        belief = 1 / (1 + np.exp(-energy))
    odds = belief / (1 - belief) * middle / (1 - middle)
    return np.where(part.valid, 254 * odds / (1 + odds), part.codes[0])


@settings(max_examples=10)
@given(parts(classes=1, max_side=8), st.sampled_from([60, 127, 200]), st.sampled_from([0.0, 0.4, 1.0]))
def test_local_field_is_as_defined(part, cutoff, smoothness):
    part = replace(part, cutoff=cutoff)
    field = LocalField(iterations=2, radius=2, weight=3.0, contrast=0.5, smoothness=smoothness)
    np.testing.assert_allclose(field.apply(part)[0], field_by_hand(part, field), atol=0.51)


def test_local_field_heals_a_speck_within_a_smooth_area():
    codes = np.full((15, 15), 220, np.uint8)
    codes[7, 7] = 100
    part = part_of(codes, guide=np.zeros((1, 15, 15), np.int32))
    assert LocalField(weight=4.0).apply(part)[0, 7, 7] >= 127


def test_local_field_keeps_what_the_image_sets_apart():
    codes, guide = np.full((15, 15), 220, np.uint8), np.zeros((1, 15, 15), np.int32)
    codes[7, 7], guide[0, 7, 7] = 100, 2000
    part = part_of(codes, guide=guide)
    assert LocalField(weight=4.0, smoothness=0.0).apply(part)[0, 7, 7] < 127


def test_local_field_balances_at_the_threshold():
    codes = np.full((15, 15), 80, np.uint8)
    part = part_of(codes, guide=np.zeros((1, 15, 15), np.int32))
    field = LocalField()
    assert (field.apply(replace(part, cutoff=60)) > 80).all()
    assert (field.apply(replace(part, cutoff=100)) < 80).all()


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        (GuidedFilter, {"radii": ()}),
        (GuidedFilter, {"radii": (0,)}),
        (GuidedFilter, {"radii": (-2,)}),
        (GuidedFilter, {"radii": (33,)}),
        (GuidedFilter, {"eps": 0.0}),
        (GuidedFilter, {"eps": 0.9e-6}),
        (GuidedFilter, {"eps": float("inf")}),
        (GuidedFilter, {"eps": float("nan")}),
        (LocalField, {"iterations": 0}),
        (LocalField, {"iterations": 11}),
        (LocalField, {"radius": 0}),
        (LocalField, {"radius": 9}),
        (LocalField, {"weight": 0.0}),
        (LocalField, {"weight": float("inf")}),
        (LocalField, {"contrast": 0.0}),
        (LocalField, {"contrast": float("inf")}),
        (LocalField, {"smoothness": 1.01}),
        (LocalField, {"smoothness": -0.01}),
    ],
)
def test_options_that_cannot_be_are_refused(step, settings):
    with pytest.raises(BadOption, match=r"^(crf|guided filter)"):
        step(**settings)


@pytest.mark.parametrize("radii", [(), (0,), (4, 0), (0, 4), (4, LARGEST_RADIUS + 1), (-1, 2)])
def test_every_radius_of_a_guided_filter_must_be_one(radii):
    with pytest.raises(BadOption, match="radius"):
        GuidedFilter(radii=radii)


def test_the_least_and_the_largest_radius_are_allowed():
    assert GuidedFilter(radii=(1, LARGEST_RADIUS)).radii == (1, LARGEST_RADIUS)


def test_the_least_and_the_most_of_all_others_are_allowed():
    assert GuidedFilter(eps=1e-6).eps == 1e-6
    least, most = (
        LocalField(iterations=1, radius=1, smoothness=0.0),
        LocalField(iterations=10, radius=8, smoothness=1.0),
    )
    assert (least.reach, most.reach) == (1, 80)
