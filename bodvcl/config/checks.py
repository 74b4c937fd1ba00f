"""Options that contradict each other: every check across options of a run, in one place. Needs no PyTorch.

Each function yields one line per contradiction: the option, what is wrong, and what to change. Ranges of
single options stand in :mod:`bodvcl.config.schema`.
"""

from __future__ import annotations

from collections.abc import Iterator

from bodvcl.config.backbones import CAN_LOAD, CAN_SHARD, GEOMETRY, MIN_FEATURES, TORCHVISION, Geometry
from bodvcl.config.methods import TITLES, WHOLE_CLIP
from bodvcl.config.passes import backbone_passes_alone, differentiates_twice
from bodvcl.config.schema import (
    AugmentConfig,
    BilevelConfig,
    KoopmanConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)


def contradictions(config: TrainConfig) -> Iterator[str]:
    """Everything that the options of a run ask for and cannot have together."""
    yield from _koopman(config.koopman)
    yield from _batch(config)
    yield from _resume(config)
    yield from optim_contradictions(config.optim)
    yield from model_contradictions(config)
    yield from _method(config)
    yield from _streams(config)
    if config.decouple != "none":
        yield from bilevel_contradictions(config.bilevel)
        yield from _compiled(config)
    if config.shard:
        yield from _sharded(config)
    yield from _augment(config.augment)


def _streams(config: TrainConfig) -> Iterator[str]:
    """Options of streams that the run does not have. What older runs mean (`config.saved`) is none."""
    weight = config.objective.dynamic_weight
    for name, value, asked in (
        ("koopman.dynamic", config.koopman.dynamic, config.koopman.dynamic == "std"),
        ("koopman.static", config.koopman.static, config.koopman.static == "mean"),
        ("objective.dynamic_weight", weight, weight not in (None, 1)),
    ):
        if asked and config.decouple != "bod":
            yield (
                f"{name} {value}: only --decouple bod has a static and a dynamic stream; with --decouple "
                f"{config.decouple}, drop it"
            )


# ------------------------------------------------------------------ batch, resume, optimiser, augmentation


def _batch(config: TrainConfig) -> Iterator[str]:
    batch, parts = config.batch_size, config.accumulate
    if batch % parts:
        yield (
            f"accumulate: a batch of {batch} videos cannot be cut into {parts} equal parts; "
            f"set --batch-size to a multiple of {parts}"
        )
    elif batch // parts < 2:
        yield f"accumulate: parts of 1 video have no negatives; set --accumulate to {batch // 2} or less"


def _resume(config: TrainConfig) -> Iterator[str]:
    if config.resume_with_other_videos and not config.resume:
        yield "resume_with_other_videos: only a resumed run can have other videos; add --resume"


def optim_contradictions(config: OptimConfig) -> Iterator[str]:
    """What the options of the optimiser ask for and cannot have together."""
    if config.fused == "apex":
        if config.name != "lamb":
            yield (
                "optim.fused apex: only lamb has a kernel in apex that PyTorch lacks; "
                f"use --optim.fused auto with {config.name}"
            )
        elif config.weight_decay == 0:
            yield "optim.fused apex: apex adapts no group without weight decay; set --optim.weight-decay"


def _augment(config: AugmentConfig) -> Iterator[str]:
    for name, (low, high), top in (
        ("crop_area", config.crop_area, 1.0),
        ("crop_aspect", config.crop_aspect, None),
        ("blur_sigma", config.blur_sigma, None),
    ):
        if not 0 < low <= high or (top is not None and high > top):
            limit = f" <= {top:g}" if top else ""
            yield f"augment.{name}: expected 0 < low <= high{limit}, got {low:g} {high:g}"


# ------------------------------------------------------------------ backbone, clips, Koopman operator


def _koopman(config: KoopmanConfig) -> Iterator[str]:
    power = config.smooth_power
    if power & (power - 1):
        yield f"koopman.smooth_power: expected a power of two, got {power}"


def model_contradictions(config: TrainConfig) -> Iterator[str]:
    """What model, clips, Koopman rank and method ask for and cannot have together."""
    model, geometry = config.model, GEOMETRY[config.model.backbone]
    try:
        geometry.check_size(config.clip.size)
    except ValueError as error:
        yield f"clip.size: {error}"
    try:
        features = geometry.frames_out(config.clip.frames)
    except ValueError as error:
        yield f"clip.frames: {error}"
    else:
        yield from _too_short(config, features)
    if model.backbone != "tiny" and model.width != ModelConfig.width:
        yield f"model.width: only the tiny backbone has this option; with {model.backbone}, drop it"
    if model.temporal_padding != ModelConfig.temporal_padding and geometry.frames_per_feature > 1:
        yield f"model.temporal_padding: {model.backbone} has no temporal convolutions to pad; drop it"
    if model.projector_norm and model.projector_layers == 1:
        yield (
            "model.projector_norm: a projector of one layer has no hidden layer to normalise; use 2 layers "
            "or --model.no-projector-norm"
        )
    if model.weights is not None:
        yield from _wrong_weights(model.weights, geometry)


def _too_short(config: TrainConfig, features: int) -> Iterator[str]:
    name, frames = config.model.backbone, config.clip.frames
    if config.decouple != "none" and features < MIN_FEATURES:
        least = MIN_FEATURES * GEOMETRY[name].frames_per_feature
        yield (
            f"clip.frames: {name} makes {features} features of {frames} frames, and the Koopman operator "
            f"needs {MIN_FEATURES}; use {least} frames or more, or --decouple none"
        )
    elif config.koopman.rank is not None and config.koopman.rank > features - 1:
        yield (
            f"koopman.rank: {name} makes {features} features of {frames} frames, which are {features - 1} "
            f"pairs, so rank is at most {features - 1}; got {config.koopman.rank}"
        )


