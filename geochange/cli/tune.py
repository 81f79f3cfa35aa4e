"""`geochange tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import training, values


def tune(
    data: Annotated[list[str], typer.Argument(help="Folders A, B, label; as DIR or DIR@GSD, GSD in metres a pixel.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the search.")],
    trials: Annotated[int, typer.Option("--trials", help="Trials to run, with those of earlier runs.")] = 20,
    steps: Annotated[int, typer.Option("--steps", help="Updates of the weights in each.")] = 300,
    every: Annotated[
        int | None,
        typer.Option("--every", help="Steps after which a trial may be ended.", show_default="a fifth of the steps"),
    ] = None,
    val: training.Val = None,
    network: training.Network = None,
    network_option: training.NetworkOption = None,
    gsd: training.Gsd = None,
    size: training.Size = None,
    bands: values.Bands = None,
    classes: training.Classes = None,
    pretrained: training.Pretrained = None,
    device: values.Device = None,
    workers: training.Workers = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the search, weights and samples.")] = 0,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Search good options for `train` with short runs; give the same folder again to go on with a search."""
    from geochange.detectors.network import require_torch

    require_torch("tune")
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json
    from geochange.learning.options import TuneOptions
    from geochange.learning.run_options import options_from
    from geochange.learning.tuning import BEST_OPTIONS
    from geochange.pipeline.tune import tune as run

    settings = {
        "trials": trials,
        "steps": steps,
        "every": every,
        "val": val,
        "network": network,
        "network_options": values.parse_settings(network_option) or None,
        "gsd": gsd,
        "size": size,
        "bands": values.parse_bands(bands),
        "classes": values.parse_names(classes) or None,
        "pretrained": pretrained,
        "device": device,
        "loaders": workers,
        "seed": seed,
    }
    options = options_from(TuneOptions, training.given(settings))
    silent = quiet or as_json
    with progress_bar(quiet=silent) as listener:
        best = run(data, out, options, overwrite=overwrite, listener=listener)
    if as_json:
        print_json(best)
    elif not quiet:
        typer.echo(" ".join(f"{name}={value}" for name, value in best.items()))
        typer.echo(f"geochange train ... --options {out / BEST_OPTIONS}")
