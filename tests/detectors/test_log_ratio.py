from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from geochange.detectors.amplitude_ratio import within_neighbours
from geochange.detectors.detector import Fitted
from geochange.detectors.log_ratio import LogRatio, change_threshold
from geochange.detectors.mixture import otsu_statistic, statistic_histogram
from geochange.errors import BadOption
from geochange.scenes.grid import Tile
from tests.detectors.radar_scenes import ground, speckled_pair, speckled_series
from tests.memory_blocks import MemoryScene, change, fit

FILTERS = ["none", "boxcar", "refined-lee", "frost", "multitemporal"]


def found_in(scene: MemoryScene, **options: object) -> np.ndarray:
    return change(fit(LogRatio(**options), scene), scene) >= 0.5


def layer_of(fitted: Fitted, scene: MemoryScene) -> np.ndarray:
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    return fitted.score(pixels[None], valid[None], ("ratio",)).layers["ratio"][0, 0]


def f1(changed: np.ndarray, truth: np.ndarray) -> float:
    return 2 * np.sum(changed & truth) / (changed.sum() + truth.sum())


@pytest.mark.parametrize(
    ("looks", "share", "decibels"),
    [((4, 2), 0.03, -7), ((4, 1), 0.2, -7), ((1, 1), 0.1, 8), ((20, 20), 0.01, 5), ((8, 8), 0.4, -6)],
)
def test_changes_under_speckle_are_found_whatever_their_share(looks, share, decibels):
    scene, truth = speckled_pair(looks, share, decibels)
    assert f1(found_in(scene), truth) > 0.83


@given(seed=st.integers(0, 50), looks=st.sampled_from([1.0, 3.0, 30.0]), gain=st.floats(0.2, 5))
@settings(max_examples=10, deadline=None)
def test_speckle_and_gain_alone_are_hardly_any_change_and_the_record_says_so(seed, looks, gain):
    scene, _ = speckled_pair((looks, 2 * looks), 0.01, 0.0, seed)
    scene.pixels[1] *= np.float32(gain)
    fitted = fit(LogRatio(), scene)
    assert np.mean(change(fitted, scene) >= 0.5) < 0.01
    assert "note" in fitted.summary()


@pytest.mark.parametrize("gain", [0.01, 3.0])
def test_gain_changes_nothing(gain):
    scene, _ = speckled_pair()
    other = replace(scene, pixels=scene.pixels * np.array([1, gain], np.float32)[:, None, None, None])
    one, two = (change(fit(LogRatio(), each), each) for each in (scene, other))
    np.testing.assert_allclose(one, two, atol=0.02)


def test_amplitude_intensity_and_decibels_are_the_same_scene():
    scene, _ = speckled_pair()
    pixels = {"amplitude": scene.pixels, "intensity": scene.pixels**2, "db": 20 * np.log10(scene.pixels)}
    found = [
        change(fit(LogRatio(units=units), each), each)
        for units, each in ((name, replace(scene, pixels=stored)) for name, stored in pixels.items())
    ]
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
    np.testing.assert_allclose(found[2], found[0], atol=1e-3)


def test_directions_part_the_changes():
    before = ground()
    after, up, down = before.copy(), np.zeros(before.shape, bool), np.zeros(before.shape, bool)
    up[20:40, 20:50] = down[80:100, 80:110] = True
    after[up] *= 8
    after[down] /= 8
    scene = speckled_series([before, after], [4, 4])
    found = {way: found_in(scene, units="intensity", direction=way) for way in ("increase", "decrease", "both")}
    assert f1(found["increase"], up) > 0.95
    assert f1(found["decrease"], down) > 0.95
    np.testing.assert_array_equal(found["both"], found["increase"] | found["decrease"])


def test_a_stronger_change_has_a_higher_score_that_a_byte_keeps():
    before = np.ones((90, 100))
    after = before.copy()
    after[20:40, 20:40], after[60:80, 20:40], after[60:80, 60:80] = 0.16, 0.063, 0.025
    scene = speckled_series([before, after], [100, 100])
    score = np.rint(254 * change(fit(LogRatio(units="intensity"), scene), scene))
    levels = [
        np.median(score[rows, cols]) for rows, cols in [(30, slice(25, 35)), (70, slice(25, 35)), (70, slice(65, 75))]
    ]
    assert 127 < levels[0] < levels[1] < levels[2] <= 254
    assert levels[0] + 5 < levels[2]


