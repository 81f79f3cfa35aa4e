"""Networks of objects: their targets, their output, and that they learn."""

import geopandas
import numpy as np
import pytest
import shapely
from scipy.special import expit

torch = pytest.importorskip("torch")

from geochange.arrays import IGNORE  # noqa: E402
from geochange.datasets.collection import Sample, open_collection  # noqa: E402
from geochange.datasets.options import CollectionOptions  # noqa: E402
from geochange.datasets.variation import NO_GEOMETRY, NO_LOOK  # noqa: E402
from geochange.detectors.boxes import PIXEL_PARTS  # noqa: E402
from geochange.detectors.networks.contract import Batch  # noqa: E402
from geochange.detectors.networks.object_network import Targets, boxes_in, on_unknown, targets_of  # noqa: E402
from geochange.detectors.networks.registry import build_network  # noqa: E402
from geochange.detectors.networks.two_stage_network import Proposed  # noqa: E402
from geochange.errors import BadOption  # noqa: E402
from geochange.learning.losses import cross_entropy  # noqa: E402
from geochange.learning.object_scoring import (  # noqa: E402
    ItemObjects,
    box_iou,
    find_boxes,
    find_items,
    hits_of,
    object_figures,
    pool_objects,
    score_histogram,
)
from geochange.learning.options import TrainOptions  # noqa: E402
from geochange.learning.samples import SampleOptions, TrainingSamples  # noqa: E402
from geochange.learning.scoring import ScoringOptions  # noqa: E402
from geochange.learning.training import fit  # noqa: E402
from tests.commands import refused  # noqa: E402
from tests.small_networks import OBJECTS, lively  # noqa: E402
from tests.stand_ins import PLACE, UTM, textured, write_raster  # noqa: E402
from tests.tiny_network import NORMALISATION, about, write_pairs  # noqa: E402

ANCHORS = (4, 6, 8, 12, 16, 24)


def small(name, **options):
    torch.manual_seed(0)
    network = build_network(name, {"width": 8, **options})
    if name == "change-ssd":
        torch.nn.init.zeros_(network.kind.bias)
    return network


def dates(n=2, side=64, seed=0):
    return torch.randn(n, 2, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_each_region_of_a_class_is_an_object():
    labels = torch.zeros(40, 60, dtype=torch.int64)
    labels[3:7, 10:16], labels[20:22, 30:33], labels[30, 5] = 1, 2, 1
    labels[4, 16:18] = 2  # beside the first, of another class
    found = targets_of(labels, ANCHORS)
    assert found.boxes.tolist() == [[10, 3, 16, 7], [16, 4, 18, 5], [30, 20, 33, 22]]  # one pixel alone is none
    assert found.classes.tolist() == [1, 2, 2]
    assert not found.unknown.any()


def test_what_is_too_large_or_not_labelled_is_not_trained():
    labels = torch.zeros(80, 80, dtype=torch.int64)
    labels[10:70, 10:20], labels[0:5, 60:80] = 1, IGNORE
    found = targets_of(labels, ANCHORS)
    assert len(found.boxes) == 0
    assert found.unknown[10:70, 10:20].all()
    assert found.unknown.sum() == 600 + 100
    anchors = torch.tensor([[12.0, 30, 16, 34], [30, 30, 34, 34], [60, 0, 64, 4], [-4, -4, 0, 0]])
    assert on_unknown(anchors, found.unknown).tolist() == [True, False, True, False]


def test_objects_of_up_to_twice_the_largest_anchor_are_trained_and_all_larger_ones_are_unknown():
    labels = torch.zeros(130, 160, dtype=torch.int64)
    labels[2:50, 3:8], labels[60:64, 2:50] = 1, 2  # 48 pixels either way
    labels[2:51, 20:24], labels[70:73, 60:109], labels[80:130, 110:159] = 2, 1, 1
    labels[10:20, 60:70] = 1
    found = targets_of(labels, ANCHORS)
    kept = {(tuple(box), kind) for box, kind in zip(found.boxes.tolist(), found.classes.tolist(), strict=True)}
    assert kept == {((3, 2, 8, 50), 1), ((2, 60, 50, 64), 2), ((60, 10, 70, 20), 1)}
    expected = torch.zeros_like(found.unknown)
    expected[2:51, 20:24] = expected[70:73, 60:109] = expected[80:130, 110:159] = True
    assert torch.equal(found.unknown, expected)


@pytest.mark.parametrize("name", OBJECTS)
def test_every_weight_is_trained_and_unknown_ground_trains_nothing_of_objects(name):
    network = small(name).train()
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[0, 10:14, 20:26] = labels[1, 30:40, 30:40] = 1
    loss = network.loss(Batch(dates(), labels), cross_entropy)
    loss.backward()
    untrained = [key for key, each in network.named_parameters() if each.grad is None or not each.grad.isfinite().all()]
    assert loss.isfinite()
    assert not untrained
    nothing = [Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.ones(64, 64, dtype=torch.bool))] * 2
    if name == "change-ssd":
        assert network.object_loss(network.pyramid(dates()), dates(), nothing) == 0


