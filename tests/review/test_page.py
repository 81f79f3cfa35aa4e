"""The page in a browser: every decision by one key, nothing lost, nothing but text from users."""

import io
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from geopandas import read_file
from PIL import Image

from geochange.review.actions import cell_key
from geochange.review.queue import cell_sample
from geochange.review.store import read_actions
from tests.review.conftest import serve

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGE = Path(__file__).parents[2] / "geochange" / "review" / "page" / "index.html"
if CHROMIUM is None:
    pytest.skip("no Chromium", allow_module_level=True)
if not PAGE.is_file():
    pytest.skip("the page is not built: make web", allow_module_level=True)
api = pytest.importorskip("playwright.sync_api")

WAIT = 20_000  # ms


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield opened
        opened.close()


REFUSED = re.compile("^Failed to load resource: .*(status of 4(09|22)|ERR_INTERNET_DISCONNECTED)")


def is_fault(message):
    """Whether the console has an error; of what was asked for and refused or cut off Chromium writes one, too."""
    unknown = "404" in message.text and "/api/changes/" in message.location["url"]
    return message.type == "error" and not unknown and not REFUSED.match(message.text)


@pytest.fixture
def page(browser, served):
    faults = []
    opened = browser.new_page(viewport={"width": 1200, "height": 800})
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if is_fault(message) else None)
    opened.goto(f"{served.address}/#token={served.token}")
    opened.wait_for_selector("#change h2", timeout=WAIT)
    yield opened
    opened.close()
    assert faults == []


def tally(page, text):
    page.locator("#tally", has_text=text).wait_for(timeout=WAIT)
    page.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)


