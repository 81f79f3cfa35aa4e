"""Success is never reported over a file that cannot be read: every command that writes, on disks that are full."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.disks import disk
from tests.every_command import FOLDERS, call_of, every_command, files_of, is_hidden, read_all, write_inputs
from tests.forked_commands import run_forked

if sys.platform == "win32":
    pytest.skip("no limits of file size there", allow_module_level=True)

pytestmark = pytest.mark.xdist_group("full disk")  # all its commands are run once, for all its tests
SIZES = (100, 30_000)  # bytes; `long` tries twenty
RESUMED = (".geochange", "run.log")  # what a run that can be resumed keeps
LEFT = ("train", "finetune", "tune", "watch", "detect-many")  # which leave what is whole
PAGE = 4096
ROOM = 512 << 20  # bytes that suffice for any of them


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def outcomes(inputs, tmp_path_factory):
    """(command, limit) -> exit code, lines on stderr, folder."""
    folder = tmp_path_factory.mktemp("outputs")
    cases = {}
    for name, arguments in every_command(inputs).items():
        for limit in (*SIZES, None):
            own = folder / f"{len(cases)}"
            cases[name, limit] = (own, call_of(arguments, own))
    ended = run_forked(folder, [{"limit": limit, "arguments": case[1]} for (_, limit), case in cases.items()])
    return {
        case: (found["code"], found["lines"], own) for (case, (own, _)), found in zip(cases.items(), ended, strict=True)
    }


def cases_of(outcomes, name):
    return {limit: outcome for (command, limit), outcome in outcomes.items() if command == name}


@pytest.mark.parametrize("name", list(every_command(Path())))
def test_success_means_files_that_can_be_read_and_a_full_disk_one_line(outcomes, name):
    ended = cases_of(outcomes, name)
    assert ended[SIZES[0]][0] == 2
    assert ended[None][0] == 0, ended[None]
    complete = files_of(ended[None][2])
    for limit, (code, lines, folder) in ended.items():
        require_whole(name, code, lines, folder, complete, limit)
        if code:
            assert all((folder / path).stat().st_size <= (limit or 0) for path in files_of(folder))


def require_whole(name, code, lines, folder, complete, limit):
    """A command that succeeded has left all its files, one that did not a line and nothing of them."""
    there = files_of(folder)
    if code == 0:
        searched = {path for path in complete if "trials" in path.parts}  # a trial that failed is followed by others
        assert there >= complete - searched, (limit, there)
    else:
        assert (code, len(lines)) == (2, 1), (limit, code, lines)
        assert "disk is full" in lines[0] or "GB free" in lines[0], (limit, lines)
        visible = {path for path in there if not {*path.parts} & {*RESUMED}}
        assert not visible or name in LEFT, (limit, visible)
    for path in there:
        if ".geochange" not in path.parts:
            read_all(folder / path)


def test_files_that_belong_together_appear_together(inputs, tmp_path):
    command = every_command(inputs)["export-model"]
    with disk(tmp_path / "large", ROOM) as large:
        (ended,) = run_forked(tmp_path, [{"arguments": call_of(command, large)}])
        assert ended["code"] == 0, ended
        first = (large / "o.onnx").stat().st_size
    with disk(tmp_path / "small", first + 4 * PAGE) as small:
        (ended,) = run_forked(tmp_path, [{"arguments": call_of(command, small)}])
        require_whole("export-model", ended["code"], ended["lines"], small, {Path("o.onnx")}, "small")
        assert ended["code"] == 2


def test_an_address_of_a_bucket_is_no_path(inputs, tmp_path):
    """But for `detect`, which writes there. Without its guard a command would make a folder named s3: here."""
    kinds = ("align", "vectorize gpkg", "evaluate", "model describe", "synthesize", "detect-many", "train")
    commands = {name: each for name, each in every_command(inputs).items() if name in kinds}
    calls = [[*given, f"s3://bucket/{output}", "-q"] for *given, output in commands.values()]
    ended = run_forked(tmp_path, [{"arguments": call} for call in calls])
    for name, found in zip(commands, ended, strict=True):
        assert (found["code"], len(found["lines"])) == (2, 1), (name, found)
        assert "s3:/bucket/" in found["lines"][0], (name, found)
        assert "is not on a disk, and only `detect` writes elsewhere" in found["lines"][0], (name, found)
    assert not Path("s3:").exists()


@pytest.mark.long
def test_twenty_sizes_of_a_disk(inputs, tmp_path):
    commands, failed = every_command(inputs), []

    def run(places, *, again=False):
        ways_on = FOLDERS if again else {}
        calls = [call_of(commands[name], own, *ways_on.get(name, "").split()) for name, own in places]
        return run_forked(tmp_path, [{"arguments": call} for call in calls])

    def check(name, found, own, size):
        try:
            require_whole(name, found["code"], found["lines"], own, complete[name], size)
        except AssertionError as error:
            failed.append((name, size, str(error)))

    with ExitStack() as stack:
        large = {name: stack.enter_context(disk(tmp_path / f"{name} large", ROOM)) for name in commands}
        assert {ended["code"] for ended in run(large.items())} == {0}
        complete = {name: files_of(own) for name, own in large.items()}
        sizes = {
            (name, size): stack.enter_context(disk(tmp_path / f"{name} {size}", size))
            for name, own in large.items()
            for size in twenty_sizes(sum(path.stat().st_size for path in own.rglob("*") if path.is_file()))
        }
        full = {}
        for ((name, size), own), found in zip(
            sizes.items(), run([(name, own) for (name, _), own in sizes.items()]), strict=True
        ):
            check(name, found, own, size)
            if found["code"]:
                subprocess.run(["mount", "-o", f"remount,size={ROOM}", own], check=True)
                full[name, size] = own
        assert {name for name, _ in full} == {*commands}
        for ((name, size), own), found in zip(
            full.items(), run([(name, own) for (name, _), own in full.items()], again=True), strict=True
        ):
            if found["code"] or any(map(is_hidden, files_of(own))):
                failed.append((name, size, "again", found, files_of(own)))
            check(name, found, own, size)
    print(f"{len(sizes)} disks, {len(full)} of them full")
    assert not failed, "\n".join(map(str, failed))


def twenty_sizes(needed):
    """Sizes in bytes, of whole pages, from a third of what is needed to three times as much, or to 20 pages."""
    least = max(needed // 3 // PAGE, 1)
    return [
        PAGE * pages
        for pages in np.linspace(least, max(3 * needed // PAGE, least + 19), 20).round().astype(int).tolist()
    ]
