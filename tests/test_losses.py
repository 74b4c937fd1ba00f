"""DecoupledInfoNCE: the losses of training, for any loop."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import losses_ranks
import pytest
import torch
from patience import PATIENCE
from torch.nn.functional import normalize

import bodvcl
from bodvcl.config.schema import ClipConfig, KoopmanConfig, ModelConfig, PredictionConfig, TrainConfig
from bodvcl.engine.assemble import build_learner, loss_options
from bodvcl.engine.problem import BatchProblem
from bodvcl.ops.koopman import koopman_split

IDS = torch.arange(4).repeat(2)


def embeddings(n=8, t=6, m=10, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, t, m, generator=g, dtype=torch.float64).to(dtype).requires_grad_()


def gradient(losses, z):
    return torch.autograd.grad(torch.stack(list(losses.values())).sum(), z)[0]


# ------------------------------------------------------------ values


def test_values_and_gradients_are_those_of_a_training_step():
    config = TrainConfig(
        clip=ClipConfig(size=16), model=ModelConfig(width=4, embed_dim=12, hidden_dim=16)
    )  # all else as `bodvcl train` has it
    learner = build_learner(config).train()
    clips, ids = torch.randn(8, 3, 8, 16, 16), torch.arange(4).repeat_interleave(2)
    problem = BatchProblem(learner, clips, ids, loss_options(config), None)
    params = learner.trainable()
    lower, upper = problem.both(params)
    want = torch.autograd.grad(lower + upper, list(params.values()))

    problem.replay.undo()
    losses = bodvcl.DecoupledInfoNCE()(learner.encoder(clips), ids)
    loss = losses["static"] + 0.3 * losses["dynamic"] + losses["prediction"]
    got = torch.autograd.grad(loss, list(params.values()))

    assert torch.equal(losses["prediction"], lower)
    for name in ("static", "dynamic"):
        assert torch.equal(losses[name], problem.log[f"loss_{name}"])
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_defaults_are_those_of_training():
    given = {n: p.default for n, p in inspect.signature(bodvcl.DecoupledInfoNCE).parameters.items()}
    config = TrainConfig()
    assert given.pop("temperature") == config.objective.tau
    mode, nu = given.pop("mode"), given.pop("nu")
    assert PredictionConfig(mode=mode, nu=nu) == config.prediction
    assert given.pop("dynamic") == "std", "what training takes for None"
    assert KoopmanConfig(**given) == config.koopman


def test_an_unknown_stream_is_refused_by_its_name():
    with pytest.raises(
        ValueError, match=r"DecoupledInfoNCE: dynamic: expected 'mean' or 'std', got 'energy'"
    ):
        bodvcl.DecoupledInfoNCE(dynamic="energy")
    with pytest.raises(ValueError, match=r"DecoupledInfoNCE: static: expected 'part', 'mean' or None, got 5"):
        bodvcl.DecoupledInfoNCE(static=5)


@pytest.mark.parametrize("dynamic", ["mean", "std"])
def test_values_by_the_formulas(dynamic):
    z = embeddings()
    losses = bodvcl.DecoupledInfoNCE(0.2, max_gain=None, dynamic=dynamic)(z, IDS)
    split = koopman_split(
        normalize(z, dim=-1), mask="smooth", smooth_power=8, ridge=0.01, pool=dynamic, backend="reference"
    )
    d = (
        split.dynamic
        if dynamic == "mean"
        else (split.dynamic - split.dynamic.mean(0)) / split.dynamic.std(0, correction=0)
    )
    static = split.static if dynamic == "mean" else normalize(z, dim=-1).mean(1)
    for name, stream in (("static", static), ("dynamic", d)):
        u = normalize(stream, dim=-1)
        weights = (u @ u.T / 0.2).exp() * (1 - torch.eye(8))
        positives = (weights * (IDS[:, None] == IDS)).sum(1)
        want = -(positives / weights.sum(1)).log().mean()
        torch.testing.assert_close(losses[name], want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ({"temperature": 0.5}, {"static", "dynamic"}),
        ({"mask": "hard", "xi": 0.9}, {"static", "dynamic"}),
        ({"smooth_power": 2}, {"static", "dynamic"}),
        ({"weights": "projector"}, {"static", "dynamic"}),
        ({"ridge": 0.5}, {"static", "dynamic", "prediction"}),
        ({"ridge": 0.0, "rtol": 0.5}, {"static", "dynamic", "prediction"}),
        ({"rank": 2}, {"static", "dynamic", "prediction"}),
        ({"normalize": False}, {"static", "dynamic", "prediction"}),
        ({"mode": "forecast"}, {"prediction"}),
        ({"nu": 1.0}, {"prediction"}),
        ({"static": "mean"}, {"static"}),
    ],
    ids=str,
)
def test_every_option_reaches_what_it_is_for(option, changes):
    z = embeddings()
    before = bodvcl.DecoupledInfoNCE(static="part")(z, IDS)
    after = bodvcl.DecoupledInfoNCE(**{"static": "part"} | option)(z, IDS)
    assert {name for name in before if not torch.equal(before[name], after[name])} == changes


def test_max_gain_limits_the_gradient_and_no_value():
    z = embeddings()
    free, held = (
        bodvcl.DecoupledInfoNCE(max_gain=None)(z, IDS),
        bodvcl.DecoupledInfoNCE(max_gain=1e-3)(z, IDS),
    )
    assert torch.equal(free["dynamic"], held["dynamic"])
    assert gradient({"": held["dynamic"]}, z).norm() < 0.1 * gradient({"": free["dynamic"]}, z).norm()


def test_clips_of_a_video_are_positives_in_any_order_and_number():
    z, ids = embeddings(9), torch.tensor([7, 3, 7, 5, 3, 5, 7, 9, 3])  # 9 has one clip: no positive
    loss_fn, order = bodvcl.DecoupledInfoNCE(), torch.randperm(9)
    losses, shuffled = loss_fn(z, ids), loss_fn(z[order], ids[order].to(torch.int32))
    for name, loss in losses.items():
        torch.testing.assert_close(shuffled[name], loss, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_value_that_is_not_finite_is_seen(value):
    z = embeddings().detach()
    z[0, 0, 0] = value
    assert all(loss.isnan() for loss in bodvcl.DecoupledInfoNCE()(z, IDS).values())


# ------------------------------------------------------------ where it runs


def test_compiled_it_gives_the_same():
    z, loss_fn = embeddings(dtype=torch.float32), bodvcl.DecoupledInfoNCE()
    want = loss_fn(z, IDS)
    got = torch.compile(loss_fn, fullgraph=True, backend="aot_eager")(z, IDS)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradient(got, z), gradient(want, z))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_its_arithmetic_is_float32_or_wider_also_under_autocast(dtype):
    z, loss_fn = embeddings(dtype=dtype), bodvcl.DecoupledInfoNCE()
    wide = z.detach().to(torch.promote_types(dtype, torch.float32)).requires_grad_()
    want = loss_fn(wide, IDS)
    with torch.autocast("cpu", torch.bfloat16):
        got = loss_fn(z, IDS)
    for name, loss in got.items():
        assert loss.dtype == wide.dtype
        assert torch.equal(loss, want[name])
    assert torch.equal(gradient(got, z), gradient(want, wide).to(dtype))


@pytest.mark.slow
def test_two_ranks_under_ddp_equal_one_process(tmp_path):
    script = Path(losses_ranks.__file__)
    running = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True
        )
        for rank in range(losses_ranks.RANKS)
    ]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    one = losses_ranks.compute(0, 1)
    for rank in range(losses_ranks.RANKS):
        for compiled, found in torch.load(tmp_path / f"{rank}.pt").items():
            for name, want in one.items():
                torch.testing.assert_close(
                    found[name], want, rtol=1e-8, atol=1e-10, msg=f"{name}, compiled: {compiled}"
                )


def test_prediction_alone_is_the_same_and_can_be_differentiated_twice():
    z, loss_fn = embeddings(4, 6, 5), bodvcl.DecoupledInfoNCE()  # a size for the native kernel
    torch.testing.assert_close(loss_fn.prediction(z), loss_fn(z, IDS[:4] % 2)["prediction"])
    assert torch.autograd.gradgradcheck(loss_fn.prediction, (z,))


def test_it_is_a_module_without_parameters_that_can_be_sent_and_printed():
    loss_fn = bodvcl.DecoupledInfoNCE(temperature=0.3)
    assert list(loss_fn.state_dict()) == []
    again = pickle.loads(pickle.dumps(loss_fn))
    assert again(embeddings(), IDS) == loss_fn(embeddings(), IDS)
    assert "temperature=0.3" in repr(loss_fn)


# ------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("z", "ids", "error", "says"),
    [
        (torch.randn(8, 10), IDS, ValueError, r"one embedding per frame, got \(8, 10\)"),
        (torch.randn(8, 2, 10), IDS, ValueError, "at least 3 frames per clip.*got 2"),
        (torch.randn(8, 6, 0), IDS, ValueError, "width of at least 1"),
        (torch.ones(8, 6, 10, dtype=torch.int64), IDS, TypeError, "torch.int64"),
        ([1.0], IDS, TypeError, "got list"),
        (torch.randn(8, 6, 10), IDS[:7], ValueError, r"expected the shape \(8,\).*got \(7,\)"),
        (torch.randn(8, 6, 10), IDS[:, None], ValueError, r"got \(8, 1\)"),
        (torch.randn(8, 6, 10), IDS.float(), TypeError, "integers, one per clip, got torch.float32"),
        (torch.randn(8, 6, 10), IDS.tolist(), TypeError, "got list"),
        (
            torch.randn(8, 6, 10),
            torch.zeros(8, dtype=torch.int64),
            ValueError,
            "no clip has a negative",
        ),
        (torch.randn(8, 6, 10), torch.arange(8), ValueError, "no clip has a positive"),
        (torch.randn(0, 6, 10), IDS[:0], ValueError, "no clip has a positive"),
    ],
)
def test_bad_input_is_named(z, ids, error, says):
    with pytest.raises(error, match=says):
        bodvcl.DecoupledInfoNCE()(z, ids)


@pytest.mark.parametrize(
    "option",
    [
        {"temperature": 0},
        {"temperature": float("nan")},
        {"xi": 2, "mask": "hard"},
        {"mask": "soft"},
        {"smooth_power": 6},
        {"weights": "none"},
        {"ridge": -1},
        {"rtol": 2},
        {"rank": 0},
        {"max_gain": 0},
        {"mode": "leave-one-out"},
        {"nu": -1},
    ],
    ids=str,
)
def test_a_bad_option_is_refused_when_the_module_is_made(option):
    with pytest.raises(ValueError, match=rf"\b{next(iter(option))}\b"):
        bodvcl.DecoupledInfoNCE(**option)


@pytest.mark.parametrize("rank", [7, 10**9])
def test_a_rank_beyond_the_clips_is_refused_with_the_clips(rank):
    loss_fn = bodvcl.DecoupledInfoNCE(rank=rank)
    with pytest.raises(ValueError, match=r"rank.*1 to 5"):
        loss_fn(embeddings(), IDS)
