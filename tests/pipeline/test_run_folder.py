import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochange.errors import BadOption, OutputInTheWay
from geochange.pipeline.run_folder import LOCK, RunFolder

RECORD = {"files": {"one": "one.txt", "more": []}}


def finish(folder, identity, names=("one.txt",)):
    for name in names:
        (folder.ready / name).write_text(name)
    record = {"identity": identity, "files": {"one": names[0], "more": list(names[1:])}}
    folder.publish(record)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "deep" / "out", "detect", earlier=["*.txt", "?/*.tif"])


def test_a_new_folder_is_made_with_its_scratch(folder):
    assert folder.begin({"a": 1}, resume=False, overwrite=False) is False
    assert folder.ready.is_dir()


def test_publishing_leaves_the_files_and_no_scratch(folder):
    folder.begin({"a": 1}, resume=False, overwrite=False)
    finish(folder, {"a": 1}, ("one.txt", "two.txt"))
    assert sorted(path.name for path in folder.out.iterdir()) == ["one.txt", "run.json", "two.txt"]


def test_an_unfinished_run_asks_what_to_do(folder):
    folder.begin({"a": 1}, resume=False, overwrite=False)
    with pytest.raises(OutputInTheWay, match="--resume"):
        folder.begin({"a": 1}, resume=False, overwrite=False)
    assert folder.begin({"a": 1}, resume=True, overwrite=False) is False
    assert folder.begin({"a": 2}, resume=False, overwrite=True) is False


def test_blocks_of_a_run_that_was_stopped_are_not_among_those_of_the_next(folder):
    """Workers may go on with a task of it: what they write must not be taken for the next run's."""
    folder.begin({"a": 1}, resume=False, overwrite=False)
    earlier = folder.blocks
    folder.begin({"a": 1}, resume=True, overwrite=False)
    assert folder.blocks == earlier
    folder.begin({"a": 2}, resume=False, overwrite=True)
    assert folder.blocks.is_dir()
    assert not earlier.exists()
    assert folder.blocks != earlier
    (folder.scratch / "run.json").write_text('{"blocks": "../../elsewhere"}')
    assert folder.blocks.parent == folder.scratch


def test_a_finished_run_is_kept_or_known_again(folder):
    folder.begin({"a": 1}, resume=False, overwrite=False)
    finish(folder, {"a": 1})
    with pytest.raises(OutputInTheWay, match="--overwrite"):
        folder.begin({"a": 1}, resume=False, overwrite=False)
    assert folder.begin({"a": 1}, resume=True, overwrite=False) is True


@pytest.mark.parametrize("finished", [False, True])
def test_resuming_another_run_names_what_differs(folder, finished):
    identity = {"options": {"tile_size": 512, "bands": None}, "name": "x"}
    folder.begin(identity, resume=False, overwrite=False)
    if finished:
        finish(folder, identity)
    other = {"options": {"tile_size": 256, "bands": None}, "name": "x"}
    with pytest.raises(OutputInTheWay, match=r"options\.tile_size \(512 then, 256 now\)"):
        folder.begin(other, resume=True, overwrite=False)


def test_a_replaced_run_leaves_no_stale_files_and_no_foreign_ones_are_touched(folder):
    folder.begin({}, resume=False, overwrite=False)
    finish(folder, {}, ("one.txt", "two.txt"))
    (folder.out / "notes.txt").write_text("mine")
    folder.begin({}, resume=False, overwrite=True)
    finish(folder, {}, ("one.txt",))
    assert sorted(path.name for path in folder.out.iterdir()) == ["notes.txt", "one.txt", "run.json"]


def test_an_abandoned_folder_is_gone_unless_blocks_are_done(folder):
    with folder.owned():
        folder.begin({}, resume=False, overwrite=False)
        (folder.blocks / "block.tif").write_text("")
        folder.abandon()
        assert folder.scratch.exists()
        (folder.blocks / "block.tif").unlink()
        folder.abandon()
    assert not folder.out.exists()


def test_abandoning_keeps_a_finished_run(folder):
    folder.begin({}, resume=False, overwrite=False)
    finish(folder, {})
    folder.begin({}, resume=False, overwrite=True)
    folder.abandon()
    assert json.loads((folder.out / "run.json").read_text())["files"]["one"] == "one.txt"


def test_a_record_is_written_last(folder):
    folder.begin({}, resume=False, overwrite=False)
    (folder.ready / "one.txt").write_text("")
    (folder.out / "one.txt").mkdir()
    with pytest.raises(OSError, match=r"one\.txt"):
        folder.publish(RECORD)
    assert not (folder.out / "run.json").exists()
    assert folder.scratch.exists()


