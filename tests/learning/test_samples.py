"""geochange.learning.samples, and the balance of classes in them."""

from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from geochange.arrays import IGNORE
from geochange.datasets.balance import class_shares, drawing_weights, label_counts, require_classes
from geochange.datasets.collection import open_collection
from geochange.datasets.options import CollectionOptions
from geochange.datasets.variation import NO_GEOMETRY, NO_LOOK, GeometryOptions, LookOptions
from geochange.detectors.networks.checkpoint import Normalisation
from geochange.detectors.networks.contract import OBJECT
from geochange.errors import BadOption, BandMismatch, NothingValid, UnreadableInput
from geochange.learning.samples import (
    FromStep,
    SampleCache,
    SampleOptions,
    TrainingSamples,
    collate,
    measure_normalisation,
    normalise,
    shares_of,
)
from tests.stand_ins import PLACE, UTM, write_raster
from tests.tiny_network import NORMALISATION, break_image, write_pairs

BRIGHT = LookOptions(share=1, brightness=1, hazy=1, blurred=1, noisy=1)
STILL = SampleOptions(size=24, geometry=NO_GEOMETRY, look=NO_LOOK)
ONE_BAND = Normalisation(mean=(100.0,), spread=(50.0,))


@pytest.fixture
def pairs(tmp_path):
    return open_collection(write_pairs(tmp_path / "pairs", [f"pair{k}" for k in range(5)]))


def write_arrays(folder, before, after, labels, name="pair"):
    """A/, B/ and label/ with GeoTIFFs; the labels (y, x)."""
    for letter, values in (("A", before), ("B", after), ("label", labels[None])):
        (folder / letter).mkdir(parents=True, exist_ok=True)
        write_raster(folder / letter / f"{name}.tif", values)
    return folder


def holed(folder, side=32):
    """A float pair in which a square of the second date is NaN."""
    rng = np.random.default_rng(0)
    before, after = rng.normal(100, 20, (2, 1, side, side)).astype(np.float32)
    after[:, 8:16, 8:16] = np.nan
    labels = np.ones((side, side), np.uint8)
    labels[0] = 0
    return open_collection(write_arrays(folder, before, after, labels))


def test_a_sample_is_a_function_of_seed_and_number(pairs):
    options = SampleOptions(size=16, seed=7)
    one, other = (TrainingSamples([pairs], NORMALISATION, options) for _ in range(2))
    other[11], other[3]  # in another order
    assert all(torch.equal(*both) for both in zip(one[3], other[3], strict=True))
    assert not torch.equal(one[3][0], one[4][0])
    third = TrainingSamples([pairs], NORMALISATION, replace(options, seed=8))
    assert not torch.equal(one[3][0], third[3][0])


def test_a_worker_draws_the_same_samples(pairs):
    samples = TrainingSamples([pairs], NORMALISATION, SampleOptions(size=16))
    loader = DataLoader(samples, batch_sampler=FromStep(2, 4, 2), collate_fn=collate, num_workers=1)
    for start, batch in zip((4, 6), loader, strict=True):
        here = collate([samples[start], samples[start + 1]])
        assert torch.equal(batch.dates, here.dates)
        assert torch.equal(batch.labels, here.labels)


def test_a_sample_without_variation_is_the_image(pairs):
    samples = TrainingSamples([pairs.part([2])], NORMALISATION, STILL)
    dates, labels = samples[0]
    stored = pairs.read(2)
    wanted = [normalise(torch.from_numpy(date.astype(np.float32)), NORMALISATION) for date in stored.dates]
    assert torch.equal(dates, torch.stack(wanted))
    assert torch.equal(labels, torch.from_numpy(stored.labels).long())
    assert labels.dtype == torch.int64


def test_processes_share_a_batch_and_together_draw_each_number_once():
    ranks = [list(FromStep(3, 6, 4, rank, 3)) for rank in range(3)]
    drawn = sorted(number for rank in ranks for batch in rank for number in batch)
    assert drawn == list(range(3 * 12, 6 * 12))
    assert len(FromStep(3, 6, 4)) == 3


