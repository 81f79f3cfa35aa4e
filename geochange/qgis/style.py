"""How QGIS draws a layer of changes, and what it calls its columns: a style in QML. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import fromstring
from xml.sax.saxutils import quoteattr

from geochange.qgis.elements import element, qml
from geochange.qgis.form import form_parts

STYLE_NAME = "changes"

FILL_OPACITY = 110  # of 255: the image below stays readable
LOOKED_THROUGH = 30  # of 255: one can tell what is below
OUTLINE_MM = 0.5

SCORE_COLOURS = (
    (0.0, 0.5, (255, 237, 160)),
    (0.5, 0.7, (254, 201, 88)),
    (0.7, 0.85, (253, 141, 60)),
    (0.85, 0.95, (240, 59, 32)),
    (0.95, 1.0, (177, 0, 60)),
)
"""(from, to, colour) of the mean score: pale yellow to dark red, so that strong changes stand out."""

CLASS_COLOURS = (
    (230, 57, 70),
    (29, 120, 210),
    (255, 176, 0),
    (46, 160, 80),
    (155, 70, 190),
    (0, 170, 180),
    (250, 120, 40),
    (120, 90, 70),
)
"""Colours of classes 1, 2, ...; they start again after the last."""

STATUS_COLOURS = {
    "unreviewed": (255, 0, 144),
    "kept": (47, 208, 106),
    "rejected": (255, 106, 92),
    "unsure": (255, 196, 0),
}
"""Colours of what reviewers have decided, those of the page."""

KIND_COLOURS = {
    "vegetation gain": (124, 175, 66),
    "vegetation loss": (84, 54, 8),
    "water gain": (4, 112, 228),
    "water loss": (105, 192, 235),
    "built-up gain": (198, 32, 70),
    "built-up loss": (126, 126, 130),
    "object appeared": (130, 25, 122),
    "object vanished": (255, 212, 52),
    "other": (221, 221, 221),
}
"""What people expect: green and brown, blue, red and grey; apart in lightness too, for the colour-blind."""

Colour = tuple[int, int, int]

_GRADUATED = """<renderer-v2 type="graduatedSymbol" attr="score_mean" graduatedMethod="GraduatedColor" symbollevels="0">
  <ranges>{entries}</ranges>
  <symbols>{symbols}</symbols>
 </renderer-v2>"""

_CATEGORIZED = """<renderer-v2 type="categorizedSymbol" attr="{attribute}" symbollevels="0">
  <categories>{entries}</categories>
  <symbols>{symbols}</symbols>
 </renderer-v2>"""

_RANGE = '<range symbol="{number}" lower="{lower}" upper="{upper}" label={label} render="true"/>'

_CATEGORY = '<category symbol="{number}" value={label} label={label} type="string" render="true"/>'

_SYMBOL = """
   <symbol type="fill" name="{number}" alpha="1" clip_to_extent="1" force_rhr="0">
    <layer class="SimpleFill" enabled="1" locked="0" pass="0">
     <Option type="Map">
      <Option type="QString" name="color" value="{fill}"/>
      <Option type="QString" name="style" value="solid"/>
      <Option type="QString" name="joinstyle" value="miter"/>
      <Option type="QString" name="outline_color" value="{outline}"/>
      <Option type="QString" name="outline_style" value="solid"/>
      <Option type="QString" name="outline_width" value="{width}"/>
      <Option type="QString" name="outline_width_unit" value="MM"/>
     </Option>
    </layer>
   </symbol>"""


def change_style(labels: Sequence[str]) -> str:
    """QML of a layer: one class in steps of its mean score, several classes in a colour each."""
    return class_style("label", labels) if len(labels) > 1 else _by_score()


def _by_score() -> str:
    entries = (
        _RANGE.format(number=number, lower=lower, upper=upper, label=quoteattr(f"score {lower:g} – {upper:g}"))
        for number, (lower, upper, _) in enumerate(SCORE_COLOURS)
    )
    colours = [colour for _, _, colour in SCORE_COLOURS]
    return _style(_GRADUATED.format(entries="".join(entries), symbols=_symbols(colours)))


def kind_style() -> str:
    """QML of a layer whose changes have kinds: a colour each."""
    return _by_category("kind", KIND_COLOURS)


def class_style(attribute: str, names: Sequence[str]) -> str:
    """QML of a layer in a colour for each of the names that an attribute may have."""
    return _by_category(attribute, {name: CLASS_COLOURS[i % len(CLASS_COLOURS)] for i, name in enumerate(names)})


def status_style(opacity: int = FILL_OPACITY) -> str:
    """QML of a layer by what reviewers have decided; fills are as opaque as that, of 255."""
    return _by_category("status", STATUS_COLOURS, opacity)


def _by_category(attribute: str, colours: Mapping[str, Colour], opacity: int = FILL_OPACITY) -> str:
    entries = (_CATEGORY.format(number=number, label=quoteattr(value)) for number, value in enumerate(colours))
    renderer = _CATEGORIZED.format(
        attribute=attribute, entries="".join(entries), symbols=_symbols(list(colours.values()), opacity)
    )
    return _style(renderer)


def _style(renderer: str) -> str:
    parts = [
        fromstring(renderer),
        element("blendMode", "0"),
        element("featureBlendMode", "0"),
        element("layerGeometryType", "2"),
        *form_parts(STATUS_COLOURS, KIND_COLOURS),
    ]
    return qml(parts)


def _symbols(colours: Sequence[Colour], opacity: int = FILL_OPACITY) -> str:
    """Describe a see-through fill with a darker, solid outline for each colour, numbered from 0."""
    return "".join(
        _SYMBOL.format(
            number=number,
            fill=_rgba(colour, opacity),
            outline=_rgba(_darker(colour), 255),
            width=OUTLINE_MM,
        )
        for number, colour in enumerate(colours)
    )


def _darker(colour: Colour) -> Colour:
    red, green, blue = (channel * 3 // 5 for channel in colour)
    return red, green, blue


def _rgba(colour: Colour, opacity: int) -> str:
    return ",".join(map(str, (*colour, opacity)))
