"""The command line that the plugin makes of values, read by the commands themselves. No QGIS is needed."""

import pytest
from geochange_qgis.arguments import argument_line
from geochange_qgis.parameters import ALGORITHMS, fields_of, name_of, options_of

from geochange.cli.commands import COMMANDS, read_value
from geochange.cli.description import describe_command

DESCRIBED = {name: describe_command(COMMANDS[name]) for name in ALGORITHMS}
OPTIONS = [(name, each) for name, command in DESCRIBED.items() for each in options_of(command) if each["flags"]]
SAMPLES = {
    "integer": (3, 3),
    "number": (0.125, 0.125),
    "extent": ([-10.5, 2.0, 3.25, 4.0], (-10.5, 2.0, 3.25, 4.0)),
    "pairs": ('a=1 b="x y"', {"a": "1", "b": "x y"}),
}
TEXTS = {
    "min_area": "7px",
    "mask_buffer": "3px",
    "opening": "2px",
    "closing": "2px",
    "threshold": "0.4",
    "nodata": "all",
}
NEEDED = {"raster": "b.tif", "layer": "l.gpkg", "map": "m.tif", "folder": "run", "list": ["r1.tif", "r2.tif"]}


def given(command):
    """Values of what a command must have."""
    return {name_of(each): NEEDED[each["type"]] for each in options_of(command) if each["required"]}


def parse(words):
    """What the command line reads of words, as it hands it on."""
    name, *arguments = words
    return COMMANDS[name].build().make_context(name, arguments).params


def sample(option):
    """A value that is not the default, as the plugin has it, and as the command must read it."""
    kind = option["type"]
    if kind == "flag":
        return (not option["default"],) * 2
    if kind == "choice":
        chosen = next(each for each in option["choices"] if each != option["default"])
        return chosen, int(chosen) if chosen.isdigit() else chosen
    if kind == "list":
        inner, many = sample(option["of"] | {"default": None, "name": option["name"]})
        return [inner], (many,)
    return SAMPLES.get(kind, (TEXTS.get(option["name"], "a b=c,ü"),) * 2)


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda each: each if isinstance(each, str) else each["name"])
def test_a_value_arrives_as_it_was_given(name, option):
    value, wanted = sample(option)
    if option["type"] == "list" and option["of"]["type"] in ("text", "map", "band"):
        value, wanted = ["a", "b"], ("a", "b")
    words = argument_line(DESCRIBED[name], {**given(DESCRIBED[name]), name_of(option): value})
    declared = next(each for each in COMMANDS[name].parameters() if each.name == option["name"])
    found = read_value(declared, parse(words)[option["name"]])
    assert found in (wanted, str(wanted)) or found == float(value)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_defaults_are_not_given(name):
    command = DESCRIBED[name]
    values = {field.name: field.default for field in fields_of(command)} | given(command)
    assert argument_line(command, values) == argument_line(command, given(command))


def test_inputs_stand_in_their_order_after_the_options():
    values = {"AFTER": "-after.tif", "BEFORE": "b.tif", "BETWEEN": ["1.tif", "2.tif"], "OUTPUT": "out", "ALIGN": True}
    words = argument_line(DESCRIBED["detect"], values)
    assert words == ["detect", "--output=out", "--align", "--", "b.tif", "1.tif", "2.tif", "-after.tif"]
    assert parse(words)["images"] == ["b.tif", "1.tif", "2.tif", "-after.tif"]


def test_what_is_not_given_is_left_out():
    values = {"BEFORE": "b", "AFTER": "a", "OUTPUT": "o", "THRESHOLD": "", "BANDS": [], "AOI": None, "ALIGN": False}
    assert argument_line(DESCRIBED["detect"], values) == ["detect", "--output=o", "--", "b", "a"]


def test_what_is_on_is_switched_off():
    words = argument_line(DESCRIBED["review"], {"RUN": "run", "OPEN": False})
    assert words == ["review", "--no-open", "--", "run"]


@pytest.mark.parametrize(("value", "word"), [("on", "--x"), ("off", "--no-x"), (None, None)])
def test_a_switch_has_three_states(value, word):
    option = {"flags": ["--x"], "off": "--no-x", "name": "x", "type": "flag", "default": None}
    words = argument_line({"name": "c", "inputs": [], "options": [option]}, {"X": value})
    assert words == ["c", *([word] if word else [])]


def test_a_flag_may_be_given_for_each_entry():
    option = {"flags": ["--x"], "name": "x", "type": "list", "of": {"type": "text"}, "default": None, "again": True}
    words = argument_line({"name": "model describe", "inputs": [], "options": [option]}, {"X": ["a", "b,c"]})
    assert words == ["model", "describe", "--x=a", "--x=b,c"]
