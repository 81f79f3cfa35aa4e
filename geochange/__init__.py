"""What changed between satellite or aerial images, as GIS layers.

The names below load what they need when they are first used, so that `import geochange` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geochange.kinds.measure import KindOptions
    from geochange.learning.run_options import TrainRunOptions
    from geochange.pipeline.align import align
    from geochange.pipeline.check import check
    from geochange.pipeline.datasets import describe_datasets
    from geochange.pipeline.detect import Detection, detect
    from geochange.pipeline.evaluate import EvaluateOptions, evaluate
    from geochange.pipeline.explain import ExplainOptions, explain
    from geochange.pipeline.export_model import export_model
    from geochange.pipeline.finetune import FinetuneOptions, finetune
    from geochange.pipeline.from_to import FromToOptions, from_to
    from geochange.pipeline.fuse import FuseOptions, fuse
    from geochange.pipeline.kinds import classify_changes
    from geochange.pipeline.open_pair import open_pair
    from geochange.pipeline.options import DetectOptions
    from geochange.pipeline.refine import RefineOptions, refine
    from geochange.pipeline.synthesize import Synthesized, SynthesizeOptions, synthesize
    from geochange.pipeline.train import Trained, train
    from geochange.pipeline.tune import tune
    from geochange.pipeline.vectorize import VectorizeOptions, vectorize

_HOMES = {
    "align": "pipeline.align",
    "check": "pipeline.check",
    "describe_datasets": "pipeline.datasets",
    "detect": "pipeline.detect",
    "Detection": "pipeline.detect",
    "evaluate": "pipeline.evaluate",
    "EvaluateOptions": "pipeline.evaluate",
    "explain": "pipeline.explain",
    "ExplainOptions": "pipeline.explain",
    "export_model": "pipeline.export_model",
    "FinetuneOptions": "pipeline.finetune",
    "finetune": "pipeline.finetune",
    "from_to": "pipeline.from_to",
    "FromToOptions": "pipeline.from_to",
    "KindOptions": "kinds.measure",
    "classify_changes": "pipeline.kinds",
    "fuse": "pipeline.fuse",
    "FuseOptions": "pipeline.fuse",
    "open_pair": "pipeline.open_pair",
    "DetectOptions": "pipeline.options",
    "SynthesizeOptions": "pipeline.synthesize",
    "Synthesized": "pipeline.synthesize",
    "synthesize": "pipeline.synthesize",
    "RefineOptions": "pipeline.refine",
    "refine": "pipeline.refine",
    "Trained": "pipeline.train",
    "train": "pipeline.train",
    "tune": "pipeline.tune",
    "TrainRunOptions": "learning.run_options",
    "vectorize": "pipeline.vectorize",
    "VectorizeOptions": "pipeline.vectorize",
}

__all__ = [
    "DetectOptions",
    "Detection",
    "EvaluateOptions",
    "ExplainOptions",
    "FinetuneOptions",
    "FromToOptions",
    "FuseOptions",
    "KindOptions",
    "RefineOptions",
    "SynthesizeOptions",
    "Synthesized",
    "TrainRunOptions",
    "Trained",
    "VectorizeOptions",
    "align",
    "check",
    "classify_changes",
    "describe_datasets",
    "detect",
    "evaluate",
    "explain",
    "export_model",
    "finetune",
    "from_to",
    "fuse",
    "open_pair",
    "refine",
    "synthesize",
    "train",
    "tune",
    "vectorize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'geochange' has no attribute {name!r}")
    return getattr(import_module(f"geochange.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
