"""What TensorBoard is shown."""

import numpy as np
import pytest

from geochange.arrays import IGNORE
from geochange.datasets.collection import Sample
from geochange.learning.board import CURVE_POINTS, PICTURE_SIDE, Board, Events, draw_sample, shown_items
from geochange.learning.scoring import CollectionScores, ProbabilityHistogram
from tests.tiny_network import NORMALISATION

pytest.importorskip("tensorboard")


def numbers_in(path):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    events = [each for each in EventFileLoader(str(path)).Load() if each.HasField("summary")]
    return [(each.step, each.summary.value[0].tag) for each in events]


def test_events_can_be_read_as_soon_as_they_are_written(tmp_path):
    from torch.utils.tensorboard import summary

    events = Events(tmp_path / "a" / "b")
    for step in (3, 7):
        events.add(summary.scalar("loss", 0.5), step)
        assert numbers_in(events.path)[-1] == (step, "loss")
    events.close()
    assert numbers_in(events.path) == [(3, "loss"), (7, "loss")]


def test_the_curve_of_precision_and_recall_counts_what_each_threshold_finds(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    rng = np.random.default_rng(0)
    scores, changed = rng.random(500), rng.random(500) < 0.2
    histogram = ProbabilityHistogram()
    histogram.add(scores, changed)
    board = Board(tmp_path, [], NORMALISATION)
    board.show({"step": 4}, None, CollectionScores(histogram, np.zeros((2, 2), int), 0.0, {}))
    board.close()

    events = EventAccumulator(str(tmp_path)).Reload()
    (tag,) = events.Tags()["tensors"]
    (event,) = events.Tensors(tag)
    assert event.step == 4
    curve = make_ndarray(event.tensor_proto)
    assert curve.shape == (6, CURVE_POINTS)
    for k in (0, 40, 100):
        found = scores >= np.linspace(0, 999, CURVE_POINTS).round()[k] / 1000
        hits, false = (found & changed).sum(), (found & ~changed).sum()
        misses, rest = (~found & changed).sum(), (~found & ~changed).sum()
        np.testing.assert_allclose(
            curve[:, k], [hits, false, rest, misses, hits / (hits + false), hits / changed.sum()], rtol=1e-6
        )


def drawn(dates, valid=None):
    shape = dates[0].shape[1:]
    valid = np.ones((len(dates), *shape), bool) if valid is None else valid
    return draw_sample(Sample(tuple(dates), valid, np.zeros(shape, np.uint8)), np.zeros(shape))


def stretched(bands, valid):
    low, high = np.percentile(bands[:, valid], (2, 98))
    return ((bands - low) / (high - low)).clip(0, 1)


@pytest.mark.parametrize(("bands", "shown"), [(1, (0, 0, 0)), (2, (0, 0, 0)), (3, (0, 1, 2)), (5, (0, 1, 2))])
def test_each_date_is_stretched_between_its_own_percentiles(bands, shown):
    rng = np.random.default_rng(0)
    dates = rng.normal([[[[100]]], [[[900]]]], [[[[5]]], [[[80]]]], (2, bands, 30, 40)).astype(np.float32)
    valid = np.ones((2, 30, 40), bool)
    valid[0, :9], dates[0, :, :9] = False, -9999
    picture = drawn(dates, valid)
    assert picture.shape == (3, 30, 4 * 40)
    for k in range(2):
        expected = stretched(dates[k][list(shown)], valid[k])
        np.testing.assert_allclose(picture[:, :, 40 * k : 40 * (k + 1)], expected, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.3, 7.0])
def test_dates_without_data_or_contrast_are_drawn(value):
    date = np.full((3, 4, 5), value, np.float32)
    picture = drawn((date, date), np.stack([np.zeros((4, 5), bool), np.ones((4, 5), bool)]))
    assert np.isfinite(picture).all()
    np.testing.assert_allclose(picture[:, :, :5], min(value, 1))  # not stretched
    assert not picture[:, :, 5:10].any()


@pytest.mark.parametrize(
    ("shape", "step"), [((256, 200), 1), ((257, 20), 2), ((20, 257), 2), ((512, 30), 2), ((40, 513), 3)]
)
def test_large_items_are_drawn_with_every_so_many_pixels(shape, step):
    rng = np.random.default_rng(0)
    dates = rng.random((2, 3, *shape)).astype(np.float32)
    picture = drawn(dates)
    thinned = stretched(dates[1], np.ones(shape, bool))[:, ::step, ::step]
    cols = thinned.shape[2]
    assert max(picture.shape[1], cols) <= PICTURE_SIDE
    np.testing.assert_allclose(picture[:, :, cols : 2 * cols], thinned, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "most", "shown"),
    [
        ((3, 0, 2), 9, [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)]),
        ((5, 6), 3, [(0, 0), (1, 0), (1, 5)]),
        ((1,), 4, [(0, 0)]),
        ((0, 0), 4, []),
    ],
)
def test_the_items_shown_are_spread_from_the_first_to_the_last(sizes, most, shown):
    parts = [range(100 * k, 100 * k + size) for k, size in enumerate(sizes)]
    assert shown_items(parts, most) == [(parts[k], index) for k, index in shown]


def test_labels_are_black_white_or_grey_where_unknown_beside_the_probability():
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 1, 2, 7, IGNORE], np.uint8), (30, 40))
    probability = rng.random((30, 40)).astype(np.float32)
    dates = rng.random((3, 2, 30, 40)).astype(np.float32)
    picture = draw_sample(Sample(tuple(dates), np.ones((3, 30, 40), bool), labels), probability)
    assert picture.shape == (3, 30, 5 * 40)
    shades = np.array([{0: 0.0, IGNORE: 0.5}.get(int(label), 1.0) for label in labels.ravel()]).reshape(30, 40)
    for band in picture:
        np.testing.assert_array_equal(band[:, 3 * 40 : 4 * 40], shades)
        np.testing.assert_array_equal(band[:, 4 * 40 :], probability)


def test_figures_of_training_and_of_held_out_items_stand_side_by_side_without_step_and_time(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = Board(tmp_path, [], NORMALISATION)
    board.show({"step": 4.0, "loss": 0.5, "seconds": 9.0, "rate": 0.01, "val_loss": 0.25, "val_f1": 0.75}, None, None)
    board.show({"step": 8.0, "loss": 0.25, "seconds": 7.0}, None, None)
    board.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    found = {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found.pop("rate/training") == [(4, pytest.approx(0.01))]
    assert found == {
        "loss/training": [(4, 0.5), (8, 0.25)],
        "loss/held out": [(4, 0.25)],
        "f1/held out": [(4, 0.75)],
    }
