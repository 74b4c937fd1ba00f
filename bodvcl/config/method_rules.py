"""What a method asks of the rest of the configuration. Light: the command line reads it before PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

from bodvcl.config.schema import TrainConfig

TITLES = {
    "simclr": "V-SimCLR",
    "moco": "V-MoCo",
    "byol": "V-BYOL",
    "swav": "V-SwAV",
    "dualvar": "DualVar",
    "hdc": "HDC-style",
}
"""Name of each method in print."""

WHOLE_CLIP = ("dualvar", "hdc")
"""Methods that compare whole clips in their own ways and have no per-frame streams to split."""


def method_contradictions(config: TrainConfig) -> Iterator[str]:
    """One line for everything about the method that cannot be: what is wrong, and what to change."""
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
            "per-frame embeddings that a Koopman operator could be fitted on; use --decouple none"
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
            "prediction.strict: with solver single both levels share one pass, and the strict one needs "
            "its own; use another solver"
        )
    if config.bilevel.scope == "head":
        yield (
            "prediction.strict: with scope head the lower level starts from the features of the whole "
            "network; add --bilevel.scope all"
        )
    if config.model.backbone == "vit_b16":
        yield (
            "prediction.strict: attention mixes all frames, there is no central slice to keep; use a "
            "convolutional backbone"
        )
