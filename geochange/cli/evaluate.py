"""`geochange evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import values


def evaluate(
    predicted: Annotated[str, typer.Argument(help="A raster of probabilities or labels, or a layer of polygons.")],
    reference: Annotated[str, typer.Argument(help="The truth, likewise.")],
    ignore: Annotated[
        list[int] | None, typer.Option("--ignore", help="A label that is not scored; may be given again.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="For probability rasters.", show_default="the raster's own, else 0.5"),
    ] = None,
    iou: Annotated[float, typer.Option("--iou", help="Intersection over union that makes two objects the same.")] = 0.5,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Names of the labels 1, 2, ..., as in appeared,vanished; layers hold them."),
    ] = None,
    label_column: Annotated[
        str, typer.Option("--label-column", "--column", help="The column of layers that holds the class.")
    ] = "label",
    resolution: Annotated[
        float | None,
        typer.Option("--resolution", help="Pixel size in map units, to compare two vector layers."),
    ] = None,
    grid: Annotated[str | None, typer.Option("--grid", help="A raster on whose grid the two are compared.")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="A PNG of hits, misses and false alarms.")] = None,
    workers: values.Workers = None,
    scheduler: values.Scheduler = None,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Score predicted changes against a reference, by pixel, boundary and object, with 95 % intervals."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_evaluation, print_json
    from geochange.engine.cluster import ClusterOptions
    from geochange.pipeline.evaluate import EvaluateOptions
    from geochange.pipeline.evaluate import evaluate as run

    options = EvaluateOptions(
        classes=values.parse_names(classes),
        label_column=label_column,
        ignore=tuple(ignore or ()),
        threshold=threshold,
        iou=iou,
        resolution=resolution,
        grid=grid,
    )
    cluster = ClusterOptions(workers=workers, scheduler=scheduler)
    with progress_bar(quiet=quiet or as_json) as listener:
        evaluation = run(predicted, reference, options, picture=picture, cluster=cluster, listener=listener)
    if as_json:
        print_json(evaluation.to_dict())
    elif not quiet:
        print_evaluation(evaluation)
