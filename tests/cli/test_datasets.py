"""`geochange datasets`, and the report that it prints."""

import json
import shutil

import numpy as np
import pytest
from affine import Affine
from PIL import Image

from geochange.datasets.options import DescribeOptions
from geochange.pipeline.datasets import describe_datasets
from tests.stand_ins import PLACE, SHARED, changed_pair, write_raster
from tests.tiny_network import break_image, write_pairs


@pytest.fixture
def split_pairs(tmp_path):
    """train with a, b, c; val with d."""
    write_pairs(tmp_path / "set" / "train", ["a", "b", "c"])
    write_pairs(tmp_path / "set" / "val", ["x", "d"], side=32)  # other pixels than a
    for letter in ("A", "B", "label"):
        (tmp_path / "set" / "val" / letter / "x.png").unlink()
    return tmp_path / "set"


def test_the_report_counts_each_split(split_pairs, run):
    code, out, _ = run("datasets", split_pairs, "--json")
    assert code == 0
    train, val = json.loads(out)["parts"]
    assert (train["split"], train["images"], val["split"], val["images"]) == ("train", 3, "val", 1)
    assert train["sizes"] == [{"shape": [24, 24], "images": 3}]
    assert (train["bands"], train["dtypes"], train["dates"]) == ({"3": 3}, {"uint8": 3}, {"2": 3})
    assert train["shares"] == pytest.approx({"unchanged": 1 - 64 / 576, "change": 64 / 576})
    assert val["shares"]["change"] == pytest.approx(64 / 32**2)


def test_shares_are_of_labelled_pixels_and_what_is_not_labelled_is_reported(tmp_path):
    write_pairs(tmp_path, ["a", "b"], labels=(1, 255))
    labels = np.zeros((24, 24), np.uint8)
    labels[:12], labels[12:18] = 255, 2
    Image.fromarray(labels).save(tmp_path / "label" / "a.png")
    Image.fromarray(0 * labels).save(tmp_path / "label" / "b.png")
    options = DescribeOptions(classes=("built", "felled"))
    (part,) = describe_datasets(tmp_path, options).parts
    assert part.ignored == 0.25
    assert part.shares == pytest.approx({"unchanged": 5 / 6, "built": 0, "felled": 1 / 6})
    assert part.without_change == 1


def test_equal_images_are_found_inside_and_across_splits(split_pairs, run):
    train = split_pairs / "train"
    shutil.copy(train / "A" / "a.png", train / "B" / "b.png")
    image = Image.open(train / "A" / "c.png")
    image.resize((24, 24)).save(split_pairs / "val" / "B" / "d.png", compress_level=0)  # other bytes, the same pixels
    shutil.copy(train / "A" / "c.png", split_pairs / "val" / "A" / "d.png")
    shutil.copy(train / "label" / "c.png", split_pairs / "val" / "label" / "d.png")
    across, inside = describe_datasets(split_pairs).duplicates
    assert across.across
    assert {(place.split, place.item[:7], place.date) for place in across.places} == {
        ("train", "train/c", 1),
        ("val", "val/d a", 1),
        ("val", "val/d a", 2),
    }
    assert not inside.across
    assert {(place.item[:7], place.date) for place in inside.places} == {("train/a", 1), ("train/b", 2)}
    _, out, _ = run("datasets", split_pairs)
    assert "equal images across splits or data sets: 3 in 1 groups" in out
    assert "equal images within a split: 2 in 1 groups" in out


def test_images_of_one_value_are_not_called_equal(tmp_path):
    write_pairs(tmp_path, ["a", "b"])
    for name in ("a", "b"):
        Image.new("RGB", (24, 24)).save(tmp_path / "A" / f"{name}.png")
    assert describe_datasets(tmp_path).duplicates == ()


def test_all_that_is_broken_is_named_and_the_rest_counted(split_pairs, run):
    train = split_pairs / "train"
    break_image(train / "B" / "a.png")
    (train / "label" / "b.png").unlink()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(split_pairs / "val" / "label" / "d.png")
    code, out, lines = run("datasets", split_pairs)
    assert code == 2
    for name in ("B/a.png cannot be read", "label has no image b", "label/d.png has 9 x 9 pixels"):
        assert sum(name in line for line in out.splitlines() if line.startswith("broken: ")) == 1, name
    assert len(lines) == 1
    assert "3 broken" in lines[0]
    code, out, lines = run("datasets", split_pairs, "--json")
    assert (code, len(lines)) == (2, 1)
    answer = json.loads(out)
    assert len(answer["broken"]) == 3
    assert [part["images"] for part in answer["parts"]] == [1, 0]


def test_several_data_sets_are_each_taken_as_one(tmp_path, run):
    write_pairs(tmp_path / "one", ["a"])
    write_pairs(tmp_path / "two", ["a"])
    code, out, _ = run("datasets", tmp_path)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["one", "two"]
    assert "equal images across splits or data sets: 4 in 2 groups" in out


