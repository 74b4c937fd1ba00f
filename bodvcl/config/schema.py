"""The typed configuration of a run: what can be set, in which range, and why.

Every field is a command-line option (``--clip.frames 16``) and a YAML key (``clip: {frames: 16}``); the text
under a field is its ``--help``. Ranges are checked by pydantic when a configuration is built by
:func:`bodvcl.config.parse.parse_config`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from bodvcl.config.limits import SEEDS
from bodvcl.system.folders import expand

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
UserPath = Annotated[Path, AfterValidator(expand)]
"""A path in which ``~`` is the home folder."""


@dataclass
class ShapesConfig:
    """The built-in data set: rendered videos of moving shapes with four labelled semantics."""

    __pydantic_config__ = STRICT

    cache: UserPath | None = None
    """Folder where the rendered .mp4 files are kept between runs.
    None: bodvcl/shapes in $XDG_CACHE_HOME, else in ~/.cache."""
    train_videos: Annotated[int, Field(ge=8)] = 512
    """Videos to pre-train on."""
    probe_videos: Annotated[int, Field(ge=16)] = 384
    """Videos for the linear probe; one half trains the probe, the other tests it.
    All semantics independent."""
    frames: Annotated[int, Field(ge=8)] = 40
    """Frames per video."""
    size: Annotated[int, Field(ge=32, multiple_of=2)] = 64
    """Height and width of a video in pixels."""
    classes: Annotated[int, Field(ge=2, le=4)] = 2
    """Classes per semantic (background, shape, brightness, trajectory)."""
    correlation: Literal["none", "sc", "dc"] = "none"
    """Which semantics are confounded in the training videos: sc, background colour decides the trajectory;
    dc, the brightness change decides the shape; none, all independent.
    Probe videos are always independent."""
    seed: Seed = 0
    """Seed of the rendering."""


@dataclass
class DigitsConfig:
    """The built-in data set of moving digits: handwritten digits on labelled paths."""

    __pydantic_config__ = STRICT

    cache: UserPath | None = None
    """Folder where the rendered .mp4 files are kept between runs.
    None: bodvcl/digits in $XDG_CACHE_HOME, else in ~/.cache."""
    train_videos: Annotated[int, Field(ge=8)] = 512
    """Videos to pre-train on."""
    probe_videos: Annotated[int, Field(ge=16)] = 384
    """Videos for the linear probe; one half trains the probe, the other tests it.
    Digit and path independent, handwriting that training has not seen."""
    frames: Annotated[int, Field(ge=8)] = 40
    """Frames per video."""
    size: Annotated[int, Field(ge=32, multiple_of=2)] = 64
    """Height and width of a video in pixels."""
    classes: Annotated[int, Field(ge=2, le=4)] = 4
    """Digits from 0 on, and as many kinds of paths."""
    correlation: Literal["none", "full"] = "none"
    """full: in the training videos the digit decides the path. Probe videos are always independent."""
    seed: Seed = 0
    """Seed of the rendering."""


@dataclass
class ClipConfig:
    """How clips are cut from a video."""

    __pydantic_config__ = STRICT

    frames: Annotated[int, Field(ge=3)] = 8
    """Frames per clip, L."""
    stride: Annotated[int, Field(ge=1)] = 2
    """Frames from one clip frame to the next, delta."""
    spacing: Literal["stride", "linspace"] = "stride"
    """stride: exactly delta frames from one to the next.
    linspace: evenly over all L delta frames that a clip spans, first and last included, as SlowFast does; the
    steps are (L delta - 1) / (L - 1) frames, rounded down."""
    views: Annotated[int, Field(ge=2)] = 2
    """Clips per video, rho. Each is a positive of the others."""
    size: Annotated[int, Field(ge=16)] = 48
    """Height and width of a clip in pixels after cropping."""
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Resample every video to this frame rate before the stride is applied. None: the video's own rate."""
    twin: bool = False
    """The last clip of every video repeats the frames of the first, with an augmentation draw of its own."""
    short: Literal["refuse", "repeat"] = "refuse"
    """A video shorter than a clip: refuse (skip it in the scan and say so), or repeat its last frame."""


