"""Make the pictures of the review from the synthetic sample: `make screenshots`, which needs Chromium."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import geochange

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data"
SIZE = {"width": 1360, "height": 800}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "sample"
        geochange.detect(SAMPLE / "before.tif", SAMPLE / "after.tif", out)
        with served(out) as address, opened(address) as page:
            page.select_option("#order", "size")
            page.wait_for_timeout(500)
            for key in "kkxkukk":
                page.keyboard.press(key)
            page.locator("#tally", has_text="5 kept · 1 rejected · 1 unsure").wait_for()
            picture(page, Path(folder) / "page.png", ROOT / "docs" / "review.jpg")
            page.select_option("#order", "cells")
            page.wait_for_timeout(500)
            page.keyboard.press("i")
            page.wait_for_timeout(500)
            page.keyboard.press("p")
            for corner in ((330, 330), (430, 310), (450, 420), (350, 440)):
                page.mouse.click(*corner)
            page.mouse.move(330, 390)
            picture(page, Path(folder) / "drawing.png", ROOT / "docs" / "review_drawing.jpg")


@contextmanager
def served(out: Path) -> Iterator[str]:
    """Serve the review of a run, and give the page's address."""
    code = "import sys; from geochange.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "review", str(out), "--no-open", "--port", "0", "--reviewer", "ada"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.send_signal(signal.SIGINT)


@contextmanager
def opened(address: str) -> Iterator[Page]:
    """Open the page, with its first change."""
    browser = next(found for name in BROWSERS if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        page = playwright.chromium.launch(executable_path=browser, args=arguments).new_page(viewport=SIZE)
        page.goto(address)
        page.locator("#change h2").wait_for()
        yield page
        page.context.browser.close()


def picture(page: Page, temporary: Path, target: Path) -> None:
    """Write what the page shows when all of it is there."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    page.screenshot(path=temporary)
    with Image.open(temporary) as shot:
        shot.convert("RGB").save(target, quality=88, optimize=True)


if __name__ == "__main__":
    main()
