"""BOD-VCL as one loss module, for a training loop of your own."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from bodvcl.config.schema import KoopmanConfig, PredictionConfig
from bodvcl.models.streams import comparable, koopman_streams, prediction_loss
from bodvcl.objectives.tensors import info_nce_in_batch, row_ids, stacked
from bodvcl.ops.checks import capturing
from bodvcl.ops.contrastive.checks import INTEGERS
from bodvcl.ops.distributed import world_size
from bodvcl.ops.koopman.spec import Mask, Mode, Weights
from bodvcl.ops.transforms import active

__all__ = ["DecoupledInfoNCE"]

_NAME = "DecoupledInfoNCE"


class DecoupledInfoNCE(nn.Module):
    r"""The losses of BOD-VCL from per-frame embeddings: one InfoNCE per stream, and L_pred.

    The Koopman operator :math:`K = F_f F_b^+` of every clip (Eq. 18) is split by its eigenvalues into a
    static and a dynamic embedding :math:`Z_A, Z_M` (Eq. 21). Each stream has an InfoNCE loss of its own
    (Eqs. 1 and 22) in which the other clips of the same video are the positives:

    .. math:: L_{static} = L_{NCE}(Z_A; \tau), \qquad L_{dynamic} = L_{NCE}(Z_M; \tau)

    and ``prediction`` is :math:`L_{pred}` (Eq. 19), how badly an operator predicts the frames that it was
    not fitted to. The defaults are those of ``bodvcl train``. The module has no parameters.

    It works under autograd, ``torch.compile``, autocast (its own arithmetic is float32 or wider) and, without
    further options, in several processes: every rank compares its clips with those of all ranks, gradients
    included, and the losses and gradients averaged over ranks, as ``DistributedDataParallel`` averages, are
    those of one process with the whole batch.

    Args:
        temperature: tau of the InfoNCE losses (alpha in the paper's Eq. 1), positive.
        xi: radius of the disk around 1 whose eigenvalues are static, in (0, 1]; only for ``mask="hard"``.
        mask: "smooth", the weight ``((1 + lambda) / 2) ** smooth_power`` of every eigenvalue; "hard", the
            paper's ``|lambda - 1| < xi``, which can empty the static stream.
        smooth_power: exponent of the smooth mask, a power of two.
        weights: "eigenvalue", Eq. 21 as written, ``Z_A + Z_M = K mean(F)``; "projector",
            ``Z_A + Z_M = mean(F)``.
        ridge: ridge of the least-squares fit, as a share of the mean diagonal of the Gram matrix. 0: the
            paper's pseudo-inverse.
        rtol: singular values below rtol times the largest are dropped; only with ``ridge=0``. None: by dtype.
        rank: keep at most this many singular directions, 1 to ``min(T - 1, M)``. None: all.
        normalize: scale every frame's embedding to unit length before the fit.
        dynamic: "mean", Eq. 21: the dynamic part of the mean frame. "std", the standard deviation over time
            of the dynamic parts of the frames, standardised over the clips of all ranks: for videos whose
            scene tells them apart, together with :func:`bodvcl.ops.mix_scenes`. `bodvcl train` gives its
            loss the weight 0.3.
        static: "part", Eq. 21: the mean of the static parts of the frames. "mean", the mean of the frames.
            None: "mean" with ``dynamic="std"``, else "part".
        max_gain: limit of each clip's gradient through the split, as a multiple of that of a plain mean over
            frames. None: no limit.
        mode: what L_pred measures. "loo", every pair of frames predicted by the operator fitted to the other
            pairs; "forecast", the last pair alone; "train", the paper's error on the pairs that were fitted,
            which is 0 whatever the embeddings are when ``T - 1 <= M`` and ``ridge=0``.
        nu: weight of the orthogonality term ``|K'K - I|^2`` in L_pred.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        xi: float = 0.1,
        mask: Mask = "smooth",
        smooth_power: int = 8,
        weights: Weights = "eigenvalue",
        ridge: float = 0.01,
        rtol: float | None = None,
        rank: int | None = None,
        normalize: bool = True,
        dynamic: Literal["mean", "std"] = "std",
        static: Literal["part", "mean"] | None = None,
        max_gain: float | None = 1.0,
        mode: Mode = "loo",
        nu: float = 1e-4,
    ) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise ValueError(f"{_NAME}: temperature: expected a positive number, got {temperature}")
        if dynamic not in ("mean", "std"):
            raise ValueError(f"{_NAME}: dynamic: expected 'mean' or 'std', got {dynamic!r}")
        if static not in ("part", "mean", None):
            raise ValueError(f"{_NAME}: static: expected 'part', 'mean' or None, got {static!r}")
        self.temperature = temperature
        self._koopman = KoopmanConfig(
            xi=xi,
            mask=mask,
            smooth_power=smooth_power,
            weights=weights,
            ridge=ridge,
            rtol=rtol,
            rank=rank,
            normalize=normalize,
            dynamic=dynamic,
            static=static,
            max_gain=max_gain,
        )
        self._prediction = PredictionConfig(mode=mode, nu=nu)
        smallest = replace(self._koopman, rank=min(rank, 2) if isinstance(rank, int) else rank)
        clip = torch.zeros(1, 3, 2, device="cpu")
        koopman_streams(clip, smallest, self._prediction)  # raises for an option that is out of range

    def forward(self, embeddings: Tensor, video_ids: Tensor) -> dict[str, Tensor]:
        """Compute the losses of a batch of clips.

        Args:
            embeddings: ``(N, T, M)`` floating point, one embedding of width M for each of T >= 3 frames of N
                clips: what an encoder gives that does not pool over time.
            video_ids: ``(N,)`` integers, which video each clip was cut from. Clips with equal ids are
                positives, in any order, any number of clips per video. In several processes the ids must be
                unique over all of them, and N the same on every rank. Ids on the CPU spare a wait for the
                GPU.

        Returns:
            Three scalars, float32, or float64 for float64 embeddings:

            - ``"static"``, ``"dynamic"``: InfoNCE of the two streams, means over clips that have a positive.
            - ``"prediction"``: L_pred, mean over clips.

            A NaN or an infinity in the embeddings makes all three NaN.

        Raises:
            TypeError: embeddings or ids of a wrong type.
            ValueError: a shape that does not fit; fewer than 3 frames; in one process also: all clips are of
                one video, or no video has two clips. (Compiled code, ``torch.func`` and the capture of a
                CUDA graph do not look at the values of the ids.)
        """
        _check(embeddings, video_ids)
        streams = koopman_streams(embeddings, self._koopman, self._prediction)
        streams = comparable(streams, self._koopman)
        videos = video_ids.to(embeddings.device, non_blocking=True)
        losses = info_nce_in_batch(
            stacked(streams.embeddings),
            videos,
            row_ids(len(videos), videos.device),
            self.temperature,
            tuple(streams.embeddings),
            check_rows=True,
        )
        assert streams.lower is not None
        assert streams.split is not None
        losses = losses * torch.where(streams.split.nonfinite.any(), torch.nan, 1.0)
        return {**dict(zip(streams.embeddings, losses.unbind())), "prediction": streams.lower}

    def prediction(self, embeddings: Tensor) -> Tensor:
        """L_pred alone (Eq. 19), by a route that can be differentiated twice: for the lower level.

        The bi-level step of the paper takes the gradient of ``static + dynamic`` at the parameters
        ``theta* = theta - gamma grad L_pred(theta)`` and through them (Eqs. 24 and 25), so it needs a second
        derivative of L_pred. ``docs/library.md`` shows the step.

        Args:
            embeddings: ``(N, T, M)``, as for the losses.

        Returns:
            A scalar, the same as ``"prediction"`` of the losses.

        Raises:
            TypeError: embeddings are not floating point.
            ValueError: a shape that does not fit; fewer than 3 frames.
        """
        _check_embeddings(embeddings)
        return prediction_loss(embeddings, self._koopman, self._prediction, twice=True)

    def extra_repr(self) -> str:
        koopman, prediction = self._koopman, self._prediction
        mask = f"xi={koopman.xi:g}" if koopman.mask == "hard" else f"smooth_power={koopman.smooth_power}"
        return (
            f"temperature={self.temperature:g}, mask={koopman.mask!r}, {mask}, ridge={koopman.ridge:g}, "
            f"mode={prediction.mode!r}, nu={prediction.nu:g}"
        )


