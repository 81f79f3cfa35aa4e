"""geochange.scenes.radiometry."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, truncnorm
from sklearn.linear_model import RANSACRegressor

from geochange.arrays import Floats
from geochange.scenes.radiometry import Radiometry, radiometry


def samples(gain: float, offset: float, changed: float = 0.0, noise: float = 1.0) -> tuple[Floats, Floats]:
    """(1, n) pixels of two dates, some of which have become something bright."""
    rng = np.random.default_rng(6)
    before = rng.gamma(3, 20, 4000)
    after = gain * before + offset + rng.normal(0, noise * abs(gain), before.shape)
    before += rng.normal(0, noise, before.shape)
    after[: int(changed * len(after))] = rng.normal(200, 10, int(changed * len(after)))
    return before[None], after[None]


@pytest.mark.parametrize("changed", [0.0, 0.2, 0.35])
@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.6, 30.0), (-1.0, 255.0), (250.0, -1e4)])
def test_radiometry_is_not_pulled_by_changes(gain: float, offset: float, changed: float) -> None:
    (found,) = radiometry(*samples(gain, offset, changed), bands=[3])
    assert found.band == 3
    assert found.gain == pytest.approx(gain, rel=0.02)
    assert found.offset == pytest.approx(offset, abs=2 * abs(gain))


def test_radiometry_residual_is_the_noise_of_both_dates() -> None:
    (found,) = radiometry(*samples(0.6, 30, changed=0.2, noise=2), bands=[1])
    assert found.residual == pytest.approx(0.6 * 2 * 2**0.5, rel=0.15)


def test_radiometry_finds_contrast_turned_round_among_changes() -> None:
    rng = np.random.default_rng(7)
    before = rng.normal(100, 20, (1, 4000))
    after = 300 - 2 * before + rng.normal(0, 2, before.shape)
    after[:, :1400] = before[:, :1400] + 50
    (found,) = radiometry(before, after, bands=[1])
    assert found.gain == pytest.approx(-2, rel=0.02)


def test_radiometry_agrees_with_ransac_where_noise_is_small() -> None:
    before, after = samples(0.6, 30, changed=0.2, noise=0.1)
    reference = RANSACRegressor(residual_threshold=0.5, random_state=0).fit(before.T, after[0]).estimator_
    (found,) = radiometry(before, after, bands=[1])
    assert found.gain == pytest.approx(reference.coef_[0], rel=2e-3)
    assert found.offset == pytest.approx(reference.intercept_, abs=0.1)


def test_radiometry_uses_all_unchanged_pixels_to_be_precise() -> None:
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(20):
        truth = rng.gamma(3, 20, (1, 2000))
        before, after = truth + rng.normal(0, 5, truth.shape), 0.6 * truth + rng.normal(0, 3, truth.shape)
        gains += [band.gain for band in radiometry(before, after, [1])]
    assert np.std(gains) < 0.004


def test_radiometry_of_swapped_dates_is_the_inverse() -> None:
    before, after = samples(0.6, 30, changed=0.2)
    (there,), (back,) = radiometry(before, after, [1]), radiometry(after, before, [1])
    assert there.gain * back.gain == pytest.approx(1, abs=5e-3)
    assert back.offset == pytest.approx(-there.offset / there.gain, abs=0.3)


def test_radiometry_correlation_is_pearsons_over_all_pixels() -> None:
    before, after = samples(1, 0, changed=0.2)
    (found,) = radiometry(before, after, [1])
    assert found.correlation == pytest.approx(np.corrcoef(before[0], after[0])[0, 1])


def test_radiometry_of_equal_dates_is_exact() -> None:
    before = np.random.default_rng(0).integers(0, 255, (1, 500), dtype=np.uint8)
    (found,) = radiometry(before, before, [1])
    assert (found.gain, found.offset, found.residual, found.unchanged) == pytest.approx((1, 0, 0, 1), abs=1e-9)


def test_radiometry_of_a_constant_band_is_unknown() -> None:
    before = np.arange(10.0)[None]
    assert radiometry(before, np.full((1, 10), 7.0), [1]) == [Radiometry(1, None, None, None, None, 0.0)]


def test_radiometry_survives_a_band_that_is_mostly_saturated() -> None:
    before, after = samples(0.5, 10)
    before[0, :3000], after[0, :3000] = 255, 255
    (found,) = radiometry(before, after, [1])
    assert np.isfinite([found.gain, found.offset, found.residual]).all()


@pytest.mark.parametrize("gain", [0.5, -2.0])
def test_radiometry_counts_and_measures_the_pixels_within_two_and_a_half_standard_deviations(gain: float) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(100, 30, (1, 40_000))
    before, after = truth + rng.normal(0, 1, truth.shape), gain * truth + 7 + rng.normal(0, abs(gain), truth.shape)
    (found,) = radiometry(before, after, [1])
    assert found.unchanged == pytest.approx(norm.cdf(2.5) - norm.cdf(-2.5), abs=0.004)
    assert found.residual == pytest.approx(abs(gain) * 2**0.5 * truncnorm(-2.5, 2.5).std(), rel=0.01)


@pytest.mark.parametrize("changed", [0.1, 0.3])
def test_radiometry_counts_no_clear_change_as_unchanged(changed: float) -> None:
    before, after = samples(0.6, 30)
    after[:, : round(changed * 4000)] += 1000
    (found,) = radiometry(before, after, [1])
    assert 0.98 * (1 - changed) < found.unchanged <= 1 - changed


@pytest.mark.parametrize("noise", [1.0, 10.0, 30.0])
@pytest.mark.parametrize("gain", [0.6, -1.5])
def test_radiometry_gain_is_not_pulled_to_zero_by_noise_of_either_date(gain: float, noise: float) -> None:
    rng = np.random.default_rng(11)
    truth = rng.normal(100, 30, 40_000)
    before = truth + rng.normal(0, noise, truth.shape)
    after = gain * (truth + rng.normal(0, noise, truth.shape)) + 40
    there, back = radiometry(np.stack([before, after]), np.stack([after, before]), [1, 2])
    assert there.gain == pytest.approx(gain, rel=0.03)
    assert there.offset == pytest.approx(40, abs=4 * abs(gain))
    assert there.gain * back.gain == pytest.approx(1, rel=1e-9)
    assert back.offset == pytest.approx(-there.offset / there.gain, rel=1e-6)
    assert back.residual == pytest.approx(there.residual / abs(there.gain), rel=1e-6)
    assert (back.unchanged, back.correlation) == pytest.approx((there.unchanged, there.correlation))


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 20.0), (-0.5, 700.0)])
@pytest.mark.parametrize("moves", ["before", "after"])
def test_radiometry_follows_other_units_of_a_date(moves: str, scale: float, shift: float) -> None:
    before, after = samples(0.6, 30, changed=0.2, noise=4)
    (plain,) = radiometry(before, after, [1])
    if moves == "before":
        (found,) = radiometry(scale * before + shift, after, [1])
        gain, offset, residual = plain.gain / scale, plain.offset - plain.gain * shift / scale, plain.residual
    else:
        (found,) = radiometry(before, scale * after + shift, [1])
        gain, offset, residual = plain.gain * scale, plain.offset * scale + shift, plain.residual * abs(scale)
    assert (found.gain, found.offset, found.residual) == pytest.approx((gain, offset, residual), rel=1e-6)
    assert found.correlation == pytest.approx(np.sign(scale) * plain.correlation)
    assert found.unchanged == pytest.approx(plain.unchanged)


def test_radiometry_of_several_bands_is_that_of_each() -> None:
    pairs = [samples(gain, offset, changed) for gain, offset, changed in ((0.6, 30, 0.2), (-2, 400, 0.0), (1, 0, 0.3))]
    before, after = (np.concatenate(dates) for dates in zip(*pairs, strict=True))
    expected = [radiometry(*pair, [band])[0] for pair, band in zip(pairs, (4, 1, 7), strict=True)]
    assert radiometry(before, after, [4, 1, 7]) == expected


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_radiometry_is_the_same_for_every_type_of_the_numbers(dtype: str) -> None:
    rng = np.random.default_rng(2)
    before = rng.integers(20, 120, (1, 3000))
    after = 2 * before + rng.integers(-8, 9, before.shape)
    assert radiometry(before.astype(dtype), after.astype(dtype), [1]) == radiometry(before, after, [1])


def test_radiometry_of_dates_that_do_not_fit_is_refused() -> None:
    for before, after, bands in (((2, 5), (2, 6), [1, 2]), ((2, 5), (3, 5), [1, 2]), ((2, 5), (2, 5), [1])):
        with pytest.raises(ValueError, match="differ"):
            radiometry(np.ones(before), np.ones(after), bands)


@pytest.mark.parametrize("share", [0.45, 0.5, 0.55])
@pytest.mark.parametrize(("rising", "falling"), [(0.2, -3.0), (3.0, -0.2), (0.5, -0.7)])
def test_radiometry_of_two_rival_lines_is_the_same_line_whichever_date_is_first(rising, falling, share) -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(0, 20, 3000)
    rises = rng.random(before.shape) < share
    after = np.where(rises, rising, falling) * before + rng.normal(0, 3, before.shape)
    (there,), (back,) = radiometry(before[None], after[None], [1]), radiometry(after[None], before[None], [1])
    assert there.gain * back.gain == pytest.approx(1, rel=1e-9)
    assert there.unchanged == pytest.approx(back.unchanged)
