"""What is not change: the same in parts and whole, and as strong as asked for."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from geochange.datasets.options import EFFECTS
from geochange.datasets.unchanged import (
    EFFECT_HALO as HALO,
)
from geochange.datasets.unchanged import (
    JPEG_CELL,
    KNOTS,
    DateLook,
    Tone,
    apply_light,
    apply_sensor,
    draw_look,
    hashed,
    move_view,
    pack_jpeg,
    smooth_field,
    white_noise,
)
from geochange.scenes.grid import Tile
from tests.stand_ins import textured

TONE = Tone(mean=np.full(3, 120.0), spread=np.full(3, 40.0), low=np.zeros(3), high=np.full(3, 255.0))
WHOLE = Tile(0, 0, 150, 170)
tiles = st.builds(Tile, st.integers(20, 60), st.integers(20, 60), st.integers(5, 60), st.integers(5, 60))


def look(seed=0, **changed):
    drawn = draw_look(np.random.default_rng(seed), 3)
    return DateLook(**{name: changed.get(name, getattr(drawn, name)) for name in DateLook.__dataclass_fields__})


@given(tiles, st.integers(0, 2**40))
def test_fields_and_noise_of_a_part_are_those_of_the_whole(tile, seed):
    np.testing.assert_allclose(smooth_field(seed, tile), smooth_field(seed, WHOLE)[tile.slices()], atol=1e-12)
    np.testing.assert_array_equal(white_noise(seed, tile, 3), white_noise(seed, WHOLE, 3)[:, *tile.slices()])


def test_noise_is_normal_and_bands_and_seeds_have_their_own():
    noise = white_noise(7, Tile(0, 0, 200, 200), 2)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 0.01
    other = white_noise(8, Tile(0, 0, 200, 200), 2)
    for pair in ((noise[0], noise[1]), (noise[0], other[0]), (noise[0, 1:], noise[0, :-1])):
        assert abs(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1]) < 0.02


def test_hashed_numbers_are_spread_evenly():
    assert stats.kstest(hashed(3, *np.ix_(np.arange(-100, 100), np.arange(100))).ravel(), "uniform").pvalue > 0.01


def test_a_smooth_field_fills_its_range_and_has_no_steps():
    field = smooth_field(1, Tile(-300, 40, 900, 900))
    assert -1 <= field.min() < -0.7 < 0.7 < field.max() <= 1
    assert np.abs(np.diff(field, axis=0)).max() < 0.05


@given(tiles, st.integers(0, 5))
def test_light_view_and_sensor_of_a_part_are_those_of_the_whole(tile, seed):
    drawn = look(seed, haze=0.2, blur=0.8, shift=(0.7, -0.4), wander=0.6)
    image = textured(WHOLE.shape).astype(float)

    def seen(values, at):
        moved = move_view(values, at, drawn)
        return apply_sensor(apply_light(moved, at, drawn, TONE), at, drawn, TONE)

    around = tile.grow(2 * HALO)
    part = seen(image[:, *around.slices()], around)[:, 2 * HALO : -2 * HALO, 2 * HALO : -2 * HALO]
    np.testing.assert_allclose(part, seen(image, WHOLE)[:, *tile.slices()], atol=1e-9)


def test_nothing_is_changed_at_strength_0():
    still = draw_look(np.random.default_rng(0), 3, EFFECTS, 0.0)
    image = textured(WHOLE.shape).astype(float)
    seen = apply_sensor(apply_light(move_view(image, WHOLE, still), WHOLE, still, TONE), WHOLE, still, TONE)
    np.testing.assert_allclose(seen, image, atol=1e-9)
    assert still.quality is None


@pytest.mark.parametrize("effect", EFFECTS)
def test_each_effect_alone_changes_something_and_no_other_does(effect):
    drawn = [draw_look(np.random.default_rng(seed), 3, (effect,)) for seed in range(20)]
    seen = {
        "season": any(each.curve.any() for each in drawn),
        "haze": any(each.haze for each in drawn),
        "view": any(each.wander for each in drawn),
        "blur": any(each.blur for each in drawn),
        "noise": any(each.noise for each in drawn),
        "jpeg": any(each.quality for each in drawn),
    }
    assert {name for name, there in seen.items() if there} == {effect}


def test_a_shift_moves_the_ground():
    image = textured((60, 60)).astype(float)
    moved = move_view(image, Tile(0, 0, 60, 60), look(shift=(2.0, -3.0), wander=0.0))
    np.testing.assert_allclose(moved[:, :-2, 3:], image[:, 2:, :-3], atol=1e-9)


def test_jpeg_of_a_part_is_that_of_the_whole_and_pillows():
    image = textured((64, 96)).astype(float)
    whole = pack_jpeg(image, 70, TONE)
    part = pack_jpeg(image[:, JPEG_CELL : 3 * JPEG_CELL, 2 * JPEG_CELL :], 70, TONE)
    np.testing.assert_array_equal(
        part[:, 1:-1, 1:-1], whole[:, JPEG_CELL : 3 * JPEG_CELL, 2 * JPEG_CELL :][:, 1:-1, 1:-1]
    )
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(image, 0, -1).astype(np.uint8)).save(buffer, "JPEG", quality=70)
    np.testing.assert_allclose(whole, np.moveaxis(np.asarray(Image.open(buffer), float), -1, 0), atol=1e-9)


def test_jpeg_of_16_bits_and_other_bands_stays_near():
    image = textured((32, 32), bands=4, dtype="uint16").astype(float)
    tone = Tone(mean=image.mean((1, 2)), spread=image.std((1, 2)), low=image.min((1, 2)), high=image.max((1, 2)))
    packed = pack_jpeg(image, 90, tone)
    assert 0 < np.abs(packed - image).mean() < 0.05 * np.ptp(image)


def test_a_season_bends_dark_and_bright_apart():
    curve = np.zeros((3, KNOTS))
    curve[:, 0], curve[:, -1] = 1.0, -1.0
    season = DateLook(seed=1, curve=curve)
    image = np.stack([np.linspace(0, 255, 50)[None].repeat(2, 0)] * 3)
    seen = apply_light(image, Tile(0, 0, 2, 50), season, TONE)
    assert seen[0, 0, 0] == pytest.approx(40)
    assert seen[0, 0, -1] == pytest.approx(215)
    assert seen[0, 0, 25] == pytest.approx(image[0, 0, 25], abs=1)
