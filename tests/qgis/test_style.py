from xml.etree import ElementTree

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from geochange.kinds.rules import KINDS
from geochange.qgis.style import CLASS_COLOURS, KIND_COLOURS, change_style, class_style, kind_style

# Linear RGB as people see it who lack long-wave or middle-wave cones (Machado 2009, severity 1).
PROTANOPE = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPE = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]


def test_every_kind_has_a_colour():
    assert set(KIND_COLOURS) == set(KINDS)


@pytest.mark.parametrize("eyes", [np.eye(3), PROTANOPE, DEUTERANOPE], ids=["all", "protanope", "deuteranope"])
def test_colours_of_kinds_stay_apart_for_the_colour_blind(eyes):
    colours = np.array([*KIND_COLOURS.values()]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.transpose(eyes)).clip(0, 1)
    stored = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(stored[None])[0]
    apart = deltaE_ciede2000(lab[:, None], lab[None])[np.triu_indices(len(lab), 1)]
    assert apart.min() > 10


def test_more_classes_than_colours_begin_with_the_first_colour_again():
    names = [f"class {number}" for number in range(1, len(CLASS_COLOURS) + 3)]
    document = ElementTree.fromstring(class_style("label", names).split("\n", 1)[1])
    assert [each.get("value") for each in document.iter("category")] == names
    fills = [each.get("value") for each in document.iter("Option") if each.get("name") == "color"]
    assert len(fills) == len(names)
    assert fills[len(CLASS_COLOURS) :] == fills[:2]
    assert len({*fills}) == len(CLASS_COLOURS)


@pytest.mark.parametrize("style", [change_style(("change",)), change_style(("built", "felled")), kind_style()])
def test_outlines_are_solid_and_darker_than_the_see_through_fill(style):
    options = {"color": [], "outline_color": []}
    for each in ElementTree.fromstring(style.split("\n", 1)[1]).iter("Option"):
        if each.get("name") in options:
            options[each.get("name")].append([int(part) for part in each.get("value").split(",")])
    assert options["color"]
    for fill, outline in zip(*options.values(), strict=True):
        assert fill[3] < outline[3] == 255
        assert sum(outline[:3]) < sum(fill[:3])
        assert all(dark <= light for dark, light in zip(outline[:3], fill[:3], strict=True))


def test_ranges_of_the_mean_score_adjoin_from_0_to_1_and_are_labelled():
    renderer = ElementTree.fromstring(change_style(("change",)).split("\n", 1)[1]).find("renderer-v2")
    ranges = [(float(each.get("lower")), float(each.get("upper"))) for each in renderer.iter("range")]
    assert renderer.get("attr") == "score_mean"
    assert [low for low, _ in ranges] == [0, *(high for _, high in ranges[:-1])]
    assert ranges[-1][1] == 1
    assert all(low < high for low, high in ranges)
    labels = [each.get("label") for each in renderer.iter("range")]
    assert labels == [f"score {low:g} – {high:g}" for low, high in ranges]


@pytest.mark.parametrize(
    ("style", "attribute", "names"),
    [
        (kind_style(), "kind", KIND_COLOURS),
        (change_style(("a", "b")), "label", ("a", "b")),
        (class_style("to", ("<c>",)), "to", ("<c>",)),
    ],
)
def test_categories_are_values_of_an_attribute_with_an_outline_each(style, attribute, names):
    renderer = ElementTree.fromstring(style.split("\n", 1)[1]).find("renderer-v2")
    assert renderer.get("attr") == attribute
    assert [each.get("value") for each in renderer.iter("category")] == [*names]
    assert [each.get("label") for each in renderer.iter("category")] == [*names]
    widths = [float(each.get("value")) for each in renderer.iter("Option") if each.get("name") == "outline_width"]
    assert len(widths) == len(names)
    assert min(widths) > 0
