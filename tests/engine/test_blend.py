import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochange.engine.blend import SCORE_ONE, WEIGHT_ONE, taper, unweighted, weighted
from geochange.scenes.tiling import Cut
from tests.scenes.test_tiling import cuts


@given(cuts())
def test_weights_of_all_tiles_add_up_to_one_at_every_pixel(cut):
    reach = cut.length + 3 * cut.size
    total = np.zeros(reach, np.int64)
    for tile in range(cut.tiles):
        start = cut.tile_start(tile) + cut.size
        total[start : start + cut.size] += taper(cut, tile)
    assert (total[cut.size : cut.size + cut.length] == WEIGHT_ONE).all()


@given(cuts())
def test_weights_are_zero_in_the_margin(cut):
    for tile in {0, cut.tiles - 1}:
        weights = taper(cut, tile)
        assert (weights[: cut.margin] == 0).all()
        assert (weights[cut.size - cut.margin :] == 0).all()
        assert weights.min() >= 0


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_full_weight_gives_the_probability_back(probabilities):
    probability = np.array(probabilities, np.float32)[None]
    one = np.array([WEIGHT_ONE])
    back = unweighted(weighted(probability, one, np.full(len(probabilities), WEIGHT_ONE)))
    np.testing.assert_allclose(back, probability, atol=0.5 / SCORE_ONE, rtol=0)


@pytest.mark.parametrize(("ramp", "margin"), [(0, 0), (1, 3), (2, 0), (5, 2), (20, 4)])
def test_weights_rise_as_a_squared_sine_over_the_ramp_to_a_neighbour(ramp, margin):
    cut = Cut(length=100, size=40 + 2 * margin, step=40 - ramp, margin=margin, tiles_per_block=1)
    rise = [WEIGHT_ONE * np.sin((place + 0.5) / ramp * np.pi / 2) ** 2 for place in range(ramp)]
    full, nothing = [WEIGHT_ONE] * (40 - 2 * ramp), [0] * margin
    edge = [WEIGHT_ONE] * ramp
    for tile, before, after in ((0, edge, rise[::-1]), (1, rise, rise[::-1]), (cut.tiles - 1, rise, edge)):
        wanted = [*nothing, *before, *full, *after, *nothing]
        np.testing.assert_allclose(taper(cut, tile), wanted, atol=0.5)


def test_a_tile_without_neighbours_counts_in_full_within_its_margin():
    cut = Cut(length=30, size=44, step=30, margin=2, tiles_per_block=1)
    assert taper(cut, 0).tolist() == [0, 0, *[WEIGHT_ONE] * 40, 0, 0]
