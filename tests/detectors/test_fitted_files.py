"""Fitted detectors as files."""

import json
import re

import numpy as np
import pytest

from geochange.detectors.fitted_files import fitted_name, read_fitted, write_fitted
from geochange.errors import UnreadableInput

ARRAYS = {
    "weights": np.arange(6, dtype=np.float64).reshape(2, 3) / 7,
    "mean": np.array([1, -2, 3], np.int16),
    "empty": np.zeros((0, 4), np.float32),
    "flag": np.array(True),
}
NUMBERS = {"context": 0.1, "names": ["a", "ä"], "none": None, "nested": {"x": [1, 2.5]}, "yes": True}


def test_what_is_read_is_what_was_written(tmp_path):
    write_fitted(tmp_path, "ir-mad", NUMBERS, ARRAYS)
    numbers, arrays = read_fitted(tmp_path, "ir-mad", tuple(ARRAYS))
    assert numbers == NUMBERS
    assert list(arrays) == list(ARRAYS)
    for key, array in ARRAYS.items():
        assert arrays[key].dtype == array.dtype
        np.testing.assert_array_equal(arrays[key], array, strict=True)
    assert fitted_name(tmp_path) == "ir-mad"


def test_only_the_arrays_called_for_are_read(tmp_path):
    write_fitted(tmp_path, "ir-mad", {}, ARRAYS)
    (tmp_path / "weights.npy").write_text("damaged")
    assert list(read_fitted(tmp_path, "ir-mad", ("mean",))[1]) == ["mean"]
    assert read_fitted(tmp_path, "ir-mad", ()) == ({}, {})


def test_each_array_is_a_file_and_the_numbers_are_text(tmp_path):
    write_fitted(tmp_path, "ir-mad", NUMBERS, ARRAYS)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["empty.npy", "fitted.json", "flag.npy", "mean.npy", "weights.npy"]
    text = (tmp_path / "fitted.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"detector": "ir-mad", **NUMBERS}
    assert text.splitlines()[1] == ' "detector": "ir-mad",'


def test_objects_are_not_pickled(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        write_fitted(tmp_path, "ir-mad", {}, {"mean": np.array([{}, "x"], object)})


def test_a_pickle_is_not_loaded(tmp_path):
    write_fitted(tmp_path, "ir-mad", {}, {})
    np.save(tmp_path / "mean.npy", np.array([{}, "x"], object), allow_pickle=True)
    words = re.escape(f"{tmp_path} does not hold the arrays of ir-mad: ") + ".*allow_pickle=False; fit it again$"
    with pytest.raises(UnreadableInput, match=words):
        read_fitted(tmp_path, "ir-mad", ("mean",))


def test_statistics_of_another_detector_are_refused(tmp_path):
    write_fitted(tmp_path, "ir-mad", NUMBERS, ARRAYS)
    with pytest.raises(UnreadableInput) as raised:
        read_fitted(tmp_path, "pca-kmeans", ())
    assert str(raised.value) == f"{tmp_path} holds statistics of ir-mad, not of pca-kmeans; fit pca-kmeans first"


@pytest.mark.parametrize("content", [None, b"no array", b"\x93NUMPY\x01\x00"])
def test_a_missing_or_damaged_array_is_refused(tmp_path, content):
    write_fitted(tmp_path, "ir-mad", NUMBERS, ARRAYS)
    if content is None:
        (tmp_path / "mean.npy").unlink()
    else:
        (tmp_path / "mean.npy").write_bytes(content)
    words = re.escape(f"{tmp_path} does not hold the arrays of ir-mad: ") + r"(.|\n)*; fit it again$"
    with pytest.raises(UnreadableInput, match=words):
        read_fitted(tmp_path, "ir-mad", ("weights", "mean"))


def read_whole(folder):
    return read_fitted(folder, "ir-mad", ())


@pytest.mark.parametrize("read", [fitted_name, read_whole])
@pytest.mark.parametrize("content", [None, b"", b"{", b'{"detector": "\xff"}'])
def test_missing_or_damaged_numbers_are_refused(tmp_path, read, content):
    if content is not None:
        (tmp_path / "fitted.json").write_bytes(content)
    words = re.escape(f"{tmp_path} does not hold a fitted detector: ") + ".*; fit it again$"
    with pytest.raises(UnreadableInput, match=words):
        read(tmp_path)


@pytest.mark.parametrize("read", [fitted_name, read_whole])
@pytest.mark.parametrize("content", ["{}", "[]", '["detector"]', '"detector"', "3", "null", '{"name": "ir-mad"}'])
def test_numbers_without_a_detector_are_refused(tmp_path, read, content):
    (tmp_path / "fitted.json").write_text(content)
    with pytest.raises(UnreadableInput) as raised:
        read(tmp_path)
    assert str(raised.value) == f"{tmp_path / 'fitted.json'} does not name its detector; fit it again"


def test_a_name_is_text(tmp_path):
    (tmp_path / "fitted.json").write_text('{"detector": 3}')
    assert fitted_name(tmp_path) == "3"
