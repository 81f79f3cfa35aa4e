import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.detectors.looks import speckled
from geochange.detectors.speckle import FILTERS, SpeckleFilter, half_windows, refined_lee, require_window
from geochange.errors import BadOption

LOOKS = np.full((2, 1), 4.0)
FLAT = np.ones((2, 1, 60, 64))


@pytest.fixture(params=FILTERS)
def speckle(request: pytest.FixtureRequest) -> SpeckleFilter:
    return SpeckleFilter(request.param, 5, LOOKS)


def seen(dates: np.ndarray) -> np.ndarray:
    return np.ones((len(dates), *dates.shape[2:]), bool)


def speckled_dates(seed: int = 0, backscatter: np.ndarray = FLAT) -> np.ndarray:
    return speckled(backscatter, 4, np.random.default_rng(seed))


def test_even_ground_without_speckle_stays(speckle):
    dates = np.full((2, 1, 20, 22), 7.5, np.float32)
    np.testing.assert_allclose(speckle(dates, seen(dates)), 7.5, rtol=1e-5)


def test_speckle_becomes_less_and_the_mean_stays(speckle):
    dates = speckled_dates()
    filtered = speckle(dates, seen(dates)).astype(np.float64)
    assert filtered.mean() == pytest.approx(1, abs=0.03)
    assert filtered.var() < dates.var() / (1.4 if speckle.name == "multitemporal" else 3)


@given(st.floats(1e-3, 1e3), st.integers(0, 20))
@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("name", FILTERS)
def test_a_gain_passes_through(name, gain, seed):
    speckle, dates = SpeckleFilter(name, 5, LOOKS), speckled_dates(seed)[..., :20, :20]
    factor = np.float32(gain)
    np.testing.assert_allclose(speckle(dates * factor, seen(dates)), speckle(dates, seen(dates)) * factor, rtol=2e-3)


def test_pixels_without_data_move_nothing(speckle):
    dates, valid = speckled_dates(), seen(FLAT)
    valid[:, 20:30, 10:40] = False
    spoilt = np.where(valid[:, None], dates, np.float32(1e9))
    inner = valid[:, 2:-2, 2:-2]
    one, two = (speckle(each, valid)[:, 0][inner] for each in (dates, spoilt))
    np.testing.assert_array_equal(one, two)
    assert two.max() < 10


def test_a_pixel_depends_on_its_window_alone(speckle):
    dates, other = speckled_dates(), speckled_dates()
    other[..., :30] *= 100
    one, two = (speckle(each, seen(each)) for each in (dates, other))
    np.testing.assert_array_equal(one[..., 30:], two[..., 30:])
    assert (one[..., 28] != two[..., 28]).any()


def test_the_border_is_that_of_the_mirrored_image(speckle):
    dates = speckled_dates()[..., :25, :25]
    around = np.pad(dates, [(0, 0), (0, 0), (4, 4), (4, 4)], mode="reflect")
    inner = FILTERS[speckle.name](dates, seen(dates), 5, LOOKS)
    np.testing.assert_allclose(speckle(around, seen(around))[..., 2:-2, 2:-2], inner, rtol=1e-5)


def test_the_multitemporal_filter_reaches_the_looks_of_its_source():
    """Of m dates with n pixels in the window, Quegan and Yu (2001) give looks m n / (m + n - 1) times as many."""
    dates = speckled(np.ones((5, 1, 220, 220)), 3, np.random.default_rng(0))
    filtered = SpeckleFilter("multitemporal", 5, np.full((5, 1), 3.0))(dates, seen(dates)).astype(np.float64)
    looks = filtered.mean() ** 2 / filtered.var()
    assert looks == pytest.approx(3 * 5 * 25 / (5 + 25 - 1), rel=0.05)


@pytest.mark.parametrize("name", ["refined-lee", "frost"])
def test_an_edge_stays_sharper_than_under_the_mean(name):
    backscatter = FLAT.copy()
    backscatter[..., 32:] = 30
    dates = speckled_dates(0, backscatter)
    kept, mean = (SpeckleFilter(each, 7, LOOKS)(dates, seen(dates)) for each in (name, "boxcar"))
    beside = (..., slice(26, 29))  # the last columns of the dark side, without the margin
    assert kept[beside].mean() < mean[beside].mean() * (0.35 if name == "refined-lee" else 0.9)


def lee_by_hand(image: np.ndarray, row: int, col: int, window: int, looks: float) -> float:
    """One pixel of the filter, by the steps of Lee (1981) and nothing shared with the program."""
    reach, step = window // 2, (window - 3) // 2
    mean = {(i, j): image[row + i * step + np.array([-1, 0, 1])][:, col + j * step + np.array([-1, 0, 1])].mean()
            for i in (-1, 0, 1) for j in (-1, 0, 1)}  # fmt: skip
    edges = [(0, 1), (1, 1), (1, 0), (1, -1)]
    way = max(edges, key=lambda e: abs(mean[e] - mean[-e[0], -e[1]]))
    far, near = mean[way], mean[-way[0], -way[1]]
    sign = 1 if abs(far - mean[0, 0]) < abs(near - mean[0, 0]) else -1
    pixels = np.array([image[row + i, col + j] for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)
                       if sign * (i * way[0] + j * way[1]) >= 0])  # fmt: skip
    ground = max(pixels.var() - pixels.mean() ** 2 / looks, 0) / (1 + 1 / looks)
    return pixels.mean() + ground / pixels.var() * (image[row, col] - pixels.mean())


@pytest.mark.parametrize("window", [5, 7, 9])
def test_refined_lee_is_lee_by_hand(window):
    backscatter = np.where(np.add.outer(np.arange(30), 2 * np.arange(34)) > 50, 8.0, 1.0)
    image = speckled(backscatter, 4, np.random.default_rng(3))
    found = refined_lee(image[None, None], np.ones((1, 30, 34), bool), window, np.full((1, 1), 4.0))[0, 0]
    for row, col in np.random.default_rng(0).integers(6, 24, (40, 2)):
        assert found[row, col] == pytest.approx(lee_by_hand(image.astype(np.float64), row, col, window, 4.0), rel=1e-3)


def test_half_windows_hold_half_and_the_line_through_the_middle():
    masks = half_windows(7)
    assert len(masks) == 8
    assert {int(mask.sum()) for mask in masks} == {28}
    assert all(mask[3, 3] == 1 for mask in masks)


@pytest.mark.parametrize(("name", "window"), [("boxcar", 4), ("frost", 1), ("frost", 17), ("refined-lee", 3)])
def test_a_window_that_no_filter_takes_is_refused(name, window):
    with pytest.raises(BadOption, match=f"window is {window}"):
        require_window(name, window)
