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
BackboneName = Literal[
    "tiny",
    "slow_r50",
    "r3d_18",
    "r3d_18_thin",
    "r2plus1d_18",
    "r2plus1d_18_thin",
    "s3d",
    "s3d_g",
    "vit_b16",
]
"""Networks that make per-frame features."""
Fitted = Literal[
    "model.backbone",
    "model.width",
    "model.embed_dim",
    "model.hidden_dim",
    "clip.size",
    "clip.frames",
    "clip.stride",
    "clip.fps",
    "batch_size",
    "epochs",
    "augment.flip",
    "optim.lr",
]
"""Options that can be chosen from the videos and the device (:mod:`bodvcl.config.fit`)."""
BUILT_IN = ("scenes", "digits", "shapes")
"""Values of ``data`` that are no videos of the user."""


@dataclass
class ShapesConfig:
    """The built-in data set of moving shapes: rendered videos with four labelled semantics."""

    __pydantic_config__ = STRICT

    cache: UserPath | None = None
    """Folder that keeps the rendered .mp4 files between runs.
    None: bodvcl/shapes in $XDG_CACHE_HOME, or in ~/.cache."""
    train_videos: Annotated[int, Field(ge=8)] = 512
    """Number of videos to pre-train on."""
    probe_videos: Annotated[int, Field(ge=16)] = 384
    """Number of videos for the linear probe: one half trains the probe, the other half tests it.
    In these videos all semantics are independent."""
    frames: Annotated[int, Field(ge=8)] = 40
    """Frames per video."""
    size: Annotated[int, Field(ge=32, multiple_of=2)] = 64
    """Height and width of a video in pixels."""
    classes: Annotated[int, Field(ge=2, le=4)] = 2
    """Classes per semantic (background, shape, brightness, trajectory)."""
    correlation: Literal["none", "sc", "dc"] = "none"
    """Which semantics are confounded in the training videos. The probe videos never are.
    none: all semantics are independent.
    sc: the background colour decides the trajectory.
    dc: the brightness change decides the shape."""
    seed: Seed = 0
    """Seed of the rendering."""


@dataclass
class DigitsConfig:
    """The built-in data set of moving digits: handwritten digits on labelled paths."""

    __pydantic_config__ = STRICT

    cache: UserPath | None = None
    """Folder that keeps the rendered .mp4 files between runs.
    None: bodvcl/digits in $XDG_CACHE_HOME, or in ~/.cache."""
    train_videos: Annotated[int, Field(ge=8)] = 512
    """Number of videos to pre-train on."""
    probe_videos: Annotated[int, Field(ge=16)] = 384
    """Number of videos for the linear probe: one half trains the probe, the other half tests it.
    In these videos digit and path are independent, and the handwriting is new."""
    frames: Annotated[int, Field(ge=8)] = 40
    """Frames per video."""
    size: Annotated[int, Field(ge=32, multiple_of=2)] = 64
    """Height and width of a video in pixels."""
    classes: Annotated[int, Field(ge=2, le=4)] = 4
    """Number of digits (0, 1, ...), and of kinds of paths."""
    correlation: Literal["none", "full"] = "none"
    """Whether digit and path are confounded in the training videos. In the probe videos they never are.
    none: they are independent. full: the digit decides the path."""
    seed: Seed = 0
    """Seed of the rendering."""


@dataclass
class ScenesConfig:
    """The built-in data set in which the scene gives the video away: a moving figure before a background
    that no other video has."""

    __pydantic_config__ = STRICT

    cache: UserPath | None = None
    """Folder that keeps the rendered .mp4 files between runs.
    None: bodvcl/scenes in $XDG_CACHE_HOME, or in ~/.cache."""
    train_videos: Annotated[int, Field(ge=8)] = 512
    """Number of videos to pre-train on."""
    probe_videos: Annotated[int, Field(ge=16)] = 384
    """Number of videos for the linear probe: one half trains the probe, the other half tests it.
    Their scenes are new, and so is the handwriting."""
    frames: Annotated[int, Field(ge=8)] = 40
    """Frames per video."""
    size: Annotated[int, Field(ge=32, multiple_of=2)] = 64
    """Height and width of a video in pixels."""
    classes: Annotated[int, Field(ge=2, le=4)] = 4
    """Classes per semantic (tint of the scene, figure, trajectory). They are always independent."""
    figure: Literal["digit", "shape"] = "digit"
    """What moves: a handwritten digit, or a geometric shape."""
    scene: Annotated[float, Field(ge=0, le=1)] = 1.0
    """How much of a video's own scene is seen.
    0: all videos have the same kind of grey paper. 1: every video has a scene that no other has."""
    texture: Literal["waves", "photographs"] = "waves"
    """What a scene is made of.
    waves: random waves in three colours.
    photographs: cuts from the two photographs that come with scikit-learn, with colours of their own."""
    camera: Literal["still", "moving"] = "still"
    """still: the scene stands still.
    moving: it drifts, in every video at a speed and in a direction of its own."""
    seed: Seed = 0
    """Seed of the rendering."""


