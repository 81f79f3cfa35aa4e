"""What holds for every detector without training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geochange.detectors.catalogue import RADAR, TRAINING_FREE, detector, detector_class, load_fitted
from geochange.detectors.detector import Detector
from geochange.errors import BadOption, GeochangeError, NothingValid
from geochange.scenes.grid import Tile
from tests.memory_blocks import MemoryScene, change, changed_scene, fit, pair

CHOICES = {
    **{name: (name, {}) for name in (*TRAINING_FREE, *RADAR)},
    "normalised index": ("difference", {"index": "2,1"}),
    "mad": ("ir-mad", {"iterations": "1"}),
    "tolerant": ("change-vector", {"shift_tolerance": "2"}),
    "filtered ratio": ("log-ratio", {"filter": "refined-lee", "window": "5"}),
    "filtered omnibus": ("omnibus", {"filter": "frost", "window": "3", "units": "intensity"}),
    "tolerant neighbourhoods": ("pca-kmeans", {"shift_tolerance": "1"}),
}


@pytest.fixture(params=CHOICES.values(), ids=CHOICES.keys())
def choice(request: pytest.FixtureRequest) -> Detector:
    name, options = request.param
    return detector(name, options)


PAIRS = {name: choice for name, choice in CHOICES.items() if detector_class(choice[0]).dates == 2}


@pytest.fixture(params=PAIRS.values(), ids=PAIRS.keys())
def pair_choice(request: pytest.FixtureRequest) -> Detector:
    """A detector of two dates."""
    name, options = request.param
    return detector(name, options)


def f1(changed: np.ndarray, truth: np.ndarray) -> float:
    return 2 * np.sum(changed & truth) / (changed.sum() + truth.sum())


def test_probability_is_one_plane_of_float32_in_0_to_1(choice: Detector) -> None:
    scene, _ = changed_scene()
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    fitted = fit(choice, scene)
    scores = fitted.score(pixels[None], valid[None], tuple(fitted.layers))
    assert scores.probability.shape == (1, 1, *scene.shape)
    assert scores.probability.dtype == np.float32
    assert 0 <= scores.probability.min() <= scores.probability.max() <= 1
    assert {name: values.shape[1] for name, values in scores.layers.items()} == dict(fitted.layers)
    assert all(values.dtype == np.float32 for values in scores.layers.values())


def test_swapping_the_dates_changes_nothing(choice: Detector) -> None:
    scene, _ = changed_scene()
    swapped = replace(scene, pixels=scene.pixels[::-1].copy())
    forward, backward = fit(choice, scene), fit(choice, swapped)
    np.testing.assert_allclose(change(forward, scene), change(backward, swapped), atol=1e-3)
    assert forward.thresholds == pytest.approx(backward.thresholds, abs=1e-3)


@pytest.mark.parametrize("name", ["change-vector", "ir-mad", "slow-features", "pca-kmeans", "difference"])
def test_gain_and_offset_of_each_band_change_nothing(name: str) -> None:
    scene, _ = changed_scene()
    gain = np.array([0.25, 3.0, 40.0, 1.0], np.float32)[:, None, None]
    other = replace(scene, pixels=np.stack([scene.pixels[0], scene.pixels[1] * gain + 1000]))
    one, two = (change(fit(detector(name), each), each) for each in (scene, other))
    np.testing.assert_allclose(one, two, atol=5e-3)


def test_identical_dates_show_no_change(choice: Detector) -> None:
    before = changed_scene()[0].pixels[0]
    scene = pair(before, before)
    fitted = fit(choice, scene)
    probability = change(fitted, scene)
    assert not probability.any()
    assert all(threshold > 0 for threshold in fitted.thresholds.values())


@pytest.mark.parametrize(
    ("name", "share"),
    [
        *((name, share) for name in ("change-vector", "ir-mad", "slow-features") for share in (0.01, 0.1)),
        ("ir-mad", 0.4),  # what moves a whole date's mean needs the reweighting
        ("slow-features", 0.4),
    ],
)
def test_changes_are_found_at_the_default_threshold(name: str, share: float) -> None:
    scene, truth = changed_scene(share=share, shape=(200, 220))
    fitted = fit(detector(name), scene)
    assert f1(change(fitted, scene) >= fitted.thresholds["default"], truth) > 0.85


def test_statistics_do_not_depend_on_the_blocks(choice: Detector) -> None:
    scene, _ = changed_scene()
    small = replace(scene, block=37)
    np.testing.assert_allclose(change(fit(choice, scene), scene), change(fit(choice, small), small), atol=1e-4)


def test_a_tile_with_its_context_scores_as_the_whole(choice: Detector) -> None:
    scene, _ = changed_scene()
    fitted = fit(choice, scene)
    whole = change(fitted, scene)
    tile, radius = Tile(20, 30, 33, 41), fitted.receptive_radius
    pixels, valid = scene.read(tile.grow(radius))
    part = fitted.score(pixels[None], valid[None]).probability[0, 0]
    inner = part[radius : radius + tile.height, radius : radius + tile.width]
    np.testing.assert_allclose(inner, whole[tile.slices()], atol=1e-6)


def test_a_batch_scores_as_its_tiles_one_by_one(choice: Detector) -> None:
    scene, _ = changed_scene()
    fitted = fit(choice, scene)
    tiles = [scene.read(Tile(row, 10, 32, 48)) for row in (0, 40)]
    pixels, valid = (np.stack(parts) for parts in zip(*tiles, strict=True))
    together = fitted.score(pixels, valid).probability
    alone = [fitted.score(p[None], v[None]).probability[0] for p, v in zip(pixels, valid, strict=True)]
    np.testing.assert_array_equal(together, np.stack(alone))


@pytest.mark.parametrize("frame", [0, 12])
def test_a_saved_fit_scores_the_same_bytes(choice: Detector, frame: int, tmp_path: Path) -> None:
    scene, _ = changed_scene()
    scene.pixels[:, :, :frame] = 0
    fitted = fit(choice, scene)
    fitted.save(tmp_path)
    loaded = load_fitted(tmp_path)
    np.testing.assert_array_equal(change(fitted, scene), change(loaded, scene))
    assert loaded.thresholds == fitted.thresholds
    assert loaded.summary() == fitted.summary()
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npy"}


def test_pixels_without_data_neither_matter_nor_become_numbers_in_layers(choice: Detector) -> None:
    scene, _ = changed_scene()
    valid = scene.valid.copy()
    valid[0, :64, :64] = valid[1, 70:, 80:] = False  # all of the first block, and a corner
    spoilt = scene.pixels.copy()
    spoilt[:, :, :64, :64] = 9999
    clean, dirty = (replace(scene, pixels=pixels, valid=valid) for pixels in (scene.pixels, spoilt))
    fitted, other = fit(choice, clean), fit(choice, dirty)
    there = valid.all(axis=0)
    np.testing.assert_array_equal(change(fitted, clean)[there], change(other, dirty)[there])
    pixels, tile_valid = clean.read(Tile(0, 0, *clean.shape))
    scores = fitted.score(pixels[None], tile_valid[None], tuple(fitted.layers))
    assert np.isfinite(scores.probability).all()
    for values in scores.layers.values():
        np.testing.assert_array_equal(np.isfinite(values[0]).all(axis=0), there)


def strongly_changed_scene(shape: tuple[int, int] = (96, 110)) -> tuple[MemoryScene, np.ndarray]:
    """Dates that differ by gain, offset and noise, but for a rectangle of values that the rest has not; and where."""
    scene, _ = changed_scene(share=0.0, shape=shape)
    truth = np.zeros(shape, bool)
    truth[30:40, 50:68] = True  # less of it than the quantiles leave out
    pixels = scene.pixels.copy()
    pixels[1, :, truth] += 400
    return replace(scene, pixels=pixels), truth


@pytest.mark.parametrize("name", TRAINING_FREE)
def test_change_that_is_left_out_of_the_statistics_of_the_bands_is_found_and_counted(name: str) -> None:
    scene, truth = strongly_changed_scene()
    fitted = fit(detector(name), scene)
    found = change(fitted, scene)
    assert fitted.posterior.mixture.share >= 0.99 * truth.mean()
    assert fitted.posterior.mixture.means[1] > 4**0.5  # of four deviations; fourth root of the square
    assert f1(found >= fitted.thresholds["default"], truth) > 0.8


@pytest.mark.parametrize("name", TRAINING_FREE)
@pytest.mark.parametrize("value", [0, 300])
def test_a_frame_is_as_unchanged_as_can_be_and_recorded(name: str, value: int) -> None:
    scene, _ = changed_scene()
    assert "frame" not in fit(detector(name), scene).summary()
    pixels = scene.pixels.clip(1, 299)
    pixels[:, :, :20] = value
    framed = replace(scene, pixels=pixels)
    fitted = fit(detector(name), framed)
    assert fitted.summary()["frame"] == value
    alone = fit(detector(name), MemoryScene(pixels[:, :, 20:], scene.valid[:, 20:]))
    np.testing.assert_allclose(fitted.contrast.mean, alone.contrast.mean, rtol=1e-3)
    found = change(fitted, framed)
    np.testing.assert_array_equal(found[:16], found.min())


def test_no_valid_pixel_is_an_error(choice: Detector) -> None:
    scene, _ = changed_scene()
    with pytest.raises(NothingValid, match=r"no pixel holds data at every date"):
        fit(choice, replace(scene, valid=np.zeros_like(scene.valid)))


def test_a_constant_date_is_an_error(choice: Detector) -> None:
    scene, _ = changed_scene()
    constant = np.stack([scene.pixels[0], np.full_like(scene.pixels[1], 7)])
    with pytest.raises(NothingValid, match="second date"):
        fit(choice, replace(scene, pixels=constant))


def test_more_than_two_dates_are_refused(pair_choice: Detector) -> None:
    scene, _ = changed_scene()
    series = MemoryScene(np.repeat(scene.pixels, 2, axis=0), np.repeat(scene.valid, 2, axis=0))
    with pytest.raises(BadOption, match="2 dates"):
        fit(pair_choice, series)


@pytest.mark.parametrize("shape", [(3, 500), (1, 40), (1, 1), (2, 2)])
def test_slivers_get_an_answer_or_one_clear_error(choice: Detector, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    scene = pair(rng.normal(100, 9, (2, *shape)), rng.normal(100, 9, (2, *shape)))
    try:
        probability = change(fit(choice, scene), scene)
    except GeochangeError:
        assert shape == (1, 1)  # a single pixel is constant
    else:
        assert probability.shape == shape
        assert np.isfinite(probability).all()


@pytest.mark.parametrize("spoil", ["duplicate", "constant", "constant at one date", "sum"])
def test_singular_bands_give_finite_scores_that_find_the_change(pair_choice: Detector, spoil: str) -> None:
    scene, truth = changed_scene()
    pixels = scene.pixels.copy()
    dates = slice(0, 1) if spoil == "constant at one date" else slice(None)
    spoilt = {"duplicate": pixels[dates, 1], "sum": pixels[dates, 1] + pixels[dates, 2]}.get(spoil, 50)
    pixels[dates, 3] = spoilt
    scene = replace(scene, pixels=pixels)
    probability = change(fit(pair_choice, scene), scene)
    assert np.isfinite(probability).all()
    assert probability[truth].mean() > probability[~truth].mean() + 0.1


def test_twelve_bands_of_16_bits_agree_with_the_same_bands_in_small_numbers() -> None:
    scene, _ = changed_scene(bands=12)
    large = replace(scene, pixels=np.rint(scene.pixels * 200).astype(np.float32))
    small = replace(scene, pixels=large.pixels / 256)
    for name in ("change-vector", "ir-mad", "slow-features"):
        one, two = (change(fit(detector(name), each), each) for each in (large, small))
        np.testing.assert_allclose(one, two, atol=2e-3)
