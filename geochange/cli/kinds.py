"""`geochange kinds`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import values


def kinds(
    changes: Annotated[str, typer.Argument(help="A layer of changes: .gpkg, .geojson, .fgb, .parquet, ...")],
    before: Annotated[str, typer.Argument(help="The earlier image.")],
    after: Annotated[str, typer.Argument(help="The later image; brought to the grid of BEFORE while it is read.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="The layer: .gpkg, .geojson, .fgb or .parquet.")],
    band_roles: values.BandRoles = None,
    index: values.Indices = None,
    split_kinds: Annotated[
        bool, typer.Option("--split-kinds", "--split", help="Cut changes where their kind changes.")
    ] = False,
    min_area: values.MinArea = "4px",
    nodata: values.Nodata = "all",
    workers: values.Workers = None,
    scheduler: values.Scheduler = None,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Tell what kind of change each polygon is: vegetation, water, built-up, or an object that came or went."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json, print_kinds
    from geochange.engine.cluster import ClusterOptions
    from geochange.kinds.measure import KindOptions
    from geochange.pipeline.kinds import kinds as run
    from geochange.scenes.scene import parse_nodata

    options = KindOptions(
        band_roles=band_roles,
        indices=tuple(index or ()),
        split_kinds=split_kinds,
        min_area=min_area,
        nodata=parse_nodata(nodata),
    )
    cluster = ClusterOptions(workers=workers, scheduler=scheduler)
    with progress_bar(quiet=quiet or as_json) as listener:
        written = run(changes, before, after, out, options, cluster=cluster, overwrite=overwrite, listener=listener)
    if as_json:
        print_json(written.to_dict())
    elif not quiet:
        print_kinds(written)
