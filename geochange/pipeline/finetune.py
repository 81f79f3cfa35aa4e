"""`finetune`: a trained network trained further, on labels of one's own or on a target that nobody labelled."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from geochange import system
from geochange.datasets.splits import FEWEST_CELLS
from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.networks.checkpoint import About, Checkpoint, load_checkpoint, load_tensors
from geochange.detectors.networks.contract import Network
from geochange.engine.progress import Listener, Silent
from geochange.errors import BadOption
from geochange.files import scratch_beside
from geochange.learning.finetuning import transfer
from geochange.learning.material import (
    Material,
    collection_options,
    colours_of,
    gather,
    require_labels,
    sample_size,
    training_gsd,
)
from geochange.learning.options import FinetuneOptions
from geochange.learning.ranks import here
from geochange.learning.run_options import parse_all_training_data
from geochange.learning.samples import measure_normalisation
from geochange.learning.scoring import MERITS, merit_name
from geochange.learning.training import BEST, LAST, Anchor, require_possible
from geochange.open_datasets import release
from geochange.parsing import parsing
from geochange.pipeline.finetune_auto import Automatic
from geochange.pipeline.finetune_parts import Finetuning, Part, adapt, keep_thresholds, supervise
from geochange.pipeline.options import choose_options
from geochange.pipeline.run_folder import RECORD, RunFolder
from geochange.pipeline.train import (
    LABELS,
    STATISTICS,
    Trained,
    first_record,
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
        advice = "" if sources else "keep or draw at least one, and reject one"
        require_labels(material, options, listener, start, advice)
        require_possible(options, material.held_out)
        record = first_record(folder, identity, material, network, about, options.start)
        record |= {"fresh_weights": list(fresh), "reviews": [each.record for each in reviewed]}
        comparable = not fresh and about.bands == start.about.bands
        anchor = _anchor(start, options, reviews=bool(saved)) if comparable else None
        run = Finetuning(folder.out, start, material, options, listener, anchor)
        automatic = _automatic(run, about, partial(_begin, material, options, start, names), scratch, resume=resume)
        folder.start(record, overwrite=overwrite)
        run = replace(run, material=_moved(material, scratch, folder.out / LABELS))
        _say(reviewed, options, listener)
        if fresh:
            listener.notice(
                f"{len(fresh)} of {len(network.state_dict())} weights do not fit the checkpoint's, and are new"
            )
        before = run.score(start) if comparable else {}
        best_part, after = _train(run, network, about, automatic, record)
        steps = {"before": before, "after": after}
        if comparable and saved and not (material.held_out or material.folds):
            keep_thresholds(run)
        if options.unlabelled:
            steps["statistics"] = run.score(load_checkpoint(folder.out / STATISTICS))
        record |= outcome_of(folder.out, best_part, time.perf_counter() - began) | {"held_out_scores": steps}
        folder.write(record)
    _compare(before, after, listener)
    return Trained(folder.out, record)


def _automatic(
    run: Finetuning, about: About, begin: Callable[[], tuple[Network, Any, Any]], scratch: Path, *, resume: bool
) -> Automatic | None:
    return Automatic.plan(run, about, lambda: begin()[0], scratch, resume=resume) if run.options.auto else None


def _train(
    run: Finetuning, network: Network, about: About, automatic: Automatic | None, record: dict[str, Any]
) -> tuple[Part, dict[str, float]]:
    """Train; return the part that best.pt is of, and its figures on held-out labels."""
    if automatic is not None:
        return automatic.supervise(run, record)
    part = (adapt if run.options.unlabelled else supervise)(run, network, about)
    return part, run.score(load_checkpoint(run.folder / BEST))


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
    share = 0.0 if options.val is not None else options.drawn_share
    return [
        write_material(folder / str(number), each, share=share, bands=options.bands)
        for number, each in enumerate(saved)
    ]


def _moved(material: Material, scratch: Path, folder: Path) -> Material:
    """Move the labels of reviews into the folder of the run; return the material that reads them there."""
    names = {}
    release(scratch)
    for path in sorted(scratch.rglob("*.tif")):
        place = folder / path.relative_to(scratch)
        place.parent.mkdir(parents=True, exist_ok=True)
        system.replace(path, place)
        names[str(path)] = str(place)
    training, held_out = (
        tuple(each.with_labels(names) for each in part) for part in (material.training, material.held_out)
    )
    return replace(material, training=training, held_out=held_out)


def _say(reviewed: Sequence[ReviewMaterial], options: FinetuneOptions, listener: Listener) -> None:
    """Say what is not learnt from, and what is not scored."""
    if undecided := sum(each.record["undecided"] for each in reviewed):
        listener.notice(f"{undecided} changes in cells that were looked at are undecided or unsure: they are no labels")
    if reviewed and options.val is None and options.drawn_share > 0 and not any(each.held_out for each in reviewed):
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
        licence=options.licence or start.about.licence,
    )
    return moved.network, about, moved.fresh


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
