"""The parameters of the plugin's algorithms against the declarations of the commands. No QGIS is needed."""

import json

import pytest
from geochange_qgis.parameters import (
    ALGORITHMS,
    FORM,
    GROUPS,
    MANY,
    OWN,
    SIMPLE,
    Field,
    FormUnknown,
    fields_of,
    is_report,
    kind_of,
    name_of,
    read_commands,
)

from geochange.cli.commands import COMMANDS
from geochange.cli.description import FORM as WRITTEN_FORM
from geochange.cli.description import TYPES, describe_command, description_text

DESCRIBED = {name: describe_command(COMMANDS[name]) for name in ALGORITHMS}
FIELDS = {name: {each.name: each for each in fields_of(command)} for name, command in DESCRIBED.items()}
KINDS = {
    *("flag", "switch", *SIMPLE.values(), *MANY.values()),
    *("raster output", "layer output", "file output", "folder output"),
}


def test_all_commands_that_are_wanted_are_offered():
    wanted = "detect check align vectorize evaluate refine fuse kinds review"
    assert set(ALGORITHMS) == set(wanted.split())
    assert sorted(each for names in GROUPS.values() for each in names) == sorted(ALGORITHMS)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_parameters_are_all_that_the_command_takes(name):
    command = COMMANDS[name]
    declared = {each.name for each in (*command.signature.inputs, *command.signature.keywords)}
    declared |= {each.name for each in (*command.options, *command.cluster)}
    assert {each.option["name"] for each in fields_of(DESCRIBED[name])} == declared
    assert {each.name for each in command.switches} <= set(OWN)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_parameters_have_names_of_their_own_and_known_kinds(name):
    fields = fields_of(DESCRIBED[name])
    assert len({each.name for each in fields}) == len(fields)
    assert {each.kind for each in fields} <= KINDS
    for each in fields:
        assert not (each.optional and each.option["required"])
        assert each.optional or each.option["required"] or each.default is not None
        assert each.help.startswith(each.option["help"])
        assert not (each.advanced and each.option["required"])
        assert each.parent is None or each.parent in FIELDS[name]


@pytest.mark.parametrize(
    ("command", "name", "kind"),
    [
        ("detect", "BEFORE", "raster"),
        ("detect", "BETWEEN", "rasters"),
        ("detect", "OUTPUT", "folder output"),
        ("detect", "AOI", "extent"),
        ("detect", "BANDS", "bands"),
        ("detect", "FORMATS", "choices"),
        ("detect", "RESAMPLING", "choice"),
        ("detect", "MASK_BEFORE", "map"),
        ("detect", "OPTION", "pairs"),
        ("detect", "MIN_AREA", "text"),
        ("detect", "WORKERS", "integer"),
        ("detect", "CHECKPOINT", "file"),
        ("detect", "STATISTICS", "folder"),
        ("align", "OUTPUT", "raster output"),
        ("vectorize", "OUTPUT", "layer output"),
        ("kinds", "CHANGES", "layer"),
        ("evaluate", "PREDICTED", "map"),
        ("evaluate", "PICTURE", "file output"),
        ("evaluate", "IGNORE", "text"),
        ("refine", "GUIDED_EPS", "number"),
        ("fuse", "RASTERS", "rasters"),
        ("review", "OPEN", "flag"),
        ("review", "RUN", "folder"),
    ],
)
def test_a_parameter_is_of_the_kind_that_fits(command, name, kind):
    assert FIELDS[command][name].kind == kind


def test_what_is_rare_is_advanced():
    shown = [each.name for each in fields_of(DESCRIBED["detect"]) if not each.advanced]
    assert shown[:3] == ["BEFORE", "AFTER", "DETECTOR"]
    assert shown[-1] == "OUTPUT"
    assert {"DETECTOR", "THRESHOLD", "ALIGN", "BANDS", "AOI", "OVERWRITE", "OUTPUT"} <= set(shown)
    assert not {"SCHEDULER", "TILE_SIZE", "NODATA", "BETWEEN", "STAC"} & set(shown)
    assert FIELDS["review"]["AOI"].advanced


def test_bands_and_extents_belong_to_an_image():
    assert FIELDS["detect"]["BANDS"].parent == FIELDS["detect"]["AOI"].parent == "BEFORE"
    assert FIELDS["refine"]["BANDS"].parent == "IMAGE"


def test_reports_are_of_commands_that_need_not_write():
    assert {name for name in ALGORITHMS if is_report(DESCRIBED[name])} == {"check", "evaluate", "review"}


@pytest.mark.parametrize("kind", sorted(set(TYPES) - {"flag", "list"}))
def test_every_type_has_a_kind(kind):
    option = {"flags": ["--x"], "name": "x", "type": kind, "default": None}
    assert kind_of(option) in KINDS
    many = {**option, "type": "list", "of": {"type": kind}}
    assert kind_of(many) in KINDS


@pytest.mark.parametrize(("default", "kind"), [(False, "flag"), (True, "flag"), (None, "switch")])
def test_a_flag_that_may_be_neither_is_a_switch(default, kind):
    assert kind_of({"flags": ["--x"], "type": "flag", "default": default}) == kind


def test_names_are_those_of_the_command_line():
    assert name_of({"flags": ["--min-area"], "name": "min_area"}) == "MIN_AREA"
    assert name_of({"flags": [], "name": "before"}) == "BEFORE"
    assert isinstance(FIELDS["refine"]["OPEN"], Field)  # the field `opening`, whose flag is --open


def test_the_description_is_read_and_another_form_is_refused(tmp_path):
    path = tmp_path / "commands.json"
    with pytest.raises(FormUnknown, match="make qgis-plugin"):
        read_commands(path)
    path.write_text(description_text(), encoding="utf-8")
    assert read_commands(path)["detect"] == DESCRIBED["detect"]
    path.write_text(json.dumps({**json.loads(description_text()), "form": FORM + 1}))
    with pytest.raises(FormUnknown, match=f"form {FORM + 1}"):
        read_commands(path)
    assert FORM == WRITTEN_FORM
