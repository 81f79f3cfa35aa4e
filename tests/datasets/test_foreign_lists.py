"""Lists, tables and pictures of something else: one line that names the file."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geochange.datasets.collection import open_collection
from geochange.datasets.cutouts import read_picture
from geochange.datasets.listings import find_datasets, list_pairs
from geochange.errors import BadOption, UnreadableInput
from tests.stand_ins import write_raster

HEADER = b"before,after,labels\n"


@pytest.mark.parametrize("content", [b"\x80\xff", b"\0", b'"unclosed', b"a,b\n" * 3, b'a,"b\n' * 9, b"x" * 200_000])
def test_a_table_of_something_else_is_refused_and_not_found(tmp_path, content):
    (tmp_path / "scenes.csv").write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"scenes\.csv"):
        list_pairs(tmp_path / "scenes.csv")
    with pytest.raises(UnreadableInput, match="must hold the folders"):
        find_datasets(tmp_path)


@given(st.binary(max_size=60))
def test_any_rows_are_listed_or_refused(content):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "scenes.csv"
        path.write_bytes(HEADER + content)
        try:
            pairs = list_pairs(path)
        except (UnreadableInput, BadOption) as error:
            pairs, lines = (), str(error).splitlines()
            assert "scenes.csv" in lines[0]
        assert all(Path(file).exists() for pair in pairs for file in (*pair.dates, pair.labels))


@pytest.mark.parametrize("content", [b"\x80\xff", b"a\0b"])
def test_a_list_of_something_else_is_refused(tmp_path, content):
    for folder in ("A", "B", "label"):
        (tmp_path / folder).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / folder / "a.png")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "train.txt").write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"train\.txt"):
        list_pairs(tmp_path)


@pytest.mark.parametrize("size", [(30_000, 1), (20_000, 20_000)])
def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, size):
    Image.new("1", size).save(tmp_path / "bomb.png")
    with pytest.raises(UnreadableInput, match=r"bomb\.png"):
        read_picture(tmp_path / "bomb.png", 3)


def test_tables_may_list_series(tmp_path):
    for name in ("a", "b", "c", "l"):
        write_raster(tmp_path / f"{name}.tif", np.zeros((3 if name != "l" else 1, 8, 8), np.uint8))
    table = tmp_path / "series.csv"
    table.write_text("date_10,labels,date_2,date_1,split\nc.tif,l.tif,b.tif,a.tif,val\n")
    (pair,) = list_pairs(table)
    assert [path.rpartition("/")[2] for path in (*pair.dates, pair.labels)] == ["a.tif", "b.tif", "c.tif", "l.tif"]
    assert pair.split == "val"
    assert find_datasets(tmp_path) == (table,)
    (unlabelled,) = list_pairs(table, labelled=False)
    assert (len(unlabelled.dates), unlabelled.labels) == (3, None)
    assert len(open_collection(table).read(0).dates) == 3
    table.write_text("date_1,date_2,labels\na.tif,,l.tif\n")
    with pytest.raises(UnreadableInput, match="line 2: date_2 is empty"):
        list_pairs(table)
