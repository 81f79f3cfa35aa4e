"""Change as the length of a linear contrast."""

import json
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from geochange.arrays import Array
from geochange.detectors.contrast import (
    LARGEST_STATISTIC,
    STATISTIC_ROUNDING,
    Contrast,
    ContrastFitted,
    PairOptions,
    change_statistic,
    contrast_counts,
    counted_posterior,
    require_pair,
    standardised_difference,
    standardised_pair,
    statistic_block,
)
from geochange.detectors.mixture import Mixture, Posterior, count_statistic, fit_posterior
from geochange.detectors.statistics import CHUNK_PIXELS, Inliers, Moments
from geochange.errors import BadOption, NothingValid, UnreadableInput
from geochange.scenes.grid import Tile
from tests.memory_blocks import MemoryScene, changed_scene, pair

RNG = np.random.default_rng(5)
WEIGHTS = RNG.normal(size=(3, 4))
WEIGHTS[1, 2] = 0
MEAN = np.array([100.4, 60.6, 90.5, 80.25])
CONTRAST = Contrast(WEIGHTS, MEAN)
POSTERIOR = Posterior(Mixture(0.2, (0.8, 2.0), (0.3, 0.5)), otsu=4.0, even=0.25, context=0.0, negligible=1e-9)


def pixels_of(*shape):
    """(time, band, y, x) about the means."""
    noise = np.random.default_rng(1).normal(size=(2, 2, *shape)) * 20
    return (noise + MEAN.reshape(2, 2, 1, 1)).astype(np.float32)


def expected_variates(contrast, pixels):
    deviations = pixels.reshape(len(contrast.mean), -1).astype(np.float64) - contrast.mean[:, None]
    return (contrast.weights @ deviations).reshape(-1, *pixels.shape[1:])


def inliers_of(variance, mean, frame=None):
    moments = Moments(10.0, np.asarray(mean, float), 10.0 * np.diag(np.asarray(variance, float)))
    return Inliers(moments, None, None, frame)


def test_a_statistic_is_the_sum_of_squares():
    variates = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    found = change_statistic(iter(variates.copy()))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (variates.astype(float) ** 2).sum(axis=0), rtol=1e-6)
    first = variates[0].copy()
    np.testing.assert_array_equal(change_statistic(iter([first])), variates[0] ** 2)
    np.testing.assert_array_equal(first, variates[0])


