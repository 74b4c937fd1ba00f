"""Loads weights that others trained: Slow-R50 of SlowFast and PyTorchVideo, and torchvision's networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import Tensor
from torchvision.models import WeightsEnum, get_weight

from bodvcl.config.backbones import CAN_LOAD, GEOMETRY
from bodvcl.config.schema import ModelConfig
from bodvcl.errors import CheckpointError
from bodvcl.models.backbones.base import Backbone
from bodvcl.models.backbones.build import build_backbone
from bodvcl.models.backbones.checkpoint_file import Found, read_tensors, some
from bodvcl.models.backbones.temporal import RepeatConv3d
from bodvcl.models.backbones.weight_names import our_weights
from bodvcl.text.words import counted

_PUBLISHED_NAME = re.compile(r"\w+_Weights\.\w+")


def load_pretrained(backbone: Backbone, name_or_path: str | Path) -> list[str]:
    """Load published weights into a backbone, in place.

    Args:
        backbone: a backbone of :data:`bodvcl.config.backbones.CAN_LOAD`, with either temporal padding.
        name_or_path: a checkpoint file, or the name of torchvision's weights
            (``R3D_18_Weights.KINETICS400_V1``), which are downloaded once. The layers of a file have the
            names of SlowFast (``s1.pathway0_stem.conv.weight``), PyTorchVideo, torchvision or bodvcl, with
            anything before them (``module._orig_mod.encoder_q.``). It may be a .safetensors file.

    Returns:
        Lines for the user: what was loaded, and how the network differs from the one that was trained.

    Raises:
        CheckpointError: the weights are not found, not readable, not finite, or of another backbone (the
            message lists missing and unexpected names and other shapes).
    """
    if backbone.name not in CAN_LOAD:
        raise CheckpointError(
            f"there are no published weights for {backbone.name}; there are for {', '.join(CAN_LOAD)}"
        )
    source = str(name_or_path)
    weights, remarks = _fitting(backbone, source)
    backbone.load_state_dict(weights, strict=False)
    return [_starts_from(source, backbone), *remarks]


def weights_report(config: ModelConfig) -> list[str]:
    """The lines that :func:`load_pretrained` returns for this configuration, after the same checks.

    A file is read. Published weights that are not on disk are not downloaded; a line says so.

    Raises:
        CheckpointError: as :func:`load_pretrained`, except for a download that fails.
    """
    if config.weights is None:
        return []
    with torch.device("meta"):
        backbone = build_backbone(config)
    url = _to_download(config.weights, config.backbone)
    if url is None:
        remarks = _fitting(backbone, config.weights)[1]
    else:
        remarks = [*_differences(backbone), f"  to be downloaded from {url}"]
    return [_starts_from(config.weights, backbone), *remarks]


def _fitting(backbone: Backbone, source: str) -> tuple[dict[str, Tensor], list[str]]:
    """Weights of a file, or published weights, with the names of the backbone, after checking that they
    fit; and what is to be said of them."""
    found = _read(source, backbone.name)
    try:
        weights, left_out, remark = our_weights(found.weights, backbone.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from error
    _refuse_misfits(source, backbone.name, backbone.state_dict(), weights)
    broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"{source} holds NaN or infinities ({some(broken)}); give a file that is not damaged"
        )
    remarks = [f"  {text}" for text in (found.remark, remark) if text]
    if left_out:
        remarks.append(
            f"  not of the backbone, left out: {some(left_out)} ({counted(len(left_out), 'name')})"
        )
    return weights, remarks if found.ours else [*remarks, *_differences(backbone)]


def _to_download(source: str, backbone: str) -> str | None:
    """URL of published weights that are not on disk yet; None: nothing to download."""
    if not _is_published(source):
        return None
    url = _published(source, backbone).url
    on_disk = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
    return None if on_disk.exists() else url


def _is_published(source: str) -> bool:
    return not Path(source).expanduser().exists() and _PUBLISHED_NAME.fullmatch(source) is not None


def _read(source: str, backbone: str) -> Found:
    if _is_published(source):
        return Found(_download(_published(source, backbone)))
    return read_tensors(Path(source).expanduser())


def _published(name: str, backbone: str) -> WeightsEnum:
    expected = GEOMETRY[backbone].weights
    try:
        weights = get_weight(name)
    except (AttributeError, KeyError, ValueError) as error:
        known = f"{expected}.KINETICS400_V1" if expected else "a checkpoint file (.pyth)"
        raise CheckpointError(
            f"torchvision has no weights {name}; for {backbone} there is {known}"
        ) from error
    if name.partition(".")[0] != expected:
        fits = f"use {expected}.KINETICS400_V1" if expected else "use a checkpoint file (.pyth)"
        raise CheckpointError(f"{name} are not weights of {backbone}; {fits}")
    return weights


def _download(weights: WeightsEnum) -> Mapping[str, Tensor]:
    """Published weights; they are downloaded once and then read from disk."""
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
        return state
    except (URLError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"cannot download {weights.url} ({error}); download it in another way and give the file instead"
        ) from error


def _refuse_misfits(
    source: str, backbone: str, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> None:
    missing = [k for k in own if k not in weights and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in weights if k not in own]
    shapes = [
        f"{k} {tuple(weights[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in weights and weights[k].shape != own[k].shape
    ]
    problems = [
        f"{len(names)} {what} ({some(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{source} does not hold the weights of {backbone}: {', '.join(problems)}; "
            "choose the backbone they were made for with --model.backbone"
        )


def _starts_from(source: str, backbone: Backbone) -> str:
    return f"backbone {backbone.name} starts from {source}"


def _differences(backbone: Backbone) -> list[str]:
    """How the network differs from the one that the weights of others were trained in."""
    lines = []
    if GEOMETRY[backbone.name].weights:
        lines.append(
            "  it was trained with temporal strides, which are removed here: frames in its deeper layers "
            "were up to 8 times further apart"
        )
    if any(isinstance(m, RepeatConv3d) for m in backbone.modules()):
        lines.append(
            "  it was trained with zeros beyond the ends of a clip; here the outer frames are repeated "
            "(--model.temporal-padding zero: as it was trained)"
        )
    return lines
