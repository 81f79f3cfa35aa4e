"""Detect the changes in many pairs of images, on one cluster.

    python workflows/detect_many.py pairs.csv --workers 8

The table is one of `geochange detect-many`. Run it again to go on with what is left, and with what failed: the exit
code is 2 where pairs did. This file is meant to be copied and adapted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import geochange
from geochange.cli.program import USER_ERROR, run_command
from geochange.cli.progress import progress_bar


def detect_many(
    table: Annotated[Path, typer.Argument(help="A table with the columns before and after.")],
    out: Annotated[Path | None, typer.Argument(help="Folder for the answers; beside the table.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask cluster, as in tcp://host:8786.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes on this machine.")] = None,
) -> None:
    """Detect the changes in each pair of a table; continue after bad pairs, and list them at the end."""
    cluster = geochange.ClusterOptions(scheduler=scheduler, workers=workers)
    out = out or table.with_name(f"{table.stem}-results")
    with progress_bar(quiet=False) as listener:
        found = geochange.detect_many(table, out, resume=True, cluster=cluster, listener=listener)
    for each in found.outcomes:
        typer.echo(f"{each.pair}: {each.error or f'{each.changes:,} changes'}", err=bool(each.error))
    typer.echo(f"{len(found.outcomes) - len(found.failed)} of {len(found.outcomes)} pairs done")
    if found.failed:
        raise typer.Exit(USER_ERROR)


if __name__ == "__main__":
    run_command(detect_many)
