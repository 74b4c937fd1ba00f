"""Features and analysis of an encoder whose embeddings are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bodvcl.config.schema import KoopmanConfig, ModelConfig
from bodvcl.evaluate.analysis import analyse, example_frames, frame_similarity, similarity_by_lag
from bodvcl.evaluate.clips import unfold_clips
from bodvcl.evaluate.features import extract_features
from bodvcl.evaluate.spectrum import clip_spectrum, mask_value
from bodvcl.models.encoder import build_encoder
from bodvcl.runs.analysis import load_analysis, save_analysis

PLAIN = KoopmanConfig(mask="hard", ridge=0.0, normalize=False, dynamic="mean")


class Given(nn.Module):
    """An encoder whose features are written in the clip: frame t of channel 0 holds them, one a pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def frames(self, clips: Tensor) -> Tensor:
        return clips[:, 0].flatten(2)

    def project(self, features: Tensor) -> Tensor:
        return features * self.scale


def as_clips(features: Tensor) -> Tensor:
    """``(N, T, M)`` -> clips ``(N, 3, T, 1, M)`` from which :class:`Given` reads them back."""
    return features[:, None, :, None, :].expand(-1, 3, -1, -1, -1)


def orbit(eigenvalues: list[complex], frames: int) -> Tensor:
    """``(frames, M)`` real trajectory whose operator has these eigenvalues and their conjugates."""
    t = np.arange(frames)
    columns = []
    for value in eigenvalues:
        power = value**t
        columns += [power.real] if np.isreal(value) else [power.real, power.imag]
    return torch.tensor(np.stack(columns, 1))


def test_similarity_by_hand() -> None:
    frames = torch.tensor([[[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]]])
    expected = torch.tensor([[[1.0, 0.6, 0.0], [0.6, 1.0, 0.8], [0.0, 0.8, 1.0]]], dtype=torch.float64)
    similarity = frame_similarity(frames)
    torch.testing.assert_close(similarity, expected)
    torch.testing.assert_close(similarity_by_lag(similarity)[0], torch.tensor([1.0, 0.7, 0.0]).double())


def test_a_frame_of_zeros_is_similar_to_nothing() -> None:
    similarity = frame_similarity(torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]))
    assert similarity.tolist() == [[[0.0, 0.0], [0.0, pytest.approx(1.0)]]]


def test_known_eigenvalues_are_found() -> None:
    planted = [1.0, 0.5 + 0.5j, -0.8]
    values, modes = clip_spectrum(orbit(planted, 8)[None], PLAIN)
    found = values[0][torch.isfinite(values[0].real)].numpy()
    expected = np.array([1.0, 0.5 + 0.5j, 0.5 - 0.5j, -0.8])
    assert len(found) == len(expected)
    assert all(np.abs(found - value).min() < 1e-6 for value in expected)
    assert modes.tolist() == [1.0]


def test_mask_values() -> None:
    at = torch.tensor([1.0 + 0j, 0.95 + 0j, 0.85 + 0j, -1.0 + 0j])
    assert mask_value(at, KoopmanConfig(mask="hard", xi=0.1)).real.tolist() == [1.0, 1.0, 0.0, 0.0]
    smooth = mask_value(at, KoopmanConfig(mask="smooth", smooth_power=4)).real
    torch.testing.assert_close(smooth, torch.tensor([1.0, 0.975**4, 0.925**4, 0.0]))


@pytest.mark.parametrize("mask", ["hard", "smooth"])
def test_weights_add_up_to_the_static_modes(mask: str) -> None:
    koopman = KoopmanConfig(mask=mask, ridge=0.01)
    encoder = build_encoder(ModelConfig(width=4, embed_dim=16))
    torch.manual_seed(0)
    result = analyse(encoder, [torch.randn(5, 3, 6, 16, 16)], "cpu", koopman)
    total = mask_value(torch.from_numpy(result.eigenvalues), koopman).real.sum(-1)
    np.testing.assert_allclose(result.static_modes, total.numpy(), atol=1e-4)
    assert result.eigenvalues.shape == result.weights.shape == (5, 5)
    assert result.similarity.shape == (6, 6)
    assert (result.lag_low <= result.lag_mean + 1e-6).all()
    assert (result.lag_mean <= result.lag_high + 1e-6).all()


def test_analysis_averages_over_batches() -> None:
    torch.manual_seed(0)
    features = torch.randn(6, 5, 4, dtype=torch.float64)
    clips = as_clips(features)
    whole = analyse(Given(), [clips], "cpu", PLAIN)
    parts = analyse(Given(), [clips[:1], clips[1:]], "cpu", PLAIN)
    np.testing.assert_allclose(whole.similarity, frame_similarity(features).mean(0), rtol=1e-6)
    np.testing.assert_allclose(whole.similarity, parts.similarity, rtol=1e-6)
    np.testing.assert_allclose(whole.eigenvalues, parts.eigenvalues, rtol=1e-6)


