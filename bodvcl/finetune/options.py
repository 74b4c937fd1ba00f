"""Options of ``bodvcl finetune``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bodvcl.config.command_line import Flag, argument
from bodvcl.config.schema import (
    STRICT,
    AugmentConfig,
    BackboneName,
    DecodeConfig,
    DigitsConfig,
    ModelConfig,
    ScenesConfig,
    ShapesConfig,
)
from bodvcl.evaluate.options import ClipOptions
from bodvcl.finetune.loop_options import LoopOptions, loop_contradictions
from bodvcl.system.folders import expand

SCRATCH = "scratch"
"""Given in place of a checkpoint, this means a network with new weights."""


def expanded(checkpoint: str | None) -> str | None:
    """The value of ``--checkpoint`` with the home folder in place of ``~``."""
    return checkpoint if checkpoint in (None, SCRATCH) else str(expand(str(checkpoint)))


@dataclass
class TuneAugment(AugmentConfig):
    """Spatial augmentation of the training clips. Its values hold for all frames of a clip."""

    __pydantic_config__ = STRICT

    mix: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest share of a clip's scene that the scene of another video replaces, drawn uniformly from 0.
    0: off, as in the papers."""
    mean: float = 0.45
    """Mean that is subtracted from every channel, with --checkpoint scratch. A checkpoint has its own."""
    std: Annotated[float, Field(gt=0)] = 0.225
    """Standard deviation that every channel is divided by, with --checkpoint scratch."""


@dataclass
class ViewOptions:
    """What the network is tested on: views of each test video, whose probabilities are averaged."""

    __pydantic_config__ = STRICT

    clips: Annotated[int, Field(ge=1, le=1000)] = 10
    """Clips, spread evenly over the video."""
    crops: Literal[1, 3] = 3
    """Squares of each clip. 1: the centre. 3: both ends and the centre of the longer side."""
    size: Annotated[int, Field(ge=16)] | None = None
    """Length to which the shorter side of a frame is resized; a view is a square of this size.
    None: that of the training clips."""
    split: Literal["auto", "test", "val"] = "auto"
    """Split to test on. auto: test, or val where no labelled video tests."""