def test_the_ratio_is_in_decibels_of_after_over_before():
    before = np.ones((60, 70))
    after = before.copy()
    after[20:40, 20:50] = 0.1
    scene = speckled_series([before, after], [50, 50])
    ratio = layer_of(fit(LogRatio(units="intensity"), scene), scene)
    assert ratio[25:35, 25:45].mean() == pytest.approx(-10, abs=1.2)  # less the share that is added to both dates
    assert abs(ratio[:15].mean()) < 0.3


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_finds_the_change(name):
    scene, truth = speckled_pair((4, 2), 0.05)
    assert f1(found_in(scene, filter=name, window=5), truth) > 0.75


@pytest.mark.parametrize("zeros", [0.002, 0.02])
def test_zeros_are_dark_pixels_and_no_change(zeros):
    scene, truth = speckled_pair()
    pixels = scene.pixels.copy()
    pixels[:, np.random.default_rng(0).random(pixels.shape[1:]) < zeros] = 0
    found = found_in(replace(scene, pixels=pixels))
    assert f1(found, truth) > f1(found_in(scene), truth) - 0.05


@given(
    st.sampled_from(["one", "scattered", "line", "blob"]),
    st.sampled_from([0.0, 65535.0, 1e30, -9999.0]),
    st.integers(0, 9),
)
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@example("scattered", 65535.0, 0)
def test_a_hundredth_of_the_pixels_may_have_any_value(kind, value, seed):
    scene, truth = speckled_pair((8, 8), 0.1, -7, seed)
    scattered = np.random.default_rng(seed).random(truth.shape) < 0.01
    bad = {"one": np.s_[30, 40], "scattered": scattered, "line": np.s_[60, :], "blob": np.s_[30:42, 50:62]}[kind]
    pixels, elsewhere = scene.pixels.copy(), np.ones(truth.shape, bool)
    pixels[1, 0][bad] = value
    elsewhere[24:64, 40:70] = elsewhere[58:64] = False
    clean, found = (found_in(replace(scene, pixels=each))[elsewhere] for each in (scene.pixels, pixels))
    assert f1(found, truth[elsewhere]) > f1(clean, truth[elsewhere]) - 0.1


def test_a_pixel_counts_as_no_more_and_no_less_than_its_neighbours():
    image = np.ones((5, 5), np.float32)
    image[2, 2] = 1e6
    image[1, 1] = -5
    np.testing.assert_array_equal(within_neighbours(image, np.ones((5, 5), bool)), np.ones((3, 3)))
    alone = np.zeros((5, 5), bool)
    alone[2, 2] = True
    assert within_neighbours(image, alone)[1, 1] == 1e6


def histogram(*classes: np.ndarray) -> np.ndarray:
    lengths = np.abs(np.concatenate(classes))
    return statistic_histogram(np.square(lengths).astype(np.float32), np.ones(lengths.shape, bool))


def test_a_few_far_out_leave_the_threshold_between_two_clear_classes():
    rng = np.random.default_rng(0)
    still, changed = rng.normal(0, 0.3, 90_000), rng.normal(4, 0.3, 9_000)
    expected = change_threshold(histogram(still, changed))
    assert 1 < expected < 3.5
    assert change_threshold(histogram(still, changed, np.full(1000, 40.0))) == pytest.approx(expected, rel=0.05)


def test_few_changes_above_one_class_keep_otsu_s_threshold():
    rng = np.random.default_rng(0)
    counts = histogram(rng.normal(0, 0.3, 99_000), rng.normal(4, 0.3, 1000))
    assert change_threshold(counts) == pytest.approx(otsu_statistic(counts) ** 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"smoothing": -1.0}, "smoothing is -1"), ({"looks": 0.0}, "looks is 0"), ({"window": 4}, "window is 4")],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(BadOption, match=message):
        LogRatio(**options)