def test_a_scratch_that_is_half_removed_is_no_unfinished_run(folder, monkeypatch):
    folder.begin({"a": 1}, resume=False, overwrite=False)
    with monkeypatch.context() as patch:
        patch.setattr("geochange.files.shutil.rmtree", lambda *a, **k: None)  # killed in the middle
        finish(folder, {"a": 1})
    assert not folder.scratch.exists()
    assert len(list(folder.out.glob(".geochange-*"))) == 1
    with folder.owned():
        assert not list(folder.out.glob(".geochange-*"))
    assert folder.begin({"a": 1}, resume=True, overwrite=False) is True


def test_a_folder_that_was_there_before_stays(folder):
    folder.out.mkdir(parents=True)
    with folder.owned():
        folder.begin({}, resume=False, overwrite=False)
        folder.abandon()
    assert list(folder.out.iterdir()) == []


def test_files_of_others_are_not_replaced_unasked(folder):
    folder = replace(folder, targets=["probability.tif"])
    folder.out.mkdir(parents=True)
    (folder.out / "probability.tif").write_text("somebody's")
    with pytest.raises(OutputInTheWay, match=r"probability\.tif exists"):
        folder.begin({}, resume=False, overwrite=False)
    assert not folder.scratch.exists()
    assert folder.begin({}, resume=False, overwrite=True) is False


@pytest.mark.parametrize("damaged", ["", "{bad", "[]", "3", "{}", '{"files": {"x": ["mine.txt"]}}'])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_record_that_is_damaged_or_another_program_s_is_named_and_kept(folder, damaged, overwrite):
    folder.out.mkdir(parents=True)
    (folder.out / "run.json").write_text(damaged)
    with pytest.raises(OutputInTheWay, match=r"run\.json is damaged, or not of geochange"):
        folder.begin({}, resume=not overwrite, overwrite=overwrite)
    assert (folder.out / "run.json").read_text() == damaged


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_another_program_in_the_place_of_the_scratch_is_named_and_kept(folder, overwrite):
    folder.scratch.mkdir(parents=True)
    (folder.scratch / "mine.txt").write_text("precious")
    with pytest.raises(OutputInTheWay, match=r"\.geochange is not of geochange"):
        folder.begin({}, resume=False, overwrite=overwrite)
    assert (folder.scratch / "mine.txt").read_text() == "precious"


def test_a_finished_run_that_lacks_a_file_says_so(folder):
    folder.begin({}, resume=False, overwrite=False)
    finish(folder, {})
    (folder.out / "one.txt").unlink()
    with pytest.raises(OutputInTheWay, match=r"lacks one\.txt"):
        folder.begin({}, resume=True, overwrite=False)


def test_records_name_files_of_their_own_folder_only(folder):
    folder.begin({}, resume=False, overwrite=False)
    finish(folder, {})
    (folder.out.parent / "mine.txt").write_text("")
    record = json.loads((folder.out / "run.json").read_text())
    (folder.out / "run.json").write_text(json.dumps(record | {"files": {"one": "../mine.txt"}}))
    folder.begin({}, resume=False, overwrite=True)
    finish(folder, {})
    assert (folder.out.parent / "mine.txt").exists()


def test_an_input_that_would_be_replaced_or_removed_is_refused_by_any_name(folder, tmp_path):
    folder.begin({}, resume=False, overwrite=False)
    finish(folder, {}, ("one.txt", "two.txt"))
    (tmp_path / "link").symlink_to(folder.out / "two.txt")
    again = replace(folder, targets=["one.txt"], inputs=[tmp_path / "link", None])
    with pytest.raises(OutputInTheWay, match=r"two\.txt is an input"):
        again.begin({}, resume=False, overwrite=True)
    with pytest.raises(OutputInTheWay, match="out is an input"):
        replace(folder, inputs=[str(folder.out / ".")]).begin({}, resume=False, overwrite=True)


def test_files_in_folders_are_published_and_replaced_one_by_one(folder):
    for names in (("A/x.tif", "A/y.tif", "B/z.tif"), ("A/x.tif",)):
        folder.begin({}, resume=None, overwrite=True)
        for name in names:
            (folder.ready / name).parent.mkdir(exist_ok=True)
        finish(folder, {}, names)
        (folder.out / "A" / "notes.txt").write_text("mine")
    found = sorted(path.relative_to(folder.out).as_posix() for path in folder.out.rglob("*") if path.is_file())
    assert found == ["A/notes.txt", "A/x.tif", "run.json"]
    assert not (folder.out / "B").exists()


