import json
from types import SimpleNamespace

import pytest

from geochange.errors import OutputInTheWay
from geochange.pipeline.run_folder import RunFolder

RECORD = {"files": {"one": "one.txt", "more": []}}


def finish(folder, identity, names=("one.txt",)):
    for name in names:
        (folder.ready / name).write_text(name)
    record = {"identity": identity, "files": {"one": names[0], "more": list(names[1:])}}
    folder.publish(record)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "deep" / "out")


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


def test_a_record_is_written_last(folder, monkeypatch):
    folder.begin({}, resume=False, overwrite=False)
    (folder.ready / "one.txt").write_text("")
    monkeypatch.setattr("geochange.pipeline.run_folder.os", SimpleNamespace(replace=lambda a, b: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        folder.publish(RECORD)
    assert not (folder.out / "run.json").exists()
    assert folder.scratch.exists()


def test_a_scratch_that_is_half_removed_is_no_unfinished_run(folder, monkeypatch):
    folder.begin({"a": 1}, resume=False, overwrite=False)
    with monkeypatch.context() as patch:
        patch.setattr("geochange.pipeline.run_folder.shutil.rmtree", lambda *a, **k: None)  # killed in the middle
        finish(folder, {"a": 1})
    assert folder.scratch.exists()
    assert folder.begin({"a": 1}, resume=True, overwrite=False) is True


def test_a_folder_that_was_there_before_stays(folder):
    folder.out.mkdir(parents=True)
    folder.begin({}, resume=False, overwrite=False)
    folder.abandon(keep_folder=True)
    assert list(folder.out.iterdir()) == []


def test_files_of_others_are_not_replaced_unless_told(folder):
    folder.out.mkdir(parents=True)
    (folder.out / "probability.tif").write_text("somebody's")
    with pytest.raises(OutputInTheWay, match=r"probability\.tif exists"):
        folder.begin({}, resume=False, overwrite=False, targets=["probability.tif"])
    assert not folder.scratch.exists()
    assert folder.begin({}, resume=False, overwrite=True, targets=["probability.tif"]) is False


@pytest.mark.parametrize("damaged", ["", "{bad", "[]", "3"])
def test_a_damaged_record_is_named_and_can_be_overwritten(folder, damaged):
    folder.out.mkdir(parents=True)
    (folder.out / "run.json").write_text(damaged)
    with pytest.raises(OutputInTheWay, match=r"run\.json is damaged"):
        folder.begin({}, resume=True, overwrite=False)
    folder.begin({}, resume=False, overwrite=True)
    finish(folder, {})
    assert folder.begin({}, resume=True, overwrite=False) is True


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
