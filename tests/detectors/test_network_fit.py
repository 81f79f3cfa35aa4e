"""A checkpoint is brought to a scene's values and pixels, or the scene is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("torch")

from torch import Tensor

from geochange.detectors.network import NetworkDetector, NetworkFitted, Recipe
from geochange.detectors.networks import registry
from geochange.detectors.networks.checkpoint import Checkpoint, Normalisation
from geochange.errors import BadOption, NothingValid
from tests import tiny_network
from tests.memory_blocks import MemoryScene

NORMALISATION = Normalisation(mean=(100.0, 90.0, 80.0), spread=(50.0, 40.0, 20.0))


class LayeredNet(tiny_network.TinyNet):
    """Gives two layers: the bands of the second date, and the first band of the first."""

    def layers(self, dates: int) -> Mapping[str, int]:
        return {"after": 3, "first": 1}

    def with_layers(self, dates: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        return self(dates), {"after": dates[:, 1], "first": dates[:, 0, :1]}


@dataclass(frozen=True)
class Scene(MemoryScene):
    """A scene whose pixel size and data type are known."""

    gsd: float | None = 2.0
    largest: float = 255.0


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Saves a checkpoint of a tiny network; returns its path."""
    monkeypatch.setitem(registry.NETWORKS, "tiny", f"{__name__}:LayeredNet")

    def save(**about: object) -> str:
        path, about = tmp_path / f"{len(list(tmp_path.iterdir()))}.pt", {"normalisation": NORMALISATION, **about}
        Checkpoint(tiny_network.about(**about), tiny_network.make_network().state_dict()).save(path)
        return str(path)

    return save


def scene(values: np.ndarray | None = None, **settings: object) -> Scene:
    if values is None:
        values = np.random.default_rng(0).integers(60, 200, (2, 3, 20, 28)).astype(np.float32)
    return Scene(values, np.ones((2, *values.shape[2:]), bool), **settings)


def fitted(path: str, series: Scene, **options: object) -> NetworkFitted:
    return NetworkDetector(checkpoint=path, device="cpu", **options).fit(series, series.map_blocks)


@pytest.mark.parametrize(
    ("trained", "gsd"),
    [(None, 2.0), ((0.1, 0.2), None), (None, None), ((1.5, 2.5), 1.2), ((1.5, 2.5), 2.0), ((1.5, 2.5), 3.125)],
)
@pytest.mark.parametrize("match_gsd", [False, True])
def test_pixels_of_about_the_size_of_training_or_of_no_known_size_are_taken_as_they_are(
    checkpoint, trained, gsd, match_gsd
):
    found = fitted(checkpoint(gsd=trained), scene(gsd=gsd), match_gsd=match_gsd)
    assert (found.recipe.zoom, found.receptive_radius, found.stride) == (1, 2, 4)


@pytest.mark.parametrize(
    ("trained", "gsd", "zoom", "words"),
    [
        ((1.5, 2.5), 1.19, Fraction(4, 5), "pixels of 1.19 m, network was trained with 1.5 to 2.5 m;"),
        ((1.5, 2.5), 3.13, Fraction(5, 4), "pixels of 3.13 m, network was trained with 1.5 to 2.5 m;"),
        ((1.0, 1.0), 8.0, Fraction(8), "pixels of 8 m, network was trained with 1 m;"),
        ((1.0, 1.0), 0.125, Fraction(1, 8), "pixels of 0.125 m, network was trained with 1 m;"),
        ((1.0, 4.0), 6.0, Fraction(3, 2), "pixels of 6 m, network was trained with 1 to 4 m;"),
    ],
)
def test_pixels_of_another_size_are_resampled_where_that_is_asked_for(checkpoint, trained, gsd, zoom, words):
    path = checkpoint(gsd=trained)
    found = fitted(path, scene(gsd=gsd), match_gsd=True)
    assert found.recipe.zoom == zoom
    assert found.receptive_radius == int(np.ceil((2 + 2) / zoom))  # the two beyond: interpolation
    assert (found.stride * zoom) % 4 == 0
    with pytest.raises(BadOption, match=f"{words} add --match-gsd"):
        fitted(path, scene(gsd=gsd))


@pytest.mark.parametrize("gsd", [8.01, 0.1249])
def test_pixels_more_than_eight_times_as_large_or_small_are_refused(checkpoint, gsd):
    with pytest.raises(BadOption, match="more than 8 times apart"):
        fitted(checkpoint(gsd=(1.0, 1.0)), scene(gsd=gsd), match_gsd=True)


def with_one(value: float, largest: float = 65535.0) -> Scene:
    """A dark scene with one pixel of that value."""
    values = np.full((2, 3, 20, 28), 1000, np.float32)
    values[1, 2, 7, 9] = value
    return scene(values, largest=largest)


