from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import correlate as scipy_correlate
from scipy.ndimage import maximum_filter
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from geochange.detectors import pca_kmeans
from geochange.detectors.contrast import LARGEST_STATISTIC, STATISTIC_ROUNDING, Contrast
from geochange.detectors.mixture import ceiling_of, count_statistic, fit_posterior
from geochange.detectors.pca_kmeans import (
    DifferenceImage,
    PcaKMeans,
    correlate,
    patch_block,
    principal_components,
    squared_response,
    two_means,
)
from geochange.detectors.statistics import fence_of, moments_of
from geochange.errors import BadOption
from geochange.scenes.grid import Tile
from tests.memory_blocks import changed_scene, fit, pair


def test_correlate_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=(12, 9)).astype(np.float32), rng.normal(size=(3, 3))
    np.testing.assert_allclose(correlate(image, kernel), scipy_correlate(image, kernel)[1:-1, 1:-1], atol=1e-5)


def test_components_agree_with_sklearn() -> None:
    patches = np.random.default_rng(0).normal(size=(500, 9)) * np.arange(1, 10)
    ours = principal_components(moments_of(patches.T), 0.9)
    theirs = PCA(0.9).fit(patches).components_
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(np.abs(np.sum(ours * theirs, axis=1)), 1, atol=1e-6)


def test_two_means_agree_with_sklearn() -> None:
    rng = np.random.default_rng(0)
    features = np.hstack([rng.normal(1, 0.5, (3, 900)), rng.normal(4, 1, (3, 100))])
    theirs = KMeans(2, n_init=5, random_state=0).fit(features.T).cluster_centers_
    np.testing.assert_allclose(np.stack(two_means(features)), theirs[np.argsort(theirs[:, 0])], atol=0.02)


@pytest.mark.parametrize("block", [7, 16, 64])
def test_patches_are_cut_from_the_scenes_origin_whatever_the_blocks(block: int) -> None:
    image = np.random.default_rng(0).random((1, 20, 23))
    scene = pair(np.zeros_like(image), image, block=block)
    contrast = Contrast(np.array([[0.0, 1.0]]), np.zeros(2))
    difference = DifferenceImage(contrast)
    parts = scene.map_blocks(lambda *args: patch_block(*args, difference=difference, h=5), 5)
    moments = sum(parts, moments_of(np.zeros((25, 0))))
    dates = np.pad(np.stack([np.zeros_like(image), image]), [(0, 0), (0, 0), (1, 1), (1, 1)], mode="reflect")
    lengths = difference(dates.astype(np.float32), np.ones((2, 22, 25), bool))
    whole = np.pad(lengths, ((0, 0), (0, 2)), mode="reflect").reshape(4, 5, 5, 5).swapaxes(1, 2).reshape(-1, 25)
    assert moments.weight == len(whole)
    np.testing.assert_allclose(moments.mean, whole.mean(axis=0), atol=1e-6)


def test_the_kmeans_threshold_is_celiks_partition() -> None:
    scene, _ = changed_scene()
    fitted = fit(PcaKMeans(size=3, energy=1.0), scene)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    scores = fitted.score(pixels[None], valid[None], ("difference",))
    image = scores.layers["difference"][0, 0]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1, mode="reflect"), (3, 3)).reshape(-1, 9)
    clusters = KMeans(2, n_init=5, random_state=0).fit(windows)
    theirs = clusters.labels_ == np.argmax(clusters.cluster_centers_.sum(axis=1))
    ours = scores.probability.ravel() >= fitted.thresholds["kmeans"]
    assert np.mean(ours == theirs) > 0.995


def test_the_receptive_radius_is_no_smaller_than_needed() -> None:
    scene, _ = changed_scene()
    fitted = fit(PcaKMeans(size=5), scene)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    reached = []
    for row in range(20, 60):
        poked = pixels.copy()
        poked[1, :, row, 50] += 40
        one, two = (fitted.score(each[None], valid[None]).probability[0, 0] for each in (pixels, poked))
        rows, cols = np.nonzero(one != two)
        reached.append(max(np.abs(rows - row).max(initial=0), np.abs(cols - 50).max(initial=0)))
    assert max(reached) == fitted.receptive_radius == 3


