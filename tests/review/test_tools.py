"""Outlines drawn and corrected on the page, with the pointer and with the keyboard alone."""

import re

import geopandas
import numpy as np
import pytest
import shapely

from geochange.review.saved import SavedReview
from tests.review import test_page
from tests.review.test_edits import pixels_of
from tests.review.test_server import SQUARE

WAIT, tally = test_page.WAIT, test_page.tally
browser, page = test_page.browser, test_page.page


def shapes_of(served):
    """Id -> outline in columns and rows, and fields, of all that reviewers have touched."""
    saved = SavedReview.open(served.out)
    keys = [int(key) for key in saved.state.touched if key.isdecimal()]
    found = saved.changes.shapes(saved.state, keys)
    fields = {key: saved.state.touched[str(key)].fields for key in keys}
    return {key: (pixels_of(served.out, found[key]) if key in found else None, fields[key]) for key in keys}


def place_of(page, x, y):
    """Column and row of a place on the screen."""
    page.mouse.move(x, y)
    page.locator("#place", has_text="row").wait_for(timeout=WAIT)
    row, col = map(int, re.search(r"row (\d+), column (\d+)", page.inner_text("#place")).groups())
    return col, row


def near(page, x, y):
    """Where on the screen a place of the scene lies."""
    (left, top), (right, bottom) = place_of(page, 200, 200), place_of(page, 800, 600)
    return 200 + 600 * (x - left - 0.5) / (right - left), 200 + 400 * (y - top - 0.5) / (bottom - top)


def wait_until_saved(page, text):
    tally(page, text)
    page.locator("#change h2").wait_for(timeout=WAIT)


def begin_tool(page, key, name):
    page.keyboard.press(key)
    page.locator("#tool", has_text=name).wait_for(timeout=WAIT)


@pytest.fixture
def close(page, served):
    """The page at full scale, at a change in the middle of the scene."""
    layer = geopandas.read_file(served.out / "changes.gpkg", layer="changes")
    middle = shapely.Point(*SavedReview.open(served.out).run.scene.grid.transform @ (512, 512))
    number = int(layer.id[layer.distance(middle).idxmin()])
    page.keyboard.press("/")
    page.keyboard.insert_text(str(number))
    page.keyboard.press("Enter")
    page.locator("#change h2", has_text=re.compile(f"^Change {number}$")).wait_for(timeout=WAIT)
    page.wait_for_timeout(500)
    return page


def test_a_polygon_is_drawn_by_the_pointer(close, served):
    corners = [(200, 300), (330, 280), (340, 420), (210, 430)]
    expected = [place_of(close, *corner) for corner in corners]
    close.keyboard.press("p")
    close.locator("#tool", has_text="Polygon").wait_for(timeout=WAIT)
    for corner in corners[:-1]:
        close.mouse.click(*corner)
    close.mouse.dblclick(*corners[-1])
    wait_until_saved(close, "1 kept")
    ((number, (shape, fields)),) = shapes_of(served).items()
    assert number > SavedReview.open(served.out).changes.top
    assert (fields["origin"], fields["status"], fields["label"]) == ("drawn", "kept", "change")
    found = np.floor(shapely.get_coordinates(shape)[:-1]).astype(int)
    assert sorted(map(tuple, found.tolist())) == sorted(expected)
    assert close.inner_text("#change h2") == f"Change {number}"
    close.keyboard.press("Escape")
    assert close.inner_text("#tool") == ""


def test_a_rectangle_and_a_freehand_outline(close, served):
    close.keyboard.press("r")
    first, second = place_of(close, 250, 320), place_of(close, 400, 450)
    for corner in ((250, 320), (400, 450)):
        close.mouse.click(*corner)
    wait_until_saved(close, "1 kept")
    close.keyboard.press("f")
    close.mouse.move(500, 300)
    close.mouse.down()
    for angle in np.linspace(0, 2 * np.pi, 40):
        close.mouse.move(460 + 40 * np.cos(angle), 300 + 40 * np.sin(angle))
    close.mouse.up()
    wait_until_saved(close, "2 kept")
    (rectangle, _), (circle, _) = shapes_of(served).values()
    assert rectangle.equals(shapely.box(*rectangle.bounds))
    assert tuple(np.floor(rectangle.bounds).astype(int)) == (*first, *second)
    assert 0.85 < 4 * np.pi * circle.area / circle.length**2 <= 1


