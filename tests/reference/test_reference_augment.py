"""The steps of the reference augmentation are those of torchvision, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as vision

from bodvcl.reference.augment import augment_frame

PLAIN = {"colour": torch.eye(3, 4), "flip": False, "sigma": 0.0, "box": None}
END = {"mean": 0.45, "std": 0.225, "radius": 6}


def frame(h=37, w=52):
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (h, w, 3), dtype=torch.uint8, generator=g)


def finished(image):
    return vision.normalize(image.clamp(0, 1), [0.45] * 3, [0.225] * 3)


@pytest.mark.parametrize("box", [[0, 0, 37, 52], [3, 5, 20, 31], [1, 2, 24, 24], [10, 10, 9, 11]], ids=str)
def test_the_crop_is_resized_with_antialiasing(box):
    image = frame().permute(2, 0, 1).double() / 255
    want = vision.resized_crop(image, *box, [24, 24], antialias=True)
    got = augment_frame(frame(), **{**PLAIN, "box": box}, size=24, **END)
    assert torch.equal(got, finished(want))


@pytest.mark.parametrize("size", [5, 37])
@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_the_blur_is_cut_at_the_radius_and_mirrored_at_the_edges(sigma, size):
    image = frame(size, size).permute(2, 0, 1).double() / 255
    window = 2 * min(6, size - 1) + 1
    want = vision.gaussian_blur(image, [window, window], [sigma, sigma])
    got = augment_frame(frame(size, size), **{**PLAIN, "sigma": sigma}, size=size, **END)
    assert torch.equal(got, finished(want))


def test_flip_and_colour():
    colour = torch.tensor([[0.5, 0.2, 0.1, 0.05], [0.0, 1.1, 0.0, -0.1], [0.3, 0.3, 0.3, 0.0]])
    got = augment_frame(frame(), **{**PLAIN, "flip": True, "colour": colour}, size=37, **END)
    image = frame().double().flip(1) / 255
    want = (image @ colour[:, :3].double().T + colour[:, 3].double()).permute(2, 0, 1)
    assert torch.allclose(got, finished(want), atol=1e-12)
