"""What is printed where the encoding is that of a console of Windows, or of a file that its output goes to."""

import codecs
import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress

from geochange.cli import consoles
from geochange.cli.commands import COMMANDS
from geochange.cli.consoles import PLAINLY, write_plainly
from tests.stand_ins import write_pair

PAGES = ["cp1252", "cp850", "cp437", "cp932", "ascii"]
ALL_HELP = f"""
from geochange.cli import main
for name in {["", *COMMANDS]!r}:
    try:
        main([*name.split(), "--help"])
    except SystemExit as ended:
        assert ended.code == 0, name
"""


def printed(text, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    write_plainly(stream)
    stream.write(text)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def answer(*arguments, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONWARNDEFAULTENCODING": "1"}
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, check=False, env=environment)
    return ended.returncode, ended.stdout.decode(encoding), ended.stderr.decode(encoding)


@pytest.mark.parametrize("encoding", PAGES)
def test_signs_that_are_lacking_become_plain_ones(encoding):
    found = printed("2–3 × 4 ≥ 5 → 6 m² a…", encoding)
    assert not set("?\\") & {*found}
    assert printed("a–b", "ascii") == "a-b"
    assert printed("≥ 5 → 6", "ascii") == ">= 5 -> 6"


def test_what_an_encoding_has_stays():
    assert printed("2–3 ä", "cp1252") == "2–3 ä"
    assert printed("→ 東京", "utf-8") == "→ 東京"


def test_names_in_other_alphabets_can_be_read_back():
    assert printed("東京.tif", "cp1252") == r"\u6771\u4eac.tif"
    assert printed("a\udcff.tif", "utf-8") == r"a\udcff.tif"


def test_decoding_is_left_to_others():
    write_plainly(sys.stdout)
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", PLAINLY)
    assert codecs.lookup_error(PLAINLY) is consoles.plainly


@pytest.mark.parametrize("encoding", ["cp437", "cp1252"])
def test_help_of_all_commands_is_readable(encoding):
    code, out, errors = answer("-c", ALL_HELP, encoding=encoding)
    assert (code, errors) == (0, "")
    assert out.count("Usage") == len(COMMANDS) + 1
    assert re.findall(r"\\x..|\\u....|\ufffd|[^ \"'(\[]\?", out) == []


@pytest.mark.parametrize("encoding", ["cp437", "cp1252"])
def test_a_run_and_its_table_are_readable(tmp_path, encoding):
    folder = tmp_path / "münster–東京"
    folder.mkdir()
    before, after = write_pair(folder, (96, 128))
    code, out, errors = answer("-m", "geochange", "check", str(before), str(after), encoding=encoding)
    assert code == 0, errors
    assert "Traceback" not in errors
    assert r"\u6771" in out + errors
    assert "?" not in out + errors


@pytest.mark.parametrize("encoding", PAGES)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_bar_is_drawn_in_what_the_encoding_has(encoding, legacy):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    write_plainly(stream)
    console = Console(file=stream, force_terminal=True, legacy_windows=False, width=60)
    console.legacy_windows = legacy  # its own calls of Windows's console are not there
    with Progress(BarColumn(), console=console) as progress:
        progress.update(progress.add_task("detect", total=8), completed=5)
    stream.flush()
    drawn = stream.buffer.getvalue().decode(encoding)
    assert len(set(drawn) & {*"-━"}) == 1
    assert not set("?\\") & {*re.sub(r"\x1b\[\?25[lh]", "", drawn)}
