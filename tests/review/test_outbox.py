"""What waits on the page: nothing is lost, nothing goes to another review, and nothing is assumed that was refused."""

import shutil
import signal

import pytest

from geochange.review.store import read_actions
from tests.review import test_page, test_together
from tests.review.conftest import serve
from tests.review.test_server import SQUARE
from tests.review.test_tools import begin_tool

WAIT, tally = test_page.WAIT, test_page.tally
browser, page = test_page.browser, test_page.page
number_of, cut_off = test_together.number_of, test_together.cut_off


def go_to(page, number):
    page.keyboard.press("/")
    page.keyboard.insert_text(str(number))
    page.keyboard.press("Enter")
    page.locator("#ask").wait_for(state="hidden", timeout=WAIT)
    page.locator("#change h2", has_text=f"Change {number}").wait_for(timeout=WAIT)


def decided(served):
    """Key -> status, of all that was decided."""
    found = {}
    for action in read_actions(served.out / "review" / "review.sqlite"):
        found |= {item.key: item.after["status"] for item in action.items}
    return found


def reject(number, who="ben"):
    return "decide", [{"key": str(number), "rev": 0, "after": {"status": "rejected"}}], None, who


def test_what_waits_for_one_review_never_goes_to_another(browser, out, tmp_path):
    other = tmp_path / "elsewhere" / "out"
    shutil.copytree(out, other)
    first = serve(out, "--port", "0")
    page = browser.new_page()
    page.goto(f"{first.address}/#token={first.token}")
    page.wait_for_selector("#change h2", timeout=WAIT)
    first.process.kill()
    first.process.communicate()
    page.keyboard.press("k")
    page.locator("#saved", has_text="no connection").wait_for(timeout=WAIT)
    port = first.address.rsplit(":", 1)[1]
    for folder, count in ((other, 0), (out, 1)):
        server = serve(folder, "--port", port)
        page.goto(f"{server.address}/#token={server.token}")
        page.wait_for_selector("#change h2", timeout=WAIT)
        tally(page, f"{count} kept")
        server.process.send_signal(signal.SIGINT)
        server.process.communicate(timeout=30)
        assert len(read_actions(folder / "review" / "review.sqlite")) == count
    page.close()


def test_two_tabs_of_one_browser_keep_what_waits_in_each(browser, served):
    context = browser.new_context()
    page, second = context.new_page(), context.new_page()
    page.goto(f"{served.address}/#token={served.token}")
    page.wait_for_selector("#change h2", timeout=WAIT)
    page.wait_for_timeout(500)
    second.goto(served.address)
    second.wait_for_selector("#change h2", timeout=WAIT)
    numbers = []
    context.set_offline(True)
    for tab in (page, second):
        numbers.append(str(number_of(tab)))
        tab.keyboard.press("k")
        tab.locator("#saved", has_text="no connection").wait_for(timeout=WAIT)
    second.close()
    context.set_offline(False)
    tally(page, "1 kept")
    page.reload()
    tally(page, "2 kept")
    context.close()
    assert decided(served) == dict.fromkeys(numbers, "kept")
    assert len({*numbers}) == 2


def test_what_is_refused_is_not_shown_as_kept(page, served):
    page.keyboard.press("r")
    for corner in ((450, 300), (600, 400)):
        page.mouse.click(*corner)
    tally(page, "1 kept")
    page.keyboard.press("Escape")
    page.keyboard.press("z")
    tally(page, "0 kept")
    page.keyboard.press("k")  # what was drawn is no more: another change, or none
    tally(page, "kept")
    assert page.inner_text("#tally").split()[0] == str(served.get("/api/progress")["kept"])


def test_an_outline_that_cannot_be_can_be_corrected(page, served):
    status, told = served.act("draw", [{"key": "", "rev": 0, "after": {"geometry": SQUARE, "label": "change"}}])
    assert status == 200
    number = int(told["items"][0]["key"])
    page.locator("#tally", has_text="1 kept").wait_for(timeout=WAIT)
    go_to(page, number)
    begin_tool(page, "e", "Corners")
    page.keyboard.press("Enter")
    for _ in range(6):
        page.keyboard.press("Shift+ArrowRight")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    page.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    page.wait_for_timeout(500)
    before = served.get(f"/api/changes/{number}")["area_px"]
    page.keyboard.press("Escape")
    begin_tool(page, "e", "Corners")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Enter")
    page.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    page.wait_for_timeout(300)
    assert page.is_hidden("#conflict")
    assert served.get(f"/api/changes/{number}")["area_px"] != before


@pytest.mark.parametrize("name", ["a\nb", "a" + "\u200d" + "b"])
def test_a_name_that_cannot_be_costs_no_decision(page, served, name):
    page.click("#reviewer")
    page.fill("#answer", name)
    page.keyboard.press("Enter")
    place, text = ("#reviewer", "a b") if "\n" in name else ("#message", "cannot be a name")
    page.locator(place, has_text=text).wait_for(timeout=WAIT)
    page.keyboard.press("k")
    tally(page, "1 kept")
    (action,) = read_actions(served.out / "review" / "review.sqlite")
    assert action.who == ("a b" if "\n" in name else "ada")