@dataclass
class DecodeConfig:
    """What may go wrong with the files before the run ends."""

    __pydantic_config__ = STRICT

    timeout: Annotated[float, Field(gt=0)] | None = 120.0
    """Seconds that one video may take to decode; then its process is replaced and the file is left out.
    Needs decoding processes (PyAV with --workers 1 or more). None: no limit."""
    max_bad: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the videos that may turn out to be unreadable while training before the run stops.
    One is always tolerated, unless this is 0."""
    keep: Annotated[float, Field(ge=0)] = 0.0
    """Gigabytes in which each decoding process keeps the videos that it has decoded, whole, for the epochs to
    come. For data sets that fit; only with PyAV. 0: every clip is decoded when it is needed."""


@dataclass
class AugmentConfig:
    """Spatial augmentation: drawn once per clip and the same for all of its frames."""

    __pydantic_config__ = STRICT

    crop_area: tuple[float, float] = (0.5, 1.0)
    """Range of the crop's share of the frame area."""
    crop_aspect: tuple[float, float] = (0.75, 1.3333333333333333)
    """Range of the crop's aspect ratio, drawn log-uniformly."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip. 0 where a class says left or right."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Probability of colour jitter."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Brightness factor is drawn from [1 - b, 1 + b]."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Contrast factor is drawn from [1 - c, 1 + c]."""
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Saturation factor is drawn from [1 - s, 1 + s]."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Hue is turned by up to this share of a full circle, both ways."""
    gray: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability of grayscale."""
    blur: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability of Gaussian blur. 0 also saves the room that the kernel keeps for it."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Range of the blur's standard deviation in pixels of the clip."""
    mean: float = 0.45
    """Subtracted from every channel after scaling to [0, 1]."""
    std: Annotated[float, Field(gt=0)] = 0.225
    """Divides every channel after the mean is subtracted."""


@dataclass
class ModelConfig:
    """Backbone and projector."""

    __pydantic_config__ = STRICT

    backbone: Literal[
        "tiny",
        "slow_r50",
        "r3d_18",
        "r3d_18_thin",
        "r2plus1d_18",
        "r2plus1d_18_thin",
        "s3d",
        "s3d_g",
        "vit_b16",
    ] = "tiny"
    """Network that makes one feature per frame (vit_b16: per tubelet of two frames).
    tiny: four 3D convolutions, for tests and for the built-in data.
    The others: docs/backbones.md."""
    weights: str | None = None
    """Published weights to start from: a checkpoint file of SlowFast, PyTorchVideo or torchvision,
    or the name of torchvision's, such as R2Plus1D_18_Weights.KINETICS400_V1. None: train from scratch."""
    temporal_padding: Literal["repeat", "zero"] = "repeat"
    """What temporal convolutions see beyond the ends of a clip.
    repeat: the outer frames again, so that a still clip has the same feature in every frame.
    zero: zeros, which is what published weights were trained with."""
    width: Annotated[int, Field(ge=4)] = 16
    """Channels of the first layer of the tiny backbone; later layers have two and four times as many."""
    embed_dim: Annotated[int, Field(ge=2)] = 64
    """Width of a per-frame embedding, M."""
    hidden_dim: Annotated[int, Field(ge=2)] = 256
    """Width of the projector's hidden layers."""
    projector_layers: Annotated[int, Field(ge=1, le=4)] = 2
    """Linear layers of the projector."""
    projector_norm: bool = True
    """Batch normalisation after each hidden layer of the projector, over all frames of the batch. Without it
    small runs stay for long where only the easiest semantic is known (docs/findings.md)."""


