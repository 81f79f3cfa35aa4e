"""`geochange detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import values


def detect(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="BEFORE AFTER",
            help="Any rasters that GDAL reads, on one grid (or with --align); for conv-gru and change-vae also more, "
            "in the order of their dates.",
        ),
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector",
            "-d",
            help="See `geochange detectors`.",
            show_default="ir-mad from 3 bands, else change-vector",
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Detector option as NAME=VALUE; may be given again.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", help="A network that `geochange train` left; then -d is network.")
    ] = None,
    device: values.Device = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Of a network: fp32, bf16, fp16.", show_default="fp32")
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="What runs a network: torch or openvino.", show_default="torch")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale", help="LOW:HIGH, values for the ends of the range that a network was taught with; or auto."
        ),
    ] = None,
    match_gsd: Annotated[
        bool, typer.Option("--match-gsd", help="Score at the pixel size that a network was taught with.")
    ] = False,
    augment: Annotated[
        bool, typer.Option("--augment", help="Average a network's scores over eight flips and turns.")
    ] = False,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Further rasters of the detector to write, as in chi-square,weights.")
    ] = None,
    bands: values.Bands = None,
    aoi: values.Aoi = None,
    nodata: values.Nodata = "all",
    align: values.Align = False,
    resampling: values.Resampling = "cubic",
    remove_shift: Annotated[
        bool,
        typer.Option("--remove-shift", help="Measure the shift left between the dates, and remove it while reading."),
    ] = False,
    threshold: values.Threshold = None,
    labels: values.Labels = None,
    label_column: values.LabelColumn = None,
    min_area: values.MinArea = "4",
    connectivity: values.Connectivity = 4,
    simplify: values.Simplify = 0.0,
    kinds: Annotated[bool, typer.Option("--kinds", help="Tell what kind of change each one is.")] = False,
    band_roles: values.BandRoles = None,
    indices: values.Indices = None,
    split_kinds: Annotated[
        bool, typer.Option("--split-kinds", help="With --kinds: cut changes where their kind changes.")
    ] = False,
    formats: Annotated[
        str, typer.Option("--formats", help="Vector files: gpkg, geojson, flatgeobuf, parquet.")
    ] = "gpkg,geojson",
    dtype: Annotated[str, typer.Option("--dtype", help="How probabilities are stored: uint8 or float32.")] = "uint8",
    tile_size: Annotated[
        int | None,
        typer.Option("--tile-size", help="Pixels per side of a tile.", show_default="the detector's own, mostly 512"),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option("--overlap", help="Pixels shared by neighbouring tiles.", show_default="the detector's own"),
    ] = None,
    block_size: Annotated[
        int | None,
        typer.Option("--block-size", help="Pixels per side of a block, one task.", show_default="about 64 MB"),
    ] = None,
    date_before: values.DateBefore = None,
    date_after: values.DateAfter = None,
    workers: values.Workers = None,
    scheduler: values.Scheduler = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Find the changes between two images: a probability raster, polygons, and a picture."""
    if len(images) < 2:
        raise typer.BadParameter("BEFORE and AFTER are needed: one image was given")
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json, print_run
    from geochange.pipeline.detect import detect as run
    from geochange.pipeline.options import DetectOptions
    from geochange.scenes.scene import parse_nodata

    of_network = {"checkpoint": checkpoint, "device": device, "precision": precision, "engine": engine, "scale": scale}
    switches = {name: "true" for name, wanted in (("match_gsd", match_gsd), ("augment", augment)) if wanted}
    given = {name: value for name, value in of_network.items() if value is not None}
    options = DetectOptions(
        detector=detector or ("network" if checkpoint else None),
        detector_options={**values.parse_settings(option), **given, **switches},
        layers=values.parse_names(layers),
        bands=values.parse_bands(bands),
        aoi=values.parse_aoi(aoi),
        nodata=parse_nodata(nodata),
        align=align,
        resampling=resampling,
        remove_shift=remove_shift,
        tile_size=tile_size,
        overlap=overlap,
        block_size=block_size,
        dtype=dtype,
        threshold=threshold,
        labels=labels,
        label_column=label_column,
        kinds=kinds,
        band_roles=band_roles,
        indices=values.parse_names(indices),
        split_kinds=split_kinds,
        min_area=min_area,
        connectivity=connectivity,  # type: ignore[arg-type]  # the options refuse another number
        simplify=simplify,
        formats=values.parse_names(formats),
        date_before=date_before,
        date_after=date_after,
        workers=workers,
        scheduler=scheduler,
        resume=resume,
        overwrite=overwrite,
    )
    with progress_bar(quiet=quiet or as_json) as listener:
        detection = run(images[0], images[-1], out, options, between=images[1:-1], listener=listener)
    if as_json:
        print_json(detection.record)
    elif not quiet:
        print_run(detection)
