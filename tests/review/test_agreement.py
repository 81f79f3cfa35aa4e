"""How far two reviews agree, and what a random sample says of all changes."""

import json
import shutil

import geopandas
import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

import geochange
from geochange.errors import BadOption
from geochange.review.agreement import compare, sampled_precision
from geochange.review.queue import random_sample
from geochange.review.saved import SavedReview
from tests.review.conftest import SAMPLE, record
from tests.review.test_edits import at, drawn


@pytest.fixture
def two(finished, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(finished, tmp_path / name)
    return tmp_path / "a", tmp_path / "b"


def test_agreement_is_sklearn_s_kappa_and_the_iou_of_what_was_kept(two):
    draw = np.random.default_rng(0)
    told = [draw.choice(["kept", "rejected", "unsure"], 60, p=[0.5, 0.4, 0.1]).tolist() for _ in two]
    told[1][:35] = told[0][:35]
    for out, statuses, ids in zip(two, told, (range(1, 61), range(1, 51)), strict=True):
        record(out, ("decide", {n: {"status": s} for n, s in zip(ids, statuses, strict=False)}))
    record(two[0], drawn(two[0], geometry=at(two[0], (100, 100, 150, 150))))
    record(two[1], drawn(two[1], geometry=at(two[1], (100, 100, 150, 125))))
    found = compare(*map(SavedReview.open, two))
    assert found.decided == 50
    assert found.same == sum(a == b for a, b in zip(told[0][:50], told[1][:50], strict=True))
    assert found.kappa == pytest.approx(cohen_kappa_score(told[0][:50], told[1][:50]))
    assert sum(sum(row.values()) for row in found.pairs.values()) == 50
    assert found.pairs["kept"]["rejected"] == sum(
        pair == ("kept", "rejected") for pair in zip(told[0][:50], told[1][:50], strict=True)
    )
    files = [geochange.review(out, export=out / "k.fgb", only="kept").file for out in two]
    kept = [geopandas.read_file(file).union_all() for file in files]
    assert found.kept_iou == pytest.approx(kept[0].intersection(kept[1]).area / kept[0].union(kept[1]).area)
    assert compare(*map(SavedReview.open, reversed(two))).kappa == found.kappa


def test_without_common_decisions_there_is_no_agreement(two):
    found = compare(*map(SavedReview.open, two))
    assert (found.decided, found.kappa, found.kept_iou) == (0, None, None)


def test_reviews_of_other_layers_are_refused(two, tmp_path):
    pair = (SAMPLE / "before.tif", SAMPLE / "after.tif")
    geochange.detect(*pair, tmp_path / "c", detector="change-vector", formats=("gpkg",), threshold=0.9)
    with pytest.raises(BadOption, match="are not reviews of one layer"):
        geochange.review(two[0], compare=tmp_path / "c")


def test_only_the_random_order_says_something_of_all(two, run):
    columns = SavedReview.open(two[0]).base.columns
    order = columns.ids[random_sample(columns)].tolist()
    others = [number for number in sorted(order) if number not in order[:40]][:100]
    record(two[0], ("decide", {number: {"status": "kept"} for number in others}))
    assert sampled_precision(SavedReview.open(two[0])) is None
    told = dict(zip(order[:40], ["rejected", "kept", "kept", "unsure"] * 10, strict=True))
    record(two[0], ("decide", {number: {"status": each} for number, each in told.items() if number != order[9]}))
    assert sampled_precision(SavedReview.open(two[0])) is None  # the tenth is undecided
    record(two[0], ("decide", {order[9]: {"status": "kept"}}))
    count = next(k for k, number in enumerate(order) if number not in told and number not in others)
    statuses = [told.get(number, "kept") for number in order[:count]]
    found = sampled_precision(SavedReview.open(two[0]))
    kept, unsure = statuses.count("kept"), statuses.count("unsure")
    assert (found["changes"], found["kept"], found["unsure"]) == (count, kept, unsure)
    assert found["precision"] == pytest.approx(kept / (count - unsure), abs=1e-4)
    assert found["interval"][0] == pytest.approx(binomtest(kept, count).proportion_ci(method="wilson").low, abs=1e-3)
    assert found["interval"][1] == pytest.approx(
        binomtest(kept + unsure, count).proportion_ci(method="wilson").high, abs=1e-3
    )
    code, printed, errors = run("review", two[0], "--status", "--json")
    assert (code, errors, json.loads(printed)["sample"]) == (0, [], found)


def test_the_command_says_how_far_both_agree(two, run):
    for out, status in zip(two, ("kept", "rejected"), strict=True):
        record(out, ("decide", {1: {"status": status}, 2: {"status": "kept"}, 3: {"status": "rejected"}}))
    code, printed, errors = run("review", two[0], "--compare", two[1])
    assert (code, errors) == (0, [])
    assert "3, alike 2" in printed
    assert "0.400" in printed  # kappa: 2 of 3 alike, 4 of 9 by chance