@dataclass
class KoopmanConfig:
    """Koopman estimation and spectral split (Eqs. 18 and 21)."""

    __pydantic_config__ = STRICT

    xi: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Radius of the disk around 1 that holds the static eigenvalues (hard mask)."""
    mask: Literal["hard", "smooth"] = "smooth"
    """hard: the paper's |lambda - 1| < xi.
    smooth: the weight ((1 + lambda) / 2)^smooth_power;
    it cannot empty the static stream and passes gradient through the eigenvalues."""
    smooth_power: Annotated[int, Field(ge=1)] = 8
    """Exponent of the smooth mask, a power of two."""
    weights: Literal["eigenvalue", "projector"] = "eigenvalue"
    """eigenvalue: modes weighted as in Eq. 21, Z_A + Z_M = K mean(F). projector: Z_A + Z_M = mean(F)."""
    ridge: Annotated[float, Field(ge=0)] = 0.01
    """Ridge added to the Gram matrix, as a share of its mean diagonal. 0: truncated pseudo-inverse."""
    rtol: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Singular values below rtol times the largest are dropped (only without ridge). None: by dtype."""
    rank: Annotated[int, Field(ge=1)] | None = None
    """Keep at most this many singular directions. None: all."""
    normalize: bool = True
    """Scale every frame's embedding to unit length before the operator is fitted."""
    max_gain: Annotated[float, Field(gt=0)] | None = 1.0
    """Clip each clip's gradient through the split to this many times that of the plain temporal mean: where a
    clip hardly moves, the dynamic stream is a small remainder and its gradient is large and mostly noise."""


@dataclass
class PredictionConfig:
    """The lower-level loss L_pred (Eq. 19)."""

    __pydantic_config__ = STRICT

    mode: Literal["train", "loo", "forecast"] = "loo"
    """train: the paper's in-sample error (identically 0 when frames - 1 <= embed_dim and there is no ridge).
    loo: every pair predicted from the others. forecast: the last pair predicted from the others."""
    nu: Annotated[float, Field(ge=0)] = 1e-4
    """Weight of the orthogonality term ||K^T K - I||^2."""
    strict: bool = False
    """L_pred through the central slice of every temporal kernel (Table 10): the lower level sees each frame
    on its own. Needs --bilevel.scope all; not with solver single or attention."""


@dataclass
class ObjectiveConfig:
    """The contrastive objective of the upper level (Eq. 1)."""

    __pydantic_config__ = STRICT

    tau: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Temperature of simclr, moco, swav and hdc (alpha in the paper)."""


@dataclass
class MocoConfig:
    """What --method moco adds."""

    __pydantic_config__ = STRICT

    queue: Annotated[int, Field(ge=1)] = 65536
    """Keys of earlier steps that are kept per stream, as negatives; a multiple of batch_size * clip.views."""
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.994
    """Momentum of the momentum encoder at the start; it rises to 1 as a cosine."""


@dataclass
class ByolConfig:
    """What --method byol adds. The predictor's hidden layer is as wide as the projector's."""

    __pydantic_config__ = STRICT

    momentum: Annotated[float, Field(ge=0, le=1)] = 0.996
    """Momentum of the momentum encoder at the start; it rises to 1 as a cosine."""


@dataclass
class SwavConfig:
    """What --method swav adds."""

    __pydantic_config__ = STRICT

    prototypes: Annotated[int, Field(ge=2)] = 1000
    """Prototypes per stream."""
    epsilon: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Entropy of the assignments."""
    iterations: Annotated[int, Field(ge=1, le=100)] = 3
    """Iterations of Sinkhorn-Knopp."""
    freeze: Annotated[float, Field(ge=0, le=1)] = 0.005
    """Share of the run in which the prototypes stay as they were drawn; 0.005: the first of 200 epochs."""


@dataclass
class DualvarConfig:
    """What --method dualvar adds. It needs --clip.views 3 --clip.twin."""

    __pydantic_config__ = STRICT

    segments: Annotated[int, Field(ge=2)] = 2
    """Segments that a clip is cut into, S; clip.frames is a multiple."""
    series_dim: Annotated[int, Field(ge=2)] = 64
    """Width of a segment's vector."""
    tau: Annotated[float, Field(gt=0, le=10)] = 0.07
    """Temperature of its two InfoNCE losses."""
    theta: Annotated[float, Field(gt=0, le=10)] = 0.05
    """Scale of the cosines in its ranking loss."""


@dataclass
class HdcConfig:
    """What --method hdc adds. It needs --clip.views 3 (or more) --clip.twin."""

    __pydantic_config__ = STRICT

    depths: Annotated[int, Field(ge=1, le=4)] = 3
    """Depths of the backbone that have losses of their own, counted from the last."""