@pytest.mark.parametrize(
    ("value", "largest", "taken"),
    [
        (1049.9, 65535.0, False),  # 1000 and a twentieth of the range are 1050
        (1050.0, 65535.0, True),
        (2400.0, 65535.0, True),  # a fifth more than the largest
        (2400.2, 65535.0, False),
        (1001.0, 2000.0, True),  # the type alone holds no other values
        (1001.0, 2001.0, False),
    ],
)
def test_the_largest_value_of_a_scene_lies_in_the_range_of_training(checkpoint, value, largest, taken):
    path, series = checkpoint(value_range=(1000.0, 2000.0)), with_one(value, largest)
    if taken:
        assert fitted(path, series).recipe.gain == ((1 / 50, 1 / 40, 1 / 20),)
    else:
        with pytest.raises(BadOption, match=rf"values reach {value:g}, network was trained with 1000 to 2000; .*auto"):
            fitted(path, series)


def test_only_pixels_with_data_at_every_date_are_compared_with_the_range(checkpoint):
    path, series = checkpoint(value_range=(1000.0, 2000.0)), with_one(1500.0)
    series.pixels[0, :, 3, 4] = 60_000
    series.valid[1, 3, 4] = False
    assert fitted(path, series).bands == 3
    series.valid[0] = False
    with pytest.raises(NothingValid, match="no pixel holds data at every date"):
        fitted(path, series)


def test_a_scale_names_the_values_that_stand_for_the_range_of_training(checkpoint):
    found = fitted(checkpoint(value_range=(10.0, 260.0)), scene(largest=65535.0), scale="100:1100")
    gain, offset = (np.array(each) for each in (found.recipe.gain, found.recipe.offset))
    assert gain.shape == offset.shape == (1, 3)
    for stored, trained in ((100, 10), (1100, 260), (600, 135)):
        expected = (trained - np.array(NORMALISATION.mean)) / NORMALISATION.spread
        np.testing.assert_allclose(stored * gain[0] + offset[0], expected)


@pytest.mark.parametrize("names", [("after", "first"), ("first", "after"), ("first",), ("after",)])
def test_each_layer_has_its_own_bands(checkpoint, names):
    series = scene()
    found = fitted(checkpoint(), series, batch=1)
    assert found.layers == {"after": 3, "first": 1}
    scores = found.score(series.pixels[None], series.valid[None], names)
    values = (series.pixels - np.reshape(NORMALISATION.mean, (3, 1, 1))) / np.reshape(NORMALISATION.spread, (3, 1, 1))
    expected = {"after": values[1], "first": values[0, :1]}
    assert tuple(scores.layers) == names
    for name in names:
        np.testing.assert_allclose(scores.layers[name][0], expected[name], atol=1e-5)
    np.testing.assert_array_equal(scores.probability, found.score(series.pixels[None], series.valid[None]).probability)
    assert scores.probability.shape == (1, 1, 20, 28)


def test_networks_of_objects_see_all_that_a_box_depends_on_by_default():
    recipe = Recipe(checkpoint="", digest="", gain=((1.0,),), offset=((0.0,),))
    parts = {"recipe": recipe, "classes": ("change",), "stride": 16, "thresholds": {}}
    pixels = NetworkFitted(**parts, receptive_radius=333)
    assert (pixels.default_tile, pixels.default_overlap) == (1024, 64)
    for radius, overlap in ((333, 672), (320, 640), (15, 32)):
        objects = NetworkFitted(**parts, receptive_radius=radius, objects=True)
        assert (objects.default_tile, objects.default_overlap) == (1024, overlap)


def test_without_torch_the_values_that_a_network_takes_are_not_known_either(checkpoint, monkeypatch):
    import importlib.util

    path, find = checkpoint(), importlib.util.find_spec
    assert NetworkDetector(checkpoint=path).values == "stored"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    with pytest.raises(BadOption, match=r"network needs torch: pip install 'geochange\[torch\]'"):
        NetworkDetector(checkpoint=path).values  # noqa: B018


def test_what_cannot_be_run_is_refused_before_a_scene_is_scored(checkpoint):
    path = checkpoint()
    assert fitted(path, scene(), batch=1).tiles_at_once == 1
    with pytest.raises(BadOption, match="fp16 needs a GPU"):
        NetworkDetector(checkpoint=path, device="cpu", precision="fp16").machine()
    with pytest.raises(BadOption, match="augment needs the engine torch"):
        fitted(path, scene(), engine="openvino", augment=True)


@pytest.mark.parametrize("options", [{"precision": "fp8"}, {"engine": "magic"}])
def test_choices_are_checked_in_python_too(options):
    ((name, value),) = options.items()
    with pytest.raises(BadOption, match=f"{name}.*{value}"):
        NetworkDetector(**options)


@pytest.mark.parametrize("thresholds", [{}, {"default": 0.3, "precision=0.9": 0.8}])
def test_thresholds_are_those_of_the_checkpoint_or_one_half(checkpoint, thresholds):
    assert fitted(checkpoint(thresholds=thresholds), scene()).thresholds == (thresholds or {"default": 0.5})
