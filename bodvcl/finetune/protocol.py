"""What two results must share to stand in one table, and what a run says before it begins."""

from __future__ import annotations

from dataclasses import asdict

from bodvcl.config.schema import ClipConfig
from bodvcl.engine.flops import forward_flops
from bodvcl.finetune.labels import Labels
from bodvcl.finetune.loop_options import TuneOptim
from bodvcl.finetune.network import VideoClassifier
from bodvcl.finetune.options import FinetuneOptions, TuneAugment
from bodvcl.finetune.start import Start
from bodvcl.finetune.views import Views
from bodvcl.models.layout import parameter_count
from bodvcl.optim.schedule import batch_factor
from bodvcl.runs.results import Fact
from bodvcl.text.words import counted


def tested_views(options: FinetuneOptions, clip: ClipConfig) -> Views:
    """The views that the network is tested on."""
    return Views(options.test.clips, options.test.crops, options.test.size or clip.size)


def protocol(options: FinetuneOptions, clip: ClipConfig, labels: Labels) -> dict[str, Fact]:
    """Facts that results of one table must share."""
    return {
        "label": labels.column,
        "classes": len(labels.classes),
        "tune": options.tune,
        "frozen_norm": options.frozen_norm,
        "pooling": options.pooling,
        "head_norm": options.head_norm,
        "clip": f"{clip.frames} frames, stride {clip.stride}, {clip.size} pixels"
        + ("" if clip.fps is None else f", {clip.fps:g} fps"),
        "test": str(tested_views(options, clip)),
        "epochs": options.epochs,
        "train_videos": options.train_videos,
        "clips_per_video": options.clips_per_video,
        "batch_size": options.batch_size,
        **rate_and_schedule(options.optim),
        "augment": _changed(options.augment),
        "layer_decay": options.layer_decay,
        "dropout": options.dropout,
        "label_smoothing": options.label_smoothing,
        "mixup": options.mixup,
        "cutmix": options.cutmix,
        "keep": options.keep,
        "recipe": options.recipe,
    }


def _changed(augment: TuneAugment) -> str:
    """The augmentation where it is not the default."""
    usual = asdict(TuneAugment())
    return ", ".join(f"{name} {value}" for name, value in asdict(augment).items() if value != usual[name])


def rate_and_schedule(optim: TuneOptim) -> dict[str, Fact]:
    """Facts about the optimiser."""
    steps = [f"{factor:g} after {epoch:g}" for epoch, factor in zip(optim.milestones, optim.factors)]
    return {
        "optimizer": optim.name,
        "lr": f"{optim.lr:g}" + ("" if optim.lr_per is None else f" per {optim.lr_per}"),
        "schedule": ", ".join(["steps", *steps]) if steps else optim.schedule,
        "warmup": optim.warmup,
        "weight_decay": optim.weight_decay,
    }


def announcement(options: FinetuneOptions, start: Start, network: VideoClassifier) -> list[str]:
    """Lines about the network, what trains of it, clips, schedule, test, and what they cost."""
    clip, optim = start.clip, options.optim
    trained = sum(p.numel() for group in network.groups() for p in group.parameters)
    part = {"all": "the whole network", "head": "the linear layer"}.get(
        options.tune, f"the linear layer and the {options.tune.replace('-', ' ')} parts"
    )
    cost = forward_flops(start.model, clip)
    passes = 1 if options.tune == "head" else 3
    views = tested_views(options, clip)
    area = (views.size / clip.size) ** 2
    rate = optim.lr * batch_factor(optim, options.batch_size)
    return [
        start.text,
        f"{part} trains: {trained / 1e6:.2f} of {parameter_count(network) / 1e6:.2f} M parameters",
        f"{options.batch_size} clips of {clip.frames}x{clip.size}x{clip.size} a step, "
        f"{counted(options.epochs, 'epoch')}, {optim.name}, learning rate {rate:g}, {optim.schedule}",
        f"test: {views} a video, averaged",
        f"about {passes * cost / 1e9:.3g} GFLOP for a training clip and "
        f"{views.clips * views.crops * area * cost / 1e9:.3g} GFLOP for a test video",
    ]
