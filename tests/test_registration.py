"""geochange.scenes.registration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyproj import CRS
from rasterio.warp import Resampling, reproject
from scipy.ndimage import fourier_shift, gaussian_filter
from skimage.registration import phase_cross_correlation
from sklearn.linear_model import RANSACRegressor

from geochange.arrays import Bools, Floats
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.registration import (
    DateFacts,
    Radiometry,
    Report,
    Shift,
    Unmeasured,
    WindowShift,
    combine_shifts,
    grid_differences,
    overlap_share,
    radiometry,
    window_shift,
    windows_for,
)

DATA = Path(__file__).parents[2] / "shared" / "data"
UTM = CRS.from_epsg(26914)
GRID = Grid(UTM, Affine(5, 0, 500_000, 0, -5, 5_200_000), (40, 60))
FINER = 4  # fine pixels to a pixel, so that shifts of quarters are known without interpolating
KNOWN = [(0.0, 0.0), (0.5, -0.5), (1.25, -2.75), (-3.0, 4.0), (5.0, -5.0), (-4.75, 0.25)]


def subjects(before: Grid, after: Grid) -> list[str]:
    return [difference.subject for difference in grid_differences(before, after)]


def moved(grid: Grid, change: Affine) -> Grid:
    return replace(grid, transform=grid.transform @ change)


# A shift of a millionth of a pixel is what doubles lose on the way through a file; ten times that is no accident.
@given(st.floats(-9e-7, 9e-7), st.floats(-9e-7, 9e-7))
def test_grid_differences_forgives_rounding(col: float, row: float) -> None:
    assert grid_differences(GRID, moved(GRID, Affine.translation(col, row))) == []


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (GRID, []),
        (replace(GRID, crs=CRS.from_wkt(UTM.to_wkt())), []),
        (moved(GRID, Affine.translation(-1e-5, 0)), ["origin"]),
        (moved(GRID, Affine.scale(0.5)), ["resolution", "overlap"]),
        (moved(GRID, Affine.rotation(30)), ["rotation", "overlap"]),
        (moved(GRID, Affine.translation(0, 40) @ Affine.scale(1, -1)), ["rotation", "origin"]),
        (replace(GRID, shape=(41, 60)), ["size"]),
        (replace(GRID, crs=CRS.from_epsg(26915)), ["CRS", "resolution", "overlap"]),
        (replace(GRID, crs=None), ["CRS", "resolution"]),
    ],
)
def test_grid_differences_lists_each_difference(after: Grid, expected: list[str]) -> None:
    found = subjects(GRID, after)
    assert [subject for subject in found if subject != "overlap" or "overlap" in expected] == expected


def test_grid_differences_gives_both_values_pixels_and_map_units() -> None:
    origin, overlap = grid_differences(GRID, moved(GRID, Affine.translation(2, 0.5)))
    assert str(origin) == (
        "origin 500000,5200000 against 500010,5199997.5 (+2 columns and +0.5 rows; +10, -2.5 map units)"
    )
    assert "geochange align" in origin.mend
    assert "95.5%" in overlap.amount


@given(st.integers(-70, 70), st.integers(-50, 50))
def test_overlap_share_counts_common_pixels(col: int, row: int) -> None:
    common = GRID.area.intersect(Tile(row, col, *GRID.shape)).size
    assert overlap_share(GRID, moved(GRID, Affine.translation(col, row))) == pytest.approx(common / GRID.area.size)


def test_overlap_share_in_another_crs_agrees_with_gdal() -> None:
    before = Grid(CRS.from_epsg(3035), Affine(20_000, 0, 2_500_000, 0, -20_000, 4_500_000), (120, 160))
    after = Grid(CRS.from_epsg(4326), Affine(0.1, 0, -10, 0, -0.1, 60), (150, 300))
    covered = np.zeros(before.shape, np.uint8)
    reproject(
        np.ones(after.shape, np.uint8),
        covered,
        src_transform=after.transform,
        src_crs=after.crs.to_wkt(),
        dst_transform=before.transform,
        dst_crs=before.crs.to_wkt(),
        resampling=Resampling.nearest,
    )
    assert 0.1 < covered.mean() < 0.9
    assert overlap_share(before, after) == pytest.approx(covered.mean(), abs=0.01)


def test_overlap_share_is_unknown_where_one_date_has_no_crs() -> None:
    assert overlap_share(GRID, replace(GRID, crs=None)) is None


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


@settings(max_examples=25, deadline=None)
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


@settings(deadline=None)
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


def test_combine_shifts_spread_estimates_the_standard_deviation() -> None:
    errors = np.random.default_rng(3).normal(0, (0.3, 0.1), (2000, 2))
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


def samples(gain: float, offset: float, changed: float = 0.0, noise: float = 1.0) -> tuple[Floats, Floats]:
    """(1, n) pixels of two dates, some of which have become something bright."""
    rng = np.random.default_rng(6)
    before = rng.gamma(3, 20, 4000)
    after = gain * before + offset + rng.normal(0, noise * abs(gain), before.shape)
    before += rng.normal(0, noise, before.shape)
    after[: int(changed * len(after))] = rng.normal(200, 10, int(changed * len(after)))
    return before[None], after[None]


@pytest.mark.parametrize("changed", [0.0, 0.2, 0.35])
@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.6, 30.0), (-1.0, 255.0), (250.0, -1e4)])
def test_radiometry_is_not_pulled_by_changes(gain: float, offset: float, changed: float) -> None:
    (found,) = radiometry(*samples(gain, offset, changed), bands=[3])
    assert found.band == 3
    assert found.gain == pytest.approx(gain, rel=0.02)
    assert found.offset == pytest.approx(offset, abs=2 * abs(gain))


def test_radiometry_residual_is_the_noise_of_both_dates() -> None:
    (found,) = radiometry(*samples(0.6, 30, changed=0.2, noise=2), bands=[1])
    assert found.residual == pytest.approx(0.6 * 2 * 2**0.5, rel=0.15)


def test_radiometry_finds_contrast_turned_round_among_changes() -> None:
    rng = np.random.default_rng(7)
    before = rng.normal(100, 20, (1, 4000))
    after = 300 - 2 * before + rng.normal(0, 2, before.shape)
    after[:, :1400] = before[:, :1400] + 50
    (found,) = radiometry(before, after, bands=[1])
    assert found.gain == pytest.approx(-2, rel=0.02)


def test_radiometry_agrees_with_ransac_where_noise_is_small() -> None:
    before, after = samples(0.6, 30, changed=0.2, noise=0.1)
    reference = RANSACRegressor(residual_threshold=0.5, random_state=0).fit(before.T, after[0]).estimator_
    (found,) = radiometry(before, after, bands=[1])
    assert found.gain == pytest.approx(reference.coef_[0], rel=2e-3)
    assert found.offset == pytest.approx(reference.intercept_, abs=0.1)


def test_radiometry_uses_all_unchanged_pixels_to_be_precise() -> None:
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(20):
        truth = rng.gamma(3, 20, (1, 2000))
        before, after = truth + rng.normal(0, 5, truth.shape), 0.6 * truth + rng.normal(0, 3, truth.shape)
        gains += [band.gain for band in radiometry(before, after, [1])]
    assert np.std(gains) < 0.004


def test_radiometry_of_swapped_dates_is_the_inverse() -> None:
    before, after = samples(0.6, 30, changed=0.2)
    (there,), (back,) = radiometry(before, after, [1]), radiometry(after, before, [1])
    assert there.gain * back.gain == pytest.approx(1, abs=5e-3)
    assert back.offset == pytest.approx(-there.offset / there.gain, abs=0.3)


def test_radiometry_correlation_is_pearsons_over_all_pixels() -> None:
    before, after = samples(1, 0, changed=0.2)
    (found,) = radiometry(before, after, [1])
    assert found.correlation == pytest.approx(np.corrcoef(before[0], after[0])[0, 1])


def test_radiometry_of_equal_dates_is_exact() -> None:
    before = np.random.default_rng(0).integers(0, 255, (1, 500), dtype=np.uint8)
    (found,) = radiometry(before, before, [1])
    assert (found.gain, found.offset, found.residual, found.unchanged) == pytest.approx((1, 0, 0, 1), abs=1e-9)


def test_radiometry_of_a_constant_band_is_unknown() -> None:
    before = np.arange(10.0)[None]
    assert radiometry(before, np.full((1, 10), 7.0), [1]) == [Radiometry(1, None, None, None, None, 0.0)]


def test_radiometry_survives_a_band_that_is_mostly_saturated() -> None:
    before, after = samples(0.5, 10)
    before[0, :3000], after[0, :3000] = 255, 255
    (found,) = radiometry(before, after, [1])
    assert np.isfinite([found.gain, found.offset, found.residual]).all()


FACTS = DateFacts("before.tif", GRID, 4, "uint8")
STEADY = Shift(0.05, -0.1, 0.1, 0.1, 20, 25)
ALIKE = (Radiometry(1, 1.0, 0.0, 0.95, 3.0, 0.9),)
READY = Report(FACTS, replace(FACTS, name="after.tif"), 0.02, STEADY, ALIKE)


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (READY, "ready"),
        (replace(READY, shift=replace(STEADY, row=-0.7)), "usable with care"),
        (replace(READY, shift=replace(STEADY, spread_col=2.0)), "usable with care"),
        (replace(READY, shift=Unmeasured("no texture")), "usable with care"),
        (replace(READY, shift=replace(STEADY, col=-4.0)), "needs alignment"),
        (replace(READY, after=replace(FACTS, grid=moved(GRID, Affine.translation(0.3, 0)))), "needs alignment"),
        (replace(READY, after=replace(FACTS, grid=moved(GRID, Affine.translation(40, 0)))), "needs alignment"),
        (replace(READY, after=replace(FACTS, grid=moved(GRID, Affine.translation(80, 0)))), "not comparable"),
        (replace(READY, after=replace(FACTS, grid=replace(GRID, crs=None))), "not comparable"),
        (replace(READY, after=replace(FACTS, bands=3)), "not comparable"),
        (replace(READY, after=replace(FACTS, dtype="uint16")), "ready"),
        (replace(READY, nodata=0.7), "usable with care"),
        (replace(READY, nodata=1.0, shift=None, radiometry=()), "not comparable"),
        (replace(READY, radiometry=(replace(ALIKE[0], correlation=0.1),)), "usable with care"),
        (replace(READY, radiometry=(replace(ALIKE[0], gain=256.0),)), "ready"),
        (replace(READY, radiometry=(Radiometry(1, None, None, None, None, 0.0),)), "usable with care"),
    ],
)
def test_report_verdict_follows_the_worst_finding(report: Report, verdict: str) -> None:
    assert report.verdict == verdict


def test_report_offers_a_mend_for_everything_that_is_wrong() -> None:
    after = DateFacts("after.tif", moved(GRID, Affine.translation(0.3, 0) @ Affine.scale(2)), 3, "float32")
    report = Report(FACTS, after, 1.0, replace(STEADY, row=3.0, spread_row=1.0), (replace(ALIKE[0], gain=9.0),))
    wrong = [finding for finding in report.findings if finding.severity > 0]
    assert {finding.subject for finding in wrong} == {"grid", "bands", "dtype", "nodata", "shift", "radiometry"}
    assert all(finding.mend and "\n" not in finding.text + finding.mend for finding in wrong)


@pytest.mark.parametrize("shift", [STEADY, Unmeasured("no texture"), None])
def test_report_survives_json(shift: Shift | Unmeasured | None) -> None:
    report = replace(READY, shift=shift).to_dict()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["verdict"] in {"ready", "usable with care"}
    assert report["findings"][0]["severity"] == "ok"
