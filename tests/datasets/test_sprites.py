"""Things to paste: how much they cover, and what they show."""

import numpy as np
import pytest
import shapely

from geochange.datasets.sprites import (
    BORDER,
    SHAPES,
    Sprite,
    cut_out,
    draw_cover,
    draw_texture,
    shortened,
    soften,
    turned,
)


@pytest.mark.parametrize("size", [3, 4, 7, 16])
def test_a_square_is_its_pixels(size):
    cover = draw_cover("square", size, 0.0, np.random.default_rng(0))
    assert cover.shape == (size + 2 * BORDER,) * 2
    np.testing.assert_array_equal(cover[BORDER:-BORDER, BORDER:-BORDER], 1)
    assert cover.sum() == size**2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [5.0, 12.0])
def test_shapes_have_about_the_area_that_is_asked_for(shape, size):
    areas = [draw_cover(shape, size, 0.0, np.random.default_rng(seed)).sum() for seed in range(60)]
    assert np.sqrt(np.mean(areas)) == pytest.approx(size, rel=0.13)  # a blob is as wide as a square of that size


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_is_cut_off(shape):
    for seed in range(40):
        cover = draw_cover(shape, 9.0, 0.0, np.random.default_rng(seed))
        assert not cover[:BORDER].any()
        assert not cover[-BORDER:].any()
        assert not cover[:, :BORDER].any()
        assert not cover[:, -BORDER:].any()
        assert cover[BORDER].any()


def test_softening_keeps_the_area_and_stays_between_nothing_and_all():
    cover = draw_cover("blob", 8.0, 0.0, np.random.default_rng(1))
    soft = soften(cover, 0.7)
    assert soft.sum() == pytest.approx(cover.sum(), rel=1e-3)
    assert 0 <= soft.min() <= soft.max() <= 1 + 1e-12
    assert (soft - cover).any()


def test_what_is_cut_out_shows_the_image_inside_its_outline():
    values = np.arange(2 * 12 * 12, dtype=float).reshape(2, 12, 12)
    sprite = cut_out(values, shapely.box(3, 4, 8, 7.5), 0.0)
    expected = np.zeros((12, 12))
    expected[4:7, 3:8], expected[7, 3:8] = 1, 0.5
    np.testing.assert_array_equal(sprite.cover, expected)
    np.testing.assert_array_equal(sprite.texture, values)


def test_turning_moves_cover_and_texture_alike():
    cover = np.random.default_rng(0).random((4, 6))
    for seed in range(12):
        sprite = turned(Sprite(cover, np.stack([cover, 2 * cover])), np.random.default_rng(seed))
        np.testing.assert_array_equal(sprite.texture, [sprite.cover, 2 * sprite.cover])
        assert sorted(sprite.cover.ravel()) == sorted(cover.ravel())


def test_what_is_shortened_loses_one_end_and_nothing_else():
    cover = draw_cover("square", 10, 0.6, np.random.default_rng(0))
    for seed in range(20):
        shorter = shortened(cover, np.random.default_rng(seed))
        assert 0.35 < (shorter >= 0.5).sum() / 100 < 0.85
        same = shorter == cover
        solid = [same[BORDER], same[-BORDER - 1], same[:, BORDER], same[:, -BORDER - 1]]
        assert sum(each[BORDER:-BORDER].all() for each in solid) == 1


def test_a_texture_is_a_part_of_the_image_or_one_colour_of_it():
    image = np.random.default_rng(0).random((3, 20, 30))
    spread = np.full(3, 0.3)
    patch = draw_texture(image, (5, 4), spread, 1.0, np.random.default_rng(3))
    assert {*patch[0].ravel()} <= {*image[0].ravel()}
    plain = draw_texture(image, (5, 4), spread, 0.0, np.random.default_rng(3))
    assert plain.std(axis=(1, 2)).max() < 0.06 < image.std()
