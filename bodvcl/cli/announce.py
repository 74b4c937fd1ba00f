"""What will be trained, in a few lines, before anything is done."""

from __future__ import annotations

import torch

from bodvcl.cli import info
from bodvcl.config.methods import TITLES
from bodvcl.config.passes import bilevel_of, passes
from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.order import check_share
from bodvcl.engine.assemble import norm_group, step_memory, synchronises_norms
from bodvcl.engine.memory import refuse_absurd
from bodvcl.engine.precision import pick_arithmetic, pick_lower
from bodvcl.engine.ranks import World
from bodvcl.models.backbones.weights import weights_report
from bodvcl.models.encoder import build_encoder
from bodvcl.models.layout import parameter_count
from bodvcl.optim.schedule import batch_factor
from bodvcl.text.words import counted


def announcement(config: TrainConfig, device: torch.device, world: World) -> list[str]:
    """Lines about method, network, passes, arithmetic, learning rate, processes and operators.

    With ``--dry-run`` also an estimate of the memory.

    Args:
        config: the options of the run.
        device: device of this process.
        world: this process among those that train together.

    Raises:
        ConfigError: the device lacks the requested arithmetic; the processes cannot share the batch equally
            or form the groups that share batch statistics; a step needs several times the memory of the
            device.
        CheckpointError: the weights to start from cannot be read.
    """
    method = {"none": "plain", "pred": "+ L_pred", "bod": "+ BOD-VCL"}[config.decouple]
    arithmetic = pick_arithmetic(config.precision, config.fast, device)
    lower = pick_lower(config.lower_precision, bilevel_of(config), arithmetic, device)
    check_share(config.batch_size, 0, world.size)
    norms = norm_group(config, world)
    where = "fp32" if arithmetic.name == "fp32" else f"{arithmetic.name} backbone in the upper level"
    with torch.device("meta"):
        parameters = parameter_count(build_encoder(config.model))
    lines = [
        f"{TITLES[config.method]} {method}: {config.batch_size} videos x "
        f"{config.clip.views} clips of {config.clip.frames}x{config.clip.size}x{config.clip.size} a step, "
        f"{counted(config.epochs, 'epoch')}",
        f"{config.model.backbone} backbone and projector, {parameters / 1e6:.2f} M parameters; "
        f"{_passes(config)}; {where} on {device}",
        *weights_report(config.model),
    ]
    factor = batch_factor(config.optim, config.batch_size)
    if config.optim.lr_per is not None and factor != 1:
        lines.append(
            f"learning rate {config.optim.lr:g} per {counted(config.optim.lr_per, 'video')}: "
            f"{config.optim.lr * factor:g} for {config.batch_size}"
        )
    if world.size > 1:
        lines.append(f"{world.size} processes, {counted(config.batch_size // world.size, 'video')} each")
        if synchronises_norms(config) and norms < world.size:
            lines.append(f"batch normalisation in groups of {norms}")
    if config.shard:
        lines.append(
            f"weights, gradients and optimiser state of the backbone in {world.size} parts (FSDP)"
            if world.size > 1
            else "--shard changes nothing: one process holds everything"
        )
    if config.accumulate > 1:
        lines.append(f"every batch in {config.accumulate} parts, their gradients averaged")
    estimate = step_memory(config, arithmetic, lower, world.size)
    if not config.dry_run:
        refuse_absurd(estimate, device)
    else:
        lines.append(f"estimated memory, without the work space of convolutions: {estimate}")
    lines.append(
        info.brief() if config.fast else "reference route (--no-fast): the paper's formulas in PyTorch"
    )
    return lines


def _passes(config: TrainConfig) -> str:
    forward, backward, double = passes(bilevel_of(config))
    twice = f" and {double} through a backward pass" if double else ""
    momentum = ", 1 forward pass of the momentum encoder" if config.method in ("moco", "byol") else ""
    noun = "pass" if backward == 1 else "passes"
    return f"{forward} forward and {backward} backward {noun} a step{twice}{momentum}"
