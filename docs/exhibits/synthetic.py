"""The gallery of the synthetic sample, which is part of the documentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from exhibits.page import Done, Page, Section
from exhibits.panels import DARK_AND_LIGHT, Panel, Rows, Scene
from geochange.qgis.style import KIND_COLOURS

PAIR = "before.tif after.tif"
TRUTH = "truth.gpkg --grid before.tif"
# A bit of everything: houses, woods, a felled tree, a new path, open soil, foil on a field, vans.
SCENE = Scene(before="before.tif", after="after.tif", col=708, row=512, size=240)


def draw_input(done: Done) -> Rows:
    infrared = Panel("after, near infrared in red", SCENE.image(done.folder, "after.tif", (4, 1, 2)))
    return [[*SCENE.dates(done.folder), infrared, SCENE.outlined(done.folder, "truth", "truth.gpkg")]]


INPUT = Section(
    title="The input",
    text="Two synthetic aerial images of one place, the second also with near infrared shown in red, and the true "
    "changes between them ([how they were drawn](../sample_data/README.md)).",
    draw=draw_input,
)


def detection(name: str, text: str, options: str = "") -> Section:
    """Before, after, the probabilities of a detector, and its polygons."""

    def draw(done: Done) -> Rows:
        probability = SCENE.probability(done.folder, "probability", f"{name}/probability.tif")
        polygons = SCENE.outlined(done.folder, "polygons", f"{name}/changes.gpkg")
        return [[*SCENE.dates(done.folder), probability, polygons]]

    commands = (
        f"geochange detect {PAIR} -o {name} -d {name}{options}",
        f"geochange evaluate {name}/changes.gpkg {TRUTH} --json",
    )
    return Section(title=f"detect: {name}", text=text, commands=commands, draw=draw)


DETECTORS = (
    detection(
        "difference",
        "The difference of one band or, as here, of a normalised index of two bands: NDVI, from near infrared and "
        "red. It finds changes of vegetation only.",
        " --option index=4,1",
    ),
    detection(
        "change-vector",
        "The length of the difference of all bands, after each has been scaled to mean 0 and deviation 1.",
    ),
    detection(
        "ir-mad",
        "Multivariate alteration detection, iteratively reweighted: it ignores differences of gain and offset between "
        "the dates. The default for images of three bands or more.",
    ),
    detection(
        "slow-features", "Slow feature analysis: the combinations of bands that differ least over the scene as a whole."
    ),
    detection("pca-kmeans", "Principal components of the difference in a small neighbourhood, in two clusters."),
    detection(
        "landscape",
        "The neural network that comes with geochange. It was trained on other scenes of the script that drew the "
        "sample, so its F1 here says little about real images ([networks](networks.md)).",
        " --bands 1,2,3",
    ),
)

THRESHOLDS = {"otsu": "otsu", "kittler": "kittler", "number": "0.9", "hysteresis": "0.5:0.95"}


def draw_thresholds(done: Done) -> Rows:
    names = {f"{name}.gpkg": cut for name, cut in THRESHOLDS.items()}
    return [[SCENE.outlined(done.folder, f"{cut} ({done.f1(layer)})", layer) for layer, cut in names.items()]]


CUT = Section(
    title="vectorize: thresholds",
    text="Polygons from one probability raster with four thresholds: Otsu's, the one of least expected error "
    "(`kittler`), a number, and hysteresis, which keeps regions above 0.5 that reach 0.95 somewhere "
    "([thresholds](thresholds.md)).",
    commands=tuple(
        command
        for name, threshold in THRESHOLDS.items()
        for command in (
            f"geochange vectorize ir-mad/probability.tif -o {name}.gpkg --threshold {threshold}",
            f"geochange evaluate {name}.gpkg {TRUTH} --json",
        )
    ),
    draw=draw_thresholds,
)

FUSED = ("difference", "ir-mad", "pca-kmeans")


def draw_fusion(done: Done) -> Rows:
    captions = {f"{name}/probability.tif": f"{name} ({done.f1(f'{name}/changes.gpkg')})" for name in FUSED}
    captions["fused.tif"] = f"mean ({done.f1('fused.tif')})"
    return [[SCENE.probability(done.folder, caption, raster) for raster, caption in captions.items()]]


FUSE = Section(
    title="fuse",
    text="The mean of the probabilities of three detectors ([fusion](fusion.md)).",
    commands=(
        f"geochange fuse {' '.join(f'{name}/probability.tif' for name in FUSED)} -o fused.tif",
        f"geochange evaluate fused.tif {TRUTH} --json",
    ),
    draw=draw_fusion,
)

REFINED = {
    "guided": "--image after.tif --guided 2,4,8",
    "crf": "--image after.tif --crf 5 --crf-weight 8 --crf-contrast 0.5 --crf-smoothness 0.2",
    "open": "--open 1.5",
}


def draw_refined(done: Done) -> Rows:
    near, folder = replace(SCENE, col=706, row=570, size=120), done.folder
    detected = f"as detected ({done.f1('ir-mad/changes.gpkg')})"
    corrected = [near.probability(folder, f"{name} ({done.f1(f'{name}.tif')})", f"{name}.tif") for name in REFINED]
    return [
        [
            *near.dates(folder),
            near.outlined(folder, "truth", "truth.gpkg"),
            near.probability(folder, detected, "ir-mad/probability.tif"),
        ],
        [*corrected, near.outlined(folder, "polygons of open", "open.gpkg")],
    ]


REFINE = Section(
    title="refine",
    text="Probabilities corrected by a guided filter and by a local random field, both guided by the later image, and "
    "by a morphological opening, which removes specks ([refine](boundaries.md#correct-a-probability-raster)).",
    commands=(
        *(
            command
            for name, options in REFINED.items()
            for command in (
                f"geochange refine ir-mad/probability.tif {options} -o {name}.tif",
                f"geochange evaluate {name}.tif {TRUTH} --json",
            )
        ),
        "geochange vectorize open.tif -o open.gpkg",
    ),
    draw=draw_refined,
)

OUTLINES = {"pixels": "", "simplified": " --simplify 1.5", "squared": " --right-angles"}


def draw_outlines(done: Done) -> Rows:
    near = replace(SCENE, col=706, row=628, size=72)
    captions = {f"{name}.gpkg": options.strip() or "edges of pixels" for name, options in OUTLINES.items()}
    captions["truth.gpkg"] = "truth"
    return [[near.outlined(done.folder, caption, layer) for layer, caption in captions.items()]]


VECTORIZE = Section(
    title="vectorize: outlines",
    text="Outlines along the edges of pixels, simplified ones, and outlines with right angles where these fit, as on "
    "buildings ([right angles](boundaries.md#outlines-with-right-angles)).",
    commands=tuple(
        f"geochange vectorize landscape/probability.tif -o {name}.gpkg{options}" for name, options in OUTLINES.items()
    ),
    draw=draw_outlines,
)


def draw_scores(done: Done) -> Rows:
    with Image.open(done.folder / "scores.png") as picture:
        return [[Panel("scores.png: all of the sample", picture.convert("RGB"))]]


EVALUATE = Section(
    title="evaluate",
    text="Hits, misses and false alarms of the polygons from the opened probabilities ([evaluate](evaluate.md)).",
    commands=(f"geochange evaluate open.gpkg {TRUTH} --picture scores.png --json",),
    draw=draw_scores,
)


def draw_pair(done: Done) -> Rows:
    place, folder = replace(SCENE, col=240, row=380), done.folder
    images = {"the single image": "before.tif", "A": "synthetic/A/before.tif", "B": "synthetic/B/before.tif"}
    label = place.labels(folder, "label, with the boxes", "synthetic/label/before.tif", dict(enumerate(DARK_AND_LIGHT)))
    boxed = replace(label, picture=place.outline(folder, "synthetic/objects/before.gpkg", label.picture))
    return [[*(Panel(caption, place.image(folder, raster)) for caption, raster in images.items()), boxed]]


SYNTHESIZE = Section(
    title="synthesize",
    text="A pair with known changes, synthesized from a single image, for training and testing "
    "([synthesize](synthesize.md)).",
    commands=("geochange synthesize before.tif -o synthetic --sizes 5:24 --density 400 --strength 0.6 --seed 1",),
    draw=draw_pair,
)


def draw_boxes(done: Done) -> Rows:
    layers = {"truth": "truth.gpkg", "boxes": "boxes/changes.gpkg"}
    outlined = [SCENE.outlined(done.folder, caption, layer) for caption, layer in layers.items()]
    return [[*SCENE.dates(done.folder), *outlined]]


BOXES = Section(
    title="detect: boxes",
    text="A network that finds changes of a few pixels as objects, each with a box and a score. Its weights are a "
    "package of their own ([small changes](objects.md)).",
    commands=(f"geochange detect {PAIR} -o boxes -d micro-changes --bands 1,2,3",),
    draw=draw_boxes,
    needs="micro-changes",
)


def draw_kinds(done: Done) -> Rows:
    lake = replace(SCENE, col=370, row=750)
    panels = []
    for place in (SCENE, lake):
        panels.append(place.outlined(done.folder, "changes", "open.gpkg"))
        panels.append(place.kinds(done.folder, "kinds", "kinds.gpkg", KIND_COLOURS))
    return [panels]


KIND = Section(
    title="kinds",
    text="Changes classified: gain and loss of vegetation (green, brown), water (blue, light blue) and built-up land "
    "(red, grey), objects that appeared or vanished (purple, yellow), and others (white) ([kinds of "
    "change](kinds.md)).",
    commands=(f"geochange kinds open.gpkg {PAIR} -o kinds.gpkg --split-kinds",),
    draw=draw_kinds,
)


def draw_explanation(done: Done) -> Rows:
    place = replace(SCENE, col=733, row=614, size=200)
    return [[*place.dates(done.folder), *place.heats(done.folder, "heat.tif")]]


EXPLAIN = Section(
    title="explain",
    text="Where a network found its evidence, at each date, for predicting the foil on the field as change "
    "([explain](networks.md#explain-a-detection)).",
    commands=(f"geochange explain {PAIR} -o heat.tif -d landscape --bands 1,2,3 --at 512833,5346286",),
    draw=draw_explanation,
)


def page(sample: Path) -> Page:
    return Page(
        title="Gallery",
        text="The result of each command on the synthetic [sample](../sample_data/README.md). The commands run as "
        "they stand here, in one folder that holds `before.tif`, `after.tif` and `truth.gpkg`, and the pictures show "
        "what they write; `make pictures` repeats it. Most pictures show the same 240 × 240 m. F1 is by pixel over "
        "the whole sample, whose true changes are known exactly, with its 95 % interval.",
        sections=(
            INPUT,
            *DETECTORS,
            CUT,
            FUSE,
            REFINE,
            VECTORIZE,
            EVALUATE,
            SYNTHESIZE,
            BOXES,
            KIND,
            EXPLAIN,
        ),
        links={name: sample / name for name in ("before.tif", "after.tif", "truth.gpkg")},
    )
