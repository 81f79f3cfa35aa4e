"""Detect the changes in many pairs of images, one after the other, on one cluster.

    python workflows/detect_many.py pairs.csv --workers 8

The CSV has the columns before, after and out, and optionally others with the names of fields of
`geochange.DetectOptions`, such as detector, align, bands, aoi or threshold; detector_options are "name=value
name=value". An empty cell means the default. Relative paths start at the CSV's folder. A pair that fails does not stop
the others: it is listed at the end, and the exit code is 2. Run it again to continue with what is left.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

import geochange
from geochange.cli.program import USER_ERROR, run_command
from geochange.cli.progress import progress_bar
from geochange.declarations import parse_named, parse_option
from geochange.errors import BadOption, GeochangeError, UnreadableInput

REQUIRED = ("before", "after", "out")
HINTS = get_type_hints(geochange.DetectOptions)


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
    return pairs


def detect_many(
    table: Annotated[Path, typer.Argument(help="A CSV with the columns before, after and out.")],
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask cluster, as in tcp://host:8786.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes on this machine.")] = None,
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
    with progress_bar(quiet=False) as listener:
        return geochange.detect(before, after, out, **parsed, **settings, listener=listener)


def _parse(name: str, text: str, folder: Path) -> Any:
    """A cell as a value of the option that its column names."""
    if name == "detector_options":
        return parse_named(name, text.split())
    value = parse_option(name, text, HINTS[name])
    return _place(folder, value) if name == "aoi" and isinstance(value, str) else value


def _place(folder: Path, name: str) -> str:
    """A path relative to the CSV; GDAL's `/vsi` names and addresses as they are."""
    return name if name.startswith("/vsi") or "://" in name else str(folder / name)


if __name__ == "__main__":
    run_command(detect_many)
