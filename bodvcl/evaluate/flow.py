"""Optical flow between the frames of a clip, by RAFT or TV-L1."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from torchvision.models import optical_flow

from bodvcl.errors import ConfigError
from bodvcl.evaluate.names import FlowName

RAFTS = {
    "RAFT large": (optical_flow.raft_large, optical_flow.Raft_Large_Weights.DEFAULT),
    "RAFT small": (optical_flow.raft_small, optical_flow.Raft_Small_Weights.DEFAULT),
}
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_RAFT_SIDE = 128  # pixels: RAFT's correlation pyramid needs this much
_RAFT_PAIRS = 8  # pairs of frames at a time


class Flow(Protocol):
    """Backward optical flow of a clip: uint8 ``(F, H, W, 3)`` -> float32 ``(F - 1, H, W, 2)``.

    What is at pixel (x, y) of frame t + 1 was at (x + dx, y + dy) in frame t, ``(dx, dy) = flow[t, y, x]``.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def on_workers(self) -> bool:
        """Whether it may run in several processes at once."""
        ...

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]: ...


class TVL1:
    """TV-L1 flow (Zach, Pock and Bischof, 2007) of scikit-image with its default parameters."""

    name = "TV-L1 (scikit-image)"
    on_workers = True

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        from skimage.registration import optical_flow_tvl1

        gray = frames.astype(np.float32) @ _LUMA / 255
        pairs = [optical_flow_tvl1(later, earlier) for earlier, later in itertools.pairwise(gray)]
        flow: NDArray[np.float32] = np.stack(pairs)[:, ::-1].transpose(0, 2, 3, 1).astype(np.float32)
        return flow


class RAFT:
    """RAFT (Teed and Deng, 2020) of torchvision; clips below its smallest size are enlarged.

    Raises:
        ConfigError: the file does not hold its weights.
    """

    on_workers = False

    def __init__(self, name: str, file: Path, device: torch.device) -> None:
        build, weights = RAFTS[name]
        self.name = f"{name} (torchvision, {file.name})"
        self.device = device
        self.model = build(weights=None, progress=False)
        try:
            self.model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except Exception as error:  # the unpickler takes any bytes for instructions and may raise anything
            raise ConfigError(
                f"{file}: not the weights of {name}, or damaged; download {weights.url} again, "
                "or use --flow tvl1"
            ) from error
        self.model.to(device).eval()

    @torch.no_grad()
    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = frames.shape[1:3]
        size = [max(_RAFT_SIDE, 8 * math.ceil(side / 8)) for side in (height, width)]
        pictures = torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        pictures = F.interpolate(pictures, size, mode="bilinear", align_corners=False)
        pairs = zip(pictures[1:].split(_RAFT_PAIRS), pictures[:-1].split(_RAFT_PAIRS))
        flow = torch.cat([self.model(later, earlier)[-1] for later, earlier in pairs])
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
        scale = torch.tensor([width / size[1], height / size[0]], device=self.device)
        return (flow.permute(0, 2, 3, 1) * scale).cpu().numpy()


def choose_flow(name: FlowName, device: torch.device) -> Flow:
    """The flow of this name. Nothing is downloaded.

    Args:
        name: ``auto``: RAFT if its weights are on disk, else TV-L1.
        device: where RAFT runs.

    Raises:
        ConfigError: the flow is not installed, or its weights are damaged; the message says how to get it.
    """
    found = _raft_weights()
    if name == "raft" or (name == "auto" and found):
        if found is None:
            raise ConfigError(
                f"--flow raft: the weights of RAFT are missing; {_how_raft()}, or use --flow tvl1"
            )
        return RAFT(*found, device)
    if importlib.util.find_spec("skimage") is None:
        raise ConfigError(
            "the dynamic control needs an optical flow: install scikit-image for TV-L1 "
            f"(pip install scikit-image), or for RAFT {_how_raft()}"
        )
    return TVL1()


def _raft_weights() -> tuple[str, Path] | None:
    """Name and file of the largest RAFT whose weights are in PyTorch's folder for downloads."""
    files = {name: _folder() / weights.url.rpartition("/")[2] for name, (_, weights) in RAFTS.items()}
    return next(((name, file) for name, file in files.items() if file.is_file()), None)


def _how_raft() -> str:
    return f"put {RAFTS['RAFT large'][1].url} into {_folder()}"


def _folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"