def test_more_context_smooths() -> None:
    scene, _ = changed_scene()
    rough, smooth = (fit(PcaKMeans(size=size), scene).kernel for size in (1, 5))
    assert rough.shape == (1, 1)
    assert np.abs(smooth).max() < 0.5


def test_nodata_does_not_enter_the_patches() -> None:
    scene, _ = changed_scene()
    valid = scene.valid.copy()
    valid[:, 10:30, 10:30] = False
    assert np.isfinite(fit(PcaKMeans(), replace(scene, valid=valid)).kernel).all()


@pytest.mark.parametrize("options", [{"size": 4}, {"size": 0}, {"energy": 0.0}, {"energy": 1.5}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadOption, match=r"must (be an odd number|lie above 0)"):
        PcaKMeans(**options)


def test_only_patches_that_hold_data_everywhere_are_cut() -> None:
    h, side = 3, 30
    rng = np.random.default_rng(0)
    dates = rng.normal(0, 1, (2, 1, side + 2 * h, side + 2 * h)).astype(np.float32)
    valid = rng.random((2, side + 2 * h, side + 2 * h)) > 0.02
    dates[~valid[:, None]] = 0
    image = DifferenceImage(Contrast(np.array([[-1.0, 1.0]]), np.zeros(2)))
    found = patch_block(dates, valid, Tile(0, 0, side, side), difference=image, h=h)
    lengths, there = image(dates, valid), valid.all(axis=0)[1:-1, 1:-1]
    starts = range(h - 1, h - 1 + side, h)
    cut = [np.s_[row : row + h, col : col + h] for row in starts for col in starts]
    whole = [lengths[at].ravel() for at in cut if there[at].all()]
    assert found.weight == len(whole) > 0
    np.testing.assert_allclose(found.mean, np.mean(whole, axis=0), rtol=1e-6)


def test_what_is_the_opposite_of_change_is_no_response():
    image = np.random.default_rng(0).random((9, 11)).astype(np.float32)
    kernel = np.zeros((3, 3), np.float32)
    kernel[1, 1] = -2.0
    assert not squared_response(image, kernel).any()
    np.testing.assert_allclose(squared_response(image, -kernel), 4 * image[1:-1, 1:-1] ** 2, rtol=1e-6)


def test_the_response_is_squared_where_it_is_positive_alone():
    image = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 3, 0], [0, 0, 0, 0, 0]], np.float32)
    kernel = np.array([[0, 0, 0], [-1, 0, 1], [0, 0, 0]], np.float32)  # right less left
    np.testing.assert_array_equal(squared_response(image, kernel), [[0, 4, 0]])


def saturated_scene():
    """A changed scene without data in corners of single dates, and a few saturated pixels at the second."""
    scene, _ = changed_scene(bands=3, shape=(90, 121))
    pixels, valid = scene.pixels.copy(), scene.valid.copy()
    for row, col in ((10, 20), (50, 70), (86, 117)):
        pixels[1, :, row : row + 4, col : col + 4] = 5000
    valid[0, :8, 100:] = valid[1, 70:, :11] = False
    return replace(scene, pixels=pixels, valid=valid, block=128)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_scores_are_those_of_the_filter_on_lengths_below_the_ceiling(size):
    scene = saturated_scene()
    fitted = fit(PcaKMeans(size=size), scene)
    assert fitted.ceiling < LARGEST_STATISTIC
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    there = valid.all(axis=0)
    vector = np.tensordot(fitted.contrast.weights, pixels.reshape(6, *scene.shape).astype(np.float64), axes=1)
    vector -= (fitted.contrast.weights @ fitted.contrast.mean)[:, None, None]
    plain = np.sum(vector**2, axis=0)
    assert fitted.ceiling == ceiling_of(count_statistic(plain, there).histogram, STATISTIC_ROUNDING)
    lengths = np.sqrt(np.minimum(plain, fitted.ceiling)) * there
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    image = np.minimum(lengths, maximum_filter(lengths, footprint=ring, mode="mirror"))
    response = np.maximum(scipy_correlate(image, fitted.kernel, mode="mirror"), 0)
    layers = fitted.score(pixels[None], valid[None], ("difference", "response")).layers
    assert image.max() == pytest.approx(fitted.ceiling**0.5)
    for name, expected in (("difference", image), ("response", response)):
        np.testing.assert_allclose(layers[name][0, 0], np.where(there, expected, np.nan), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [1, 3])
