"""Small classified scenes for tests, and their regions when cut in any way."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from geochange.arrays import Array, Bools, Ints
from geochange.polygons.export import write_features
from geochange.polygons.layer_means import LayerMeans
from geochange.polygons.parallel_export import described
from geochange.polygons.regions import BlockRegions, RegionFilter, Regions, concatenate, trace_block
from geochange.polygons.seams import SeamMerger
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition


@dataclass(frozen=True)
class Map:
    """A classified scene: (y, x) each."""

    classes: Ints
    scores: Ints
    valid: Bools

    @property
    def shape(self) -> tuple[int, int]:
        return self.classes.shape


@st.composite
def maps(draw: st.DrawFn, classes: int = 2, max_side: int = 12) -> Map:
    """Random scenes of up to `classes` classes, some of them noise, some of large areas, with scattered nodata."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=max_side))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    changed = random.random(shape) < draw(st.sampled_from([0.2, 0.5, 0.8, 1.0]))
    values = draw(arrays(np.uint8, shape, elements=st.integers(1, classes), fill=st.just(1)))
    valid = random.random(shape) < draw(st.sampled_from([0.9, 1.0]))
    return Map(np.where(changed, values, 0).astype(np.uint8), random.integers(0, 256, shape), valid)


def around(pixels: Array, block: Tile) -> Array:
    """The block of an array, and one pixel more on each side; 0 beyond the array."""
    return np.pad(pixels, 1)[block.row : block.stop_row + 2, block.col : block.stop_col + 2]


def trace_one(scene: Map, block: Tile, connectivity: int = 4, keep: RegionFilter | None = None) -> BlockRegions:
    """One block of a scene."""
    pixels = (around(array, block) for array in (scene.classes, scene.scores, scene.valid))
    return trace_block(*pixels, block, Tile(0, 0, *scene.shape), connectivity=connectivity, keep=keep)


def trace_in_blocks(
    scene: Map,
    blocks: list[Tile],
    connectivity: int = 4,
    keep: RegionFilter | None = None,
    waiting_corners: int = 1,
) -> Regions:
    """Regions by their first pixel; blocks are traced in the order given."""
    merger = SeamMerger(sorted(blocks), connectivity=connectivity, keep=keep, waiting_corners=waiting_corners)
    done = [merger.add(trace_one(scene, block, connectivity, keep)) for block in blocks]
    return concatenate([*done, merger.finish()]).sort()


def trace_whole(scene: Map, connectivity: int = 4, keep: RegionFilter | None = None) -> Regions:
    """Regions of the uncut scene by their first pixel."""
    return trace_in_blocks(scene, list(partition(scene.shape, scene.shape)), connectivity, keep)


def write_layer(path, chunks, layer):
    """Write regions as a layer, chunk by chunk, with nothing measured in rasters."""
    means = LayerMeans(())
    write_features(path, means.batches(chunks, layer), described(layer, means))