def test_all_of_it_by_the_keyboard_alone(close, served):
    """A polygon, a corner that is moved, one that is added and removed, a hole, a cut; each is taken back."""
    close.keyboard.press("p")
    for key, times in (
        ("Enter", 1),
        ("Shift+ArrowRight", 2),
        ("Enter", 1),
        ("Shift+ArrowDown", 2),
        ("Enter", 1),
        ("Shift+ArrowLeft", 2),
    ):
        for _ in range(times):
            close.keyboard.press(key)
    close.keyboard.press("Enter")
    close.keyboard.press("Enter")
    wait_until_saved(close, "1 kept")
    close.keyboard.press("Escape")
    number = max(shapes_of(served))
    square = shapes_of(served)[number][0]
    left, top, _, _ = square.bounds
    assert square.equals(shapely.box(left, top, left + 20, top + 20))

    def changed_by(*keys):
        before = len(SavedReview.open(served.out).actions)
        for key in keys:
            close.keyboard.press(key)
        for _ in range(100):
            if len(SavedReview.open(served.out).actions) > before:
                break
            close.wait_for_timeout(50)
        close.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
        return shapes_of(served)

    begin_tool(close, "e", "Corners")
    corner = shapely.get_coordinates(square)[0]
    moved = changed_by("Enter", *["ArrowLeft"] * 5, "Enter")[number][0]
    assert moved.area != square.area
    assert tuple(corner - (5, 0)) in set(map(tuple, shapely.get_coordinates(moved).tolist()))
    assert changed_by("z")[number][0].equals(square)
    close.wait_for_timeout(500)
    again = changed_by(*["ArrowRight"] * 5, "Enter", *["ArrowUp"] * 3, "Enter")[number][0]
    assert tuple(corner - (0, 3)) in set(map(tuple, shapely.get_coordinates(again).tolist()))
    assert tuple(corner - (5, 0)) not in set(map(tuple, shapely.get_coordinates(again).tolist()))  # it was taken back
    changed_by("z")
    close.keyboard.press("Escape")
    assert shapes_of(served)[number][0].equals(square)
    close.keyboard.press("h")
    x, y = shapely.get_coordinates(square.centroid)[0]
    view = shapes_of(served)[number][0]
    assert view.contains(shapely.Point(x, y))
    close.keyboard.press("Escape")
    close.keyboard.press("Delete")
    wait_until_saved(close, "0 kept")
    assert shapes_of(served)[number][1]["status"] == "deleted"
    close.keyboard.press("z")
    wait_until_saved(close, "1 kept")


def test_cutting_a_hole_and_merging(close, served):
    close.keyboard.press("r")
    for corner in ((250, 320), (400, 450)):
        close.mouse.click(*corner)
    wait_until_saved(close, "1 kept")
    (whole,) = [shape for shape, _ in shapes_of(served).values()]
    close.keyboard.press("h")
    for corner in ((300, 360), (340, 360), (340, 400)):
        close.mouse.click(*corner)
    close.mouse.dblclick(300, 400)
    close.locator("#tool", has_text="Hole").wait_for(state="hidden", timeout=WAIT)
    close.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    (holed,) = [shape for shape, _ in shapes_of(served).values()]
    assert len(holed.interiors) == 1
    assert whole.contains(holed)
    close.wait_for_timeout(300)
    close.keyboard.press("c")
    close.mouse.click(325, 280)
    close.mouse.dblclick(325, 500)
    wait_until_saved(close, "2 kept")
    parts = [(shape, fields) for shape, fields in shapes_of(served).values() if fields["status"] != "deleted"]
    assert [fields["origin"] for _, fields in parts] == ["split", "split"]
    assert shapely.union_all([shape for shape, _ in parts]).symmetric_difference(holed).area < 1e-6
    close.keyboard.press("Escape")
    test_page.choose_in_box(close, (230, 300), (430, 480))
    close.keyboard.press("m")
    wait_until_saved(close, "1 kept")
    merged = [
        (shape, fields)
        for shape, fields in shapes_of(served).values()
        if fields["status"] != "deleted" and fields["origin"] == "merged"
    ]
    assert len(merged) == 1
    assert merged[0][0].buffer(1e-6).contains(shapely.union_all([shape for shape, _ in parts]))


