"""The detector `baseline`: departures of the last date from those before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from geochange.detectors.baseline import Baseline
from geochange.errors import NothingValid
from geochange.scenes.grid import Tile
from tests.detectors.many_dates import NOISE, made_series
from tests.memory_blocks import MemoryScene, change, fit


def changed_last(dates: int, seed: int = 0, size: float = 5.0, shape: tuple[int, int] = (72, 80)) -> tuple:
    """A scene whose last date differs in patches; and where."""
    made = made_series(dates, (0, 0), shape=shape, seed=seed)
    sign = np.random.default_rng(seed).choice([-1, 1], (4, 1, 1))
    made.scene.pixels[-1] += (size * NOISE * sign * made.changed).astype(np.float32)
    return made.scene, made.changed


@settings(max_examples=6, deadline=None)
@given(st.sampled_from([3, 4, 8, 15]), st.integers(0, 99))
def test_departures_of_five_deviations_are_found(dates, seed):
    scene, changed = changed_last(dates, seed)
    fitted = fit(Baseline(), scene)
    found = change(fitted, scene) >= fitted.thresholds["default"]
    assert found[changed].mean() >= 0.9
    assert found[~changed].mean() <= 0.01


@pytest.mark.parametrize("times", [None, (2015.2, 2018.9, 2016.1, 2017.7, 2014.3, 2019.5, 2013.8, 2015.9, 2020.4)])
def test_the_order_of_the_dates_before_does_not_matter(times):
    scene, _ = changed_last(9)
    order = [3, 0, 6, 1, 7, 5, 2, 4, 8]
    scene = replace(scene, times=times)
    other = replace(
        scene, pixels=scene.pixels[order], valid=scene.valid[order],
        times=None if times is None else tuple(times[k] for k in order),
    )  # fmt: skip
    np.testing.assert_array_equal(change(fit(Baseline(), scene), scene), change(fit(Baseline(), other), other))


def test_ground_that_always_varies_departs_by_more_before_it_counts():
    scene, _ = changed_last(12, size=0)
    rng = np.random.default_rng(3)
    restless = np.zeros(scene.shape, bool)
    restless[:, :30] = True
    scene.pixels[:] += (rng.normal(0, 6 * NOISE, scene.pixels.shape) * restless).astype(np.float32)
    scene.pixels[-1, :, 20:40] += 8 * NOISE
    found = change(fit(Baseline(), scene), scene) >= 0.5
    assert found[22:38, 33:].mean() > 0.9
    assert found[22:38, :27].mean() < 0.3


def test_a_season_is_expected():
    scene, changed = changed_last(20)
    times = 2018 + np.arange(20) / 7
    height = np.random.default_rng(1).normal(0, 20 * NOISE, (4, *scene.shape))
    season = np.cos(2 * np.pi * times)[:, None, None, None] * height
    dated = replace(scene, pixels=(scene.pixels + season).astype(np.float32), times=tuple(times))
    fitted = fit(Baseline(), dated)
    found = change(fitted, dated) >= fitted.thresholds["default"]
    assert fitted.summary()["harmonics"] >= 1
    assert found[changed].mean() >= 0.9
    assert found[~changed].mean() <= 0.01
    undated = fit(Baseline(), replace(dated, times=None))
    assert (change(undated, dated) >= 0.5)[changed].mean() < 0.7


def test_deviations_are_normal_where_nothing_has_changed():
    """Compared with scipy: the layer is in standard deviations."""
    scene, _ = changed_last(30, size=0)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    deviations = fit(Baseline(), scene).score(pixels[None], valid[None], ("deviations",)).layers["deviations"]
    assert deviations.std() == pytest.approx(1, abs=0.05)
    assert stats.kstest(deviations.ravel()[::7], "norm").statistic < 0.03


def test_departures_are_in_the_units_of_the_bands():
    scene, changed = changed_last(8)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    departure = fit(Baseline(), scene).score(pixels[None], valid[None], ("departure",)).layers["departure"][0]
    size = np.abs(np.median(departure[:, changed], axis=1))
    np.testing.assert_allclose(size, 5 * NOISE, atol=0.5)
    assert np.abs(np.median(departure[:, ~changed], axis=1)).max() < 0.3


def test_noise_alone_is_no_change():
    scene, _ = changed_last(8, size=0)
    assert (change(fit(Baseline(), scene), scene) >= 0.5).mean() <= 0.001


def test_the_last_date_is_needed_and_two_of_those_before():
    scene, _ = changed_last(4)
    valid = np.ones(scene.valid.shape, bool)
    valid[3, 0], valid[:2, 1], valid[0, 2] = False, False, False
    known = fit(Baseline(), scene).comparable(valid)
    assert not known[:2].any()
    assert known[2:].all()


def test_a_last_date_without_data_is_an_error():
    scene, _ = changed_last(5)
    scene.valid[-1] = False
    with pytest.raises(NothingValid, match="last date"):
        fit(Baseline(), scene)


def test_a_scene_of_a_million_pixels_is_sampled_alike():
    """Statistics of a part are close to those of the whole, which is looked at by a sample."""
    large, _ = changed_last(4, shape=(300, 320))
    part = MemoryScene(large.pixels[:, :, :100, :100], large.valid[:, :100, :100])
    typical = [[prior.typical for prior in fit(Baseline(), each).model.priors] for each in (large, part)]
    np.testing.assert_allclose(typical[0], typical[1], rtol=0.1)
