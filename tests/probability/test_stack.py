"""Rasters of probabilities are read together, each as float32 in 0..1 with its own validity."""

from types import SimpleNamespace

import numpy as np
import pytest

from geochange.errors import BadOption
from geochange.probability.stack import ProbabilitySource, SourceStack, open_stack
from geochange.scenes.grid import Tile

TILE = Tile(3, 5, 2, 4)


def test_sources_are_stacked_in_their_order_each_with_its_own_validity():
    values = np.random.default_rng(1).random((3, 2, 2, 4)).astype(np.float32)
    valid = np.random.default_rng(2).random((3, 2, 4)) < 0.5
    asked = []

    def source(k):
        def read(tile):
            asked.append(tile)
            return values[k], valid[k]

        return SimpleNamespace(read=read)

    stack = SourceStack(("a", "b", "c"), ("x", "y"), None, (0.5, 0.4, 0.3), tuple(map(source, range(3))))
    found, masks = stack.read(TILE)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(masks, valid)
    assert asked == [TILE] * 3


def test_a_source_of_probabilities_is_what_its_raster_makes_of_the_stored_values():
    codes, valid = np.arange(16).reshape(2, 2, 4), np.arange(8).reshape(2, 4) % 3 > 0
    raster = SimpleNamespace(probabilities=lambda values, mask: np.where(mask, values / 32, 0))
    grid, part, image = object(), object(), object()
    stored = SimpleNamespace(
        read=lambda tile: (codes, valid), grid=grid, crop=lambda tile: (part, tile), whole=lambda: image
    )
    source = ProbabilitySource(stored, raster)
    values, mask = source.read(TILE)
    np.testing.assert_array_equal(values, np.where(valid, codes / 32, 0))
    np.testing.assert_array_equal(mask, valid)
    assert source.grid is grid
    assert (source.dtype, source.shift) == (np.float32, (0.0, 0.0))
    assert np.isnan(source.fill)
    assert source.crop(TILE) == ProbabilitySource((part, TILE), raster)
    assert source.whole() == ProbabilitySource(image, raster)


@pytest.mark.parametrize(("rasters", "called"), [([], "no raster"), (["one.tif"], "one.tif")])
def test_fewer_than_two_rasters_are_refused(rasters, called):
    with pytest.raises(BadOption, match=f"{called} alone leaves nothing to fuse; give two rasters or more"):
        open_stack(rasters, None)
