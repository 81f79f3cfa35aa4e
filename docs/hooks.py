"""What `mkdocs build` adds to the pages of this folder: pages that live elsewhere in the repository, and the reference.

Links between pages are written as paths in the repository, so that they work in a checkout too; here they become links
within the site. A link to a file that is not part of the site keeps its text alone.
"""

from __future__ import annotations

import os.path
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import reference  # noqa: E402

# File in the repository -> its place in the site.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "sample_data/README.md": "sample.md",
    "weights/buildings/README.md": "models/buildings.md",
    "weights/buildings/example.jpg": "models/buildings.jpg",
    "weights/landscape/README.md": "models/landscape.md",
    "weights/landscape/example.jpg": "models/landscape.jpg",
    "weights/micro_changes/README.md": "models/micro_changes.md",
}
HOMES = {place: file for file, place in ELSEWHERE.items()}
FILLED = {"<!-- commands -->": reference.commands, "<!-- api -->": reference.api}
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that live elsewhere in the repository."""
    from mkdocs.structure.files import File

    for file, place in ELSEWHERE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / file)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the reference, and turn links within the repository into links within the site."""
    for mark, fill in FILLED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, fill())
    place = page.file.src_uri
    home = HOMES.get(place, f"docs/{place}")
    return LINK.sub(lambda link: relink(link[0], link[1], link[2], link[3] or "", home=home, place=place), markdown)


def relink(link: str, text: str, target: str, anchor: str, *, home: str, place: str) -> str:
    """Return a link of the file `home`, which is the page `place` of the site, as one within the site."""
    file = os.path.normpath(f"{os.path.dirname(home)}/{target}").removeprefix("/")
    if file in ELSEWHERE or (file.startswith("docs/") and not file.endswith(".py")):
        within = ELSEWHERE.get(file, file.removeprefix("docs/"))
        return f"[{text}]({os.path.relpath(within, os.path.dirname(place) or '.')}{anchor})"
    return text if (ROOT / file).exists() else link