def test_what_is_scored_is_what_was_counted(size):
    scene = saturated_scene()
    fitted = fit(PcaKMeans(size=size), scene)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    response = fitted.score(pixels[None], valid[None], ("response",)).layers["response"][0, 0]
    counts = count_statistic(np.nan_to_num(response) ** 2, valid.all(axis=0), size + 2)
    expected = fit_posterior(counts.histogram, 0.0, STATISTIC_ROUNDING, counts.ordered)
    assert fitted.posterior.mixture.share == pytest.approx(expected.mixture.share, rel=0.01)
    assert fitted.posterior.mixture.means == pytest.approx(expected.mixture.means, rel=0.01)
    assert fitted.posterior.otsu == pytest.approx(expected.otsu, rel=0.02)
    assert fitted.receptive_radius == size // 2 + 1


@pytest.mark.parametrize(("sample", "steps"), [(250_000, (1, 1)), (1800, (2, 3))])
@pytest.mark.parametrize(("size", "energy"), [(1, 0.9), (3, 0.8), (5, 0.6)])
def test_the_filter_is_that_of_the_plain_steps_on_what_is_not_far_out(size, energy, sample, steps, monkeypatch):
    monkeypatch.setattr(pca_kmeans, "KMEANS_SAMPLE", sample)
    scene = saturated_scene()
    fitted = fit(PcaKMeans(size=size, energy=energy), scene)
    dates, inside = scene.pixels.reshape(6, *scene.shape), scene.valid.all(axis=0)
    fence = fence_of(dates[:, inside])
    low, high = (each[:, None, None] for each in (fence.low, fence.high))
    outside = inside & ~((dates >= low) & (dates <= high)).all(axis=0)
    inside &= ~outside
    assert 0 < outside.sum() < 0.05 * inside.sum()
    known = dates[:, inside].astype(np.float64)
    standard = (dates - known.mean(axis=1)[:, None, None]) / known.std(axis=1)[:, None, None]
    lengths = np.sqrt(np.minimum(np.sum((standard[3:] - standard[:3]) ** 2, axis=0), fitted.ceiling)) * inside
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    image = np.minimum(lengths, maximum_filter(lengths, footprint=ring, mode="mirror"))
    rows, cols = scene.shape
    image, there = (np.pad(each, size, mode="reflect") for each in (image, inside))
    windows, whole = (np.lib.stride_tricks.sliding_window_view(each, (size, size)) for each in (image, there))
    cut = np.s_[size : size + rows : size, size : size + cols : size]
    patches = windows[cut][whole[cut].all(axis=(2, 3))].reshape(-1, size**2)
    components = PCA(energy).fit(patches).components_ if size > 1 else np.ones((1, 1))
    components *= np.sign(components.sum(axis=1, keepdims=True))
    middle = size - size // 2
    around = windows[middle : middle + rows, middle : middle + cols][:: steps[0], :: steps[1]]
    features = components @ around[inside[:: steps[0], :: steps[1]]].reshape(-1, size**2).T
    still, changed = two_means(features)
    axis = (changed - still) / np.linalg.norm(changed - still)
    np.testing.assert_allclose(fitted.kernel.ravel(), axis @ components, rtol=1e-3, atol=1e-4)
    assert fitted.boundary == pytest.approx(float(axis @ (still + changed) / 2) ** 2, rel=1e-3)


def test_where_no_patch_is_whole_the_filter_is_the_mean_of_unit_length():
    scene, _ = changed_scene()
    valid = scene.valid.copy()
    valid[1, 1::3, 2::3] = False
    fitted = fit(PcaKMeans(size=5), replace(scene, valid=valid))
    np.testing.assert_allclose(fitted.kernel, np.full((5, 5), 1 / 5), rtol=1e-9)