@pytest.mark.parametrize("shape", [(4, 6, 7), (4, 9)])
def test_variates_are_weighted_sums_of_deviations_from_the_means(shape):
    pixels = pixels_of(6, 7).reshape(4, 42)[:, : np.prod(shape[1:])].reshape(shape)
    before = pixels.copy()
    found = list(CONTRAST.variates(pixels))
    assert [each.shape for each in found] == [shape[1:]] * 3
    assert {each.dtype for each in found} == {np.dtype(np.float32)}
    np.testing.assert_allclose(found, expected_variates(CONTRAST, pixels), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(pixels, before)
    squares = (expected_variates(CONTRAST, pixels) ** 2).sum(axis=0)
    np.testing.assert_allclose(CONTRAST.statistic(pixels), squares, rtol=1e-4, atol=1e-3)


def test_small_differences_of_large_numbers_are_not_rounded():
    contrast = Contrast(np.array([[-0.3, 0.7]]), np.array([60000.3, 30001.6]))
    pixels = np.array([[60000, 60001, 60002], [30002, 30001, 30004]], np.float32)
    expected = expected_variates(contrast, pixels)[0]
    np.testing.assert_allclose(next(contrast.variates(pixels)), expected, atol=1e-5)


def test_a_band_that_weighs_nothing_may_hold_anything():
    contrast = Contrast(np.array([[0.0, 2.0]]), np.array([1.0, 3.0]))
    pixels = np.array([[np.nan, np.inf], [4.0, 1.0]], np.float32)
    np.testing.assert_allclose(next(contrast.variates(pixels)), [2, -4])


def test_the_statistic_of_a_tile_is_that_of_its_pixels():
    dates = pixels_of(6, 7)
    found = CONTRAST.tile_statistic(dates)
    assert (found.shape, found.dtype) == ((6, 7), np.float32)
    np.testing.assert_array_equal(found, CONTRAST.statistic(dates.reshape(4, 6, 7)))


@pytest.mark.parametrize("shape", [(5, CHUNK_PIXELS // 2), (3, CHUNK_PIXELS + 1), (1, 3), (7, CHUNK_PIXELS // 3)])
def test_the_statistic_of_a_tile_does_not_depend_on_the_rows_worked_on_at_once(shape):
    dates = pixels_of(*shape)
    rows = [CONTRAST.statistic(dates[:, :, row].reshape(4, -1)) for row in range(shape[0])]
    np.testing.assert_array_equal(CONTRAST.tile_statistic(dates), np.stack(rows))


def test_a_few_rows_are_worked_on_at_once():
    class Watched(Contrast):
        def statistic(self, pixels):
            seen.append(pixels.shape[1])
            return super().statistic(pixels)

    seen = []
    Watched(WEIGHTS, MEAN).tile_statistic(pixels_of(5, CHUNK_PIXELS // 2))
    assert seen == [2, 2, 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(9e14, 8.1e29), (1.1e15, 1e30), (1e25, 1e30), (np.inf, 1e30), (-np.inf, 1e30), (np.nan, 1e30), (0, 0)],
)
def test_a_statistic_that_overflows_is_the_largest(value, expected):
    contrast = Contrast(np.array([[0.0, 1.0]]), np.zeros(2))
    dates = np.zeros((2, 1, 2, 3), np.float32)
    dates[1, 0, 1, 2] = value
    found = contrast.tile_statistic(dates)
    np.testing.assert_allclose(found[1, 2], expected, rtol=1e-5)
    assert np.count_nonzero(found) == (value != 0)
    assert LARGEST_STATISTIC == 1e30


def test_a_pixel_with_the_value_of_the_frame_in_all_bands_is_unchanged():
    dates = pixels_of(2, 3)
    dates[:, :, 0, 1] = 7
    dates[:, :, 1, 2] = 7
    dates[1, 0, 1, 2] = 8
    plain = CONTRAST.tile_statistic(dates)
    framed = Contrast(WEIGHTS, MEAN, frame=7.0).tile_statistic(dates)
    assert plain[0, 1] > 0
    assert framed[0, 1] == 0
    plain[0, 1] = 0
    np.testing.assert_array_equal(framed, plain)


def test_a_frame_of_zeros_is_one():
    dates = pixels_of(2, 3)
    dates[:, :, 1, 0] = 0
    assert CONTRAST.tile_statistic(dates)[1, 0] > 0
    assert Contrast(WEIGHTS, MEAN, frame=0.0).tile_statistic(dates)[1, 0] == 0


def test_each_band_of_each_date_is_brought_to_mean_0_and_deviation_1():
    variance, mean = [4.0, 9.0, 25.0, 16.0], [10.0, 20.0, 30.0, 40.0]
    found = standardised_difference(inliers_of(variance, mean, frame=3.0), np.array([True, True]))
    dates = np.array([11.0, 26.0, 45.0, 36.0])[:, None]
    np.testing.assert_allclose(list(found.variates(dates.astype(np.float32))), [[3 - 0.5], [-1 - 2]], rtol=1e-6)
    np.testing.assert_array_equal(found.mean, mean)
    assert found.frame == 3.0


def test_bands_that_do_not_vary_count_nothing():
    found = standardised_difference(inliers_of([4, 0, 1, 25, 1, 16], range(6)), np.array([True, False, True]))
    np.testing.assert_allclose(found.weights, [[-0.5, 0, 0, 0.2, 0, 0], [0, 0, -1, 0, 0, 0.25]])
    assert found.frame is None


def test_a_pair_is_compared_in_the_bands_that_vary_at_both_dates():
    scene = MemoryScene(np.zeros((2, 3, 4, 5), np.float32), np.ones((2, 4, 5), bool))
    inliers = inliers_of([4, 0, 1, 25, 9, 0], range(1, 7), frame=2.0)
    found = standardised_pair(inliers, scene)
    expected = standardised_difference(inliers, np.array([True, False, False]))
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert (found.weights.shape, found.frame) == ((1, 6), 2.0)
    with pytest.raises(NothingValid, match=re.escape("every band (1, 2, 3) is constant at one of the dates")):
        standardised_pair(inliers_of([4, 0, 1, 0, 9, 0], range(1, 7)), scene)


@pytest.mark.parametrize("context", [0, 0.0, 0.5, 10, 10.0])
def test_a_context_lies_in_0_to_10(context):
    assert PairOptions(context=context).context == context


@pytest.mark.parametrize("context", [-0.001, 10.001, float("nan"), float("inf")])
def test_a_context_beyond_is_refused(context):
    with pytest.raises(BadOption) as raised:
        PairOptions(context=context)
    assert str(raised.value) == f"context is {context}; it must lie in 0..10"


def test_a_neighbour_adds_a_half_by_default():
    assert PairOptions().context == 0.5


@pytest.mark.parametrize("dates", [1, 3])
def test_any_but_two_dates_are_refused(dates):
    scene = MemoryScene(np.zeros((dates, 1, 2, 3)), np.ones((dates, 2, 3), bool))
    with pytest.raises(BadOption) as raised:
        require_pair(scene, "ir-mad")
    said = str(raised.value)
    assert said.startswith(f"ir-mad compares 2 dates, but {dates} were given")
    assert ("name the two to compare" in said) == ("geochange watch FOLDER" in said) == (dates > 2)


def test_two_dates_are_a_pair():
    require_pair(MemoryScene(np.zeros((2, 1, 2, 3)), np.ones((2, 2, 3), bool)), "ir-mad")


def test_what_is_valid_at_both_dates_is_counted():
    dates, valid = pixels_of(6, 9), np.ones((2, 6, 9), bool)
    valid[0, 1, 2] = valid[1, 4, 7] = valid[:, 0, 0] = False
    found = statistic_block(dates, valid, Tile(3, 5, 6, 9), contrast=CONTRAST)
    expected = count_statistic(CONTRAST.tile_statistic(dates), valid[0] & valid[1])
    np.testing.assert_array_equal(found.histogram, expected.histogram)
    np.testing.assert_array_equal(found.pairs, expected.pairs)
    assert found.histogram.sum() == 51


def test_a_scene_is_counted_block_by_block():
    scene, _ = changed_scene(bands=2, shape=(40, 70))
    scene = MemoryScene(scene.pixels, scene.valid, block=32)
    whole = CONTRAST.tile_statistic(scene.pixels)
    found = contrast_counts(scene.map_blocks, CONTRAST)
    np.testing.assert_array_equal(found.histogram, count_statistic(whole, scene.valid[0]).histogram)


@pytest.mark.parametrize("context", [0.0, 1.5])
def test_the_posterior_of_counts_is_fitted_to_their_histogram(context):
    scene, _ = changed_scene(bands=2)
    counts = contrast_counts(scene.map_blocks, CONTRAST)
    assert counted_posterior(counts, context) == fit_posterior(counts.histogram, context, 1e-10, True)
    assert counted_posterior(counts, context, 0.5) == fit_posterior(counts.histogram, context, 0.5, True)
    assert counted_posterior(counts, context, 0.5).negligible == 0.5
    assert STATISTIC_ROUNDING == 1e-10


def test_the_posterior_of_noise_is_that_of_noise():
    noise = np.random.default_rng(3).normal(size=(2, 2, 200, 210)) * 5 + MEAN.reshape(2, 2, 1, 1)
    scene = pair(*noise)
    counts = contrast_counts(scene.map_blocks, Contrast(np.eye(2, 4), MEAN))
    assert not counts.ordered
    assert counted_posterior(counts, 0.0) == fit_posterior(counts.histogram, 0.0, STATISTIC_ROUNDING, False)
    assert counted_posterior(counts, 0.0).noise


@dataclass(frozen=True)
class Drawn(ContrastFitted):
    """With an array, a tuple and a number of its own, and two layers."""

    name: ClassVar[str] = "drawn"
    arrays: ClassVar[tuple[str, ...]] = ("matrix",)
    matrix: Array
    pairs: tuple[int, ...] = ()
    share: float = 0.0

    @property
    def layers(self):
        return {"sum": 1, "dates": 2}

    def layer(self, name, dates):
        return dates.sum(axis=(0, 1))[None] if name == "sum" else dates[:, 1]

    def numbers(self):
        return {"pairs": list(self.pairs), "share": self.share}


def drawn(posterior=POSTERIOR, frame=None):
    return Drawn(Contrast(WEIGHTS, MEAN, frame), posterior, np.arange(6.0).reshape(2, 3), (3, 1), 0.25)


def batch():
    dates = np.stack([pixels_of(4, 6), pixels_of(4, 6)[..., ::-1]])
    valid = np.ones((2, 2, 4, 6), bool)
    valid[0, 0, 1, 2] = valid[1, 1, 3, 5] = False
    return dates, valid


def test_a_detector_is_known_by_its_contrast_and_posterior():
    fitted = ContrastFitted(CONTRAST, POSTERIOR)
    assert (fitted.bands, fitted.layers, fitted.classes) == (2, {}, ("change",))
    assert (fitted.stride, fitted.tiles_at_once, fitted.default_tile, fitted.objects) == (1, 1, 512, False)
    assert fitted.thresholds == POSTERIOR.thresholds
    assert fitted.numbers() == {}
    with pytest.raises(KeyError, match="magnitude"):
        fitted.layer("magnitude", pixels_of(2, 3))


@pytest.mark.parametrize(("context", "radius", "overlap"), [(0.0, 0, 0), (0.5, 1, 2)])
def test_tiles_share_twice_what_the_posterior_needs(context, radius, overlap):
    fitted = ContrastFitted(CONTRAST, Posterior(POSTERIOR.mixture, 4.0, context=context))
    assert (fitted.receptive_radius, fitted.default_overlap) == (radius, overlap)


@pytest.mark.parametrize("context", [0.0, 2.0])
def test_a_score_is_the_posterior_of_the_statistic_of_each_tile(context):
    posterior = Posterior(POSTERIOR.mixture, 4.0, context=context)
    dates, valid = batch()
    scores = drawn(posterior).score(dates, valid)
    assert scores.probability.shape == (2, 1, 4, 6)
    assert scores.layers == {}
    for k in range(2):
        statistic = CONTRAST.tile_statistic(dates[k])[None]
        expected = posterior.probability(statistic, (valid[k, 0] & valid[k, 1])[None])
        np.testing.assert_array_equal(scores.probability[k], expected)


def test_the_layers_asked_for_are_drawn_and_nan_where_a_date_holds_nothing():
    dates, valid = batch()
    scores = drawn().score(dates, valid, ("dates", "sum"))
    assert list(scores.layers) == ["dates", "sum"]
    joint = valid[:, 0] & valid[:, 1]
    for name, values in {"dates": dates[:, :, 1], "sum": dates.sum(axis=(1, 2))[:, None]}.items():
        np.testing.assert_array_equal(scores.layers[name], np.where(joint[:, None], values, np.nan))
    assert list(drawn().score(dates, valid, ("sum",)).layers) == ["sum"]


def test_a_summary_holds_the_mixture_the_thresholds_and_the_means():
    summary = ContrastFitted(CONTRAST, POSTERIOR).summary()
    assert summary == {
        "mixture": {"share": 0.2, "means": (0.8, 2.0), "deviations": (0.3, 0.5)},
        "thresholds": dict(POSTERIOR.thresholds),
        "mean": MEAN.tolist(),
        "shift_tolerance": {"pixels": 0, "quiet": 0.0, "explained": None},
    }
    json.dumps(summary)


def test_a_summary_remarks_on_a_frame_and_on_a_scene_without_change():
    nothing = Posterior(Mixture(0.0, (0.8, 2.0), (0.3, 0.5)), otsu=0.0)
    assert drawn(frame=0.0).remarks() == {"frame": 0.0}
    assert drawn(nothing).remarks() == {"note": "nothing has changed"}
    assert drawn().remarks() == {}
    summary = drawn(nothing, frame=255.0).summary()
    assert (summary["frame"], summary["note"]) == (255.0, "nothing has changed")


@pytest.mark.parametrize("frame", [None, 0.0, 255.0])
def test_a_detector_that_was_saved_scores_as_before(tmp_path, frame):
    fitted = drawn(Posterior(POSTERIOR.mixture, 4.0, 0.25, 1.5, True, 1e-9), frame)
    fitted.save(tmp_path)
    loaded = Drawn.load(tmp_path)
    assert type(loaded) is Drawn
    np.testing.assert_array_equal(loaded.contrast.weights, WEIGHTS, strict=True)
    np.testing.assert_array_equal(loaded.contrast.mean, MEAN, strict=True)
    np.testing.assert_array_equal(loaded.matrix, fitted.matrix, strict=True)
    assert loaded.posterior == fitted.posterior
    assert (loaded.contrast.frame, loaded.pairs, loaded.share) == (frame, (3, 1), 0.25)
    dates, valid = batch()
    np.testing.assert_array_equal(loaded.score(dates, valid).probability, fitted.score(dates, valid).probability)


def test_a_detector_is_saved_as_one_file_an_array_and_one_of_numbers(tmp_path):
    drawn().save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["fitted.json", "matrix.npy", "mean.npy", "weights.npy"]
    numbers = json.loads((tmp_path / "fitted.json").read_text())
    assert list(numbers) == ["detector", "posterior", "frame", "tolerance", "pairs", "share"]
    (tmp_path / "matrix.npy").unlink()
    with pytest.raises(UnreadableInput, match="does not hold the arrays of drawn"):
        Drawn.load(tmp_path)
