"""geochange.datasets.augment, against numpy and scipy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geochange.datasets.augment import (
    Placement,
    draw_placement,
    gaussian_blur,
    take_crop,
    vary_look,
)
from geochange.datasets.variation import NO_GEOMETRY, NO_LOOK, GeometryOptions, LookOptions

LOOKS = {
    "all": LookOptions(share=1, hazy=1, blurred=1, noisy=1),
    "haze": LookOptions(share=1, brightness=0, contrast=0, colour=0, hazy=1, blurred=0, sharpened=0, noisy=0),
}


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (2, *shape)).astype(np.uint8)


def turned(matrix, shape):
    """The placement that takes all of a square image with a matrix about its middle."""
    middle = (np.array(shape[::-1]) - 1) / 2
    return Placement(np.array(matrix, float), middle - np.array(matrix) @ middle)


def reference(image, placement, size, order):
    """What scipy makes of the same map; it takes (row, col)."""
    matrix, offset = placement.matrix[::-1, ::-1], placement.origin[::-1]
    bands = [
        ndimage.affine_transform(band.astype(float), matrix, offset, (size, size), order=order, mode="reflect")
        for band in image
    ]
    return np.stack(bands)


@st.composite
def placements(draw):
    """Any drawn crop, at any zoom, of an image that may be smaller than it."""
    shape = draw(st.tuples(st.integers(3, 40), st.integers(3, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    size, zoom = draw(st.integers(2, 30)), draw(st.sampled_from([0.4, 1.0, 1.0, 1.7]))
    options = GeometryOptions(rotation=draw(st.sampled_from([0, 8, 180])), resampled=draw(st.sampled_from([0, 1])))
    placement = draw_placement(rng, np.ones(shape), size, zoom, options)
    moved = placement.origin + draw(st.sampled_from([0, 0, 1])) * rng.uniform(-15, 15, 2)  # also beyond the border
    return noise(shape), Placement(placement.matrix, moved), size


@pytest.mark.parametrize("shape", [(7, 7), (64, 64), (37, 37)])
def test_the_identity_returns_the_pixels(shape):
    image = noise(shape)
    assert np.array_equal(take_crop(image, turned(np.eye(2), shape), shape[0]), image)


@pytest.mark.parametrize("side", [7, 16, 37])
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_flips_and_quarter_turns_are_numpy_s(side, turns, flip):
    image = noise((side, side))
    quarter = np.array([[0, -1], [1, 0]])
    matrix = np.linalg.matrix_power(quarter, turns) @ np.diag([-1 if flip else 1, 1])
    wanted = np.rot90(image, turns, axes=(1, 2))
    wanted = wanted[..., ::-1] if flip else wanted
    assert np.array_equal(take_crop(image, turned(matrix, (side, side)), side), wanted)


@given(placements())
def test_bilinear_crops_are_scipy_s(case):
    image, placement, size = case
    wanted = reference(image, placement, size, order=1)
    assert np.allclose(take_crop(image, placement, size), wanted, atol=0.02)  # places are float32


@given(placements())
def test_a_warped_label_is_the_label_of_the_nearest_pixel(case):
    image, placement, size = case
    steps = np.stack(np.meshgrid(np.arange(size), np.arange(size)))
    places = np.tensordot(placement.matrix, steps, 1) + placement.origin[:, None, None]
    if np.abs(places % 1 - 0.5).min() < 1e-6:
        return  # which of two pixels is the nearest is a matter of taste
    wanted = reference(image, placement, size, order=0)
    assert np.array_equal(take_crop(image, placement, size, nearest=True), wanted)


@given(placements())
def test_only_the_part_that_is_touched_matters(case):
    image, placement, size = case
    wide = 120  # a frame of what lies beyond the border anyway
    padded = np.pad(image, ((0, 0), (wide, wide), (wide, wide)), mode="symmetric")
    inner = Placement(placement.matrix, placement.origin + wide)
    assert np.allclose(take_crop(padded, inner, size), take_crop(image, placement, size), atol=0.02)


def test_labels_move_with_the_image():
    labels = np.kron(np.eye(3), np.ones((12, 12)))[None].astype(np.uint8)
    placement = draw_placement(np.random.default_rng(3), labels[0], 24, 1.0, GeometryOptions(resampled=1, rotation=30))
    moved, image = take_crop(labels, placement, 24, nearest=True), take_crop(labels * 100, placement, 24)
    alike = (image < 0.01) | (image > 99.99)  # where all four neighbours are
    assert 0.5 < alike.float().mean() < 1
    assert torch.equal(moved[alike], (image / 100).round()[alike])
    assert moved.unique().tolist() == [0, 1]


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_crop_larger_than_the_image_is_reflected_over_and_over(row, col):
    image = noise((4, 6))
    placement = Placement(np.eye(2), np.array([-col, -row], float))
    wanted = np.pad(image, ((0, 0), (row, 60), (col, 60)), mode="symmetric")[:, :50, :50]
    assert np.array_equal(take_crop(image, placement, 50), wanted)


@given(st.integers(0, 10**6))
def test_without_variation_crops_are_windows_of_the_image(seed):
    image = noise((20, 30))
    placement = draw_placement(np.random.default_rng(seed), np.zeros((20, 30)), 8, 1.0, NO_GEOMETRY)
    col, row = placement.origin.astype(int)
    assert np.array_equal(take_crop(image, placement, 8), image[:, row : row + 8, col : col + 8])


def test_centred_crops_hold_change():
    labels = np.zeros((200, 200), np.uint8)
    labels[150, 20] = 1
    options = replace(NO_GEOMETRY, centred=1.0)
    for seed in range(50):
        placement = draw_placement(np.random.default_rng(seed), labels, 32, 1.0, options)
        assert take_crop(labels[None], placement, 32, nearest=True).sum() == 1


def test_pixels_that_are_not_labelled_draw_no_crops():
    labels = np.zeros((200, 200), np.uint8)
    plain = draw_placement(np.random.default_rng(0), labels, 32, 1.0, GeometryOptions(centred=1.0))
    labels[150, 20] = 255
    same = draw_placement(np.random.default_rng(0), labels, 32, 1.0, GeometryOptions(centred=1.0))
    assert np.array_equal(plain.origin, same.origin)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_each_date_is_varied_on_its_own(look):
    dates = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    untouched = dates.clone()
    other = torch.stack([dates[0], dates[1] * 3 + 1])
    one, two = (vary_look(each, np.random.default_rng(1), look) for each in (dates, other))
    assert torch.equal(dates, untouched)
    assert torch.equal(one[0], two[0])
    assert not torch.allclose(one[0], dates[0])
    shift = one - dates
    assert not torch.allclose(shift[0], shift[1])


def test_some_dates_keep_their_look():
    dates = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    varied = vary_look(dates, np.random.default_rng(0), LookOptions(share=0.5))
    same = (varied == dates).flatten(1).all(dim=1)
    assert 5 < int(same.sum()) < 35
    assert torch.equal(vary_look(dates, np.random.default_rng(0), NO_LOOK), dates)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_looks_stay_finite_and_near(seed):
    dates = torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(seed)).clamp(-3, 3)
    varied = vary_look(dates, np.random.default_rng(seed), LOOKS["all"])
    assert varied.dtype == torch.float32
    assert varied.abs().max() < 8


@pytest.mark.parametrize("sigma", [0.4, 1.2])
def test_blur_is_scipy_s_away_from_the_border(sigma):
    image = noise((24, 24)).astype(np.float32)
    wanted = ndimage.gaussian_filter(image, (0, sigma, sigma), truncate=np.ceil(3 * sigma) / sigma, mode="mirror")
    assert np.allclose(gaussian_blur(torch.from_numpy(image), sigma), wanted, atol=1e-2)


def test_sharpening_steepens_edges_and_keeps_what_is_flat():
    dates = torch.zeros(1, 1, 16, 16)
    dates[..., 8:] = 1.0
    look = LookOptions(share=1, brightness=0, contrast=0, colour=0, hazy=0, blurred=0, sharpened=1, noisy=0)
    row = vary_look(dates, np.random.default_rng(0), look)[0, 0, 8]
    assert row[8] - row[7] > 1.1
    assert row[0] == pytest.approx(0, abs=1e-6)
    assert row[-1] == pytest.approx(1, abs=1e-6)
