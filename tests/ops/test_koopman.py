"""The Koopman operations against the paper's formulas in float64: values and gradients of every option."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from koopman_cases import (
    FAST,
    PARTS,
    close,
    conditioned,
    cotangents,
    orthonormal,
    paper_loss,
    paper_operator,
    paper_split,
    paper_split_and_loss,
    parts_of,
    put,
    walk,
)

from bodvcl.config.schema import KoopmanConfig, PredictionConfig
from bodvcl.ops.koopman import (
    koopman_operator,
    koopman_prediction_loss,
    koopman_split,
    koopman_split_and_loss,
)

pytestmark = pytest.mark.filterwarnings("ignore::bodvcl.ops.koopman.KoopmanWarning")

SHAPES = [(3, 4), (4, 9), (5, 7), (7, 4), (8, 40), (12, 24), (33, 16)]
LARGE = [(8, 128), (16, 256), (32, 128), (64, 16), (64, 70)]
OPTIONS = [
    {},
    {"weights": "projector"},
    {"mask": "smooth"},
    {"mask": "smooth", "weights": "projector", "smooth_power": 4},
    {"mask": "smooth", "ridge": 0.05},
    {"ridge": 0.05, "pool": "none"},
    {"mask": "smooth", "weights": "projector", "ridge": 0.01, "pool": "none"},
    {"weights": "projector", "pool": "none"},
    {"pool": "std"},
    {"mask": "smooth", "weights": "projector", "ridge": 0.01, "pool": "std"},
]


def run(x, backend, xi=0.5, turn=None, **options):
    """Split, losses, gradient of a random combination of the streams, and of each loss.

    With ``turn`` (M, M), orthonormal, the same is computed from turned features: only rounding differs.
    """
    x = put(x, backend).requires_grad_()
    split, losses = paper_split_and_loss(x if turn is None else x @ turn, xi, backend=backend, **options)
    streams = [z if turn is None else z @ turn.mT for z in (split.static, split.dynamic)]
    out = [torch.autograd.grad(streams, x, cotangents(*streams), retain_graph=True)[0]]
    for loss in parts_of(losses):
        out.append(torch.autograd.grad(loss.sum(), x, retain_graph=True)[0])
    return split, losses, out


def agree(x, backend, tol=1e-9, gradients=True, **options):
    split, losses, grads = run(x, backend, **options)
    split_r, losses_r, grads_r = run(x, "reference", **options)
    close(split.static, split_r.static, tol)
    close(split.dynamic, split_r.dynamic, tol)
    for name in ("pred", *PARTS):
        a, b = getattr(losses, name), getattr(losses_r, name)
        close(a, b, tol, floor=1e-10 if name == "orth_excess" else 1e-13)
    close(split.static_modes, split_r.static_modes, 1e-8)
    assert torch.equal(split.rank.cpu(), split_r.rank)
    if gradients:
        turned = None
        for i, (a, b) in enumerate(zip(grads, grads_r)):
            floor = 1e-10
            if (a.cpu() - b).norm() > tol * b.norm() + floor:
                # Autograd through eig and svd has a rounding of its own, which differs between machines.
                turned = turned or run(x, "reference", turn=orthonormal(x.shape[-1]), **options)[2]
                floor += 4 * (b - turned[i]).norm().item()
            close(a, b, tol, floor)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_those_of_the_paper(shape, options, backend):
    agree(walk(3, *shape), backend, **options)


@pytest.mark.slow
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_values_and_gradients_are_those_of_the_paper_at_the_ends_of_the_range(shape, options, backend):
    agree(walk(1, *shape), backend, **options)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("t", "m"), [(8, 512), (8, 1024), (64, 1024)])
def test_wide_features_are_narrow_ones_turned(t, m, backend):
    """Streams and gradients of ``x Q`` are those of x times Q where Q has orthonormal rows."""
    x = walk(1, t, 24)
    g = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(m, 24, dtype=torch.float64, generator=g))[0].T
    split, losses, _ = run(x, "reference", mask="smooth")
    wide, wide_losses, grads = run(x @ q, backend, mask="smooth")
    q = put(q, backend)
    close(wide.static, put(split.static, backend) @ q)
    close(wide_losses.loo * m, losses.loo * 24)
    close(wide_losses.orth_excess, losses.orth_excess)
    leaf = put(x, backend).requires_grad_()
    inner = paper_split(leaf @ q, 0.5, mask="smooth", backend="torch")
    want = torch.autograd.grad((inner.static, inner.dynamic), leaf, cotangents(inner.static, inner.dynamic))[
        0
    ]
    close(grads[0] @ q.T, want)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize(
    "options", [{}, {"mask": "smooth"}, {"weights": "projector"}, {"ridge": 0.05}], ids=str
)
def test_truncation_by_rank_agrees_with_singular_vectors_forward_and_backward(rank, options, backend):
    for shape in ((6, 9), (9, 5)):
        agree(walk(3, *shape), backend, rank=rank, **options)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_frame_mask_equals_cutting_the_clip(options, backend):
    x = put(walk(3, 9, 12), backend).requires_grad_()
    mask = torch.ones(3, 9, dtype=torch.bool, device=x.device)
    mask[:, 6:] = False
    mask[2] = True
    poisoned = torch.where(mask[..., None], x, torch.nan)
    split, losses = paper_split_and_loss(poisoned, 0.5, frame_mask=mask, backend=backend, **options)
    short, short_losses = paper_split_and_loss(x[:2, :6], 0.5, backend=backend, **options)
    whole, whole_losses = paper_split_and_loss(x[2:], 0.5, backend=backend, **options)
    frames = slice(0, 6) if options.get("pool") == "none" else slice(None)
    for got, cut, full in (
        (split.static, short.static, whole.static),
        (split.dynamic, short.dynamic, whole.dynamic),
    ):
        close(got[:2, frames], cut)
        close(got[2:], full)
    for got, cut, full in zip(losses[1:], short_losses[1:], whole_losses[1:]):
        close(torch.cat([cut, full]), got)
    assert split.rank[:2].max() <= 5
    grads = cotangents(split.static)
    grad = torch.autograd.grad(split.static, x, grads, retain_graph=True)[0]
    cut = torch.autograd.grad(short.static, x, grads[0][:2, frames], retain_graph=True)[0]
    close(grad[:2], cut[:2])
    assert (grad[:2, 6:] == 0).all()


@pytest.mark.parametrize("backend", FAST)
def test_a_gap_in_the_frame_mask_drops_the_two_pairs_around_it(backend):
    x = walk(2, 8, 16)
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[0, 3] = False
    got, losses = paper_split_and_loss(put(x, backend), 0.5, frame_mask=put(mask, backend), backend=backend)
    ref, losses_r = paper_split_and_loss(x, 0.5, frame_mask=mask, backend="reference")
    assert got.rank.tolist() == [5, 7]
    close(got.static, ref.static)
    close(got.dynamic, ref.dynamic)
    for a, b in zip((losses.pred, *parts_of(losses)), (losses_r.pred, *parts_of(losses_r))):
        close(a, b)


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=25, deadline=None)
@given(
    t=st.integers(3, 12),
    m=st.integers(4, 24),
    lead=st.lists(st.integers(0, 3), max_size=2),
    seed=st.integers(0, 2**31),
    scale=st.floats(1e-3, 1e3),
    options=st.sampled_from(OPTIONS),
)
def test_any_shape_scale_and_option_agrees_with_the_paper(backend, t, m, lead, seed, scale, options):
    count = torch.Size(lead).numel()
    x = (scale * walk(count, t, m, seed)).reshape(*lead, t, m)
    split, losses = paper_split_and_loss(put(x, backend), 0.5, backend=backend, reduction="none", **options)
    stream = (*lead, t, m) if options.get("pool") == "none" else (*lead, m)
    assert split.static.shape == split.dynamic.shape == stream
    assert split.rank.shape == losses.loo.shape == losses.pred.shape == torch.Size(lead)
    assert split.reduced.shape == (*lead, t - 1, t - 1)
    if count == 0:
        return
    ref, losses_r = paper_split_and_loss(x, 0.5, backend="reference", reduction="none", **options)
    if float(ref.distance().min()) < 1e-6 and options.get("mask") != "smooth":
        return
    if options.get("pool") != "std":  # else their sum is not what the static part lacks
        close(split.static + split.dynamic, ref.static + ref.dynamic, 1e-7, 1e-10 * scale)
    close(split.static, ref.static, 1e-6, 1e-9 * scale)
    close(losses.loo, losses_r.loo, 1e-6)


@pytest.mark.parametrize("backend", FAST)
def test_non_contiguous_features_and_gradients(backend):
    base = put(walk(4, 12, 20), backend)
    view = base.transpose(-1, -2)[:, ::2].transpose(-1, -2)[:, :, :10].requires_grad_()
    assert not view.is_contiguous()
    dense = view.detach().contiguous().requires_grad_()
    for x in (view, dense):
        split = paper_split(x, 0.5, backend=backend)
        split.static.sum().backward()
    close(view.grad, dense.grad, 1e-12)


def test_rtol_is_raised_to_what_a_gram_matrix_resolves():
    x = walk(2, 9, 4)
    a, b = (paper_split(x, 0.5, rtol=r, backend="torch") for r in (1e-12, 1e-7))
    assert torch.equal(a.static, b.static)
    assert (a.rank == 4).all()


@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("backend", FAST)
def test_ill_conditioned_float32_features_are_limited_by_their_own_rounding(ratio, backend):
    """K mean(F) of float32 features: the error stays within what one rounding of the features does."""
    for seed in range(4):
        exact = conditioned(8, 64, ratio, seed)
        x = exact.float()[None]
        truth = torch.linalg.pinv(x[0].double().T[:, :-1], rtol=1e-15)
        truth = x[0].double().T[:, 1:] @ (truth @ x[0].double().mean(0))
        split = paper_split(put(x.double(), backend), rtol=1e-7, backend=backend)
        got = (split.static + split.dynamic)[0].cpu()
        rounded = exact.T
        moved = rounded[:, 1:] @ (torch.linalg.pinv(rounded[:, :-1], rtol=1e-15) @ exact.mean(0))
        assert (got - truth).norm() <= (moved - truth).norm() + 1e-12 * truth.norm()


@pytest.mark.parametrize("ratio", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("backend", FAST)
def test_gradients_of_ill_conditioned_features_match_a_longer_precision(ratio, backend):
    """Gradient of u . K mean(F): closed form from a QR-based inverse, which does not square the condition."""
    x = conditioned(6, 32, ratio)
    f = x.T
    past, future, mean = f[:, :-1], f[:, 1:], f.mean(1, keepdim=True)
    g = torch.Generator().manual_seed(1)
    u = torch.randn(32, 1, dtype=torch.float64, generator=g)
    q, r = torch.linalg.qr(past)
    plus = torch.linalg.solve_triangular(r, q.T, upper=True)
    w, y = plus @ mean, plus.T @ (future.T @ u)
    grad = torch.zeros_like(f)
    grad[:, 1:] += u @ w.T
    grad[:, :-1] -= y @ w.T
    grad[:, :-1] += (mean - past @ w) @ (plus @ y).T
    grad += y.expand(-1, f.shape[1]) / f.shape[1]
    leaf = put(x[None], backend).requires_grad_()
    split = paper_split(leaf, rtol=1e-7, backend=backend)
    ((split.static + split.dynamic)[0] @ put(u, backend)).sum().backward()
    close(leaf.grad[0].T, grad, {1e-2: 1e-9, 1e-4: 1e-6, 1e-6: 1e-2}[ratio])


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    "options", [{}, {"mask": "smooth", "ridge": 0.01}, {"weights": "projector"}], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_low_precision_is_at_most_twice_as_wrong_as_eager(dtype, options, backend):
    """Against float64 on the same features; eager computes Eq. 21 in float32 and rounds to the dtype."""
    x = walk(6, 8, 64).to(dtype)
    rtol = 1e-4
    truth = paper_split(x.double(), 0.5, rtol=rtol, backend="torch", **options)
    got = paper_split(put(x, backend), 0.5, rtol=rtol, backend=backend, **options)
    assert got.static.dtype == dtype
    f = x.float().mT
    past, future, mean = f[..., :-1], f[..., 1:], f.mean(-1, keepdim=True)
    if "ridge" in options:
        gram = past.mT @ past
        mu = options["ridge"] * gram.diagonal(dim1=-2, dim2=-1).mean(-1)
        k = future @ torch.linalg.inv(gram + mu[:, None, None] * torch.eye(7)) @ past.mT
    else:
        k = future @ torch.linalg.pinv(past, rtol=rtol)
    if options.get("mask") == "smooth":
        part = k @ torch.linalg.matrix_power((torch.eye(64) + k) / 2, 8)
    else:
        lam, phi = torch.linalg.eig(k)
        weight = torch.where((lam - 1).abs() < 0.5, 1 if "weights" in options else lam, 0)
        part = (phi * weight[:, None, :] @ torch.linalg.inv(phi)).real
    eager = (part @ mean)[..., 0].to(dtype)
    error, allowed = (got.static.cpu() - truth.static).abs().max(), (eager - truth.static).abs().max()
    floor = 2 * torch.finfo(dtype).eps * truth.static.abs().max()
    assert error <= 2 * allowed + floor


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_low_precision_gradients_are_the_rounded_float64_ones(dtype, backend):
    x = walk(4, 8, 64).to(dtype)
    grads = []
    for y in (x.double().requires_grad_(), put(x, backend).requires_grad_()):
        split, losses = paper_split_and_loss(
            y, mask="smooth", ridge=0.01, mode="loo", backend="torch" if y.dtype == torch.float64 else backend
        )
        (split.static.double().sum() + losses.pred.double()).backward()
        grads.append(y.grad)
    close(grads[1], grads[0], 2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("backend", FAST)
def test_the_losses_are_put_together_as_asked(backend):
    x = put(walk(5, 8, 16), backend)
    _, parts = paper_loss(x, mode="loo", nu=0.5, reduction="none", return_parts=True, backend=backend)
    assert torch.equal(parts.pred, parts.loo + 0.5 * parts.orth_excess)
    for mode, part in (("loo", parts.loo), ("forecast", parts.forecast), ("train", parts.mse)):
        loss = paper_loss(x, mode=mode, nu=0.0, reduction="sum", ridge=0.0, backend=backend)
        close(loss, part.sum())
    mean = paper_loss(x.float(), mode="loo", nu=0.5, backend=backend)
    assert mean.dtype == torch.float32
    close(mean, parts.pred.mean(), 1e-4)


@pytest.mark.parametrize("backend", FAST)
def test_per_frame_streams_average_to_the_pooled_ones(backend):
    x = put(walk(3, 8, 16), backend)
    each = paper_split(x, 0.5, pool="none", backend=backend)
    pooled = paper_split(x, 0.5, backend=backend)
    close(each.static.mean(1), pooled.static)
    close(each.dynamic.mean(1), pooled.dynamic)


def test_total_least_squares_is_the_pseudo_inverse_of_the_projected_frames():
    x = walk(3, 9, 24)
    f = x.mT
    past, future = f[..., :-1], f[..., 1:]
    _, _, vh = torch.linalg.svd(torch.cat([past, future], -2), full_matrices=False)
    project = vh[:, :4].mT @ vh[:, :4]
    k = future @ project @ torch.linalg.pinv(past @ project, rtol=1e-9)
    op = paper_operator(x, rank=4, estimator="tls")
    close(op.dense(), k)
    split = paper_split(x, 0.5, rank=4, estimator="tls", mask="smooth", smooth_power=2)
    low_pass = torch.linalg.matrix_power((torch.eye(24, dtype=torch.float64) + k) / 2, 2)
    close(split.static, (k @ low_pass @ f.mean(-1, keepdim=True))[..., 0])


def tls_operator(past, future, rank, ridge):
    """K of total least squares for one clip, columns as frames: dense, by singular vectors."""
    _, _, vh = torch.linalg.svd(torch.cat([past, future]), full_matrices=False)
    basis = vh[:rank].T
    past, future = past @ basis, future @ basis
    gram = past.T @ past
    return (
        future @ torch.linalg.inv(gram + ridge * gram.diagonal().mean() * torch.eye(rank).double()) @ past.T
    )


@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("frames", [9, 7])
def test_losses_of_total_least_squares_are_those_of_refits(frames, ridge):
    """``frames`` of 9 are valid; every held-out error is that of an operator fitted to the other pairs."""
    x = walk(3, 9, 12)
    mask = torch.arange(9).expand(3, 9) < frames
    split, parts = koopman_split_and_loss(
        x, rank=3, estimator="tls", ridge=ridge, frame_mask=mask, reduction="none", nu=0.5
    )
    alone = koopman_prediction_loss(
        x, rank=3, estimator="tls", ridge=ridge, frame_mask=mask, reduction="none", nu=0.5
    )
    assert torch.equal(alone, parts.pred)
    assert torch.equal(parts.pred, parts.loo + 0.5 * parts.orth_excess)
    for i, clip in enumerate(x[:, :frames]):
        past, future = clip[:-1].T, clip[1:].T
        k = tls_operator(past, future, 3, ridge)
        close(parts.mse[i], (future - k @ past).square().mean())
        close(parts.orth_excess[i], (k.T @ k - torch.eye(12)).square().sum() - (12 - 3))
        errors = []
        for t in range(frames - 1):
            rest = [s for s in range(frames - 1) if s != t]
            k = tls_operator(past[:, rest], future[:, rest], 3, ridge)
            errors.append((future[:, t] - k @ past[:, t]).square().mean())
        close(parts.loo[i], torch.stack(errors).mean())
        close(parts.forecast[i], errors[-1])
    assert (split.rank == 3).all()


def test_total_least_squares_removes_the_bias_of_noise():
    """A decaying rotation seen through noise: least squares shrinks its eigenvalues, this less."""
    g = torch.Generator().manual_seed(0)
    angle = torch.arange(32, dtype=torch.float64) * 0.4
    plane = torch.linalg.qr(torch.randn(64, 2, dtype=torch.float64, generator=g))[0]
    clean = torch.stack([angle.cos(), angle.sin()], -1) @ plane.T
    noisy = clean + 0.08 * torch.randn(50, 32, 64, dtype=torch.float64, generator=g)
    ls, tls = (
        paper_operator(noisy, rank=2, estimator=e).eigenvalues()[:, :2].abs().mean() for e in ("ls", "tls")
    )
    assert abs(tls - 1) < 0.5 * abs(ls - 1)


@pytest.mark.parametrize("backend", FAST)
def test_the_defaults_are_those_of_training(backend):
    """`KoopmanConfig` and `PredictionConfig` say what training passes; the ops may not import them."""
    koopman, prediction = KoopmanConfig(), PredictionConfig()
    x = put(walk(3, 8, 16), backend)
    split, losses = koopman_split_and_loss(x, backend=backend)
    named, named_losses = koopman_split_and_loss(
        x,
        koopman.xi,
        mode=prediction.mode,
        nu=prediction.nu,
        mask=koopman.mask,
        smooth_power=koopman.smooth_power,
        weights=koopman.weights,
        rtol=koopman.rtol,
        ridge=koopman.ridge,
        rank=koopman.rank,
        backend=backend,
    )
    for a, b in zip((*split, *losses), (*named, *named_losses)):
        assert torch.equal(a, b)
    assert torch.equal(koopman_split(x, backend=backend).static, named.static)
    assert torch.equal(koopman_prediction_loss(x, backend=backend), named_losses.pred)
    assert torch.equal(koopman_operator(x).rank, named.rank)
    close(koopman_operator(x).split().static, named.static)


def test_operator_predicts_and_splits_like_its_matrix():
    x = walk(3, 6, 10).reshape(3, 1, 6, 10)
    op = paper_operator(x, rank=3)
    k = op.dense()
    frame = x[..., 2, :]
    close(op.predict(frame, 3), (torch.linalg.matrix_power(k, 3) @ frame[..., None])[..., 0])
    assert torch.equal(op.predict(frame, 0), frame)
    close(op.split(0.5, mask="hard").static, paper_split(x, 0.5, rank=3, backend="torch").static)
    lam, modes = op.eigenvalues()[..., :3], op.modes()[..., :3]
    assert (k.to(modes) @ modes - modes * lam[..., None, :]).abs().max() < 1e-10
    assert (op.rank == 3).all()
    with pytest.raises(ValueError, match="steps is -1"):
        op.predict(frame, -1)
