"""`geochange vectorize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import values


def vectorize(
    raster: Annotated[str, typer.Argument(help="A probability raster, or a mask of which 0 is unchanged.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="The layer: .gpkg, .geojson, .fgb or .parquet.")],
    threshold: values.Threshold = None,
    labels: values.Labels = None,
    label_column: values.LabelColumn = None,
    min_area: values.MinArea = "4",
    connectivity: values.Connectivity = 4,
    simplify: values.Simplify = 0.0,
    right_angles: Annotated[
        bool, typer.Option("--right-angles", help="Give outlines right angles where that fits, as buildings have them.")
    ] = False,
    diagonals: Annotated[
        bool, typer.Option("--diagonals", help="With --right-angles: edges may run at 45 degrees too.")
    ] = False,
    date_before: values.DateBefore = None,
    date_after: values.DateAfter = None,
    workers: values.Workers = None,
    scheduler: values.Scheduler = None,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Turn a probability or mask raster into polygons with attributes."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json, print_layer
    from geochange.engine.cluster import ClusterOptions
    from geochange.pipeline.vectorize import VectorizeOptions
    from geochange.pipeline.vectorize import vectorize as run

    options = VectorizeOptions(
        threshold=threshold,
        labels=labels,
        label_column=label_column,
        min_area=min_area,
        connectivity=connectivity,
        simplify=simplify,
        right_angles=right_angles,
        diagonals=diagonals,
        date_before=date_before,
        date_after=date_after,
    )
    cluster = ClusterOptions(workers=workers, scheduler=scheduler)
    with progress_bar(quiet=quiet or as_json) as listener:
        layer = run(raster, out, options, overwrite=overwrite, cluster=cluster, listener=listener)
    if as_json:
        print_json(layer.to_dict())
    elif not quiet:
        print_layer(layer)
