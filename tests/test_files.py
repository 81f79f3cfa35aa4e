import numpy as np
import pytest

from geochange.errors import BadOption, DiskFull, OutputInTheWay
from geochange.files import (
    appearing,
    load_array,
    require_geotiff,
    require_space,
    require_writable,
    save_array,
    visible_in,
    write_whole,
)


def test_a_file_appears_whole(tmp_path):
    with appearing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "half"
    assert len(list(tmp_path.iterdir())) == 1


def fail_while_writing(path):
    with appearing(path) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError


def test_a_failure_keeps_the_old_file_and_no_other(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(tmp_path / "a.txt")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_arrays_come_back(tmp_path):
    array = np.arange(12).reshape(3, 4)
    save_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), array)


def test_pickles_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_array(tmp_path / "a.npy")


def test_bytes_are_written(tmp_path):
    write_whole(tmp_path / "a", b"abc")
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_space_is_asked_for_before_it_is_used(tmp_path):
    require_space(tmp_path, 1)
    with pytest.raises(DiskFull, match="GB free"):
        require_space(tmp_path, 10**18)


def test_an_output_that_is_an_input_is_refused_by_any_name(tmp_path):
    path = tmp_path / "image.tif"
    path.write_bytes(b"pixels")
    (tmp_path / "link.tif").symlink_to(path)
    for name in (path, tmp_path / "link.tif", tmp_path / "." / "image.tif"):
        with pytest.raises(OutputInTheWay, match="is an input"):
            require_writable([tmp_path / "new.tif", name], overwrite=True, inputs=[None, object(), str(path)])
    require_writable([path], overwrite=True, inputs=[tmp_path / "other.tif"])


def test_geotiffs_are_written_as_such(tmp_path):
    require_geotiff(tmp_path / "a.TIFF")
    with pytest.raises(BadOption, match=r"\.tif"):
        require_geotiff(tmp_path / "a.png")


def test_hidden_files_are_not_listed(tmp_path):
    for name in ("b.tif", "a.tif", "._a.tif", ".DS_Store"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in visible_in(tmp_path)] == ["a.tif", "b.tif"]
