"""Detect the changes in one pair of images on any Dask cluster.

    python workflows/detect_scene.py BEFORE AFTER OUT --scheduler tcp://host:8786
    python workflows/detect_scene.py BEFORE AFTER OUT --workers 8

Run it again after an interruption: it resumes where it stopped. OUT must be visible to all workers. This file is meant
to be copied and adapted: all options are fields of `geochange.DetectOptions`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import geochange
from geochange.cli import values
from geochange.cli.program import run_command
from geochange.cli.progress import progress_bar
from geochange.cli.tables import print_run


def detect_scene(
    before: str,
    after: str,
    out: Path,
    scheduler: values.Scheduler = None,
    workers: values.Workers = None,
    detector: Annotated[str | None, typer.Option(help="See `geochange detectors`.")] = None,
    align: values.Align = False,
    bands: values.Bands = None,
) -> None:
    """Detect the changes in one pair of images, on a Dask cluster or on worker processes of this machine."""
    options = geochange.DetectOptions(
        detector=detector,
        align=align,
        bands=values.parse_bands(bands),
        scheduler=scheduler,
        workers=workers,
        resume=True,
    )
    with progress_bar(quiet=False) as listener:
        print_run(geochange.detect(before, after, out, options, listener=listener))


if __name__ == "__main__":
    run_command(detect_scene)