def test_a_change_grows_from_the_pointer(close, served):
    layer = geopandas.read_file(served.out / "changes.gpkg", layer="changes").set_index("id")
    found = pixels_of(served.out, layer.geometry[int(close.inner_text("#change h2").split()[1])])
    inside = found.representative_point()
    close.mouse.move(*near(close, inside.x, inside.y))
    close.keyboard.press("g")
    wait_until_saved(close, "1 kept")
    ((_, (shape, fields)),) = shapes_of(served).items()
    assert fields["origin"] == "grown"
    assert shape.equals(shapely.Polygon(found.exterior))


def test_a_comment_is_text_and_nothing_else(page, served):
    comment = "<img src=x onerror=\"document.title='x'\"> ä 日本"
    number = int(page.inner_text("#change h2").split()[1])
    page.keyboard.press("t")
    page.locator("#ask[open]").wait_for(timeout=WAIT)
    page.keyboard.insert_text(comment)
    page.keyboard.press("Enter")
    page.locator("#comment", has_text="日本").wait_for(timeout=WAIT)
    assert page.inner_text("#comment") == comment
    assert page.locator("#comment img").count() == 0
    page.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    assert shapes_of(served)[number][1]["comment"] == comment
    page.keyboard.press("t")
    page.locator("#ask[open]").wait_for(timeout=WAIT)
    page.keyboard.press("x")  # it is typed, and decides nothing
    page.keyboard.press("Escape")
    page.locator("#ask").wait_for(state="hidden", timeout=WAIT)
    tally(page, "0 kept · 0 rejected")


def test_a_change_is_found_by_its_number(page):
    page.keyboard.press("/")
    page.keyboard.insert_text("7")
    page.keyboard.press("Enter")
    page.locator("#change h2", has_text=re.compile("^Change 7$")).wait_for(timeout=WAIT)
    page.keyboard.press("/")
    page.keyboard.insert_text("99999")
    page.keyboard.press("Enter")
    page.locator("#message", has_text="there is no change 99999").wait_for(timeout=WAIT)


def test_a_change_that_somebody_drew_a_moment_ago_is_found_before_its_news_arrive(browser, served):
    page = browser.new_page()
    page.route("**/api/events*", lambda route: None)  # news never arrive
    page.goto(f"{served.address}/#token={served.token}")
    page.wait_for_selector("#change h2", timeout=WAIT)
    _, told = served.act("draw", [{"key": "", "rev": 0, "after": {"geometry": SQUARE, "label": "change"}}], who="ben")
    number = told["items"][0]["key"]
    page.keyboard.press("/")
    page.keyboard.insert_text(number)
    page.keyboard.press("Enter")
    page.locator("#change h2", has_text=re.compile(f"^Change {number}$")).wait_for(timeout=WAIT)
    page.close()


def test_what_cannot_be_is_said(close, served):
    close.keyboard.press("m")
    close.locator("#message", has_text="choose several changes first").wait_for(timeout=WAIT)
    close.keyboard.press("p")
    close.keyboard.press("k")
    close.locator("#message", has_text="Esc leaves the tool first").wait_for(timeout=WAIT)
    for corner in ((200, 300), (400, 450), (400, 300)):
        close.mouse.click(*corner)
    close.mouse.dblclick(200, 450)  # a bow
    close.locator("#message", has_text="not valid: self-intersection").wait_for(timeout=WAIT)
    assert SavedReview.open(served.out).actions == []
