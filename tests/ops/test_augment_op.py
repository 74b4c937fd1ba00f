"""One call equals one operation after the other; what is refused, and what is never touched."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from augment_cases import MEAN, RADIUS, STD, assert_close, case, eager
from torchvision.transforms.v2 import functional as vision

from bodvcl.cli.info import collect
from bodvcl.data.clips.colour import colour_matrix
from bodvcl.ops.augment import AugmentParams, augment_clips, blur_radius, resize_box
from bodvcl.ops.augment.backend import AugmentRequest, choose_augment, why_not_kernel
from bodvcl.ops.backend import BackendError


def run(clips, params, size=20, **options):
    return augment_clips(clips, params, size, MEAN, STD, **({"radius": RADIUS} | options))


def plain(count: int, **changes) -> AugmentParams:
    """Parameters that change nothing."""
    identity = torch.eye(3, 4).expand(count, 3, 4)
    params = AugmentParams(identity, torch.zeros(count, dtype=torch.bool), torch.zeros(count))
    return params._replace(**changes)


def normalised(clips):
    """(N, L, H, W, 3) bytes to (N, 3, L, H, W)."""
    return (clips.permute(0, 4, 1, 2, 3).double() / 255 - MEAN) / STD


@pytest.mark.parametrize("size", [1, 2, 5, 20, 33])
@pytest.mark.parametrize("blur", [False, True])
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_equals_one_operation_after_the_other(size, blur, backend):
    clips, params = case(size=size, blur=blur)
    exact = eager(clips, params, size, torch.float64)
    out = run(clips, params, size, backend=backend)
    assert out.shape == (5, 3, 2, size, size)
    assert_close(out, exact, eager(clips, params, size, torch.float32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("blur", [False, True])
def test_narrow_results_are_rounded_once(dtype, blur):
    clips, params = case(blur=blur)
    exact = eager(clips, params, 20, torch.float64)
    out = run(clips, params, dtype=dtype)
    assert out.dtype == dtype
    assert_close(out, exact, eager(clips, params, 20, dtype))
    assert ((out.double() - exact).abs() <= torch.finfo(dtype).eps * (exact.abs() + 1e-3)).all()


@pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("size", "box", "blur"),
    [(1, False, True), (5, False, True), (20, True, True), (33, False, False), (21, True, False)],
)
def test_a_narrow_result_is_the_float32_one_rounded(size, box, blur, dtype, memory_format):
    """Bit for bit: autocast would round the float32 clips in the same way."""
    clips, params = case(size=size, box=box, blur=blur)
    out = run(clips, params, size, dtype=dtype, memory_format=memory_format)
    assert out.is_contiguous(memory_format=memory_format)
    assert torch.equal(out, run(clips, params, size, memory_format=memory_format).to(dtype))


@pytest.mark.parametrize("size", [1, 8, 20, 45])
def test_reference_resizes_as_torchvision(size):
    clips, params = case(box=True)
    exact = eager(clips, params, size, torch.float64)
    out = run(clips, params, size, backend="reference")
    torch.testing.assert_close(out.double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [8, 20, 45])
def test_a_box_is_resized_in_bytes(size):
    clips, params = case(box=True)
    params = plain(5, box=params.box)
    out = run(clips, params, size)
    for clip, box, got in zip(clips, params.box.tolist(), out):
        cut = vision.resized_crop(clip.permute(0, 3, 1, 2), *box, [size, size], antialias=True)
        torch.testing.assert_close(got, normalised(cut.permute(0, 2, 3, 1)[None])[0].float())
        assert torch.equal(resize_box(clip, box, size), cut.permute(0, 2, 3, 1))
    level = 1 / 255 / STD
    exact = run(clips, params, size, backend="reference")
    assert (out - exact).abs().max() <= 1.01 * level


def test_nothing_outside_of_the_box_is_read():
    clips, params = case(box=True)
    other = torch.randint_like(clips, 0, 256)
    for i, (top, left, height, width) in enumerate(params.box.tolist()):
        inside = (i, slice(None), slice(top, top + height), slice(left, left + width))
        other[inside] = clips[inside]
    for backend in ("torch", "reference"):
        got, want = (run(x, params, backend=backend) for x in (other, clips))
        assert torch.equal(got, want), backend


def test_all_frames_of_a_clip_share_its_draw():
    clips, params = case()
    out = run(clips[:, :1].expand(-1, 4, -1, -1, -1), params)
    torch.testing.assert_close(out, out[:, :, :1].expand_as(out), rtol=0, atol=1e-5)
    assert (out[0] - out[1]).abs().max() > 0.1


def test_long_clips_are_taken_in_pieces():
    size = 200
    g = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (2, 5, size, size, 3), dtype=torch.uint8, generator=g)
    params = plain(2, flip=torch.tensor([True, False]), sigma=torch.tensor([1.3, 0.0]))
    pieces = [run(clips[:, t : t + 1], params, size) for t in range(5)]
    torch.testing.assert_close(run(clips, params, size), torch.cat(pieces, 2), rtol=0, atol=1e-5)


def test_flip_mirrors_left_and_right():
    clips, _ = case()
    out = run(clips, plain(5, flip=torch.ones(5, dtype=torch.bool)))
    torch.testing.assert_close(out.double(), normalised(clips.flip(3)), rtol=1e-5, atol=1e-5)


def test_radius_is_that_of_the_widest_sigma():
    assert [blur_radius(s) for s in (0.0, 0.1, 1.0, 2.0)] == [0, 1, 3, 6]
    clips, params = case()
    assert torch.equal(run(clips, params, radius=None), run(clips, params, radius=6))
    still = params._replace(sigma=torch.zeros(5))
    assert torch.equal(run(clips, params, radius=0), run(clips, still, radius=0))


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_memory_formats_and_odd_inputs(backend):
    clips, params = case()
    last = run(clips, params, backend=backend)
    first = run(clips, params, memory_format=torch.contiguous_format, backend=backend)
    assert last.is_contiguous(memory_format=torch.channels_last_3d)
    assert first.is_contiguous()
    assert torch.equal(last, first)
    strided = torch.stack((clips, clips), -1).permute(0, 1, 3, 2, 4, 5).transpose(2, 3)[..., 0]
    assert not strided.is_contiguous()
    before = strided.clone()
    assert torch.equal(run(strided, params, backend=backend), last)
    assert torch.equal(strided, before)


@pytest.mark.parametrize(("count", "length"), [(0, 3), (2, 0)])
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_empty_batches_keep_their_shape(count, length, backend):
    clips = torch.zeros(count, length, 16, 16, 3, dtype=torch.uint8)
    out = run(clips, plain(count), 16, radius=None, backend=backend)
    assert out.shape == (count, 3, length, 16, 16)


# ------------------------------------------------------------ the colours beside torchvision's


def image(spread: float = 0.1) -> torch.Tensor:
    """float64 (3, 24, 24) so near to mid-grey that no factor used here clips it; its mean luma is 1/2."""
    g = torch.Generator().manual_seed(3)
    x = 0.5 + spread * (torch.rand(3, 24, 24, generator=g, dtype=torch.float64) - 0.5)
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    return x + 0.5 - torch.einsum("c,cyx->yx", luma, x).mean()


def coloured(x: torch.Tensor, **changes) -> torch.Tensor:
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "gray": False}
    matrix = torch.from_numpy(colour_matrix(**(neutral | changes)))
    return torch.einsum("ij,jyx->iyx", matrix[:, :3], x) + matrix[:, 3, None, None]


LUMA_ROUNDING = 2e-4  # torchvision has 0.2989 for the luma of red


@pytest.mark.parametrize(
    ("changes", "theirs"),
    [
        ({"brightness": 1.3}, lambda x: vision.adjust_brightness(x, 1.3)),
        ({"contrast": 0.6}, lambda x: vision.adjust_contrast(x, 0.6)),
        ({"contrast": 1.4}, lambda x: vision.adjust_contrast(x, 1.4)),
        ({"saturation": 0.4}, lambda x: vision.adjust_saturation(x, 0.4)),
        ({"saturation": 1.6}, lambda x: vision.adjust_saturation(x, 1.6)),
        ({"gray": True}, lambda x: vision.rgb_to_grayscale(x, num_output_channels=3)),
        (
            {"brightness": 0.9, "saturation": 1.5, "gray": True},
            lambda x: vision.rgb_to_grayscale(
                vision.adjust_saturation(vision.adjust_brightness(x, 0.9), 1.5), num_output_channels=3
            ),
        ),
    ],
)
def test_colours_are_those_of_torchvision_where_nothing_clips(changes, theirs):
    x = image()
    torch.testing.assert_close(coloured(x, **changes), theirs(x), rtol=0, atol=LUMA_ROUNDING)


def test_contrast_turns_about_mid_grey_and_not_about_the_mean():
    x = image() + 0.2
    ours, theirs = coloured(x, contrast=0.5), vision.adjust_contrast(x, 0.5)
    torch.testing.assert_close(ours - theirs, torch.full_like(x, -0.5 * 0.2), rtol=0, atol=LUMA_ROUNDING)


@pytest.mark.parametrize("hue", [-0.15, 0.05, 0.15])
def test_hue_keeps_luma_and_turns_much_as_torchvision_the_other_way_round(hue):
    x = image(0.3)
    ours, theirs = coloured(x, hue=-hue), vision.adjust_hue(x, hue)
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    torch.testing.assert_close(*(torch.einsum("c,cyx->yx", luma, y) for y in (ours, x)), rtol=0, atol=1e-6)
    ours, theirs, still = ((y - y.mean(0)).flatten() for y in (ours, theirs, x))
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(ours, theirs, 0) > max(0.94, cosine(still, theirs, 0))


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"clips": torch.zeros(2, 1, 8, 8, 3)}, TypeError, "clips is torch.float32; expected torch.uint8"),
        ({"clips": torch.zeros(2, 8, 8, 3, dtype=torch.uint8)}, ValueError, r"expected \(N, L, h, w, 3\)"),
        ({"clips": torch.zeros(2, 1, 8, 9, 3, dtype=torch.uint8)}, ValueError, "box is None; expected a box"),
        ({"params": plain(3)}, ValueError, r"colour is \(3, 3, 4\); expected \(2, 3, 4\) for 2 clips"),
        ({"params": plain(2, sigma=torch.zeros(1))}, ValueError, r"sigma is \(1,\); expected \(2,\)"),
        ({"params": plain(2, flip=torch.zeros(2))}, TypeError, "flip is torch.float32; expected torch.bool"),
        ({"params": plain(2, box=torch.zeros(2, 4))}, TypeError, "box is torch.float32; expected integers"),
        (
            {"params": plain(2, box=torch.zeros(2, 3).int())},
            ValueError,
            r"box is \(2, 3\); expected \(2, 4\)",
        ),
        ({"params": plain(2, sigma=torch.zeros(2, device="meta"))}, ValueError, "sigma is on meta"),
        ({"dtype": torch.int32}, TypeError, "floating-point"),
        ({"size": 0}, ValueError, "size is 0; expected at least 1"),
        ({"radius": -1}, ValueError, "radius is -1; expected 0"),
        ({"std": 0.0}, ValueError, "std is 0; expected a positive"),
    ],
)
def test_bad_input_is_named(change, error, match):
    arguments = {"clips": torch.zeros(2, 1, 8, 8, 3, dtype=torch.uint8), "params": plain(2), "size": 8}
    with pytest.raises(error, match=match):
        augment_clips(**({"mean": MEAN, "std": STD, "radius": 3} | arguments | change))


# ------------------------------------------------------------ which route


def request(**changes) -> AugmentRequest:
    return AugmentRequest("cuda", torch.bfloat16, 6)._replace(**changes)


def test_the_kernel_serves_a_gpu_and_nothing_else(monkeypatch):
    monkeypatch.delenv("BODVCL_BACKEND", raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("bodvcl.ops.backend.NO_TRITON", "")
    assert choose_augment("auto", request()) == "triton"
    for change, reason in (
        ({"device": "cpu"}, "on cpu"),
        ({"dtype": torch.float64}, "not one of float32"),
        ({"radius": 25}, "at most 24"),
    ):
        assert choose_augment("auto", request(**change)) == "torch"
        with pytest.raises(BackendError, match=reason):
            choose_augment("triton", request(**change))
    monkeypatch.setattr("bodvcl.ops.backend.NO_TRITON", "triton is not installed")
    assert why_not_kernel(request()) == "triton is not installed"


def test_the_environment_names_a_backend(monkeypatch):
    for name, route in (("reference", "reference"), ("torch", "torch"), ("chunked", "torch")):
        monkeypatch.setenv("BODVCL_BACKEND", name)
        assert choose_augment("auto", request(device="cpu")) == route
    monkeypatch.setenv("BODVCL_BACKEND", "fast")
    with pytest.raises(ValueError, match="BODVCL_BACKEND is 'fast'"):
        choose_augment("auto", request())
    with pytest.raises(ValueError, match="backend is 'cuda'"):
        choose_augment("cuda", request())


def test_the_report_says_why_not(monkeypatch):
    monkeypatch.delenv("BODVCL_BACKEND", raising=False)
    row = collect()["operators"]["augment"]["cpu"]
    assert row["backend"] == "torch"
    assert row["triton"]


def test_the_examples_of_the_documentation_run():
    text = (Path(__file__).parents[2] / "docs" / "augment.md").read_text()
    names: dict[str, object] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)), names)
    assert names["out"].isfinite().all()
    assert names["mixed"].shape == names["out"].shape


def test_colours_that_change_nothing():
    np.testing.assert_allclose(colour_matrix(1, 1, 1, 0, False), np.eye(3, 4), atol=1e-12)