@dataclass
class ClipConfig:
    """How clips are cut from a video."""

    __pydantic_config__ = STRICT

    frames: Annotated[int, Field(ge=3)] = 8
    """Frames per clip (L)."""
    stride: Annotated[int, Field(ge=1)] = 2
    """Distance between two frames of a clip, in frames of the video (delta)."""
    spacing: Literal["stride", "linspace"] = "stride"
    """Which frames a clip takes.
    stride: every delta-th frame.
    linspace: L frames spread evenly over L * delta frames, first and last included, as in SlowFast."""
    views: Annotated[int, Field(ge=2)] = 2
    """Clips per video (rho). The clips of a video are positives of each other."""
    size: Annotated[int, Field(ge=16)] = 48
    """Height and width of a clip after cropping, in pixels."""
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames per second: every video is resampled to this rate before the stride is applied.
    None: each video keeps its own rate."""
    image_fps: Annotated[float, Field(gt=0, le=1000)] = 25.0
    """Frames per second of a video that is a folder of images, which have no times.
    A column fps of a list overrides it."""
    twin: bool = False
    """The last clip of every video has the frames of the first clip, with an augmentation of its own."""
    short: Literal["refuse", "repeat"] = "refuse"
    """What to do with a video that is shorter than a clip.
    refuse: leave it out and report it. repeat: repeat its last frame."""


@dataclass
class DecodeConfig:
    """Limits and memory of the decoding of training videos."""

    __pydantic_config__ = STRICT

    timeout: Annotated[float, Field(gt=0)] | None = 120.0
    """Seconds that one video may take to decode.
    After that its decoding process is replaced, and another video takes the place of this one.
    Needs decoding processes (PyAV with --workers 1 or more). None: no limit."""
    max_bad: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the videos that may be unreadable during training; beyond it the run stops.
    One unreadable video is always accepted, unless this is 0."""
    keep: Annotated[float, Field(ge=0)] | None = None
    """Gigabytes of decoded videos that are kept for later epochs; only with PyAV. 0: none.
    None: all videos, if they take at most a tenth of this machine's memory, else none."""


@dataclass
class AugmentConfig:
    """Spatial augmentation. Its values are drawn once per clip and hold for all frames of the clip."""

    __pydantic_config__ = STRICT

    crop_area: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest area of the crop, as a share of the frame."""
    crop_aspect: tuple[float, float] = (0.75, 1.3333333333333333)
    """Smallest and largest aspect ratio of the crop, drawn log-uniformly."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of a horizontal flip. Use 0 if left and right matter for a class."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Probability of colour jitter."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The brightness factor is drawn from [1 - b, 1 + b]."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The contrast factor is drawn from [1 - c, 1 + c]."""
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The saturation factor is drawn from [1 - s, 1 + s]."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """The hue is turned by up to this share of a full circle, in either direction."""
    gray: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability of grayscale."""
    blur: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability of Gaussian blur. 0 also saves memory: the kernel then needs no margin."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Smallest and largest standard deviation of the blur, in pixels of the clip."""
    mix: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Largest share of a clip's scene that the scene of another video replaces, drawn uniformly from 0.
    The scene is the median of the frames; what moves is kept. 0: off.
    For an encoder that finds alike scenes (`bodvcl search --by appearance`), take 0.
    Where the scene tells one video from another, little else is learned without it (docs/findings.md)."""
    mean: float = 0.45
    """Mean that is subtracted from every channel, after pixels are scaled to [0, 1]."""
    std: Annotated[float, Field(gt=0)] = 0.225
    """Standard deviation that every channel is divided by, after the mean is subtracted."""


@dataclass
class ModelConfig:
    """Backbone and projector."""

    __pydantic_config__ = STRICT

    backbone: BackboneName = "tiny"
    """Network that makes one feature per frame (vit_b16: one per two frames).
    tiny: four 3D convolutions, for tests and for the built-in data.
    The other backbones: docs/backbones.md."""
    weights: str | None = None
    """Published weights to start from. None: train from scratch.
    A checkpoint file of SlowFast, PyTorchVideo or torchvision,
    or a name in torchvision, such as R2Plus1D_18_Weights.KINETICS400_V1, which is downloaded once.
    torchvision: its weights of this backbone, if they are on this machine; nothing is downloaded."""
    temporal_padding: Literal["repeat", "zero"] = "repeat"
    """How temporal convolutions pad the ends of a clip.
    repeat: repeat the first and last frame. A still clip then has the same feature in every frame.
    zero: pad with zeros. Published weights were trained this way."""
    width: Annotated[int, Field(ge=4)] = 16
    """Channels of the first layer of the tiny backbone. Later layers have two and four times as many."""
    embed_dim: Annotated[int, Field(ge=2)] = 64
    """Size of a per-frame embedding (M)."""
    hidden_dim: Annotated[int, Field(ge=2)] = 256
    """Size of the projector's hidden layers."""
    projector_layers: Annotated[int, Field(ge=1, le=4)] = 2
    """Number of linear layers in the projector."""
    projector_norm: bool = True
    """Batch normalisation after each hidden layer of the projector, over all frames of the batch.
    Without it, small runs learn only the easiest semantic for a long time (docs/findings.md)."""


