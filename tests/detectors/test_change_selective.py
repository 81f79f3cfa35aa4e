"""R-CNN with proposals of selective search: what is proposed, and that tiles and swapped dates change nothing."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")

from geochange.arrays import IGNORE  # noqa: E402
from geochange.datasets.collection import open_collection  # noqa: E402
from geochange.datasets.variation import NO_GEOMETRY, NO_LOOK  # noqa: E402
from geochange.detectors.networks.change_selective import CELL, difference_images, propose_regions  # noqa: E402
from geochange.detectors.networks.contract import Batch  # noqa: E402
from geochange.detectors.networks.registry import build_network  # noqa: E402
from geochange.errors import BadOption  # noqa: E402
from geochange.learning.losses import cross_entropy  # noqa: E402
from geochange.learning.object_scoring import box_iou  # noqa: E402
from geochange.learning.options import TrainOptions  # noqa: E402
from geochange.learning.samples import SampleOptions, TrainingSamples  # noqa: E402
from geochange.learning.training import fit  # noqa: E402
from geochange.pipeline.detect import detect  # noqa: E402
from tests.small_networks import lively, save_small  # noqa: E402
from tests.stand_ins import changed_pair, write_raster  # noqa: E402
from tests.tiny_network import NORMALISATION, about, write_pairs  # noqa: E402

BLOCKS = [[20, 80, 24, 84], [50, 40, 58, 46], [60, 61, 68, 66], [90, 100, 106, 116], [124, 10, 132, 20]]


def small(**options):
    torch.manual_seed(0)
    return build_network("change-selective", {"width": 8, **options})


def noisy(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 60, (*shape, 3)).astype(np.uint8)


def with_blocks(shape=(192, 192)):
    image = noisy(shape)
    for left, top, right, bottom in BLOCKS:
        image[top:bottom, left:right] = 200
    return image


def test_what_stands_out_is_proposed_across_borders_of_cells_too():
    found = propose_regions(with_blocks(), 48)
    overlap = box_iou(np.array(BLOCKS, float), found)
    assert overlap.max(axis=1).min() > 0.8
    assert (found[:, 2:] - found[:, :2]).max() <= 48
    assert len(np.unique(found, axis=0)) == len(found) < 3000


def test_a_larger_image_proposes_the_same_within():
    whole = propose_regions(with_blocks(), 48)
    image = noisy((192 + 2 * CELL, 192 + 2 * CELL), seed=1)
    image[CELL:-CELL, CELL:-CELL] = with_blocks()
    moved = propose_regions(image, 48) - CELL
    inner = [each[((each[:, :2] + each[:, 2:]) // 2 // CELL == 1).all(axis=1)] for each in (whole, moved)]
    assert len(inner[0]) > 20
    np.testing.assert_array_equal(*inner)


@pytest.mark.parametrize("bands", [1, 2, 3, 7])
def test_bands_share_three_in_an_image(bands):
    dates = torch.zeros(1, 2, bands, 8, 8)
    dates[0, 1, bands - 1, 2, 5], dates[0, 0, 0, 1, 1], dates[0, 0, 0, 3, 3] = 2.0, 9.0, -1.0
    image = difference_images(dates)[0]
    assert image.shape == (8, 8, 3)
    assert image[2, 5].max() == 128
    assert image[1, 1, 0] == 255
    assert image[3, 3, 0] == 64
    np.testing.assert_array_equal(image, difference_images(dates.flip(1))[0])
    network = small(bands=bands)
    with torch.no_grad():
        logits, rows = network.with_objects(torch.randn(2, 2, bands, 64, 64))
    assert logits.shape == (2, 1, 64, 64)
    assert rows.shape[1] == 9


def test_nothing_is_proposed_where_nothing_differs():
    assert propose_regions(np.zeros((100, 70, 3), np.uint8), 48).shape == (0, 4)
    with torch.no_grad():
        assert len(small().eval().with_objects(torch.ones(2, 2, 3, 64, 64))[1]) == 0


@pytest.mark.parametrize("classes", [("change",), ("appeared", "vanished")])
def test_swapped_dates_and_samples_side_by_side_are_found_alike(classes):
    network = lively(small(classes=classes))
    dates = torch.randn(3, 2, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = network.with_objects(dates)[1]
        back = network.with_objects(dates.flip(1))[1]
        alone = [network.with_objects(each[None])[1] for each in dates]
    numbered = torch.cat([torch.cat([each[:, :1] + k, each[:, 1:]], dim=1) for k, each in enumerate(alone)])
    assert min(map(len, alone)) > 3
    torch.testing.assert_close(together, numbered, atol=1e-4, rtol=1e-4)
    if len(classes) == 1:
        torch.testing.assert_close(together, back, atol=1e-4, rtol=1e-4)
    left, top, right, bottom, kind, score, row, col = together[:, 1:].T
    assert {*kind.tolist()} <= {float(k + 1) for k in range(len(classes))}
    assert ((score >= 0.05) & (score <= 1)).all()
    for low, high, middle in ((left, right, col), (top, bottom, row)):
        assert torch.maximum(middle - low, high - middle).max() <= network.reach + 1e-3


def test_every_weight_is_trained_and_unknown_ground_trains_nothing():
    network = small().train()
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[0, 10:14, 20:26] = labels[1, 30:40, 30:40] = 1
    dates = torch.randn(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network.loss(Batch(dates, labels), cross_entropy).backward()
    trained = [each.grad is not None and bool(each.grad.isfinite().all()) for each in network.parameters()]
    assert all(trained)
    nowhere = torch.full_like(labels, IGNORE)
    assert network.loss(Batch(dates, nowhere), cross_entropy).isfinite()


def test_it_learns_to_find_squares(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", [f"p{k}" for k in range(4)], side=64, labels=(1, 1))
    collection = open_collection(pairs)
    samples = TrainingSamples([collection], NORMALISATION, SampleOptions(size=64, geometry=NO_GEOMETRY, look=NO_LOOK))
    (tmp_path / "run").mkdir()
    torch.manual_seed(0)
    network = build_network("change-selective", {"width": 16})
    fitting = TrainOptions(steps=40, batch=4, every=40, loaders=0, rate=0.01, warmup=5, average=0.8, device="cpu")
    known = about(network="change-selective", options={"width": 16, "bands": 3, "classes": ("change",)})
    state = fit(network, known, samples, [collection], tmp_path / "run", fitting)
    assert state.history[-1]["val_ap50"] > 0.6


def test_boxes_of_a_scene_are_the_same_for_any_tile_size(tmp_path):
    before, after = (write_raster(tmp_path / f"{k}.tif", each) for k, each in enumerate(changed_pair((60, 250))))
    checkpoint = save_small(tmp_path / "small.pt", "change-selective")
    found = [
        detect(
            before,
            after,
            tmp_path / str(size),
            detector="network",
            detector_options={"checkpoint": checkpoint},
            tile_size=size,
            min_area=0,
        ).changes()
        for size in (640, 448)
    ]
    assert len(found[0]) > 5
    np.testing.assert_allclose(*(each.bounds.to_numpy() for each in found), atol=0.13)  # metres


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BadOption, match=r"change-selective needs cv2: pip install 'geochange\[selective\]'"):
        small()
