from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.cross_decomposition import CCA

from geochange.detectors import reweighting
from geochange.detectors.catalogue import detector
from geochange.detectors.ir_mad import IrMad, mad_variates
from geochange.detectors.mixture import statistic_bins
from geochange.detectors.reweighting import consistency_factor, no_change_table
from geochange.detectors.statistics import moments_of
from geochange.errors import BadOption
from geochange.scenes.grid import Tile
from tests.memory_blocks import MemoryScene, change, changed_scene, fit, pair
from tests.stand_ins import textured


def layers(scene: MemoryScene, **options: float) -> dict[str, np.ndarray]:
    fitted = fit(IrMad(**options), scene)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    scores = fitted.score(pixels[None], valid[None], tuple(fitted.layers))
    return {name: values[0] for name, values in scores.layers.items()}


def unchanged_normal_scene(bands: int, noise: float = 0.3) -> MemoryScene:
    rng = np.random.default_rng(3)
    before = rng.normal(size=(bands, 150, 150))
    return pair(100 + 20 * before, 50 + 10 * (before + noise * rng.normal(size=before.shape)))


def test_correlations_agree_with_sklearn() -> None:
    scene, _ = changed_scene(bands=3)
    pixels = scene.pixels.reshape(6, -1)
    moments = moments_of(pixels)
    ours = mad_variates(moments, moments.variance, ridge=1e-9).similarity
    x, y = CCA(3, max_iter=5000, tol=1e-12).fit_transform(pixels[:3].T, pixels[3:].T)
    theirs = [np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_mad_variates_are_uncorrelated_with_the_variance_they_state() -> None:
    scene, _ = changed_scene()
    moments = moments_of(scene.pixels.reshape(8, -1))
    found = mad_variates(moments, moments.variance, ridge=1e-9)
    covariance = found.weights @ moments.covariance @ found.weights.T
    np.testing.assert_allclose(covariance, np.diag(found.variance), atol=1e-6)


def test_any_linear_mixture_of_the_bands_gives_the_same_chi_square() -> None:
    scene, _ = changed_scene()
    mixing = np.random.default_rng(5).normal(size=(4, 4))
    mixed = np.tensordot(mixing, scene.pixels[1], axes=1) + 300
    other = replace(scene, pixels=np.stack([scene.pixels[0], mixed]))
    one, two = (layers(each, ridge=1e-9)["chi-square"] for each in (scene, other))
    np.testing.assert_allclose(one, two, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("bands", [1, 2, 3, 6])
def test_without_change_the_statistic_is_chi_square_distributed(bands: int) -> None:
    found = layers(unchanged_normal_scene(bands))["chi-square"].ravel()
    quantiles = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(np.quantile(found, quantiles), chi2.ppf(quantiles, bands), rtol=0.12)


def test_without_the_correction_the_statistic_outgrows_chi_square() -> None:
    found = layers(unchanged_normal_scene(3), consistent=False)["chi-square"]
    assert np.median(found) > 1.3 * chi2.median(3)


@pytest.mark.parametrize("freedom", [1, 3, 12])
def test_consistency_factor_agrees_with_integration(freedom: int) -> None:
    law = chi2(freedom)
    expected = law.expect(lambda t: t * law.sf(t)) / law.expect(law.sf) / freedom
    assert consistency_factor(freedom) == pytest.approx(expected, rel=1e-4)


def test_weights_are_the_tail_of_chi_square() -> None:
    statistic = np.array([0.0, 0.5, 4, 30, 1e9], np.float32)
    expected = chi2.sf(statistic, 4)
    np.testing.assert_allclose(no_change_table(4)[statistic_bins(statistic)], expected, rtol=0.1, atol=1e-6)


def test_reweighting_separates_changes_better_than_one_pass() -> None:
    scene, truth = changed_scene(share=0.25)
    once, often = (layers(scene, **options)["chi-square"][0] for options in ({"iterations": 1}, {}))

    def contrast(statistic: np.ndarray) -> float:
        return float(np.median(statistic[truth]) / np.median(statistic[~truth]))

    assert contrast(often) > 1.5 * contrast(once)


def test_iterations_end_when_nothing_moves() -> None:
    scene, _ = changed_scene()
    done = fit(IrMad(), scene)
    assert 2 < done.iterations < 100
    further = fit(IrMad(iterations=done.iterations + 5, tolerance=0), scene)
    np.testing.assert_allclose(done.similarity, further.similarity, atol=1e-3)


def test_a_sample_gives_nearly_what_all_pixels_give(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, _ = changed_scene(shape=(200, 220))
    whole = fit(IrMad(), scene)
    monkeypatch.setattr(reweighting, "ITERATION_SAMPLE", 5000)
    sampled = fit(IrMad(), scene)
    np.testing.assert_allclose(sampled.similarity, whole.similarity, atol=0.02)
    assert np.mean((change(whole, scene) > 0.5) != (change(sampled, scene) > 0.5)) < 0.01


@pytest.mark.parametrize("options", [{"iterations": 0}, {"ridge": 0.0}, {"tolerance": -1.0}, {"context": -0.1}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadOption, match=r"must (lie in 0..10|be at least 1|be >= 0 and)"):
        IrMad(**options)


@pytest.mark.parametrize("name", ["ir-mad", "slow-features"])
def test_the_variates_drawn_add_up_to_the_statistic(name: str) -> None:
    scene, _ = changed_scene()
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    fitted = fit(detector(name), scene)
    variates, statistic = (next(n for n in fitted.layers if (n == "chi-square") == whole) for whole in (False, True))
    drawn = fitted.score(pixels[None], valid[None], (variates, statistic)).layers
    scales = np.array(fitted.scales)[:, None, None]
    assert (np.abs(scales - 1) > 0.05).any()
    np.testing.assert_allclose(((drawn[variates][0] / scales) ** 2).sum(axis=0), drawn[statistic][0, 0], rtol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("gain", [1.0, 1.37])
def test_dates_that_differ_by_rounding_alone_have_no_change(dtype, gain):
    before = textured((128, 128), bands=4, dtype=dtype).astype(np.float32)
    scene = pair(before, before * np.float32(gain))
    fitted = fit(IrMad(), scene)
    dates, valid = scene.read(Tile(0, 0, *scene.shape))
    assert fitted.posterior.remarks() == {"note": "nothing has changed"}
    assert fitted.score(dates[None], valid[None]).probability.max() < 0.5


@pytest.mark.parametrize("seed", range(6))
def test_an_after_that_mixes_the_bands_of_before_has_hardly_changed(seed):
    before = textured((128, 128), bands=4, dtype="float32").astype(np.float32)
    mixing = np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)
    scene = pair(before, np.einsum("ij,jyx->iyx", mixing, before))
    dates, valid = scene.read(Tile(0, 0, *scene.shape))
    assert (fit(IrMad(), scene).score(dates[None], valid[None]).probability >= 0.5).mean() < 0.05
