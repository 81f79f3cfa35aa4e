"""geochange.scenes.registration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import fourier_shift, gaussian_filter
from skimage.registration import phase_cross_correlation

from geochange.arrays import Bools, Floats
from geochange.scenes.grid import Tile
from geochange.scenes.registration import (
    Shift,
    Unmeasured,
    WindowShift,
    combine_shifts,
    window_shift,
    windows_for,
)

DATA = Path(__file__).parents[3] / "shared" / "data"
FINER = 4  # fine pixels to a pixel, so that shifts of quarters are known without interpolating
KNOWN = [(0.0, 0.0), (0.5, -0.5), (1.25, -2.75), (-3.0, 4.0), (5.0, -5.0), (-4.75, 0.25)]


def texture(shape: tuple[int, int], seed: int = 0) -> Floats:
    """Made ground with detail from one fine pixel to dozens of pixels, (1, y, x) in fine pixels."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return sum(width * gaussian_filter(noise, width) for width in (2, 5, 12, 40))[None]


def coarsen(fine: Floats, place: tuple[float, float], side: int) -> Floats:
    """A window of `side` pixels whose first lies at `place` (row, col), each the mean of FINER x FINER fine ones."""
    row, col = (round(at * FINER) for at in place)
    part = fine[:, row : row + side * FINER, col : col + side * FINER]
    return part.reshape(len(part), side, FINER, side, FINER).mean(axis=(2, 4))


def pair(fine: Floats, shift: tuple[float, float], side: int) -> tuple[Floats, Floats]:
    """Two dates of one place, the later one's content at `shift` of the earlier one's."""
    margin = 6
    return coarsen(fine, (margin, margin), side), coarsen(fine, (margin - shift[0], margin - shift[1]), side)


FINE = texture(((96 + 12) * FINER, (96 + 12) * FINER))
ALL = np.ones((96, 96), bool)


def measured(before: Floats, after: Floats, valid: Bools = ALL) -> tuple[float, float]:
    found = window_shift(before, after, valid)
    assert isinstance(found, WindowShift), found
    return found.row, found.col


@settings(max_examples=25)
@given(*[st.integers(-5 * FINER, 5 * FINER).map(lambda steps: steps / FINER)] * 2)
def test_window_shift_finds_any_shift_up_to_five_pixels(row: float, col: float) -> None:
    assert measured(*pair(FINE, (row, col), 96)) == pytest.approx((row, col), abs=0.06)


def test_window_shift_agrees_with_skimage() -> None:
    before, after = pair(FINE, (2.25, -1.5), 96)
    reference, _, _ = phase_cross_correlation(after[0], before[0], upsample_factor=50)
    assert measured(before, after) == pytest.approx(reference, abs=0.1)


def test_window_shift_turns_round_when_the_dates_are_swapped() -> None:
    before, after = pair(FINE, (3.25, -1.75), 96)
    assert measured(before, after) == pytest.approx([-place for place in measured(after, before)], abs=0.02)


@pytest.mark.parametrize(("gain", "offset"), [(-1, 0), (1e-4, 0.1), (3000, 20_000), (1, 1e5)])
def test_window_shift_does_not_mind_gain_and_offset(gain: float, offset: float) -> None:
    before, after = pair(FINE, (1.25, -2.5), 96)
    assert measured(before, gain * after + offset) == pytest.approx(measured(before, after), abs=1e-3)


def test_window_shift_reads_integers_as_floats() -> None:
    before, after = (np.rint(date * 1000 + 20_000) for date in pair(FINE, (1.25, -2.5), 96))
    whole = window_shift(before.astype(np.uint16), after.astype(np.uint16), ALL)
    assert whole == window_shift(before, after, ALL)


def test_window_shift_does_not_mind_contrast_turned_round_in_one_half() -> None:
    before, after = pair(FINE, (1.25, -2.5), 96)
    after[:, :, 48:] *= -1
    assert measured(before, after) == pytest.approx((1.25, -2.5), abs=0.1)


def test_window_shift_withstands_noise_changes_and_nodata() -> None:
    before, after = pair(FINE, (-3.5, 4.25), 96)
    noise = np.random.default_rng(1).normal(0, 0.15 * before.std(), (2, *before.shape))
    before, after = before + noise[0], after + noise[1]
    after[:, 20:63, 30:73] = coarsen(texture((43 * FINER, 43 * FINER), seed=5), (0, 0), 43)
    valid = np.add.outer(np.arange(96), np.arange(96)) > 30
    assert measured(before, np.where(valid, after, np.nan), valid) == pytest.approx((-3.5, 4.25), abs=0.2)


@pytest.mark.parametrize("filling", [0.0, 1e6, np.nan, np.inf])
def test_window_shift_never_looks_at_nodata(filling: float) -> None:
    before, after = pair(FINE, (0.5, 1.0), 96)
    valid = np.ones((96, 96), bool)
    valid[:30, :40] = False
    expected = window_shift(before, after, valid)
    assert isinstance(expected, WindowShift)
    assert window_shift(before, np.where(valid, after, filling), valid) == expected


