"""Figures of a training for another board than TensorBoard: a line of JSON an epoch, as MLflow or others take them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from geochange import Listener


class OwnBoard(Listener):
    """Writes the figures of each epoch; in place of the file stands a call of MLflow, Weights & Biases, Aim ..."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def report(self, figures: Mapping[str, float]) -> None:
        """Receive an epoch: loss and scores on training batches, and `val_…` on what is held out, by name."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(figures)) + "\n")  # mlflow.log_metrics(figures, step=int(figures["step"]))

    def notice(self, text: str) -> None:
        """Receive a line that a user should know."""
        print(text)
