"""The learning rate by a range test."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from geochange.learning.rate_finder import best_rate, smoothed
from tests.commands import refused
from tests.tiny_network import write_pairs


@given(st.floats(-4.5, -1.5))
def test_the_best_rate_is_where_the_loss_falls_most_steeply(middle):
    """Of a loss that falls as a logistic curve of the rate's logarithm, later by what the smoothing lags behind."""
    rates = np.geomspace(1e-6, 1, 600)
    losses = 1 / (1 + np.exp(8 * (np.log10(rates) - middle)))
    assert 0 <= np.log10(best_rate(rates, losses)) - middle < 0.15


def test_losses_after_the_least_do_not_count():
    rates = np.geomspace(1e-4, 1, 100)
    losses = np.concatenate([np.linspace(1, 0.5, 50), np.linspace(2, 1, 50)])  # falls fastest when it has diverged
    assert best_rate(rates, losses) <= rates[50]


def test_a_constant_loss_stays_as_it_is():
    np.testing.assert_allclose(smoothed([3.0] * 20), 3.0)


def test_tune_finds_a_rate_and_train_takes_it(run, tmp_path):
    data = write_pairs(tmp_path / "data", [f"s{k}_0_0" for k in range(4)], side=32)
    short = ("--size", 32, "--loaders", 0, "--network", "siamese-unet", "--no-pretrained")
    short += ("--network-option", "widths=4,8,8,8")
    out = tmp_path / "search"
    code, printed, errors = run("tune", data, "-o", out, "--find-rate", "--steps", 40, *short)
    assert code == 0, errors
    rate = json.loads((out / "best.json").read_text())["rate"]
    assert 1e-4 <= rate <= 1e-2
    assert f"rate={rate}" in printed
    table = np.genfromtxt(out / "rates.csv", delimiter=",", names=True)
    assert (np.diff(np.log(table["rate"])) > 0).all()
    chosen = ("--options", out / "best.json", "--steps", 1, "--every", 1)
    code, _, errors = run("train", data, "-o", tmp_path / "run", *short, *chosen)
    assert code == 0, errors
    assert json.loads((tmp_path / "run" / "run.json").read_text())["identity"]["rate"] == rate
    refused(run("tune", data, "-o", tmp_path / "o2", "--find-rate", "--steps", 5, *short), "at least 10 steps")
