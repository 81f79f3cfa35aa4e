"""`finetune`: a trained network trained further, on labels of one's own or on a target that nobody labelled."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geochange.datasets.splits import FEWEST_CELLS
from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.networks.checkpoint import About, Checkpoint, load_checkpoint, load_tensors
from geochange.detectors.networks.contract import Network
from geochange.engine.progress import Listener, Relay, Silent
from geochange.errors import BadOption
from geochange.files import scratch_beside, write_whole
from geochange.learning.finetuning import adapt_statistics, adapted_about, pseudo_label, transfer
from geochange.learning.freezing import encoder_scales
from geochange.learning.material import (
    Material,
    collection_options,
    colours_of,
    gather,
    make_samples,
    require_labels,
    sample_size,
    training_gsd,
)
from geochange.learning.options import FinetuneOptions, TrainOptions
from geochange.learning.ranks import here
from geochange.learning.run_options import parse_all_training_data
from geochange.learning.samples import collate, measure_normalisation
from geochange.learning.scoring import MERITS, ScoringOptions, merit_name, pool_scores, score_items
from geochange.learning.training import BEST, HISTORY, LAST, Anchor, require_possible
from geochange.parsing import parsing
from geochange.pipeline.options import choose_options
from geochange.pipeline.run_folder import RECORD, RunFolder
from geochange.pipeline.train import (
    FROZEN,
    LABELS,
    PSEUDO,
    STATISTICS,
    Trained,
    calibrate_best,
    first_record,
    fit_with_board,
    folder_of,
    identity_of,
    outcome,
    require_folder,
)
from geochange.redaction import redact
from geochange.review.material import ReviewMaterial, write_material
from geochange.review.saved import SavedReview

KEEP_WITH_REVIEWS = (
    4.0  # of `keep`: after 100 decisions, F1 of a synthetic scene was 0.48 with 0, 0.92 with 1, 0.94 with 4
)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the trainings of a run."""

    folder: Path
    done: int = 0
    """Steps of the parts before it."""


@dataclass(frozen=True, slots=True)
class _Finetuning:
    """What stays the same while a checkpoint is fine-tuned."""

    folder: Path
    start: Checkpoint
    material: Material
    options: FinetuneOptions
    listener: Listener
    anchor: Anchor | None = None

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
        if not self.material.held_out:
            return {}
        about, network = checkpoint.about, checkpoint.build()
        options = ScoringOptions(gsd=self.options.gsd, temperature=about.temperature)
        items = (
            item for each in self.material.held_out for item in score_items(network, each, about.normalisation, options)
        )
        return pool_scores(items).figures(about.thresholds.get("default", 0.5), self.options.seed)