def _check(embeddings: Tensor, video_ids: Tensor) -> None:
    _check_embeddings(embeddings)
    count = len(embeddings)
    if not isinstance(video_ids, Tensor) or video_ids.dtype not in INTEGERS:
        got = video_ids.dtype if isinstance(video_ids, Tensor) else type(video_ids).__name__
        raise TypeError(f"{_NAME}: video_ids: expected a tensor of integers, one per clip, got {got}")
    if video_ids.shape != (count,):
        raise ValueError(
            f"{_NAME}: video_ids: expected the shape ({count},), an id for each of the {count} clips, "
            f"got {tuple(video_ids.shape)}"
        )
    if torch.compiler.is_compiling() or active() or capturing(video_ids) or world_size() > 1:
        return  # the values cannot be read, or other ranks have more clips
    clips_per_video = torch.unique(video_ids, return_counts=True)[1].tolist()
    if max(clips_per_video, default=0) < 2:
        raise ValueError(
            f"{_NAME}: video_ids: expected two clips or more of a video, got {count} clips of {count} "
            "videos, so that no clip has a positive: cut several clips from each video, with the same id"
        )
    if len(clips_per_video) == 1:
        raise ValueError(
            f"{_NAME}: video_ids: expected clips of two videos or more, got {count} clips of one video, so "
            "that no clip has a negative: take more videos into a batch"
        )


def _check_embeddings(embeddings: Tensor) -> None:
    if not isinstance(embeddings, Tensor) or not embeddings.is_floating_point():
        got = embeddings.dtype if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise TypeError(f"{_NAME}: embeddings: expected a floating-point tensor (N, T, M), got {got}")
    shape = tuple(embeddings.shape)
    if len(shape) != 3:
        raise ValueError(
            f"{_NAME}: embeddings: expected (N, T, M), one embedding per frame, got {shape}: an encoder that "
            "pools over time cannot be used as it is; take its features before that pooling"
        )
    if shape[1] < 3:
        raise ValueError(
            f"{_NAME}: embeddings: expected at least 3 frames per clip, which are two pairs of consecutive "
            f"frames, got {shape[1]}: the shape {shape} is read as (N, T, M)"
        )
    if shape[2] < 1:
        raise ValueError(f"{_NAME}: embeddings: expected a width of at least 1, got {shape}")
