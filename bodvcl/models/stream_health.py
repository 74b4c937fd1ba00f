"""Health of the streams of a batch: measures of collapse and of the Koopman spectrum, for the log."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from bodvcl.models.streams import SplitOutput


@torch.no_grad()
def stream_health(streams: SplitOutput, views: int) -> dict[str, Tensor]:
    """Scalars by name that describe the embeddings of a batch.

    For each stream:

    - ``mean_cosine_<stream>``: mean cosine between clips of different videos; 1 where all embeddings have
      collapsed to one point.
    - ``effective_rank_<stream>``: exponential of the entropy of the singular values of the unit embeddings
      (Roy and Vetterli 2007), between 1 and min(N, M).

    For a Koopman split:

    - ``stream_cosine``: mean over clips of the cosine between Z_A and Z_M; 1 where the split separates
      nothing.
    - ``shared_neighbours``: share of the clips whose nearest clip of another video is one of the same video
      in both streams; high where both streams hold the same, whatever their directions are.
    - ``circle_distance``: mean of ``| 1 - |lambda| |`` over the eigenvalues that were kept: how fast the
      modes decay or grow.
    - ``split_margin``: mean over clips of the smallest distance between an eigenvalue and the circle of the
      hard mask (how far the split is from a jump), or between an eigenvalue and 1 (smooth mask).

    Args:
        streams: output of a splitter for N clips, sorted by video.
        views: clips per video.
    """
    health = {}
    for name, z in streams.embeddings.items():
        u = normalize(z.nan_to_num(posinf=0.0, neginf=0.0), dim=-1)
        health[f"mean_cosine_{name}"] = _mean_cosine(torch.unflatten(u, 0, (-1, views)))
        health[f"effective_rank_{name}"] = _effective_rank(u)
    if streams.split is not None:
        alike = cosine_similarity(streams.split.static, streams.split.dynamic, dim=-1)
        health["stream_cosine"] = alike.nan_to_num().mean()
        health["shared_neighbours"] = _shared_neighbours(streams.embeddings, views)
        radius = streams.split.eigenvalues().abs()
        kept = torch.arange(radius.shape[-1], device=radius.device) < streams.split.rank[..., None]
        off = torch.where(kept, (1 - radius).abs(), 0.0)
        health["circle_distance"] = off.sum() / kept.sum().clamp_min(1)
        margin = streams.split.distance()
        some = torch.isfinite(margin)
        health["split_margin"] = torch.where(some, margin, 0.0).sum() / some.sum().clamp_min(1)
    return health


def _shared_neighbours(embeddings: Mapping[str, Tensor], views: int) -> Tensor:
    """Share of the clips ``(N, M)`` of the two streams whose nearest other video is the same in both."""
    first = next(iter(embeddings.values()))
    if len(first) == views:  # one video has no other
        return first.new_zeros(())
    static, dynamic = (_nearest_video(z, views) for z in embeddings.values())
    return (static == dynamic).float().mean()


def _nearest_video(z: Tensor, views: int) -> Tensor:
    """The video ``(N,)`` of the clip of another video that has the largest cosine with each clip."""
    u = normalize(z.nan_to_num(posinf=0.0, neginf=0.0), dim=-1)
    video = torch.arange(len(u), device=u.device) // views
    own = video[:, None] == video
    return video[(u @ u.mT).masked_fill(own, -torch.inf).argmax(1)]


def _mean_cosine(u: Tensor) -> Tensor:
    """Mean dot product of vectors ``(B, V, M)`` of different videos; zero vectors are ignored, all others
    have unit length."""
    counts = (u.abs().amax(-1) > 0).to(u.dtype).sum(1)
    pairs = counts.sum().square() - counts.square().sum()
    total = u.sum((0, 1)).square().sum() - u.sum(1).square().sum()
    return total / pairs.clamp_min(1)


def _effective_rank(u: Tensor) -> Tensor:
    values = torch.linalg.svdvals(u)
    weights = torch.distributions.Categorical(values + torch.finfo(u.dtype).tiny)
    entropy: Tensor = weights.entropy()
    return entropy.exp()