@dataclass
class KoopmanConfig:
    """Estimation of the Koopman operator and its spectral split (Eqs. 18 and 21)."""

    __pydantic_config__ = STRICT

    xi: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Radius of the disk around 1 that contains the static eigenvalues (hard mask only)."""
    mask: Literal["hard", "smooth"] = "smooth"
    """Which modes are static.
    hard: those with |lambda - 1| < xi, as in the paper.
    smooth: each mode has the weight ((1 + lambda) / 2)^smooth_power.
    The smooth mask never empties the static stream, and gradients flow through the eigenvalues."""
    smooth_power: Annotated[int, Field(ge=1)] = 8
    """Exponent of the smooth mask; must be a power of two."""
    weights: Literal["eigenvalue", "projector"] = "eigenvalue"
    """How the modes are weighted in the two streams.
    eigenvalue: as in Eq. 21, so that Z_A + Z_M = K mean(F).
    projector: without the eigenvalues, so that Z_A + Z_M = mean(F)."""
    ridge: Annotated[float, Field(ge=0)] = 0.01
    """Ridge added to the Gram matrix, as a share of its mean diagonal.
    0: no ridge; the pseudo-inverse is truncated instead."""
    rtol: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Singular values below rtol times the largest one are dropped (only without ridge).
    None: a value that fits the floating-point type."""
    rank: Annotated[int, Field(ge=1)] | None = None
    """Largest number of singular directions to keep. None: all."""
    normalize: bool = True
    """Scale every frame's embedding to unit length before the operator is fitted."""
    dynamic: Literal["mean", "std"] | None = None
    """What the dynamic stream is of the dynamic parts of the frames.
    mean: their mean, as in Eq. 21. That of an oscillation is near zero, and depends on its phase.
    std: their standard deviation over time, standardised over the batch.
    A still clip has none, and two clips of one motion have the same (docs/findings.md). None: std."""
    static: Literal["part", "mean"] | None = None
    """What the static stream is.
    part: the mean of the static parts of the frames, as in Eq. 21.
    mean: the mean of the frames, which holds all that does not change in a clip.
    None: mean where the dynamic stream is std, else part."""
    max_gain: Annotated[float, Field(gt=0)] | None = 1.0
    """Upper bound of the gradient through the split, per clip, relative to that of the temporal mean.
    A clip with little motion has a small dynamic stream, whose gradient is large and mostly noise.
    None: no bound."""


@dataclass
class PredictionConfig:
    """The prediction loss of the lower level, L_pred (Eq. 19)."""

    __pydantic_config__ = STRICT

    mode: Literal["train", "loo", "forecast"] = "loo"
    """Which pairs of frames are predicted.
    train: all pairs that the operator was fitted on, as in the paper.
    This is exactly 0 if frames - 1 <= embed_dim and ridge is 0.
    loo: every pair, from an operator fitted on the other pairs (leave-one-out).
    forecast: the last pair, from an operator fitted on the earlier pairs."""
    nu: Annotated[float, Field(ge=0)] = 1e-4
    """Weight of the orthogonality term ||K^T K - I||^2."""
    strict: bool = False
    """Compute L_pred with only the central slice of every temporal kernel (Table 10).
    The lower level then sees each frame alone.
    Needs --bilevel.scope all; not available with solver single or backbone vit_b16."""


