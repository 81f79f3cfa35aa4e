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
        (FinetuneOptions, {"size": 0}, "size 0 must be above 0"),
        (FinetuneOptions, {"frozen_steps": -1}, "frozen_steps -1 must be at least 0"),
        (FinetuneOptions, {"whole_rate": 0.0}, "whole_rate 0.0"),
        (FinetuneOptions, {"whole_rate": 1.001}, "whole_rate 1.001"),
        (FinetuneOptions, {"sure": 1.001}, "sure 1.001"),
        (FinetuneOptions, {"sure": -0.001}, "sure -0.001"),
        (FinetuneOptions, {"statistics": 1.001}, "statistics 1.001"),
        (FinetuneOptions, {"statistics": float("nan")}, "statistics nan"),
        (TrainRunOptions, {"size": 0}, "size 0 must be above 0"),
        (TrainRunOptions, {"size": -16}, "size -16 must be above 0"),
        (TrainRunOptions, {"gsd": 0.0}, "gsd 0.0 must be above 0"),
        (TrainRunOptions, {"gsd": -0.5}, "gsd -0.5 must be above 0"),
        (TrainRunOptions, {"gsd": float("nan")}, "gsd nan must be above 0"),
        (TrainRunOptions, {"val_share": 1.0}, "val_share 1.0"),
        (TrainRunOptions, {"val_share": -0.001}, "val_share -0.001"),
        (TrainRunOptions, {"average": 1.0}, "average 1.0"),
        (TrainRunOptions, {"average": -0.1}, "average -0.1"),
        (TrainRunOptions, {"rate": 0.0}, "rate 0.0"),
        (TrainRunOptions, {"rate": float("inf")}, "rate inf"),
        (TrainRunOptions, {"rate": float("nan")}, "rate nan"),
        (TrainRunOptions, {"clip": 0.0}, "clip 0.0"),
        (TrainRunOptions, {"clip": float("inf")}, "clip inf"),
        (TrainRunOptions, {"start": "best.pt", "pretrained": True}, "pretrained and start exclude each other"),
        (TrainRunOptions, {"every": 0}, "every 0 must be at least 1"),
        (TuneOptions, {"every": -1}, "every -1 must be at least 0"),
        (TuneOptions, {"trials": 0}, "trials 0 must be at least 1"),
        *(
            (TuneOptions, {name: least - 1}, f"{name} {least - 1} must be at least {least}")
            for name, least in TrainOptions.LEAST.items()
            if name != "every"
        ),
        (TrainRunOptions, {"gsd": float("inf")}, "gsd inf must be above 0, and finite"),
        (TrainRunOptions, {"weight_decay": -1e-9}, "weight_decay -1e-09 must be at least 0"),
        (TrainRunOptions, {"encoder_rate": -0.5}, "encoder_rate -0.5 must be at least 0"),
        (TrainRunOptions, {"encoder_rate": float("inf")}, "encoder_rate inf must be at least 0, and finite"),
        (FinetuneOptions, {"statistics_batches": 0}, "statistics_batches 0 must be at least 1"),
        (TuneOptions, {"first_trials": -1}, "first_trials -1 must be at least 0"),
        (TuneOptions, {"rates": (0.0, 1.0)}, "rates 0:1 must be least and greatest"),
        (TuneOptions, {"rates": (0.02, 0.01)}, "rates 0.02:0.01 must be least and greatest"),
        (TuneOptions, {"weight_decays": (-1.0, 1.0)}, "weight_decays -1:1"),
        (TuneOptions, {"encoder_rates": (0.1, float("inf"))}, "encoder_rates 0.1:inf"),
        (TuneOptions, {"encoder_rates": (float("nan"), 1.0)}, "encoder_rates nan:1"),
        (TuneOptions, {"batches": ()}, "batches must name one at least"),
        (TuneOptions, {"batches": (4, 0)}, "batches 0 must be at least 1"),
        (TuneOptions, {"losses": ()}, "losses must name one at least"),
        (TuneOptions, {"losses": ("hinge",)}, "losses 'hinge' is not one of bce-dice"),
        (CollectionOptions, {"gsd": 0.0}, "gsd 0.0"),
    ],
)
def test_inherited_options_are_checked_too(kind, settings, words):
    with pytest.raises(BadOption, match=words):
        kind(**settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (TrainRunOptions, dict(TrainOptions.LEAST)),
        (TuneOptions, {**TrainOptions.LEAST, "every": 0, "trials": 1}),
        (FinetuneOptions, {"steps": 4, "frozen_steps": 4}),  # which trains the decoder alone
        (FinetuneOptions, {"steps": 4, "frozen_steps": 0}),
        (FinetuneOptions, {"steps": 4, "frozen_steps": 3, "whole_rate": 1.0}),
        (FinetuneOptions, {"statistics": 0.0, "sure": 1.0}),
        (FinetuneOptions, {"statistics": 1.0, "sure": 0.0}),
        (TrainRunOptions, {"size": 1, "gsd": 1e-3, "tile_size": 1}),
        (TrainRunOptions, {"val_share": 0.0, "average": 0.0, "seed": (1 << 63) - 1}),
        (TrainRunOptions, {"start": "best.pt", "pretrained": False}),
        (TrainRunOptions, {"start": None, "pretrained": True}),
        (TrainRunOptions, {"encoder_rate": 0.0, "weight_decay": 0.0}),
        (TuneOptions, {"rates": (0.01, 0.01), "first_trials": 0, "batches": (1,)}),
        (FinetuneOptions, {"statistics_batches": 1}),
    ],
)
def test_limits_of_options_lie_within_them(kind, settings):
    options = kind(**settings)
    assert {name: getattr(options, name) for name in settings} == settings


def test_classes_of_a_checkpoint_need_no_name():
    assert FinetuneOptions(values=(9, 3)).classes == ()


def test_options_that_a_command_overrides_keep_their_kind():
    base = {each.name: each.type for each in fields(TrainRunOptions)}
    for kind in (FinetuneOptions, TuneOptions):
        assert {each.name: each.type for each in fields(kind) if each.name in base} == base


def test_a_seed_that_torch_cannot_take_is_refused():
    with pytest.raises(BadOption, match="seed 9223372036854775808 must be less"):
        TrainOptions(seed=1 << 63)
