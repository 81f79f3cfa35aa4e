"""`geochange finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import training, values


def finetune(
    data: Annotated[
        list[str],
        typer.Argument(
            help="Folders A, B, label; as DIR or DIR@GSD, GSD in metres a pixel. With --unlabelled no labels are "
            "needed, and the dates of one scene will do."
        ),
    ],
    start: Annotated[str, typer.Option("--from", help="The checkpoint to begin with, or a detector that has one.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Learn the look of a target without labels, from what it is sure of.")
    ] = False,
    val: training.Val = None,
    gsd: training.Gsd = None,
    size: training.Size = None,
    bands: values.Bands = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Names of the labels 1, 2, ...", show_default="those of the checkpoint"),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="Updates of the weights, all together.")] = 600,
    frozen_steps: Annotated[
        int | None,
        typer.Option("--frozen-steps", help="Of these, with the encoder as it is.", show_default="a quarter"),
    ] = None,
    rate: Annotated[float, typer.Option("--rate", help="Learning rate; 0.3 times as much once all learns.")] = 5e-4,
    batch: Annotated[int | None, typer.Option("--batch", help="Samples of a forward pass.", show_default="8")] = None,
    loss: training.Loss = None,
    precision: training.Precision = None,
    device: values.Device = None,
    every: Annotated[int, typer.Option("--every", help="Steps of an epoch, then scores.")] = 100,
    patience: training.Patience = None,
    statistics: Annotated[
        float | None,
        typer.Option("--statistics", help="Without labels: share of the target's statistics.", show_default="0.5"),
    ] = None,
    sure: Annotated[
        float | None,
        typer.Option("--sure", help="Without labels: 0 to 1, how sure a score must be.", show_default="0.8"),
    ] = None,
    workers: training.Workers = None,
    seed: training.Seed = None,
    balanced: training.Balanced = False,
    skip_bad: training.SkipBad = False,
    resume: training.Resume = False,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Train a trained network further: on your labels, for other bands or classes, or on a target without labels."""
    from geochange.detectors.network import require_torch

    require_torch("finetune")
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json
    from geochange.learning.options import FinetuneOptions
    from geochange.learning.run_options import options_from
    from geochange.pipeline.finetune import finetune as run

    settings = {
        "start": start,
        "unlabelled": unlabelled,
        "val": val,
        "gsd": gsd,
        "size": size,
        "bands": values.parse_bands(bands),
        "classes": values.parse_names(classes) or None,
        "steps": steps,
        "frozen_steps": frozen_steps,
        "rate": rate,
        "batch": batch,
        "loss": loss,
        "precision": precision,
        "device": device,
        "every": every,
        "patience": patience,
        "statistics": statistics,
        "sure": sure,
        "loaders": workers,
        "seed": seed,
        "balanced": balanced,
        "skip_bad": skip_bad,
    }
    chosen = options_from(FinetuneOptions, training.given(settings))
    silent = quiet or as_json
    with progress_bar(quiet=silent) as listener:
        trained = run(data, out, chosen, resume=resume, overwrite=overwrite, listener=listener)
    if as_json:
        print_json(trained.record)
    elif not silent:
        training.print_trained(trained)
