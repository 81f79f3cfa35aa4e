"""Transfer of weights, statistics of a target, and pseudo-labels."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch

from geochange.arrays import IGNORE
from geochange.datasets.collection import open_collection, open_images
from geochange.datasets.options import CollectionOptions
from geochange.detectors.networks.checkpoint import Checkpoint
from geochange.detectors.networks.contract import Batch
from geochange.detectors.networks.registry import build_network
from geochange.errors import NothingValid
from geochange.learning.finetuning import adapt_statistics, pseudo_label, transfer
from geochange.learning.scoring import score_sample
from tests.small_networks import SMALL, lively
from tests.stand_ins import changed_pair, write_raster
from tests.tiny_network import about, write_pairs


def checkpoint_of(name, **options):
    torch.manual_seed(0)
    network = lively(build_network(name, {**SMALL[name], **options}))
    settings = {"bands": 3, "classes": ("change",), **SMALL[name], **options}
    return Checkpoint(about(network=name, options=settings), network.state_dict())


def undecided(name, collection):
    """A checkpoint that calls half of a collection changed, with scores all over the range."""
    start = checkpoint_of(name)
    samples = [collection.read(index) for index in range(len(collection))]
    logits = torch.cat(
        [score_sample(start.build(), each, start.about.normalisation, augment=True).flatten() for each in samples]
    )
    temperature = float(logits.std())
    middle = float(torch.sigmoid(logits / temperature).median())
    return replace(start, about=replace(start.about, thresholds={"default": middle}, temperature=temperature))


def dates(bands=3):
    torch.manual_seed(1)
    return torch.randn(1, 2, bands, 64, 64)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_bands_and_classes_take_all_weights(name):
    start = checkpoint_of(name)
    moved = transfer(start, 3, ("change",))
    assert moved.fresh == ()
    torch.testing.assert_close(moved.network.eval()(dates()), start.build()(dates()))


def test_more_bands_answer_equal_bands_alike():
    """Grey images in six bands look like grey images in three."""
    start = checkpoint_of("attention-net")
    moved = transfer(start, 6, ("change",))
    assert moved.fresh == ()
    grey = dates(1)
    three, six = (grey.expand(-1, -1, bands, -1, -1) for bands in (3, 6))
    found, expected = moved.network.eval()(six), start.build()(three)
    assert (found - expected).abs().max() < 1e-3 * expected.std()  # sums of another order


def test_more_classes_keep_all_but_the_answer():
    """Fusion without direction becomes fusion with, which computes the same."""
    start = checkpoint_of("attention-net")
    moved = transfer(start, 3, ("built", "felled"))
    assert moved.fresh
    assert all(name.startswith(("head.1.", "auxiliary.")) for name in moved.fresh)
    pyramid, before = moved.network.eval()._pyramid(dates()), start.build()._pyramid(dates())
    for found, expected in zip(pyramid, before, strict=True):
        assert (found - expected).abs().max() < 1e-3 * expected.std()


def test_statistics_become_those_of_the_target():
    network = lively(build_network("siamese-unet", SMALL["siamese-unet"]))
    first = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen = []
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    weights = {name: value.clone() for name, value in network.named_parameters()}
    batches = [Batch(3 * dates() + k, torch.zeros(1, 64, 64).long()) for k in range(3)]
    adapt_statistics(network, batches)
    expected = torch.stack([each.mean(dim=(0, 2, 3)) for each in seen]).mean(dim=0)
    torch.testing.assert_close(first.running_mean, expected, atol=1e-4, rtol=1e-4)
    assert not any(module.training for module in network.modules())
    assert first.momentum == torch.nn.BatchNorm2d(1).momentum
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())


def test_a_share_of_the_statistics_lies_between():
    networks = [lively(build_network("siamese-unet", SMALL["siamese-unet"])) for _ in range(3)]
    for network, share in zip(networks, (0.0, 0.25, 1.0), strict=True):
        adapt_statistics(network, [Batch(dates() + 2, torch.zeros(1, 64, 64).long())], share)
    first = [next(m for m in each.modules() if isinstance(m, torch.nn.BatchNorm2d)) for each in networks]
    low, between, high = (each.running_mean for each in first)
    torch.testing.assert_close(between, 0.75 * low + 0.25 * high)


def test_pseudo_labels_are_what_the_network_is_sure_of(tmp_path):
    folder = write_pairs(tmp_path / "target", ["a", "b"], side=32)
    collection = open_collection(folder, CollectionOptions(labelled=False))
    start = undecided("siamese-unet", collection)
    unsure, sure = (pseudo_label(start, collection, tmp_path / str(c), sure=c) for c in (0.0, 0.5))
    for index in range(2):
        every, some = unsure.read_labels(index), sure.read_labels(index)
        assert {*np.unique(every)} <= {0, 1}
        known = some != IGNORE
        np.testing.assert_array_equal(some[known], every[known])
        assert 0 < known.mean() < 1


@pytest.mark.parametrize("classes", [("change",), ("built", "felled", "flooded")])
@pytest.mark.parametrize(("threshold", "sure"), [(0.3, 0.2), (0.3, 0.4), (0.6, 0.3)])
def test_sure_is_the_share_of_the_way_from_the_threshold_to_either_end(tmp_path, classes, threshold, sure):
    collection = open_collection(write_pairs(tmp_path / "target", ["a"], side=32), CollectionOptions(labelled=False))
    start = checkpoint_of("siamese-unet", classes=classes)
    (logits,) = score_sample(start.build(), collection.read(0), start.about.normalisation, augment=True).double()
    centred = logits - logits.mean(dim=(1, 2), keepdim=True)
    start.weights["head.bias"] -= logits.mean(dim=(1, 2)).float()
    temperature = float(centred.std()) / 2
    start = replace(start, about=replace(start.about, thresholds={"default": threshold}, temperature=temperature))
    labelled = pseudo_label(start, collection, tmp_path / "labels", sure=sure)
    scaled = centred / temperature
    scores = (torch.sigmoid(scaled) if len(classes) == 1 else torch.softmax(scaled, dim=0)[1:]).numpy()
    best = scores.max(axis=0)
    expected = np.full(best.shape, IGNORE)
    expected[best <= threshold * (1 - sure)] = 0
    changed = best >= threshold + sure * (1 - threshold)
    expected[changed] = scores.argmax(axis=0)[changed] + 1
    assert {*range(1 + len(classes)), IGNORE} == {*np.unique(expected)}
    assert np.mean(labelled.read_labels(0) != expected) < 0.005  # rounding at the limits
    assert labelled.options.classes == classes


def test_pseudo_labels_of_a_scene_lie_where_it_lies(tmp_path):
    before, after = changed_pair((70, 90))
    paths = [write_raster(tmp_path / f"{k}.tif", date) for k, date in enumerate((before, after))]
    collection = open_images(paths, CollectionOptions(tile_size=40))
    labelled = pseudo_label(undecided("siamese-unet", collection), collection, tmp_path / "labels", sure=0.0)
    assert len(labelled) == len(collection) == 6
    with rasterio.open(labelled.items[0].pair.labels) as found, rasterio.open(paths[0]) as scene:
        assert (found.transform, found.crs, found.shape) == (scene.transform, scene.crs, scene.shape)
        whole = found.read(1)
    np.testing.assert_array_equal(labelled.read(5).labels, whole[labelled.items[5].tile.slices()])


def test_pixels_without_data_at_one_date_get_no_label(tmp_path):
    before, after = changed_pair((64, 64))
    for date, rows in ((before, slice(0, 9)), (after, slice(20, 24))):
        date[:, rows] = 0
    paths = [write_raster(tmp_path / f"{k}.tif", date, nodata=0) for k, date in enumerate((before, after))]
    collection = open_images(paths, CollectionOptions(tile_size=64))
    start = undecided("siamese-unet", collection)
    labelled = pseudo_label(start, collection, tmp_path / "labels", sure=0.0).read_labels(0)
    unknown = np.zeros((64, 64), bool)
    unknown[0:9] = unknown[20:24] = True
    np.testing.assert_array_equal(labelled == IGNORE, unknown)


def test_a_network_that_is_sure_of_no_change_has_nothing_to_train_on(tmp_path):
    start = checkpoint_of("siamese-unet")
    start.weights["head.bias"] = torch.full_like(start.weights["head.bias"], -1e4)
    collection = open_collection(write_pairs(tmp_path / "target", ["a"], side=32), CollectionOptions(labelled=False))
    with pytest.raises(NothingValid, match="sure of no change"):
        pseudo_label(start, collection, tmp_path / "labels")