@dataclass
class FinetuneOptions(LoopOptions):
    """Train a classifier on labelled videos, from a trained encoder or from scratch, and test it."""

    __pydantic_config__ = STRICT

    checkpoint: Annotated[str | None, AfterValidator(expanded), argument(metavar="RUN|FILE|scratch")] = None
    """What the network starts from: a run of bodvcl train or its encoder.pt, a run of bodvcl finetune or its
    classifier.pt (its head is replaced), or scratch: new weights."""
    data: Annotated[str | None, argument(metavar="DATA")] = None
    """Labelled videos with a training and a test split: a .csv list, NAME:FOLDER, scenes, digits or shapes.
    ucf101@2:FOLDER: the second split. ucf101@all:FOLDER: one run for each split, and their mean."""
    recipe: Annotated[str | None, argument(metavar="NAME|FILE")] = None
    """Values to start from: the name of a recipe (--list-recipes), or a .yaml file.
    Options on the command line override it."""
    list_recipes: Flag = False
    """Print the recipes and what they reproduce, then stop."""
    folds: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Official splits, one run for each: --folds 1 2 3 is the same as @all for three."""
    label: str | None = None
    """Label column to learn. None: the only column that looks like a label."""
    multi_label: bool = False
    """A video can have several classes, written in one cell. Each class is then decided by itself."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """Text between the classes of a cell (--multi-label). None: ; or |, whichever the column has.
    A list in JSON is understood, too."""
    tune: Annotated[str, argument(metavar="all|head|last-K")] = "all"
    """Which part of the network trains. all: everything. head: only the linear layer (linear evaluation).
    last-K: the linear layer and the last K parts of the backbone; docs/finetune.md lists the parts."""
    frozen_norm: Literal["fixed", "updated"] = "fixed"
    """Batch normalisation in what does not train. fixed: with the statistics of the checkpoint.
    updated: with those of the batch, and the running statistics go on, as in SlowFast's linear evaluation."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of each part of the backbone, as a share of that of the part after it.
    The last part has this share of the rate of the linear layer. 1: all have the same."""
    pooling: Literal["mean", "mean_std"] = "mean"
    """What the linear layer sees of a clip. mean: the mean of its features over time and space, as in papers.
    mean_std: that, and beside it the standard deviation over time, which holds what moves."""
    head_norm: bool = True
    """Standardise each pooled feature before the linear layer, by batch normalisation without weights, as in
    MAE's linear evaluation. Features that differ little between clips otherwise make the layer learn slowly.
    The recipes of the paper's rows leave it out, as their sources do."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Probability that a feature is left out before the linear layer."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over all classes."""
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Alpha of mixup: weighted means of two clips and of their targets. 0: off."""
    cutmix: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Alpha of cutmix: a box of each clip, in all frames, comes from another. 0: off.
    With mixup too, each step does one of both, with equal chance."""
    clips_per_video: Annotated[int, Field(ge=1, le=1000)] = 1
    """Clips of each training video in an epoch."""
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of each class of the training videos that validates and does not train, where the data has no
    val split (or tests on it). 0: none; then there is no validation. The test split never validates."""
    train_videos: Annotated[int, Field(ge=2)] | None = None
    """Number of videos to train on, drawn with --seed, of every class the same number as far as there are so
    many. None: all."""
    validate_videos: Annotated[int, Field(ge=1)] = 1000
    """Most videos to validate on, evenly spread over the val split. Each gives one clip."""
    drop_overlap: Flag = False
    """Leave videos that also train out of the test. Without it such data are refused."""
    backbone: BackboneName | None = None
    """Network of --checkpoint scratch; a checkpoint has its own. None: tiny."""
    width: Annotated[int, Field(ge=4)] = ModelConfig.width
    """Channels of the first layer of the tiny backbone (--checkpoint scratch)."""
    decoder: Literal["auto", "pyav", "dali", "torchcodec"] = "auto"
    """What decodes the training clips, as for bodvcl train. The test decodes with PyAV."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Decoding processes. 0: decode in this process. None: chosen from the number of cores."""
    dry_run: bool = False
    """Print what would be trained and tested, then stop. No video is opened and nothing is written."""
    clip: ClipOptions = field(default_factory=ClipOptions)
    augment: TuneAugment = field(default_factory=TuneAugment)
    test: ViewOptions = field(default_factory=ViewOptions)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    digits: DigitsConfig = field(default_factory=DigitsConfig)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)


def contradictions(options: FinetuneOptions) -> Iterator[str]:
    """What the options ask for and cannot have together."""
    yield from loop_contradictions(options)
    for name in ("checkpoint", "data"):
        if getattr(options, name) is None:
            yield f"missing: --{name}"
    if options.checkpoint != SCRATCH:
        if options.backbone is not None:
            yield f"backbone {options.backbone}: a checkpoint has its own; it is for --checkpoint scratch"
        for name in ("mean", "std"):
            if getattr(options.augment, name) != getattr(TuneAugment, name):
                yield f"augment.{name}: a checkpoint has its own; drop it, or use --checkpoint scratch"
    if options.width != ModelConfig.width and (options.backbone not in (None, "tiny")):
        yield f"width: only the tiny backbone has this option; with {options.backbone}, drop it"
    if options.multi_label and options.label_smoothing:
        yield "label_smoothing: with --multi-label each class is decided by itself; drop it"
    if options.folds and "@" in str(options.data).partition(":")[0]:
        yield f"folds: --data {options.data} already says which split; drop one of them"
    if options.resume_with_other_videos and not options.resume:
        yield "resume_with_other_videos: only a resumed run can have other videos; add --resume"
