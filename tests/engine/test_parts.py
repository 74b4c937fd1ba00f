"""The trainer's parts, each by itself."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest

from bodvcl.engine.device import pick_device
from bodvcl.engine.guard import MOST_OVERFLOWS, Overflows, diagnose
from bodvcl.engine.metrics import METRICS, MetricsLog
from bodvcl.engine.signals import StopRequest
from bodvcl.errors import ConfigError
from bodvcl.runs.folder import write_atomically


def test_stop_request_remembers_the_signal_and_restores_the_handlers():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_interrupts_at_once():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_metrics_beyond_the_checkpoint_are_dropped_on_resume(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in (5, 10, 15):
        log.write(step, {"loss": 1.0 / step, "bad": math.nan})
    log.close()
    log = MetricsLog(tmp_path, 10)
    log.write(15, {"loss": 0.5})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15]
    assert lines[2]["loss"] == 0.5
    assert lines[0]["bad"] is None


def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("name", ["gpu", "tpu", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match=f"--device {name}"):
        pick_device(name)


def _diagnosis(clips_are_finite=True, weights_are_finite=True, usual=1.0, overflows=0, gamma=0.1, tau=0.1):
    values = {"loss_static": math.nan, "loss": 1.0}
    seen = Overflows(overflows, overflows)
    finite = (clips_are_finite, weights_are_finite)
    return str(diagnose(7, values, *finite, 0.5, gamma, tau, usual, seen, "it is kept"))


def test_the_likely_cause_of_a_nan_is_named():
    assert _diagnosis().startswith("step 7: loss_static is not finite")
    assert "learning rate" in _diagnosis()
    assert "damaged videos" in _diagnosis(clips_are_finite=False)
    assert "earlier checkpoint" in _diagnosis(weights_are_finite=False)
    assert "--precision bf16" in _diagnosis(overflows=MOST_OVERFLOWS + 1)
    assert "--optim.clip-norm" in _diagnosis(usual=1e4)
    assert "--bilevel.gamma (now 100)" in _diagnosis(gamma=100.0)
    assert "--objective.tau (now 0.0001)" in _diagnosis(gamma=None, tau=1e-4)