def test_window_shift_ignores_a_constant_band() -> None:
    before, after = pair(FINE, (0.5, 1.0), 96)
    constant = np.full_like(before, 0.1)
    assert measured(np.concatenate([before, constant]), np.concatenate([after, constant])) == measured(before, after)


def test_window_shift_measures_between_the_steps_of_its_lattice() -> None:
    ground = gaussian_filter(np.random.default_rng(0).normal(size=(96, 96)), 2, mode="wrap")
    later = np.fft.ifft2(fourier_shift(np.fft.fft2(ground), (0.325, -1.125))).real
    assert measured(ground[None], later[None]) == pytest.approx((0.325, -1.125), abs=0.015)


@pytest.mark.parametrize("shape", [(96, 64), (64, 97)])
@pytest.mark.parametrize("turn", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_window_shift_finds_a_shift_of_a_quarter_of_the_window(shape: tuple[int, int], turn: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(size=(260, 260))
    ground = sum(width * gaussian_filter(noise, width) for width in (1, 2, 5, 12))
    row, col = (sign * (length // 4) for sign, length in zip(turn, shape, strict=True))
    before, after = (
        ground[None, top : top + shape[0], left : left + shape[1]] for top, left in ((60, 60), (60 - row, 60 - col))
    )
    assert measured(before, after, np.ones(shape, bool)) == pytest.approx((row, col), abs=0.01)


def test_window_shift_is_not_led_by_the_outline_of_nodata() -> None:
    before, after = coarsen(FINE, (0, 0), 96), coarsen(texture((400, 400), 9), (0, 0), 96)
    valid = np.ones((96, 96), bool)
    valid[10:90:24, 10:90:24] = False
    slope = np.add.outer(np.arange(96), np.arange(96)) * before.std()
    assert window_shift(before + slope, after + slope, valid) == Unmeasured("no distinct match")


ROUNDING = 0.1 * (1 + 1e-8 * np.random.default_rng(0).normal(size=(1, 96, 96)))
REPEATED = np.tile(np.random.default_rng(0).normal(size=(8, 8)), (12, 12))[None]
STRIPES = np.tile(np.sin(np.arange(96) ** 1.3), (96, 1))[None]


@pytest.mark.parametrize(
    ("before", "after", "valid", "reason"),
    [
        (np.full((2, 96, 96), 0.1), np.full((2, 96, 96), 0.1), ALL, "no texture"),
        (ROUNDING, ROUNDING, ALL, "no texture"),
        (coarsen(FINE, (0, 0), 96), coarsen(texture((400, 400), 9), (0, 0), 96), ALL, "no distinct match"),
        (STRIPES, STRIPES, ALL, "no distinct match"),
        (REPEATED, REPEATED, ALL, "no distinct match"),
        (coarsen(FINE, (0, 0), 96), coarsen(FINE, (0, 0), 96), np.arange(96) < np.full((96, 1), 20), "too little data"),
        (np.ones((1, 3, 90)), np.ones((1, 3, 90)), np.ones((3, 90), bool), "fewer than 16"),
    ],
    ids=["constant", "rounding", "two places", "stripes", "repeated", "nodata", "thin"],
)
def test_window_shift_says_why_it_cannot_tell(before: Floats, after: Floats, valid: Bools, reason: str) -> None:
    found = window_shift(before, after, valid)
    assert isinstance(found, Unmeasured)
    assert reason in found.reason


def test_window_shift_refuses_shapes_that_differ() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        window_shift(np.zeros((1, 20, 20)), np.zeros((1, 20, 21)), np.ones((20, 20), bool))


@given(st.integers(1, 30_000), st.integers(1, 30_000), st.integers(1, 100))
def test_windows_for_stays_inside_and_spans_the_scene(height: int, width: int, count: int) -> None:
    windows = windows_for((height, width), count=count)
    assert bool(windows) == (min(height, width) >= 16)
    assert len(windows) <= count
    assert len(set(windows)) == len(windows)
    scene = Tile(0, 0, height, width)
    assert all(window.intersect(scene) == window and min(window.shape) >= 16 for window in windows)
    for starts, stops, length in (
        ({w.row for w in windows}, {w.stop_row for w in windows}, height),
        ({w.col for w in windows}, {w.stop_col for w in windows}, width),
    ):
        assert len(starts) < 2 or (min(starts), max(stops)) == (0, length)


@pytest.mark.parametrize("shape", [(64, 64), (40, 300), (512, 512), (300, 20_000)])
def test_windows_for_gives_several_windows_even_in_small_scenes(shape: tuple[int, int]) -> None:
    assert 4 <= len(windows_for(shape)) <= 100


def agreeing(n: int = 9) -> list[WindowShift | Unmeasured]:
    errors = np.random.default_rng(2).normal(0, 0.05, (n, 2))
    return [WindowShift(1.5 + row, -2 + col, 10.0) for row, col in errors]


def combined(windows: list[WindowShift | Unmeasured]) -> Shift:
    found = combine_shifts(windows)
    assert isinstance(found, Shift)
    return found


def test_combine_shifts_is_not_pulled_by_outliers() -> None:
    found = combined([*agreeing(), WindowShift(30, 40, 25.0), WindowShift(28, 9, 25.0), Unmeasured("no texture")])
    assert found == replace(combined(agreeing()), windows_tried=12)


@given(st.permutations(range(9)))
def test_combine_shifts_does_not_depend_on_the_order(order: list[int]) -> None:
    windows = agreeing()
    assert combine_shifts([windows[i] for i in order]) == combine_shifts(windows)


@given(
    st.lists(
        st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(1, 40)), min_size=2, max_size=9, unique=True
    )
)
def test_combine_shifts_is_the_weighted_median(found: list[tuple[float, float, float]]) -> None:
    """Where half of the weight lies below, a window's own weight counted half below and half above it."""
    windows = [WindowShift(*each) for each in found]
    both = combined(windows)
    assume(both.windows_used == len(found))
    for axis, shift in enumerate((both.row, both.col)):
        ordered = sorted((each[axis], each[2]) for each in found)
        below, total = [], 0.0
        for _, weight in ordered:
            below.append(total + weight / 2)
            total += weight
        assert shift == pytest.approx(np.interp(total / 2, below, [value for value, _ in ordered]), abs=1e-9)


def test_combine_shifts_spread_estimates_the_standard_deviation() -> None:
    errors = np.random.default_rng(3).normal((1.5, -4), (0.3, 0.1), (2000, 2))
    found = combined([WindowShift(row, col, 10.0) for row, col in errors])
    assert (found.spread_row, found.spread_col) == pytest.approx((0.3, 0.1), rel=0.1)


def test_combine_shifts_of_one_window_has_no_spread() -> None:
    assert combined([WindowShift(1, 2, 10.0)]) == Shift(1, 2, None, None, 1, 1)


def test_combine_shifts_passes_on_why_nothing_was_measured() -> None:
    windows = [Unmeasured("no texture"), Unmeasured("too little data"), Unmeasured("no texture")]
    assert combine_shifts(windows) == Unmeasured("no texture (in 2 of 3 windows)")
    assert isinstance(combine_shifts([]), Unmeasured)


def real_scene(path: str) -> Floats:
    """(band, y, x) of a real image, its first 480 rows and columns, cut to valid data where it has nodata."""
    if not (DATA / path).exists():
        pytest.skip(f"no shared data at {DATA / path}")
    if path.endswith(".tif"):
        with rasterio.open(DATA / path) as source:
            return source.read()[:, 10:490, 100:580].astype(np.float64)
    return np.moveaxis(np.asarray(Image.open(DATA / path).convert("RGB"), np.float64), 2, 0)[:, :480, :480]


def another_season(date: Floats) -> Floats:
    """Other gains, one band's contrast turned round, noise of 4 DN, and a fifth of the scene another place."""
    gains = np.array([-0.8, 1.3, 0.6, 1.0, 1.0, 1.0])[: len(date), None, None]
    later = gains * date + 40 + np.random.default_rng(4).normal(0, 4, date.shape)
    side = int(date.shape[1] * 0.2**0.5)
    later[:, -side:, -side:] = later[:, :side, :side][:, ::-1, ::-1].copy()
    return later


@pytest.mark.parametrize("shift", KNOWN)
@pytest.mark.parametrize(
    "path",
    ["naip_wetlands/naip_20120731.tif", "landsat_pucallpa/2000.tif", "levir/val_512px_1m/A/val003.jpg"],
    ids=["naip", "landsat", "levir"],
)
def test_shift_of_real_imagery_is_found_to_a_fifth_of_a_pixel(path: str, shift: tuple[float, float]) -> None:
    fine = real_scene(path)
    side = min(fine.shape[1:]) // FINER - 12
    before, after = pair(fine, shift, side)
    later = another_season(after)
    valid = np.add.outer(np.arange(side), np.arange(side)) > 20
    windows = [
        window_shift(*(date[:, *tile.slices()] for date in (before, later)), valid[tile.slices()])
        for tile in windows_for((side, side))
    ]
    found = combined(windows)
    assert (found.row, found.col) == pytest.approx(shift, abs=0.2)


def test_windows_within_a_third_of_a_pixel_are_no_outliers_where_most_agree_closely() -> None:
    close = [WindowShift(1 + row, -2.0, 10.0) for row in (0, 0, 0, 0, 0.25, -0.25)]
    assert combined(close).windows_used == 6
    assert combined([*close, WindowShift(1.35, -2.0, 10.0)]).windows_used == 6
