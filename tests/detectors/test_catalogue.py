from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from geochange.detectors import catalogue
from geochange.detectors.catalogue import available, default_name, detector, load_fitted, offer
from geochange.detectors.change_vector import ChangeVector
from geochange.detectors.detector import values_for
from geochange.detectors.image_difference import ImageDifference
from geochange.detectors.ir_mad import IrMad
from geochange.detectors.options import DetectorOptions
from geochange.errors import BadOption, UnreadableInput
from tests.memory_blocks import changed_scene, fit


def test_every_detector_says_what_it_is_in_one_line() -> None:
    for each in available():
        assert 10 < len(each.summary) < 120
        assert detector(each.name, dict(each.options)) == detector(each.name)


def register(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    """Have installed packages declare these detectors, and no others."""
    monkeypatch.setattr(catalogue, "entry_points", lambda group: points)
    monkeypatch.setattr(catalogue, "_registered", catalogue._registered.__wrapped__)  # read again, and not kept


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """Default values of every kind."""

    needed: int
    made: tuple[int, ...] = field(default_factory=tuple)
    absent: int | None = None
    pair: tuple[int, int] = (4, 3)
    empty: str = ""
    zero: int = 0
    off: bool = False


def test_defaults_are_texts_as_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, EntryPoint("theirs", f"{__name__}:Defaults", catalogue.ENTRY_POINTS))
    theirs = offer("theirs")
    assert theirs.summary == "Default values of every kind."
    assert theirs.options == {
        "needed": "none",
        "made": "none",
        "absent": "none",
        "pair": "4,3",
        "empty": "",
        "zero": "0",
        "off": "False",
    }


def test_options_are_read_by_their_types() -> None:
    assert detector("difference", {"index": "4, 3"}) == ImageDifference(index=(4, 3))
    assert detector("difference", {"index": "none", "band": "2"}) == ImageDifference(band=2)
    made = detector("ir-mad", {"iterations": "20", "ridge": "1e-4", "consistent": "no"})
    assert made == IrMad(iterations=20, ridge=1e-4, consistent=False)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ir-mat", {}, "^unknown detector 'ir-mat'; choose from difference, change-vector, ir-mad, "),
        ("ir-mad", {"rounds": "3"}, "iterations"),
        ("ir-mad", {"iterations": "many"}, "whole number"),
        ("ir-mad", {"consistent": "perhaps"}, "true or false"),
        ("difference", {"index": "4"}, "2 whole numbers"),
        ("difference", {"index": "4,x"}, "index"),
        ("pca-kmeans", {"size": "4"}, "odd"),
        ("network", {"precision": "x"}, "^option precision of network must be one of auto, fp32, bf16, fp16, not 'x'$"),
        ("landscape", {"engine": "x"}, "^option engine of landscape must be one of torch, openvino, not 'x'$"),
    ],
)
def test_mistakes_are_named_with_what_is_possible(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        detector(name, options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("change-vector", {"context": "0"}),
        ("change-vector", {"context": "10"}),
        ("ir-mad", {"iterations": "1", "tolerance": "0", "ridge": "1e-12"}),
        ("pca-kmeans", {"size": "1", "energy": "1"}),
        ("pca-kmeans", {"size": "31"}),
        ("network", {"batch": "1"}),
    ],
)
def test_limits_of_options_lie_within_them(name: str, options: dict[str, str]) -> None:
    made = detector(name, options)
    assert {option: getattr(made, option) for option in options} == {key: float(text) for key, text in options.items()}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("difference", {"context": "-0.001"}),
        ("change-vector", {"context": "10.001"}),
        ("slow-features", {"ridge": "1"}),
        ("slow-features", {"tolerance": "nan"}),
        ("pca-kmeans", {"size": "33"}),
        ("pca-kmeans", {"size": "-1"}),
        ("pca-kmeans", {"energy": "1.001"}),
    ],
)
def test_options_beyond_their_limits_are_refused_with_the_value(name: str, options: dict[str, str]) -> None:
    (value,) = options.values()
    with pytest.raises(BadOption, match=rf"{value}\D.*must"):
        detector(name, options)


def test_other_packages_add_detectors_but_do_not_replace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "geochange.detectors.change_vector:ChangeVector"
    register(monkeypatch, *(EntryPoint(name, target, catalogue.ENTRY_POINTS) for name in ("theirs", "ir-mad")))
    assert isinstance(detector("theirs"), ChangeVector)
    assert isinstance(detector("ir-mad"), IrMad)
    assert available()[-1].name == "theirs"


@pytest.mark.parametrize(("bands", "name"), [(1, "change-vector"), (2, "change-vector"), (3, "ir-mad"), (12, "ir-mad")])
def test_the_default_follows_the_number_of_bands(bands: int, name: str) -> None:
    assert default_name(bands, DetectorOptions()) == name
    assert default_name(bands, DetectorOptions(checkpoint="best.pt")) == "network"


@pytest.mark.parametrize("name", [*catalogue.TRAINING_FREE, *catalogue.RADAR])
def test_detectors_without_training_take_quantities(name: str) -> None:
    made = detector(name)
    assert values_for(made) == values_for(fit(made, changed_scene()[0])) == "physical"


def saved(folder: Path) -> Path:
    fit(ChangeVector(), changed_scene()[0]).save(folder)
    return folder


def test_a_folder_without_statistics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="fit it again"):
        load_fitted(tmp_path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    np.save(tmp_path / "mean.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UnreadableInput, match="arrays"):
        load_fitted(tmp_path)


def test_statistics_of_another_detector_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="change-vector, not of ir-mad"):
        IrMad.fitted.load(saved(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_damaged_numbers_are_refused(tmp_path: Path, text: str) -> None:
    (saved(tmp_path) / "fitted.json").write_text(text)
    with pytest.raises(UnreadableInput, match=r"fit it again$"):
        load_fitted(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mean.npy", b""),
        ("mean.npy", b"PK\x03\x04"),
        ("fitted.json", b'{"detector": "change-vector"}'),
        ("fitted.json", b"[" * 100_000),
        ("fitted.json", b'{"detector": "change-vector", "posterior": 3, "frame": null}'),
    ],
)
def test_whatever_is_wrong_with_statistics_is_a_line(tmp_path: Path, name: str, content: bytes) -> None:
    (saved(tmp_path) / name).write_bytes(content)
    with pytest.raises(UnreadableInput, match=f"^{tmp_path} cannot be read|fit it again$"):
        load_fitted(tmp_path)
