"""How QGIS draws rasters: probabilities in the colours of changes, images from black to white. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from geochange.qgis.elements import add, element, qml
from geochange.qgis.style import SCORE_COLOURS, Colour

BELOW = 1e-6  # of a probability: the threshold itself is a change
OPAQUE = 255

Limits = Sequence[tuple[float, float]]


def probability_style(threshold: float) -> str:
    """QML of a raster of probabilities; see `probability_pipe`."""
    return qml([probability_pipe(threshold), element("blendMode", "0")])


def probability_pipe(threshold: float, band: int = 1, colour: Colour | None = None) -> Element:
    """Draw probabilities in steps, as changes are drawn by their score, and nothing below the threshold.

    Args:
        threshold: from which a pixel is a change.
        band: of the raster, from 1.
        colour: of all that is drawn, as of one class of several; the steps' own where it is None.
    """
    first = threshold - BELOW
    renderer = element(
        "rasterrenderer",
        type="singlebandpseudocolor",
        band=band,
        opacity=1,
        alphaBand=-1,
        nodataColor="",
        classificationMin=0,
        classificationMax=1,
    )
    shader = add(
        add(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="DISCRETE",
        classificationMode=1,
        clip=0,
        minimumValue=0,
        maximumValue=1,
    )
    add(shader, "item", value=first, alpha=0, color="#ffffff", label=f"below {threshold:.3g}")
    low = threshold
    for _, high, own in SCORE_COLOURS:
        if high > threshold or high == 1:
            shown = "inf" if high == 1 else high  # a stored 1 may read as a little more
            label = f"{low:.3g} – {high:g}"
            add(shader, "item", value=shown, alpha=OPAQUE, color=_hex(colour or own), label=label)
            low = high
    return _pipe(renderer)


def image_pipe(bands: Sequence[int], limits: Limits) -> Element:
    """Draw an image in colour, or a single band in grey.

    Args:
        bands: one or three numbers, from 1.
        limits: of each, the values that are drawn black and white.
    """
    if len(bands) == 1:
        renderer = element("rasterrenderer", type="singlebandgray", grayBand=bands[0], gradient="BlackToWhite")
        names = ["contrastEnhancement"]
    else:
        red, green, blue = bands
        renderer = element("rasterrenderer", type="multibandcolor", redBand=red, greenBand=green, blueBand=blue)
        names = [f"{each}ContrastEnhancement" for each in ("red", "green", "blue")]
    for name, value in {"opacity": "1", "alphaBand": "-1", "nodataColor": ""}.items():
        renderer.set(name, value)
    for name, (low, high) in zip(names, limits, strict=True):
        stretch = add(renderer, name)
        add(stretch, "minValue", f"{low:.10g}")
        add(stretch, "maxValue", f"{high:.10g}")
        add(stretch, "algorithm", "StretchToMinimumMaximum")
    return _pipe(renderer)


def _pipe(renderer: Element) -> Element:
    pipe = element("pipe")
    pipe.append(renderer)
    return pipe


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in colour)
