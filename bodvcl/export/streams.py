"""The Koopman split of a clip from additions and products alone, as every format can hold it.

Per clip, with frames as columns, ``F`` (M x T), ``Fb = F[:, :-1]``, ``Ff = F[:, 1:]``, ``n = T - 1`` and the
ridge ``mu``::

    N = (Fb'Fb + mu I)^-1,   K = Ff N Fb'                                                       (Eq. 18)
    f(K) = Ff g(N Fb'Ff) N Fb'   for f(x) = x g(x), g(x) = ((1 + x) / 2)^p                      (Eq. 21)

The smooth mask is a polynomial in K, so that no eigenvalue is needed. The inverse is Gauss and Jordan's, step
by step, because ONNX has none; Fb'Fb + mu I is positive definite and needs no pivots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bodvcl.config.schema import KoopmanConfig
from bodvcl.config.streams import dynamic_stream, static_stream
from bodvcl.ops.koopman.spec import NO_SPREAD


def why_no_streams(koopman: KoopmanConfig) -> str | None:
    """Why the split with these options cannot be exported; None: it can."""
    if koopman.mask != "smooth":
        return "the hard mask needs eigenvalues"
    if koopman.ridge == 0:
        return "without a ridge the split needs singular values"
    if koopman.rank is not None:
        return "a limited rank needs singular values"
    return None


class PlainStreams(nn.Module):
    """The two streams of per-frame embeddings, as :func:`bodvcl.models.streams.koopman_streams` has them.

    Args:
        koopman: options for which :func:`why_no_streams` is None.
    """

    def __init__(self, koopman: KoopmanConfig) -> None:
        super().__init__()
        self.koopman = koopman

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Static and dynamic stream ``(N, M)``, float32, of embeddings ``(N, T, M)``."""
        koopman = self.koopman
        frames = normalize(embeddings, dim=-1) if koopman.normalize else embeddings
        wide = frames.double()
        mean = wide.mean(1, keepdim=True)
        spread = dynamic_stream(koopman) == "std"
        static, dynamic = _parts(wide, wide if spread else mean, koopman)
        moves = _standard_deviation(dynamic, wide) if spread else dynamic.mean(1)
        stays = static.mean(1) if static_stream(koopman) == "part" else mean[:, 0]
        return stays.float(), moves.float()


def _parts(frames: Tensor, x: Tensor, koopman: KoopmanConfig) -> tuple[Tensor, Tensor]:
    """Static and dynamic parts ``(N, k, M)`` of the vectors x ``(N, k, M)``; frames ``(N, T, M)``."""
    count = frames.shape[1] - 1
    past, future = frames.narrow(1, 0, count), frames.narrow(1, 1, count)
    eye = torch.eye(count, dtype=frames.dtype)
    gram = _inner(past, past)
    mu = koopman.ridge * (gram * eye).sum((1, 2), keepdim=True) / count
    inverse = positive_inverse(gram + torch.where(mu > 0, mu, 1.0) * eye)
    reduced = inverse @ _inner(past, future)
    onto = inverse @ _inner(past, x)
    power = 0.5 * (eye + reduced)
    series, half = 0.5 * eye, 0.5
    for _ in range(koopman.smooth_power.bit_length() - 1):
        series = series @ (power + half * eye)
        power, half = power @ power, half * half
    if koopman.weights == "projector":
        static = _mix(series @ onto, future) + half * x
        return static, x - static
    static = _mix(power @ onto, future)
    return static, _mix(onto, future) - static


# Neither is written as a product with a transposed matrix: ONNX Runtime 1.22 and 1.23 make one operator of
# the two, which they have for float32 only, and then refuse the whole file.
def _inner(a: Tensor, b: Tensor) -> Tensor:
    """a b^T: the inner products ``(N, j, k)`` of the rows of a ``(N, j, M)`` and b ``(N, k, M)``."""
    return (a[:, :, None] * b[:, None]).sum(-1)


def _mix(weights: Tensor, rows: Tensor) -> Tensor:
    """W^T b: sums ``(N, k, M)`` of the rows of b ``(N, j, M)`` with the weights ``(N, j, k)``."""
    return (weights[..., None] * rows[:, :, None]).sum(1)


def _standard_deviation(dynamic: Tensor, frames: Tensor) -> Tensor:
    """Standard deviation over time ``(N, M)`` of ``(N, T, M)``; 0 where it is rounding."""
    variance = (dynamic - dynamic.mean(1, keepdim=True)).square().mean(1)
    return torch.where(variance > NO_SPREAD * frames.square().mean(1), variance, 0.0).sqrt()


def positive_inverse(matrix: Tensor) -> Tensor:
    """Inverse of symmetric positive definite matrices ``(N, n, n)``, by n steps of Gauss and Jordan."""
    size = matrix.shape[1]
    eye = torch.eye(size, dtype=matrix.dtype)
    both = torch.cat([matrix, eye + torch.zeros_like(matrix)], 2)
    for k in range(size):
        row = both.narrow(1, k, 1)
        both = both - (both.narrow(2, k, 1) - eye.narrow(1, k, 1)) * (row / row.narrow(2, k, 1))
    return both.narrow(2, size, size)