def test_scenes_of_a_table_are_counted_by_tile(tmp_path, run):
    values = np.random.default_rng(0).integers(0, 255, (4, 60, 40)).astype(np.uint16)
    for name, array in (("b", values), ("a", values[:, ::-1]), ("t", (values[:1] > 200).astype(np.uint8))):
        write_raster(tmp_path / f"{name}.tif", array)
    (tmp_path / "scenes.csv").write_text("before,after,labels,split\nb.tif,a.tif,t.tif,test\n")
    code, out, _ = run("datasets", tmp_path / "scenes.csv", "--json", "--tile-size", 30, "--bands", "1,2,3")
    (part,) = json.loads(out)["parts"]
    assert code == 0
    assert (part["images"], part["split"], part["bands"], part["dtypes"]) == (4, "test", {"3": 4}, {"uint16": 4})
    assert part["shares"]["change"] == pytest.approx((values[0] > 200).mean())


def test_stored_values_can_be_given(tmp_path, run):
    write_pairs(tmp_path, ["a"], labels=(3, 9))
    code, out, lines = run("datasets", tmp_path)
    assert code == 2
    assert "label/a.png holds the value" in lines[0]
    code, out, _ = run("datasets", tmp_path, "--classes", "built,felled", "--values", "9,3", "--json")
    assert code == 0
    assert [*json.loads(out)["parts"][0]["shares"]] == ["unchanged", "built", "felled"]
    code, out, _ = run("datasets", tmp_path, "--values", "9", "--ignore", "3", "--json")
    assert json.loads(out)["parts"][0]["ignored"] > 0


def test_a_folder_without_data_is_refused(tmp_path, run):
    code, out, lines = run("datasets", tmp_path)
    assert (code, out, len(lines)) == (2, "", 1)
    assert "must hold the folders A, B and label" in lines[0]


@pytest.mark.skipif(not (SHARED / "levir").is_dir(), reason="the shared imagery is not here")
def test_real_validation_scenes_are_sound():
    (part,) = (report := describe_datasets(SHARED / "levir" / "val_512px_1m")).parts
    assert report.broken == ()
    assert part.images == 64
    assert 0.03 < part.shares["change"] < 0.06


def test_dates_on_other_grids_are_counted_once_they_are_aligned(tmp_path):
    before, after = changed_pair((60, 40))
    write_raster(tmp_path / "b.tif", before)
    write_raster(tmp_path / "a.tif", after, transform=PLACE @ Affine.translation(10, 0))
    write_raster(tmp_path / "t.tif", (before[:1] > 120).astype(np.uint8))
    (tmp_path / "scenes.csv").write_text("before,after,labels\nb.tif,a.tif,t.tif\n")
    assert len(describe_datasets(tmp_path / "scenes.csv").broken) == 1
    (part,) = describe_datasets(tmp_path / "scenes.csv", DescribeOptions(align=True)).parts
    assert part.sizes == {(60, 30): 1}
    assert part.shares["change"] == pytest.approx((before[0, :, 10:] > 120).mean())


def tiles_of(path):
    """(row, draw, 176, 176, 3) of a sheet."""
    pixels = np.array(Image.open(path))[18:]
    rows = []
    for block in range(0, len(pixels), 3 * 180 + 4):
        for row in range(3):
            line = pixels[block + row * 180 :][:176]
            rows.append([line[:, draw * 180 :][:, :176] for draw in range(6)])
    return np.array(rows)


def test_a_sheet_shows_images_as_they_lie_and_as_training_draws_them(tmp_path, run):
    write_pairs(tmp_path / "set", ["a", "b"], side=176)
    sheet = tmp_path / "sheet.png"
    assert run("datasets", tmp_path / "set", "--show-augmented", sheet, "-q")[0] == 0
    varied = tiles_of(sheet)
    assert varied.shape == (6, 6, 176, 176, 3)
    labels = np.array(Image.open(tmp_path / "set" / "label" / "a.png"))
    np.testing.assert_array_equal(varied[2, 0, ..., 0] > 0, labels > 0)
    assert all((varied[row, draw] != varied[row, 0]).any() for row in (0, 1) for draw in range(1, 6))
    code, _, lines = run("datasets", tmp_path / "set", "--show-augmented", sheet)
    assert (code, lines) == (2, [f"geochange: {sheet} exists; --overwrite replaces it"])
    off = ("--augmentation", "geometry=off", "--augmentation", "look=off", "--overwrite")
    assert run("datasets", tmp_path / "set", "--show-augmented", sheet, "-q", *off)[0] == 0
    plain = tiles_of(sheet)
    assert all(np.array_equal(plain[:, draw], plain[:, 0]) for draw in range(1, 6))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--show-augmented", "sheet.jpg"), "sheet.jpg must end in .png"),
        (("--augmentation", "turn=3"), "augmentation has no option 'turn'; it has geometry, look, flip"),
        (("--augmentation", "geometry=no"), "augmentation geometry must be on or off, not 'no'"),
        (("--augmentation", "hazy=3"), "augmentation hazy 3 must lie in 0..1"),
        (("--augmentation", "rotation=-1"), "augmentation rotation -1 must lie in 0 and more"),
        (("--augmentation", "scale=2,1"), "augmentation scale (2.0, 1.0) must be two numbers above 0"),
    ],
)
def test_augmentation_that_cannot_be_is_one_line(tmp_path, run, arguments, words):
    write_pairs(tmp_path / "set", ["a"])
    code, _, lines = run("datasets", tmp_path / "set", *arguments)
    assert (code, len(lines)) == (2, 1)
    assert words in lines[0]
