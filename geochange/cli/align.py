"""`geochange align`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import values


def align(
    before: Annotated[str, typer.Argument(help="The image whose grid is wanted.")],
    after: Annotated[str, typer.Argument(help="The image to bring to it.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="The GeoTIFF to write.")],
    remove_shift: Annotated[
        bool, typer.Option("--remove-shift", help="Measure the shift that is left, and remove it too.")
    ] = False,
    bands: values.Bands = None,
    nodata: values.Nodata = "all",
    resampling: values.Resampling = "cubic",
    workers: values.Workers = None,
    scheduler: values.Scheduler = None,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Write AFTER on BEFORE's grid, as a Cloud Optimized GeoTIFF."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_aligned, print_json
    from geochange.engine.cluster import ClusterOptions
    from geochange.pipeline.align import align as run
    from geochange.scenes.pairing import SceneOptions
    from geochange.scenes.scene import parse_nodata

    options = SceneOptions(bands=values.parse_bands(bands), nodata=parse_nodata(nodata), resampling=resampling)
    cluster = ClusterOptions(workers=workers, scheduler=scheduler)
    with progress_bar(quiet=quiet or as_json) as listener:
        aligned = run(
            before,
            after,
            out,
            options,
            remove_shift=remove_shift,
            overwrite=overwrite,
            cluster=cluster,
            listener=listener,
        )
    if as_json:
        print_json(aligned.to_dict())
    elif not quiet:
        print_aligned(aligned)
