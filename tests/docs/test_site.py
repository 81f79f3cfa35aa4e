"""The site builds without a warning, its links lead somewhere, and it loads nothing from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("mkdocs", "material", "mkdocstrings")
LOADED = {"script": "src", "img": "src", "link": "href"}

pytestmark = [
    pytest.mark.skipif(any(find_spec(name) is None for name in NEEDED), reason="the extra docs is not installed"),
    pytest.mark.xdist_group("site"),  # which is built once
]


class Page(HTMLParser):
    """The links of a page, what it loads, and the anchors that links can lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in LOADED and LOADED[tag] in found:
            self.loaded.append(found[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def is_within(link: str) -> bool:
    """Whether a link leads to a file of the site."""
    return not urlsplit(link).scheme and not link.startswith("//")


def test_every_page_of_the_repository_is_there(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").glob("*.md")}
    assert {path.relative_to(site) for path in site.glob("*.html")} >= pages


def test_links_lead_to_files_and_anchors(pages):
    broken = []
    for path, page in pages.items():
        for link in filter(is_within, page.links + page.loaded):
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchors = pages[target].anchors | {""} if target in pages else {parts.fragment}
            if not target.exists() or unquote(parts.fragment) not in anchors:
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(pages):
    assert [link for page in pages.values() for link in page.loaded if not is_within(link)] == []


def test_the_reference_has_all_commands_and_functions(site, pages):
    from geochange import __all__ as public
    from geochange.cli.commands import COMMANDS

    commands = {f"geochange-{name.replace(' ', '-')}" for name in COMMANDS}
    assert pages[site / "commands.html"].anchors >= commands
    named = {anchor.rpartition(".")[2].lower() for anchor in pages[site / "api.html"].anchors}
    assert named >= {name.lower() for name in public}
