"""Detect the changes in many pairs of images, one after the other, on one cluster.

    python workflows/detect_many.py pairs.csv --workers 8

The CSV has the columns before, after and out, and optionally others with the names of fields of
`geochange.DetectOptions`, such as detector, align, bands, aoi or threshold; detector_options are "name=value
name=value". An empty cell means the default. Relative paths start at the CSV's folder. A pair that fails does not stop
the others: it is listed at the end, and the exit code is 2. Run it again to continue with what is left.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

import geochange
from geochange.cli import values
from geochange.cli.program import USER_ERROR, run_command
from geochange.cli.progress import progress_bar
from geochange.declarations import parse_option
from geochange.errors import BadOption, GeochangeError, UnreadableInput
from geochange.scenes.scene import parse_nodata

REQUIRED = ("before", "after", "out")
FOR_ALL = {"workers", "scheduler", "threads", "resume", "overwrite"}  # options of the whole run, not of a pair
HINTS = get_type_hints(geochange.DetectOptions)
PARSERS: dict[str, Callable[[str], Any]] = {
    "bands": values.parse_bands,
    "nodata": parse_nodata,
    "layers": values.parse_names,
    "formats": values.parse_names,
    "detector_options": lambda text: values.parse_settings(text.split()),
}
"""Options with a notation of their own; the others are read by their type."""


@dataclass(frozen=True)
class Pair:
    """One line of the CSV, not yet checked."""

    line: int
    folder: Path  # where relative paths start
    cells: dict[str | None, str | None]  # a short line lacks texts, a long one has some under None


def read_pairs(table: Path) -> list[Pair]:
    """The lines of the CSV, its columns checked."""
    try:
        with table.open(newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            columns = set(lines.fieldnames or REQUIRED)
            pairs = [Pair(lines.line_num, table.parent, cells) for cells in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableInput(f"{table} cannot be read as CSV: {error}") from error
    missing = [name for name in REQUIRED if name not in columns]
    unknown = sorted(columns - set(REQUIRED) - set(HINTS))
    if missing or unknown:
        raise BadOption(f"{table}: columns missing: {missing or 'none'}, unknown: {unknown or 'none'}")
    if columns & FOR_ALL:
        raise BadOption(f"{table}: {sorted(columns & FOR_ALL)} hold for all pairs and cannot be columns; remove them")
    return pairs


def detect_many(
    table: Annotated[Path, typer.Argument(help="A CSV with the columns before, after and out.")],
    scheduler: values.Scheduler = None,
    workers: values.Workers = None,
) -> None:
    """Detect the changes in each pair of a CSV; continue after bad pairs, and list them at the end."""
    failed: list[str] = []
    pairs = read_pairs(table)
    for pair in pairs:
        try:
            found = _detect(pair, scheduler=scheduler, workers=workers, resume=True)
            typer.echo(f"{found.folder}: {found.record['changes']['count']:,} changes")
        except Exception as error:  # the next pairs may be sound, whatever is wrong with this one
            kind = "" if isinstance(error, GeochangeError) else f"{type(error).__name__}: "
            failed.append(f"line {pair.line}, {pair.cells['out']}: {kind}{' '.join(str(error).split())}")
            typer.echo(f"{pair.cells['out']}: failed", err=True)
    for message in failed:
        typer.echo(message, err=True)
    typer.echo(f"{len(pairs) - len(failed)} of {len(pairs)} pairs done")
    if failed:
        raise typer.Exit(USER_ERROR)


def _detect(pair: Pair, **settings: Any) -> geochange.Detection:
    texts = {name: text.strip() for name, text in pair.cells.items() if name and text and text.strip()}
    if None in pair.cells or None in pair.cells.values():
        raise BadOption("the line has more or fewer cells than the table has columns")
    if any(name not in texts for name in REQUIRED):
        raise BadOption(f"{', '.join(REQUIRED)} must not be empty")
    before, after, out = (_place(pair.folder, texts.pop(name)) for name in REQUIRED)
    parsed = {name: _parse(name, text, pair.folder) for name, text in texts.items()}
    options = geochange.DetectOptions(**parsed, **settings)
    with progress_bar(quiet=False) as listener:
        return geochange.detect(before, after, out, options, listener=listener)


def _parse(name: str, text: str, folder: Path) -> Any:
    """A cell as a value of the option that its column names."""
    if name in PARSERS:
        return PARSERS[name](text)
    if name == "aoi":
        aoi = values.parse_aoi(text)
        return _place(folder, aoi) if isinstance(aoi, str) else aoi
    return parse_option(name, text, HINTS[name])


def _place(folder: Path, name: str) -> str:
    """A path relative to the CSV; GDAL's `/vsi` names and addresses as they are."""
    return name if name.startswith("/vsi") or "://" in name else str(folder / name)


if __name__ == "__main__":
    run_command(detect_many)
