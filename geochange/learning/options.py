"""All options of training, as the command line, TOML files and the Python API take them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeAlias

from geochange.datasets.options import AugmentationOptions, DataOptions
from geochange.declarations import Options
from geochange.errors import BadOption

LossName: TypeAlias = Literal[
    "bce-dice", "cross-entropy", "bce", "dice", "focal", "lovasz", "bce-lovasz", "mse", "tversky"
]
SMOOTHED: tuple[LossName, ...] = ("bce-dice", "cross-entropy", "bce", "bce-lovasz")
WEIGHTED: tuple[LossName, ...] = (*SMOOTHED, "focal", "mse")
OptimizerName: TypeAlias = Literal["adamw", "adam", "sgd"]
ScheduleName: TypeAlias = Literal["cosine", "step", "one-cycle", "constant"]
DRAWN_SHARE, AUTOMATIC_SHARE, FOLDS = 0.15, 0.33, 3
FEWEST_RATES = 10  # of a range test
PrecisionName: TypeAlias = Literal["fp32", "bf16", "fp16"]


def require_positive(options: Options, *names: str) -> None:
    """Raise BadOption where a number is given that is not above 0, or not finite."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise BadOption(f"{name} {value} must be above 0, and finite")


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """How a network is fitted."""

    LEAST: ClassVar[Mapping[str, int]] = {
        "steps": 1, "batch": 1, "accumulate": 1, "every": 1, "patience": 1, "loaders": 0, "warmup": 0, "frozen": 0,
        "seed": 0,
    }  # fmt: skip

    steps: int = 3000
    """Updates of the weights."""

    batch: int = 8
    """Batch size, on each process."""

    accumulate: int = 1
    """Batches whose gradients are added up for one update."""

    loss: LossName = "bce-dice"
    """Loss function."""

    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """Weights of pixels in the loss: of no change, and of each class; balanced takes them from how often each occurs in
    the training data; None: all weigh the same."""

    label_smoothing: float = 0.0
    """Share of each label that the loss spreads over all labels."""

    optimizer: OptimizerName = "adamw"
    """Optimizer."""

    momentum: float = 0.9
    """Momentum of SGD."""

    rate: float = 1e-3
    """Learning rate."""

    schedule: ScheduleName = "cosine"
    """How the rate falls: as a cosine; in steps to a tenth after 60 % and to a hundredth after 85 %; one-cycle (Smith
    2018), which first rises for 30 %; or constant."""

    encoder_rate: float = 0.5
    """Learning rate of a pretrained encoder, relative to the rate of the rest."""

    frozen: int = 0
    """Scales of the encoder that keep their weights, the finest first."""

    batch_statistics: bool = True
    """Let batch normalisation measure each batch; otherwise it keeps the means and variances that it has."""

    weight_decay: float = 0.01
    """Weight decay."""

    warmup: int = 200
    """Steps over which the rate grows, before its schedule begins; at most a quarter of all, and none of one-cycle."""

    clip: float = 5.0
    """Largest norm of a gradient."""

    average: float = 0.998
    """Decay of the averaged weights, which are those that are kept."""

    precision: PrecisionName = "fp32"
    """Number format of the forward pass; fp16 needs a GPU."""

    device: str = "auto"
    """Where the network runs: cpu, cuda, cuda:1; auto takes a GPU where there is one."""

    every: int = 250
    """Validate every N steps."""

    patience: int | None = None
    """Stop after N validations without a better F1 or AP50; None: never."""

    loaders: int = 1
    """Processes that read training data."""

    seed: int = 0
    """Seed of weights and samples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, bound in self.LEAST.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise BadOption(f"{name} {value} must be at least {bound}")
        require_positive(self, "rate", "clip")
        for name in ("encoder_rate", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadOption(f"{name} {getattr(self, name)} must be at least 0, and finite")
        if not 0 <= self.label_smoothing < 1:
            raise BadOption(f"label_smoothing {self.label_smoothing} must lie in 0..1, below 1")
        if self.label_smoothing and self.loss not in SMOOTHED:
            raise BadOption(f"label_smoothing is for the losses {', '.join(SMOOTHED)}, not for {self.loss}")
        if self.class_weights is not None and self.loss not in WEIGHTED:
            raise BadOption(f"class_weights are for the losses {', '.join(WEIGHTED)}, not for {self.loss}")
        if isinstance(self.class_weights, tuple) and not all(0 < each < math.inf for each in self.class_weights):
            raise BadOption(f"class_weights {self.class_weights} must be above 0, and finite")
        if not 0 <= self.momentum < 1:
            raise BadOption(f"momentum {self.momentum} must lie in 0..1, below 1")
        if self.seed >= 1 << 63:
            raise BadOption(f"seed {self.seed} must be less than {1 << 63}")
        if not 0 <= self.average < 1:
            raise BadOption(f"average {self.average} must lie in 0..1, below 1")


@dataclass(frozen=True, kw_only=True)
class TrainRunOptions(DataOptions, AugmentationOptions, TrainOptions):
    """How `train` trains a network on labelled pairs."""

    val: str | None = None
    """Held-out pairs, DIR or DIR@GSD; None: the data's own split, or a share of its scenes."""

    val_share: float | None = None
    """Share of the scenes, or of the area of a single scene, to hold out without a split; 0 for none; None: 0.15. With
    `finetune --auto` None: each third of the scenes in turn, or a third of a single scene."""

    network: str | None = None
    """Name of the network; None: that of the checkpoint, or attention-net."""

    network_options: Mapping[str, str] = field(default_factory=dict, metadata={"flags": ("--network-option",)})
    """Option of the network; may be given again."""

    gsd: float | None = None
    """Pixel size of training samples, in metres; None: that of the images."""

    size: int | None = None
    """Side of a training sample, in pixels; None: 256, or the next multiple of the network's stride."""

    pretrained: bool | None = None
    """Begin with an encoder trained on ImageNet; by default where there is one, unless a checkpoint is given."""

    encoder_weights: str | None = field(default=None, metadata={"names": "file"})
    """File of weights for the encoder, as torchgeo and others publish them; its channels are matched by name."""

    encoder_bands: tuple[str, ...] | None = None
    """Names of the channels of these weights, in order; None: by their number, as of Sentinel-2, Landsat or NAIP."""

    licence: str | None = None
    """Licence of the weights, which the checkpoint records; None: that of the checkpoint it begins with."""

    start: str | None = field(default=None, metadata={"flags": ("--from",)})
    """Checkpoint to begin with, or a detector that has one."""

    unlabelled: bool = False
    """Use no labels; data are folders A and B, tables, or the dates of one scene."""

    match_dates: bool | None = None
    """Bring each date of a scene to the first one's mean and spread; by default where scenes have no labels."""

    balanced: bool = False
    """Draw images that hold rare classes more often."""

    skip_bad: bool = False
    """Leave out broken images, and list them, instead of stopping."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.drawn_share < 1:
            raise BadOption(f"val_share {self.val_share} must lie in 0..1, below 1")
        require_positive(self, "size", "gsd")
        if self.start is not None and self.pretrained:
            raise BadOption("pretrained and start exclude each other: weights come from one of them")
        if self.encoder_weights is not None and (self.pretrained or self.start is not None):
            raise BadOption("encoder_weights are in place of pretrained ones, or of a checkpoint's; give one of them")
        if self.encoder_bands is not None and self.encoder_weights is None:
            raise BadOption("encoder_bands name the channels of encoder_weights; give these, too")

    @property
    def drawn_share(self) -> float:
        """Share of the scenes to hold out where there is no split."""
        return DRAWN_SHARE if self.val_share is None else self.val_share

    @property
    def folds(self) -> int:
        """In how many parts scenes are divided, of which each is held out once; 0: some are held out for good."""
        return 0

    def settings(self) -> dict[str, Any]:
        """Return all options by name."""
        return asdict(self)

    def fitting(self) -> TrainOptions:
        """Return what concerns the fitting of a network."""
        return TrainOptions(**{each.name: getattr(self, each.name) for each in fields(TrainOptions)})


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(TrainRunOptions):
    """How `finetune` trains a checkpoint further."""

    LEAST: ClassVar[Mapping[str, int]] = {**TrainOptions.LEAST, "frozen_steps": 0, "statistics_batches": 1}

    start: str | None = field(default=None, metadata={"flags": ("--from",)})
    """Checkpoint to begin with, or a detector that has one; it must be given."""

    FEWEST_CLASSES: ClassVar[int] = 0

    classes: tuple[str, ...] = ()
    """Names of the labels 1, 2, ...; None: those of the checkpoint."""

    auto: bool = False
    """Choose the rate, whether the encoder is frozen first, and the steps by short trials on held-out labels; `rate` is
    the least that is tried, `steps` the most steps of the training that follows."""

    minutes: float = 15.0
    """With `auto`: minutes that the trials and the training take, at most."""

    steps: int = 600
    """Updates of the weights, all together."""

    rate: float = 5e-4
    """Learning rate, while the encoder is frozen."""

    every: int = 100
    """Validate every N steps."""

    average: float = 0.99
    """Decay of the averaged weights, which are those that are kept."""

    warmup: int = 50
    """Steps over which the rate grows, before its schedule begins; at most a tenth of all, and none of one-cycle."""

    frozen_steps: int | None = None
    """Updates with a frozen encoder, before all of the network is trained; None: a quarter of the steps."""

    whole_rate: float = 0.3
    """Learning rate once all of the network is trained, relative to that before."""

    keep: float | None = None
    """Weight of the checkpoint's own scores where nothing is labelled; None: 4 with reviews, else 0."""

    statistics: float = 0.5
    """Without labels: share of the target's own statistics in normalisation layers."""

    statistics_batches: int = 24
    """Without labels: batches that these statistics are measured on."""

    sure: float = 0.8
    """Without labels: how far a score must lie from the threshold, 0 to 1, to become a pseudo-label."""

    @property
    def drawn_share(self) -> float:
        """A third where short trials are compared by it: 0.15 of a scene is too little to tell one from another."""
        return AUTOMATIC_SHARE if self.auto and self.val_share is None else super().drawn_share

    @property
    def folds(self) -> int:
        """Three where short trials are compared, unless a share is given."""
        return FOLDS if self.auto and self.val_share is None else 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frozen_steps is not None and self.frozen_steps > self.steps:
            raise BadOption(f"frozen_steps {self.frozen_steps} are part of the steps, which are {self.steps}")
        if not 0 < self.whole_rate <= 1:
            raise BadOption(f"whole_rate {self.whole_rate} must lie in 0..1, above 0")
        if self.keep is not None and not 0 <= self.keep < math.inf:
            raise BadOption(f"keep {self.keep} must be at least 0, and finite")
        if self.auto and self.unlabelled:
            raise BadOption("--auto chooses by held-out labels; leave out --unlabelled")
        if self.auto and self.frozen_steps is not None:
            raise BadOption("--auto chooses how long the encoder is frozen; leave out --frozen-steps")
        require_positive(self, "minutes")
        for name in ("statistics", "sure"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadOption(f"{name} {getattr(self, name)} must lie in 0..1")


@dataclass(frozen=True, kw_only=True)
class TuneOptions(TrainRunOptions):
    """What `tune` searches, and how long; all of it lies within reach of the defaults of `TrainOptions`."""

    LEAST: ClassVar[Mapping[str, int]] = {**TrainOptions.LEAST, "every": 0, "trials": 1, "first_trials": 0}

    find_rate: bool = False
    """Search the learning rate alone, by a range test: one run of `steps` updates, in which it grows over `rates`."""

    trials: int = 20
    """Trials to run, with those of earlier searches in the folder."""

    steps: int = 300
    """Updates of the weights in each trial."""

    every: int = 0
    """Validate every N steps, after which a trial may be stopped; 0 for a fifth of the steps."""

    rates: tuple[float, float] = (1e-4, 1e-2)
    """Least and greatest learning rate, searched by its logarithm."""

    weight_decays: tuple[float, float] = (1e-4, 1e-1)
    """Least and greatest weight decay, searched by its logarithm."""

    encoder_rates: tuple[float, float] = (0.05, 1.0)
    """Least and greatest rate of a pretrained encoder, relative to that of the rest, by its logarithm."""

    losses: tuple[LossName, ...] = ("bce-dice", "focal", "bce-lovasz")
    """Loss functions to choose from."""

    batches: tuple[int, ...] = (4, 8, 16)
    """Batch sizes to choose from."""

    first_trials: int = 4
    """Trials that are never stopped early."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.find_rate and self.steps < FEWEST_RATES:
            raise BadOption(f"find_rate needs at least {FEWEST_RATES} steps, not {self.steps}")
        for name in ("rates", "weight_decays", "encoder_rates"):
            least, greatest = getattr(self, name)
            if not 0 < least <= greatest < math.inf:
                raise BadOption(f"{name} {least:g}:{greatest:g} must be least and greatest, above 0 and finite")
        for name in ("losses", "batches"):
            if not getattr(self, name):
                raise BadOption(f"{name} must name one at least")
        if min(self.batches) < self.LEAST["batch"]:
            raise BadOption(f"batches {min(self.batches)} must be at least {self.LEAST['batch']}")


@dataclass(frozen=True, kw_only=True)
class DoubtOptions(TrainRunOptions):
    """How labels are doubted: folds, and how the network of each is trained."""

    LEAST: ClassVar[Mapping[str, int]] = {**TrainOptions.LEAST, "folds": 2, "smallest": 1}

    folds: int = 3
    """Parts of the scenes; the labels of each are judged by a network that was trained on the others."""

    smallest: int = 16
    """Pixels of a doubted region, at least."""

    steps: int = 600
    """Updates of the weights, for each fold."""
