import numpy as np
import pytest

from geochange.detectors.change_vector import ChangeVector
from geochange.detectors.contrast import STATISTIC_ROUNDING
from geochange.detectors.mixture import count_statistic, fit_posterior
from geochange.scenes.grid import Tile
from tests.memory_blocks import MemoryScene, changed_scene, fit


def test_layers_are_the_length_and_direction_of_the_standardised_vector() -> None:
    scene, _ = changed_scene()
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    layers = fit(ChangeVector(), scene).score(pixels[None], valid[None], ("magnitude", "direction")).layers
    wide = pixels.astype(np.float64)
    standard = (wide - wide.mean(axis=(2, 3), keepdims=True)) / wide.std(axis=(2, 3), keepdims=True)
    vector = standard[1] - standard[0]
    length = np.linalg.norm(vector, axis=0)
    np.testing.assert_allclose(layers["magnitude"][0, 0], length, atol=1e-4)
    np.testing.assert_allclose(layers["direction"][0] * length, vector, atol=1e-3)


def test_swapping_the_dates_turns_the_direction_round() -> None:
    scene, _ = changed_scene()
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    swapped = type(scene)(pixels[::-1].copy(), valid)
    forward = fit(ChangeVector(), scene).score(pixels[None], valid[None], ("direction",)).layers["direction"]
    backward = fit(ChangeVector(), swapped).score(swapped.pixels[None], valid[None], ("direction",)).layers["direction"]
    np.testing.assert_allclose(forward, -backward, atol=1e-3)


@pytest.mark.parametrize("context", [0.0, 1.5])
@pytest.mark.parametrize("frame", [0, 17])
def test_the_posterior_is_that_of_all_pixels_with_data_but_those_of_a_frame(frame: int, context: float) -> None:
    scene, _ = changed_scene(bands=3)
    pixels, valid = scene.pixels.copy(), scene.valid.copy()
    pixels[1, :, 40:50, 60:77] += 500  # far beyond the values of which the moments are taken
    valid[0, 70:80, :9] = valid[1, :5, 90:] = False
    pixels[:, :, :, :frame] = 0
    fitted = fit(ChangeVector(context=context), MemoryScene(pixels, valid, block=128))
    tile = MemoryScene(pixels, valid).read(Tile(0, 0, *scene.shape))
    layers = fitted.score(*(each[None] for each in tile), ("magnitude",)).layers
    there = valid.all(axis=0)
    there[:, :frame] = False
    squared = np.nan_to_num(layers["magnitude"][0, 0]) ** 2
    counts = count_statistic(squared, there)
    expected = fit_posterior(counts.histogram, context, STATISTIC_ROUNDING, counts.ordered)
    assert fitted.posterior.mixture.share > 0.015
    assert fitted.posterior.mixture.share == pytest.approx(expected.mixture.share, rel=0.01)
    assert fitted.posterior.mixture.means == pytest.approx(expected.mixture.means, rel=0.01)
    assert fitted.thresholds == pytest.approx(expected.thresholds, abs=0.01)
    assert fitted.posterior.context == context
