"""Boxes of objects as regions: cut into rows of blocks or not, they are those of one suppression of all boxes."""

from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from geochange.detectors.boxes import PIXEL_PARTS, SCORE_STEPS, Boxes, suppress
from geochange.engine.cluster import Crew
from geochange.engine.progress import Silent, Stages
from geochange.engine.work import Work
from geochange.errors import BadOption
from geochange.polygons.boxes import found_objects, object_threshold
from geochange.polygons.options import RegionOptions
from geochange.probability.options import Threshold
from geochange.scenes.grid import Grid

SHAPE = 90, 60
REACH = 12
UTM = Grid(CRS("EPSG:26914"), Affine(2, 0, 500_000, 0, -3, 5_200_000), SHAPE)
PLAIN = Grid(None, Affine(1, 0, 0, 0, -1, 0), SHAPE)
KEPT = {"default": 0.3, "precision=0.9": 0.8}


class Steps(Silent):
    """Counts the blocks that a stage announces, and those that arrive."""

    def __init__(self):
        self.announced, self.arrived = {}, 0

    def begin(self, stage, blocks, pixels):
        self.announced[stage] = blocks, pixels

    def advance(self, pixels):
        self.arrived += 1


def some_boxes(count=150):
    random = np.random.default_rng(2)
    row, col = random.integers(10, 80, count), random.integers(10, 50, count)
    high, wide = random.integers(PIXEL_PARTS, 9 * PIXEL_PARTS, (2, count))
    y, x = row * PIXEL_PARTS + 8, col * PIXEL_PARTS + 8
    corners = np.stack([x - wide, y - high, x + wide, y + high], axis=1)
    scores = random.integers(0, SCORE_STEPS + 1, count)
    cells = np.stack([row, col], axis=1) * PIXEL_PARTS
    return Boxes(corners, random.integers(1, 3, count), scores, cells, random.random(count) < 0.2)


def objects(boxes, height, tmp_path, grid=UTM, kept=KEPT, **options):
    """The objects of boxes that come in rows of blocks of so many pixels, and the listener to their progress."""
    stops = range(height, SHAPE[0] + height, height)
    cell = boxes.cells[:, 0] // (PIXEL_PARTS * height)
    rows = [(min(stop, SHAPE[0]), boxes.where(cell == i)) for i, stop in enumerate(stops)]
    inference = SimpleNamespace(
        scene=SimpleNamespace(grid=grid, sources=[SimpleNamespace(name="before.tif")]),
        fitted=SimpleNamespace(thresholds=kept, receptive_radius=REACH),
        tiling=SimpleNamespace(rows=SimpleNamespace(blocks=len(rows)), cols=SimpleNamespace(blocks=50)),
    )
    steps = Steps()
    work = Work(Crew(None, 1), Stages(steps))
    with found_objects(iter(rows), inference, RegionOptions(**options), work, tmp_path) as found:
        assert found.regions is found.outlines
        chunks = list(found.regions.chunks(10_000))
    assert not list(tmp_path.iterdir())
    return (chunks[0] if chunks else None), found.chosen.threshold, steps


@pytest.mark.parametrize("height", [7, 30, 90])
@pytest.mark.parametrize(
    ("options", "score", "pixels"),
    [
        ({"min_area": 0}, 0.3, 0),
        ({"min_area": 0, "threshold": "0.5"}, 0.5, 0),
        ({"min_area": 40, "threshold": "precision=0.9"}, 0.8, 40),
        ({"min_area": "600m2"}, 0.3, 100),
    ],
)
def test_objects_are_those_of_all_boxes_suppressed_together(tmp_path, height, options, score, pixels):
    boxes = some_boxes()
    expected = suppress(boxes.where(boxes.scores >= score * SCORE_STEPS))
    large = expected.areas / PIXEL_PARTS**2
    expected = expected.where(large >= pixels if "m2" in str(options["min_area"]) else np.rint(large) >= pixels)
    expected = expected.where(np.lexsort(expected.centres.T[::-1]))

    found, threshold, _ = objects(boxes, height, tmp_path, **options)

    assert (threshold.low, threshold.high) == (score, score)
    np.testing.assert_array_equal(found.first, expected.centres)
    np.testing.assert_array_equal(shapely.bounds(found.polygons) * PIXEL_PARTS, expected.corners)
    np.testing.assert_array_equal(found.counts.classes, expected.classes)
    np.testing.assert_array_equal(found.counts.on_edge, expected.on_edge)
    np.testing.assert_array_equal(found.counts.area_px, np.rint(expected.areas / PIXEL_PARTS**2))
    np.testing.assert_array_equal(found.counts.score_max, expected.scores)
    np.testing.assert_array_equal(found.counts.score_sum, expected.scores * found.counts.area_px)


def test_a_score_at_the_threshold_is_an_object(tmp_path):
    boxes = some_boxes(1)
    boxes.scores[:] = 7000
    assert len(objects(boxes, 30, tmp_path, min_area=0, threshold="0.7")[0]) == 1
    assert objects(boxes, 30, tmp_path, min_area=0, threshold="0.70001")[0] is None


def test_progress_counts_the_rows_of_blocks(tmp_path):
    _, _, steps = objects(some_boxes(), 30, tmp_path)
    assert steps.announced == {"objects": (3, SHAPE[0] * SHAPE[1])}
    assert steps.arrived == 3


def test_square_metres_need_a_crs_and_the_image_without_one_is_named(tmp_path):
    with pytest.raises(BadOption, match=r"needs a CRS, which before\.tif lacks"):
        objects(some_boxes(), 30, tmp_path, grid=PLAIN, min_area="100m2")


@pytest.mark.parametrize(
    ("wanted", "kept", "least"),
    [(None, KEPT, 0.3), ("precision=0.9", KEPT, 0.8), (None, {}, 0.5), ("default", {}, 0.5), (0.25, KEPT, 0.25)],
)
def test_the_least_score_is_as_given_or_kept_or_one_half(wanted, kept, least):
    assert object_threshold(wanted, kept) == Threshold(least, least)


@pytest.mark.parametrize("wanted", ["0.3:0.6", "otsu", "local:64px", "recall=0.9"])
def test_thresholds_of_pixels_and_those_not_kept_are_refused(wanted):
    with pytest.raises(BadOption):
        object_threshold(wanted, KEPT)
