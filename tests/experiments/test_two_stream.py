"""The two-stream study of section 5.5: its data, its training and what it concludes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from patience import LONG

from bodvcl.experiments import synthetic
from bodvcl.experiments.two_stream import MOTION_NOISE, Record, cut, draw_clips, train_two_stream, turn
from bodvcl.experiments.two_stream_data import MOTION_STEP, SEMANTICS, make_videos
from bodvcl.experiments.two_stream_report import KIND, verdict
from bodvcl.tables.statistics import mean_interval

SMALL = ["--seeds", "1", "--steps", "50", "--train-videos", "64", "--probe-videos", "32", "--workers", "1"]


@pytest.fixture(scope="module")
def videos():
    return make_videos(32, "none", seed=5, frames=24, size=32)


@pytest.mark.parametrize(("correlation", "copied"), [("none", None), ("sc", (0, 3)), ("dc", (2, 1))])
def test_only_the_named_semantics_are_correlated(correlation, copied):
    labels = make_videos(64, correlation, seed=1, frames=8, size=16).labels
    agreement = {
        (a, b): float((labels[:, a] == labels[:, b]).mean()) for a in range(4) for b in range(a + 1, 4)
    }
    for pair, share in agreement.items():
        if copied is not None and set(pair) == set(copied):
            assert share in (0.0, 1.0)
        else:
            assert 0.3 < share < 0.7, pair
    assert (labels.mean(0) == 0.5).all()


def test_motion_is_what_the_shape_does_from_one_frame_to_the_next(videos):
    bright = videos.frames.float().amin(-1)
    weight = (bright - bright.amin((-2, -1), keepdim=True)).clamp(min=0)
    weight = weight * (weight > 0.5 * weight.amax((-2, -1), keepdim=True))
    axis = torch.arange(32.0)
    total = weight.sum((-2, -1))
    centre = torch.stack(
        [(weight.sum(-2) * axis).sum(-1) / total, (weight.sum(-1) * axis).sum(-1) / total], -1
    )
    moved = centre.diff(dim=1)
    inside = (weight > 0.9 * weight.amax((-2, -1), keepdim=True))[:, :-1, None, ::MOTION_STEP, ::MOTION_STEP]
    motion = videos.motion[:, :-1].float()
    seen = (motion[:, :, :2] * inside).sum((-2, -1)) / inside.sum((-2, -1)).clamp(min=1)
    assert (seen - moved).abs().mean() < 0.1 * moved.abs().mean()


def test_brightness_and_motion_of_the_background(videos):
    corner = videos.motion[:, :, :, 0, 0].float()
    assert corner[:, :, :2].abs().max() == 0
    typical = corner[:, :, 2].median(1).values
    assert ((typical > 0) == torch.from_numpy(videos.labels[:, 2] == 0)).all()


def test_turning_a_video_turns_its_motion(videos):
    frames = torch.zeros(1, 1, 16, 16)
    frames[0, 0, 5, 3] = 1
    for quarters in range(4):
        for mirror in (False, True):
            motion = torch.zeros(1, 3, 2, 16, 16)
            motion[:, 0], motion[:, 1], motion[:, 2] = 4.0, 2.0, 1.0
            later = frames.roll((2, 4), (-2, -1))
            before, turned = turn(frames, motion, quarters, mirror)
            after, _ = turn(later, motion, quarters, mirror)
            (y0, x0), (y1, x1) = (image[0, 0].nonzero()[0].tolist() for image in (before, after))
            assert turned[0, :, 0, 0, 0].tolist() == [x1 - x0, y1 - y0, 1.0]


def test_clips_start_where_they_should_and_carry_the_error_of_their_motion(videos):
    rows, starts = torch.tensor([3, 7]), torch.tensor([0, 8])
    frames, motion = cut(videos, rows, starts, torch.Generator().manual_seed(0))
    assert frames.shape == (2, 3, 32, 32)
    assert motion.shape == (2, 3, 8, 16, 16)
    error = motion[1] - videos.motion[7, 8:16].float().transpose(0, 1)
    assert abs(error.mean()) < 0.1
    assert error.std() == pytest.approx(MOTION_NOISE, rel=0.1)
    a = draw_clips(videos, rows, torch.Generator().manual_seed(0))
    b = draw_clips(videos, rows, torch.Generator().manual_seed(0))
    assert all(torch.equal(x, y) for x, y in zip(a, b))


@pytest.mark.parametrize("loss", ["unified", "decoupled"])
def test_training_records_what_was_asked_for(videos, loss):
    seen = []
    records = train_two_stream(
        videos, (videos, videos), loss, seed=0, steps=4, every=2, batch_size=8, progress=seen.append
    )
    assert seen == [1, 2, 3, 4]
    assert [r.step for r in records] == [0, 2, 4]
    assert records[0].gradient_norm is None
    for record in records:
        assert record.accuracy.keys() == SEMANTICS.keys()
        assert all(0 <= value <= 1 for value in record.accuracy.values())
    assert all(min(r.gradient_norm) > 0 for r in records[1:])


def test_one_network_s_decoupled_loss_is_no_affair_of_the_other_one(videos):
    """Eq. 15: with the motion input destroyed, the static network's gradient is the same, unless they share a
    loss."""
    from dataclasses import replace

    blind = replace(videos, motion=torch.zeros_like(videos.motion))
    probe = (videos, videos)
    norms = {
        (loss, name): train_two_stream(data, probe, loss, seed=0, steps=1, every=1, batch_size=8)[
            1
        ].gradient_norm[0]
        for loss in ("unified", "decoupled")
        for name, data in (("whole", videos), ("blind", blind))
    }
    assert norms["decoupled", "whole"] == pytest.approx(norms["decoupled", "blind"], rel=1e-5)
    assert norms["unified", "whole"] != pytest.approx(norms["unified", "blind"], rel=1e-3)


@LONG
@pytest.mark.slow
def test_the_command_writes_figures_and_words_and_repeats_nothing(tmp_path, capsys, monkeypatch):
    out = tmp_path / "study"
    assert synthetic.main(["--out", str(out), *SMALL]) == 0
    for name in ("figure6.png", "figure7.png", "findings.md", "summary.json", "sc-decoupled-0.json"):
        assert (out / name).stat().st_size > 0
    summary = json.loads((out / "summary.json").read_text())
    assert len(summary["rows"]) == 20
    assert len(summary["verdict"]) == 7
    assert "Corollary 1 (sc)" in capsys.readouterr().out
    monkeypatch.setattr(synthetic, "ProcessPoolExecutor", None)
    assert synthetic.main(["--out", str(out), *SMALL]) == 0
    changed = [*SMALL[:2], "--steps", "100", *SMALL[4:]]
    assert synthetic.main(["--out", str(out), *changed]) == 2
    assert "choose another --out" in capsys.readouterr().err


def test_bad_options_are_one_line(tmp_path, capsys):
    assert synthetic.main(["--steps", "7"]) == 2
    assert capsys.readouterr().err.startswith("bodvcl experiments.synthetic: error: --steps: ")
    (tmp_path / "file").write_text("")
    assert synthetic.main(["--out", str(tmp_path / "file" / "out")]) == 2
    assert "file/out: Not a directory; choose another --out\n" in capsys.readouterr().err


def record(step, norms=(1.0, 0.1), **accuracy):
    return Record(step, dict.fromkeys(KIND, 1.0) | accuracy, norms if step else None, 1.0)


def test_the_verdict_follows_the_numbers():
    noise = [0.00, 0.01, 0.02]
    results = {
        ("none", "unified"): [[record(0), record(1)] for _ in noise],
        ("sc", "unified"): [[record(0), record(1, trajectory=0.6 + e)] for e in noise],
        ("sc", "decoupled"): [[record(0), record(1, trajectory=0.9 + e)] for e in noise],
        ("dc", "unified"): [[record(0), record(1, shape=0.6 + 20 * e)] for e in noise],
        ("dc", "decoupled"): [[record(0), record(1, shape=0.65, brightness=0.9)] for e in noise],
    }
    figure7, gradients_sc, accuracy_sc, corollary_sc, gradients_dc, accuracy_dc, corollary_dc = verdict(
        results
    )
    for line in (figure7, gradients_sc, accuracy_sc, corollary_sc):
        assert "did not hold" not in line
        assert "held" in line
    assert "gained 30.0 ± 0.0" in corollary_sc
    for line in (gradients_dc, accuracy_dc, corollary_dc):
        assert "did not hold" in line


def test_interval_is_student_s():
    mean, half = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.302652729911275 / np.sqrt(3))
    assert np.isnan(mean_interval([1.0])[1])
