"""`changes.qgs` and `probability.qml`: what a run leaves, as QGIS opens it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

import pyogrio
import rasterio
from pyproj import CRS

from geochange.arrays import Floats
from geochange.files import write_whole
from geochange.names import relative_name
from geochange.pipeline.run_folder import RECORD
from geochange.polygons.preview import hectares
from geochange.probability.raster import ScoreRaster, open_scores
from geochange.qgis.project import Bounds, MapLayer, Project, project_document, style_parts
from geochange.qgis.raster_style import image_pipe, probability_pipe, probability_style
from geochange.qgis.style import CLASS_COLOURS, LOOKED_THROUGH, change_style, kind_style, status_style
from geochange.redaction import HIDDEN, plain, redact
from geochange.review.gis_view import NAME as VIEW
from geochange.scenes.pairing import Scene
from geochange.scenes.scene import readable
from geochange.scenes.source import Source

PROJECT, PROBABILITY_STYLE = "changes.qgs", "probability.qml"
SUFFIXES = (".gpkg", ".fgb", ".geojson", ".parquet")
"""Of layers, the one first that QGIS reads best."""

CHANGES_ID, REVIEW_ID = "geochange_changes", "geochange_review"
BEFORE_ID, AFTER_ID = "geochange_before", "geochange_after"
WGS84 = CRS.from_epsg(4326)
DAY = len("2024-12-31")


def shown_dates(
    scene: Scene,
    positions: Sequence[int],
    limits: Floats,
    lines: Sequence[Sequence[float]] | None,
    dates: Sequence[str | None],
) -> list[dict[str, Any]]:
    """Return what a map shows of the first and the last date, for run.json.

    Args:
        scene: the dates.
        positions: of the bands that are shown, among those that are read.
        limits: (date, band, 2) values that are drawn black and white.
        lines: (gain, offset) by which values of the last date were brought to the first's, a band; None for none.
        dates: of the first and the last image, where they are known.

    Returns:
        For both `date`; `file` as GDAL takes it, or None where the date is no single file; its `crs`; `bands` of the
        file, none where it has a palette; and `limits` of each.
    """
    ends = scene.sources[0], scene.sources[-1]
    stretched = [limits[0].tolist(), limits[1].tolist()]
    if lines is not None:
        stretched[1] = [
            [(value - lines[place][1]) / lines[place][0] for value in pair]
            for place, pair in zip(positions, stretched[1], strict=True)
        ]
    return [
        {
            "date": date,
            **_file_of(source),
            "bands": _bands_of(source, positions),
            "limits": pairs,
        }
        for source, pairs, date in zip(ends, stretched, dates, strict=True)
    ]


def _file_of(source: Source) -> dict[str, str | None]:
    """Return the single file that a date is, and its CRS."""
    if source.path is None or len(source.files) != 1:
        return {"file": None, "crs": None}
    crs = source.whole().grid.crs
    return {"file": source.files[0], "crs": None if crs is None else crs.to_string()}


def _bands_of(source: Source, positions: Sequence[int]) -> list[int]:
    """Return which bands of the file are shown; none where its one band stands for colours."""
    bands = [source.bands[place] for place in positions]
    if source.path is None:
        return bands
    with readable(source.path), rasterio.open(source.path) as image:
        return bands if max(bands) <= image.count else []


def write_project(folder: Path, place: Path, record: Mapping[str, Any]) -> list[str]:
    """Write the project of a run, and the style of its probabilities; return their names.

    Neither holds a secret that the record may hold.

    Args:
        folder: holds the run's files, and takes these.
        place: where the folder's files will lie: paths are relative to it.
        record: of the run.
    """
    record, threshold = plain(record), _number(record["threshold"])
    write_whole(folder / PROBABILITY_STYLE, probability_style(threshold).encode())
    write_whole(folder / PROJECT, project_of(folder, place, record).encode())
    return [PROJECT, PROBABILITY_STYLE]


def add_review(folder: Path) -> None:
    """Add the view of a review to the project of a run; one that was changed in QGIS stays as it is.

    Args:
        folder: of the run, with its record.
    """
    path, record = folder / PROJECT, folder / RECORD
    if not all(each.exists() for each in (path, record, folder / VIEW)):
        return
    known = json.loads(record.read_text())
    if any(not (folder / name).exists() for name in known["files"]["changes"]):
        return
    if "shown" in known.get("scene", ()) and path.read_text(encoding="utf-8") == project_of(folder, folder, known):
        write_whole(path, project_of(folder, folder, known, reviewed=True).encode())


def project_of(folder: Path, place: Path, record: Mapping[str, Any], *, reviewed: bool = False) -> str:
    """Return the project of a run; the same for the same files.

    Args:
        folder: holds the files.
        place: where they will lie.
        record: of the run.
        reviewed: whether the view of a review is one of its layers.
    """
    scores = open_scores(str(folder / "probability.tif"))
    crs, bounds = scores.source.grid.crs, scores.source.grid.bounds
    layers = [
        *_changes(folder, scores, record, reviewed=reviewed),
        *_probabilities(scores, record),
        *_dates(place, record),
    ]
    drawn = [each.id for each in layers if each.group is None and each.kind == "vector" and each.shown]
    themes = {"After": [*drawn, AFTER_ID], "Before": [*drawn, BEFORE_ID], "After, without changes": [AFTER_ID]}
    themes["Before, without changes"] = [BEFORE_ID]
    extent = _extent(folder, record, crs) or bounds
    return project_document(Project(title=_title(record), crs=crs, extent=extent, layers=layers, themes=themes))


def _title(record: Mapping[str, Any]) -> str:
    before, after = (str(each["date"] or "")[:DAY] for each in record["scene"]["shown"])
    return f"Changes {before} – {after}" if before and after else "Changes"


def _changes(folder: Path, scores: ScoreRaster, record: Mapping[str, Any], *, reviewed: bool) -> Iterator[MapLayer]:
    crs = scores.source.grid.crs
    if reviewed:
        yield MapLayer(
            id=REVIEW_ID,
            name="Review",
            kind="vector",
            source=f"./{VIEW}|layername=changes",
            crs=crs,
            style=style_parts(status_style(LOOKED_THROUGH)),
        )
    if (name := _layer_file(record)) is not None:
        style = kind_style() if "kinds" in record else change_style(scores.classes)
        yield MapLayer(
            id=CHANGES_ID,
            name="Changes",
            kind="vector",
            source=f"./{name}|layername=changes" if name.endswith(".gpkg") else f"./{name}",
            crs=WGS84 if crs is not None and name.endswith(".geojson") else crs,
            style=style_parts(style),
            shown=not reviewed,
            notes=_notes(record),
        )


def _probabilities(scores: ScoreRaster, record: Mapping[str, Any]) -> Iterator[MapLayer]:
    threshold, several = _number(record["threshold"]), len(scores.classes) > 1
    for band, name in enumerate(scores.classes, start=1):
        colour = CLASS_COLOURS[(band - 1) % len(CLASS_COLOURS)] if several else None
        yield MapLayer(
            id=f"geochange_probability_{band}",
            name=f"Probability of {name}" if several else "Probability",
            kind="raster",
            source="./probability.tif",
            crs=scores.source.grid.crs,
            style=[probability_pipe(threshold, band, colour)],
            group="Probabilities" if several else None,
            shown=False,
        )


def _dates(place: Path, record: Mapping[str, Any]) -> Iterator[MapLayer]:
    """Yield the images, the later one on top; one that is no single file here is left out."""
    before, after = record["scene"]["shown"]
    for layer, name, date in ((AFTER_ID, "After", after), (BEFORE_ID, "Before", before)):
        file, day = date["file"], str(date["date"] or "")[:DAY]
        if file is None or HIDDEN in redact(file):
            continue
        yield MapLayer(
            id=layer,
            name=f"{name} {day}".strip(),
            kind="raster",
            source=_relative(file, place),
            crs=None if date["crs"] is None else CRS.from_user_input(date["crs"]),
            style=[image_pipe(date["bands"], date["limits"])] if date["bands"] else [],
        )


def _relative(file: str, place: Path) -> str:
    if file.startswith("/vsi"):
        return file
    path = relative_name(file, str(place))
    return path if path.startswith("../") or Path(path).is_absolute() else f"./{path}"


def _layer_file(record: Mapping[str, Any]) -> str | None:
    names = record["files"]["changes"]
    return next((name for suffix in SUFFIXES for name in names if name.endswith(suffix)), None)


def _extent(folder: Path, record: Mapping[str, Any], crs: CRS | None) -> Bounds | None:
    """Return what the changes cover in the scene's CRS; None where there are none, or only in another CRS."""
    name = _layer_file(record)
    if name is None or record["changes"]["count"] == 0 or (crs is not None and name.endswith(".geojson")):
        return None
    layer = "changes" if name.endswith(".gpkg") else None
    left, bottom, right, top = map(
        float, pyogrio.read_info(folder / name, layer=layer, force_total_bounds=True)["total_bounds"]
    )
    return (left, bottom, right, top) if isfinite(left) else None


def _notes(record: Mapping[str, Any]) -> str:
    """Return what the layer's notes say: HTML."""
    detector, changes = record["detector"], record["changes"]
    size = f"{changes['area_px']:,} px" if changes["area_m2"] is None else hectares(changes["area_m2"])
    lines = {
        "Detector": detector["name"],
        "Threshold": f"{_number(record.get('threshold')):.3g}",
        "Smallest confidence": f"{record['min_confidence']:g}",
        "Changes": f"{changes['count']:,}, {size}",
        "Before": Path(str(record["inputs"][0])).name,
        "After": Path(str(record["inputs"][-1])).name,
        "Versions": f"geochange {record['versions']['geochange']}",
    }
    rows = "".join(f"<tr><td>{name}</td><td>{escape(text)}</td></tr>" for name, text in lines.items())
    return f"<table>{rows}</table>"


def _number(threshold: Any) -> float:
    """Return the probability from which a pixel is a change: the lower of two, and the scene's where it varies."""
    if isinstance(threshold, Mapping):
        threshold = threshold["local"]["scene"]
    elif isinstance(threshold, Sequence):
        threshold = threshold[0]
    return float(threshold)
