import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from geochange.errors import BadOption, DiskFull, OutputInTheWay
from geochange.files import (
    appearing,
    content_digest,
    files_digest,
    load_array,
    remove_leftovers,
    require_geotiff,
    require_space,
    require_writable,
    save_array,
    scratch_beside,
    visible_in,
    write_whole,
)
from tests.stand_ins import write_raster


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


def test_a_file_cut_short_does_not_appear(tmp_path):
    whole = Path(write_raster(tmp_path / "whole.tif", np.arange(60_000, dtype=np.uint16).reshape(1, 200, 300)))
    with pytest.raises(OSError, match="could not be read back"), appearing(tmp_path / "a.tif") as temporary:
        temporary.write_bytes(whole.read_bytes()[:-20_000])
    assert list(tmp_path.iterdir()) == [whole]


def test_a_file_that_was_not_written_does_not_appear(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file"), appearing(tmp_path / "a.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_writer_leaves_beside_its_file_goes(tmp_path):
    with appearing(tmp_path / "a.txt") as temporary:
        temporary.write_text("")
        temporary.with_suffix(".aux").write_text("")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    for write in (lambda: write_whole(path, b"one"), lambda: write_by_name(path)):
        write()
    assert path.read_text() == "two"


def write_by_name(path):
    with appearing(path) as temporary:
        temporary.write_text("two")


def start_scratch(path):
    code = (
        "import sys, time; from pathlib import Path; from geochange.files import scratch_beside\n"
        "with scratch_beside(Path(sys.argv[1])) as scratch:\n"
        "    (scratch / 'half').write_text(''); print(scratch.name, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
    return process, path.parent / process.stdout.readline().strip()


def test_the_next_run_removes_the_scratch_of_a_killed_one_but_no_live_one(tmp_path):
    process, scratch = start_scratch(tmp_path / "a.tif")
    try:
        with scratch_beside(tmp_path / "a.tif"):
            assert (scratch / "half").exists()
    finally:
        process.kill()
        process.communicate()
    with scratch_beside(tmp_path / "b.tif"):
        assert (scratch / "half").exists()
    with scratch_beside(tmp_path / "a.tif"):
        assert not scratch.exists()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_scratch_that_never_came_goes(tmp_path):
    process, scratch = start_scratch(tmp_path / "a.tif")
    process.kill()
    process.communicate()
    shutil.rmtree(scratch)
    remove_leftovers(tmp_path, "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_outputs_under_one_name_are_refused(tmp_path):
    (tmp_path / "deep").mkdir()
    with pytest.raises(BadOption, match="two outputs cannot both"):
        require_writable([tmp_path / "a.tif", tmp_path / "deep" / ".." / "a.tif"], overwrite=True)


def test_an_output_that_is_a_folder_or_no_name_is_refused(tmp_path):
    (tmp_path / "a.tif").mkdir()
    for name in ("a.tif", "nowhere/a.tif", "a\0.tif"):
        with pytest.raises(OutputInTheWay, match=r"is a folder|not a folder"):
            require_writable([tmp_path / name], overwrite=True)


def test_a_dangling_link_is_replaced_only_on_request(tmp_path):
    (tmp_path / "a.tif").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputInTheWay, match="exists"):
        require_writable([tmp_path / "a.tif"], overwrite=False)


def test_hard_links_and_sources_of_vrts_are_inputs(tmp_path):
    path = Path(write_raster(tmp_path / "a.tif", np.ones((1, 4, 4), np.uint8)))
    os.link(path, tmp_path / "same.tif")
    source = "<SourceFilename relativeToVRT='1'>a.tif</SourceFilename>"
    (tmp_path / "all.vrt").write_text(f"<VRTDataset><VRTRasterBand>{source}</VRTRasterBand></VRTDataset>")
    for target, read in ((path, tmp_path / "all.vrt"), (tmp_path / "same.tif", path)):
        with pytest.raises(OutputInTheWay, match="is an input"):
            require_writable([target], overwrite=True, inputs=[read])


def test_contents_and_times_of_change_are_seen(tmp_path):
    path = tmp_path / "a.shp"
    for name in ("a.shp", "a.dbf"):
        (tmp_path / name).write_text("one")
    content, files = content_digest(path), files_digest([str(path)])
    assert content_digest(None) is content_digest("nothing") is None
    os.utime(path, ns=(1, 1))
    assert content_digest(path) == content
    assert files_digest([str(path)]) != files
    (tmp_path / "a.dbf").write_text("two")
    assert content_digest(path) != content


def test_a_scratch_into_which_a_thread_still_writes_is_gone_at_the_end(tmp_path):
    """As threads of a command that a signal has stopped: they end a little later than what made the scratch."""
    ended = threading.Event()

    def write(scratch):
        while not ended.wait(0.001) and scratch.exists():
            with contextlib.suppress(OSError):  # the folder may be gone by now
                (scratch / f"{uuid4().hex}.tif").touch()

    with scratch_beside(tmp_path / "x.tif") as scratch:
        for number in range(2000):
            (scratch / f"{number}.tif").touch()
        thread = threading.Thread(target=write, args=[scratch])
        thread.start()
        threading.Timer(0.2, ended.set).start()
    thread.join()
    assert list(tmp_path.iterdir()) == []
