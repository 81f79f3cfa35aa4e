"""What a network is trained on: the options of a run reach the data."""

import numpy as np
from affine import Affine

from geochange.learning.material import gather
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import parse_training_data
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
