"""All scores of a result together, as the command's JSON has them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geochange.evaluation.average_precision import AveragePrecision
from geochange.evaluation.boundary_scores import BoundaryScores
from geochange.evaluation.estimate_scores import EstimateErrors
from geochange.evaluation.object_scores import ObjectScores
from geochange.evaluation.pixel_scores import PixelScores


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `geochange evaluate` finds."""

    pixels: PixelScores | None = None
    objects: ObjectScores | None = None
    average_precision: AveragePrecision | None = None
    """Of objects, where the predicted ones have scores."""

    boundaries: BoundaryScores | None = None

    estimates: EstimateErrors | None = None
    """Of sizes and places, where the predicted objects have such columns."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of the command: its five parts, None for what was not scored."""
        return {
            "pixels": self.pixels.to_dict() if self.pixels else None,
            "boundaries": self.boundaries.to_dict() if self.boundaries else None,
            "objects": self.objects.to_dict() if self.objects else None,
            "average_precision": self.average_precision.to_dict() if self.average_precision else None,
            "estimates": self.estimates.to_dict() if self.estimates else None,
        }