def test_of_two_decisions_on_what_somebody_took_none_slips_through(page, served):
    number = number_of(page)

    def twice():
        page.keyboard.press("ArrowLeft")
        page.locator("#change h2", has_text=f"Change {number}").wait_for(timeout=WAIT)
        page.keyboard.press("u")
        return served.act(*reject(number))

    cut_off(page, served, "k", twice)
    page.locator("#conflict", has_text=f"Change {number}: two versions").wait_for(timeout=WAIT)
    assert "unsure" in page.inner_text("#versions").split("You")[1]
    page.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    assert decided(served) == {str(number): "rejected"}
    page.reload()
    page.locator("#conflict", has_text=f"Change {number}: two versions").wait_for(timeout=WAIT)
    page.click("#theirs")
    page.locator("#conflict").wait_for(state="hidden", timeout=WAIT)
    assert decided(served) == {str(number): "rejected"}


def test_undo_takes_back_what_it_means_and_nothing_before_it(page, served):
    first = number_of(page)
    page.keyboard.press("x")
    tally(page, "1 rejected")
    number = number_of(page)

    def undone():
        page.keyboard.press("z")
        return served.act(*reject(number))

    cut_off(page, served, "k", undone)
    page.locator("#conflict", has_text="two versions").wait_for(timeout=WAIT)
    page.locator("#saved", has_text="all saved").wait_for(timeout=WAIT)
    assert decided(served) == {str(first): "rejected", str(number): "rejected"}


def test_what_has_not_been_sent_is_taken_back_and_done_again(page, served):
    page.context.set_offline(True)
    for key in "kxu":
        page.keyboard.press(key)
    page.locator("#tally", has_text="1 kept · 1 rejected · 1 unsure").wait_for(timeout=WAIT)
    page.keyboard.press("z")
    page.keyboard.press("z")
    page.locator("#tally", has_text="1 kept · 0 rejected · 0 unsure").wait_for(timeout=WAIT)
    page.keyboard.press("y")
    page.locator("#tally", has_text="1 kept · 1 rejected · 0 unsure").wait_for(timeout=WAIT)
    page.context.set_offline(False)
    tally(page, "1 kept · 1 rejected · 0 unsure")
    assert sorted(decided(served).values()) == ["kept", "rejected"]
    page.keyboard.press("z")
    tally(page, "1 kept · 0 rejected · 0 unsure")


def test_fast_keys_are_in_no_conflict_with_themselves(page, served):
    page.route("**/api/actions", lambda route: (page.wait_for_timeout(300), route.continue_()))
    number = number_of(page)
    for key in ("k", "ArrowLeft", "z", "x"):
        page.keyboard.press(key)
    page.wait_for_timeout(2500)
    tally(page, "0 kept · 1 rejected")
    assert page.is_hidden("#conflict")
    assert decided(served)[str(number)] == "rejected"


def test_a_key_that_is_held_decides_once(page, served):
    for _ in range(5):
        page.keyboard.down("k")  # all but the first are repetitions
    page.keyboard.up("k")
    tally(page, "1 kept")
    assert [*decided(served).values()] == ["kept"]


def test_an_open_page_hears_again_where_the_server_was_started_anew(browser, out):
    server = serve(out)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.address}/#token={server.token}")
    page.wait_for_selector("#change h2", timeout=WAIT)
    server.process.kill()
    server.process.communicate()
    page.locator("#saved", has_text="no connection").wait_for(timeout=WAIT)
    again = serve(out)
    other = context.new_page()
    other.goto(f"{again.address}/#token={again.token}")
    other.wait_for_selector("#change h2", timeout=WAIT)
    other.keyboard.press("k")
    tally(page, "1 kept")
    context.close()
    again.process.send_signal(signal.SIGINT)
    again.process.communicate(timeout=30)


def test_a_page_that_is_loaded_again_is_no_stranger_to_itself(page):
    number = number_of(page)
    page.wait_for_timeout(500)
    page.reload()
    page.wait_for_selector("#change h2", timeout=WAIT)
    assert number_of(page) == number
    assert "already" not in page.inner_text("#message")


def test_what_was_drawn_and_deleted_comes_back(page, served):
    assert served.act("draw", [{"key": "", "rev": 0, "after": {"geometry": SQUARE, "label": "change"}}])[0] == 200
    top = served.get("/api/scene")["top"]
    assert served.act("delete", [{"key": str(top + 1), "rev": 1, "after": {"status": "deleted"}}])[0] == 200
    page.reload()
    tally(page, "0 kept")
    page.keyboard.press("z")
    tally(page, "1 kept")
    go_to(page, top + 1)


def test_in_a_cell_the_change_that_is_asked_about_is_in_view(page):
    page.select_option("#order", "cells")
    page.locator("#change", has_text="In cell 1").wait_for(timeout=WAIT)
    for _ in range(4):
        page.keyboard.press("+")
    for _ in range(3):
        page.keyboard.press("k")
    page.locator("#tally", has_text="3 kept").wait_for(timeout=WAIT)
    number = number_of(page)
    page.wait_for_timeout(700)
    x, y = test_page.middle_of(page, "#map")
    page.mouse.click(x, y)
    assert number_of(page) == number
