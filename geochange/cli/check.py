"""`geochange check`."""

from __future__ import annotations

from typing import Annotated

import typer

from geochange.cli import values


def check(
    before: Annotated[str, typer.Argument(help="The earlier image.")],
    after: Annotated[str, typer.Argument(help="The later image.")],
    bands: values.Bands = None,
    aoi: values.Aoi = None,
    nodata: values.Nodata = "all",
    resampling: values.Resampling = "cubic",
    workers: values.Workers = None,
    scheduler: values.Scheduler = None,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Report how well two images fit: grids, nodata, residual shift, radiometry, and a verdict."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json, print_report
    from geochange.engine.cluster import ClusterOptions
    from geochange.pipeline.check import check as run
    from geochange.scenes.pairing import SceneOptions
    from geochange.scenes.scene import parse_nodata

    options = SceneOptions(
        bands=values.parse_bands(bands),
        aoi=values.parse_aoi(aoi),
        nodata=parse_nodata(nodata),
        resampling=resampling,
    )
    cluster = ClusterOptions(workers=workers, scheduler=scheduler)
    with progress_bar(quiet=quiet or as_json) as listener:
        report = run(before, after, options, cluster=cluster, listener=listener)
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)
