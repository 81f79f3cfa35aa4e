"""Tolerance of small shifts: what is explained is no change, and nothing else is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import maximum_filter, minimum_filter

import geochange
from geochange.detectors.catalogue import detector, load_fitted
from geochange.detectors.shift_tolerance import FEWEST, Fading, Tolerance, tolerant
from geochange.engine.lattice import SceneBlocks
from geochange.engine.work import open_work
from geochange.errors import BadOption
from geochange.scenes.pairing import open_scene
from tests.memory_blocks import change, changed_scene, fit, pair
from tests.stand_ins import textured

SAMPLE = Path(__file__).parents[2] / "sample_data"
SHAPE = (7, 9)
VALUES = arrays(np.float32, (2, 2, *SHAPE), elements=st.floats(-8, 8, width=16))
SEEN = arrays(bool, (2, *SHAPE))


def least_near(before, after, statistic, valid, radius):
    """The least over windows at both dates, pixel by pixel."""
    least = statistic.copy()
    for row, col in np.ndindex(SHAPE):
        window = [
            (y, x)
            for y in range(max(row - radius, 0), min(row + radius + 1, SHAPE[0]))
            for x in range(max(col - radius, 0), min(col + radius + 1, SHAPE[1]))
        ]
        found = []
        for mine, other, seen in ((after, before, valid[0]), (before, after, valid[1])):
            distances = [np.sum((mine[:, row, col] + other[:, y, x]) ** 2) for y, x in window if seen[y, x]]
            found.append(min(distances, default=np.inf))
        least[row, col] = min(max(found), statistic[row, col]) if valid[:, row, col].all() else 0
    return least


def by_hand(before, after, statistic, valid, radius, quiet):
    """What holds a square of three pixels by near windows, all else by far ones, grown back under the statistic."""
    near, far = (least_near(before, after, statistic, valid, each) for each in (radius, 4 * radius))
    # the largest, of the squares around a pixel, of their smallest values
    wide = maximum_filter(minimum_filter(near, 3, mode="nearest"), 3, mode="nearest") > quiet
    least = np.maximum(np.where(wide, near, far), np.minimum(statistic, quiet) * valid.all(axis=0))
    for _ in range(2 * radius):
        least = np.minimum(maximum_filter(least, 3, mode="nearest"), statistic)
    return least


@given(parts=VALUES, valid=SEEN, radius=st.integers(1, 3), quiet=st.sampled_from([0.0, 5.5, 40.25]))
def test_it_is_what_its_definition_says(parts, valid, radius, quiet):
    before, after = parts
    statistic = np.sum((before + after) ** 2, axis=0)
    found = tolerant((before, after), statistic, valid, Tolerance(radius, quiet))
    expected = by_hand(before, after, statistic, valid, radius, quiet)
    there = valid.all(axis=0)  # what holds no data has no statistic
    np.testing.assert_allclose(found[there], expected[there], rtol=1e-5, atol=1e-5)
    assert (found <= statistic).all()


@given(parts=VALUES, quiet=st.floats(0, 60))
def test_what_is_quiet_stays_and_nothing_falls_below_it(parts, quiet):
    before, after = parts
    statistic, valid = np.sum((before + after) ** 2, axis=0), np.ones((2, *SHAPE), bool)
    found = tolerant((before, after), statistic, valid, Tolerance(2, quiet))
    np.testing.assert_array_equal(found[statistic <= quiet], statistic[statistic <= quiet])
    assert (found[statistic > quiet] >= quiet * (1 - 1e-6)).all()


def shifted_pair(row, col, noise=0.5):
    """A textured scene and itself, moved; with noise, so that there is something unchanged to compare with."""
    whole = textured((140, 150), bands=3).astype(np.float32)
    rng = np.random.default_rng(3)
    before = whole[:, 5:-5, 5:-5]
    after = whole[:, 5 - row : -5 - row, 5 - col : -5 - col] + rng.normal(0, noise, before.shape).astype(np.float32)
    return before + rng.normal(0, noise, before.shape).astype(np.float32), after


def probability(dates, **options):
    scene = pair(*dates)
    fitted = fit(detector("change-vector", options), scene)
    return change(fitted, scene), fitted


def test_a_line_at_one_date_only_is_a_change_and_a_moved_edge_is_none():
    before, after = shifted_pair(0, 1)
    after[:, 60, 20:110] += 400
    found, _ = probability((before, after), shift_tolerance=2)
    plain, _ = probability((before, after), shift_tolerance=0)
    assert (found[60, 22:108] > 0.5).all()
    elsewhere = np.ones(found.shape, bool)
    elsewhere[57:64] = elsewhere[:, :3] = elsewhere[:, -3:] = False
    assert (found[elsewhere] > 0.5).mean() <= (plain[elsewhere] > 0.5).mean()


@pytest.mark.parametrize("name", ["change-vector", "ir-mad", "slow-features", "difference", "pca-kmeans"])
def test_it_takes_changes_away_and_adds_none(name):
    scene, _ = changed_scene()
    plain, tolerantly = (fit(detector(name, {"shift_tolerance": each}), scene) for each in (0, 2))
    assert (change(tolerantly, scene) <= change(plain, scene) + 1e-6).all()
    assert tolerantly.thresholds == plain.thresholds
    back, further = 4, 8  # pixels that changes grow back by, and up to which narrow ones are compared
    assert tolerantly.receptive_radius == plain.receptive_radius + further + back


def test_what_holds_no_data_explains_nothing():
    scene, truth = changed_scene()
    hidden = replace(scene, valid=scene.valid.copy())
    rows, cols = np.nonzero(truth)
    inside = (rows[len(rows) // 2], cols[len(cols) // 2])
    hidden.valid[0] = truth  # of the first date nothing but the changed pixels is known
    hidden.valid[1] = True
    plain = fit_plain(scene)
    fitted = replace(plain, contrast=replace(plain.contrast, tolerance=Tolerance(2, plain.posterior.quiet)))
    assert change(fitted, hidden)[inside] == pytest.approx(change(plain, hidden)[inside], abs=0.05)


def fit_plain(scene):
    return fit(detector("change-vector", {"shift_tolerance": 0}), scene)


def test_it_is_kept_with_the_statistics(tmp_path):
    scene, _ = changed_scene()
    fitted = fit(detector("ir-mad", {"shift_tolerance": 1}), scene)
    fitted.save(tmp_path)
    again = load_fitted(tmp_path)
    np.testing.assert_array_equal(change(again, scene), change(fitted, scene))
    assert again.summary()["shift_tolerance"] == fitted.summary()["shift_tolerance"]
    assert fitted.summary()["shift_tolerance"]["pixels"] == 1


def test_the_sample_speaks_for_it_and_run_json_tells(tmp_path):
    run = geochange.detect(SAMPLE / "before.tif", SAMPLE / "after.tif", tmp_path / "out", formats=("gpkg",))
    told = run.record["detector"]["shift_tolerance"]
    assert told["pixels"] == FEWEST
    assert told["explained"][0] > 5 * told["explained"][-1]
    scores = geochange.evaluate(run.layer, SAMPLE / "truth.gpkg", grid=str(SAMPLE / "before.tif")).to_dict()
    assert scores["objects"]["precision"] >= 0.5
    assert scores["objects"]["recall"] >= 0.63
    assert scores["pixels"]["f1"] >= 0.92


def fading(first, *shares):
    left = [first]
    for share in shares:
        left.append(round(left[-1] * (1 - share)))
    return Fading(tuple(left))


@pytest.mark.parametrize(
    ("found", "pixels"),
    [
        (fading(9999, 0.2, 0.05, 0.02, 0.02, 0.02), 2),  # the third explains next to nothing
        (fading(9999, 0.48, 0.27, 0.1, 0.025, 0.03), 3),  # here it is the fourth
        (fading(9999, 0.18, 0.25, 0.2, 0.07, 0.03), 4),  # shadows fell elsewhere by several pixels
        (fading(9999, 0.34, 0.37, 0.23, 0.12, 0.08), 4),  # and here by more than can be told from changes
        (fading(9999, 0.1, 0.03, 0.04, 0.05, 0.02), 2),  # what the third explains more than the second is by chance
        (fading(9999, 0.12, 0.12, 0.12, 0.12, 0.12), 0),  # each as much as the one before
        (fading(9999, 0.14, 0.15, 0.13, 0.11, 0.095), 0),  # rivers that are wider by a pixel
        (fading(9999, 0.01, 0.001, 0, 0, 0), 0),  # there is nothing to explain
        (fading(90, 0.3, 0.1, 0, 0, 0), 0),  # too few to tell
        (Fading(), 0),
    ],
)
def test_tolerance_is_taken_where_what_it_explains_fades(found, pixels):
    assert found.pixels == pixels


def test_where_shadows_are_wider_still_what_is_narrow_goes():
    shape = (20, 30)
    before, after = np.zeros((2, *shape), np.float32)
    after[4:6, 3:27] = after[10:13, 10:13] = 40  # two pixels wide, and a square
    both, statistic = np.ones((2, *shape), bool), after**2
    ends, goes_on = (
        Tolerance(2, explained=(0.4, 0.2, 0.069, 0.02, 0.01)),
        Tolerance(2, explained=(0.4, 0.3, 0.07, 0, 0)),
    )
    kept, found = (tolerant((before[None], after[None]), statistic, both, each) for each in (ends, goes_on))
    np.testing.assert_array_equal(kept, statistic)
    assert (found[4:6] == 0).all()
    np.testing.assert_array_equal(found[10:13], statistic[10:13])


def test_what_is_narrow_is_compared_further_away():
    shape = (20, 30)
    before, after = np.zeros((2, *shape), np.float32)
    before[2:4, 3:27] = after[6:8, 3:27] = 40  # a strip that lies four rows further down
    after[12:14, 10:12] = 70  # nothing is like it
    before[2:4, 3:27] *= -1
    both, statistic = np.ones((2, *shape), bool), (before + after) ** 2
    found = tolerant((before[None], after[None]), statistic, both, Tolerance(2))
    assert (found[:10] == 0).all()
    np.testing.assert_array_equal(found[10:], statistic[10:])
    wider = after.copy()
    wider[8, 3:27] = 40  # three rows: a change of that width is not taken for a shadow
    statistic = (before + wider) ** 2
    found = tolerant((before[None], wider[None]), statistic, both, Tolerance(2))
    np.testing.assert_array_equal(found[6:9, 3:27], statistic[6:9, 3:27])


def test_what_is_asked_for_is_what_the_pair_speaks_for(tmp_path):
    runs = [
        geochange.detect(
            SAMPLE / "before.tif", SAMPLE / "after.tif", tmp_path / str(each), formats=("gpkg",), shift_tolerance=each
        )
        for each in (None, FEWEST)
    ]
    first, second = (run.probability.read_bytes() for run in runs)
    assert first == second


@pytest.mark.parametrize("name", ["change-vector", "ir-mad"])
def test_rivers_that_widen_by_a_pixel_speak_against_it(name):
    data = Path(__file__).parents[3] / "shared" / "data" / "landsat_taizhou"
    if not data.is_dir():
        pytest.skip("needs ../shared/data/landsat_taizhou")
    scene = open_scene([str(data / "T1.tif"), str(data / "T2.tif")])
    with open_work(None, None) as work:
        fitted = detector(name).fit(scene, SceneBlocks(scene, work))
    assert fitted.summary()["shift_tolerance"]["pixels"] == 0


@pytest.mark.parametrize("pixels", [-1, 6])
def test_a_tolerance_that_cannot_be_is_refused(pixels):
    with pytest.raises(BadOption, match=r"shift tolerance is -?\d pixels; it must lie in 0..5"):
        detector("change-vector", {"shift_tolerance": pixels})


def test_networks_have_none():
    with pytest.raises(BadOption, match="landscape has no option 'shift_tolerance'"):
        detector("landscape", {"shift_tolerance": 2})
