"""geochange.scenes.shift_field."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from geochange.arrays import Array, Bools, Floats
from geochange.scenes.grid import Tile
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.registration import Unmeasured, WindowShift, window_shift
from geochange.scenes.shift_field import (
    FEWEST,
    MOST_WINDOWS,
    WINDOW,
    LocalShift,
    ShiftField,
    fit_field,
    local_windows_for,
)
from tests.stand_ins import SHARED

SHAPE = (500, 640)
REAL = {
    "NAIP": ("naip_wetlands/naip_20170827.tif", "naip_wetlands/naip_20200831.tif"),
    "Landsat": ("landsat_pucallpa/1985.tif", "landsat_pucallpa/1990.tif"),
}


def waves(shape: tuple[int, int], longest: float, length: float = 500.0, seed: int = 1) -> Floats:
    """(2, y, x) smooth shifts down and right, in pixels, of which the longest is as long as asked."""
    rng, (rows, cols) = np.random.default_rng(seed), np.mgrid[: shape[0], : shape[1]]
    field = []
    for _ in range(2):
        angle, *phases = rng.uniform(0, 2 * np.pi, 3)
        along, across = rows * np.cos(angle) + cols * np.sin(angle), rows * np.sin(angle) - cols * np.cos(angle)
        field.append(
            np.sin(2 * np.pi * along / length + phases[0]) + np.sin(2 * np.pi * across / length + phases[1]) / 2
        )
    return np.array(field) * longest / np.hypot(*field).max()


def bend(image: Array, field: Floats) -> Floats:
    """(band, y, x) image whose content at r lies at r + field(r)."""
    rows, cols = np.mgrid[: image.shape[1], : image.shape[2]]
    back = field
    for _ in range(6):
        back = np.array([map_coordinates(part, (rows - back[0], cols - back[1]), order=1) for part in field])
    places = rows - back[0], cols - back[1]
    return np.array([map_coordinates(band.astype(float), places, order=3, mode="reflect") for band in image])


def measured(field: Floats, noise: float = 0.0, seed: int = 0) -> tuple[list[Tile], list[WindowShift]]:
    """Windows, and what each would show of a field."""
    rng, windows = np.random.default_rng(seed), local_windows_for(field.shape[1:])
    places = [(tile.row + tile.height // 2, tile.col + tile.width // 2) for tile in windows]
    return windows, [WindowShift(*(field[:, row, col] + rng.normal(0, noise, 2)), quality=10.0) for row, col in places]


def fitted(windows: list[Tile], shifts: list[WindowShift | Unmeasured], shape: tuple[int, int] = SHAPE) -> LocalShift:
    found = fit_field(windows, shifts, shape)
    assert isinstance(found, LocalShift)
    return found


def error(found: LocalShift, field: Floats) -> float:
    assert found.field is not None
    return float(np.median(np.hypot(*(found.field.over(Tile(0, 0, *field.shape[1:])) - field))))


def test_windows_reach_over_the_whole_scene_and_stay_few():
    for shape in ((100, 100), (500, 640), (10_000, 12_000), (40_000, 300)):
        windows = local_windows_for(shape)
        assert min(tile.row for tile in windows) == min(tile.col for tile in windows) == 0
        assert max(tile.stop_row for tile in windows) == shape[0]
        assert max(tile.stop_col for tile in windows) == shape[1]
        assert len(windows) <= MOST_WINDOWS
    assert local_windows_for((15, 500)) == []


def test_a_smooth_field_is_found_from_windows():
    field = waves(SHAPE, 3.0)
    assert error(fitted(*measured(field)), field) < 0.05
    assert error(fitted(*measured(field, noise=0.3)), field) < 0.25


@given(down=st.floats(-5, 5), right=st.floats(-5, 5))
@settings(max_examples=20)
def test_a_shift_of_the_whole_is_a_field_that_is_the_same_everywhere(down, right):
    field = np.full((2, *SHAPE), [[[down]], [[right]]])
    found = fitted(*measured(field))
    if np.hypot(down, right) > 0.11:
        assert error(found, field) < 1e-3
    elif np.hypot(down, right) < 0.09:
        assert found.field is None


def test_noise_alone_is_no_field():
    found = fitted(*measured(np.zeros((2, *SHAPE)), noise=0.25))
    assert found.field is None
    assert found.residual == found.length


def test_windows_that_contradict_their_neighbours_are_not_used():
    field = waves(SHAPE, 2.0)
    windows, shifts = measured(field, noise=0.05)
    wrong = range(5, len(windows), 11)
    for place in wrong:
        shifts[place] = replace(shifts[place], row=shifts[place].row + 9)
    found = fitted(windows, shifts)
    assert not found.used[list(wrong)].any()
    assert found.used.mean() > 0.8
    assert error(found, field) < 0.1


def test_nothing_is_moved_far_from_what_was_measured():
    windows, shifts = measured(np.full((2, 500, 1400), 2.0))
    known = [shift if tile.col < 300 else Unmeasured("no texture") for tile, shift in zip(windows, shifts, strict=True)]
    field = fitted(windows, known, (500, 1400)).field
    assert field is not None
    np.testing.assert_allclose(field.over(Tile(0, 0, 500, 300)), 2.0, atol=0.01)
    assert not field.over(Tile(0, 300 + WINDOW + 2 * WINDOW, 500, 400)).any()


def test_too_few_windows_are_no_field():
    windows, shifts = measured(np.full((2, *SHAPE), 2.0))
    few = [shift if place < FEWEST - 1 else Unmeasured("no texture") for place, shift in enumerate(shifts)]
    found = fit_field(windows, few, SHAPE)
    assert isinstance(found, Unmeasured)
    assert f"{FEWEST - 1} of {len(windows)} windows" in found.reason


@given(row=st.integers(0, 400), col=st.integers(0, 500), height=st.integers(1, 90), width=st.integers(1, 130))
@settings(max_examples=25)
def test_a_place_of_a_field_depends_on_no_other(row, col, height, width):
    field = fitted(*measured(waves(SHAPE, 3.0))).field
    assert field is not None
    whole, tile = field.over(Tile(0, 0, *SHAPE)), Tile(row, col, height, width)
    np.testing.assert_array_equal(field.over(tile), whole[:, *tile.slices()])
    np.testing.assert_array_equal(field.crop(tile).over(Tile(0, 0, *tile.shape)), whole[:, *tile.slices()])


def test_a_field_comes_back_from_json():
    field = fitted(*measured(waves(SHAPE, 3.0))).field
    assert field is not None
    assert ShiftField.from_json(field.to_json()) == field
    for wrong in ({"nodes": [[[0.0]]]}, {"nodes": [[[0.0, float("nan")]] * 2] * 2}):
        with pytest.raises(ValueError, match="nodes must be"):
            ShiftField.from_json({**field.to_json(), **wrong})


def seen_in(before: Array, after: Array, valid: Bools) -> LocalShift:
    windows = local_windows_for(valid.shape)
    parts = [tile.slices() for tile in windows]
    shifts = [window_shift(before[:, *part], after[:, *part], valid[part]) for part in parts]
    return fitted(windows, shifts, valid.shape)


@pytest.mark.parametrize("name", REAL)
def test_a_known_field_is_found_on_real_images(name):
    paths = [SHARED / path for path in REAL[name]]
    if not paths[0].exists():
        pytest.skip(f"{paths[0]} is missing")
    scene = open_scene(paths, SceneOptions(align=True, bands=(1, 2)))
    (before, after), valid = scene.read(scene.grid.area)
    both, known = valid.all(axis=0), waves(scene.shape, 3.0)
    own = seen_in(before, after, both).field
    there = 0 if own is None else own.over(scene.grid.area)  # the pair itself lies a little off
    assert error(seen_in(before, bend(after, known), both), known + there) < 0.3