def test_features_are_means_over_frames_and_clips() -> None:
    torch.manual_seed(0)
    features = torch.randn(6, 5, 4, dtype=torch.float64)
    clips = as_clips(features).unflatten(0, (3, 2))
    result = extract_features(Given(), [clips[:2], clips[2:]], "cpu", PLAIN)
    expected = features.mean(1).unflatten(0, (3, 2)).mean(1).float()
    torch.testing.assert_close(result["backbone"], expected)
    deviation = features.std(1, correction=0).unflatten(0, (3, 2)).mean(1).float()
    torch.testing.assert_close(result["backbone+std"], torch.cat([expected, deviation], 1))
    assert {name: tuple(value.shape) for name, value in result.items()} == {
        "backbone": (3, 4),
        "backbone+std": (3, 8),
        "projector": (3, 4),
        "static": (3, 4),
        "dynamic": (3, 4),
    }


def test_static_and_dynamic_features_are_the_two_parts() -> None:
    still, moving = orbit([1.0], 6) * 3, orbit([0.5], 6)
    features = torch.cat([still, moving], 1)[None]
    result = extract_features(Given(), [as_clips(features)], "cpu", PLAIN)
    mean = features.mean(1)[0].float()
    torch.testing.assert_close(result["static"][0], mean * torch.tensor([1.0, 0.0]), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(result["dynamic"][0], mean * torch.tensor([0.0, 0.5]), atol=1e-6, rtol=1e-6)


def test_the_encoder_stays_as_it_was() -> None:
    encoder = build_encoder(ModelConfig(width=4, embed_dim=8)).train()
    encoder.projector.eval()
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    flags = [module.training for module in encoder.modules()]
    result = extract_features(encoder, [torch.randn(2, 3, 4, 16, 16)], "cpu", KoopmanConfig())
    assert [module.training for module in encoder.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    assert not any(value.requires_grad for value in result.values())


def test_training_flags_come_back_after_an_error() -> None:
    encoder = build_encoder(ModelConfig(width=4, embed_dim=8)).train()
    with pytest.raises(ValueError, match="expected"):
        extract_features(encoder, [torch.randn(3, 4, 16, 16)], "cpu", KoopmanConfig())
    assert all(module.training for module in encoder.modules())


def test_one_broken_clip_stays_alone() -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 6, 4, dtype=torch.float64)
    features[1, 2, 0] = math.nan
    result = analyse(Given(), [as_clips(features)], "cpu", PLAIN)
    assert np.isnan(result.eigenvalues[1]).all()
    assert np.isfinite(result.eigenvalues[[0, 2]].real).sum(1).min() == 4


@pytest.mark.parametrize("call", [extract_features, analyse])
def test_no_clip_at_all(call) -> None:
    with pytest.raises(ValueError, match="at least one"):
        call(Given(), [], "cpu", PLAIN)


def test_clips_of_another_rank_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4, 16, 16\); expected"):
        unfold_clips(torch.zeros(3, 4, 16, 16))


def test_examples_are_shrunk_to_fit_a_page() -> None:
    large = torch.zeros(2, 3, 100, 200, 3, dtype=torch.uint8)
    large[:, :, :, 100:] = 200
    small = example_frames(large)
    assert small.shape == (2, 3, 48, 96, 3)
    assert small[0, 0, 10, 5].tolist() == [0, 0, 0]
    assert small[1, 2, 10, 90].tolist() == [200, 200, 200]
    tiny = torch.arange(24, dtype=torch.uint8).reshape(1, 2, 2, 2, 3)
    assert (example_frames(tiny) == tiny.numpy()).all()


def test_file_round_trip(tmp_path) -> None:
    after = analyse(Given(), [as_clips(torch.randn(3, 5, 4, dtype=torch.float64))], "cpu", PLAIN)
    pictures = np.arange(24, dtype=np.uint8).reshape(1, 2, 2, 2, 3)
    save_analysis(tmp_path / "a.npz", after, None, pictures, ["<shape> · ü"])
    loaded = load_analysis(tmp_path / "a.npz")
    assert loaded.before is None
    assert loaded.captions == ["<shape> · ü"]
    assert (loaded.examples == pictures).all()
    np.testing.assert_array_equal(loaded.after.eigenvalues, after.eigenvalues)
    save_analysis(tmp_path / "a.npz", after, after)
    again = load_analysis(tmp_path / "a.npz")
    assert again.examples is None
    assert again.captions == []
    np.testing.assert_array_equal(again.before.similarity, after.similarity)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
