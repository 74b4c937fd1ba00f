"""Two ranks over gloo; rank 0 writes what they computed. ``python contrastive_ranks.py RANK FOLDER``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch.func import grad, jvp, vmap

from bodvcl.ops.distributed import info_nce_gathered
from bodvcl.ops.sinkhorn import sinkhorn_knopp, swapped_prediction

RANKS, ROWS = 2, 10


def batch() -> dict[str, torch.Tensor]:
    """The whole batch: inputs of a linear encoder, ids, and a row that is not valid on rank 1 alone."""
    g = torch.Generator().manual_seed(0)
    rows = RANKS * ROWS
    valid = torch.ones(2, rows, dtype=torch.bool)
    valid[0, 13] = False
    return {
        "x": torch.randn(2, rows, 6, generator=g, dtype=torch.float64),
        "weight": torch.randn(6, 8, generator=g, dtype=torch.float64),
        "video": torch.randperm(rows, generator=g) // 2,
        "clip": torch.arange(rows),
        "valid": valid,
        "scores": torch.rand(2, rows, 7, generator=g, dtype=torch.float64),
        "view_scores": torch.rand(2, 2, rows, 7, generator=g, dtype=torch.float64),
    }


def compute(rank: int, ranks: int, backend: str) -> dict[str, torch.Tensor]:
    """Averages over ranks of losses and of the encoder's gradient; the assignments of this rank's samples."""
    data = batch()
    span = slice(rank * len(data["clip"]) // ranks, (rank + 1) * len(data["clip"]) // ranks)
    weight = data["weight"].clone().requires_grad_()
    z = data["x"][:, span] @ weight
    loss = info_nce_gathered(
        z,
        z,
        video=data["video"][span],
        clip=data["clip"][span],
        valid=data["valid"][:, span],
        backend=backend,
    )
    (grad,) = torch.autograd.grad(loss.sum(), weight)
    swav = swapped_prediction(data["view_scores"][:, :, span])
    out = {"loss": loss.detach(), "grad": grad, "swav": swav}
    if ranks > 1:
        for value in out.values():
            dist.all_reduce(value)
            value /= ranks
    return out | {"assignments": sinkhorn_knopp(data["scores"][:, span])}


def transforms(rank: int, ranks: int, backend: str) -> dict[str, torch.Tensor]:
    """Averages over ranks of tangents, gradients and, on the eager route, Hessian products by torch.func."""
    data = batch()
    span = slice(rank * len(data["clip"]) // ranks, (rank + 1) * len(data["clip"]) // ranks)
    ids = {"video": data["video"][span], "clip": data["clip"][span], "valid": data["valid"][:, span]}

    def loss(weight: torch.Tensor) -> torch.Tensor:
        z = data["x"][:, span] @ weight
        return info_nce_gathered(z, z, backend=backend, **ids).sum()

    weight, along = data["weight"], data["weight"].flip(0)
    many = torch.stack((along, weight))
    out = {
        "tangent": jvp(loss, (weight,), (along,))[1],
        "grad": grad(loss)(weight),
        "vmap(grad)": vmap(grad(loss))(many),
        "vmap(jvp)": vmap(lambda w: jvp(loss, (w,), (along,))[1])(many),
        "grad(vmap)": grad(lambda w: vmap(loss)(w).sum())(many),
    }
    if backend == "torch":
        out["jvp(grad)"] = jvp(grad(loss), (weight,), (along,))[1]
        out["grad(grad)"] = grad(lambda w: (grad(loss)(w) * along).sum())(weight)
    if ranks > 1:
        for value in out.values():
            dist.all_reduce(value)
            value /= ranks
    return out | {"assignments": vmap(sinkhorn_knopp)(data["scores"][None, :, span])[0]}


def main(rank: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=int(rank), world_size=RANKS)
    out = {backend: compute(int(rank), RANKS, backend) for backend in ("torch", "chunked")}
    out["transforms"] = {backend: transforms(int(rank), RANKS, backend) for backend in ("torch", "chunked")}
    x = torch.randn(2, 4 + int(rank), 3)
    ids = torch.arange(x.shape[1])
    try:
        info_nce_gathered(x, x, video=ids, clip=ids)
    except ValueError as error:
        out["uneven"] = str(error)
    torch.save(out, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.filterwarnings("error", "`torch.distributed", FutureWarning)  # of what PyTorch will remove
    main(*sys.argv[1:])
