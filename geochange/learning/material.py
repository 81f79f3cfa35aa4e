"""Material of a training: labelled pairs, some of them held out, and the network that fits them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Any, TypeAlias

import numpy as np
import rasterio

from geochange.datasets.balance import require_classes
from geochange.datasets.collection import Collection, Item, matched, open_collection, open_images
from geochange.datasets.listings import LabelledPair, is_table
from geochange.datasets.options import CollectionOptions, DataOptions
from geochange.datasets.splits import divide_scene
from geochange.datasets.variation import parse_variation
from geochange.declarations import parse_option
from geochange.detectors.networks.checkpoint import About, Checkpoint, Normalisation, use_pretrained_encoder
from geochange.detectors.networks.contract import Network
from geochange.detectors.networks.encoder_weights import load_encoder_weights
from geochange.detectors.networks.registry import build_network, network_class
from geochange.engine.progress import Listener
from geochange.errors import BadOption, BandMismatch, GeochangeError
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import TrainingData, parse_network_options, parse_training_data
from geochange.learning.samples import SampleOptions, TrainingSamples, measure_normalisation
from geochange.learning.scoring import scene_of
from geochange.parsing import parsing
from geochange.redaction import redact
from geochange.scenes.options import PHYSICAL, STORED
from geochange.scenes.scene import open_file

SAMPLE_SIZE = 256  # pixels
DEFAULT_NETWORK = "attention-net"


@dataclass(frozen=True, slots=True)
class Material:
    """What a network is trained and scored on."""

    training: tuple[Collection, ...]
    held_out: tuple[Collection, ...]
    left_out: Mapping[str, str]
    """Name of each broken item -> why."""
    normalisation: Normalisation
    value_range: tuple[float, float]
    folds: tuple[frozenset[str], ...] = ()
    """Scenes of each fold, where every scene is to be held out once; none then are held out for good."""

    def fold(self, number: int) -> Material:
        """Return the material with one of the folds held out."""
        held = self.folds[number]
        training = _part(self.training, lambda item: scene_of(item.pair.name) not in held)
        held_out = _part(self.training, lambda item: scene_of(item.pair.name) in held)
        return replace(self, training=tuple(filter(len, training)), held_out=tuple(filter(len, held_out)), folds=())

    @property
    def matched(self) -> bool:
        """Whether dates were brought to each scene's first."""
        return any(each.matching for each in self.training)


def uses_labels(options: TrainRunOptions, start: Checkpoint | None = None) -> bool:
    """Return whether a network is trained with labels: some never are."""
    return not options.unlabelled and bool(network_class(_name_of(options, start)).supervised)


def _name_of(options: TrainRunOptions, start: Checkpoint | None) -> str:
    return options.network or (DEFAULT_NETWORK if start is None else start.about.network)


Divided: TypeAlias = tuple[tuple[Collection, ...], tuple[Collection, ...]]
"""Collections to train on, and held-out ones."""


def gather(
    sources: Sequence[TrainingData],
    options: TrainRunOptions,
    start: Checkpoint | None = None,
    divided: Divided = ((), ()),
) -> Material:
    """Open the data, leave out what is broken where that is wanted, and hold some out.

    Args:
        sources: folders and tables.
        options: how they are read.
        start: the checkpoint that training begins with.
        divided: collections that are there already.

    Raises:
        BadOption: nothing is left to train on, or pixel sizes are not known.
        BandMismatch: folders differ in their number of bands.
        UnreadableInput: a file is broken or missing.
    """
    held = [] if options.val is None else [parse_training_data(options.val)]
    labelled = uses_labels(options, start)
    how = collection_options(options, start)
    opened, left_out = _open_all(sources, options, replace(how, labelled=labelled))
    folds = draw_folds(opened, options) if labelled and not any(map(len, divided[1])) else ()
    held_out: tuple[Collection, ...] = ()
    if folds:
        opened = _part(opened, _may_train)
    elif labelled:
        opened, held_out = split(opened, options)
    opened, held_out = (*opened, *divided[0]), (*held_out, *divided[1])
    if held:
        given, left_out_there = _open_all(held, options, how)
        held_out, left_out = tuple(_held_out_of(each) for each in given), left_out | left_out_there
    _require_alike((*opened, *held_out))
    if not any(map(len, opened)):
        raise BadOption(f"no labelled pair is left to train on in {', '.join(str(each.path) for each in sources)}")
    opened, held_out = (tuple(each for each in part if len(each)) for part in (opened, held_out))
    if _wants_matching((*sources, *held), options, start, labelled=labelled):
        opened, held_out = tuple(map(matched, opened)), tuple(map(matched, held_out))
    if start is None:
        normalisation, value_range = measure_normalisation(opened)
    else:
        normalisation, value_range = start.about.normalisation, start.about.value_range
    return Material(opened, held_out, left_out, normalisation, value_range, folds)


