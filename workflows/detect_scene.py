"""Detect the changes in one pair of images on any Dask cluster.

    python workflows/detect_scene.py BEFORE AFTER OUT --scheduler tcp://host:8786
    python workflows/detect_scene.py BEFORE AFTER OUT --workers 8

Run it again after an interruption: it resumes where it stopped. OUT must be visible to all workers. This file is meant
to be copied and adapted: `geochange.detect` takes all fields of `geochange.DetectOptions` by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import geochange
from geochange.cli.program import run_command
from geochange.cli.progress import progress_bar
from geochange.cli.tables import print_run
from geochange.declarations import parse_option


def detect_scene(
    before: str,
    after: str,
    out: Path,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask cluster, as in tcp://host:8786.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes on this machine.")] = None,
    detector: Annotated[str | None, typer.Option(help="See `geochange detectors`.")] = None,
    align: Annotated[bool, typer.Option("--align", help="Bring AFTER to BEFORE's grid.")] = False,
    bands: Annotated[str | None, typer.Option(help="Band numbers to use, from 1, as in 4,3,2.")] = None,
) -> None:
    """Detect the changes in one pair of images, on a Dask cluster or on worker processes of this machine."""
    with progress_bar(quiet=False) as listener:
        found = geochange.detect(
            before,
            after,
            out,
            detector=detector,
            align=align,
            bands=None if bands is None else parse_option("bands", bands, tuple[int, ...]),
            scheduler=scheduler,
            workers=workers,
            resume=True,
            listener=listener,
        )
    print_run(found)


if __name__ == "__main__":
    run_command(detect_scene)
