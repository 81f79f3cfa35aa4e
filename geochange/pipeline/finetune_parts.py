"""What fine-tuning consists of: the decoder, then all; without labels the target's statistics, then its own labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geochange.datasets.collection import Collection
from geochange.detectors.networks.checkpoint import About, Checkpoint, load_checkpoint
from geochange.detectors.networks.contract import Network
from geochange.engine.progress import Listener, Relay
from geochange.files import write_whole
from geochange.learning.finetuning import adapt_statistics, adapted_about, pseudo_label
from geochange.learning.freezing import encoder_scales
from geochange.learning.material import Material, make_samples
from geochange.learning.options import FinetuneOptions, TrainOptions
from geochange.learning.samples import collate
from geochange.learning.scoring import MERITS, ItemScores, ScoringOptions, merit_name, pool_scores, score_items
from geochange.learning.training import BEST, CLASSES, HISTORY, LAST, Anchor
from geochange.pipeline.train import FROZEN, PSEUDO, STATISTICS, calibrate_best, fit_with_board


@dataclass(frozen=True, slots=True)
class Part:
    """One of the trainings of a run."""

    folder: Path
    done: int = 0
    """Steps of the parts before it."""


@dataclass(frozen=True, slots=True)
class Finetuning:
    """What stays the same while a checkpoint is fine-tuned."""

    folder: Path
    start: Checkpoint
    material: Material
    options: FinetuneOptions
    listener: Listener
    anchor: Anchor | None = None
    calibrated: bool = True
    """Whether the best checkpoint is calibrated on held-out labels."""

    def fit(
        self, network: Network, about: About, material: Material, folder: Path, fitting: TrainOptions, *, done: int = 0
    ) -> Network:
        """Fit, with pictures for TensorBoard, counting steps from those done before; return the averaged network."""

        def report(figures: Mapping[str, float]) -> None:
            steps = {"step": figures["step"] + done, "steps": self.options.steps}
            self.listener.report({**figures, **steps})

        folder.mkdir(parents=True, exist_ok=True)
        samples = make_samples(material, self.options, network)
        listener = Relay(self.listener, report)
        return fit_with_board(network, about, samples, material, folder, fitting, listener, self.anchor).averaged

    def score(self, checkpoint: Checkpoint) -> dict[str, float]:
        """Return figures on held-out items at the checkpoint's own threshold; none where nothing is held out."""
        held_out = self.material.training if self.material.folds else self.material.held_out
        if not held_out:
            return {}
        scores = pool_scores(self.score_items(checkpoint, held_out))
        return scores.figures(checkpoint.about.thresholds.get("default", 0.5), self.options.seed)

    def score_items(self, checkpoint: Checkpoint, collections: Sequence[Collection]) -> Iterator[ItemScores]:
        """Score items of collections."""
        network = checkpoint.build()
        options = ScoringOptions(gsd=self.options.gsd, temperature=checkpoint.about.temperature)
        for each in collections:
            yield from score_items(network, each, checkpoint.about.normalisation, options)


def supervise(run: Finetuning, network: Network, about: About) -> Part:
    """Train the decoder, then all of the network; return the part that best.pt is of."""
    options, fitting = run.options, run.options.fitting()
    scales = len(encoder_scales(network))
    first = (options.steps // 4 if options.frozen_steps is None else options.frozen_steps) if scales else 0
    if first:
        frozen = replace(fitting, steps=first, frozen=scales, patience=None, every=min(options.every, first))
        network = run.fit(network.train(), about, run.material, run.folder / FROZEN, frozen)
    if options.steps > first:
        rate = options.rate * (options.whole_rate if first else 1)
        whole = replace(fitting, steps=options.steps - first, rate=rate)
        run.fit(network.requires_grad_(True), about, run.material, run.folder, whole, done=first)
        best_part = _keep_better(run, first)
    else:
        best_part = Part(run.folder / FROZEN)
        take_over(best_part.folder, run.folder, BEST, LAST, HISTORY, CLASSES)
    if run.material.held_out and run.calibrated:
        calibrate_best(run.folder / BEST, run.material, run.options, run.listener)
    return best_part


def _keep_better(run: Finetuning, first: int) -> Part:
    """Keep the better one of both parts' best checkpoints, by held-out labels; of equals the first."""
    second = Part(run.folder, done=first)
    if not first or not run.material.held_out:
        return second
    bests = [load_checkpoint(folder / BEST) for folder in (run.folder / FROZEN, run.folder)]
    name = merit_name(bests[1].about.metrics)
    scores = [best.about.metrics[name] for best in bests]
    if scores[0] < scores[1]:
        return second
    take_over(run.folder / FROZEN, run.folder, BEST, CLASSES)
    run.listener.notice(
        f"best.pt is of the first {first} steps, with the encoder as it was: {MERITS[name]} {scores[0]:.4f} on "
        f"held-out labels, against {scores[1]:.4f} of all that came after"
    )
    return Part(run.folder / FROZEN)


def take_over(part: Path, folder: Path, *names: str) -> None:
    """Copy those of the files of a part that it has."""
    for name in names:
        if (part / name).exists():
            write_whole(folder / name, (part / name).read_bytes())


def adapt(run: Finetuning, network: Network, about: About) -> Part:
    """Train on statistics of the target, then on the network's own confident labels."""
    about = adapted_about(about, run.start)
    statistics = run.folder / STATISTICS
    samples = make_samples(run.material, run.options, network)
    size = run.options.batch
    batches = (
        collate([samples[number] for number in range(k * size, (k + 1) * size)])
        for k in range(run.options.statistics_batches)
    )
    adapt_statistics(network, batches, run.options.statistics)
    adapted = Checkpoint(about, dict(network.state_dict()))
    adapted.save(statistics)
    labelled = tuple(
        pseudo_label(adapted, each, run.folder / PSEUDO / str(place), sure=run.options.sure, gsd=run.options.gsd)
        for place, each in enumerate(run.material.training)
    )
    material = replace(run.material, training=labelled)
    run.fit(network.train(), about, material, run.folder, run.options.fitting())
    keep_thresholds(run)
    return Part(run.folder)


def keep_thresholds(run: Finetuning) -> None:
    """Keep the thresholds of the start: without held-out labels none can be chosen."""
    best = load_checkpoint(run.folder / BEST)
    replace(best, about=adapted_about(best.about, run.start)).save(run.folder / BEST)
