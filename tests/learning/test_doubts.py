"""Labels that are wrong are found by networks that have not seen them."""

import geopandas
import numpy as np
import pytest
import shapely
from PIL import Image

pytest.importorskip("torch")

from geochange.arrays import IGNORE
from geochange.learning.doubts import FALSE, MISSED, doubted_pixels, mean_certainty
from tests.commands import refused
from tests.tiny_network import write_pairs

SIDE = 48


def test_pixels_are_doubted_beyond_the_mean_of_the_other_label():
    scores = np.array([[0.9, 0.8, 0.1, 0.2, 0.87, 0.9]])
    labels = np.array([[1, 1, 0, 0, 0, IGNORE]], np.uint8)
    high, low = mean_certainty([(scores, labels)])
    assert (high, low) == (pytest.approx(0.85), pytest.approx((0.1 + 0.2 + 0.87) / 3))
    found = doubted_pixels(scores, labels, high, low)
    assert found[MISSED].tolist() == [[False, False, False, False, True, False]]
    assert not found[FALSE].any()
    assert mean_certainty([]) == (1.0, 0.0)


@pytest.fixture
def spoilt(tmp_path):
    """Twelve pairs, of which one lacks the label of its change, and another has one where nothing changed."""
    data = write_pairs(tmp_path / "data", [f"s{k:02d}_0_0" for k in range(12)], side=SIDE)
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(data / "label" / "s03_0_0.png")
    labels = np.asarray(Image.open(data / "label" / "s07_0_0.png")).copy()
    rows, cols = np.nonzero(labels == 0)
    top, left = next((r, c) for r, c in zip(rows, cols, strict=True) if not labels[r : r + 9, c : c + 9].any())
    labels[top : top + 9, left : left + 9] = 255
    Image.fromarray(labels).save(data / "label" / "s07_0_0.png")
    return data, (top, left)


def test_the_worst_labels_come_first(run, spoilt, tmp_path):
    data, (top, left) = spoilt
    network = ("--network", "siamese-unet", "--network-option", "widths=8,8,8,8", "--no-pretrained")
    short = ("--steps", 40, "--size", SIDE, "--batch", 4, "--loaders", 0, "--rate", 3e-3, "--average", 0.9)
    out = tmp_path / "doubts.gpkg"
    code, printed, errors = run("datasets", "doubts", data, "-o", out, "--folds", 3, *network, *short)
    assert code == 0, errors
    layer = geopandas.read_file(out, layer="doubts")
    assert list(layer["rank"]) == list(range(1, len(layer) + 1))
    weights = layer.doubt * layer.area_px
    assert (weights.to_numpy()[:-1] >= weights.to_numpy()[1:] - 1e-6).all()
    worst = layer.iloc[:2].set_index("image")
    assert dict(worst.kind) == {"s03_0_0.png": MISSED, "s07_0_0.png": FALSE}
    assert dict(worst.label) == {"s03_0_0.png": "unchanged", "s07_0_0.png": "change"}
    found, wrong = worst.geometry["s07_0_0.png"], shapely.box(left, -top - 9, left + 9, -top)
    assert found.intersection(wrong).area > 0.9 * found.area > 0
    assert MISSED in printed
    refused(run("datasets", "doubts", data, "-o", out, *network, *short), "--overwrite")
    refused(
        run("datasets", "doubts", data, "-o", tmp_path / "o.gpkg", "--folds", 13, *network, *short), "fewer --folds"
    )