def plain_focal_loss(logits, wanted):
    """Lin (2017), alpha 0.25 and gamma 2, summed."""
    likely = np.where(wanted, expit(logits), expit(-logits))
    return -(np.where(wanted, 0.25, 0.75) * (1 - likely) ** 2 * np.log(likely)).sum()


def plain_object_loss(kinds, moves, targets, anchors):
    """Of (anchor, class) logits and (anchor, 4) moves of one sample: what `ChangeSSD` is to give for it."""
    boxes, classes, unknown = (each.numpy() for each in (targets.boxes, targets.classes, targets.unknown))
    middle, sides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    col, row = np.clip(middle.astype(int), 0, np.array(unknown.shape[::-1]) - 1).T
    known, wanted = ~unknown[row, col], np.zeros(kinds.shape, bool)
    if not len(boxes):
        return plain_focal_loss(kinds[known], wanted[known])
    overlap = box_iou(boxes.astype(float), anchors)  # (object, anchor)
    best = overlap.argmax(axis=0)
    hit = (overlap.max(axis=0) >= 0.45) | (overlap >= overlap.max(axis=1, keepdims=True) - 1e-9).any(axis=0)
    wanted[hit, classes[best[hit]] - 1] = True
    counted = hit | (known & (overlap.max(axis=0) < 0.3))
    own = boxes[best[hit]]
    shift = ((own[:, :2] + own[:, 2:]) / 2 - middle[hit]) / sides[hit]
    growth = np.log((own[:, 2:] - own[:, :2]) / sides[hit])
    off = abs(moves[hit] - np.hstack([shift, growth]))
    place = np.where(off < 1 / 9, 4.5 * off**2, off - 1 / 18).sum()
    return (plain_focal_loss(kinds[counted], wanted[counted]) + place) / hit.sum()


def by_anchor(maps, per_cell, values):
    """[(n, anchors * values, y, x)] -> (n, anchor, values), level by level, row by row, cell by cell."""
    parts = [each.numpy().transpose(0, 2, 3, 1).reshape(len(each), -1, values) for each in maps]
    assert [part.shape[1] for part in parts] == [per_cell * each[0, 0].numel() for each in maps]
    return np.concatenate(parts, axis=1).astype(float)


