"""What changed between satellite or aerial images, as GIS layers.

The names below load what they need when they are first used, so that `import geochange` is instant.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geochange.datasets.options import SynthesizeOptions
    from geochange.kinds.measure import KindOptions
    from geochange.learning.options import FinetuneOptions, TrainRunOptions
    from geochange.pipeline.align import align
    from geochange.pipeline.check import check
    from geochange.pipeline.datasets import describe_datasets
    from geochange.pipeline.detect import Detection, detect
    from geochange.pipeline.evaluate import EvaluateOptions, evaluate
    from geochange.pipeline.explain import ExplainOptions, explain
    from geochange.pipeline.export_model import export_model
    from geochange.pipeline.finetune import finetune
    from geochange.pipeline.from_to import FromToOptions, from_to
    from geochange.pipeline.fuse import FuseOptions, fuse
    from geochange.pipeline.kinds import kinds
    from geochange.pipeline.open_pair import open_pair
    from geochange.pipeline.options import DetectOptions
    from geochange.pipeline.refine import RefineOptions, refine
    from geochange.pipeline.synthesize import Synthesized, synthesize
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
    "FinetuneOptions": "learning.options",
    "finetune": "pipeline.finetune",
    "from_to": "pipeline.from_to",
    "FromToOptions": "pipeline.from_to",
    "KindOptions": "kinds.measure",
    "kinds": "pipeline.kinds",
    "fuse": "pipeline.fuse",
    "FuseOptions": "pipeline.fuse",
    "open_pair": "pipeline.open_pair",
    "DetectOptions": "pipeline.options",
    "SynthesizeOptions": "datasets.options",
    "Synthesized": "pipeline.synthesize",
    "synthesize": "pipeline.synthesize",
    "RefineOptions": "pipeline.refine",
    "refine": "pipeline.refine",
    "Trained": "pipeline.train",
    "train": "pipeline.train",
    "tune": "pipeline.tune",
    "TrainRunOptions": "learning.options",
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


class _Package(ModuleType):
    """The package: `geochange.kinds` is the function, also once the room of the same name has been imported."""

    @property
    def kinds(self) -> Any:
        return __getattr__("kinds")

    @kinds.setter
    def kinds(self, room: ModuleType) -> None:
        """Ignore what the import system binds here; the room is reached by `from geochange.kinds import ...`."""


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'geochange' has no attribute {name!r}")
    return getattr(import_module(f"geochange.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
