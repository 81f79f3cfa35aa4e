"""The detector `breaks`: known breaks of synthetic series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.arrays import Floats
from geochange.detectors.breaks import Breaks
from geochange.errors import BadOption
from geochange.scenes.grid import Tile
from tests.detectors.many_dates import NOISE, MadeSeries, made_series
from tests.memory_blocks import MemoryScene, change, fit


def found_in(made: MadeSeries, detector: Breaks, *layers: str) -> tuple[Floats, dict[str, Floats]]:
    """(y, x) probability and (band, y, x) layers."""
    pixels, valid = made.scene.read(Tile(0, 0, *made.scene.shape))
    scores = fit(detector, made.scene).score(pixels[None], valid[None], layers)
    return scores.probability[0, 0], {name: layer[0] for name, layer in scores.layers.items()}


@settings(max_examples=5, deadline=None)
@given(st.sampled_from([(6, 1), (8, 1), (12, 1), (20, 2), (26, 3)]), st.integers(3, 6), st.integers(0, 99))
def test_breaks_above_twice_the_noise_get_their_date_and_few_others_are_found(ends, bands, seed):
    made = made_series(ends[0], bands=bands, ends=ends[1], seed=seed)
    probability, layers = found_in(made, Breaks(), "interval")
    right = (probability >= 0.5) & (layers["interval"].argmax(axis=0) + 1 == made.interval)
    assert right[made.changed].mean() >= 0.9
    assert (probability[~made.changed] >= 0.5).mean() <= 0.01


@settings(max_examples=5, deadline=None)
@given(
    st.integers(3, 24), st.integers(1, 5), st.floats(0, 0.9), st.sampled_from([0.0, 0.4]), st.booleans(),
    st.integers(0, 99),
)  # fmt: skip
def test_series_of_noise_have_a_break_in_one_of_a_hundred_at_most(dates, bands, alike, missing, uneven, seed):
    """Bands of related noise, gaps, and noise that is not the same everywhere."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(dates, bands, 64, 64)) * np.sqrt(1 - alike)
    noise += rng.normal(size=(dates, 1, 64, 64)) * np.sqrt(alike)
    strength = np.exp(0.5 * rng.normal(size=(64, 64))) if uneven else 1
    pixels = 100 + 5 * strength * noise + rng.normal(0, 30, (bands, 64, 64))
    scene = MemoryScene(pixels.astype(np.float32), rng.random((dates, 64, 64)) >= missing)
    fitted = fit(Breaks(context=0), scene)
    known = fitted.comparable(scene.valid)
    assert (change(fitted, scene)[known] >= 0.5).mean() <= 0.01


def test_noise_that_follows_itself_has_few_breaks_too():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(30, 2, 64, 64))
    for date in range(1, 30):
        noise[date] = 0.6 * noise[date - 1] + 0.8 * noise[date]
    scene = MemoryScene((100 + 5 * noise).astype(np.float32), np.ones((30, 64, 64), bool))
    fitted = fit(Breaks(), scene)
    independent = replace(fitted, model=replace(fitted.model, inflation=1.0))
    assert (change(fitted, scene) >= 0.5).mean() <= 0.01
    assert (change(independent, scene) >= 0.5).mean() > 0.3


def test_a_season_is_no_break_and_hides_none():
    made = made_series(25, ends=4, shape=(40, 48), seed=3)
    times = 2018 + np.arange(25) / 11
    height, phase = np.random.default_rng(1).uniform(0, 1, (2, 4, *made.scene.shape))
    season = 10 * NOISE * height * np.cos(2 * np.pi * (times[:, None, None, None] - phase))
    scene = replace(made.scene, pixels=(made.scene.pixels + season).astype(np.float32), times=tuple(times))
    probability, layers = found_in(replace(made, scene=scene), Breaks(), "interval")
    right = (probability >= 0.5) & (layers["interval"].argmax(axis=0) + 1 == made.interval)
    assert right[made.changed].mean() >= 0.9
    assert (probability[~made.changed] >= 0.5).mean() <= 0.01
    unknown, _ = found_in(replace(made, scene=replace(scene, times=None)), Breaks())
    assert (unknown[made.changed] >= 0.5).mean() < 0.5