def test_a_run_that_cannot_be_resumed_is_begun_anew_where_it_was_killed(folder):
    folder.begin({}, resume=None, overwrite=False)
    (folder.ready / "half.txt").write_text("")
    assert folder.begin({}, resume=None, overwrite=False) is False
    assert list(folder.ready.iterdir()) == []
    finish(folder, {})
    with pytest.raises(OutputInTheWay, match="holds a finished run; --overwrite replaces it"):
        folder.begin({}, resume=None, overwrite=False)


def test_a_run_without_a_scratch_is_replaced_file_by_file(folder):
    folder = replace(folder, targets=["last.pt", "logs/events.*"])
    folder.start({"finished": False, "identity": {"a": 1}}, overwrite=False)
    (folder.out / "logs").mkdir()
    for name in ("last.pt", "logs/events.1", "logs/notes.txt", "notes.txt"):
        (folder.out / name).write_text("")
    with pytest.raises(OutputInTheWay, match="unfinished run; --resume continues it"):
        folder.require({"a": 1}, resume=False, overwrite=False)
    with pytest.raises(OutputInTheWay, match=r"differs in a \(1 then, 2 now\)"):
        folder.require({"a": 2}, resume=True, overwrite=False)
    assert folder.require({"a": 2}, resume=True, overwrite=False, may_differ=["a"]) is False
    folder.start({"finished": True, "identity": {}}, overwrite=True)
    found = sorted(path.relative_to(folder.out).as_posix() for path in folder.out.rglob("*") if path.is_file())
    assert found == ["logs/notes.txt", "notes.txt", "run.json"]


def test_resuming_and_replacing_exclude_each_other(folder):
    with pytest.raises(BadOption, match="exclude"):
        folder.require({}, resume=True, overwrite=True)


def test_a_folder_below_a_file_is_refused_before_any_work(folder, tmp_path):
    (tmp_path / "deep").write_text("a file")
    with pytest.raises(OutputInTheWay, match="cannot be written to"):
        folder.require({}, resume=False, overwrite=False)


def test_a_folder_has_one_owner(folder):
    with folder.owned(), pytest.raises(OutputInTheWay, match=rf"in use by another run .*process {os.getpid()}"):
        folder.owned().__enter__()
    with folder.owned():
        assert (folder.out / LOCK).exists()
    assert not folder.out.exists()


def test_an_owner_leaves_a_folder_that_was_there(folder):
    folder.out.mkdir(parents=True)
    with folder.owned():
        pass
    assert list(folder.out.iterdir()) == []


def test_the_lock_of_a_killed_process_locks_nothing(folder, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from geochange.pipeline.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1]), 'detect').owned(): print('owned', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, folder.out], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "owned\n"
        with pytest.raises(OutputInTheWay, match=f"process {process.pid}"), folder.owned():
            pass
        process.kill()
    assert (folder.out / LOCK).exists()
    with folder.owned():
        pass
    assert not (folder.out / LOCK).exists()


def test_a_run_whose_files_were_removed_meanwhile_is_no_success(folder):
    folder.begin({}, resume=False, overwrite=False)
    (folder.out / "notes.txt").write_text("mine")
    with pytest.raises(OutputInTheWay, match=r"one\.txt was removed while the run was writing"):
        folder.publish(RECORD)
    assert not (folder.out / "run.json").exists()
    with pytest.raises(OutputInTheWay, match=r"one\.txt was removed"):
        folder.write({"finished": True, **RECORD})
    assert not (folder.out / "run.json").exists()


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