@dataclass
class ObjectiveConfig:
    """The contrastive loss of the upper level (Eq. 1)."""

    __pydantic_config__ = STRICT

    tau: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Temperature of simclr, moco, swav and hdc (alpha in the paper)."""
    dynamic_weight: Annotated[float, Field(gt=0)] | None = None
    """Weight of the dynamic stream's loss; that of the static stream has 1. 1: as in Eq. 22.
    None: 0.3 where the dynamic stream is std, else 1."""


@dataclass
class MocoConfig:
    """Options of --method moco."""

    __pydantic_config__ = STRICT

    queue: Annotated[int, Field(ge=1)] = 65536
    """Number of keys of earlier steps that serve as negatives, per stream.
    Must be a multiple of batch_size * clip.views."""
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.994
    """Momentum of the momentum encoder at the start. It rises to 1 along a cosine."""


@dataclass
class ByolConfig:
    """Options of --method byol. The predictor's hidden layer has the size of the projector's."""

    __pydantic_config__ = STRICT

    momentum: Annotated[float, Field(ge=0, le=1)] = 0.996
    """Momentum of the momentum encoder at the start. It rises to 1 along a cosine."""


@dataclass
class SwavConfig:
    """Options of --method swav."""

    __pydantic_config__ = STRICT

    prototypes: Annotated[int, Field(ge=2)] = 1000
    """Number of prototypes per stream."""
    epsilon: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Entropy regularisation of the assignments to prototypes."""
    iterations: Annotated[int, Field(ge=1, le=100)] = 3
    """Number of Sinkhorn-Knopp iterations."""
    freeze: Annotated[float, Field(ge=0, le=1)] = 0.005
    """Share of the run, from the start, during which the prototypes are not trained.
    0.005 is the first of 200 epochs."""


@dataclass
class DualvarConfig:
    """Options of --method dualvar. It needs --clip.views 3 --clip.twin."""

    __pydantic_config__ = STRICT

    segments: Annotated[int, Field(ge=2)] = 2
    """Number of segments that a clip is cut into (S). clip.frames must be a multiple of it."""
    series_dim: Annotated[int, Field(ge=2)] = 64
    """Size of the vector of a segment."""
    tau: Annotated[float, Field(gt=0, le=10)] = 0.07
    """Temperature of the two InfoNCE losses."""
    theta: Annotated[float, Field(gt=0, le=10)] = 0.05
    """Scale of the cosine similarities in the ranking loss."""


@dataclass
class HdcConfig:
    """Options of --method hdc. It needs --clip.views 3 or more, and --clip.twin."""

    __pydantic_config__ = STRICT

    depths: Annotated[int, Field(ge=1, le=4)] = 3
    """Number of depths of the backbone that have a loss of their own, counted from the last."""


