"""Cells of a scene, as kernels of statistics get them."""

import numpy as np

from geochange.engine.lattice import SceneBlocks
from geochange.engine.work import open_work
from geochange.scenes.pairing import open_scene
from tests.stand_ins import write_pair


def test_a_kernel_gets_each_cell_with_its_halo(tmp_path):
    scene = open_scene(write_pair(tmp_path, (70, 90)))
    with open_work(None, None) as work:
        found = list(SceneBlocks(scene, work)(_seen, halo=3))
    for dates, valid, tile in found:
        expected, there = scene.read(tile.grow(3))
        np.testing.assert_array_equal(dates, np.stack(expected))
        np.testing.assert_array_equal(valid, there)
    assert sum(tile.size for _, _, tile in found) == 70 * 90


def _seen(dates, valid, tile):
    return dates.copy(), valid.copy(), tile