@pytest.mark.parametrize("detector", [Breaks(), Breaks(sloping=True), Breaks(lasting=2)], ids=["", "lines", "lasting"])
def test_a_series_backwards_has_the_same_breaks_mirrored(detector):
    made = made_series(10, ends=3)
    back = replace(made.scene, pixels=made.scene.pixels[::-1].copy(), valid=made.scene.valid[::-1].copy())
    forth_found, forth = found_in(made, detector, "interval", "break-size", "steps", "breaks")
    back_found, mirrored = found_in(replace(made, scene=back), detector, "interval", "break-size", "steps", "breaks")
    np.testing.assert_allclose(forth_found, back_found, atol=1e-4)
    np.testing.assert_allclose(forth["interval"], mirrored["interval"][::-1], atol=1e-3)
    changed = (forth_found >= 0.6) & made.changed
    same = np.isclose(forth["break-size"], -mirrored["break-size"], atol=1e-2).all(axis=0)
    assert same[changed].mean() > 0.99  # of two breaks of one size either may be the largest
    steps, backwards = (each["steps"].reshape(9, 4, *changed.shape)[..., changed] for each in (forth, mirrored))
    np.testing.assert_allclose(steps, -backwards[::-1], atol=1e-2)


def plain_scene(levels: list[float], where: tuple[slice, slice], dates: int = 9, bands: int = 2) -> MemoryScene:
    """Noise of deviation 1 around 50, and in one place other levels from thirds of the dates on, in the first band."""
    rng = np.random.default_rng(0)
    pixels = 50 + rng.normal(size=(dates, bands, 40, 40))
    for third, level in enumerate(levels):
        pixels[third * dates // 3 : (third + 1) * dates // 3, 0, *where] += level
    return MemoryScene(
        pixels.astype(np.float32), np.ones((dates, 40, 40), bool), times=tuple(1990 + 5.0 * np.arange(9))
    )


def test_every_break_has_its_interval_size_and_direction():
    there = slice(10, 20), slice(12, 24)
    made = MadeSeries(plain_scene([0, 20, 12], there), np.zeros((40, 40), bool), np.zeros((40, 40), int))
    probability, layers = found_in(made, Breaks(), "interval", "break-date", "break-size", "breaks", "steps")
    assert (probability[there] > 0.9).all()
    assert (layers["breaks"][0][there] == 2).mean() > 0.9
    np.testing.assert_allclose(np.median(layers["break-size"][:, *there], axis=(1, 2)), [20, 0], atol=0.4)
    np.testing.assert_allclose(layers["break-date"][0][there], 2002.5)  # between 2000 and 2005
    assert (layers["interval"].argmax(axis=0)[there] == 2).all()
    steps = np.median(layers["steps"].reshape(8, 2, 40, 40)[..., *there], axis=(2, 3))
    np.testing.assert_allclose(steps[[2, 5], 0], [20, -8], atol=0.5)
    assert (steps[[0, 1, 3, 4, 6, 7]] == 0).all()
    elsewhere = probability < 0.5
    assert elsewhere.mean() > 0.9
    assert np.isnan(layers["break-date"][:, elsewhere]).all()
    assert (layers["breaks"][:, elsewhere] == 0).all()


def test_a_gap_spreads_the_interval_over_the_dates_that_are_missing():
    there = slice(0, 40), slice(0, 12)
    scene = plain_scene([0, 30, 30], there)
    scene.valid[2:4, *there] = False  # the break lies between dates 3 and 4, from 1
    _, layers = found_in(MadeSeries(scene, np.zeros((40, 40), bool), np.zeros((40, 40), int)), Breaks(), "interval")
    interval = layers["interval"][:, *there].mean(axis=(1, 2))
    np.testing.assert_allclose(interval, [0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0], atol=0.01)


@pytest.mark.parametrize(("sloping", "share"), [(False, 1.0), (True, 0.0)])
def test_growth_is_a_break_of_levels_and_none_of_lines(sloping, share):
    scene = plain_scene([0, 0, 0], (slice(0), slice(0)))
    scene.pixels[:, 0, 10:20, 10:20] += 4 * np.arange(9, dtype=np.float32)[:, None, None]
    found = change(fit(Breaks(sloping=sloping), scene), scene)[11:19, 11:19]
    assert (found >= 0.5).mean() == share


@pytest.mark.parametrize(("lasting", "share"), [(1, 1.0), (2, 0.0)])
def test_what_lasts_too_short_is_an_outlier(lasting, share):
    scene = plain_scene([0, 0, 0], (slice(0), slice(0)))
    scene.pixels[4, :, 10:20, 10:20] += 200
    found = change(fit(Breaks(lasting=lasting), scene), scene)[11:19, 11:19]
    assert (found >= 0.5).mean() == share


def test_images_out_of_order_are_refused():
    scene = replace(plain_scene([0, 0, 0], (slice(0), slice(0))), times=(1990.5, 2000.5, *range(1996, 2003)))
    with pytest.raises(BadOption, match=r"image 3 is of 1996.00, image 2 of 2000.50; give the images in the order"):
        fit(Breaks(), scene)


@pytest.mark.parametrize(("option", "value"), [("false_breaks", 0.0), ("false_breaks", 0.6), ("lasting", 0)])
def test_impossible_options_are_refused(option, value):
    with pytest.raises(BadOption, match=f"{option} is {value}"):
        Breaks(**{option: value})
