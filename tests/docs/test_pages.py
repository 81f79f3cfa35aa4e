"""The pages: modules and names that they mention exist, and their commands are commands."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from geochange.cli.commands import COMMANDS
from geochange.cli.program import app
from geochange.detectors.catalogue import names
from geochange.detectors.choice import AUTO

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "geochange"
PAGES = sorted(
    {*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("*/*/README.md")}
)
ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MENTIONED = {
    place
    for place in re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.[A-Za-z_]+)?)`", ARCHITECTURE)
    if place.split("/")[0] in ROOMS or (PACKAGE / f"{place.split('.')[0]}.py").exists()
}
PACKAGES = {"buildings", "micro-changes", "median-ratio"}  # detectors that need not be installed
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def shown_commands() -> list[str]:
    """Collect the lines `geochange …` of all pages, without their comments, once each."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES if path.name != "CHANGELOG.md")
    lines = [line.split("  #")[0].strip() for block in BLOCK.findall(text) for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("geochange ")})


def without_root_options(words: list[str]) -> list[str | None]:
    """Leave out the options before the command, which must be known; None where no command follows."""
    takes = {flag: not each.is_flag for each in get_command(app).params for flag in each.opts}
    while words and words[0].startswith("-"):
        words = words[2 if takes[words[0]] else 1 :]
    return [*words] or [None]


def names_in(module: Path) -> set[str]:
    """Collect what a module defines at its top level."""
    found = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        found |= {getattr(target, "name", getattr(target, "id", None)) for target in targets}
    return found


@pytest.mark.parametrize("place", sorted(MENTIONED))
def test_modules_and_names_of_the_architecture_exist(place):
    module, _, name = place.partition(".")
    path = PACKAGE / f"{module}.py"
    assert path.exists() or (PACKAGE / module).is_dir()
    assert not name or name in names_in(path)


def test_every_room_is_in_the_table():
    assert {room for room in ROOMS if f"| `{room}/` |" in ARCHITECTURE} == ROOMS - {"__pycache__"}


@pytest.mark.parametrize("command", shown_commands())
def test_commands_of_the_pages_parse(command):
    name, *arguments = without_root_options(shlex.split(command)[1:])
    if name is None:
        return
    if arguments and f"{name} {arguments[0]}" in COMMANDS:
        name = f"{name} {arguments.pop(0)}"
    parsed = COMMANDS[name].build().make_context(name, arguments).params
    assert parsed.get("detector") in {None, AUTO, *names()} | PACKAGES
