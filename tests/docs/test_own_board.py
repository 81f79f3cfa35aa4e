"""The example of a board of one's own in the documentation."""

import csv
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import geochange
from tests.tiny_network import write_pairs

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "examples"))

from own_board import OwnBoard


def test_each_epoch_arrives_with_the_figures_of_the_history(tmp_path):
    data = write_pairs(tmp_path / "data", [f"s{k}_0_0" for k in range(4)], side=32)
    short = {"steps": 4, "every": 2, "size": 32, "batch": 1, "loaders": 0, "pretrained": False}
    network = {"network": "siamese-unet", "network_options": {"widths": "4,8,8,8"}}
    board = OwnBoard(tmp_path / "figures.jsonl")
    trained = geochange.train([data], tmp_path / "run", listener=board, **short, **network)
    lines = [json.loads(line) for line in board.path.read_text().splitlines()]
    with (trained.folder / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [line["step"] for line in lines] == [2, 4]
    for line, row in zip(lines, history, strict=True):
        assert line["val_f1"] == pytest.approx(float(row["val_f1"]), rel=1e-4)
