"""What holds for every detector of many dates without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geochange.arrays import Bools, Floats
from geochange.detectors.catalogue import SERIES, detector, load_fitted
from geochange.detectors.detector import Detector, Fitted, comparable_in
from geochange.detectors.series import tile_for
from geochange.errors import BadOption, NothingValid
from geochange.scenes.grid import Tile
from tests.detectors.many_dates import made_series
from tests.memory_blocks import MemoryScene, change, fit

MONTHLY = tuple(2019.04 + np.arange(16) / 6)
CHOICES = {
    "baseline": ("baseline", {}, None),
    "baseline with a season": ("baseline", {}, MONTHLY),
    "breaks": ("breaks", {}, None),
    "breaks with a season": ("breaks", {}, MONTHLY),
    "lines": ("breaks", {"sloping": "true"}, tuple(1985.5 + 5 * np.arange(8))),
}


def series_of(times: tuple[float, ...] | None) -> MemoryScene:
    """Series with gaps, and with a season where the dates are known."""
    dates = len(times or range(8))
    made = made_series(dates, ends=3 if dates > 8 else 1, shape=(40, 46)).scene
    rng = np.random.default_rng(5)
    height = rng.normal(0, 8, made.pixels.shape[1:])
    cycle = np.cos(2 * np.pi * np.asarray(times))[:, None, None, None] * height if times else 0
    valid = rng.random(made.valid.shape) > 0.1
    valid[1, 20:30, 30:] = valid[-1, :6] = valid[1:-1, :5, :5] = False
    return replace(made, pixels=(made.pixels + cycle).astype(np.float32), valid=valid, times=times)


@pytest.fixture(scope="module", params=CHOICES.values(), ids=CHOICES.keys())
def fitted_scene(request: pytest.FixtureRequest) -> tuple[Detector, MemoryScene, Fitted]:
    name, options, times = request.param
    chosen, scene = detector(name, options), series_of(times)
    return chosen, scene, fit(chosen, scene)


@pytest.fixture
def choice(fitted_scene: tuple[Detector, MemoryScene, Fitted]) -> Detector:
    return fitted_scene[0]


@pytest.fixture
def scene(fitted_scene: tuple[Detector, MemoryScene, Fitted]) -> MemoryScene:
    return fitted_scene[1]


@pytest.fixture
def fitted(fitted_scene: tuple[Detector, MemoryScene, Fitted]) -> Fitted:
    return fitted_scene[2]


def whole(scene: MemoryScene) -> tuple[Floats, Bools]:
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    return pixels[None], valid[None]


def layers_of(fitted: Fitted, scene: MemoryScene) -> dict[str, Floats]:
    return {name: layer[0] for name, layer in fitted.score(*whole(scene), tuple(fitted.layers)).layers.items()}


def test_scores_are_probabilities_and_layers_have_their_bands(fitted: Fitted, scene: MemoryScene) -> None:
    scores = fitted.score(*whole(scene), tuple(fitted.layers))
    assert scores.probability.shape == (1, 1, *scene.shape)
    assert scores.probability.dtype == np.float32
    assert 0 <= scores.probability.min() < 0.5 < scores.probability.max() <= 1
    assert {name: values.shape[1] for name, values in scores.layers.items()} == dict(fitted.layers)
    assert all(values.dtype == np.float32 for values in scores.layers.values())


def test_layers_hold_numbers_where_there_is_change_and_none_without_data(fitted: Fitted, scene: MemoryScene) -> None:
    known = comparable_in(fitted, scene.valid)
    changed = (change(fitted, scene) >= 0.5) & known
    assert 0.5 < known.mean() < 1
    for values in layers_of(fitted, scene).values():
        assert np.isfinite(values[:, changed]).all()
        assert np.isnan(values[:, ~known]).all()


def test_values_without_data_do_not_matter(choice: Detector, scene: MemoryScene, fitted: Fitted) -> None:
    spoilt = replace(scene, pixels=np.where(scene.valid[:, None], scene.pixels, np.float32(9999)))
    np.testing.assert_array_equal(change(fitted, scene), change(fit(choice, spoilt), spoilt))


def test_a_tile_with_its_context_scores_as_the_whole(fitted: Fitted, scene: MemoryScene) -> None:
    tile, radius = Tile(7, 5, 22, 31), fitted.receptive_radius
    pixels, valid = scene.read(tile.grow(radius))
    part = fitted.score(pixels[None], valid[None], tuple(fitted.layers))
    inner = slice(radius, radius + tile.height), slice(radius, radius + tile.width)
    np.testing.assert_allclose(part.probability[0, 0][inner], change(fitted, scene)[tile.slices()], atol=1e-6)
    for name, layer in layers_of(fitted, scene).items():
        np.testing.assert_allclose(part.layers[name][0][:, *inner], layer[:, *tile.slices()], rtol=1e-5, atol=1e-5)


def test_a_batch_scores_as_its_tiles_one_by_one(fitted: Fitted, scene: MemoryScene) -> None:
    tiles = [scene.read(Tile(row, 10, 20, 36)) for row in (0, 20)]
    pixels, valid = (np.stack(parts) for parts in zip(*tiles, strict=True))
    together = fitted.score(pixels, valid).probability
    alone = [fitted.score(p[None], v[None]).probability[0] for p, v in zip(pixels, valid, strict=True)]
    np.testing.assert_array_equal(together, np.stack(alone))


def test_statistics_do_not_depend_on_the_blocks(choice: Detector, scene: MemoryScene, fitted: Fitted) -> None:
    small = replace(scene, block=23)
    np.testing.assert_allclose(change(fitted, scene), change(fit(choice, small), small), atol=1e-4)


def test_a_saved_fit_scores_the_same_bytes(fitted: Fitted, scene: MemoryScene, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = load_fitted(tmp_path)
    np.testing.assert_array_equal(change(fitted, scene), change(loaded, scene))
    assert loaded.thresholds == fitted.thresholds
    assert loaded.summary() == fitted.summary()
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npy"}


@pytest.mark.parametrize(("values", "side"), [(12, 512), (64, 512), (300, 224), (1200, 112), (10**6, 64)])
def test_tiles_are_smaller_where_there_are_more_dates(values: int, side: int) -> None:
    assert tile_for(values) == side


def test_gain_and_offset_of_a_band_change_nothing(choice: Detector, scene: MemoryScene, fitted: Fitted) -> None:
    gain = np.array([0.25, 3.0, 40.0, 1.0], np.float32)[:, None, None]
    other = replace(scene, pixels=scene.pixels * gain + np.float32(500))
    np.testing.assert_allclose(change(fitted, scene), change(fit(choice, other), other), atol=5e-3)


def test_what_a_whole_date_is_lighter_by_changes_nothing(choice: Detector, scene: MemoryScene, fitted: Fitted) -> None:
    lighter = scene.pixels.copy()
    lighter[3] += np.array([16, 8, 0, 32], np.float32)[:, None, None]
    other = replace(scene, pixels=lighter)
    assert ((change(fitted, scene) >= 0.5) != (change(fit(choice, other), other) >= 0.5)).mean() < 0.01


def test_a_date_that_is_masked_everywhere_is_as_good_as_left_out(choice: Detector, scene: MemoryScene) -> None:
    rest = np.arange(scene.dates) != 2
    masked = replace(scene, valid=scene.valid & rest[:, None, None])
    times = None if scene.times is None else tuple(np.asarray(scene.times)[rest])
    without = replace(scene, pixels=scene.pixels[rest], valid=scene.valid[rest], times=times)
    one, two = (change(fit(choice, each), each) for each in (masked, without))
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_a_frame_of_one_value_is_unchanged_and_moves_nothing(choice: Detector, scene: MemoryScene) -> None:
    pixels, valid = scene.pixels.copy(), scene.valid.copy()
    pixels[:, :, :, :16], valid[:, :, :16] = 0, True
    framed = replace(scene, pixels=pixels, valid=valid)
    cut = replace(scene, pixels=pixels[..., 16:], valid=valid[..., 16:])
    with_frame, alone = (change(fit(choice, each), each) for each in (framed, cut))
    assert (with_frame[:, :15] < 0.5).all()
    hit, hit_alone = with_frame[:, 18:] >= 0.5, alone[:, 2:] >= 0.5
    assert (hit != hit_alone).mean() < 0.02


def test_extreme_values_give_finite_scores(choice: Detector, scene: MemoryScene) -> None:
    pixels = scene.pixels.copy()
    pixels[2, :, 40:44] = 1e38
    pixels[-1, :, 50:54] = -1e38
    assert np.isfinite(change(fit(choice, scene), replace(scene, pixels=pixels))).all()


@pytest.mark.parametrize("spoil", ["duplicate", "constant", "sum"])
@pytest.mark.parametrize("name", SERIES)
def test_singular_bands_leave_what_is_found(name: str, spoil: str) -> None:
    made = made_series(sizes=(6, 8), ends=1)
    pixels = made.scene.pixels.copy()
    pixels[:, 3] = {"duplicate": pixels[:, 1], "sum": pixels[:, 1] + pixels[:, 2]}.get(spoil, np.float32(50))
    scene = replace(made.scene, pixels=pixels)
    scene.pixels[-1, :3] += 60 * made.changed
    found = change(fit(detector(name), scene), scene)
    assert np.isfinite(found).all()
    assert found[made.changed].mean() > found[~made.changed].mean() + 0.4


@pytest.mark.parametrize("shape", [(1, 40), (2, 2)])
@pytest.mark.parametrize("name", SERIES)
def test_slivers_get_an_answer(name: str, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).normal(100, 9, (6, 2, *shape)).astype(np.float32)
    scene = MemoryScene(pixels, np.ones((6, *shape), bool))
    assert np.isfinite(change(fit(detector(name), scene), scene)).all()


def test_a_single_pixel_has_nothing_to_differ_from() -> None:
    pixels = np.random.default_rng(0).normal(100, 9, (6, 2, 1, 1)).astype(np.float32)
    with pytest.raises(NothingValid, match="what all pixels share"):
        fit(detector("breaks"), MemoryScene(pixels, np.ones((6, 1, 1), bool)))


@pytest.mark.parametrize("name", SERIES)
def test_changes_of_images_without_noise_are_found(name: str) -> None:
    ground = np.random.default_rng(0).integers(0, 200, (3, 40, 40)).astype(np.float32)
    pixels = np.repeat(ground[None], 6, axis=0)
    pixels[-1, :, 10:18, 20:30] += 40
    scene = MemoryScene(pixels, np.ones((6, 40, 40), bool))
    found = change(fit(detector(name), scene), scene)
    assert (found[10:18, 20:30] >= 0.5).all()
    assert (found >= 0.5).sum() == 80


def test_no_valid_pixel_is_an_error(choice: Detector, scene: MemoryScene) -> None:
    with pytest.raises(NothingValid, match="masks"):
        fit(choice, replace(scene, valid=np.zeros_like(scene.valid)))


@pytest.mark.parametrize("name", SERIES)
def test_a_pair_is_refused_with_advice(name: str) -> None:
    scene = made_series(2).scene
    with pytest.raises(BadOption, match="2 "):
        fit(detector(name), scene)


@pytest.mark.parametrize("name", SERIES)
def test_options_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(BadOption, match=r"context is 11.0; it must lie in 0..10"):
        detector(name, {"context": "11"})
