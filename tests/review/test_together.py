"""Several reviewers on one server: who is where, whose name, and two versions of one change."""

import io

import geopandas
import numpy as np
import pytest
import shapely
from PIL import Image

from geochange.review.store import read_actions
from tests.review import test_page, test_tools
from tests.review.test_server import SQUARE
from tests.review.test_tools import begin_tool, shapes_of

WAIT, tally = test_page.WAIT, test_page.tally
browser, page, close = test_page.browser, test_page.page, test_tools.close


def number_of(page):
    return int(page.inner_text("#change h2").split()[1])


def enter(browser, served, name):
    """Open a second page, under another name."""
    opened = browser.new_page(viewport={"width": 1200, "height": 800})
    opened.goto(f"{served.address}/#token={served.token}")
    opened.wait_for_selector("#change h2", timeout=WAIT)
    opened.click("#reviewer")
    opened.fill("#answer", name)
    opened.keyboard.press("Enter")
    opened.locator("#reviewer", has_text=name).wait_for(timeout=WAIT)
    return opened


def cut_off(page, served, key, then):
    """Have a page act while it is cut off, and somebody else meanwhile; it is told when it is back."""
    page.context.set_offline(True)
    page.keyboard.press(key)
    page.locator("#saved", has_text="no connection").wait_for(timeout=WAIT)
    assert then()[0] == 200
    page.context.set_offline(False)


def test_two_begin_at_two_changes_and_each_is_seen_by_the_other(page, browser, served):
    first = number_of(page)
    ben = enter(browser, served, "ben")
    assert number_of(ben) != first
    ben.keyboard.press("/")
    ben.keyboard.insert_text(str(first))
    ben.keyboard.press("Enter")
    page.locator("#change", has_text="Also here").wait_for(timeout=WAIT)
    assert "ben" in page.inner_text("#change")
    ben.keyboard.press("ArrowRight")
    page.locator("#change", has_not_text="Also here").wait_for(timeout=WAIT)
    ben.close()


def test_two_of_one_name_are_told_and_a_name_stays(page, browser, served):
    second = browser.new_page()
    second.goto(f"{served.address}/#token={served.token}")
    second.locator("#message", has_text="ada is here already").wait_for(timeout=WAIT)
    second.click("#reviewer")
    second.fill("#answer", "ben")
    second.keyboard.press("Enter")
    second.locator("#reviewer", has_text="ben").wait_for(timeout=WAIT)  # the server has taken it
    second.reload()
    second.locator("#reviewer", has_text="ben").wait_for(timeout=WAIT)
    second.wait_for_selector("#change h2", timeout=WAIT)
    second.keyboard.press("k")
    tally(second, "1 kept")
    assert [each.who for each in read_actions(served.out / "review" / "review.sqlite")] == ["ben"]
    page.keyboard.press("z")  # ada has decided nothing
    page.locator("#message", has_text="nothing to undo").wait_for(timeout=WAIT)
    second.close()


@pytest.mark.parametrize(("key", "status"), [("w", "kept"), ("Escape", "rejected")])
def test_a_decision_that_came_second_is_shown_beside_the_first(page, served, key, status):
    number = number_of(page)
    reject = [{"key": str(number), "rev": 0, "after": {"status": "rejected", "comment": "a shadow"}}]
    cut_off(page, served, "k", lambda: served.act("decide", reject, who="ben"))
    page.locator("#conflict", has_text=f"Change {number}: two versions").wait_for(timeout=WAIT)
    told = page.inner_text("#versions").split()
    assert " ".join(told).endswith("ben rejected, change, a shadow You kept")
    page.keyboard.press(key)
    page.locator("#conflict").wait_for(state="hidden", timeout=WAIT)
    tally(page, "1 kept · 0" if status == "kept" else "0 kept · 1 rejected")
    assert served.get(f"/api/changes/{number}")["status"] == status
    assert served.get(f"/api/changes/{number}")["comment"] == "a shadow"


def test_those_who_agree_are_asked_nothing_and_go_on(page, served):
    number = number_of(page)
    keep = [{"key": str(number), "rev": 0, "after": {"status": "kept"}}]
    cut_off(page, served, "k", lambda: served.act("decide", keep, who="ben"))
    page.locator("#message", has_text="agrees").wait_for(timeout=WAIT)
    assert page.is_hidden("#conflict")
    page.keyboard.press("ArrowLeft")
    assert number_of(page) == number
    page.keyboard.press("x")  # two more on the change that was refused: its revision is known again
    tally(page, "0 kept · 1 rejected")


