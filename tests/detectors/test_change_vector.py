import numpy as np

from geochange.detectors.change_vector import ChangeVector
from geochange.scenes.grid import Tile
from tests.memory_blocks import changed_scene, fit


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