@dataclass
class BilevelConfig:
    """The bi-level step (Eqs. 24 and 25)."""

    __pydantic_config__ = STRICT

    solver: Literal["fd", "fd_central", "itd", "hvp", "cg", "neumann", "first_order", "single"] = "fd"
    """How the upper gradient goes through the inner step.
    The numbers are forward + backward passes of the backbone, for one inner step and scope all.
    fd: one-sided difference of the lower gradient, 3 + 3.
    fd_central: central difference (AID-FD, the paper's choice), 4 + 4.
    itd: exact, by reverse mode through the inner steps, 2 + 2, one of them through a backward pass.
    hvp: exact, but saves memory by rebuilding one graph at a time, 3 + 3 and one through a backward pass.
    cg, neumann: an implicit inner step, 3 + 3 and `iterations` passes through a backward pass.
    first_order: without the Hessian term, 2 + 2.
    single: no inner step; L_pred is added to the upper loss (Table 8), 1 + 1."""
    scope: Literal["all", "head"] = "head"
    """Which parameters take the inner step.
    head: those of the projector. Every solver then needs only 1 + 1 passes of the backbone.
    all: all parameters, as in the paper.
    Scope all has a third of the speed and was not more accurate where compared (docs/findings.md)."""
    gamma: Annotated[float, Field(gt=0)] = 0.1
    """Learning rate of the inner step."""
    inner_steps: Annotated[int, Field(ge=1, le=10)] = 1
    """Number of inner steps (Table 9).
    With cg and neumann: number of fixed-point iterations of the implicit step."""
    iterations: Annotated[int, Field(ge=1, le=50)] = 3
    """Number of Hessian-vector products in cg and neumann."""
    max_inner_norm: Annotated[float, Field(gt=0)] | None = None
    """Maximum length of an inner step, relative to the norm of the parameters.
    Longer steps are shortened to this length. None: no limit."""
    fd_scale: Annotated[float, Field(gt=0, lt=1)] = 2e-4
    """Length of the finite-difference step, relative to the norm of the parameters."""
    lower_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the videos of a batch, from its start, on which L_pred is computed."""


@dataclass
class OptimConfig:
    """Optimiser and learning-rate schedule."""

    __pydantic_config__ = STRICT

    name: Literal["adamw", "sgd", "lars", "lamb"] = "adamw"
    """sgd has momentum.
    lars and lamb are sgd and adam with steps scaled to the norm of the weights."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate."""
    lr_per: Annotated[int, Field(ge=1)] | None = None
    """Batch size that `lr` and `warmup_lr` are meant for.
    With another batch size both are scaled in proportion. None: no scaling."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay. Biases and normalisation layers have none."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of sgd and lars."""
    nesterov: bool = True
    """Nesterov momentum in sgd and lars."""
    trust: Annotated[float, Field(gt=0)] = 1e-3
    """Length of a lars step relative to the norm of the weights, at a learning rate of 1."""
    fused: Literal["auto", "torch", "apex"] = "auto"
    """Which fused kernels the optimiser uses.
    auto: PyTorch's; for lamb on a GPU those of NVIDIA apex, if it is installed.
    torch: only PyTorch's. apex: only apex's (lamb); without apex the run stops with an error."""
    warmup: Annotated[float, Field(ge=0)] = 0.05
    """Length of the linear warm-up: below 1 a share of the run, from 1 on a number of epochs.
    After it the learning rate falls to 0 along a cosine."""
    warmup_lr: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the start of the warm-up."""
    cosine_from_start: bool = False
    """Start the cosine with the run, not after the warm-up.
    The warm-up then rises to the value that the cosine has reached, as in SlowFast."""
    clip_norm: Annotated[float, Field(gt=0)] | None = 5.0
    """Maximum norm of the whole gradient; a longer one is scaled down. None: no limit."""


@dataclass
class RunLog:
    """Logs and checkpoints of a training."""

    __pydantic_config__ = STRICT

    every: Annotated[int, Field(ge=1)] = 5
    """Number of steps between two lines of metrics.jsonl."""
    save_every: Annotated[int, Field(ge=1)] = 100
    """Number of steps between two checkpoints.
    A checkpoint is also written at the end, and when a signal stops the run."""
    keep_last: Annotated[int, Field(ge=1)] = 1
    """Number of recent checkpoints to keep."""
    keep_every: Annotated[int, Field(ge=1)] | None = None
    """Keep every N-th epoch's checkpoint permanently. None: off."""
    wandb: str | None = None
    """Name of a Weights & Biases project to log to (needs pip install wandb). None: off."""


@dataclass
class LogConfig(RunLog):
    """Logs, checkpoints, and what follows the training."""

    __pydantic_config__ = STRICT

    probe: bool = True
    """Evaluate the frozen encoder with a linear probe at the end, next to the untrained encoder.
    Needs labels."""
    report: bool = True
    """Write report.html at the end."""