@dataclass
class BilevelConfig:
    """The bi-level step (Eqs. 24 and 25)."""

    __pydantic_config__ = STRICT

    solver: Literal["fd", "fd_central", "itd", "hvp", "cg", "neumann", "first_order", "single"] = "fd"
    """How the gradient goes through the inner step. Forward + backward passes for one step and scope all:
    fd: one-sided difference of the lower gradient, 3 + 3.
    fd_central: central difference (AID-FD, the paper's choice), 4 + 4.
    itd: exact, reverse mode through the inner steps, 2 + 2 and one through the backward pass.
    hvp: exact, graphs rebuilt one at a time to save memory, 3 + 3 and one through the backward pass.
    cg, neumann: an implicit inner step, 3 + 3 and `iterations` through the backward pass.
    first_order: the Hessian term is dropped, 2 + 2.
    single: no inner step, L_pred is added to the upper loss, 1 + 1 (Table 8)."""
    scope: Literal["all", "head"] = "head"
    """What looks ahead. head: the projector only; every solver then needs 1 + 1 passes of the backbone.
    all: every parameter, as in the paper; for a third of the speed, and no more accurate where the two were
    compared (docs/findings.md)."""
    gamma: Annotated[float, Field(gt=0)] = 0.1
    """Learning rate of the inner step."""
    inner_steps: Annotated[int, Field(ge=1, le=10)] = 1
    """Inner steps (Table 9); for cg and neumann fixed-point iterations of the implicit one."""
    iterations: Annotated[int, Field(ge=1, le=50)] = 3
    """Products with the Hessian that cg and neumann take."""
    max_inner_norm: Annotated[float, Field(gt=0)] | None = None
    """Longest inner step relative to the norm of the parameters; longer ones are shortened to it.
    None: any length."""
    fd_scale: Annotated[float, Field(gt=0, lt=1)] = 2e-4
    """Length of the finite-difference step relative to the norm of the parameters."""
    lower_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each batch's videos, the first ones, that L_pred is computed on."""


@dataclass
class OptimConfig:
    """Optimiser and schedule."""

    __pydantic_config__ = STRICT

    name: Literal["adamw", "sgd", "lars", "lamb"] = "adamw"
    """adamw; sgd with momentum; lars and lamb: sgd and adam whose steps have the length of the weights."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate."""
    lr_per: Annotated[int, Field(ge=1)] | None = None
    """Videos per step that `lr` and `warmup_lr` are meant for: with another batch size both are scaled in
    proportion. None: they are taken as they are."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay; not applied to biases and normalisation layers."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of sgd and lars."""
    nesterov: bool = True
    """Nesterov's form of the momentum of sgd and lars."""
    trust: Annotated[float, Field(gt=0)] = 1e-3
    """Length of a step of lars relative to the weights, at a learning rate of 1."""
    fused: Literal["auto", "torch", "apex"] = "auto"
    """Fused kernels: PyTorch's, and for lamb on a GPU NVIDIA apex's where it is installed (auto), never
    (torch), or else it is an error (apex)."""
    warmup: Annotated[float, Field(ge=0)] = 0.05
    """Length of the linear rise of the learning rate: below 1 a share of the run, from 1 on a number of
    epochs. The rate then falls to 0 as a cosine."""
    warmup_lr: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate that the rise starts from."""
    cosine_from_start: bool = False
    """The cosine begins with the run, not after the rise, and the rise goes up to it: SlowFast's schedule."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 5.0
    """Clip the norm of the whole gradient. None: do not clip."""


@dataclass
class LogConfig:
    """What is written, and how often."""

    __pydantic_config__ = STRICT

    every: Annotated[int, Field(ge=1)] = 5
    """Steps between two lines of metrics.jsonl."""
    save_every: Annotated[int, Field(ge=1)] = 100
    """Steps between two checkpoints. One is also written at the end and on a signal to stop."""
    keep_last: Annotated[int, Field(ge=1)] = 1
    """Checkpoints to keep: the newest, and so many less one before it."""
    keep_every: Annotated[int, Field(ge=1)] | None = None
    """Keep the checkpoint of every so many epochs for good. None: of no epoch."""
    wandb: str | None = None
    """Project of Weights & Biases to log to as well (pip install wandb). None: do not."""
    probe: bool = True
    """Linear probe of the frozen encoder at the end, beside the untrained one (needs labels)."""
    report: bool = True
    """Write report.html at the end."""


