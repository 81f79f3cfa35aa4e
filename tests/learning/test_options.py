"""Options: choices are those that there are, and reading them needs nothing heavy."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from geochange.datasets.options import CollectionOptions, ShapeName
from geochange.datasets.sprites import SHAPES
from geochange.errors import BadOption
from geochange.learning.losses import LOSSES
from geochange.learning.options import (
    FinetuneOptions,
    LossName,
    PrecisionName,
    TrainOptions,
    TrainRunOptions,
    TuneOptions,
)
from geochange.learning.training import DTYPES
from geochange.pipeline.export_model import MODEL_WRITERS, SUFFIXES, Format

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("choices", "implemented"),
    [(LossName, LOSSES), (PrecisionName, DTYPES), (ShapeName, SHAPES), (Format, SUFFIXES), (Format, MODEL_WRITERS)],
)
def test_choices_are_what_is_implemented(choices, implemented):
    assert get_args(choices) == tuple(implemented)


@pytest.mark.parametrize(
    "module",
    ["datasets.options", "learning.options", "learning.run_options", "pipeline.export_model", "pipeline.explain"],
)
def test_options_are_declared_without_heavy_libraries(module):
    code = (
        f"import sys, geochange.{module}\n"
        "print([name for name in ('torch', 'dask', 'distributed', 'optuna') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.strip() == "[]"


def test_a_run_hands_on_what_concerns_fitting():
    options = TuneOptions(steps=7, every=3, rate=0.5, val="elsewhere")
    assert options.fitting() == TrainOptions(steps=7, every=3, rate=0.5)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (TrainRunOptions, {"classes": ()}, "classes ''"),
        (TrainRunOptions, {"classes": ("a", "b"), "values": (1,)}, "as many as the classes a, b"),
        (TrainRunOptions, {"tile_size": 0}, "tile_size 0"),
        (TrainRunOptions, {"steps": 0}, "steps 0"),
        (FinetuneOptions, {"steps": 4, "frozen_steps": 5}, "part of the steps, which are 4"),
        (FinetuneOptions, {"patience": 0}, "patience 0"),
        (TuneOptions, {"losses": ("hinge",)}, "losses 'hinge' is not one of bce-dice"),
        (CollectionOptions, {"gsd": 0.0}, "gsd 0.0"),
    ],
)
def test_inherited_options_are_checked_too(kind, settings, words):
    with pytest.raises(BadOption, match=words):
        kind(**settings)


def test_classes_of_a_checkpoint_need_no_name():
    assert FinetuneOptions(values=(9, 3)).classes == ()


def test_options_that_a_command_overrides_keep_their_kind():
    base = {each.name: each.type for each in fields(TrainRunOptions)}
    for kind in (FinetuneOptions, TuneOptions):
        assert {each.name: each.type for each in fields(kind) if each.name in base} == base


def test_a_seed_that_torch_cannot_take_is_refused():
    with pytest.raises(BadOption, match="seed 9223372036854775808 must be less"):
        TrainOptions(seed=1 << 63)