def _wrong_weights(weights: str, geometry: Geometry) -> Iterator[str]:
    if geometry.name not in CAN_LOAD:
        yield (
            f"model.weights: there are no published weights for {geometry.name}; drop it, or use one of "
            f"{', '.join(CAN_LOAD)}"
        )
        return
    if weights == TORCHVISION and geometry.weights is None:
        yield (
            f"model.weights: torchvision has none for {geometry.name}; give a file, or use "
            f"{', '.join(g.name for g in GEOMETRY.values() if g.weights)}"
        )
        return
    kind = weights.partition(".")[0]
    owner = next((g.name for g in GEOMETRY.values() if g.weights == kind), None)
    if owner is not None and owner != geometry.name:
        yield f"model.weights: {weights} are weights of {owner}, not of {geometry.name}"


# ------------------------------------------------------------------ method


def _method(config: TrainConfig) -> Iterator[str]:
    if config.method == "moco":
        yield from _queue(config)
    if config.method in WHOLE_CLIP:
        yield from _whole_clip(config)
    if config.prediction.strict and config.decouple != "none":
        yield from _strict(config)


def _queue(config: TrainConfig) -> Iterator[str]:
    keys, size = config.batch_size * config.clip.views, config.moco.queue
    if size % keys:
        below = size // keys * keys
        near = f"{below} or {below + keys}" if below else str(keys)
        yield (
            f"moco.queue: a step adds {config.batch_size} videos x {config.clip.views} clips = {keys} keys, "
            f"so the queue must be a multiple of {keys}, such as {near}; got {size}"
        )


def _whole_clip(config: TrainConfig) -> Iterator[str]:
    method, clip = config.method, config.clip
    if config.decouple != "none":
        yield (
            f"decouple {config.decouple}: {TITLES[method]} has losses of its own on pooled clips, and no "
            "per-frame embeddings to fit a Koopman operator on; use --decouple none"
        )
    if not clip.twin or clip.views < 3 or (method == "dualvar" and clip.views != 3):
        count = "3" if method == "dualvar" else "3 or more"
        yield (
            f"method {method} needs {count} clips per video, the last with the frames of the first: use "
            f"--clip.views 3 --clip.twin; got views {clip.views}, {'' if clip.twin else 'no '}twin"
        )
    if method == "dualvar" and clip.frames % config.dualvar.segments:
        yield (
            f"dualvar.segments: a clip of {clip.frames} frames cannot be cut into {config.dualvar.segments} "
            "segments of one length; use a divisor of clip.frames"
        )


def _strict(config: TrainConfig) -> Iterator[str]:
    if config.bilevel.solver == "single":
        yield (
            "prediction.strict: with solver single both levels share one pass, and the strict lower level "
            "needs a pass of its own; use another solver"
        )
    if config.bilevel.scope == "head":
        yield (
            "prediction.strict: with scope head the lower level starts from the features of the whole "
            "network; add --bilevel.scope all"
        )
    if config.model.backbone == "vit_b16":
        yield (
            "prediction.strict: attention mixes all frames, so there is no central slice to keep; use a "
            "convolutional backbone"
        )


# ------------------------------------------------------------------ bi-level step


def bilevel_contradictions(config: BilevelConfig) -> Iterator[str]:
    """What the options of the bi-level step ask for and cannot have together."""
    if config.solver == "single":
        for name, is_set, value in (
            ("inner_steps", config.inner_steps != 1, config.inner_steps),
            ("max_inner_norm", config.max_inner_norm is not None, config.max_inner_norm),
        ):
            if is_set:
                yield (
                    f"bilevel.{name}: solver single has no inner step, so {name} has no effect; leave it "
                    f"out, or use another solver; got {value}"
                )
    if config.solver == "cg" and config.iterations < 2:
        yield (
            "bilevel.iterations: one iteration of conjugate gradients returns a multiple of the first-order "
            f"direction; use at least 2, or solver first_order; got {config.iterations}"
        )


def _compiled(config: TrainConfig) -> Iterator[str]:
    if config.compile and differentiates_twice(config) and config.bilevel.scope == "all":
        yield (
            f"compile with bilevel.solver {config.bilevel.solver}: torch.compile cannot differentiate the "
            "backbone twice; use solver fd, or scope head, or --no-compile"
        )


# ------------------------------------------------------------------ weights that are cut over processes


def _sharded(config: TrainConfig) -> Iterator[str]:
    """What FSDP does not support: the backbone passes once, by itself, block by block."""
    if config.model.backbone not in CAN_SHARD:
        yield (
            f"shard: {config.model.backbone} has no blocks to cut, and is small; drop --shard, or use "
            f"--model.backbone {' or '.join(CAN_SHARD)}"
        )
    if config.method in WHOLE_CLIP:
        yield (
            f"shard: {TITLES[config.method]} passes the backbone itself; drop --shard, or use --method "
            "simclr, moco, byol or swav"
        )
    elif not backbone_passes_alone(config):
        yield (
            f"shard with bilevel.solver {config.bilevel.solver} and scope all: every inner step would pass "
            "the backbone with other weights; use --bilevel.scope head, or drop --shard"
        )
    if config.optim.fused == "apex":
        yield (
            "shard with optim.fused apex: apex takes the norm of a part for that of the whole tensor; use "
            "--optim.fused auto"
        )
    if config.compile:
        yield "shard with compile: FSDP's hooks are not compiled; use one of them"
    if config.precision == "fp16":
        yield "shard with precision fp16: there is no loss scale over cut gradients; use bf16, tf32 or fp32"
