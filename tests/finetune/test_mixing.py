"""Mixup and cutmix of clips: all frames alike, targets as much as pixels, draws that the seed decides."""

from __future__ import annotations

import pytest
import torch

from bodvcl.finetune.mixing import make_mix


def batch():
    """Clip n holds the number n everywhere."""
    clips = torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 3, 5, 8, 12).contiguous()
    return clips, torch.tensor([0, 1, 2, 3])


def test_mixup_mixes_pixels_and_targets_alike():
    clips, targets = make_mix(0.8, 0.0, 4)(*batch())
    assert type(clips) is torch.Tensor
    assert clips.shape == (4, 3, 5, 8, 12)
    kept = targets[1, 1].item()
    assert 0 < kept < 1
    torch.testing.assert_close(targets[1], torch.tensor([1 - kept, kept, 0, 0]))
    torch.testing.assert_close(clips[1], torch.full((3, 5, 8, 12), kept))  # 1 * kept + 0 * (1 - kept)


def test_cutmix_has_one_box_over_height_and_width_in_all_frames():
    for seed in range(20):
        torch.manual_seed(seed)
        clips, targets = make_mix(0.0, 1.0, 4)(*batch())
        assert (clips == clips[:, :1, :1]).all()  # every channel and frame alike
        inside = clips[1, 0, 0] == 0
        assert inside.sum() == len(inside.any(1).nonzero()) * len(inside.any(0).nonzero())  # a rectangle
        assert targets[1, 0].item() == pytest.approx(inside.float().mean().item(), abs=1e-6)
        assert targets.sum(1).tolist() == pytest.approx([1] * 4)


def test_several_labels_are_mixed_too():
    clips, _ = batch()
    targets = torch.tensor([[1.0, 1], [0, 1], [1, 0], [0, 0]])
    mixed, soft = make_mix(0.8, 0.0, 2)(clips, targets)
    kept = mixed[1, 0, 0, 0, 0].item()
    torch.testing.assert_close(soft, kept * targets + (1 - kept) * targets.roll(1, 0))


def test_draws_are_those_of_the_seed_and_nothing_is_nothing():
    assert make_mix(0.0, 0.0, 4) is None
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(make_mix(0.8, 1.0, 4)(*batch())[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
