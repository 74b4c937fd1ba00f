"""Arithmetic: what is picked, what is refused, and the loss scale of float16."""

from __future__ import annotations

import json
import math

import pytest
import torch

from bodvcl.bilevel.solvers import make_solver
from bodvcl.cli.train import main
from bodvcl.config.schema import BilevelConfig
from bodvcl.engine.metrics import METRICS
from bodvcl.engine.precision import Arithmetic, clip_dtype, pick_arithmetic, pick_lower, set_float32
from bodvcl.engine.scaled import ScaledProblem
from bodvcl.errors import ConfigError
from bodvcl.system.global_state import restored


@pytest.fixture(autouse=True)
def _other_tests_see_nothing_of_this():
    with restored():
        yield


CPU = torch.device("cpu")


def test_the_reference_route_never_leaves_float32_by_itself():
    assert pick_arithmetic("auto", fast=False, device=CPU).autocast is None
    assert pick_arithmetic("fp32", fast=True, device=CPU).autocast is None
    assert pick_arithmetic("bf16", fast=False, device=CPU).autocast == torch.bfloat16
    assert pick_arithmetic("fp16", fast=True, device=CPU).scaled
    assert not pick_arithmetic("bf16", fast=True, device=CPU).scaled


def test_tf32_without_a_gpu_is_refused():
    with pytest.raises(ConfigError, match="a CPU has no TF32 arithmetic; use --precision fp32"):
        pick_arithmetic("tf32", fast=True, device=CPU)


def test_a_gpu_without_the_arithmetic_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ConfigError, match="use --precision fp16"):
        pick_arithmetic("bf16", fast=True, device=torch.device("cuda"))
    with pytest.raises(ConfigError, match="this GPU has no TF32"):
        pick_arithmetic("tf32", fast=True, device=torch.device("cuda"))
    assert pick_arithmetic("auto", fast=True, device=torch.device("cuda")).name == "fp32"


def lower(precision="fp32", upper="bf16", solver="fd", decouple="bod", device=CPU):
    bilevel = None if decouple == "none" else BilevelConfig(solver=solver)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(upper)
    return pick_lower(precision, bilevel, Arithmetic(upper, dtype), device)


def test_the_lower_level_is_float32_unless_asked():
    assert lower().autocast is None
    assert lower(solver="first_order").name == "fp32"
    assert lower("upper", solver="first_order").autocast == torch.bfloat16
    assert lower("upper", upper="fp32").name == "fp32"
    assert lower(upper="tf32", solver="first_order").name == "tf32"
    assert lower("upper", decouple="none").name == "bf16"


@pytest.mark.parametrize("solver", ["fd", "fd_central"])
@pytest.mark.parametrize(("precision", "upper"), [("upper", "bf16"), ("upper", "fp16"), ("fp32", "tf32")])
def test_differences_of_rounded_gradients_are_refused(solver, precision, upper):
    with pytest.raises(ConfigError, match="rounds to noise: use --lower-precision fp32"):
        lower(precision, upper, solver)


@pytest.mark.parametrize("solver", ["first_order", "itd", "hvp", "cg", "neumann"])
def test_float16_of_the_lower_level_is_refused_because_nothing_scales_its_loss(solver):
    with pytest.raises(ConfigError, match="would underflow; use --lower-precision fp32, or --precision bf16"):
        lower("upper", "fp16", solver)
    assert lower("upper", "fp16", "single").name == "fp16"  # both losses share one pass, and one scale
    assert lower("fp32", "fp16", solver).name == "fp32"


def test_tf32_of_the_lower_level_needs_a_gpu():
    with pytest.raises(ConfigError, match="--lower-precision tf32: a CPU has no TF32"):
        lower("tf32", solver="first_order")


FP32, TF32 = Arithmetic("fp32"), Arithmetic("tf32")
BF16, FP16 = Arithmetic("bf16", torch.bfloat16), Arithmetic("fp16", torch.float16)


@pytest.mark.parametrize(
    ("upper", "lower", "solver", "scope", "fast", "want"),
    [
        (FP32, FP32, None, None, True, "float32"),
        (TF32, TF32, "fd", "all", True, "float32"),
        (BF16, BF16, None, None, True, "bfloat16"),
        (FP16, FP16, None, None, True, "float16"),
        (BF16, BF16, None, None, False, "float32"),
        (BF16, FP32, "fd", "head", True, "bfloat16"),
        (FP16, FP32, "itd", "head", True, "float16"),
        (BF16, FP32, "single", "all", True, "bfloat16"),
        (BF16, FP32, "fd", "all", True, "float32"),
        (BF16, TF32, "first_order", "all", True, "float32"),
        (BF16, BF16, "first_order", "all", True, "bfloat16"),
        (BF16, BF16, "first_order", "all", False, "float32"),
    ],
)
def test_clips_are_narrow_where_every_pass_over_them_is(upper, lower, solver, scope, fast, want):
    bilevel = BilevelConfig(solver, scope=scope) if solver else None
    assert clip_dtype(bilevel, upper, lower, fast) == getattr(torch, want)


