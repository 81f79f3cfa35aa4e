"""`geochange refine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import values
from geochange.errors import BadOption


def refine(
    raster: Annotated[str, typer.Argument(help="A probability raster, or a mask of which 0 is unchanged.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="The probability raster to write, a GeoTIFF.")],
    image: Annotated[str | None, typer.Option("--image", help="The image that leads: AFTER, as a rule.")] = None,
    before: Annotated[
        str | None, typer.Option("--before", help="One more image that leads, where things have gone.")
    ] = None,
    guided: Annotated[
        str | None, typer.Option("--guided", help="Guided filter: its radius in pixels, or several, as in 2,4,8.")
    ] = None,
    guided_eps: Annotated[
        float, typer.Option("--guided-eps", help="Variance, as a share of the scene's, below which an image is flat.")
    ] = 0.1,
    crf: Annotated[int | None, typer.Option("--crf", help="Local random field: how many iterations.")] = None,
    crf_radius: Annotated[int, typer.Option("--crf-radius", help="Pixels from its window's centre to the edge.")] = 5,
    crf_weight: Annotated[float, typer.Option("--crf-weight", help="Log-odds that all neighbours bring.")] = 2.0,
    crf_contrast: Annotated[
        float, typer.Option("--crf-contrast", help="Deviations of the bands at which neighbours part.")
    ] = 0.3,
    crf_smoothness: Annotated[
        float, typer.Option("--crf-smoothness", help="Share of the weight whatever neighbours look like, 0 to 1.")
    ] = 0.0,
    opening: Annotated[
        str | None, typer.Option("--open", help="Radius of an opening, in metres, or pixels as in 3px.")
    ] = None,
    closing: Annotated[
        str | None, typer.Option("--close", help="Radius of a closing, in metres, or pixels as in 3px.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Where --crf balances.", show_default="the raster's own"),
    ] = None,
    bands: values.Bands = None,
    nodata: values.Nodata = "all",
    resampling: values.Resampling = "cubic",
    block_size: Annotated[int, typer.Option("--block-size", help="Pixels per side of a block, one task.")] = 512,
    workers: values.Workers = None,
    scheduler: values.Scheduler = None,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Correct the boundaries in a probability raster; steps act in the order in which the options stand here."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json, print_refined
    from geochange.engine.cluster import ClusterOptions
    from geochange.pipeline.refine import RefineOptions
    from geochange.pipeline.refine import refine as run
    from geochange.probability.boundaries import GuidedFilter, LocalField
    from geochange.scenes.scene import parse_nodata

    if crf is None:
        field = None
    else:
        field = LocalField(
            iterations=crf, radius=crf_radius, weight=crf_weight, contrast=crf_contrast, smoothness=crf_smoothness
        )
    options = RefineOptions(
        guided=None if guided is None else GuidedFilter(radii=_parse_radii(guided), eps=guided_eps),
        crf=field,
        opening=opening,
        closing=closing,
        threshold=threshold,
        bands=values.parse_bands(bands),
        nodata=parse_nodata(nodata),
        resampling=resampling,
        block_size=block_size,
    )
    cluster = ClusterOptions(workers=workers, scheduler=scheduler)
    with progress_bar(quiet=quiet or as_json) as listener:
        refined = run(
            raster, out, options, image=image, before=before, cluster=cluster, overwrite=overwrite, listener=listener
        )
    if as_json:
        print_json(refined.to_dict())
    elif not quiet:
        print_refined(refined)


def _parse_radii(text: str) -> tuple[int, ...]:
    """`2,4,8` → (2, 4, 8)."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadOption(f"guided {text!r} must be radii in whole pixels, as in 4 or 2,4,8") from None