def _wants_matching(
    sources: Sequence[TrainingData], options: TrainRunOptions, start: Checkpoint | None, *, labelled: bool
) -> bool:
    """Return whether to match dates; raise BadOption where they cannot be, or were not for a checkpoint."""
    folders = [each.path for each in sources if not (each.dates or is_table(each.path))]
    if start is not None:
        if options.match_dates not in (None, start.about.matched):
            raise BadOption(f"{options.start} was trained {'with' if start.about.matched else 'without'} matched dates")
        wanted = start.about.matched
    elif options.match_dates is None:
        wanted = not labelled and not folders and not options.unlabelled
    else:
        wanted = options.match_dates
    if wanted and folders:
        raise BadOption(
            f"dates are matched over whole scenes; {folders[0]} is a folder of images: list them in a table"
        )
    return wanted


def require_labels(
    material: Material,
    options: TrainRunOptions,
    listener: Listener,
    start: Checkpoint | None = None,
    advice: str = "",
) -> None:
    """Refuse data in which nothing is unchanged, or nothing changed; name the classes that do not occur.

    Args:
        material: all of it.
        options: of the training.
        listener: receives the names.
        start: the checkpoint that training begins with.
        advice: what to do about it; empty: as for labels that are stored.

    Raises:
        BadOption: the message names the classes.
    """
    if not uses_labels(options, start) or collection_options(options, start).dated:
        return
    if missing := require_classes(material.training, advice):
        listener.notice(f"no pixel of the training data is labelled {' or '.join(missing)}: it will not be found")


def collection_options(options: TrainRunOptions, start: Checkpoint | None) -> CollectionOptions:
    """Return how collections are read for a training."""
    own: Mapping[str, Any] = options.network_options if start is None else start.about.options
    return CollectionOptions(
        **{each.name: getattr(options, each.name) for each in fields(DataOptions)},
        dated=parse_option("option dated", str(own.get("dated", "false")), bool),
        objects=bool(network_class(_name_of(options, start)).objects),
        as_stored=start is not None and start.about.values == STORED,
    )


def _open_all(
    sources: Sequence[TrainingData], options: TrainRunOptions, how: CollectionOptions
) -> tuple[tuple[Collection, ...], dict[str, str]]:
    """Open folders or tables; with `skip_bad`, read all of it once, and return what is broken and why."""
    opened, broken = [], {}

    def leave_out(name: str, error: GeochangeError) -> None:
        if not options.skip_bad:
            raise error
        broken[name] = str(error)

    for each in sources:
        sized = replace(how, gsd=each.gsd)
        if each.dates:
            collection = open_images(each.dates, sized)
        else:
            collection = open_collection(each.path, sized, leave_out=leave_out)
        if options.gsd is not None and collection.gsd is None:
            raise BadOption(f"gsd {options.gsd:g} needs the pixel size of {each.path}: give it as {each.path}@GSD")
        opened.append(drop_broken(collection, leave_out) if options.skip_bad else collection)
    return tuple(opened), broken


def drop_broken(collection: Collection, leave_out: Callable[[str, GeochangeError], None]) -> Collection:
    """Read every item once; return the collection without those that cannot be read.

    Samples are drawn by number, also in other processes, so what they are drawn from must not change later.
    """
    sound = []
    for index, item in enumerate(collection.items):
        try:
            collection.read(index)
        except GeochangeError as error:
            leave_out(item.name, error)
        else:
            sound.append(index)
    return collection.part(sound)


