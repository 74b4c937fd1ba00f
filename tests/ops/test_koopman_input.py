"""Bad input, edge cases that are defined, warnings, and the choice of a backend."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch
from koopman_cases import (
    EVERY,
    FAST,
    close,
    paper_loss,
    paper_operator,
    paper_split,
    paper_split_and_loss,
    parts_of,
    put,
    walk,
)
from patience import PATIENCE

from bodvcl.cli.info import collect
from bodvcl.ops import native as _native
from bodvcl.ops.backend import BackendError
from bodvcl.ops.koopman import KoopmanWarning, vacuous
from bodvcl.ops.koopman.backend import KoopmanRequest, choose_koopman, why_not_cpu

X = walk(2, 6, 8)


@pytest.mark.parametrize(
    ("error", "match", "args", "options"),
    [
        (TypeError, "floating-point", (X.long(),), {}),
        (TypeError, "got ndarray", (X.numpy(),), {}),
        (ValueError, r"frames and width at least; got the shape \(8,\)", (X[0, 0],), {}),
        (ValueError, "2 frame.s. per clip, at least 3 are needed: two pairs", (X[:, :2],), {}),
        (ValueError, "width 0", (X[..., :0],), {}),
        (ValueError, r"xi is 0; the hard mask needs a radius in \(0, 1\]", (X, 0), {}),
        (ValueError, "xi is 1.5", (X, 1.5), {}),
        (ValueError, "ridge is -1", (X,), {"ridge": -1}),
        (ValueError, "ridge is nan", (X,), {"ridge": float("nan")}),
        (ValueError, "rank is 6; expected 1 to 5, the smaller of T - 1", (X,), {"rank": 6}),
        (ValueError, "rank is 4; expected 1 to 3", (X[..., :3],), {"rank": 4}),
        (ValueError, "rank is 0", (X,), {"rank": 0}),
        (ValueError, "rtol is 2", (X,), {"rtol": 2}),
        (
            ValueError,
            "smooth_power is 6; expected a power of two",
            (X,),
            {"mask": "smooth", "smooth_power": 6},
        ),
        (ValueError, "mask is 'soft'; expected one of 'hard', 'smooth'", (X,), {"mask": "soft"}),
        (ValueError, "weights is 'x'", (X,), {"weights": "x"}),
        (ValueError, "pool is 'max'", (X,), {"pool": "max"}),
        (ValueError, "estimator is 'fb'", (X,), {"estimator": "fb"}),
        (ValueError, "estimator='tls' needs a rank", (X,), {"estimator": "tls"}),
        (ValueError, "max_gain is 0", (X,), {"max_gain": 0}),
        (ValueError, "frame_mask must be bool of shape", (X,), {"frame_mask": torch.ones(2, 5).bool()}),
        (ValueError, "frame_mask must be bool of shape", (X,), {"frame_mask": torch.ones(2, 6)}),
        (ValueError, "frame_mask is on meta", (X,), {"frame_mask": torch.ones(2, 6, device="meta").bool()}),
        (ValueError, "backend is 'gpu'; expected one of auto, cuda", (X,), {"backend": "gpu"}),
    ],
)
def test_bad_input_says_what_was_wrong_and_what_was_expected(error, match, args, options):
    with pytest.raises(error, match=match):
        paper_split(*args, **options)


@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("mode is 'test'", {"mode": "test"}),
        ("nu is -1", {"nu": -1.0}),
        ("reduction is 'max'", {"reduction": "max"}),
        ("rank is 9", {"rank": 9}),
    ],
)
def test_bad_input_of_the_loss(match, options):
    with pytest.raises(ValueError, match=match):
        paper_loss(X, **options)
    with pytest.raises(ValueError, match=match):
        paper_split_and_loss(X, **options)


def test_non_finite_features_are_reported_with_the_number_of_clips():
    x = walk(5, 6, 8)
    x[1, 2, 3] = torch.nan
    x[4, 0] = torch.inf
    with pytest.raises(ValueError, match="2 of 5 clips hold a NaN or an infinity"):
        paper_split(x, check_finite=True)
    mask = torch.ones(5, 6, dtype=torch.bool)
    mask[4, 0] = mask[1, 2] = False
    paper_split(x, check_finite=True, frame_mask=mask)


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize(
    "options", [{}, {"mask": "smooth", "ridge": 0.1}, {"pool": "none"}, {"pool": "std"}], ids=str
)
def test_a_nan_stays_in_its_clip(options, backend):
    x = put(walk(9, 6, 8), backend)
    clean, clean_losses = paper_split_and_loss(x, 0.5, backend=backend, mode="loo", **options)
    bad = x.clone()
    bad[3, 2, 1] = torch.nan
    bad[7, 0, 0] = torch.inf
    bad.requires_grad_()
    split, losses = paper_split_and_loss(bad, 0.5, backend=backend, mode="loo", reduction="none", **options)
    assert split.nonfinite.nonzero().flatten().tolist() == [3, 7]
    good = ~split.nonfinite
    for got, want in ((split.static, clean.static), (split.dynamic, clean.dynamic), (split.rank, clean.rank)):
        assert got[~good].isnan().all()
        close(got[good], want[good], 1e-12)
    assert split.eigenvalues()[~good].isnan().all()
    assert split.distance()[~good].isnan().all()
    for got, want in zip(losses[1:], clean_losses[1:]):
        assert got[~good].isnan().all()
        close(got[good], want[good], 1e-12)
    if backend == "reference":  # eig has no derivative where a cotangent is NaN
        return
    (split.static.sum() + losses.pred.sum()).backward()
    assert bad.grad[good].isfinite().all()
    assert bad.grad[~good].isnan().all()


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("options", [{}, {"ridge": 0.1}, {"weights": "projector", "mask": "smooth"}], ids=str)
def test_an_all_zero_clip_gives_zeros_and_a_zero_gradient(options, backend):
    x = put(torch.zeros(2, 6, 8, dtype=torch.float64), backend).requires_grad_()
    split, losses = paper_split_and_loss(x, 0.5, backend=backend, **options)
    for out in (split.static, split.dynamic, split.rank, split.reduced, losses.pred, *parts_of(losses)):
        assert (out == 0).all()
    assert split.distance().isinf().all()
    every = (split.static.square(), split.dynamic.square(), losses.pred, *parts_of(losses))
    sum(part.sum() for part in every).backward()
    assert (x.grad == 0).all()


@pytest.mark.parametrize("backend", FAST)
def test_a_clip_without_a_valid_pair_gives_zeros(backend):
    x = put(walk(2, 6, 8), backend)
    mask = torch.zeros(2, 6, dtype=torch.bool, device=x.device)
    mask[0, ::2] = True
    split, losses = paper_split_and_loss(x, frame_mask=mask, backend=backend)
    for out in (split.static, split.dynamic, split.rank, losses.pred, *parts_of(losses)):
        assert (out == 0).all()
    for kind in ("hard", "smooth"):
        split = paper_split(x, mask=kind, weights="projector", frame_mask=mask, backend=backend)
        close((split.static + split.dynamic)[0], x[0, ::2].mean(0), 1e-14)
        assert (split.static[1] == 0).all()


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("shape", [(0, 6, 8), (3, 0, 6, 8)], ids=str)
def test_an_empty_batch_works(shape, backend):
    x = put(torch.zeros(shape, dtype=torch.float32), backend).requires_grad_()
    split, losses = paper_split_and_loss(x, backend=backend, reduction="sum")
    assert split.static.shape == (*shape[:-2], 8)
    assert losses.pred.item() == 0
    (split.static.sum() + losses.pred).backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("backend", FAST)
def test_training_error_of_an_exact_fit_is_zero_with_a_zero_gradient_and_warns_once(backend):
    x = put(walk(3, 6, 8), backend).requires_grad_()
    vacuous._warned.clear()
    vacuous._looks.clear()
    if x.is_cuda:  # the warning does not wait for the device: it comes with a later call
        paper_loss(x, "train", backend=backend)
        torch.cuda.synchronize()
    with pytest.warns(KoopmanWarning, match="5 pairs of frames of width 8 are fitted exactly"):
        loss = paper_loss(x, "train", nu=0.0, backend=backend)
    assert loss.item() == 0
    loss.backward()
    assert (x.grad == 0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paper_loss(x, "train", backend=backend)


def test_the_warning_comes_with_the_call_that_finds_the_answer_of_a_gpu_there(monkeypatch):
    class Event:
        done = False

        def query(self) -> bool:
            return self.done

    vacuous._warned.clear()
    monkeypatch.setattr(vacuous, "_looks", [vacuous._Look(torch.tensor(True), Event(), (5, 8))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paper_loss(walk(3, 6, 8), "train")
    Event.done = True
    with pytest.warns(KoopmanWarning, match="5 pairs of frames of width 8 are fitted exactly"):
        paper_loss(walk(3, 9, 8), "train")


@pytest.mark.parametrize(
    "options", [{"ridge": 0.1}, {"rank": 2}, {"mode": "loo"}, {"mode": "forecast"}], ids=str
)
def test_no_warning_where_there_is_something_to_learn(options):
    vacuous._warned.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert paper_loss(walk(3, 6, 8), **{"mode": "train", **options}) > 0
        paper_loss(walk(3, 9, 4), "train")


def test_eigenvalues_distance_and_modes_of_a_known_clip():
    frames = torch.tensor([[1.0, 2.0**-i, 0.0] for i in range(5)], dtype=torch.float64)
    split = paper_split(frames, 0.1, backend="torch")
    close(split.eigenvalues().real, torch.tensor([1, 0.5, 0, 0], dtype=torch.float64), 1e-10)
    close(split.distance(), torch.tensor(0.1), 1e-6)
    assert (split.static_modes, split.dynamic_modes, split.rank) == (1, 1, 2)
    close(split.static, torch.tensor([1.0, 0, 0]), 1e-10)
    smooth = paper_split(frames, mask="smooth", backend="torch")
    assert smooth.distance() < 1e-10
    close(smooth.static_modes, torch.tensor(1 + 0.75**8), 1e-10)


def test_auto_takes_the_native_route_where_it_can_and_torch_elsewhere():
    here = "cpu" if _native.cpu_available() else "torch"
    small = KoopmanRequest("cpu", torch.float32, 8, 128)
    assert choose_koopman("auto", small) == here
    for change in ({"frames": 65}, {"width": 3}, {"width": 2000}, {"estimator": "tls"}, {"device": "meta"}):
        assert choose_koopman("auto", small._replace(**change)) == "torch"
    paper_split(walk(1, 70, 3).float(), rtol=1e-3)
    paper_split(X, rank=2, estimator="tls")


@pytest.mark.skipif(not _native.cpu_available(), reason="the reasons below are those of a loaded library")
@pytest.mark.parametrize(
    ("match", "change"),
    [
        ("65 frames per clip, at most 64", {"frames": 65}),
        ("width 2000 is outside 4..1024", {"width": 2000}),
        ("estimator='tls' is served by the PyTorch route only", {"estimator": "tls"}),
        ("the features are on meta", {"device": "meta"}),
    ],
)
def test_a_named_backend_that_cannot_run_says_why(match, change):
    request = KoopmanRequest("cpu", torch.float32, 8, 128)._replace(**change)
    assert match in why_not_cpu(request)
    with pytest.raises(BackendError, match=match):
        choose_koopman("cpu", request)


def test_named_backends_that_are_not_here_say_why():
    if not _native.cuda_available():
        with pytest.raises(BackendError, match="backend='cuda' cannot run this: the features are on cpu"):
            paper_split(X, backend="cuda")
    with pytest.raises(BackendError, match="not in the paper"):
        paper_split(X, rank=2, estimator="tls", backend="reference")


def test_the_environment_variable_stands_in_for_auto(monkeypatch):
    request = KoopmanRequest("cpu", torch.float32, 8, 128)
    monkeypatch.setenv("BODVCL_BACKEND", "reference")
    assert choose_koopman("auto", request) == "reference"
    assert choose_koopman("torch", request) == "torch"
    monkeypatch.setenv("BODVCL_BACKEND", "fastest")
    with pytest.raises(ValueError, match="BODVCL_BACKEND is 'fastest'"):
        choose_koopman("auto", request)


def test_the_report_names_a_backend_and_reasons_for_every_device():
    report = collect()["operators"]["koopman"]
    assert report["cpu"]["backend"] in ("cpu", "torch")
    assert all(report["cpu"][name] for name in report["cpu"])


def test_without_the_native_library_everything_runs_and_says_so():
    code = (
        "import torch; from bodvcl.ops.koopman import koopman_split\n"
        "from bodvcl.ops.koopman.backend import explain_koopman\n"
        "koopman_split(torch.randn(2, 6, 8)); print(explain_koopman('cpu'))\n"
        "koopman_split(torch.randn(2, 6, 8), backend='cpu')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"BODVCL_NATIVE": "0"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "'backend': 'torch'" in done.stdout
    assert (
        "BackendError: backend='cpu' cannot run this: the native library is not there (BODVCL_NATIVE=0)"
        in (done.stderr)
    )


def test_the_operator_of_a_clip_with_a_nan_is_nan():
    x = walk(2, 6, 8)
    x[0, 3, 1] = torch.nan
    operator = paper_operator(x)
    for out in (operator.modes(), operator.eigenvalues(), operator.dense(), operator.predict(x[:, 0])):
        assert out[0].isnan().all()
        assert out[1].isfinite().all()


@pytest.mark.parametrize("backend", FAST)
def test_a_frame_mask_that_is_a_view(backend):
    x = put(walk(4, 6, 8), backend)
    row = (torch.arange(6, device=x.device) < 4).expand(4, 6)
    close(
        paper_split(x, frame_mask=row, backend=backend).static,
        paper_split(x[:, :4], backend=backend).static,
        1e-12,
    )


def test_operator_of_a_padded_clip_is_that_of_the_clip():
    x = walk(1, 8, 12)
    mask = torch.ones(1, 8, dtype=torch.bool)
    mask[:, 6:] = False
    close(paper_operator(x, frame_mask=mask).dense(), paper_operator(x[:, :6]).dense())
