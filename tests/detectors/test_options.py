"""Options of choosing a detector."""

import pytest

from geochange.detectors.options import DetectorOptions, NetworkOptions
from geochange.errors import BadOption

OTHER = {
    "checkpoint": "net.pt",
    "scale": "0:1",
    "match_gsd": True,
    "device": "cpu",
    "precision": "bf16",
    "engine": "openvino",
    "augment": True,
}


def test_the_defaults():
    assert vars(NetworkOptions()) == {
        "checkpoint": None,
        "scale": None,
        "match_gsd": False,
        "device": "auto",
        "precision": "fp32",
        "engine": "torch",
        "augment": False,
    }
    options = DetectorOptions()
    assert (options.detector, options.detector_options, options.own_options()) == (None, {}, {})


@pytest.mark.parametrize("name", OTHER)
def test_an_option_of_a_network_is_passed_on_where_it_is_not_at_its_default(name):
    assert DetectorOptions(**{name: OTHER[name]}).own_options() == {name: OTHER[name]}


def test_all_options_are_passed_on_but_the_name_of_the_detector():
    options = DetectorOptions(detector="network", detector_options={"context": "2"}, **OTHER)
    assert options.own_options() == {"context": "2", **OTHER}


def test_an_option_of_a_network_that_is_given_twice_is_the_one_with_a_name_of_its_own():
    given = {"device": "cuda", "scale": "auto"}
    assert DetectorOptions(detector_options=given, device="cpu").own_options() == {"device": "cpu", "scale": "auto"}
    assert given == {"device": "cuda", "scale": "auto"}


def test_an_option_at_its_default_leaves_the_one_given_by_name():
    options = DetectorOptions(detector_options={"device": "cuda"}, device="auto", augment=False)
    assert options.own_options() == {"device": "cuda"}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_the_formats_and_libraries(precision, engine):
    options = NetworkOptions(precision=precision, engine=engine)
    assert (options.precision, options.engine) == (precision, engine)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("precision", "fp64", "precision 'fp64' is not one of auto, fp32, bf16, fp16"),
        ("engine", "onnx", "engine 'onnx' is not one of torch, openvino"),
        ("augment", "maybe", "augment 'maybe' must be true or false"),
        ("match_gsd", 2, "match gsd 2 must be true or false"),
        ("checkpoint", 3, "checkpoint 3 must be text"),
    ],
)
def test_other_values_are_refused(name, value, words):
    with pytest.raises(BadOption) as raised:
        DetectorOptions(**{name: value})
    assert str(raised.value) == words