def test_swapped_dates_keep_their_pixels(pairs):
    swapping = replace(STILL, look=LookOptions(share=0, swap=True))
    plain, swapped = (TrainingSamples([pairs.part([0])], NORMALISATION, each) for each in (STILL, swapping))
    ways = set()
    for number in range(20):
        dates, wanted = swapped[number][0], plain[number][0]
        ways.add(torch.equal(dates, wanted))
        assert torch.equal(dates, wanted) or torch.equal(dates, wanted.flip(0))
    assert ways == {True, False}


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_a_residual_shift_moves_one_date_by_no_more_than_asked(tmp_path_factory, number):
    rows, cols = np.mgrid[:60, :60].astype(np.float32)
    ramp = np.stack([rows, cols])
    folder = tmp_path_factory.getbasetemp() / "ramp"
    if not folder.exists():
        write_arrays(folder, ramp, ramp, np.zeros((60, 60), np.uint8))
    geometry = replace(NO_GEOMETRY, misregistered=1, misregistration=1.5)
    same = Normalisation(mean=(0.0, 0.0), spread=(1.0, 1.0))
    options = replace(STILL, size=16, geometry=geometry)
    before, after = TrainingSamples([open_collection(folder)], same, options)[number][0]
    assert torch.equal(before, before.round())
    inside = (before > 2).all(dim=0) & (before < 57).all(dim=0)  # no reflection
    shift = (after - before)[:, inside]
    assert (shift.abs() <= 1.5 + 1e-3).all()
    assert (shift - shift[:, :1]).abs().max() < 1e-3


@pytest.mark.parametrize("look", [NO_LOOK, BRIGHT], ids=["as it is", "varied"])
@pytest.mark.parametrize("resampled", [0, 1])
@pytest.mark.parametrize("misregistered", [0, 1])
def test_pixels_without_data_stay_zero_and_are_not_labelled(tmp_path, look, resampled, misregistered):
    geometry = GeometryOptions(resampled=resampled, misregistered=misregistered)
    samples = TrainingSamples([holed(tmp_path)], ONE_BAND, SampleOptions(size=32, geometry=geometry, look=look))
    holes = 0
    for number in range(10):
        dates, labels = samples[number]
        assert torch.isfinite(dates).all()
        empty = (dates == 0).any(dim=0)[0]
        holes += int(empty.any())
        assert (labels[empty] == IGNORE).all()
        if not misregistered:
            assert (labels[~empty] != IGNORE).all()
    assert holes > 5


def test_nothing_of_a_hole_is_mixed_into_valid_pixels(tmp_path):
    before = np.full((1, 32, 32), 200, np.uint8)
    after = before.copy()
    after[:, 8:16, 8:16] = 0
    folder = write_arrays(tmp_path, before, after, np.zeros((32, 32), np.uint8))
    write_raster(folder / "B" / "pair.tif", after, nodata=0)
    geometry = GeometryOptions(resampled=1, misregistered=1)
    samples = TrainingSamples(
        [open_collection(folder)], ONE_BAND, SampleOptions(size=32, geometry=geometry, look=NO_LOOK)
    )
    for number in range(10):
        dates, _ = samples[number]
        assert torch.allclose(dates[dates != 0], torch.tensor(2.0), atol=1e-3)


def test_a_date_with_other_bands_is_named(tmp_path):
    values = np.ones((2, 24, 24), np.uint8)
    collection = open_collection(write_arrays(tmp_path, values, values, values[0]))
    with pytest.raises(BandMismatch, match=r"pair\.tif has 2 bands, others have 3"):
        TrainingSamples([collection], NORMALISATION, STILL)[0]


def test_a_broken_image_is_named(pairs):
    break_image(Path(pairs.items[1].pair.dates[1]))
    samples = TrainingSamples([pairs], NORMALISATION, STILL)
    with pytest.raises(UnreadableInput, match=r"pair1\.png"):
        [samples[number] for number in range(40)]


def test_normalisation_is_numpy_s(tmp_path, pairs):
    stored = np.concatenate([np.stack(pairs.read(k).dates) for k in range(5)])
    found, extent = measure_normalisation([pairs])
    assert np.allclose(found.mean, stored.mean(axis=(0, 2, 3)))
    assert np.allclose(found.spread, stored.std(axis=(0, 2, 3)))
    assert extent == (stored.min(), stored.max())


