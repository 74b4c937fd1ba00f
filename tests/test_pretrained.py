"""load_encoder: a trained encoder for frames of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import bodvcl
from bodvcl.config.parse import load_yaml
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.draws import evaluation_draws
from bodvcl.data.files.probing import probe_video
from bodvcl.engine.checkpoint import load_run
from bodvcl.errors import CheckpointError, ConfigError
from bodvcl.evaluate.reading import read_clips

OLD_RUN = Path(__file__).parent / "runs" / "written_by_0_1_0"


@pytest.fixture(scope="module")
def encoder():
    return bodvcl.load_encoder(OLD_RUN)


@pytest.mark.parametrize("path", [OLD_RUN, str(OLD_RUN), OLD_RUN / "checkpoint" / "encoder.pt"])
def test_an_old_run_gives_features_per_frame(path):
    encoder = bodvcl.load_encoder(path)
    clips = torch.randn(2, 3, 8, 16, 16)
    trained = load_run(OLD_RUN)[0]
    with torch.no_grad():
        assert torch.equal(encoder(clips), trained.frames(clips))
        assert torch.equal(encoder.embeddings(clips), trained(clips))
    assert encoder(clips).shape == (2, 8, 16)
    assert encoder.embeddings(clips).shape == (2, 8, 12)
    assert not any(module.training for module in encoder.modules())


def test_a_fresh_run_gives_the_features_of_its_videos_as_the_probe_sees_them(finished_run):
    encoder, config = bodvcl.load_encoder(finished_run), load_yaml(finished_run / "config.yaml")
    assert encoder.clip.frames == config.clip.frames
    assert encoder.clip.stride == config.clip.stride
    assert encoder.clip.fps is config.clip.fps is None
    assert encoder.clip.size == config.clip.size
    assert (encoder.clip.mean, encoder.clip.std) == (config.augment.mean, config.augment.std)

    path = next(config.shapes.cache.rglob("train/*.mp4"))
    video = probe_video(path)
    (batch,) = read_clips([video], config.clip, clips_per_video=1, workers=0)
    want = finish(batch, config.augment)
    numbers = evaluation_draws(video, config.clip, 1).frames[0]
    assert set(np.diff(numbers)) == {encoder.clip.stride}
    clips = encoder.prepare(decoded(path)[numbers])
    torch.testing.assert_close(clips, want)
    torch.testing.assert_close(encoder(clips), load_run(finished_run)[0].frames(want))


def decoded(path) -> np.ndarray:
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_frames_become_clips_of_the_size_and_normalisation_of_training(encoder):
    frames = np.zeros((8, 20, 50, 3), np.uint8)
    frames[:, :, 15:35] = (255, 0, 102)  # the largest centred square
    clips = encoder.prepare(frames)
    assert clips.shape == (1, 3, 8, 16, 16)
    assert clips.dtype == torch.float32
    for channel, value in enumerate((1.0, 0.0, 0.4)):
        torch.testing.assert_close(clips[0, channel], torch.full((8, 16, 16), (value - 0.45) / 0.225))
    both = encoder.prepare(torch.from_numpy(np.stack([frames, 0 * frames])))
    assert torch.equal(both[:1], clips)


def test_clips_have_the_dtype_of_the_weights():
    encoder = bodvcl.load_encoder(OLD_RUN).double()
    clips = encoder.prepare(torch.zeros(8, 16, 16, 3, dtype=torch.uint8))
    assert encoder(clips).dtype == clips.dtype == torch.float64


def test_it_can_be_trained_further(encoder):
    clips, ids = torch.randn(4, 3, 8, 16, 16), torch.tensor([0, 1, 0, 1])
    sum(bodvcl.DecoupledInfoNCE()(encoder.embeddings(clips), ids).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize(
    ("frames", "error", "says"),
    [
        (torch.zeros(8, 16, 16, 3), TypeError, "expected uint8.*torch.float32"),
        (torch.zeros(8, 3, 16, 16, dtype=torch.uint8), ValueError, "RGB last"),
        (torch.zeros(16, 16, 3, dtype=torch.uint8), ValueError, "RGB last"),
        (torch.zeros(8, 0, 16, 3, dtype=torch.uint8), ValueError, "RGB last"),
        (torch.zeros(9, 16, 16, 3, dtype=torch.uint8), ValueError, "expected 8 frames.*got 9"),
    ],
)
def test_bad_frames_are_named(encoder, frames, error, says):
    with pytest.raises(error, match=says):
        encoder.prepare(frames)


@pytest.mark.parametrize(
    ("clips", "error", "says"),
    [
        (torch.zeros(2, 3, 8, 16, 16, dtype=torch.uint8), TypeError, "`prepare`"),
        (np.zeros((2, 3, 8, 16, 16)), TypeError, "got ndarray"),
        (torch.zeros(2, 8, 3, 16, 16), ValueError, r"got \(2, 8, 3, 16, 16\)"),
        (torch.zeros(3, 8, 16, 16), ValueError, r"got \(3, 8, 16, 16\)"),
    ],
)
def test_bad_clips_are_named(encoder, clips, error, says):
    for call in (encoder, encoder.embeddings):
        with pytest.raises(error, match=says):
            call(clips)


def test_a_bad_path_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        bodvcl.load_encoder(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="expected the folder of a run"):
        bodvcl.load_encoder(tmp_path)
    (tmp_path / "encoder.pt").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        bodvcl.load_encoder(tmp_path / "encoder.pt")
    with pytest.raises(CheckpointError, match="training run, not an encoder"):
        bodvcl.load_encoder(OLD_RUN / "checkpoint" / "last.pt")


def test_a_bad_device_is_named():
    with pytest.raises(ConfigError, match="expected cpu, cuda or cuda:N, got 'gpu'"):
        bodvcl.load_encoder(OLD_RUN, device="gpu")
    with pytest.raises(ConfigError, match=r"PyTorch sees .* got cuda:99"):
        bodvcl.load_encoder(OLD_RUN, device="cuda:99")
