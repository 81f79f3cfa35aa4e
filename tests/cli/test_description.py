"""`geochange --describe`: what all commands take, by the declarations that the commands are made of."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from geochange.cli.commands import COMMANDS, read_value
from geochange.cli.description import TYPES, default_value, describe_command, describe_commands, value_of
from geochange.cli.signatures import Parameter

DESCRIBED = {each["name"]: each for each in describe_commands()["commands"]}
OPTIONS = [(name, each) for name, command in DESCRIBED.items() for each in command["options"]]
CHECKPOINTED = ["train", "finetune", "tune"]


def named(command, name):
    return next(
        each for each in (*DESCRIBED[command]["inputs"], *DESCRIBED[command]["options"]) if each["name"] == name
    )


def test_it_is_printed_as_json_of_all_commands(run):
    code, out, lines = run("--describe")
    assert (code, lines) == (0, [])
    assert list(DESCRIBED) == list(COMMANDS)
    assert json.loads(out) == describe_commands()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda each: each.name)
def test_a_command_is_described_with_all_that_it_takes(command):
    found = describe_command(command)
    given = {each.name: each for each in command.parameters()}
    flags = {flag for each in given.values() for flag in each.flags}
    assert {flag for each in found["options"] for flag in each["flags"]} == flags
    assert {each["name"] for each in found["options"]} == {name for name, each in given.items() if each.flags}
    assert found["summary"] == command.summary
    for each in found["options"]:
        declared = given[each["name"]]
        assert each["help"] == declared.help
        assert each["required"] == declared.required
        assert each["panel"] == command.panel_of(declared)
    assert [each["name"] for each in found["inputs"] if each["name"] != "between"] == [
        each.name for each in command.signature.inputs
    ]


@pytest.mark.parametrize(
    ("command", "option"), OPTIONS, ids=lambda each: each if isinstance(each, str) else each["name"]
)
def test_types_are_of_the_vocabulary_and_defaults_are_of_their_type(command, option):
    assert option["type"] in TYPES
    assert ("choices" in option) == (option["type"] == "choice")
    kinds = {"flag": bool, "integer": int, "number": float, "list": list, "pairs": dict}
    assert option["default"] is None or isinstance(option["default"], kinds.get(option["type"], str))
    if option["type"] == "choice" and option["default"] is not None:
        assert option["default"] in option["choices"]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda each: each.name)
def test_a_default_that_is_given_as_text_is_the_default(command):
    declared = {each.name: each for each in (*command.options, *command.cluster)}
    for each in describe_command(command)["options"]:
        parameter = declared.get(each["name"])
        if parameter is not None and each["type"] in ("integer", "number", "choice", "text") and each["default"]:
            assert read_value(parameter, str(each["default"])) in (parameter.default, str(parameter.default))


@pytest.mark.parametrize(
    ("command", "name", "kind"),
    [
        ("detect", "before", "raster"),
        ("detect", "out", "folder"),
        ("detect", "aoi", "extent"),
        ("detect", "mask_before", "map"),
        ("detect", "checkpoint", "file"),
        ("detect", "min_area", "text"),
        ("detect", "detector_options", "pairs"),
        ("align", "out", "raster"),
        ("vectorize", "out", "layer"),
        ("refine", "image", "raster"),
        ("fuse", "out", "raster"),
        ("fuse", "labels", "map"),
        ("kinds", "changes", "layer"),
        ("kinds", "out", "layer"),
        ("evaluate", "predicted", "map"),
        ("evaluate", "grid", "raster"),
        ("evaluate", "picture", "file"),
        ("from-to", "before", "layer"),
        ("review", "run", "folder"),
        ("watch", "images", "folder"),
        *((each, "out", "folder") for each in CHECKPOINTED),
    ],
)
def test_what_a_text_names_is_told(command, name, kind):
    assert named(command, name)["type"] == kind


def test_outputs_are_told_from_inputs():
    written = {(name, each["name"]) for name, each in OPTIONS if each.get("written")}
    assert {("detect", "out"), ("evaluate", "picture"), ("review", "export"), ("fuse", "save_model")} <= written
    assert not {each for each in written if each[1] in ("labels", "grid", "image", "checkpoint")}
    assert not [each for command in DESCRIBED.values() for each in command["inputs"] if each.get("written")]


def test_dates_between_stand_between_the_dates():
    inputs = DESCRIBED["detect"]["inputs"]
    assert [(each["name"], each["required"]) for each in inputs] == [
        ("before", True),
        ("between", False),
        ("after", True),
    ]
    assert inputs[1] | {"help": "", "default": None} == {
        **{"name": "between", "flags": [], "type": "list", "of": {"type": "raster"}, "default": None, "unset": None},
        **{"required": False, "help": "", "panel": "Arguments"},
    }


def test_flags_that_are_on_can_be_switched_off():
    assert named("review", "open")["off"] == "--no-open"
    assert "off" not in named("detect", "align")
    for command, option in OPTIONS:
        if "off" in option:
            COMMANDS[command].build()
            assert option["default"] in (True, None)


@pytest.mark.parametrize(
    ("hint", "names", "value"),
    [
        (bool, None, {"type": "flag"}),
        (bool | None, None, {"type": "flag"}),
        (int | None, None, {"type": "integer"}),
        (float, None, {"type": "number"}),
        (str | float, None, {"type": "text"}),
        (Literal["a", "b"] | None, None, {"type": "choice", "choices": ["a", "b"]}),
        (Literal["a"] | float, None, {"type": "text"}),
        (tuple[int, ...], None, {"type": "list", "of": {"type": "integer"}}),
        (tuple[float, float], None, {"type": "list", "of": {"type": "number"}, "length": 2}),
        (tuple[int | str, ...] | None, "band", {"type": "list", "of": {"type": "band"}}),
        (str | Path | None, "layer", {"type": "layer"}),
        (str | tuple[float, float, float, float] | None, "extent", {"type": "extent"}),
        (Mapping[str, str], None, {"type": "pairs"}),
    ],
)
def test_a_type_is_described(hint, names, value):
    assert value_of(hint, names) == value


@pytest.mark.parametrize(
    ("hint", "default", "value"),
    [
        (bool, None, False),
        (bool, True, True),
        (Literal[4, 8], 4, "4"),
        (tuple[int, ...], (), []),
        (str | float, 0, "0"),
    ],
)
def test_a_default_is_described(hint, default, value):
    assert default_value(Parameter("x", hint, "", ("--x",), default)) == value