@dataclass
class TrainConfig:
    """Pre-train a video encoder with a contrastive method, plain, with L_pred, or with BOD-VCL."""

    __pydantic_config__ = STRICT

    config: str | None = None
    """Recipe to start from: a name in configs/ (`bodvcl train --config shapes`) or a .yaml file.
    Options on the command line override it."""
    data: str = "shapes"
    """shapes or digits: the built-in data sets.
    Otherwise a folder of videos, searched through; a .csv list with a column `path`
    and, if there are any, `split` and label columns; or a data set in its official layout
    by name, such as ucf101:FOLDER or ucf101@2:FOLDER for its second split (docs/data_sets.md)."""
    run_dir: UserPath | None = None
    """Folder of this run. None: runs/<date>-<time>-<method>-<decouple>."""
    resume: bool = False
    """Continue from the checkpoint in --run-dir (or in the newest run); where there is none yet, start."""
    resume_with_other_videos: bool = False
    """With --resume: go on although videos appeared, vanished or changed since the checkpoint.
    Without it such a run is refused, and the difference is named. The same files at another place are no
    difference."""
    method: Literal["simclr", "moco", "byol", "swav", "dualvar", "hdc"] = "simclr"
    """Contrastive method. simclr, moco, byol and swav: plain, with L_pred, or decoupled.
    dualvar, and hdc (a reconstruction): methods to compare with, only with --decouple none.
    docs/methods.md has the equations."""
    decouple: Literal["none", "pred", "bod"] = "bod"
    """none: the plain method on mean(F). pred: plus L_pred in the lower level.
    bod: BOD-VCL, one contrastive loss for the static and one for the dynamic stream."""
    fast: bool = True
    """Fused operators, channels-last and what else makes this machine fast.
    --no-fast: the reference formulas."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """Arithmetic of the backbone in the upper level; with solver single, of the pass that both levels share.
    auto: bf16 with --fast where the hardware has it, else fp32. fp16 scales the loss.
    The Koopman algebra, losses and weights are always fp32 or wider
    (tf32: products of all passes are rounded, so no solver with differences)."""
    lower_precision: Literal["fp32", "tf32", "upper"] = "fp32"
    """Arithmetic of a lower level of its own. fp32: exact enough for differences, and slow on a GPU.
    tf32, or upper (as the upper level's): for solvers that take no differences."""
    compile: bool = False
    """Compile the backbone with torch.compile. Needs a compiler, and a solver without double backward
    passes of the backbone."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Cut every batch into this many parts, one after the other, and average their gradients: less memory.
    The negatives of a clip are then those of its part; the look-ahead is that of its part, too."""
    sync_norm: bool | None = None
    """Batch normalisation over the clips of all processes. None: for every method but moco."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: Seed = 0
    """Seed of weights, order, clips and augmentation."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Videos per step; each gives `clip.views` clips."""
    epochs: Annotated[int, Field(ge=1)] = 12
    """Passes over the training videos."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many steps. The learning-rate schedule still spans `epochs`."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Decoding processes. 0: decode in the training process. None: from the number of cores."""
    decoder: Literal["auto", "pyav", "dali", "torchcodec"] = "auto"
    """What decodes the training clips. auto: DALI where it can (CUDA device, installed, every file suitable),
    else PyAV; the reason is printed. pyav: on the CPU, exact on every format.
    dali, torchcodec: extras of the package; files that they would not read exactly are refused."""
    dry_run: bool = False
    """Print what would be trained and the resolved configuration, then stop. The weights to start from, the
    checkpoint to go on from and the list of videos are read; no video is opened and nothing is written."""
    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    digits: DigitsConfig = field(default_factory=DigitsConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    koopman: KoopmanConfig = field(default_factory=KoopmanConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    moco: MocoConfig = field(default_factory=MocoConfig)
    byol: ByolConfig = field(default_factory=ByolConfig)
    swav: SwavConfig = field(default_factory=SwavConfig)
    dualvar: DualvarConfig = field(default_factory=DualvarConfig)
    hdc: HdcConfig = field(default_factory=HdcConfig)
    bilevel: BilevelConfig = field(default_factory=BilevelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    log: LogConfig = field(default_factory=LogConfig)
