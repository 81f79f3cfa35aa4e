"""Find the changes in many pairs of images, one after the other, on one cluster.

    python workflows/detect_many.py pairs.csv --workers 8

The CSV has the columns before, after and out, and may have more that are named as the fields of
`geochange.DetectOptions`, such as detector, align, bands or threshold. Relative paths start at the CSV's folder. A pair
that fails does not stop the others: it is listed at the end, and the exit code is 2. Run it again to do what is left.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

import geochange
from geochange.cli import values
from geochange.cli.main import USER_ERROR, run_command
from geochange.cli.progress import progress_bar
from geochange.errors import BadOption, GeochangeError, UnreadableInput
from geochange.scenes.scene import parse_nodata

REQUIRED = ("before", "after", "out")
PARSERS = {
    "bands": values.parse_bands,
    "aoi": values.parse_aoi,
    "nodata": parse_nodata,
    "layers": values.parse_names,
    "formats": values.parse_names,
    "align": lambda text: text.strip().lower() in {"1", "true", "yes"},
    **dict.fromkeys(("tile_size", "overlap", "block_size", "connectivity"), int),
    "simplify": float,
}


@dataclass(frozen=True)
class Pair:
    """One line of the CSV."""

    line: int
    before: str
    after: str
    out: Path
    settings: dict[str, str]


def read_pairs(table: Path) -> Iterator[Pair]:
    """The lines of the CSV, its columns checked."""
    try:
        lines = list(csv.DictReader(table.open(newline="", encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{table} cannot be read as CSV: {error}") from error
    columns = set(lines[0]) if lines else set(REQUIRED)
    missing = [name for name in REQUIRED if name not in columns]
    unknown = columns - set(REQUIRED) - {field.name for field in fields(geochange.DetectOptions)}
    if missing or unknown:
        raise BadOption(
            f"{table}: columns missing: {missing or 'none'}, unknown: {sorted(map(str, unknown)) or 'none'}"
        )
    for number, line in enumerate(lines, 2):
        settings = {name: text for name, text in line.items() if name not in REQUIRED and text}
        yield Pair(
            number, *(_place(table, line[name]) for name in ("before", "after")), table.parent / line["out"], settings
        )


def _place(table: Path, name: str) -> str:
    """A path relative to the CSV; GDAL's `/vsi` names and addresses as they are."""
    return name if name.startswith("/vsi") or "://" in name else str(table.parent / name)


def detect_many(
    table: Annotated[Path, typer.Argument(help="A CSV with the columns before, after and out.")],
    scheduler: values.Scheduler = None,
    workers: values.Workers = None,
) -> None:
    """Find the changes in each pair of a CSV; go on past bad pairs, and list them at the end."""
    failed: list[tuple[Pair, Exception]] = []
    pairs = list(read_pairs(table))
    for pair in pairs:
        try:
            options = _options(pair, scheduler=scheduler, workers=workers, resume=True)
            with progress_bar(quiet=False) as listener:
                found = geochange.detect(pair.before, pair.after, pair.out, options, listener=listener)
            typer.echo(f"{pair.out}: {found.record['changes']['count']:,} changes")
        except (GeochangeError, ValueError) as error:
            failed.append((pair, error))
            typer.echo(f"{pair.out}: failed", err=True)
    for pair, error in failed:
        typer.echo(f"line {pair.line}, {pair.out}: {' '.join(str(error).split())}", err=True)
    typer.echo(f"{len(pairs) - len(failed)} of {len(pairs)} pairs done")
    if failed:
        raise typer.Exit(USER_ERROR)


def _options(pair: Pair, **settings: Any) -> geochange.DetectOptions:
    parsed = {name: PARSERS.get(name, str)(text) for name, text in pair.settings.items()}
    return geochange.DetectOptions(**parsed, **settings)


if __name__ == "__main__":
    run_command(detect_many)