def split(
    collections: Sequence[Collection], options: TrainRunOptions
) -> tuple[tuple[Collection, ...], tuple[Collection, ...]]:
    """Return training and held-out collections: by the data's own split, else by a seeded share of the scenes.

    Tiles of one scene stay together; see `scene_of`. Of a single large scene, blocks are held out behind a gap; see
    `divide_scene`. Test data are never used.
    """
    training = _part(collections, _may_train)
    held_out = _part(collections, lambda item: item.pair.split == "val")
    if options.val is not None or any(map(len, held_out)) or options.drawn_share == 0:
        return training, held_out
    pairs = [(each, item.pair) for each in training for item in each.items]
    if len({pair for _, pair in pairs}) == 1 == len(list(filter(len, training))):
        return _split_scene(pairs[0][0], options)
    scenes = sorted({scene_of(pair.name) for _, pair in pairs})
    count = min(max(1, round(options.drawn_share * len(scenes))), len(scenes) - 1)
    drawn = np.random.default_rng(options.seed).permutation(len(scenes))[: max(count, 0)]
    held = {scenes[k] for k in drawn}
    return (
        _part(training, lambda item: scene_of(item.pair.name) not in held),
        _part(training, lambda item: scene_of(item.pair.name) in held),
    )


def draw_folds(collections: Sequence[Collection], options: TrainRunOptions) -> tuple[frozenset[str], ...]:
    """Divide scenes into `options.folds` seeded parts; none where data have a split of their own, or are one scene."""
    items = [item for each in collections for item in each.items]
    if not options.folds or options.val is not None or any(item.pair.split == "val" for item in items):
        return ()
    scenes = sorted({scene_of(item.pair.name) for item in items if _may_train(item)})
    count = min(options.folds, len(scenes))
    drawn = [scenes[k] for k in np.random.default_rng(options.seed).permutation(len(scenes))]
    return tuple(frozenset(drawn[k::count]) for k in range(count)) if count > 1 else ()


def _may_train(item: Item) -> bool:
    return item.pair.split in (None, "train")


def _split_scene(
    collection: Collection, options: TrainRunOptions
) -> tuple[tuple[Collection, ...], tuple[Collection, ...]]:
    pair, tiles = collection.items[0].pair, [item.tile for item in collection.items]
    parts = divide_scene(tiles, options.drawn_share, options.seed, options.tile_size)
    training, held_out = (replace(collection, items=tuple(Item(pair, tile) for tile in part)) for part in parts)
    return (training,), (held_out,)


def _held_out_of(collection: Collection) -> Collection:
    """Return the validation split of data that have splits, else all."""
    chosen = collection.of_split("val")
    return chosen if len(chosen) else collection


def _part(collections: Sequence[Collection], wanted: Callable[[Item], bool]) -> tuple[Collection, ...]:
    return tuple(each.part([k for k, item in enumerate(each.items) if wanted(item)]) for each in collections)


def _require_alike(collections: Sequence[Collection]) -> None:
    """Raise BandMismatch or BadOption where folders differ in bands or dates."""
    firsts = [each.items[0].pair for each in collections if len(each)]
    counts = {first.dates[0]: colours_of(first, None) for first in firsts}
    for first in firsts[1:]:
        one, other = firsts[0].dates, first.dates
        if collections[0].options.bands is None and len(counts[one[0]]) != len(counts[other[0]]):
            raise BandMismatch(
                f"{one[0]} has {len(counts[one[0]])} bands, {other[0]} has {len(counts[other[0]])}; pick with --bands"
            )
        if len(one) != len(other):
            raise BadOption(f"{firsts[0].name} has {len(one)} dates, {first.name} has {len(other)}; train on one kind")


def colours_of(pair: LabelledPair, bands: tuple[int, ...] | None) -> tuple[str, ...]:
    """Return what each band is: its colour where the file names it, else its number.

    Args:
        pair: whose first date is asked.
        bands: that are used; None: those that the pair is opened with, else all.

    Raises:
        BandMismatch: there is no such band.
    """
    opened_with = None if pair.opening is None else pair.opening.options.bands
    source = open_file(pair.dates[0], bands=bands or opened_with)
    colours = dict(zip(source.colours or (), ("red", "green", "blue"), strict=False))
    return tuple(colours.get(band, f"band {band}") for band in source.bands)


