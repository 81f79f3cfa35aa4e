"""What a network is trained on: the options of a run reach the data."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine

from geochange.datasets.variation import NO_GEOMETRY, GeometryOptions, LookOptions
from geochange.detectors.networks.checkpoint import Checkpoint
from geochange.errors import BadOption
from geochange.learning import material
from geochange.learning.material import gather, make_network, make_samples, sample_size, training_gsd
from geochange.learning.options import FinetuneOptions, TrainRunOptions
from geochange.learning.run_options import parse_training_data
from geochange.learning.scoring import scene_of
from tests.stand_ins import PLACE, changed_pair, write_raster
from tests.tiny_network import write_pairs


def test_stored_values_and_what_is_ignored_are_those_of_the_run(tmp_path):
    folder = write_pairs(tmp_path / "pairs", ["a", "b"], labels=(9, 3, 7))
    options = TrainRunOptions(classes=("built", "felled"), values=(9, 3), ignore=(7,), val_share=0.0)
    (collection,) = gather([parse_training_data(str(folder))], options).training
    found = np.stack([collection.read_labels(k) for k in range(2)])
    assert {*np.unique(found)} == {0, 1, 2, 255}


def test_dates_of_a_table_are_aligned_where_the_run_asks_for_it(tmp_path):
    before, after = changed_pair((50, 70))
    write_raster(tmp_path / "before.tif", before)
    write_raster(tmp_path / "after.tif", after, transform=PLACE @ Affine.translation(5, 0))
    write_raster(tmp_path / "truth.tif", (before[:1] > 120).astype(np.uint8))
    (tmp_path / "scenes.csv").write_text("before,after,labels\nbefore.tif,after.tif,truth.tif\n")
    options = TrainRunOptions(align=True, tile_size=40, val_share=0.0)
    (collection,) = gather([parse_training_data(str(tmp_path / "scenes.csv"))], options).training
    assert len(collection) == 4
    assert max(max(item.tile.shape) for item in collection.items) <= 40
    sample = collection.read(0)
    np.testing.assert_array_equal(sample.dates[0][:, 0, 0], before[:, 0, 5])
    np.testing.assert_array_equal(sample.dates[1][:, 0, 0], after[:, 0, 0])


def test_new_networks_take_quantities_and_old_ones_what_they_took(tmp_path):
    dates = changed_pair((40, 40))
    for name, date in zip(("before.tif", "after.tif"), dates, strict=True):
        path = write_raster(tmp_path / name, date)
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.offsets = [0.5] * 3, [3.0] * 3
    write_raster(tmp_path / "truth.tif", (dates[0][:1] > 120).astype(np.uint8))
    (tmp_path / "scenes.csv").write_text("before,after,labels\nbefore.tif,after.tif,truth.tif\n")
    data, options = [parse_training_data(str(tmp_path / "scenes.csv"))], TrainRunOptions(val_share=0.0)
    material = gather(data, options)
    np.testing.assert_array_equal(material.training[0].read(0).dates[1], dates[1] * np.float32(0.5) + np.float32(3))
    _, about, _ = make_network(material, replace(options, network="siamese-unet"), None, ["scenes"])
    assert about.values == "physical"
    old = Checkpoint(replace(about, values="stored"), {})
    (collection,) = gather(data, replace(options, start="old.pt"), old).training
    np.testing.assert_array_equal(collection.read(0).dates[1], dates[1])


@pytest.mark.parametrize(("classes", "swapped"), [(("change",), True), (("built", "felled"), False)])
def test_dates_are_swapped_only_where_change_has_no_direction(tmp_path, classes, swapped):
    folder = write_pairs(tmp_path / "pairs", ["a", "b"], labels=(1, 2))
    values = {"classes": classes, "values": (1, 2)[: len(classes)], "ignore": (2,) if swapped else ()}
    options = TrainRunOptions(**values, val_share=0.0, network="siamese-unet", pretrained=False)
    material = gather([parse_training_data(str(folder))], options)
    network, _, _ = make_network(material, options, None, ["pairs"])
    assert make_samples(material, options, network).options.look.swap is swapped


WITH, WITHOUT = (SimpleNamespace(options=SimpleNamespace(**own)) for own in ({"encoder": "efficientnet_lite0"}, {}))


@pytest.mark.parametrize(
    ("network", "pretrained", "loaded"),
    [(WITH, None, True), (WITH, True, True), (WITH, False, False), (WITHOUT, None, False), (WITHOUT, False, False)],
)
def test_an_encoder_begins_pretrained_unless_that_is_declined(monkeypatch, network, pretrained, loaded):
    monkeypatch.setattr(material, "use_pretrained_encoder", lambda network: "ImageNet")
    options = TrainRunOptions(pretrained=pretrained)
    assert material._load_encoder(network, options, None) == ("ImageNet" if loaded else None)


def gathered(folder, options):
    if not folder.exists():
        write_pairs(folder, ["a", "b", "c"], labels=(1, 2))
    return gather([parse_training_data(str(folder))], options)


@pytest.mark.parametrize("balanced", [False, True])
def test_samples_are_drawn_as_the_run_asks_for(tmp_path, balanced):
    options = TrainRunOptions(
        seed=7,
        size=48,
        gsd=2.0,
        balanced=balanced,
        classes=("built", "felled"),
        network="siamese-unet",
        pretrained=False,
        val_share=0.0,
    )
    write_pairs(tmp_path / "pairs", ["a", "b", "c"], labels=(1, 2))
    data = gather([parse_training_data(f"{tmp_path / 'pairs'}@0.5")], options)
    network, _, _ = make_network(data, options, None, ["pairs"])
    samples = make_samples(data, options, network)
    drawn = samples.options
    assert (drawn.seed, drawn.size, drawn.gsd, drawn.balanced) == (7, 48, 2.0, balanced)
    assert samples[3][1].shape == (48, 48)
    assert samples.collections == data.training
    assert samples.normalisation == data.normalisation


@pytest.mark.parametrize(
    ("sizes", "gsd", "expected"),
    [
        ((0.5, 2.0, 1.0), None, (0.5, 2.0)),
        ((0.5, 2.0), 1.5, (1.5, 1.5)),
        ((0.5, None), None, None),
        ((None, None), None, None),
        ((None,), 3.0, (3.0, 3.0)),
    ],
)
def test_the_pixel_sizes_of_training_are_those_of_the_data_and_how_samples_are_enlarged(tmp_path, sizes, gsd, expected):
    data = gathered(tmp_path / "pairs", options := TrainRunOptions(values=(1,), ignore=(2,), val_share=0.0))
    data = replace(data, training=tuple(replace(data.training[0], gsd=size) for size in sizes))
    found = training_gsd(data, replace(options, gsd=gsd))
    if expected is None:
        assert found is None
    else:
        smallest, largest = GeometryOptions().scale
        assert found == pytest.approx((expected[0] / largest, expected[1] / smallest))


@pytest.mark.parametrize(("stride", "size"), [(16, 256), (32, 256), (48, 288), (100, 300)])
def test_a_sample_is_of_256_pixels_or_the_next_whole_strides(stride, size):
    network = SimpleNamespace(stride=stride, name="x")
    assert sample_size(TrainRunOptions(), network) == size
    assert sample_size(TrainRunOptions(size=3 * stride), network) == 3 * stride
    with pytest.raises(BadOption, match=f"size {3 * stride + 1} must be a multiple of {stride} for x"):
        sample_size(TrainRunOptions(size=3 * stride + 1), network)


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "test")])
def test_of_data_given_to_hold_out_the_validation_split_is_taken_or_all_where_there_is_none(tmp_path, splits):
    folder = write_pairs(tmp_path / "pairs", ["a", "b", "c"])
    for split, names in zip(splits, (["d", "e"], ["f", "g", "h"]), strict=True):
        write_pairs(tmp_path / "other" / split, names)
    found = gather([parse_training_data(str(folder))], TrainRunOptions(val=str(tmp_path / "other")))
    assert [len(each) for each in found.training] == [3]
    names = [item.pair.name.split("/")[-1] for each in found.held_out for item in each.items]
    assert sorted(names) == (["f", "g", "h"] if "val" in splits else ["d", "e", "f", "g", "h"])


def test_augmentation_of_the_run_is_that_of_its_samples(tmp_path):
    folder = write_pairs(tmp_path / "pairs", ["a", "b"])
    given = {"geometry": "off", "rotation": "30", "noise": "0.5", "swap": "false"}
    options = TrainRunOptions(val_share=0.0, size=32, augmentation=given)
    found = gather([parse_training_data(str(folder))], options)
    drawn = make_samples(found, options, SimpleNamespace(stride=16, name="any")).options
    assert drawn.geometry == replace(NO_GEOMETRY, rotation=30.0)
    assert drawn.look == LookOptions(noise=0.5, swap=False)
    assert make_samples(found, replace(options, augmentation={}), SimpleNamespace(stride=16)).options.look.swap


def test_each_scene_is_held_out_once_with_all_of_its_tiles(tmp_path):
    names = [f"scene{scene}_{row}_0" for scene in range(5) for row in range(2)]
    data = parse_training_data(str(write_pairs(tmp_path / "pairs", names)))
    options = FinetuneOptions(auto=True, classes=("change",))
    found = gather([data], options)
    assert (len(found.training[0]), found.held_out, len(found.folds)) == (10, (), 3)
    assert sorted(map(len, found.folds)) == [1, 2, 2]
    assert set.union(*map(set, found.folds)) == {f"scene{k}" for k in range(5)}
    held = []
    for number in range(3):
        fold = found.fold(number)
        training, held_out = (
            {item.pair.name for each in part for item in each.items} for part in (fold.training, fold.held_out)
        )
        assert training | held_out == set(names)
        assert not {scene_of(name) for name in training} & {scene_of(name) for name in held_out}
        assert fold.folds == ()
        held += held_out
    assert sorted(held) == names
    assert gather([data], replace(options, val_share=0.5)).folds == ()
    assert gather([data], replace(options, val=str(data.path))).folds == ()
    assert gather([data], replace(options, auto=False)).folds == ()
    alone = gather([parse_training_data(str(write_pairs(tmp_path / "alone", ["a_0_0", "a_0_1"])))], options)
    assert alone.folds == ()
