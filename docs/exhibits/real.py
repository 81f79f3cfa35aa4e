"""The gallery of real imagery, for those who have it: no picture of it is part of the project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from exhibits.page import Done, Page, Section
from exhibits.panels import DARK_AND_LIGHT, Colour, Rows, Scene
from geochange.polygons.preview import CHANGE

HOUSES = Scene(before="houses/before.jpg", after="houses/after.jpg", col=0, row=0, size=256)
LAKES = Scene(before="lakes/2009.tif", after="lakes/2017.tif", col=560, row=60, size=300)
TOWN = Scene(before="town/2000.tif", after="town/2003.tif", col=120, row=160, size=240, bands=(4, 3, 2))
RIVER = Scene(before="river/1990.tif", after="river/2015.tif", col=130, row=0, size=376)

HOUSE_LABELS = dict(zip((0, 255), DARK_AND_LIGHT, strict=True))
TOWN_LABELS = {0: (66, 51, 135), 1: CHANGE}


def detection(title: str, text: str, scene: Scene, options: str, scoring: str | None = None) -> Section:
    """Before, after, probabilities and polygons; scored where there are labels."""
    out = title.replace(": ", "/")

    def draw(done: Done) -> Rows:
        probability = scene.probability(done.folder, "probability", f"{out}/probability.tif")
        polygons = scene.outlined(done.folder, "polygons", f"{out}/changes.gpkg")
        return [[*scene.dates(done.folder), probability, polygons]]

    detect = f"geochange detect {scene.before} {scene.after} -o {out} {options}"
    evaluate = f"geochange evaluate {out}/changes.gpkg {scoring} --json"
    return Section(title=title, text=text, commands=(detect, evaluate) if scoring else (detect,), draw=draw)


def labelled(title: str, text: str, scene: Scene, raster: str, colours: Mapping[int, Colour]) -> Section:
    """Before, after and the labels."""

    def draw(done: Done) -> Rows:
        return [[*scene.dates(done.folder), scene.labels(done.folder, "labels", raster, colours)]]

    return Section(title=title, text=text, draw=draw)


def draw_boxes(done: Done) -> Rows:
    boxes = HOUSES.outlined(done.folder, "boxes", "houses/boxes/changes.gpkg")
    labels = HOUSES.labels(done.folder, "labels", "houses/label.png", HOUSE_LABELS)
    return [[*HOUSES.dates(done.folder), labels, boxes]]


SECTIONS = (
    labelled(
        "houses",
        "LEVIR-CD, validation, 256 × 256 px of 0.5 m: some houses are new, others not.",
        HOUSES,
        "houses/label.png",
        HOUSE_LABELS,
    ),
    detection(
        "houses: ir-mad",
        "A detector of changed pixels finds more than houses.",
        HOUSES,
        "-d ir-mad",
        "houses/label.png",
    ),
    detection("houses: buildings", "A network trained for this.", HOUSES, "-d buildings", "houses/label.png"),
    Section(
        title="houses: boxes",
        text="A network trained on changes of a few pixels.",
        commands=(f"geochange detect {HOUSES.before} {HOUSES.after} -o houses/boxes -d micro-changes",),
        draw=draw_boxes,
        needs="micro-changes",
    ),
    detection("lakes: ir-mad", "NAIP, North Dakota, 5 m, 2009 and 2017, on two grids.", LAKES, "-d ir-mad --align"),
    labelled(
        "town",
        "Landsat 7, Taizhou, 30 m, 2000 and 2003: near infrared, red and green. Labels are sparse: blue unchanged, "
        "magenta changed, grey not labelled.",
        TOWN,
        "town/label.tif",
        TOWN_LABELS,
    ),
    detection("town: ir-mad", "At the labelled pixels of the whole scene.", TOWN, "-d ir-mad", "town/label.tif"),
    detection("river: ir-mad", "Landsat, Pucallpa, 1990 and 2015: SWIR, near infrared and red.", RIVER, "-d ir-mad"),
)


def page(imagery: Path) -> Page:
    """Return the page of a folder that holds the data sets of docs/measurements.md."""
    levir, naip = imagery / "levir" / "val_256px_0.5m", imagery / "naip_wetlands"
    taizhou, pucallpa = imagery / "landsat_taizhou", imagery / "landsat_pucallpa"
    return Page(
        title="Gallery of real imagery",
        text="The pairs were chosen by eye, as examples: one tile does not measure a detector.",
        sections=SECTIONS,
        links={
            HOUSES.before: levir / "A" / "val059_0_2.jpg",
            HOUSES.after: levir / "B" / "val059_0_2.jpg",
            "houses/label.png": levir / "label" / "val059_0_2.png",
            LAKES.before: naip / "naip_20090818.tif",
            LAKES.after: naip / "naip_20170827.tif",
            TOWN.before: taizhou / "T1.tif",
            TOWN.after: taizhou / "T2.tif",
            "town/label.tif": taizhou / "label.tif",
            RIVER.before: pucallpa / "1990.tif",
            RIVER.after: pucallpa / "2015.tif",
        },
    )