@dataclass
class TrainConfig:
    """Pre-train a video encoder with a contrastive method: plain, with L_pred, or with BOD-VCL."""

    __pydantic_config__ = STRICT

    config: str | None = None
    """Recipe to start from: the name of one in configs/ (`--config paper`), or a .yaml file.
    Options on the command line override it. None: for videos of your own the recipe videos."""
    data: str = "scenes"
    """Videos to train on. One of:
    scenes, digits or shapes: a built-in data set.
    A folder: all videos in it and below; files, or folders of numbered images.
    A .csv list with a column `path`, optional columns `split`, `start`, `end` and labels,
    or a list with a path and a label in each line.
    Tar files of videos: a folder of them, 'train-{0000..0127}.tar', or URLs such as
    's3://bucket/train-{0000..0127}.tar' (docs/data_sets.md).
    A data set in its official layout by name: ucf101:FOLDER,
    or ucf101@2:FOLDER for its second split (docs/data_sets.md)."""
    fit: tuple[Fitted, ...] = ()
    """Options to choose from the videos and the device; --dry-run gives the reasons (docs/recipes.md).
    Those that are given on the command line, or by a recipe that builds on this one, are kept."""
    run_dir: UserPath | None = None
    """Folder of this run. None: runs/<date>-<time>-<method>-<decouple>."""
    resume: bool = False
    """Continue from the checkpoint in --run-dir, or in the newest run.
    A run without a checkpoint starts from the beginning."""
    resume_with_other_videos: bool = False
    """With --resume: continue even if videos were added, removed or changed since the checkpoint.
    Without it, such a run is refused and the difference is named.
    Files that only moved to another folder do not count as changed."""
    method: Literal["simclr", "moco", "byol", "swav", "dualvar", "hdc"] = "simclr"
    """Contrastive method. docs/methods.md has the equations.
    simclr, moco, byol, swav: with any --decouple.
    dualvar, and hdc (a reconstruction): baselines to compare with, only with --decouple none."""
    decouple: Literal["none", "pred", "bod"] = "bod"
    """What is added to the method.
    none: nothing; the contrastive loss sees the temporal mean of the embeddings, mean(F).
    pred: the prediction loss L_pred in a lower level.
    bod: BOD-VCL: L_pred, and one contrastive loss each for the static and the dynamic stream."""
    fast: bool = True
    """Use fused operators, channels-last memory and other speed-ups of this machine.
    --no-fast: the reference formulas in plain PyTorch."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """Floating-point type of the backbone in the upper level (solver single: in both levels).
    auto: bf16 with --fast where the hardware has it, else fp32. fp16 uses loss scaling.
    The Koopman algebra, the losses and the weights stay in fp32 or wider.
    tf32 rounds the products of all passes, so solvers with differences (fd, fd_central) refuse it."""
    lower_precision: Literal["fp32", "tf32", "upper"] = "fp32"
    """Floating-point type of the backbone in the lower level, where that has its own passes.
    fp32: exact enough for differences, but slow on a GPU.
    tf32, or upper (same as the upper level, but not fp16): only for solvers without differences."""
    compile: bool = False
    """Compile backbone, projector, streams and losses with torch.compile.
    Needs a C++ compiler, and a solver that does not differentiate the backbone twice.
    The first step then takes as long as the compiler needs."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Cut every batch into this many parts and average their gradients, which saves memory.
    The negatives of a clip, and its inner step, then come from its own part only."""
    sync_norm: bool | None = None
    """Batch normalisation over the clips of all processes.
    None: on for every method except moco."""
    sync_norm_group: Literal["node", "all"] | Annotated[int, Field(ge=1)] = "node"
    """Processes that share the statistics of batch normalisation, where processes share them.
    node: those of one machine, or all where each machine has one.
    all: all of them. A number: that many neighbours; it divides their number."""
    shard: bool = False
    """Cut the backbone's weights, gradients and optimiser state into one part per process (FSDP).
    A step takes less memory, and waits for the weights of each block. For vit_b16.
    Needs --decouple none, --bilevel.scope head or --bilevel.solver single.
    With one process nothing is cut, and the option changes nothing."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: Seed = 0
    """Seed of weights, order of videos, clips and augmentation."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Videos per step. Each gives `clip.views` clips."""
    epochs: Annotated[int, Field(ge=1)] = 24
    """Number of passes over the training videos."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many steps. The learning-rate schedule still spans all `epochs`."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Number of decoding processes. 0: decode in the training process.
    None: chosen from the number of cores."""
    decoder: Literal["auto", "pyav", "dali", "torchcodec"] = "auto"
    """What decodes the training clips.
    auto: DALI if it is installed, the device is CUDA and every file is suitable; otherwise PyAV.
    The choice and its reason are printed.
    pyav: on the CPU, exact for every format.
    dali, torchcodec: optional packages. Files that they would not decode exactly are refused."""
    dry_run: bool = False
    """Print what would be trained and the resolved configuration, then stop.
    The starting weights, the checkpoint to resume and the list of videos are read.
    No video is opened and nothing is written; with --fit the videos are scanned, as by bodvcl data scan."""
    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    digits: DigitsConfig = field(default_factory=DigitsConfig)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)
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