def finetune(
    data: Sequence[str | os.PathLike[str]] | None,
    out: str | os.PathLike[str],
    options: FinetuneOptions | None = None,
    *,
    review: Sequence[str | os.PathLike[str]] = (),
    remote: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> Trained:
    """Train a trained network further.

    With labels, the decoder is trained first and then all of the network, at a smaller rate; for other bands or
    classes, weights that fit are taken over. Without labels (`options.unlabelled`), normalisation layers take on
    statistics of the target, then the network is trained on its own confident labels of the target from varied views.
    Where labels are held out, run.json has their scores before and after, and a notice reports both.

    Reviews give labels where somebody has decided, and nowhere else; some of the cells that were looked at are held
    out.

    OUT holds what `train` leaves; with `unlabelled` also statistics.pt and pseudo-labels/, with reviews labels/.

    Args:
        data: as for `train`; with --unlabelled folders A and B, tables, or the dates of one scene.
        out: folder of the run.
        review: a run of `detect` that was reviewed, whose decisions are labels, beside DATA or without; may be given
            again.
        remote: read images of reviewed runs over the network where the run did.
        options: how it is trained; `start` is the checkpoint to begin with.
        overwrite: replace what an earlier run left.
        resume: go on with the same run, which was interrupted.
        listener: receives each update, the figures of each epoch, and notices.
        settings: options by name, in place of those in `options`.

    Raises:
        OutputInTheWay: OUT holds a run already, or one of other data or options.
        BadOption: options do not fit each other, the checkpoint or the data.
        UnreadableInput: an image or the checkpoint is broken or missing.
        NothingValid: without labels, the network is sure of no change in the target.
    """
    options, began = choose_options(FinetuneOptions, options, settings), time.perf_counter()
    listener = listener or Silent()
    if options.start is None:
        raise BadOption("fine-tuning begins with a checkpoint; name it with --from")
    if here()[1] > 1:
        raise BadOption("fine-tuning runs in one process; start it without torchrun")
    if review and options.unlabelled:
        raise BadOption("reviews are labels; leave out --unlabelled, or --review")
    if not (review or data):
        raise BadOption("there is nothing to train on; give folders or tables of labelled pairs, or --review")
    start = load_checkpoint(find_checkpoint(options.start))
    warmup = min(options.warmup, options.steps // 10)
    options = replace(options, classes=options.classes or start.about.classes, warmup=warmup)
    sources = parse_all_training_data(data, unlabelled=options.unlabelled) if data else []
    folder = folder_of("finetune", out, sources, options)
    saved = [SavedReview.open(Path(each), remote=remote) for each in review]
    with folder.owned(), scratch_beside(folder.out) as scratch:
        saved = _as_begun(saved, folder) if resume and saved else saved
        identity = identity_of(sources, options) | ({"reviews": [each.identity() for each in saved]} if saved else {})
        require_folder(folder, identity, resume=resume, overwrite=overwrite)
        reviewed = _write_reviews(saved, scratch, options)
        material = _material(sources, options, start, reviewed)
        names = [*(each.path.name for each in sources), *(each.run.out.name for each in saved)]
        network, about, fresh = _begin(material, options, start, names)
        require_labels(material, options, start, "" if sources else "keep or draw at least one, and reject one")
        require_possible(options, material.held_out)
        record = first_record(folder, identity, material, network, about, options.start)
        record |= {"fresh_weights": list(fresh), "reviews": [each.record for each in reviewed]}
        folder.start(record, overwrite=overwrite)
        material = _moved(material, scratch, folder.out / LABELS)
        _say(reviewed, options, listener)
        if fresh:
            listener.notice(
                f"{len(fresh)} of {len(network.state_dict())} weights do not fit the checkpoint's, and are new"
            )
        comparable = not fresh and about.bands == start.about.bands
        anchor = _anchor(start, options, reviews=bool(saved)) if comparable else None
        run = _Finetuning(folder.out, start, material, options, listener, anchor)
        before = run.score(start) if comparable else {}
        best_part = (_adapt if options.unlabelled else _supervise)(run, network, about)
        after = run.score(load_checkpoint(folder.out / BEST))
        steps = {"before": before, "after": after}
        if comparable and saved and not material.held_out:
            _keep_thresholds(run)
        if options.unlabelled:
            steps["statistics"] = run.score(load_checkpoint(folder.out / STATISTICS))
        record |= outcome_of(folder.out, best_part, time.perf_counter() - began) | {"held_out_scores": steps}
        folder.write(record)
    _compare(before, after, listener)
    return Trained(folder.out, record)


def _anchor(start: Checkpoint, options: FinetuneOptions, *, reviews: bool) -> Anchor | None:
    """Return what is kept where nothing is labelled: decisions lie where something was found, and tell of no more."""
    weight = options.keep if options.keep is not None else KEEP_WITH_REVIEWS * reviews
    return Anchor(start.build().eval().requires_grad_(False), weight) if weight > 0 and not options.unlabelled else None


def _as_begun(saved: Sequence[SavedReview], folder: RunFolder) -> list[SavedReview]:
    """Return reviews as they were when a run began, without what has been decided since."""
    with parsing(str(folder.out / RECORD), "the record of a run of `geochange finetune`"):
        begun = json.loads((folder.out / RECORD).read_text(encoding="utf-8"))["reviews"]
        return [each.until(int(then["actions"])) for each, then in zip(saved, begun, strict=True)]


def _write_reviews(saved: Sequence[SavedReview], folder: Path, options: FinetuneOptions) -> list[ReviewMaterial]:
    """Write the labels of reviews, each in a folder of its own."""
    for each in saved:
        if each.run.classes != options.classes:
            raise BadOption(
                f"the review of {each.run.out} is of {', '.join(each.run.classes)}, the training of "
                f"{', '.join(options.classes)}; give --classes {','.join(each.run.classes)} to train for its classes"
            )
    share = 0.0 if options.val is not None else options.val_share
    return [
        write_material(folder / str(number), each, share=share, bands=options.bands)
        for number, each in enumerate(saved)
    ]


def _moved(material: Material, scratch: Path, folder: Path) -> Material:
    """Move the labels of reviews into the folder of the run; return the material that reads them there."""
    names = {}
    for path in sorted(scratch.rglob("*.tif")):
        place = folder / path.relative_to(scratch)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
        names[str(path)] = str(place)
    training, held_out = (
        tuple(each.with_labels(names) for each in part) for part in (material.training, material.held_out)
    )
    return replace(material, training=training, held_out=held_out)


def _say(reviewed: Sequence[ReviewMaterial], options: FinetuneOptions, listener: Listener) -> None:
    """Say what is not learnt from, and what is not scored."""
    if undecided := sum(each.record["undecided"] for each in reviewed):
        listener.notice(f"{undecided} changes in cells that were looked at are undecided or unsure: they are no labels")
    if reviewed and options.val is None and options.val_share > 0 and not any(each.held_out for each in reviewed):
        listener.notice(
            f"no cell is held out, since fewer than {FEWEST_CELLS} were looked at, or too few hold changes: "
            "the result is not scored"
        )


def _material(
    sources: Sequence[Any], options: FinetuneOptions, start: Checkpoint, reviewed: Sequence[ReviewMaterial]
) -> Material:
    """Gather data; normalisation is the checkpoint's, unless it is for other bands, or the target is not labelled."""
    how = replace(collection_options(options, start), values=None, ignore=(), label_column=None, dated=False)
    parts = [each.collections(how) for each in reviewed]
    material = gather(sources, options, start, (tuple(each for each, _ in parts), tuple(each for _, each in parts)))
    colours = colours_of(material.training[0].items[0].pair, options.bands)
    if len(colours) == len(start.about.bands) and not options.unlabelled:
        return material
    normalisation, value_range = measure_normalisation(material.training)
    return replace(material, normalisation=normalisation, value_range=value_range)


def _begin(
    material: Material, options: FinetuneOptions, start: Checkpoint, names: Sequence[str]
) -> tuple[Network, About, tuple[str, ...]]:
    """Build the network to train; return it, what its checkpoints hold, and which weights are new."""
    import torch

    pair = material.training[0].items[0].pair
    colours = colours_of(pair, options.bands)
    if options.unlabelled and (len(colours), options.classes) != (len(start.about.bands), start.about.classes):
        raise BadOption(
            f"without labels the target must have the checkpoint's {len(start.about.bands)} bands and its classes "
            f"{', '.join(start.about.classes)}; it has {len(colours)} bands: pick them with --bands"
        )
    torch.manual_seed(options.seed)
    moved = transfer(start, len(colours), options.classes)
    if not moved.network.supervised:
        raise BadOption(f"{start.about.network} is trained without labels; go on with `geochange train --from`")
    if moved.network.dates not in (None, len(pair.dates)):
        raise BadOption(
            f"{start.about.network} compares {moved.network.dates} dates, {pair.name} has {len(pair.dates)}"
        )
    sample_size(options, moved.network)
    about = replace(
        start.about,
        options={**start.about.options, "bands": len(colours), "classes": options.classes},
        bands=colours,
        normalisation=material.normalisation,
        value_range=material.value_range,
        gsd=training_gsd(material, options) or start.about.gsd,
        thresholds={},
        temperature=1.0,
        metrics={},
        trained_on=redact(", ".join([start.about.trained_on, *names])),
    )
    return moved.network, about, moved.fresh


def _supervise(run: _Finetuning, network: Network, about: About) -> Part:
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
        for name in (BEST, LAST, HISTORY):
            write_whole(run.folder / name, (run.folder / FROZEN / name).read_bytes())
    if run.material.held_out:
        calibrate_best(run.folder / BEST, run.material, run.options, run.listener)
    return best_part


def _keep_better(run: _Finetuning, first: int) -> Part:
    """Keep the better one of both parts' best checkpoints, by held-out labels; of equals the first."""
    second = Part(run.folder, done=first)
    if not first or not run.material.held_out:
        return second
    bests = [load_checkpoint(folder / BEST) for folder in (run.folder / FROZEN, run.folder)]
    name = merit_name(bests[1].about.metrics)
    scores = [best.about.metrics[name] for best in bests]
    if scores[0] < scores[1]:
        return second
    bests[0].save(run.folder / BEST)
    run.listener.notice(
        f"best.pt is of the first {first} steps, with the encoder as it was: {MERITS[name]} {scores[0]:.4f} on "
        f"held-out labels, against {scores[1]:.4f} of all that came after"
    )
    return Part(run.folder / FROZEN)


def _adapt(run: _Finetuning, network: Network, about: About) -> Part:
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
    _keep_thresholds(run)
    return Part(run.folder)


def _keep_thresholds(run: _Finetuning) -> None:
    """Keep the thresholds of the start: without held-out labels none can be chosen."""
    best = load_checkpoint(run.folder / BEST)
    replace(best, about=adapted_about(best.about, run.start)).save(run.folder / BEST)


def outcome_of(folder: Path, best_part: Part, seconds: float) -> dict[str, Any]:
    """Return what run.json holds at the end."""
    state = load_tensors(best_part.folder / LAST)
    history = [{**row, "step": row["step"] + best_part.done} for row in state["history"]]
    return outcome(history, state["best_epoch"], state["step"] + best_part.done, folder, seconds)


def _compare(before: Mapping[str, float], after: Mapping[str, float], listener: Listener) -> None:
    if not before or not after:
        return
    name = merit_name({each: after[each] for each in before if each in after})
    what = MERITS[name]
    change = f"{what} on held-out labels, at each one's threshold: {before[name]:.4f} before, {after[name]:.4f} after"
    if after[name] < before[name]:
        listener.notice(f"{change}: the checkpoint became worse; keep the one that it began with, or try other options")
    else:
        listener.notice(change)
