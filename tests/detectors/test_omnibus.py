from dataclasses import replace

import numpy as np
import pytest

from geochange.detectors.omnibus import Omnibus
from geochange.errors import BadOption
from geochange.scenes.grid import Tile
from tests.detectors.radar_scenes import ground, speckled_series
from tests.memory_blocks import MemoryScene, change, fit

EVEN = np.ones((300, 310))


def layers_of(detector: Omnibus, scene: MemoryScene, *names: str) -> dict[str, np.ndarray]:
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    scores = fit(detector, scene).score(pixels[None], valid[None], names)
    return {name: values[0] for name, values in scores.layers.items()}


@pytest.mark.parametrize("significance", [0.01, 0.05])
@pytest.mark.parametrize(("looks", "bands"), [([1.0, 4.0], 1), ([4.4, 4.4, 4.4], 2)])
def test_false_alarms_are_as_many_as_asked_for(significance, looks, bands):
    """With the looks that the detector itself estimates."""
    scene = speckled_series([EVEN] * len(looks), looks, seed=3, bands=bands)
    found = change(fit(Omnibus(units="intensity", significance=significance), scene), scene) >= 0.5
    assert found.mean() == pytest.approx(significance, rel=0.1)


def test_false_alarms_are_as_many_as_asked_for_after_a_mean():
    """Neighbours then share speckle, so that there are a ninth as many independent pixels."""
    scene = speckled_series([np.ones((500, 520))] * 2, [2, 2], seed=1, bands=2)
    detector = Omnibus(units="intensity", significance=0.05, filter="boxcar", window=3)
    assert np.mean(change(fit(detector, scene), scene) >= 0.5) == pytest.approx(0.05, rel=0.1)


def test_texture_makes_no_more_false_alarms():
    scene = speckled_series([ground((200, 210))] * 3, [4.4] * 3, bands=2)
    assert np.mean(change(fit(Omnibus(units="intensity"), scene), scene) >= 0.5) < 0.011


def changing_series(decibels: float = 12.0) -> tuple[MemoryScene, np.ndarray, np.ndarray]:
    """Five dates of land, of which a part darkens at the third and another brightens at the fifth."""
    dates = [ground((120, 130))] * 5
    early, late = np.zeros((120, 130), bool), np.zeros((120, 130), bool)
    early[20:50, 20:60] = late[70:100, 60:110] = True
    factor = 10 ** (decibels / 10)
    dates = [date * np.where(early & (k >= 2), 1 / factor, 1) * np.where(late & (k >= 4), factor, 1)
             for k, date in enumerate(dates)]  # fmt: skip
    return speckled_series(dates, [8.0] * 5, bands=2), early, late


def test_the_interval_of_the_first_change_and_its_ratio_are_found():
    scene, early, late = changing_series()
    layers = layers_of(Omnibus(units="intensity"), scene, "p_value", "interval", "ratio")
    assert layers["interval"].shape[0] == 4
    assert layers["interval"][1][early].mean() > 0.9
    assert layers["interval"][3][late].mean() > 0.9
    np.testing.assert_array_equal(layers["interval"].sum(axis=0), 1)
    assert np.median(layers["ratio"][0][early]) == pytest.approx(-12, abs=1)
    assert np.median(layers["ratio"][0][late]) == pytest.approx(12, abs=1)
    assert np.mean(layers["p_value"][0][early | late] < 0.01) > 0.98


def test_the_score_is_even_where_the_p_value_is_the_significance_and_falls_with_it():
    scene, _, _ = changing_series(2.0)
    fitted = fit(Omnibus(units="intensity", significance=0.03), scene)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    scores = fitted.score(pixels[None], valid[None], ("p_value",))
    p_value, probability = scores.layers["p_value"].ravel(), scores.probability.ravel()
    np.testing.assert_array_equal(p_value < 0.03, probability > 0.5)
    order = np.argsort(p_value)
    assert (np.diff(probability[order]) <= 1e-6).all()


def test_the_order_of_the_dates_does_not_matter_to_the_score():
    scene, _, _ = changing_series()
    turned = replace(scene, pixels=scene.pixels[::-1].copy())
    one, two = (change(fit(Omnibus(units="intensity"), each), each) for each in (scene, turned))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_given_looks_are_taken():
    scene, _, _ = changing_series()
    assert fit(Omnibus(units="intensity", looks=3.5), scene).summary()["looks_tested"] == [[3.5] * 2] * 5


def test_a_date_that_is_constant_is_named():
    scene, _, _ = changing_series()
    scene.pixels[3] = 1
    with pytest.raises(ValueError, match="date 4: there is nothing to compare"):
        fit(Omnibus(), scene)


def test_one_date_is_refused():
    scene, _, _ = changing_series()
    with pytest.raises(BadOption, match="2 dates or more, but 1"):
        fit(Omnibus(), MemoryScene(scene.pixels[:1], scene.valid[:1]))


@pytest.mark.parametrize("significance", [0.0, 1.0])
def test_a_significance_that_is_none_is_refused(significance):
    with pytest.raises(BadOption, match="significance is"):
        Omnibus(significance=significance)
