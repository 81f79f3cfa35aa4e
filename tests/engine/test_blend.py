import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geochange.engine.blend import SCORE_ONE, WEIGHT_ONE, taper, unweighted, weighted
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