NAMES = st.one_of(
    st.sampled_from(["mine.txt", "../keep.txt", "..", "", ".", "sub/x.tif", "sub/../mine.txt", "a\0b", ".geochange"]),
    st.text(max_size=5),
)
VALUES = st.recursive(st.none() | st.integers() | NAMES, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


RECORDS = st.dictionaries(
    st.sampled_from(["files", "identity", "finished"]), VALUES | st.dictionaries(NAMES, VALUES, max_size=4)
)


@given(record=RECORDS)
def test_no_record_names_files_of_others_to_remove(record):
    with TemporaryDirectory() as name:
        folder = RunFolder(Path(name) / "out", "detect", ["one.txt"], earlier=["*.tif"])
        (folder.out / "sub").mkdir(parents=True)
        for each in ("mine.txt", "../keep.txt", "sub/x.tif"):
            (folder.out / each).write_text("precious")
        foreign = tree(Path(name))
        (folder.out / "run.json").write_text(json.dumps(record))
        try:
            folder.begin({}, resume=False, overwrite=True)
            finish(folder, {})
        except OutputInTheWay:
            pass
        assert tree(Path(name)).items() >= foreign.items()


def test_a_record_nested_beyond_reason_is_damaged(folder):
    folder.out.mkdir(parents=True)
    (folder.out / "run.json").write_text("[" * 50_000)
    with pytest.raises(OutputInTheWay, match=r"run\.json is damaged"):
        folder.begin({}, resume=True, overwrite=False)


@pytest.mark.parametrize("record", [{"command": "train"}, {"identity": {}}, {"identity": {"command": "synthesize"}}])
@pytest.mark.parametrize("unfinished", [True, False])
def test_a_run_of_another_command_is_never_replaced(folder, record, unfinished):
    place = folder.scratch if unfinished else folder.out
    place.mkdir(parents=True)
    (folder.out / "best.pt").write_text("weights")
    (place / "run.json").write_text(json.dumps({**record, "files": {"best": "best.pt"}}))
    kept = tree(folder.out)
    for how in ({"resume": True, "overwrite": False}, {"resume": False, "overwrite": True}):
        with pytest.raises(OutputInTheWay, match=r"holds a run of `geochange (train|synthesize)`; choose another"):
            folder.begin({}, **how)
    assert tree(folder.out) == kept


@pytest.mark.parametrize("name", ["run.json", "run.log", ".geochange", LOCK])
def test_links_in_the_place_of_files_of_the_run_are_not_followed(folder, tmp_path, name):
    folder.out.mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    (folder.out / name).symlink_to(tmp_path / "mine" / ("" if name == ".geochange" else "notes.txt"))
    with pytest.raises(OutputInTheWay, match="is a link"), folder.owned():
        pass
    with pytest.raises(OutputInTheWay, match="is a link"):
        folder.begin({}, resume=False, overwrite=True)
    assert tree(tmp_path / "mine") == {"notes.txt": b"precious"}


def test_files_behind_a_link_in_the_folder_stay(folder, tmp_path):
    folder.begin({}, resume=None, overwrite=False)
    finish(folder, {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.tif").write_text("precious")
    (folder.out / "A").symlink_to(tmp_path / "mine")
    (folder.out / "run.json").write_text(json.dumps({"command": "detect", "files": {"A": ["A/x.tif"]}}))
    folder.begin({}, resume=None, overwrite=True)
    finish(folder, {})
    assert (tmp_path / "mine" / "x.tif").read_text() == "precious"


def test_a_folder_in_the_place_of_a_file_is_refused_before_any_work(folder):
    folder = replace(folder, targets=["probability.tif"])
    (folder.out / "probability.tif").mkdir(parents=True)
    with pytest.raises(OutputInTheWay, match=r"probability\.tif is a folder"):
        folder.begin({}, resume=False, overwrite=True)


def test_unfinished_files_of_a_killed_run_are_removed_by_the_next(folder):
    folder = replace(folder, targets=["last.pt", "trials/*/last.pt"])
    left = [folder.out / name for name in (".geochange-0123abcd.pt", "trials/1/.geochange-0123abcd.pt")]
    kept = [folder.out / name for name in (".geochange-notes", "trials/1/last.pt", "other/.geochange-0123abcd.pt")]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    with folder.owned():
        assert [path.exists() for path in (*left, *kept)] == [False, False, True, True, True]


def test_folders_that_a_killed_run_was_removing_are_removed_by_the_next(folder):
    folder = replace(folder, targets=["trials/*/last.pt"])
    doomed = folder.out / "trials" / ".geochange-0123abcd-0123abcd"
    (doomed / "frozen").mkdir(parents=True)
    (folder.out / "trials" / "001").mkdir()
    with folder.owned():
        assert [path.name for path in (folder.out / "trials").iterdir()] == ["001"]


def test_a_scratch_that_somebody_holds_open_does_not_undo_a_finished_run(folder, monkeypatch, caplog):
    from geochange.pipeline import run_folder

    def held(path):
        raise OutputInTheWay(f"{path} is held open by a program")

    folder.begin({"a": 1}, resume=False, overwrite=False)
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "discard_folder", held)
        finish(folder, {"a": 1})
    assert (folder.out / "one.txt").exists()
    assert "is held open" in caplog.text
    assert not folder.begin({"a": 1}, resume=True, overwrite=False)
    finish(folder, {"a": 1})
    assert not folder.scratch.exists()