@pytest.mark.parametrize(("most", "picked"), [(4, ([0, 4], [0, 2])), (3, ([0], [0])), (6, ([0, 2, 4], [0, 1, 2]))])
def test_normalisation_is_of_items_spread_evenly_over_each_collection(tmp_path, most, picked):
    rng = np.random.default_rng(0)
    collections = []
    for folder, count in (("first", 5), ("second", 3)):
        for k in range(count):
            before, after = rng.integers(20 * k + 1, 20 * k + 60, (2, 3, 8, 8)).astype(np.uint8)
            write_arrays(tmp_path / folder, before, after, np.zeros((8, 8), np.uint8), f"pair{k}")
        collections.append(open_collection(tmp_path / folder))
    read = [each.read(k) for each, places in zip(collections, picked, strict=True) for k in places]
    pixels = np.concatenate([date.reshape(3, -1) for sample in read for date in sample.dates], axis=1).astype(float)
    found, limits = measure_normalisation(collections, most)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=1))
    np.testing.assert_allclose(found.spread, pixels.std(axis=1))
    assert limits == (pixels.min(), pixels.max())


def test_normalisation_leaves_out_what_is_not_valid(tmp_path):
    collection = holed(tmp_path)
    sample = collection.read(0)
    values = np.concatenate([date[0][valid] for date, valid in zip(sample.dates, sample.valid, strict=True)])
    found, extent = measure_normalisation([collection])
    assert found.mean[0] == pytest.approx(values.mean())
    assert found.spread[0] == pytest.approx(values.std())
    assert extent == (values.min(), values.max())


def test_a_band_that_never_varies_is_not_blown_up(tmp_path):
    values = np.stack([np.full((8, 8), 0.3), np.random.default_rng(0).random((8, 8))]).astype(np.float32)
    collection = open_collection(write_arrays(tmp_path, values, values, np.zeros((8, 8), np.uint8)))
    assert measure_normalisation([collection])[0].spread[0] == 1


def test_data_without_a_valid_pixel_are_refused(tmp_path):
    values = np.full((1, 8, 8), np.nan, np.float32)
    collection = open_collection(write_arrays(tmp_path, values, values, np.zeros((8, 8), np.uint8)))
    with pytest.raises(NothingValid, match=r"in the 1 training images that were read"):
        measure_normalisation([collection])


def test_shares_are_given_ones_and_the_rest_by_area(pairs):
    parts = [replace(pairs, options=CollectionOptions(share=0.5)), pairs.part([0]), pairs.part([0, 1, 2])]
    assert shares_of(parts, STILL).tolist() == pytest.approx([0.5, 0.125, 0.375])
    coarse = [replace(pairs, gsd=2.0), replace(pairs, gsd=1.0)]
    assert shares_of(coarse, replace(STILL, gsd=1.0)).tolist() == pytest.approx([0.8, 0.2])


def rare(folder):
    """Nine images of the first class, and one that holds the second as well."""
    write_pairs(folder / "one", [f"a{k}" for k in range(9)], labels=(1,))
    write_pairs(folder / "two", ["rare"], labels=(1, 2))
    for letter in ("A", "B", "label"):
        (folder / "two" / letter / "rare.png").rename(folder / "one" / letter / "rare.png")
    return open_collection(folder / "one", CollectionOptions(classes=("built", "felled")))


def test_items_with_rare_classes_are_drawn_more_often(tmp_path):
    collection = rare(tmp_path)
    weights = drawing_weights(label_counts(collection))
    assert weights.sum() == pytest.approx(1)
    assert weights[-1] == pytest.approx(weights[0] * np.sqrt(10))
    samples = TrainingSamples([collection], NORMALISATION, replace(STILL, size=8, balanced=True))
    drawn = [samples._draw(np.random.default_rng(k))[1] for k in range(400)]
    assert np.mean(np.array(drawn) == 9) == pytest.approx(weights[-1], abs=0.06)
    plain = TrainingSamples([collection], NORMALISATION, STILL)
    assert np.mean([plain._draw(np.random.default_rng(k))[1] == 9 for k in range(400)]) == pytest.approx(0.1, abs=0.05)


