from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geochange.detectors.image_difference import ImageDifference, normalised_index
from geochange.errors import BadOption, BandMismatch, NothingValid
from geochange.scenes.grid import Tile
from tests.memory_blocks import MemoryScene, changed_scene, fit

REFLECTANCE = hnp.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32))


@dataclass(frozen=True)
class NumberedScene(MemoryScene):
    """A scene that holds bands 4, 3 and 2 of its files."""

    @property
    def bands(self) -> tuple[int, ...]:
        return 4, 3, 2


@given(REFLECTANCE, REFLECTANCE)
def test_an_index_of_reflectances_lies_in_minus_one_to_one(first: np.ndarray, second: np.ndarray) -> None:
    index = normalised_index(first, second)
    assert np.all(np.abs(index) <= 1)
    np.testing.assert_allclose(index, -normalised_index(second, first))


def test_the_layer_is_the_standardised_difference_of_the_band_named() -> None:
    made, _ = changed_scene(bands=3)
    scene = NumberedScene(made.pixels, made.valid)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    layers = fit(ImageDifference(band=3), scene).score(pixels[None], valid[None], ("difference",)).layers
    band = pixels[:, 1].astype(np.float64)
    standard = (band - band.mean(axis=(1, 2), keepdims=True)) / band.std(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(layers["difference"][0, 0], standard[1] - standard[0], atol=1e-4)


def test_an_index_takes_no_notice_of_brightness() -> None:
    made, _ = changed_scene(bands=3)
    shade = np.linspace(0.5, 1.5, made.shape[1], dtype=np.float32)
    scene = NumberedScene(np.stack([made.pixels[0], made.pixels[0] * shade]), made.valid)
    fitted = fit(ImageDifference(index=(4, 3)), scene)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    layer = fitted.score(pixels[None], valid[None], ("difference",)).layers["difference"]
    assert np.abs(layer).max() < 1e-3


@pytest.mark.parametrize("options", [{"band": 1}, {"index": (4, 5)}])
def test_bands_that_the_scene_lacks_are_refused(options: dict[str, int]) -> None:
    made, _ = changed_scene(bands=3)
    with pytest.raises(BandMismatch, match="4, 3, 2"):
        fit(ImageDifference(**options), NumberedScene(made.pixels, made.valid))


def test_an_index_of_one_band_is_refused() -> None:
    with pytest.raises(BadOption, match=r"index 3,3 needs two different bands"):
        ImageDifference(index=(3, 3))


def test_a_constant_band_is_named() -> None:
    made, _ = changed_scene(bands=3)
    made.pixels[:, 1] = 5
    with pytest.raises(NothingValid, match=r"\(2\) is constant at both dates"):
        fit(ImageDifference(band=2), made)
