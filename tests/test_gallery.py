"""The gallery: its page is what its script makes, its commands are commands, its panels show what is there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from PIL import Image
from skimage.color import rgb2lab

from geochange.cli.commands import COMMANDS as DECLARED
from geochange.detectors.catalogue import names
from geochange.polygons.preview import CHANGE, NODATA
from tests.stand_ins import PLACE, UTM, write_raster

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))

from exhibits import real, synthetic  # noqa: E402
from exhibits.page import Done, Page, Section, run, write_page  # noqa: E402
from exhibits.panels import SIDE, Panel, Scene, ramp_colours, sheet  # noqa: E402

GALLERY = (DOCS / "gallery.md").read_text(encoding="utf-8")
SYNTHETIC = synthetic.page(DOCS.parent / "sample_data")
REAL = real.page(Path("imagery"))
PACKAGES = {"buildings", "micro-changes"}  # detectors that need not be installed
SHOWN = re.findall(r"^geochange .*$", GALLERY, re.MULTILINE)
COMMANDS = [*SHOWN, *(command for section in REAL.sections for command in section.commands)]
SCENE = Scene(before="before.tif", after="after.tif", col=0, row=0, size=30)


def test_every_picture_of_the_page_is_there_and_small():
    pictures = {DOCS / name for name in re.findall(r"!\[.*?\]\((.*?)\)", GALLERY)}
    assert pictures == set((DOCS / "gallery").iterdir())
    sizes = [picture.stat().st_size for picture in pictures]
    assert max(sizes) < 150_000
    assert sum(sizes) < 2_500_000


def test_the_page_is_that_of_the_script():
    blocks = re.findall(r"^## (.*)\n\n(.*)\n\n(?:```sh\n((?:.*\n)*?)```\n\n)?!", GALLERY, re.MULTILINE)
    assert blocks == [
        (section.title, section.text, "".join(f"{command}\n" for command in section.commands))
        for section in SYNTHETIC.sections
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command):
    _, name, *arguments = shlex.split(command)
    parsed = DECLARED[name].build().make_context(name, arguments).params
    assert parsed.get("detector") in {None, *names()} | PACKAGES


@pytest.mark.parametrize("page", [SYNTHETIC, REAL], ids=lambda page: page.title)
def test_commands_read_what_is_there_or_was_made_before(page):
    there = set(page.links)
    for command in (command for section in page.sections for command in section.commands):
        words = shlex.split(command)
        writes = {words[at + 1] for at, word in enumerate(words) if word in ("-o", "--picture")}
        reads = {word for word in words if re.search(r"\.[a-z]+$", word)} - writes
        assert all(file in there or str(Path(file).parent) in there for file in reads), command
        there |= writes


def test_a_section_without_its_detector_is_left_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("exhibits.page.run", lambda command, folder: '[{"name": "ir-mad"}]')
    panel = Panel("grey", Image.new("RGB", (SIDE, SIDE), NODATA))
    kept = Section(title="The kept one", text="Grey.", draw=lambda done: [[panel]])
    left = Section(title="The other", text="Nothing.", draw=lambda done: [[panel]], needs="no-such-detector")
    write_page(Page(title="Two", text="One of two.", sections=(left, kept), links={}), tmp_path / "two.md")
    assert [picture.name for picture in (tmp_path / "two").iterdir()] == ["kept-one.jpg"]
    assert "## The other" not in (tmp_path / "two.md").read_text()
    assert "no-such-detector" in capsys.readouterr().out


def test_a_command_that_fails_ends_it_with_what_it_said(tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)vectorize missing\.tif.*does not exist"):
        run("geochange vectorize missing.tif -o out.gpkg", tmp_path)


def test_the_ramp_grows_lighter_in_even_steps():
    steps = np.diff(rgb2lab(ramp_colours(np.linspace(0, 1, 9)) / 255)[:, 0])
    np.testing.assert_allclose(steps, 90 / 8, rtol=0.1)


def test_a_caption_wider_than_its_panel_is_refused():
    with pytest.raises(ValueError, match="wider"):
        sheet([[Panel("far too long a caption for a panel of one pixel", Image.new("RGB", (1, 1)))]])


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("crs", "transform"),
    [(UTM, PLACE), (UTM, PLACE @ Affine.translation(-4, -7)), (None, Affine.identity())],
    ids=["same grid", "another origin", "plain image"],
)
def test_pixels_and_outlines_lie_on_their_place(tmp_path, crs, transform):
    """One bright pixel in column 12 and row 5 of the earlier date, its outline in a layer, and no data in row 20."""
    reference = PLACE if crs else transform
    col, row = (round(value) for value in ~transform @ (reference @ (12, 5)))
    nothing = round((~transform @ (reference @ (0, 20)))[1])
    values = np.zeros((1, 40, 40), np.uint8)
    values[0, row, col], values[0, nothing] = 254, 255
    write_raster(tmp_path / "before.tif", np.zeros((3, 40, 40), np.uint8), crs=crs, transform=reference)
    write_raster(tmp_path / "score.tif", values, crs=crs, transform=transform, nodata=255)
    left, top = reference @ (12, 5) if crs else (12, -5)
    right, bottom = reference @ (13, 6) if crs else (13, -6)
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(left, bottom, right, top)], crs=crs)
    frame.to_file(tmp_path / "layer.gpkg")
    read = np.nan_to_num(SCENE.values(tmp_path, "score.tif"), nan=-1)
    zoom = len(read) // 30
    assert np.all(read[5 * zoom : 6 * zoom, 12 * zoom : 13 * zoom] == 254)
    assert np.count_nonzero(read > 0) == zoom**2
    assert np.all(read[20 * zoom : 21 * zoom] == -1)
    drawn = np.asarray(SCENE.outline(tmp_path, "layer.gpkg", Image.new("RGB", (SIDE, SIDE))))
    rows, cols = np.nonzero(np.all(drawn == CHANGE, axis=-1))
    assert {*rows} <= {*range(48, 62)}
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == pytest.approx((50, 59, 120, 129), abs=1)


def test_scores_are_kept_by_what_was_scored():
    done = Done(Path(), {"a/changes.gpkg": "F1 0.8675 (0.836 to 0.893)"})
    assert done.f1("a/changes.gpkg") == "F1 0.8675"
