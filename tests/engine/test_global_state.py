"""A notebook goes on after a run: what the run changed in its process is as it was before."""

from __future__ import annotations

import contextlib
import locale
import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bodvcl.cli.probe import main as probe_main
from bodvcl.cli.train import main
from bodvcl.engine.checkpoint import load_encoder
from bodvcl.engine.loop import Trainer
from bodvcl.engine.precision import Arithmetic, set_float32
from bodvcl.engine.ranks import PeerFailed
from bodvcl.engine.signals import StopRequest
from bodvcl.errors import DataError
from bodvcl.system.global_state import restored

QUIET = ["--log.no-probe", "--log.no-report"]
BACKENDS = torch.backends
HOLDERS = (
    BACKENDS, BACKENDS.cudnn, BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn,
    BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv,
)  # fmt: skip


def _readable(name: str) -> object:
    try:
        return eval(name, {"torch": torch})
    except RuntimeError as error:
        return str(error)


def _state() -> dict[str, object]:
    """What a program can see of the state that all of a process share."""
    flags = [
        "torch.backends.cudnn.allow_tf32", "torch.backends.cuda.matmul.allow_tf32",
        "torch.backends.cudnn.benchmark", "torch.backends.cudnn.deterministic",
        "torch.backends.cudnn.enabled",
        "torch.get_float32_matmul_precision()", "torch.are_deterministic_algorithms_enabled()",
        "torch.get_default_dtype()", "torch.get_num_threads()", "torch.is_grad_enabled()",
        "torch.is_anomaly_enabled()", "torch.initial_seed()", "torch.distributed.is_initialized()",
        "torch.is_autocast_enabled('cpu')", "torch.backends.mkldnn.enabled",
    ]  # fmt: skip
    return {
        **{name: _readable(name) for name in flags},
        "float32": [holder.fp32_precision for holder in HOLDERS],
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": str(np.random.get_state()),  # noqa: NPY002
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "warnings": (warnings.showwarning, list(warnings.filters)),
        "environment": dict(os.environ),
        "logging": (logging.root.level, list(logging.root.handlers), logging.raiseExceptions),
        "matplotlib": dict(matplotlib.rcParams),
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
        "streams": (sys.stdout, sys.stderr),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "folder": os.getcwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "children": multiprocessing.active_children(),
    }


@pytest.fixture(autouse=True)
def _other_tests_see_nothing_of_this(finished_run):
    """Imports have been made (by ``finished_run``), and each test begins with PyTorch's own settings."""
    with restored():
        torch.set_float32_matmul_precision("highest")
        BACKENDS.cudnn.allow_tf32 = True
        for holder, value in zip(HOLDERS, ("none", "none", "none", "tf32", "tf32", "none", "none")):
            holder.fp32_precision = value
        yield


def _ends_well(monkeypatch):
    return 0


def _ends_in_a_mistake(monkeypatch):
    def step(*_):
        raise DataError("the disk went away")

    monkeypatch.setattr(Trainer, "_train_step", step)
    return 2


