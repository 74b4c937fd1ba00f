"""What a running training says: each finding once, speed of all ranks, the share of the peak."""

from __future__ import annotations

import json
import time

import pytest
import torch

from bodvcl.config.schema import LogConfig
from bodvcl.engine.health import WINDOW
from bodvcl.engine.metrics import METRICS
from bodvcl.engine.reporter import Reporter


def report(run, steps, values, *, speaks=True, world_size=1, every=1):
    with Reporter(
        LogConfig(every=every),
        run,
        torch.device("cpu"),
        {},
        speaks=speaks,
        world_size=world_size,
        step=0,
        total=steps,
        clip_flops=10**9,
        arithmetic="fp32",
    ) as reporter:
        for step in range(1, steps + 1):
            with reporter.waiting(lambda: True):
                pass
            reporter.step(step, values, 8)


def lines(run):
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


def test_a_finding_is_said_once(tmp_path, capsys):
    report(tmp_path, 3 * WINDOW, {"loss": 1.0, "empty_static": 1.0})
    said = capsys.readouterr().err
    assert said.count("warning: the static stream is empty for 100% of the clips") == 1


def test_it_logs_every_so_many_steps_and_the_last(tmp_path):
    report(tmp_path, 7, {"loss": 1.0}, every=3)
    assert [line["step"] for line in lines(tmp_path)] == [3, 6, 7]
    for line in lines(tmp_path):
        assert 0 <= line["data_wait"] <= 1
        assert line["clips_per_second"] > 0
        assert line["memory_gb"] > 0
        assert "mfu" not in line


def test_the_share_of_the_peak_is_that_of_one_device(tmp_path, monkeypatch):
    monkeypatch.setattr("bodvcl.engine.reporter.peak_of", lambda device, arithmetic: 1e12)
    report(tmp_path, 2, {"loss": 1.0}, world_size=4)
    for line in lines(tmp_path):
        assert line["mfu"] == pytest.approx(line["clips_per_second"] / 4 * 1e9 / 1e12)


def test_a_silent_rank_writes_and_says_nothing(tmp_path, capsys):
    report(tmp_path, 2 * WINDOW, {"loss": 1.0, "empty_static": 1.0}, speaks=False)
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loss": 2.5, "loss_clip": 1.0}, "loss 2.5 | "),
        ({"loss": 3.0, "loss_video": 3.0}, "video 3 | "),
        (
            {
                "loss": 3.0,
                "loss_static": 1.0,
                "loss_dynamic": 2.0,
                "effective_rank_static": 4.0,
                "effective_rank_dynamic": 3.0,
                "empty_static": 0.25,
                "empty_dynamic": 0.0,
            },
            "static 1 | dynamic 2 | rank 3 | empty 25% | ",
        ),
    ],
)
def test_the_progress_line_shows_losses_and_the_streams_health(tmp_path, capsys, values, expected):
    report(tmp_path, 1, values)
    assert f", {expected}" in capsys.readouterr().err


def test_a_validated_step_is_always_logged_and_its_time_does_not_count(tmp_path):
    with Reporter(
        LogConfig(every=100),
        tmp_path,
        torch.device("cpu"),
        {},
        speaks=True,
        world_size=1,
        step=0,
        total=9,
        clip_flops=None,
        arithmetic="fp32",
    ) as reporter:
        with reporter.apart():
            time.sleep(0.5)
        reporter.step(1, {"loss": 1.0}, 1000)
        reporter.step(2, {"loss": 1.0}, 1000, {"val_top1": 0.5})
    (line,) = lines(tmp_path)
    assert (line["step"], line["val_top1"]) == (2, 0.5)
    assert line["clips_per_second"] > 2000 / 0.5
