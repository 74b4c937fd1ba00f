"""The share of a map on what moves."""

from __future__ import annotations

import math

import torch

from bodvcl.figures.motion import motion_share, moving_pixels


def test_pixels_move_in_both_frames_of_a_change() -> None:
    clip = torch.zeros(1, 4, 2, 2, 3, dtype=torch.uint8)
    clip[0, 2:, 0, 0] = 255  # appears in frame 2 and stays
    clip[0, :, 1, 1] = 200  # stands still
    clip[0, 1, 0, 1] = 20  # less than a tenth
    moving = moving_pixels(clip)
    assert moving.nonzero().tolist() == [[0, 1, 0, 0], [0, 2, 0, 0]]


def test_shares_by_hand() -> None:
    moving = torch.zeros(3, 1, 2, 2, dtype=torch.bool)
    moving[:, 0, 0, 0] = True
    maps = torch.zeros(3, 1, 2, 2)
    maps[0] = 0.7  # the same everywhere
    maps[1, 0, 0] = torch.tensor([3.0, 1.0])
    share, area = motion_share(maps, moving)
    assert area.tolist() == [0.25] * 3
    assert share[0].item() == 0.25
    assert share[1].item() == 0.75
    assert math.isnan(share[2].item())  # a map of zeros lies nowhere