def _ends_in_a_bug(monkeypatch):
    def step(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(Trainer, "_train_step", step)
    return ZeroDivisionError


def _ends_with_ctrl_c(monkeypatch):
    def step(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_train_step", step)
    return 130


def _ends_by_system_exit(monkeypatch):
    def step(*_):
        raise PeerFailed

    monkeypatch.setattr(Trainer, "_train_step", step)
    return SystemExit


@pytest.mark.parametrize(
    "ending", [_ends_well, _ends_in_a_mistake, _ends_in_a_bug, _ends_with_ctrl_c, _ends_by_system_exit]
)
def test_training_puts_everything_back_however_it_ends(tiny, tmp_path, monkeypatch, ending):
    options = [*tiny, "--max-steps", "1", "--workers", "1", "--run-dir", str(tmp_path / "r")]
    want = ending(monkeypatch)
    torch.manual_seed(20)
    before = _state()
    if isinstance(want, int):
        assert main(options) == want
    else:
        with pytest.raises(want):
            main(options)
    assert _state() == before


def test_going_on_puts_everything_back(tiny, tmp_path):
    run = str(tmp_path / "r")
    assert main([*tiny, *QUIET, "--max-steps", "1", "--run-dir", run]) == 0
    before = _state()
    assert main(["--resume", "--run-dir", run, "--max-steps", "2"]) == 0
    assert _state() == before


def test_a_probe_puts_everything_back(finished_run, tmp_path):
    options = ["--checkpoint", str(finished_run), "--against", "untrained", "--probe", "ridge", "sgd"]
    before = _state()
    assert probe_main([*options, "--workers", "0", "--device", "cpu", "--no-cache"]) == 0
    assert _state() == before


def test_after_training_the_encoder_can_be_exported(tiny, tmp_path):
    run = tmp_path / "r"
    assert main([*tiny, *QUIET, "--max-steps", "1", "--run-dir", str(run)]) == 0
    clips = torch.randn(2, 3, 8, 16, 16)
    encoder = load_encoder(run)
    exported = torch.export.export(encoder, (clips,)).module()
    torch.testing.assert_close(exported(clips), encoder(clips))


ROUNDING = st.sampled_from(["none", "ieee", "tf32"])
SEEDS = st.integers(0, 2**62)


@given(
    before=st.tuples(*[ROUNDING] * 4),
    within=st.tuples(*[ROUNDING] * 4),
    above=ROUNDING,
    seed=SEEDS,
)
def test_float32_s_rounding_is_put_back_also_where_it_is_inherited(before, within, above, seed):
    holders = HOLDERS[:4]
    for holder, value in zip(holders, before):
        holder.fp32_precision = value
    torch.manual_seed(seed)
    seen = [holder.fp32_precision for holder in HOLDERS]
    want = torch.Generator().manual_seed(seed)
    with contextlib.suppress(SystemExit), restored():
        for holder, value in zip(holders, within):
            holder.fp32_precision = value
        torch.rand(3)
        raise SystemExit(2)
    assert [holder.fp32_precision for holder in HOLDERS] == seen
    assert torch.equal(torch.rand(3), torch.rand(3, generator=want))
    BACKENDS.fp32_precision = above
    BACKENDS.cudnn.fp32_precision = "none"
    for holder, value in zip(holders[2:], before[2:]):  # what was inherited is inherited still
        assert holder.fp32_precision == (above if value == "none" else value)


@given(matmul=st.sampled_from(["highest", "high", "medium"]), cudnn=st.booleans(), within=st.booleans())
def test_the_flags_of_old_are_put_back(matmul, cudnn, within):
    torch.set_float32_matmul_precision(matmul)
    BACKENDS.cudnn.allow_tf32 = cudnn
    seen = [holder.fp32_precision for holder in HOLDERS]
    with restored():
        set_float32(Arithmetic("tf32" if within else "fp32"))
    assert torch.get_float32_matmul_precision() == matmul
    assert BACKENDS.cuda.matmul.allow_tf32 is (matmul != "highest")
    assert BACKENDS.cudnn.allow_tf32 is cudnn
    assert [holder.fp32_precision for holder in HOLDERS] == seen


def test_variables_of_the_environment_are_put_back(monkeypatch):
    monkeypatch.setenv("BODVCL_KEPT", "1")
    monkeypatch.setenv("BODVCL_TAKEN", "2")
    before = dict(os.environ)
    with restored():
        os.environ["BODVCL_KEPT"] = "3"
        del os.environ["BODVCL_TAKEN"]
        os.environ["BODVCL_NEW"] = "4"
    assert dict(os.environ) == before


def test_a_handler_that_python_does_not_know_is_no_obstacle(monkeypatch):
    real = signal.signal
    monkeypatch.setattr(signal, "signal", lambda number, handler: real(number, handler) and None)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        with StopRequest() as stop:
            assert stop.signal is None
    finally:
        for number, handler in handlers.items():
            real(number, handler)


def test_cuda_devices_in_use_get_their_generators_back_and_the_current_one(monkeypatch):
    now = {"generators": ["a", "b"], "device": 1}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: now["generators"])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda states: now.update(generators=states))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: now["device"])
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: now.update(device=device))
    with contextlib.suppress(SystemExit), restored():
        now |= {"generators": ["c", "d"], "device": 0}
        raise SystemExit(2)
    assert now == {"generators": ["a", "b"], "device": 1}


def test_a_cuda_device_that_is_not_in_use_is_not_started(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: pytest.fail("the device was started"))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(21)
    with restored():
        torch.manual_seed(22)
    assert seeds[-1] == 21
