"""What depends on the videos and the device is chosen, told and explained (:mod:`bodvcl.config.fit`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from bodvcl.cli.run_videos import RunVideos, divided, scan_run
from bodvcl.config.fit.choice import TYPICAL, Footage, Machine, value_of
from bodvcl.config.fit.choose import fit
from bodvcl.config.parse import OWN_VIDEOS, validate
from bodvcl.config.passes import bilevel_of
from bodvcl.config.schema import BUILT_IN, Fitted, TrainConfig
from bodvcl.data.files.columns import numbers
from bodvcl.data.files.scan import ScanResult
from bodvcl.engine.assemble import step_memory
from bodvcl.engine.memory import device_memory
from bodvcl.engine.precision import pick_arithmetic, pick_lower
from bodvcl.engine.ranks import Ranks, World
from bodvcl.engine.timing import step_seconds
from bodvcl.models.backbones.on_disk import with_weights_on_disk
from bodvcl.text.words import counted

Reasons = Mapping[Fitted, str]


def fitted(
    config: TrainConfig, found: ScanResult | None, device: torch.device, world: World
) -> tuple[TrainConfig, Reasons]:
    """Choose the options of ``config.fit``, and find torchvision's weights where these are asked for.

    Args:
        config: the options of the run.
        found: its videos, whatever their length. None: not known yet; the options are chosen for typical
            videos, so that what is wrong with the others is seen.
        device: device of this process.
        world: this process among those that train together.

    Returns:
        The options, checked; and the reason of each chosen one.

    Raises:
        ConfigError: options that contradict each other; a device that lacks the arithmetic.
        CheckpointError: the weights are not on this machine.
        DataError: there is no video to train on.
    """
    chosen, reasons = config, dict[Fitted, str]()
    if config.fit:
        footage = TYPICAL if found is None else _footage(found)
        chosen, reasons = fit(config, footage, _machine(device, world), lambda c: _needs(c, device, world))
        chosen = validate(dataclasses.asdict(chosen))
    return dataclasses.replace(chosen, model=with_weights_on_disk(chosen.model)), reasons


def fitted_videos(
    config: TrainConfig, device: torch.device, world: World
) -> tuple[TrainConfig, Reasons, RunVideos]:
    """Find the videos of a run and print what was found; choose what depends on them, with the reasons.

    Raises:
        UserError: as :func:`fitted` and :func:`bodvcl.cli.run_videos.divided`.
    """
    found = scan_run(config)
    chosen, reasons = fitted(config, found, device, world)
    held = found.holding(chosen.clip) if config.fit else found
    return chosen, reasons, divided(held, probed=chosen.log.probe)


def _footage(found: ScanResult) -> Footage:
    videos = found.training()
    return Footage(numbers(videos, "frames"), numbers(videos, "fps"), found.data.flip_forbidden_by)


def _machine(device: torch.device, world: World) -> Machine:
    gpu = device.type == "cuda"
    return Machine(gpu, device_memory(device) if gpu else 0, world.size)


def _needs(config: TrainConfig, device: torch.device, world: World) -> int:
    upper = pick_arithmetic(config.precision, config.fast, device)
    lower = pick_lower(config.lower_precision, bilevel_of(config), upper, device)
    return step_memory(config, upper, lower, world.size).total


def told(config: TrainConfig, videos: int, ranks: Ranks, processes: int | None = None) -> str:
    """One line: what was chosen, and what it costs.

    Args:
        config: the options, with nothing left to choose.
        videos: number of videos to train on.
        ranks, processes: as for :func:`~bodvcl.engine.timing.step_seconds`, which measures a step.
    """
    clip, model = config.clip, config.model
    steps = config.epochs * (videos // config.batch_size)
    steps = steps if config.max_steps is None else min(steps, config.max_steps)
    seconds = step_seconds(config, ranks, processes)
    rate = "" if clip.fps is None else f" at {clip.fps:g} fps"
    width = f" of width {model.width}" if model.backbone == "tiny" else ""
    return (
        f"{_recipe(config)}fitted to {counted(videos, 'video')} and {_named(ranks.device)} "
        f"(--dry-run says why): {model.backbone}{width}, clips of {clip.frames}x{clip.size}x{clip.size} with "
        f"stride {clip.stride}{rate}, {config.batch_size} videos a step, {counted(config.epochs, 'epoch')}; "
        f"{counted(steps, 'step')} of {seconds:.3g} s take about {duration(steps * seconds)} "
        "(a step was measured, without decoding)"
    )


def _recipe(config: TrainConfig) -> str:
    name = config.config or (None if config.data in BUILT_IN else OWN_VIDEOS)
    return f"recipe {name}, " if name else ""


def explained(config: TrainConfig, reasons: Reasons) -> list[str]:
    """A line for each chosen option: its value and its reason."""
    return [f"  {name} {_shown(value_of(config, name))}: {reason}" for name, reason in reasons.items()]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
