"""Cuts the weights of the backbone over the ranks with PyTorch's FSDP, and puts them together again."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bodvcl.config.schema import ModelConfig, TrainConfig
from bodvcl.engine.learner import Learner
from bodvcl.engine.ranks import Ranks
from bodvcl.models.encoder import VideoEncoder, build_encoder
from bodvcl.ops.cut import own_part


def cuts_weights(config: TrainConfig, ranks: int) -> bool:
    """Whether a run on so many ranks cuts the weights of its backbone: one rank has nothing to share."""
    return config.shard and ranks > 1


def cut_backbones(learner: Learner, device: torch.device, autocast: torch.dtype | None) -> None:
    """Cut the parameters of the backbone, and of the momentum encoder's, along their first dimension.

    Before a block passes, its parameters are gathered from all ranks. After it they are freed; in the
    backward pass the gradients are summed, each part on the rank that owns it. Projector, predictor and
    prototypes stay whole on every rank: they are small, and the look-ahead moves them.

    Args:
        learner: the modules, the same on every rank.
        device: device of the training.
        autocast: dtype of the backbone's arithmetic, in which its parameters travel; None: their own.
            Gradients are summed in the parameters' own dtype.
    """
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    world = dist.group.WORLD
    assert world is not None
    mesh = DeviceMesh.from_group(world, device.type)
    policy = MixedPrecisionPolicy(
        autocast, None if autocast is None else torch.float32, cast_forward_inputs=False
    )
    encoders = [learner.encoder] if learner.target is None else [learner.encoder, learner.target]
    for encoder in encoders:
        encoder.backbone.register_forward_hook(_no_view)
        for module in [*encoder.backbone.pieces(), encoder.backbone]:
            fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def _no_view(module: nn.Module, inputs: object, features: Tensor) -> Tensor:
    """FSDP wants an output that is no view: it hangs its hook there. Features are small."""
    return features.clone()


def whole_encoder(encoder: VideoEncoder, model: ModelConfig, ranks: Ranks) -> VideoEncoder:
    """The encoder with whole parameters on rank 0, where one rank alone can use it.

    All ranks call it where the encoder's weights are cut. The others get an encoder without numbers, on the
    meta device: one of FSDP would keep the connections to the other ranks open.

    Args:
        encoder: the encoder, cut or not.
        model: its configuration.
        ranks: the processes.
    """
    state = encoder.state_dict()
    if all(own_part(t) is t for t in state.values()):
        return encoder
    whole = {}
    for name, t in state.items():
        together = t.full_tensor() if own_part(t) is not t else t
        if ranks.first:
            whole[name] = together
    with torch.device("meta"):
        alone = build_encoder(model)
    if ranks.first:
        alone.load_state_dict(whole, assign=True)
    return alone


def all_finite(module: nn.Module) -> bool:
    """Whether the parameters of a module are finite; of those that are cut, this rank's part."""
    return all(bool(torch.isfinite(own_part(p)).all()) for p in module.parameters())
