"""`geochange synthesize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geochange.cli import values
from geochange.errors import BadOption


def synthesize(
    images: Annotated[list[str], typer.Argument(help="Single images, or folders of them.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder for A, B, label, objects and pairs.csv.")],
    after: Annotated[
        str | None,
        typer.Option("--after", help="A real second date, or a folder of them with the same names, to paste into."),
    ] = None,
    changed: Annotated[
        str | None, typer.Option("--changed", help="Mask of what really changed between them: not labelled.")
    ] = None,
    copies: Annotated[int, typer.Option("--copies", help="Pairs of each image.")] = 1,
    sizes: Annotated[str, typer.Option("--sizes", help="Of what is drawn: from SMALL:LARGE pixels.")] = "3:32",
    density: Annotated[float, typer.Option("--density", help="Changes on a million pixels.")] = 300.0,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            help="Of changes: appeared, vanished, moved, deformed, recoloured, with commas between.",
            show_default="all",
        ),
    ] = None,
    shapes: Annotated[
        str | None, typer.Option("--shapes", help="Of what is drawn: square, rectangle, blob.", show_default="all")
    ] = None,
    contrast: Annotated[
        str, typer.Option("--contrast", help="Least and greatest difference, in the image's standard deviations.")
    ] = "0.8:3",
    outlines: Annotated[
        str | None, typer.Option("--outlines", help="A layer of polygons: objects to cut out and paste elsewhere.")
    ] = None,
    cut_from: Annotated[
        str | None, typer.Option("--cut-from", help="The image that they are of.", show_default="each image itself")
    ] = None,
    pictures: Annotated[
        str | None, typer.Option("--pictures", help="A folder of pictures of objects, with opacity, to paste.")
    ] = None,
    effects: Annotated[
        str | None,
        typer.Option(
            "--effects",
            help="What differs without being change: season, haze, view, blur, noise, jpeg; or none.",
            show_default="all",
        ),
    ] = None,
    strength: Annotated[float, typer.Option("--strength", help="Of these effects, relative.")] = 1.0,
    classes: Annotated[
        bool, typer.Option("--classes", help="Label the kinds apart, 1 to 5 in the order above.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Other pairs from the same images.")] = 0,
    bands: values.Bands = None,
    nodata: values.Nodata = "all",
    workers: values.Workers = None,
    scheduler: values.Scheduler = None,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Synthesize pairs with known changes from single images: exact masks, boxes and kinds, to train and test with."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json, print_synthesized
    from geochange.datasets.options import SynthesizeOptions
    from geochange.engine.cluster import ClusterOptions
    from geochange.pipeline.synthesize import synthesize as run
    from geochange.scenes.scene import parse_nodata

    chosen: dict[str, Any] = {"kinds": values.parse_names(kinds), "shapes": values.parse_names(shapes)}
    named: dict[str, Any] = {"none": {"effects": ()}, None: {}}.get(effects, {"effects": values.parse_names(effects)})
    options = SynthesizeOptions(
        sizes=_parse_span("sizes", sizes),
        contrast=_parse_span("contrast", contrast),
        density=density,
        **{name: names for name, names in chosen.items() if names},
        strength=strength,
        after=after,
        changed=changed,
        copies=copies,
        outlines=outlines,
        cut_from=cut_from,
        pictures=pictures,
        label_kinds=classes,
        seed=seed,
        bands=values.parse_bands(bands),
        nodata=parse_nodata(nodata),
        **named,
    )
    cluster = ClusterOptions(workers=workers, scheduler=scheduler)
    with progress_bar(quiet=quiet or as_json) as listener:
        synthesized = run(images, out, options, overwrite=overwrite, cluster=cluster, listener=listener)
    if as_json:
        print_json(synthesized.record)
    elif not quiet:
        print_synthesized(synthesized)


def _parse_span(name: str, text: str) -> tuple[float, float]:
    """`3:32` → (3.0, 32.0)."""
    low, _, high = text.partition(":")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise BadOption(f"{name} {text!r} must be two numbers, as in 3:32") from None
