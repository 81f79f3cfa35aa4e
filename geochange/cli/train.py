"""`geochange train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import training, values


def train(
    data: Annotated[list[str], typer.Argument(help="Folders A, B, label; as DIR or DIR@GSD, GSD in metres a pixel.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    val: training.Val = None,
    network: training.Network = None,
    network_option: training.NetworkOption = None,
    gsd: training.Gsd = None,
    size: training.Size = None,
    bands: values.Bands = None,
    classes: training.Classes = None,
    pretrained: training.Pretrained = None,
    start: Annotated[
        str | None, typer.Option("--from", help="A checkpoint to begin with, or a detector that has one.")
    ] = None,
    options: Annotated[
        Path | None, typer.Option("--options", help="JSON of options by name, as `geochange tune` leaves.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Updates of the weights.", show_default="3000")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Samples of a forward pass.", show_default="8")] = None,
    accumulate: Annotated[
        int | None, typer.Option("--accumulate", help="Forward passes of an update.", show_default="1")
    ] = None,
    loss: training.Loss = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Learning rate.", show_default="0.001")] = None,
    precision: training.Precision = None,
    device: values.Device = None,
    every: Annotated[
        int | None, typer.Option("--every", help="Steps of an epoch, then scores.", show_default="250")
    ] = None,
    patience: training.Patience = None,
    workers: training.Workers = None,
    seed: training.Seed = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Use no labels; change-vae never does, and takes two dates of a scene.")
    ] = False,
    match_dates: Annotated[
        bool | None,
        typer.Option(
            "--match-dates/--no-match-dates",
            help="Bring each date of a scene to its first date's mean and spread.",
            show_default="where a network learns without labels from scenes",
        ),
    ] = None,
    label_column: training.LabelColumn = None,
    balanced: training.Balanced = False,
    skip_bad: training.SkipBad = False,
    resume: training.Resume = False,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Train a network on labelled pairs: folders A, B (C ...) and label with files of the same names."""
    from geochange.detectors.network import require_torch

    require_torch("train")
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json
    from geochange.learning.options import TrainRunOptions
    from geochange.learning.ranks import here
    from geochange.learning.run_options import options_from, read_options
    from geochange.pipeline.train import train as run

    settings = {
        "val": val,
        "network": network,
        "network_options": values.parse_settings(network_option) or None,
        "gsd": gsd,
        "size": size,
        "bands": values.parse_bands(bands),
        "classes": values.parse_names(classes) or None,
        "pretrained": pretrained,
        "start": start,
        "steps": steps,
        "batch": batch,
        "accumulate": accumulate,
        "loss": loss,
        "rate": rate,
        "precision": precision,
        "device": device,
        "every": every,
        "patience": patience,
        "loaders": workers,
        "seed": seed,
        "unlabelled": unlabelled or None,
        "match_dates": match_dates,
        "label_column": label_column,
        "balanced": balanced or None,
        "skip_bad": skip_bad or None,
    }
    read = {} if options is None else read_options(options)
    chosen = options_from(TrainRunOptions, read | training.given(settings))
    silent = quiet or as_json or here()[0] > 0
    with progress_bar(quiet=silent) as listener:
        trained = run(data, out, chosen, resume=resume, overwrite=overwrite, listener=listener)
    if as_json and here()[0] == 0:
        print_json(trained.record)
    elif not silent:
        training.print_trained(trained)
