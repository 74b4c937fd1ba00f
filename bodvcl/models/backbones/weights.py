"""Loads published weights: Slow-R50 of SlowFast and PyTorchVideo, and torchvision's networks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
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
from bodvcl.models.backbones.temporal import RepeatConv3d

_PREFIXES = ("module.", "backbone.")
"""Prefixes that wrappers add to names: PyTorch's data parallelism, SlowFast's contrastive models."""

_PUBLISHED_NAME = re.compile(r"\w+_Weights\.\w+")

_CLASSIFIERS = ("head.", "blocks.5.", "fc.", "classifier.")

_SLOWFAST = (
    (r"s1\.pathway0_stem\.(conv|bn)\.(\w+)", r"stem.\1.\2"),
    (r"s(\d)\.pathway0_res(\d)\.branch1\.(\w+)", r"res\1.\2.skip.conv.\3"),
    (r"s(\d)\.pathway0_res(\d)\.branch1_bn\.(\w+)", r"res\1.\2.skip.bn.\3"),
    (r"s(\d)\.pathway0_res(\d)\.branch2\.([abc])\.(\w+)", r"res\1.\2.branch.\3.\4"),
    (r"s(\d)\.pathway0_res(\d)\.branch2\.([abc])_bn\.(\w+)", r"res\1.\2.branch.\3_bn.\4"),
)

_PYTORCHVIDEO = (
    (r"blocks\.0\.conv\.(\w+)", r"stem.conv.\1"),
    (r"blocks\.0\.norm\.(\w+)", r"stem.bn.\1"),
    (r"blocks\.(\d)\.res_blocks\.(\d)\.branch1_conv\.(\w+)", r"res<\1>.\2.skip.conv.\3"),
    (r"blocks\.(\d)\.res_blocks\.(\d)\.branch1_norm\.(\w+)", r"res<\1>.\2.skip.bn.\3"),
    (r"blocks\.(\d)\.res_blocks\.(\d)\.branch2\.conv_([abc])\.(\w+)", r"res<\1>.\2.branch.\3.\4"),
    (r"blocks\.(\d)\.res_blocks\.(\d)\.branch2\.norm_([abc])\.(\w+)", r"res<\1>.\2.branch.\3_bn.\4"),
)
"""PyTorchVideo counts stages from 1; SlowFast and bodvcl count from 2: ``<n>`` stands for n + 1."""


def load_pretrained(backbone: Backbone, name_or_path: str | Path) -> list[str]:
    """Load published weights into a backbone, in place.

    Args:
        backbone: a backbone of :data:`bodvcl.config.backbones.CAN_LOAD`, with either temporal padding.
        name_or_path: a checkpoint file (SlowFast's ``.pyth``, with names such as
            ``s1.pathway0_stem.conv.weight``, also of its contrastive models; PyTorchVideo's ``.pyth``;
            torchvision's ``.pth``), or the name of torchvision's weights
            (``R3D_18_Weights.KINETICS400_V1``), which are downloaded once.

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
    backbone.load_state_dict(_fitting(backbone, source), strict=False)
    return _report(source, backbone)


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
        _fitting(backbone, config.weights)
    later = [] if url is None else [f"  to be downloaded from {url}"]
    return [*_report(config.weights, backbone), *later]


def _fitting(backbone: Backbone, source: str) -> dict[str, Tensor]:
    """Weights of a file, or published weights, with the names of the backbone, after checking that they
    fit."""
    weights = our_names(_read(source, backbone.name))
    _refuse_misfits(source, backbone.name, backbone.state_dict(), weights)
    broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"{source} holds NaN or infinities ({_some(broken)}); give a file that is not damaged"
        )
    return weights


def _to_download(source: str, backbone: str) -> str | None:
    """URL of published weights that are not on disk yet; None: nothing to download."""
    if not _is_published(source):
        return None
    url = _published(source, backbone).url
    on_disk = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
    return None if on_disk.exists() else url


def _is_published(source: str) -> bool:
    return not Path(source).expanduser().exists() and _PUBLISHED_NAME.fullmatch(source) is not None


def our_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the names of bodvcl's backbones; names of an unknown layout do not change.

    Classifiers are dropped. Of a contrastive model, only the ``backbone.`` is kept: projector, predictor and
    momentum encoder are dropped.
    """
    for prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in weights):
            weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    return {_our_name(k): v for k, v in weights.items() if not k.startswith(_CLASSIFIERS)}


def _our_name(name: str) -> str:
    for pattern, ours in (*_SLOWFAST, *_PYTORCHVIDEO):
        match = re.fullmatch(pattern, name)
        if match:
            return re.sub(r"<(\d)>", lambda m: str(int(m[1]) + 1), match.expand(ours))
    return name


def _read(source: str, backbone: str) -> Mapping[str, Tensor]:
    path = Path(source).expanduser()
    if _is_published(source):
        return _download(_published(source, backbone))
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(_not_there(path, error.strerror or str(error))) from error
    except Exception as error:  # the unpickler takes any bytes for instructions and may raise anything
        raise CheckpointError(
            f"{path} is not a checkpoint that PyTorch can read safely: damaged, or another kind of file "
            "(Caffe2's .pkl is not supported; use the .pyth)"
        ) from error
    while isinstance(state, Mapping) and isinstance(inner := _inner(state), Mapping):
        state = inner
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path} holds no weights: expected a dictionary of tensors by name")
    return state


def _not_there(path: str | Path, why: str) -> str:
    return (
        f"cannot read weights {path}: {why}; expected a file or a name such as R3D_18_Weights.KINETICS400_V1"
    )


def _inner(state: Mapping[str, Any]) -> Any:
    return next((state[key] for key in ("model_state", "state_dict", "model") if key in state), None)


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
        f"{len(names)} {what} ({_some(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{source} does not hold the weights of {backbone}: {', '.join(problems)}; "
            "choose the backbone they were made for with --model.backbone"
        )


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _report(source: str, backbone: Backbone) -> list[str]:
    lines = [f"backbone {backbone.name} starts from {source}"]
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