def test_only_tf32_lets_float32_products_be_rounded():
    bf16, fp32, tf32 = Arithmetic("bf16", torch.bfloat16), Arithmetic("fp32"), Arithmetic("tf32")
    set_float32(bf16, tf32)
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    set_float32(bf16, fp32)
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16"])
def test_what_the_precision_is_can_be_read_and_compiled_after_it_was_set(name):
    """Torch.compile reads the flags of old, and PyTorch refuses that where only the new ones were set."""
    rounded = name == "tf32"
    for before in ("tf32", "fp32"):
        set_float32(Arithmetic(before))
        set_float32(Arithmetic(name))
        assert torch.backends.cudnn.allow_tf32 is rounded
        assert torch.backends.cuda.matmul.allow_tf32 is rounded
        assert torch.get_float32_matmul_precision() == ("high" if rounded else "highest")
        for operation in (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul):
            assert operation.fp32_precision == ("tf32" if rounded else "ieee")
        product = torch.compile(lambda x: x @ x, backend="eager", fullgraph=True)
        assert torch.equal(product(torch.eye(3)), torch.eye(3))
        torch.compiler.reset()


def test_a_lower_level_as_rounded_as_the_upper_one_trains(tiny, tmp_path):
    losses = {}
    for precision in ("fp32", "upper"):
        run = tmp_path / precision
        options = f"--precision bf16 --lower-precision {precision} --max-steps 1 "
        options += "--bilevel.solver first_order --bilevel.scope all"
        quiet = ["--log.no-probe", "--log.no-report", "--run-dir", str(run)]
        assert main([*tiny, *options.split(), *quiet]) == 0
        losses[precision] = run_metrics(run)[0]["loss_pred"]
    assert losses["fp32"] != losses["upper"]
    assert losses["upper"] == pytest.approx(losses["fp32"], rel=0.2)


class Quartic:
    """A smooth problem with a Hessian that varies, in float64."""

    head = frozenset({"h"})

    def features(self, params):
        return params["w"].exp()

    def lower(self, params, features=None, *, twice=False):
        x = self._project(params, features)
        return (x**4).sum() + x.prod()

    def upper(self, params, features=None):
        return self._project(params, features).sin().sum()

    def both(self, params):
        return self.lower(params), self.upper(params)

    def _project(self, params, features):
        return params["h"] * (self.features(params) if features is None else features)


@pytest.mark.parametrize("scope", ["all", "head"])
@pytest.mark.parametrize("solver", [None, "single", "first_order", "fd", "itd", "cg", "neumann"])
def test_a_scaled_loss_gives_the_scaled_gradient_and_the_loss_as_it_is(solver, scope):
    w = torch.linspace(0.1, 1.0, 5, dtype=torch.float64)
    params = {"w": w, "h": w.flip(0) / 2}
    solve = make_solver(BilevelConfig(solver=solver, scope=scope, fd_scale=1e-4) if solver else None)
    want = solve(params, Quartic())
    problem = ScaledProblem(Quartic(), lambda loss: 1024 * loss)
    got = solve(params, problem)
    for name in params:
        torch.testing.assert_close(
            got.gradient[name] / 1024, want.gradient[name], rtol=1e-9, atol=1e-12, msg=name
        )
    assert problem.losses["upper"] == want.upper
    if solver == "single":
        assert problem.losses["lower"] == want.lower


def run_metrics(run):
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


def test_float16_skips_steps_that_overflow_and_then_trains(tiny, tmp_path, monkeypatch, capsys):
    scale = torch.amp.GradScaler.__init__

    def high(self, device, *, enabled):
        scale(self, device, init_scale=2.0**40, backoff_factor=2.0**-12, enabled=enabled)

    monkeypatch.setattr(torch.amp.GradScaler, "__init__", high)
    run = tmp_path / "r"
    quiet = ["--log.no-probe", "--log.no-report", "--run-dir", str(run)]
    assert main([*tiny, *quiet, "--precision", "fp16", "--decouple", "none"]) == 0
    lines = run_metrics(run)
    skipped = [line["skipped_steps"] for line in lines]
    assert skipped[0] == 1
    assert skipped[-1] < len(lines)
    assert lines[0]["grad_norm"] is None
    assert lines[-1]["loss_scale"] == 2.0 ** (40 - 12 * skipped[-1])
    assert math.isfinite(lines[-1]["grad_norm"])
    assert "step 1: the gradient overflowed float16; the step is skipped" in capsys.readouterr().err


def test_float16_that_never_fits_stops_with_the_remedy(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("bodvcl.engine.guard.MOST_OVERFLOWS", 2)
    scale = torch.amp.GradScaler.__init__

    def stays_high(self, device, *, enabled):
        scale(self, device, init_scale=2.0**40, backoff_factor=0.99, enabled=enabled)

    monkeypatch.setattr(torch.amp.GradScaler, "__init__", stays_high)
    options = ["--precision", "fp16", "--run-dir", str(tmp_path / "r"), "--decouple", "none"]
    assert main([*tiny, *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "grad_norm is not finite" in error
    assert "use --precision bf16 or fp32" in error
