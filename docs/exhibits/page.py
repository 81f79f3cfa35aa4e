"""A page of the gallery: sections, of which the commands are run, and the pictures drawn from what these leave."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from exhibits.panels import Rows, sheet

QUALITY = 82  # of JPEG: pictures stay under 150 kB


@dataclass(frozen=True, slots=True)
class Done:
    """What the commands have left so far."""

    folder: Path
    scores: dict[str, str] = field(default_factory=dict)
    """`F1 0.8675 (0.836 to 0.893)`, rounded as `geochange evaluate` prints it, by the file that was scored."""

    def f1(self, scored: str) -> str:
        """The score of a file, without its interval."""
        return self.scores[scored].partition(" (")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A step, its commands, and a picture of what they leave."""

    title: str
    text: str
    draw: Callable[[Done], Rows]
    commands: tuple[str, ...] = ()
    needs: str | None = None
    """A detector from a package of its own; without it the section is left out."""

    @property
    def name(self) -> str:
        """That of the picture."""
        return "-".join(word for word in self.title.lower().replace(":", "").split() if word != "the")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is written of sections in their order; a command may read what an earlier one wrote."""

    title: str
    text: str
    sections: tuple[Section, ...]
    links: Mapping[str, Path]
    """The files that are there from the start, by the names that the commands know."""


def write_page(page: Page, path: Path) -> None:
    """Run all commands in a folder of their own, and write the page; its pictures go into a folder beside it."""
    pictures = path.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    parts, drawn = [f"# {page.title}", page.text], set()
    with TemporaryDirectory() as scratch:
        done = Done(Path(scratch))
        for name, target in page.links.items():
            (done.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (done.folder / name).symlink_to(target.resolve(strict=True))
        for section in _possible(page.sections, done.folder):
            picture = pictures / f"{section.name}.jpg"
            print(picture, flush=True)
            parts += _make(section, done, picture)
            drawn.add(picture)
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    for old in set(pictures.glob("*.jpg")) - drawn:
        old.unlink()


def run(command: str, folder: Path) -> str:
    """What `geochange …` prints in a folder; the end of all where it fails."""
    program = [sys.executable, "-m", *shlex.split(command)]
    ran = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{command}\n{ran.stderr}")
    return ran.stdout


def _possible(sections: Iterable[Section], folder: Path) -> Iterator[Section]:
    """Those whose detectors are installed."""
    installed = {detector["name"] for detector in json.loads(run("geochange detectors --json", folder))}
    for section in sections:
        if section.needs is None or section.needs in installed:
            yield section
        else:
            print(f"left out: {section.title!r}, as the detector {section.needs} is not installed")


def _make(section: Section, done: Done, picture: Path) -> list[str]:
    """Run the commands and draw the picture; the paragraphs."""
    scored = []
    for command in section.commands:
        printed = run(command, done.folder)
        if command.startswith("geochange evaluate"):
            scored.append(command.split()[2])
            done.scores[scored[-1]] = _f1(printed)
    sheet(section.draw(done)).save(picture, quality=QUALITY, optimize=True, subsampling=0)
    parts = [f"## {section.title}", section.text]
    if section.commands:
        parts.append("\n".join(["```sh", *section.commands, "```"]))
    parts.append(f"![{section.title}]({picture.parent.name}/{picture.name})")
    if len(scored) == 1:
        parts.append(f"{done.scores[scored[0]]} over the whole scene.")
    return parts


def _f1(printed: str) -> str:
    pixels = json.loads(printed)["pixels"]
    low, high = pixels["intervals"]["f1"]
    return f"F1 {pixels['f1']:.4f} ({low:.3f} to {high:.3f})"