def test_the_loss_of_a_single_shot_is_that_of_its_parts():
    """Of samples with objects, without any, and with ground that is not known."""
    network = lively(small("change-ssd", classes=("appeared", "vanished")))
    images, labels = torch.randn(4, 2, 3, 32, 48, generator=torch.Generator().manual_seed(0)), torch.zeros(4, 32, 48)
    labels[0, 4:10, 8:20], labels[0, 20:24, 30:37], labels[0, 21:27, 37:45] = 1, 2, 1
    labels[1, 8:] = labels[2, :, :16] = IGNORE
    labels[2, 4:9, 13:25] = 2
    targets = [targets_of(each, ANCHORS) for each in labels.long()]
    assert [len(each.boxes) for each in targets] == [3, 0, 1, 0]
    with torch.no_grad():
        pyramid = network.pyramid(images)
        looked = [network.look(level) for level in pyramid]
        kinds = by_anchor([network.kind(each) for each in looked], network.anchors_per_cell, 2)
        moves = by_anchor([network.place(each) for each in looked], network.anchors_per_cell, 4)
        anchors = network.all_anchors(pyramid, images).numpy().astype(float)
        found = network.object_loss(pyramid, images, targets)
        each_alone = [
            network.object_loss([level[k : k + 1] for level in pyramid], images[k : k + 1], [targets[k]])
            for k in range(4)
        ]
    expected = [plain_object_loss(*each, anchors) for each in zip(kinds, moves, targets, strict=True)]
    np.testing.assert_allclose(each_alone, expected, rtol=1e-4)
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("classes", [("change",), ("appeared", "vanished")])
def test_what_is_found_is_in_order(name, classes):
    network = lively(small(name, classes=classes))
    with torch.no_grad():
        logits, rows = network.with_objects(dates(3))
    assert logits.shape == (3, 1 if len(classes) == 1 else 3, 64, 64)
    sample, left, top, right, bottom, kind, score, row, col = rows.T
    assert len(rows) > 10
    assert {*sample.tolist()} == {0.0, 1.0, 2.0}
    assert {*kind.tolist()} <= {float(k + 1) for k in range(len(classes))}
    assert ((score >= 0.05) & (score <= 1)).all()
    assert torch.minimum(right - left, bottom - top).min() >= 1
    for low, high, middle in ((left, right, col), (top, bottom, row)):
        assert torch.maximum(middle - low, high - middle).max() <= network.reach + 1e-3
    assert (row % 2 == 0).all()
    assert (col % 2 == 0).all()


@pytest.mark.parametrize("name", OBJECTS)
def test_a_batch_finds_what_each_finds_alone(name):
    network, several = lively(small(name)), dates(4)
    with torch.no_grad():
        logits, rows = network.with_objects(several)
        alone = [network.with_objects(each[None]) for each in several]
    torch.testing.assert_close(logits, torch.cat([each[0] for each in alone]), atol=1e-4, rtol=1e-4)
    numbered = [torch.cat([each[1][:, :1] + k, each[1][:, 1:]], dim=1) for k, each in enumerate(alone)]
    assert min(map(len, numbered)) > 3
    torch.testing.assert_close(rows, torch.cat(numbered), atol=1e-4, rtol=1e-4)