def choose_in_box(page, first, second):
    """Drag a box with Shift, between two places on the screen."""
    page.keyboard.down("Shift")
    page.mouse.move(*first)
    page.mouse.down()
    page.mouse.move(*second, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.locator("#change h2", has_text="changes chosen").wait_for(timeout=WAIT)


def statuses(served):
    found = {}
    for action in read_actions(served.out / "review" / "review.sqlite"):
        for item in action.items:
            found[item.key] = item.after.get("status", item.after.get("looked"))
    return sorted(str(each) for each in found.values())


def test_one_key_a_decision_and_one_takes_it_back(page, served):
    first = page.inner_text("#change h2")
    for key in ("k", "X", "u"):
        page.keyboard.press(key)
    tally(page, "1 kept · 1 rejected · 1 unsure")
    assert page.inner_text("#change h2") != first
    page.keyboard.press("z")
    tally(page, "1 kept · 1 rejected · 0 unsure")
    page.keyboard.press("Control+z")
    tally(page, "1 kept · 0 rejected · 0 unsure")
    page.keyboard.press("y")
    tally(page, "1 kept · 1 rejected · 0 unsure")
    assert statuses(served) == ["kept", "rejected", "unreviewed"]
    page.reload()
    page.wait_for_selector("#change h2", timeout=WAIT)
    tally(page, "1 kept · 1 rejected · 0 unsure")


def test_the_token_leaves_the_address(page, served):
    assert "#" not in page.url
    assert served.token not in page.content()


def test_all_that_is_hidden_is_rejected_by_one_action_without_a_question(page, served):
    dialogs = []
    page.on("dialog", lambda dialog: dialogs.append(dialog) or dialog.dismiss())
    scores = read_file(served.out / "changes.gpkg", layer="changes").score_mean
    least = round(float(scores.quantile(0.9)), 2)
    hidden = int((scores.astype("float32") < least).sum())
    page.fill("#least", str(least))
    page.click("#reject-hidden")
    tally(page, f"{hidden} rejected")
    assert len(read_actions(served.out / "review" / "review.sqlite")) == 1
    page.keyboard.press("z")
    tally(page, " 0 rejected")
    assert dialogs == []


def test_a_cell_is_looked_at(page, served):
    page.keyboard.press("i")  # shows the cell
    page.locator("#message", has_text="I again").wait_for(timeout=WAIT)
    page.keyboard.press("i")
    tally(page, "1 of")
    assert statuses(served) == ["True"]


def test_others_see_what_one_decides(page, browser, served):
    second = browser.new_page()
    second.goto(f"{served.address}/#token={served.token}")
    second.wait_for_selector("#change h2", timeout=WAIT)
    page.keyboard.press("k")
    second.locator("#tally", has_text="1 kept").wait_for(timeout=WAIT)
    second.close()


def test_what_a_server_did_not_hear_is_sent_when_it_is_back(browser, out):
    server = serve(out)
    opened = browser.new_page()
    opened.goto(f"{server.address}/#token={server.token}")
    opened.wait_for_selector("#change h2", timeout=WAIT)
    opened.keyboard.press("k")
    opened.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    server.process.kill()
    server.process.communicate()
    opened.keyboard.press("x")
    opened.locator("#saved", has_text="no connection").wait_for(timeout=WAIT)
    again = serve(out)
    opened.locator("#saved", has_text="open the address that was printed last").wait_for(timeout=WAIT)
    opened.goto(f"{again.address}/#token={again.token}")
    opened.wait_for_selector("#change h2", timeout=WAIT)
    opened.locator("#tally", has_text="1 kept · 1 rejected").wait_for(timeout=WAIT)
    opened.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    opened.close()
    again.process.send_signal(signal.SIGINT)
    again.process.communicate(timeout=30)
    layer = read_file(out / "review.gpkg", layer="changes")
    assert sorted(layer.loc[layer.status != "unreviewed", "status"]) == ["kept", "rejected"]


def colours(page):
    """What the map shows when all is there, (y, x, 3), without what is written over it."""
    before = None
    for _ in range(40):
        page.wait_for_timeout(300)
        picture = Image.open(io.BytesIO(page.locator("#map").screenshot())).convert("RGB")
        now = np.asarray(picture).astype(int)[80:-60]
        if before is not None and (now == before).all():
            return now
        before = now
    raise AssertionError("the map does not come to rest")


def middle_of(page, place):
    box = page.locator(place).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_before_after_swipe_and_blink_show_the_dates(page):
    page.keyboard.press("q")
    page.keyboard.press("q")
    page.keyboard.press("o")
    page.keyboard.press("a")
    before = colours(page)
    page.keyboard.press("d")
    after = colours(page)
    differ = (before != after).any(axis=2)
    assert differ.any()
    page.keyboard.press("s")
    both = colours(page)
    middle = both.shape[1] // 2
    assert (both[:, : middle - 20] == before[:, : middle - 20]).all()
    assert (both[:, middle + 20 :] == after[:, middle + 20 :]).all()
    page.mouse.move(*middle_of(page, "#line"))
    page.mouse.down()
    page.mouse.move(300, 400, steps=4)
    page.mouse.up()
    moved = colours(page)
    assert (moved[:, :280] == before[:, :280]).all()
    assert (moved[:, 320:] == after[:, 320:]).all()
    for key in ",.":
        page.keyboard.press(key)
    assert (colours(page) == moved).all()
    page.keyboard.press("d")
    page.keyboard.down(" ")
    assert (colours(page) == before).all()
    page.keyboard.up(" ")
    assert (colours(page) == after).all()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_used_by_everyone(browser, served, scheme):
    """axe-core finds nothing serious; beside the change, with a tool, a comment, and the keys."""
    axe = PAGE.parents[1] / "web" / "node_modules" / "axe-core" / "axe.min.js"
    opened = browser.new_page(color_scheme=scheme)
    opened.goto(f"{served.address}/#token={served.token}")
    opened.wait_for_selector("#change h2", timeout=WAIT)
    opened.keyboard.press("k")
    opened.locator("#tally", has_text="1 kept").wait_for(timeout=WAIT)
    opened.evaluate(axe.read_text())
    for key in ("z", "p", "t", "?"):
        opened.keyboard.press("Escape")
        opened.keyboard.press(key)
        opened.wait_for_timeout(300)
        found = opened.evaluate("axe.run()")["violations"]
        assert [
            (each["id"], [node["html"] for node in each["nodes"]])
            for each in found
            if each["impact"] in ("serious", "critical")
        ] == []
    opened.close()


def test_what_is_unsure_is_gone_through_again(page, served):
    for key in "uku":
        page.keyboard.press(key)
    tally(page, "1 kept · 0 rejected · 2 unsure")
    page.select_option("#order", "unsure")
    page.locator("#change", has_text="1 of 2").wait_for(timeout=WAIT)
    page.keyboard.press("x")
    tally(page, "1 kept · 1 rejected · 1 unsure")


def test_several_in_a_box_are_decided_by_one_action(page, served):
    page.keyboard.press("Home")
    choose_in_box(page, (420, 300), (640, 500))
    count = int(page.inner_text("#change h2").split()[0])
    assert count > 1
    page.keyboard.press("x")
    tally(page, f"0 kept · {count} rejected")
    (action,) = read_actions(served.out / "review" / "review.sqlite")
    assert len(action.items) == count
    page.keyboard.press("z")
    tally(page, "0 kept · 0 rejected")


@pytest.mark.parametrize("order", ["cells", "random cells"])
def test_cells_are_gone_through_one_after_the_other(page, served, order):
    page.select_option("#order", order)
    cells = int(page.inner_text("#tally").split(" of ")[1].split()[0])
    for number in range(1, cells + 1):
        page.keyboard.press("i")
        tally(page, f"{number} of {cells} cells")
    found = [item.key for action in read_actions(served.out / "review" / "review.sqlite") for item in action.items]
    columns = round(cells**0.5)
    inorder = range(cells) if order == "cells" else cell_sample(cells).tolist()
    assert found == [cell_key(*divmod(cell, columns)) for cell in inorder]


def test_a_cell_whose_changes_are_decided_asks_for_the_look(page, served):
    ids = read_file(served.out / "changes.gpkg", layer="changes").id
    served.act("decide", [{"key": str(each), "rev": 0, "after": {"status": "rejected"}} for each in ids])
    tally(page, " 0 to do")
    page.select_option("#order", "cells")
    page.locator("#change h2", has_text="Cell 1 of 4").wait_for(timeout=WAIT)
    page.keyboard.press("k")  # there is nothing to keep
    page.keyboard.press("i")
    page.locator("#change h2", has_text="Cell 2 of 4").wait_for(timeout=WAIT)
    tally(page, "0 kept")
    page.keyboard.press("z")
    tally(page, "0 of 4 cells")


def test_the_keys_are_shown_and_no_key_decides_while_they_are(page, served):
    page.keyboard.press("?")
    page.locator("#keys[open]").wait_for(timeout=WAIT)
    page.keyboard.press("x")
    page.keyboard.press("Escape")
    page.locator("#keys").wait_for(state="hidden", timeout=WAIT)
    page.keyboard.press("k")
    tally(page, "1 kept · 0 rejected")


def drawn_anew(page, act, asked):
    """What the map shows when it has been drawn in other bands, or with another stretch."""
    with page.expect_response(lambda answer: asked in answer.url) as answer:
        act()
    name = answer.value.json()["name"]
    page.wait_for_function("name => document.getElementById('map').dataset.complete === name", arg=name)
    return colours(page)


def test_other_bands_and_another_stretch_are_drawn(page):
    page.keyboard.press("o")
    seen = [colours(page)]
    page.click("summary")
    page.select_option("#red", "2")
    page.select_option("#blue", "2")
    seen.append(drawn_anew(page, lambda: page.select_option("#green", "2"), "bands=2,2,2"))
    page.focus("#cut")
    seen.append(drawn_anew(page, lambda: page.keyboard.press("End"), "cut=10"))
    grey = [(np.ptp(each, axis=2) <= 6).mean() for each in seen]
    assert grey[0] < 0.7
    assert min(grey[1:]) > 0.85  # all but the marks
    black = [(each.max(axis=2) == 0).mean() for each in seen]
    assert black[2] > 2 * black[1] > 0