def test_of_many_decisions_only_those_that_somebody_took_are_asked_about(page, served):
    page.keyboard.press("Home")
    test_page.choose_in_box(page, (420, 300), (640, 500))
    count = int(page.inner_text("#change h2").split()[0])
    chosen = geopandas.read_file(served.out / "changes.gpkg", layer="changes").id.tolist()
    keep = [{"key": str(each), "rev": 0, "after": {"status": "kept"}} for each in chosen]
    cut_off(page, served, "x", lambda: served.act("decide", keep[: len(keep) // 2], who="ben"))
    page.locator("#conflict", has_text="two versions").wait_for(timeout=WAIT)
    page.keyboard.press("Escape")
    page.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    *_, mine = read_actions(served.out / "review" / "review.sqlite")
    assert mine.who == "ada"
    assert 0 < len(mine.items) < count
    assert {int(item.key) for item in mine.items} <= {*chosen[len(keep) // 2 :]}


@pytest.mark.parametrize("key", ["w", "Escape"])
@pytest.mark.parametrize("theirs", ["reshape", "delete"])
def test_an_outline_that_came_second_is_not_lost(close, served, theirs, key):
    status, told = served.act("draw", [{"key": "", "rev": 0, "after": {"geometry": SQUARE, "label": "change"}}])
    assert status == 200
    number = int(told["items"][0]["key"])
    close.keyboard.press("/")
    close.keyboard.insert_text(str(number))
    close.keyboard.press("Enter")
    close.locator("#change h2", has_text=f"Change {number}").wait_for(timeout=WAIT)
    close.wait_for_timeout(500)
    begin_tool(close, "e", "Corners")
    close.keyboard.press("Enter")  # takes the first corner
    close.keyboard.press("Shift+ArrowLeft")
    after = {"geometry": [[[10, 20], [80, 20], [80, 60], [10, 60], [10, 20]]]} if theirs == "reshape" else None
    item = {"key": str(number), "rev": 1, "after": after or {"status": "deleted"}}
    cut_off(close, served, "Enter", lambda: served.act(theirs, [item], who="ben"))
    close.locator("#conflict", has_text=f"Change {number}: two versions").wait_for(timeout=WAIT)
    close.keyboard.press("Escape")  # leaves the tool
    close.keyboard.press(key)
    close.locator("#conflict").wait_for(state="hidden", timeout=WAIT)
    close.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    close.wait_for_timeout(300)
    mine = shapely.Polygon(SQUARE[0]).area
    there = {each: shape.area for each, (shape, fields) in shapes_of(served).items() if fields["status"] == "kept"}
    match theirs, key:
        case "reshape", "w":
            assert there[number] not in (mine, 2800)
        case "reshape", _:
            assert there == {number: 2800}
        case "delete", "w":
            assert [*there] == [number + 1]
        case _:
            assert there == {}


def test_several_are_chosen_by_keys_and_merged(close, served):
    for rings in (SQUARE, [[[30, 20], [70, 20], [70, 60], [30, 60], [30, 20]]]):
        assert served.act("draw", [{"key": "", "rev": 0, "after": {"geometry": rings, "label": "change"}}])[0] == 200
    top = served.get("/api/scene")["top"]
    for number in (top + 1, top + 2):
        close.keyboard.press("/")
        close.keyboard.insert_text(str(number))
        close.keyboard.press("Enter")
        close.locator("#change", has_text=f"Change {number}").wait_for(timeout=WAIT)
        close.keyboard.press("b")
    close.locator("#change h2", has_text="2 changes chosen").wait_for(timeout=WAIT)
    close.keyboard.press("b")  # takes it out, and in again
    close.locator("#change h2", has_text="1 change chosen").wait_for(timeout=WAIT)
    close.keyboard.press("b")
    close.keyboard.press("m")
    close.locator("#change h2", has_text=f"Change {top + 3}").wait_for(timeout=WAIT)
    merged, fields = shapes_of(served)[top + 3]
    assert (merged.bounds, fields["origin"]) == ((10, 20, 70, 60), "merged")
    close.keyboard.press("b")
    close.keyboard.press("Escape")
    assert "chosen" not in close.inner_text("#change")


def seen(page, place):
    """What the middle of an element shows, (y, x, 3), without outlines and what is written over it."""
    page.wait_for_timeout(800)
    picture = np.asarray(Image.open(io.BytesIO(page.locator(place).screenshot())).convert("RGB")).astype(int)
    rows, cols = (length // 2 for length in picture.shape[:2])
    return picture[rows - 100 : rows + 100, cols - 100 : cols + 100]


def test_side_by_side_shows_one_place_of_both_dates(close):
    panel = close.locator("aside").bounding_box()["width"]
    close.set_viewport_size({"width": int(panel) + 1000, "height": 800})  # halves of whole pixels
    close.keyboard.press("o")
    single = []
    for key in "ad":
        close.keyboard.press(key)
        single.append(seen(close, "#map"))
    close.keyboard.press("v")
    both = [seen(close, place) for place in ("#map", "#beside")]
    for one, other in zip(single, both, strict=True):
        assert (one == other).mean() > 0.99
    assert (both[0] == both[1]).mean() < 0.5
    close.mouse.move(150, 400)
    assert close.is_visible("#twin")
    close.keyboard.press("v")
    assert close.is_hidden("#beside")
    assert close.is_hidden("#twin")
