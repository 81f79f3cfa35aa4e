"""What changed between satellite or aerial images, as GIS layers.

The names below load what they need when they are first used, so that `import geochange` is instant. Their types stand
in `__init__.pyi`, which `make stub` writes from the declarations of options.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_HOMES = {
    "errors": (
        "BadOption BandMismatch BlockFailed ClusterFailed DiskFull GeochangeError GridMismatch NoWorkers NotFinite "
        "NothingValid OutputInTheWay OutputInUse PairsFailed SchedulerLost UnreadableInput WorkerDied WorkerUnfit"
    ),
    "scenes.options": "FrameOptions SceneOptions",
    "engine.cluster": "ClusterOptions",
    "engine.progress": "Listener",
    "detectors.models.manifest": "Manifest",
    "kinds.options": "KindOptions KindRules",
    "datasets.options": "DataOptions DescribeOptions SynthesizeOptions",
    "learning.options": "DoubtOptions FinetuneOptions TrainRunOptions TuneOptions",
    "pipeline.options": (
        "CocoOptions DetectManyOptions DetectOptions EvaluateOptions ExplainOptions ExportOptions FromToOptions "
        "FuseOptions ImportOptions RefineOptions ReviewOptions VectorizeOptions WatchOptions"
    ),
    "scenes.preflight": "Report",
    "evaluation.report": "Evaluation",
    "detectors.catalogue": "Offer",
    "pipeline.align": "Aligned align",
    "pipeline.check": "check",
    "pipeline.datasets": "DatasetsReport describe_datasets",
    "pipeline.datasets_doubts": "DoubtedLabels doubt_labels",
    "pipeline.datasets_export": "ExportedLabels export_labels",
    "pipeline.datasets_import": "Imported import_dataset",
    "pipeline.detect": "Detection detect",
    "pipeline.detect_many": "DetectedMany detect_many",
    "pipeline.detectors": "list_detectors",
    "pipeline.evaluate": "evaluate",
    "pipeline.explain": "Explained explain",
    "pipeline.export_model": "Exported export_model",
    "pipeline.finetune": "finetune",
    "pipeline.frames": "Frames extract_frames",
    "pipeline.from_to": "FromTo from_to",
    "pipeline.fuse": "Fused fuse",
    "pipeline.kinds": "WrittenKinds kinds",
    "pipeline.model_describe": "DescribedModel describe_model",
    "pipeline.open_pair": "open_pair",
    "pipeline.refine": "Refined refine",
    "pipeline.review": "Reviewed review",
    "pipeline.synthesize": "Synthesized synthesize",
    "pipeline.train": "Trained train",
    "pipeline.tune": "Tuned tune",
    "pipeline.vectorize": "WrittenLayer vectorize",
    "pipeline.watch": "Watched watch",
}
"""Module -> the names that it is home to."""

_MODULES = dict(sorted((name, f"{__name__}.{home}") for home, names in _HOMES.items() for name in names.split()))

__all__ = list(_MODULES)


class _Package(ModuleType):
    """The package: `geochange.kinds` is the function, also once the room of the same name has been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Ignore a room that the import system binds over a function; `from geochange.kinds import ...` reaches it."""
        if name not in _MODULES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'geochange' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
