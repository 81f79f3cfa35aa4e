"""Checkpoints of others: whatever is wrong with one, it is refused in one line, before it takes memory."""

import zipfile

import pytest
import torch

from geochange.detectors.networks.checkpoint import load_checkpoint
from geochange.errors import UnreadableInput
from geochange.learning.training_state import State
from tests.small_networks import save_small


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return torch.load(save_small(tmp_path_factory.mktemp("whole") / "whole.pt"), weights_only=True)


def with_about(**values):
    return lambda stored: {**stored, "about": {**stored["about"], **values}}


def with_normalisation(**values):
    return lambda stored: with_about(normalisation={**stored["about"]["normalisation"], **values})(stored)


def with_options(**values):
    return lambda stored: with_about(options={**stored["about"]["options"], **values})(stored)


def with_first_weight(change):
    def changed(stored):
        name, value = next(each for each in stored["weights"].items() if each[1].is_floating_point())
        return {**stored, "weights": {**stored["weights"], name: change(value)}}

    return changed


def one_number(instead):
    return lambda value: torch.cat([value.flatten()[:-1], torch.tensor([instead])]).reshape(value.shape)


FOREIGN = {
    "list of weights": lambda stored: {**stored, "weights": [1]},
    "no weights": lambda stored: {**stored, "weights": {}},
    "text as a weight": with_first_weight(lambda value: "hello"),
    "weight of another shape": with_first_weight(lambda value: torch.zeros(1)),
    "weight not finite": with_first_weight(lambda value: value * float("nan")),
    "one number of a weight not finite": with_first_weight(one_number(float("nan"))),
    "one number of a weight infinite": with_first_weight(one_number(float("-inf"))),
    "weight of 16 TB": with_first_weight(lambda value: torch.zeros(1).expand(1 << 42)),
    "unknown weight": lambda stored: {**stored, "weights": {**stored["weights"], "more": torch.zeros(1)}},
    "no about": lambda stored: {"format": stored["format"], "weights": stored["weights"]},
    "about as text": lambda stored: {**stored, "about": "text"},
    "unknown network": with_about(network="nope"),
    "network as a list": with_about(network=[1]),
    "no options": with_about(options={}),
    "options as text": with_about(options="text"),
    "unknown option": with_options(foo=1),
    "network that would take terabytes": with_options(bands=1 << 30),
    "classes that are not names": with_options(classes=[1, 2]),
    "classes as a number": with_options(classes=3),
    "other bands": with_about(bands=()),
    "no spread": with_normalisation(spread=(0.0, 1.0, 1.0)),
    "spread not finite": with_normalisation(spread=(float("nan"), 1.0, 1.0)),
    "means of other bands": with_normalisation(mean=(1.0,)),
    "normalisation as text": with_about(normalisation="text"),
    "thresholds as text": with_about(thresholds="text"),
    "threshold beyond 1": with_about(thresholds={"default": 7.0}),
    "threshold as text": with_about(thresholds={"default": "high"}),
    "no temperature": with_about(temperature=0.0),
    "range of one number": with_about(value_range=(5.0,)),
    "no pixel size": with_about(gsd=(0.0, 0.0)),
    "origin as a list": with_about(trained_on=["a"]),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_checkpoint_that_cannot_be_used_is_refused_by_its_name(stored, tmp_path, kind):
    path = tmp_path / "foreign.pt"
    torch.save(FOREIGN[kind](stored), path)
    with pytest.raises(UnreadableInput, match=r"foreign\.pt") as caught:
        load_checkpoint(path).build()
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_wrong_is_said(stored, tmp_path):
    torch.save(with_normalisation(spread=(0.0, 1.0, 1.0))(stored), tmp_path / "foreign.pt")
    with pytest.raises(UnreadableInput, match="normalisation must have a mean and a spread above 0 for each band"):
        load_checkpoint(tmp_path / "foreign.pt")


def test_the_checkpoint_itself_is_read(stored, tmp_path):
    torch.save(stored, tmp_path / "own.pt")
    load_checkpoint(tmp_path / "own.pt").build()


@pytest.mark.parametrize("thresholds", [{}, {"default": 0.0, "recall=0.9": 1.0}, {"default": 1}])
def test_thresholds_up_to_the_ends_of_the_range_are_read(stored, tmp_path, thresholds):
    torch.save(with_about(thresholds=thresholds)(stored), tmp_path / "own.pt")
    assert load_checkpoint(tmp_path / "own.pt").about.thresholds == thresholds


@pytest.mark.parametrize("threshold", [-0.001, 1.001, float("nan")])
def test_a_threshold_beside_others_that_is_no_probability_is_refused(stored, tmp_path, threshold):
    torch.save(with_about(thresholds={"default": 0.5, "other": threshold})(stored), tmp_path / "own.pt")
    with pytest.raises(UnreadableInput, match="thresholds must be probabilities"):
        load_checkpoint(tmp_path / "own.pt")


def test_a_packed_archive_is_refused_before_it_is_unpacked(stored, tmp_path):
    torch.save(stored, tmp_path / "own.pt")
    with (
        zipfile.ZipFile(tmp_path / "own.pt") as own,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for each in own.namelist():
            bomb.writestr(each, b"\0" * 10_000_000 if each.endswith("data/0") else own.read(each))
    with pytest.raises(UnreadableInput, match=r"bomb.pt holds .* packed"):
        load_checkpoint(tmp_path / "bomb.pt")


@pytest.mark.parametrize("content", [[1], {}, {"options": 3}, {"options": {}, "network": "text"}, "text"])
def test_the_state_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "last.pt")
    network = torch.nn.Linear(1, 1)
    state = State(network, network, torch.optim.SGD(network.parameters()), torch.amp.GradScaler("cpu", enabled=False))
    with pytest.raises(UnreadableInput, match=r"last.pt cannot be read as a state of this training"):
        state.load(tmp_path / "last.pt")
