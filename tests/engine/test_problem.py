"""Both levels' losses of a batch as functions of the parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bodvcl.config.schema import ClipConfig, MocoConfig, ModelConfig, SwavConfig, TrainConfig
from bodvcl.engine.assemble import build_learner, loss_options
from bodvcl.engine.problem import BatchProblem
from bodvcl.models.stream_health import stream_health
from bodvcl.models.streams import comparable, koopman_streams, prediction_loss

VIDEOS = 3
METHODS = ("simclr", "moco", "byol", "swav", "dualvar", "hdc")


def make(method="simclr", decouple="bod", share=1.0, strict=False, autocast=None, health=False, seed=1):
    views = 3 if method in ("dualvar", "hdc") else 2
    config = TrainConfig(
        method=method,
        decouple="none" if views == 3 else decouple,
        clip=ClipConfig(size=16, views=views, twin=views == 3),
        model=ModelConfig(width=4, embed_dim=12, hidden_dim=16, projector_norm=True),
        moco=MocoConfig(queue=24),
        swav=SwavConfig(prototypes=7, freeze=0),
    )
    config.bilevel.lower_share, config.prediction.strict = share, strict
    learner = build_learner(config).double().train()
    g = torch.Generator().manual_seed(seed)
    clips = torch.randn(VIDEOS * views, 3, 8, 16, 16, generator=g, dtype=torch.float64)
    if method == "moco":
        queue = learner.objective.queue
        queue.enqueue(torch.randn(*queue.keys.shape, generator=g, dtype=torch.float64), torch.tensor(True))
    videos = torch.arange(VIDEOS).repeat_interleave(views)
    return BatchProblem(learner, clips, videos, loss_options(config), autocast, health=health)


def moved(problem, by=0.01):
    g = torch.Generator().manual_seed(7)
    return {
        name: (p + by * torch.randn(p.shape, generator=g, dtype=p.dtype)).detach()
        for name, p in problem.learner.trainable().items()
    }


def counts(problem):
    state = problem.learner.state_dict()
    return {name: int(t) for name, t in state.items() if name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("method", METHODS)
def test_buffers_advance_once_however_many_passes_and_can_be_put_back(method):
    problem = make(method)
    before = {name: t.clone() for name, t in problem.learner.state_dict().items()}
    params = problem.learner.trainable()
    if method not in ("dualvar", "hdc"):
        problem.lower(params)
    problem.upper(moved(problem))
    advanced = {name: t.clone() for name, t in problem.learner.state_dict().items()}
    assert set(counts(problem).values()) == {1}
    problem.upper(params)
    if method not in ("dualvar", "hdc"):
        problem.lower(moved(problem))
        problem.both(params)
        problem.lower(params, problem.features(params))
    for name, t in problem.learner.state_dict().items():
        assert torch.equal(t, advanced[name]), name
    assert any(not torch.equal(before[name], advanced[name]) for name in before)
    problem.replay.undo()
    for name, t in problem.learner.state_dict().items():
        assert torch.equal(t, before[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_a_pass_is_a_pure_function_of_the_parameters(method):
    problem, params = make(method), make(method).learner.trainable()
    torch.manual_seed(3)
    first = problem.upper(params)
    elsewhere = problem.upper(moved(problem, by=0.1))
    assert torch.equal(problem.upper(params), first), "the same clips, draws and batch statistics"
    assert not torch.equal(elsewhere, first)
    problem.upper(params).backward()
    assert all(p.grad is not None for p in params.values()), "every parameter takes part"
    assert all(p.grad is None for p in problem.learner.parameters()), "its own parameters are not used"


@pytest.mark.parametrize("decouple", ["pred", "bod"])
@pytest.mark.parametrize("method", ["simclr", "moco", "byol", "swav"])
def test_from_features_on_and_both_at_once_give_the_same_losses(method, decouple):
    problem = make(method, decouple)
    params = moved(problem)
    lower, upper = problem.lower(params), problem.upper(params)
    features = problem.features(params)
    assert features.shape == (2 * VIDEOS, 8, 16)
    torch.testing.assert_close(problem.lower(params, features), lower)
    torch.testing.assert_close(problem.upper(params, features), upper)
    torch.testing.assert_close(problem.both(params), (lower, upper))
    weights = {"loss_dynamic": problem.options.dynamic_weight}
    logged = [weights.get(k, 1) * v for k, v in problem.log.items() if k.startswith("loss_")]
    torch.testing.assert_close(sum(logged), problem.upper(params).detach())


def test_the_head_is_the_projector():
    problem = make("byol")
    names = {n for n in problem.learner.trainable() if n.startswith("encoder.projector.")}
    assert problem.head == names
    assert len(names) > 2


@pytest.mark.parametrize(("share", "videos"), [(0.3, 1), (0.5, 2), (0.67, 3), (1.0, 3)])
@pytest.mark.parametrize("decouple", ["pred", "bod"])
def test_the_lower_level_may_look_at_a_share_of_the_videos(share, videos, decouple):
    problem = make(decouple=decouple, share=share)
    params, config = problem.learner.trainable(), problem.options
    if share < 1 and videos < VIDEOS:
        problem.lower(params)
        assert set(counts(problem).values()) == {0}, "statistics are those of the whole batch"
    encoder = make(decouple=decouple).learner.encoder
    want = prediction_loss(encoder(problem.clips[: 2 * videos]), config.koopman, config.prediction)
    torch.testing.assert_close(problem.lower(params), want)
    embeddings = make(decouple=decouple).learner.encoder(problem.clips)
    want = prediction_loss(embeddings[: 2 * videos], config.koopman, config.prediction)
    torch.testing.assert_close(problem.both(params)[0], want)
    torch.testing.assert_close(problem.both(params)[1], problem.upper(params))


def test_the_strict_lower_level_reaches_central_slices_only():
    problem = make(strict=True)
    params = problem.learner.trainable()
    problem.lower(params).backward()
    assert set(counts(problem).values()) == {0}
    kernels = {n: p for n, p in params.items() if p.dim() == 5 and p.shape[2] > 1}
    assert kernels
    for name, p in kernels.items():
        centre = p.shape[2] // 2
        off = [i for i in range(p.shape[2]) if i != centre]
        assert p.grad[:, :, off].abs().max() == 0, name
        assert p.grad[:, :, centre].abs().max() > 0, name
        with torch.no_grad():
            p[:, :, off] = 0
    whole = make()
    torch.testing.assert_close(problem.lower(params), whole.lower(params))


@pytest.mark.parametrize("strict", [False, True])
def test_the_lower_loss_can_be_differentiated_twice(strict):
    problem = make(strict=strict)
    params = {name: p.detach() for name, p in problem.learner.trainable().items()}
    g = torch.Generator().manual_seed(11)
    direction = {n: torch.randn(p.shape, generator=g, dtype=p.dtype) for n, p in params.items()}

    def slope(step):
        leaves = {n: (p + step * direction[n]).requires_grad_() for n, p in params.items()}
        loss = problem.lower(leaves, twice=True)
        found = torch.autograd.grad(loss, list(leaves.values()), create_graph=True, materialize_grads=True)
        return sum((f * d).sum() for f, d in zip(found, direction.values())), leaves

    value, leaves = slope(0.0)
    product = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
    curvature = sum((h * d).sum() for h, d in zip(product, direction.values())).item()
    step = 1e-7  # short: a ReLU network is smooth only between its kinks
    difference = (slope(step)[0] - slope(-step)[0]).item() / (2 * step)
    assert curvature == pytest.approx(difference, rel=1e-3)


def test_the_lower_level_keeps_its_arithmetic_under_autocast():
    single, half = make(), make(autocast=torch.bfloat16)
    for problem in (single, half):
        problem.learner.float()
        problem.clips = problem.clips.float()
    params = single.learner.trainable()
    assert torch.equal(single.lower(params), half.lower(params))
    upper = single.upper(params), half.upper(params)
    assert upper[0].dtype == upper[1].dtype == torch.float32
    assert not torch.equal(*upper)
    assert half.features(params).dtype == torch.bfloat16


@pytest.mark.parametrize("method", ["moco", "byol"])
def test_the_momentum_encoder_sees_a_batch_once_and_gives_the_keys(method, monkeypatch):
    problem = make(method)
    learner, params = problem.learner, problem.learner.trainable()
    calls = []
    targets = learner.targets
    monkeypatch.setattr(learner, "targets", lambda clips: calls.append(1) or targets(clips))
    assert problem.keys == {}
    for _ in range(3):
        problem.upper(params)
    problem.both(params)
    assert len(calls) == 1
    other = make(method).learner.target
    koopman = problem.options.koopman
    want = comparable(koopman_streams(other(problem.clips), koopman, None), koopman).embeddings
    for name, key in problem.keys.items():
        torch.testing.assert_close(key, want[name])
        assert not key.requires_grad


@pytest.mark.parametrize("method", ["simclr", "moco", "byol", "swav"])
def test_the_loss_of_the_dynamic_stream_has_its_weight(method):
    problem = make(method)
    params = problem.learner.trainable()
    for weight in (0.3, 1.0):
        problem.options = replace(problem.options, dynamic_weight=weight)
        total = problem.upper(params)
        torch.testing.assert_close(
            total.detach(), problem.log["loss_static"] + weight * problem.log["loss_dynamic"]
        )


@pytest.mark.parametrize("method", METHODS)
def test_streams_are_kept_where_their_health_is_asked_for(method):
    problem = make(method, health=True)
    problem.upper(problem.learner.trainable())
    assert problem.streams is not None
    health = stream_health(problem.streams, problem.options.views)
    found = problem.log | health
    streams = ("static", "dynamic") if problem.options.decouple == "bod" else ("video",)
    asked = {f"{kind}_{s}" for kind in ("mean_cosine", "effective_rank") for s in streams}
    if problem.options.decouple == "bod":
        asked |= {
            "stream_cosine",
            "circle_distance",
            "split_margin",
            "static_modes",
            "empty_static",
            "empty_dynamic",
        }
    if method == "moco":
        asked |= {"queue_filled"}
    assert asked <= found.keys()
    assert all(v.dim() == 0 and not v.requires_grad and torch.isfinite(v) for v in found.values())
    assert not any(z.requires_grad for z in problem.streams.embeddings.values())
    quiet = make(method)
    quiet.upper(quiet.learner.trainable())
    assert quiet.streams is None
    assert quiet.log.keys() <= problem.log.keys()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_gives_the_losses_of_the_cpu(method, monkeypatch):
    order = torch.tensor([[1, 0]] * VIDEOS)
    monkeypatch.setattr("bodvcl.objectives.dualvar.random_order", lambda *a: order.to(a[-1]))
    here, there = make(method, health=True), make(method, health=True)
    there.learner.cuda()
    there.clips, there.videos = there.clips.cuda(), there.videos.cuda()
    here.upper(here.learner.trainable())
    there.upper(there.learner.trainable())
    for name, value in here.log.items():
        torch.testing.assert_close(there.log[name].cpu(), value, rtol=1e-6, atol=1e-8, msg=name)