def plain_peaks(levels):
    """(sample, anchor, score) of the best anchor of each cell that none of the cells around exceeds, cell by cell."""
    found, first = [], 0
    for level in levels:
        n, per_cell, rows, cols = level.shape
        best = level.max(axis=1)
        for k, row, col in np.ndindex(n, rows, cols):
            around = best[k, max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
            if best[k, row, col] >= max(around.max(), np.float32(0.05)):
                number = (row * cols + col) * per_cell + level[k, :, row, col].argmax()
                found.append((k, first + number, best[k, row, col]))
        first += per_cell * rows * cols
    return sorted(found, key=lambda each: each[0])


def test_anchors_that_stand_out_are_the_best_of_the_nine_cells_around_sample_by_sample():
    rng = np.random.default_rng(0)
    levels = [rng.integers(0, 20, (3, 6, *shape)).astype(np.float32) / 40 for shape in ((12, 20), (6, 10), (3, 5))]
    for level in levels:
        level[1] /= 10  # the floor is 2 / 40
        level[1, 2, 1, 3] = 0.05
    peaks = small("change-ssd").peaks_of([torch.from_numpy(level) for level in levels])
    found = [*zip(peaks.sample.tolist(), peaks.anchor.tolist(), peaks.score.numpy(), strict=True)]
    assert found == plain_peaks(levels)
    assert len(found) > 50
    assert sum(sample == 1 for sample, *_ in found) == 3


def test_a_box_lies_within_reach_of_its_anchor_and_is_no_line():
    network = small("change-ssd", anchors=(4, 8, 16))
    anchor = [20.0, 30, 28, 34]  # around (24, 32)
    boxes = {
        (8.0, 16, 40, 48): True,
        (7.9, 20, 30, 34): False,
        (20, 15.9, 30, 34): False,
        (20, 30, 40.1, 34): False,
        (20, 30, 30, 48.1): False,
        (20, 30, 21, 31): True,
        (20, 30, 20.9, 34): False,
        (20, 30, 30, 30.9): False,
        (30, 30, 20, 34): False,
    }
    found = network.within_reach(torch.tensor([*boxes]), torch.tensor([anchor]).expand(len(boxes), 4))
    assert found.tolist() == [*boxes.values()]


def test_places_are_handed_out_by_sample_where_some_have_none():
    boxes = torch.arange(20.0).view(5, 4)
    proposed = Proposed(torch.tensor([1, 1, 2, 2, 2]), boxes, torch.ones(5), boxes)
    found = [each.tolist() for each in proposed.by_sample(5)]
    assert found == [[], boxes[:2].tolist(), boxes[2:].tolist(), [], []]
    nothing = Proposed(torch.zeros(0, dtype=torch.int64), boxes[:0], torch.ones(0), boxes[:0])
    assert [each.shape for each in nothing.by_sample(2)] == [(0, 4)] * 2


@pytest.mark.parametrize("name", OBJECTS)
def test_swapping_the_dates_finds_the_same(name):
    network = lively(small(name))
    with torch.no_grad():
        there, back = network.with_objects(dates())[1], network.with_objects(dates().flip(1))[1]
    torch.testing.assert_close(there, back, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", OBJECTS)
def test_a_shift_by_whole_strides_moves_the_boxes(name):
    network = lively(small(name))
    radius, side = network.receptive_radius, 2 * network.receptive_radius + 32
    image = dates(1, side + 16)
    with torch.no_grad():
        one, other = (network.with_objects(image[..., k : k + side, k : k + side].contiguous())[1] for k in (0, 16))
    moved = other.clone()
    moved[:, [1, 2, 3, 4, 7, 8]] += 16

    def inner(rows):
        return rows[((rows[:, 7:] >= radius + 16) & (rows[:, 7:] < radius + 32)).all(dim=1)]

    assert len(inner(one)) > 3
    torch.testing.assert_close(inner(one), inner(moved), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("anchors", [(), (4, 8), (8, 6, 4), (1, 4, 8), (4, 4, 8)])
def test_anchors_that_cannot_be_are_refused(anchors):
    with pytest.raises(BadOption, match=r"anchors .* must rise from 2 or more"):
        build_network("change-rcnn", {"anchors": anchors})


def test_regions_are_boxes_with_classes():
    labels = np.zeros((20, 20), np.uint8)
    labels[2:5, 3:9], labels[10:12, 0:2], labels[15:20, 15:20] = 1, 2, IGNORE
    boxes, classes = boxes_in(labels)
    assert boxes.tolist() == [[3, 2, 9, 5], [0, 10, 2, 12]]
    assert classes.tolist() == [1, 2]


def test_objects_with_numbers_are_told_apart_though_they_touch():
    labels, numbers = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.int32)
    labels[2:6, 2:10], labels[2:6, 10:12] = 1, 2
    numbers[2:6, 2:6], numbers[2:6, 6:10], numbers[2:6, 10:12] = 7, 3, 5
    boxes, classes = boxes_in(labels, numbers)
    assert boxes.tolist() == [[6, 2, 10, 6], [2, 2, 6, 6], [10, 2, 12, 6]]
    assert classes.tolist() == [1, 1, 2]
    found = targets_of(torch.from_numpy(labels.astype(np.int64) + 256 * numbers), ANCHORS)
    assert found.boxes.tolist() == boxes.tolist()
    assert len(targets_of(torch.from_numpy(labels.astype(np.int64)), ANCHORS).boxes) == 2


def test_boxes_of_a_layer_are_trained_one_by_one(tmp_path):
    images = [write_raster(tmp_path / f"{name}.tif", textured((64, 80))) for name in ("before", "after")]
    corners = [(10, 10, 14, 14), (14, 10, 18, 14), (30, 40, 41, 47)]
    squares = [shapely.box(*(PLACE @ (left, bottom)), *(PLACE @ (right, top))) for left, top, right, bottom in corners]
    geopandas.GeoDataFrame(geometry=squares, crs=UTM).to_file(tmp_path / "boxes.gpkg")
    (tmp_path / "pairs.csv").write_text("before,after,labels\nbefore.tif,after.tif,boxes.gpkg\n")
    assert len(images) == 2
    collection = open_collection(tmp_path / "pairs.csv", CollectionOptions(objects=True))
    sample = collection.read(0)
    assert boxes_in(sample.labels, sample.objects)[0].tolist() == [list(each) for each in corners]
    options = SampleOptions(size=64, geometry=NO_GEOMETRY, look=NO_LOOK)
    _, labels = TrainingSamples([collection], NORMALISATION, options)[0]
    found = targets_of(labels, ANCHORS).boxes
    sizes = (found[:, 2:] - found[:, :2]).tolist()
    assert sorted(sizes) == [[4, 4], [4, 4], [11, 7]]
    network = small("change-rcnn").train()
    batch = Batch(dates(1), labels[None])
    assert network.loss(batch, cross_entropy).isfinite()


def test_classes_of_a_layer_are_named_by_a_column(tmp_path, run):
    for name in ("before", "after"):
        write_raster(tmp_path / f"{name}.tif", textured((64, 80)))
    corners = [(10, 10, 14, 14), (14, 10, 18, 14), (30, 40, 41, 47)]
    squares = [shapely.box(*(PLACE @ (left, bottom)), *(PLACE @ (right, top))) for left, top, right, bottom in corners]
    kinds = ["appeared", "vanished", "appeared"]
    geopandas.GeoDataFrame({"kind": kinds}, geometry=squares, crs=UTM).to_file(tmp_path / "boxes.gpkg")
    (tmp_path / "pairs.csv").write_text("before,after,labels\nbefore.tif,after.tif,boxes.gpkg\n")
    arguments = "train", tmp_path / "pairs.csv", "-o", tmp_path / "run", "--network", "change-ssd", "--steps", 2
    options = "--classes", "appeared,vanished", "--size", 64, "--batch", 1, "--loaders", 0, "--no-pretrained"
    refused(run(*arguments, *options), "column", "appeared")
    code, _, errors = run(*arguments, *options, "--label-column", "kind", "-q", "--overwrite")
    assert code == 0, errors
    assert (tmp_path / "run" / "best.pt").exists()


def item(found, scores, there=((0, 0, 10, 10), (20, 20, 30, 30))):
    found, there = (np.array(each, float).reshape(-1, 4) for each in (found, there))
    return ItemObjects(there, np.ones(len(there), int), found, np.ones(len(found), int), np.array(scores), 10_000)


def test_each_object_is_hit_once_by_the_best_box():
    boxes = [[0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 26], [50, 50, 60, 60]]
    one = item(boxes, [0.5, 0.9, 0.8, 0.7])
    assert hits_of(one).tolist() == [False, True, True, False]
    histogram = score_histogram([one])
    assert histogram.at(0.6) == pytest.approx(
        {"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "iou": 2 / 3, "accuracy": 0.75}
    )
    assert histogram.at(0.85)["recall"] == 0.5
    assert object_figures([one, item([], [])])["ap50"] < object_figures([one])["ap50"]


def test_only_a_box_of_the_same_class_hits():
    there = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], float)
    found = there[[0, 0, 1]]
    one = ItemObjects(there, np.array([1, 2]), found, np.array([2, 1, 1]), np.array([0.9, 0.8, 0.7]), 10_000)
    assert hits_of(one).tolist() == [False, True, False]


def test_what_is_missed_counts_against_recall():
    histogram = score_histogram([item([[0, 0, 10, 10]], [0.9], there=[[0, 0, 10, 10], [40, 40, 50, 50]])])
    assert histogram.at(0.5)["recall"] == 0.5
    assert histogram.at(0.5)["precision"] == 1.0


def test_overlaps_are_torchvisions():
    ops = pytest.importorskip("torchvision").ops
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (2, 30, 2))
    one, other = np.concatenate([corner, corner + rng.uniform(1, 30, (2, 30, 2))], axis=2)
    np.testing.assert_allclose(
        box_iou(one, other), ops.box_iou(*map(torch.from_numpy, (one, other))).numpy(), atol=1e-12
    )


