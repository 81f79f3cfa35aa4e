"""What changed between satellite or aerial images, as GIS layers.

The names below load what they need when they are first used, so that `import geochange` is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geochange.pipeline.align import align
    from geochange.pipeline.check import check
    from geochange.pipeline.datasets import describe_datasets
    from geochange.pipeline.detect import Detection, detect
    from geochange.pipeline.evaluate import evaluate
    from geochange.pipeline.explain import ExplainOptions, explain
    from geochange.pipeline.export_model import export_model
    from geochange.pipeline.finetune import FinetuneOptions, finetune
    from geochange.pipeline.from_to import from_to
    from geochange.pipeline.fuse import FuseOptions, fuse
    from geochange.pipeline.kind_work import KindOptions
    from geochange.pipeline.kinds import kinds
    from geochange.pipeline.open_pair import open_pair
    from geochange.pipeline.options import DetectOptions
    from geochange.pipeline.refine import RefineOptions, refine
    from geochange.pipeline.synthesize import Synthesized, SynthesizeOptions, synthesize
    from geochange.pipeline.train import Trained, train, tune
    from geochange.pipeline.train_options import TrainRunOptions
    from geochange.pipeline.vectorize import vectorize

_HOMES = {
    "align": "align",
    "check": "check",
    "describe_datasets": "datasets",
    "detect": "detect",
    "Detection": "detect",
    "evaluate": "evaluate",
    "explain": "explain",
    "ExplainOptions": "explain",
    "export_model": "export_model",
    "FinetuneOptions": "finetune",
    "finetune": "finetune",
    "from_to": "from_to",
    "KindOptions": "kind_work",
    "kinds": "kinds",
    "fuse": "fuse",
    "FuseOptions": "fuse",
    "open_pair": "open_pair",
    "DetectOptions": "options",
    "SynthesizeOptions": "synthesize",
    "Synthesized": "synthesize",
    "synthesize": "synthesize",
    "RefineOptions": "refine",
    "refine": "refine",
    "Trained": "train",
    "train": "train",
    "tune": "train",
    "TrainRunOptions": "train_options",
    "vectorize": "vectorize",
}

__all__ = [
    "DetectOptions",
    "Detection",
    "ExplainOptions",
    "FinetuneOptions",
    "FuseOptions",
    "KindOptions",
    "RefineOptions",
    "SynthesizeOptions",
    "Synthesized",
    "TrainRunOptions",
    "Trained",
    "align",
    "check",
    "describe_datasets",
    "detect",
    "evaluate",
    "explain",
    "export_model",
    "finetune",
    "from_to",
    "fuse",
    "kinds",
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
    return getattr(import_module(f"geochange.pipeline.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