def test_class_shares_are_of_labelled_pixels():
    counts = np.array([[60, 20, 0, 20], [0, 20, 0, 80]])
    assert class_shares(counts).tolist() == [0.6, 0.4, 0]
    assert class_shares(np.zeros((0, 4), int)).tolist() == [0, 0, 0]


def test_items_without_labels_are_not_drawn():
    assert drawing_weights(np.array([[0, 0, 100], [90, 10, 0]])).tolist() == [0, 1]
    assert drawing_weights(np.array([[0, 0, 100], [0, 0, 100]])).tolist() == [0.5, 0.5]


def test_a_class_that_never_occurs_is_named_before_training(tmp_path):
    collection = rare(tmp_path)
    assert require_classes([collection]) == ()
    assert require_classes([collection.part(range(9))]) == ("felled",)
    more = replace(collection, options=CollectionOptions(classes=("built", "felled", "flooded")))
    assert require_classes([more]) == ("flooded",)


def test_data_in_which_nothing_changed_are_refused(tmp_path):
    rare(tmp_path)
    others = CollectionOptions(classes=("flooded", "burnt"), values=(8, 9), ignore=(1, 2))
    with pytest.raises(BadOption, match=r"labelled flooded and burnt \(10 items"):
        require_classes([open_collection(tmp_path / "one", others)])


def test_the_cache_keeps_the_samples_used_last_as_far_as_there_is_room(pairs):
    size = 24 * 24 * (2 * 3 + 2 + 1)  # two dates of three bands, their validity, and labels
    cache = SampleCache(2 * size)
    first, second = cache.get(pairs, 0, 0), cache.get(pairs, 0, 1)
    assert cache.get(pairs, 0, 1) is second
    assert cache.get(pairs, 0, 0) is first  # now the one used last
    third = cache.get(pairs, 0, 2)
    assert cache.used == 2 * size
    assert cache.get(pairs, 0, 0) is first
    assert cache.get(pairs, 0, 2) is third
    again = cache.get(pairs, 0, 1)
    assert again is not second
    np.testing.assert_array_equal(again.dates[1], second.dates[1])
    assert cache.get(pairs, 1, 1) is not again  # of another collection


def test_a_sample_larger_than_the_cache_is_kept_until_the_next(pairs):
    cache = SampleCache(1)
    first = cache.get(pairs, 0, 0)
    assert cache.get(pairs, 0, 0) is first
    cache.get(pairs, 0, 1)
    assert cache.get(pairs, 0, 0) is not first


def test_numbers_of_objects_stay_whole_however_a_sample_is_turned(tmp_path):
    for name in ("before", "after"):
        write_raster(tmp_path / f"{name}.tif", np.full((1, 64, 80), 90, np.uint8))
    corners = [(8, 8, 30, 30), (30, 8, 52, 30), (20, 40, 45, 60)]  # two of them touch
    boxes = [shapely.box(*(PLACE @ (left, bottom)), *(PLACE @ (right, top))) for left, top, right, bottom in corners]
    geopandas.GeoDataFrame(geometry=boxes, crs=UTM).to_file(tmp_path / "boxes.gpkg")
    (tmp_path / "pairs.csv").write_text("before,after,labels\nbefore.tif,after.tif,boxes.gpkg\n")
    collection = open_collection(tmp_path / "pairs.csv", CollectionOptions(objects=True))
    geometry = GeometryOptions(resampled=1, misregistered=0)
    samples = TrainingSamples([collection], ONE_BAND, SampleOptions(size=64, geometry=geometry, look=NO_LOOK))
    seen = set()
    for number in range(12):
        labels, numbers = samples[number][1] % OBJECT, samples[number][1] // OBJECT
        assert {*labels.unique().tolist()} <= {0, 1, IGNORE}
        assert torch.equal(numbers > 0, labels == 1)
        seen |= {*numbers.unique().tolist()}
    assert seen == {0, 1, 2, 3}
