"""Training data from text: folders, tables, or the dates of a scene."""

from pathlib import Path

import pytest

from geochange.errors import BadOption
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import TrainingData, options_from, parse_all_training_data, parse_training_data
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
