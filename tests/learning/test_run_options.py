"""Training data from text: folders, tables, or the dates of a scene."""

from pathlib import Path

import pytest

from geochange.errors import BadOption, UnreadableInput
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import (
    TrainingData,
    options_from,
    parse_all_training_data,
    parse_network_options,
    parse_training_data,
    read_options,
)
from tests.tiny_network import write_pairs


@pytest.mark.parametrize(
    ("text", "name", "gsd"),
    [("pairs", "pairs", None), ("pairs@0.5", "pairs", 0.5), ("a@b@2", "a@b", 2.0), ("pairs@1e-3", "pairs", 0.001)],
)
def test_a_pixel_size_follows_the_last_at(text, name, gsd):
    assert parse_training_data(text) == TrainingData(Path(name), gsd)


def test_an_at_in_a_name_that_exists_is_no_pixel_size(tmp_path):
    (tmp_path / "pairs@2").mkdir()
    assert parse_training_data(tmp_path / "pairs@2") == TrainingData(tmp_path / "pairs@2")
    assert parse_training_data(f"{tmp_path / 'pairs@2'}@3") == TrainingData(tmp_path / "pairs@2", 3.0)


@pytest.mark.parametrize("tail", ["", "0", "-1", "inf", "nan", "2m"])
def test_what_is_not_a_pixel_size_is_refused(tail):
    with pytest.raises(BadOption, match=rf"'{tail}' after the @ must be metres a pixel, as in pairs@0\.5"):
        parse_training_data(f"pairs@{tail}")


def test_images_are_the_dates_of_one_scene_with_the_pixel_size_of_the_first():
    images = ["a.tif@2", "b.tif@3", "c.tif"]
    assert parse_all_training_data(images, unlabelled=True) == [
        TrainingData(Path("a.tif"), 2.0, ("a.tif", "b.tif", "c.tif"))
    ]


def test_images_are_data_sets_of_their_own_where_labels_are_used():
    found = parse_all_training_data(["a.tif@2", "b.tif"], unlabelled=False)
    assert found == [TrainingData(Path("a.tif"), 2.0), TrainingData(Path("b.tif"))]


@pytest.mark.parametrize("other", ["pairs", "scenes.csv", "SCENES.CSV"])
@pytest.mark.parametrize("unlabelled", [True, False])
def test_beside_a_folder_or_table_nothing_is_a_date(tmp_path, other, unlabelled):
    (tmp_path / "pairs").mkdir()
    names = [str(tmp_path / each) for each in ("a.tif", other, "b.tif")]
    found = parse_all_training_data(names, unlabelled=unlabelled)
    assert found == [TrainingData(Path(each)) for each in names]


def test_a_single_image_cannot_be_compared():
    with pytest.raises(BadOption, match=r"^a\.tif is a single image"):
        parse_all_training_data(["a.tif@2"], unlabelled=True)
    assert parse_all_training_data(["a.tif"], unlabelled=False) == [TrainingData(Path("a.tif"))]


def test_files_are_the_images_and_labels_each_once(tmp_path):
    folder = write_pairs(tmp_path / "pairs", ["x", "y"])
    (folder / "label" / "y.png").unlink()
    found = TrainingData(folder).files()
    images = [folder / letter / f"{name}.png" for letter in "AB" for name in "xy"]
    assert found[0] == str(folder)
    assert sorted(map(Path, found[1:])) == sorted([*images, folder / "label" / "x.png"])
    assert TrainingData(folder, None, ("c.tif", "b.tif")).files() == ["c.tif", "b.tif"]
    assert TrainingData(tmp_path / "missing").files() == [str(tmp_path / "missing")]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate", 1, 1.0),
        ("classes", ["built", "felled"], ("built", "felled")),
        ("patience", None, None),
        ("patience", 3, 3),
        ("align", True, True),
        ("loss", "dice", "dice"),
        (
            "network_options",
            {"widths": [4, 8], "pretrained": False, "cell": 13, "name": "x"},
            {"widths": "4,8", "pretrained": "false", "cell": "13", "name": "x"},
        ),
    ],
)
def test_values_of_json_become_those_of_the_option(name, value, expected):
    found = getattr(options_from(TrainRunOptions, {name: value}), name)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("network_options", [1], "names and values"),
        ("classes", "built", "a list"),
        ("steps", 1.5, "a whole number"),
        ("align", 1, "true or false"),
        ("loss", 3, "text"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_is_wanted(name, value, wanted):
    with pytest.raises(BadOption, match=f"option {name} must be {wanted}, not"):
        options_from(TrainRunOptions, {name: value})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("rate", True, "a number"),
        ("steps", [7], "a whole number"),
        ("val", [1], "text"),
        ("classes", {"a": 1}, "a list"),
        ("steps", None, "a whole number"),
    ],
)
def test_lists_and_truth_values_are_no_numbers(name, value, wanted):
    with pytest.raises(BadOption, match=f"option {name} must be {wanted}"):
        options_from(TrainRunOptions, {name: value})


def test_an_option_that_training_lacks_is_named_with_those_that_there_are():
    with pytest.raises(BadOption, match=r"there is no option 'rat' of training; there are .*\brate\b"):
        options_from(TrainRunOptions, {"rate": 0.1, "rat": 0.1})


def test_options_in_a_file_are_those_of_its_object(tmp_path):
    path = tmp_path / "best.json"
    path.write_text('{"rate": 0.002, "loss": "größer", "classes": ["a", "b"], "nothing": null}', encoding="utf-8")
    assert read_options(path) == {"rate": 0.002, "loss": "größer", "classes": ["a", "b"], "nothing": None}
    path.write_text("{}")
    assert read_options(path) == {}


@pytest.mark.parametrize("text", ["[]", '[{"rate": 0.1}]', '[["rate", 0.1]]', '"rate"', "3", "null", "true"])
def test_json_that_is_not_an_object_holds_no_options(tmp_path, text):
    path = tmp_path / "best.json"
    path.write_text(text)
    with pytest.raises(UnreadableInput, match=r'best\.json must hold options by name, as in {"rate": 0\.001}'):
        read_options(path)


@pytest.mark.parametrize("content", [b"", b"rate = 1", b'{"rate": 0.1', b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_not_json_holds_no_options(tmp_path, content):
    path = tmp_path / "best.json"
    path.write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"best\.json cannot be read as JSON"):
        read_options(path)


def test_options_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UnreadableInput, match=r"none\.json does not exist"):
        read_options(tmp_path / "none.json")
    with pytest.raises(UnreadableInput, match="is a folder"):
        read_options(tmp_path)


def test_options_of_a_network_are_read_by_their_types():
    texts = {"widths": "4,8", "latent": "6", "beta": "2", "distance": "cosine"}
    expected = {"widths": (4, 8), "latent": 6, "beta": 2.0, "distance": "cosine"}
    assert parse_network_options("change-vae", texts) == expected
    assert parse_network_options("change-vae", {}) == {}


@pytest.mark.parametrize("option", ["bands", "classes"])
def test_bands_and_classes_of_a_network_are_options_of_training(option):
    with pytest.raises(BadOption, match=f"change-vae has no option '{option}' to give here; use --{option}"):
        parse_network_options("change-vae", {option: "3"})


def test_an_option_that_a_network_lacks_is_named_with_those_that_there_are():
    message = "change-vae has no option 'width' to give here; it has widths, latent, beta, distance$"
    with pytest.raises(BadOption, match=message):
        parse_network_options("change-vae", {"width": "3"})
    with pytest.raises(BadOption, match="option latent of change-vae"):
        parse_network_options("change-vae", {"latent": "many"})