def test_nothing_at_all_can_be_joined_and_measured():
    found, there = pool_objects([])
    assert len(found) == len(there) == 0
    assert object_figures([])["ap50"] == 0


def test_boxes_of_a_sample_come_back_in_its_pixels():
    network = lively(small("change-ssd"))
    rng = np.random.default_rng(0)
    images = tuple(rng.integers(0, 255, (3, 50, 70)).astype(np.uint8) for _ in range(2))
    sample = Sample(images, np.ones((2, 50, 70), bool), np.zeros((50, 70), np.uint8))
    boxes = find_boxes(network, sample, NORMALISATION, zoom=2.0)
    assert len(boxes) > 3
    assert boxes.corners.min() >= 0
    assert (boxes.corners[:, 2:] <= np.array([70, 50]) * PIXEL_PARTS).all()
    assert boxes.corners[:, 2].max() > 50 * PIXEL_PARTS


@pytest.mark.parametrize("name", OBJECTS)
def test_it_learns_to_find_squares_and_says_so(tmp_path, name):
    pairs = write_pairs(tmp_path / "pairs", [f"p{k}" for k in range(4)], side=64, labels=(1, 1))
    collection = open_collection(pairs)
    options = SampleOptions(size=64, geometry=NO_GEOMETRY, look=NO_LOOK)
    samples = TrainingSamples([collection], NORMALISATION, options)
    (tmp_path / "run").mkdir()
    torch.manual_seed(2)
    network = build_network(name, {"width": 16})
    fitting = TrainOptions(steps=60, batch=4, every=30, loaders=0, rate=0.01, warmup=5, average=0.8, device="cpu")
    known = about(network=name, options={"width": 16, "bands": 3, "classes": ("change",)})
    state = fit(network, known, samples, [collection], tmp_path / "run", fitting)
    assert state.history[-1]["val_ap50"] > 0.6
    assert state.best == max(row["val_ap50"] for row in state.history)
    items = list(find_items(state.averaged, collection, NORMALISATION, ScoringOptions()))
    assert object_figures(items)["ap50"] == pytest.approx(state.history[-1]["val_ap50"])
    assert score_histogram(items).at(0.5)["f1"] > 0.6