def described_bands(pair: LabelledPair, bands: tuple[int, ...] | None) -> tuple[str, ...]:
    """Return what each band is called in the first date's file; as `colours_of` where it has no name there."""
    path, colours = pair.dates[0], colours_of(pair, bands)
    with parsing(path, "a raster"), rasterio.open(path) as dataset:
        numbers = bands or tuple(range(1, len(colours) + 1))
        names = [dataset.descriptions[number - 1] for number in numbers]
    return tuple(name or colour for name, colour in zip(names, colours, strict=True))


def make_network(
    material: Material, options: TrainRunOptions, start: Checkpoint | None, names: Sequence[str]
) -> tuple[Network, About, str | None]:
    """Build the network to train; return it, what its checkpoints hold, and where its first weights came from.

    Raises:
        BadOption: the options do not fit the network, or the network the data.
    """
    import torch

    pair = material.training[0].items[0].pair
    colours = colours_of(pair, options.bands)
    torch.manual_seed(options.seed)
    if start is None:
        name = _name_of(options, start)
        own = parse_network_options(name, options.network_options)
        own |= {"bands": len(colours), "classes": options.classes}
        network: Network = build_network(name, own)
        origin = _load_encoder(network, options, pair)
    else:
        _require_fit(start, options, colours)
        name, own, network, origin = start.about.network, dict(start.about.options), start.build(), options.start
    if network.dates not in (None, len(pair.dates)):
        raise BadOption(f"{name} compares {network.dates} dates, {pair.name} has {len(pair.dates)}")
    sample_size(options, network)
    about = About(
        network=name,
        options=own,
        bands=colours,
        normalisation=material.normalisation,
        value_range=material.value_range,
        gsd=training_gsd(material, options),
        matched=material.matched,
        trained_on=redact(", ".join(names)),
        values=PHYSICAL if start is None else start.about.values,
        licence=options.licence or ("" if start is None else start.about.licence),
    )
    return network.train(), about, origin


def _require_fit(start: Checkpoint, options: TrainRunOptions, colours: Sequence[str]) -> None:
    about = start.about
    if options.network not in (None, about.network) or options.network_options:
        raise BadOption(f"{options.start} is of {about.network}; leave out --network and --network-option")
    if about.classes != options.classes:
        raise BadOption(
            f"{options.start} has the classes {', '.join(about.classes)}, not {', '.join(options.classes)}; "
            "`geochange finetune` transfers to others"
        )
    if len(about.bands) != len(colours):
        raise BandMismatch(
            f"{options.start} was trained with {len(about.bands)} bands, the data have {len(colours)}; pick with "
            "--bands, or `geochange finetune` transfers to others"
        )


def _load_encoder(network: Network, options: TrainRunOptions, pair: LabelledPair) -> str | None:
    if options.encoder_weights is not None:
        bands = described_bands(pair, options.bands)
        return load_encoder_weights(network, options.encoder_weights, bands, options.encoder_bands)
    wanted = hasattr(network.options, "encoder") if options.pretrained is None else options.pretrained
    return use_pretrained_encoder(network) if wanted else None


def training_gsd(material: Material, options: TrainRunOptions) -> tuple[float, float] | None:
    """Return the smallest and largest pixel of samples, in metres; None where that is not known."""
    sizes = [each.gsd for each in material.training] if options.gsd is None else [options.gsd]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    smallest, largest = parse_variation(options.augmentation)[0].scale
    return min(known) / largest, max(known) / smallest


def sample_size(options: TrainRunOptions, network: Network) -> int:
    """Return rows and columns of a training sample.

    Raises:
        BadOption: it is not a multiple of the network's stride.
    """
    if options.size is None:
        return ceil(SAMPLE_SIZE / network.stride) * network.stride
    if options.size % network.stride:
        raise BadOption(f"size {options.size} must be a multiple of {network.stride} for {network.name}")
    return options.size


def make_samples(material: Material, options: TrainRunOptions, network: Network) -> TrainingSamples:
    """Return the samples that the network is trained on."""
    pair = len(material.training[0].items[0].pair.dates) == 2
    geometry, look = parse_variation(options.augmentation)
    undirected = pair and len(options.classes) == 1  # what became what, and when, has a direction
    drawn = SampleOptions(
        size=sample_size(options, network),
        gsd=options.gsd,
        seed=options.seed,
        geometry=geometry,
        look=replace(look, swap=look.swap and undirected),
        balanced=options.balanced,
    )
    return TrainingSamples(material.training, material.normalisation, drawn)