def test_anchors_that_half_overlap_an_object_are_neither_trained_as_it_nor_as_background():
    network = build_network("change-rcnn", {"width": 8})
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 4], [0, 0, 10, 2]])  # IoU 1, 0.4, 0.2
    known = {"boxes": anchors[:1], "unknown": torch.zeros(16, 16, dtype=torch.bool)}
    labels, _ = network.proposals.assign_targets_to_anchors([anchors], [known])
    assert labels[0].tolist() == [1, -1, 0]


def test_unknown_ground_is_no_background_of_proposals_but_objects_that_reach_into_it_are_found():
    anchors = torch.tensor([[10.0, 10, 18, 18], [40, 10, 48, 18], [10, 40, 18, 48], [40, 40, 48, 48], [12, 12, 21, 20]])
    unknown = torch.zeros(64, 64, dtype=torch.bool)
    unknown[14:16, 14:16] = unknown[40:, 40:] = True
    target = {"boxes": anchors[:1], "labels": torch.tensor([1]), "unknown": unknown}
    known = target | {"unknown": torch.zeros_like(unknown)}
    proposals = small("change-rcnn").proposals
    labels, boxes = proposals.assign_targets_to_anchors([anchors, anchors], [target, known])
    assert labels[0].tolist() == [1, 0, 0, -1, -1]  # the last one overlaps the object by 0.36
    assert labels[1].tolist() == [1, 0, 0, 0, -1]
    assert boxes[0][0].tolist() == anchors[0].tolist()
