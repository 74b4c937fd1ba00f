"""Crop, colour, blur and normalisation equal the textbook formulas, one set of parameters per clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch.nn import functional as F

from bodvcl.config.parse import find_recipe, load_yaml
from bodvcl.config.schema import AugmentConfig, ClipConfig
from bodvcl.data.clips.augment import crop_resize, finish
from bodvcl.data.clips.batch import ClipBatch, ClipParams
from bodvcl.data.clips.colour import colour_matrix
from bodvcl.data.clips.draws import draw_clips
from bodvcl.data.files.probing import probe_video
from bodvcl.data.show import colour_factors
from bodvcl.engine.parts import parts_of


def unmixed(count: int) -> dict[str, torch.Tensor]:
    """Parameters of clips that keep their scenes."""
    return {"share": torch.zeros(count), "donor": torch.zeros(count, 2)}


def random_batch(count: int = 5, length: int = 3, size: int = 17, blur: bool = False) -> ClipBatch:
    rng = np.random.default_rng(0)
    colour = [
        colour_matrix(*rng.uniform(0.6, 1.4, 3), hue=rng.uniform(-0.1, 0.1), gray=bool(i % 2))
        for i in range(count)
    ]
    sigma = torch.tensor([0.0, 0.1, 1.0, 1.7, 2.0])[:count] if blur else torch.zeros(count)
    return ClipBatch(
        clips=torch.from_numpy(rng.integers(0, 256, (count, length, size, size, 3), dtype=np.uint8)),
        params=ClipParams(
            colour=torch.from_numpy(np.stack(colour)).float(),
            flip=torch.arange(count) % 3 == 0,
            sigma=sigma,
            **unmixed(count),
        ),
        videos=torch.arange(count),
        frames=torch.zeros(count, length, dtype=torch.int64),
    )


def textbook(batch: ClipBatch, augment: AugmentConfig) -> np.ndarray:
    """float64 (N, 3, L, H, W), clip by clip."""
    out = []
    for clip, colour, flip, sigma in zip(
        batch.clips, batch.params.colour, batch.params.flip, batch.params.sigma
    ):
        image = clip.numpy().astype(np.float64) / 255
        if flip:
            image = image[:, :, ::-1]
        matrix = colour.numpy().astype(np.float64)
        image = np.clip(image @ matrix[:, :3].T + matrix[:, 3], 0, 1)
        if sigma > 0:
            radius = int(np.ceil(3 * augment.blur_sigma[1]))
            kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma.double().item()) ** 2)
            for axis in (1, 2):
                image = correlate1d(image, kernel / kernel.sum(), axis=axis, mode="mirror")
        out.append(np.moveaxis((image - augment.mean) / augment.std, -1, 0))
    return np.stack(out)


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("blur", [False, True])
def test_equals_the_textbook(size, blur):
    augment = AugmentConfig(blur=0.5 if blur else 0.0)
    batch = random_batch(size=size, blur=blur)
    out = finish(batch, augment)
    assert out.shape == (5, 3, 3, size, size)
    assert out.dtype == torch.float32
    assert np.abs(out.numpy() - textbook(batch, augment)).max() < 2e-5


@pytest.mark.parametrize("blur", [0.0, 0.5])
def test_fast_and_slow_routes_agree(blur):
    augment = AugmentConfig(blur=blur)
    batch = random_batch(blur=blur > 0)
    slow = finish(batch, augment, fast=False, memory_format=torch.contiguous_format)
    assert slow.is_contiguous()
    torch.testing.assert_close(finish(batch, augment), slow, rtol=1e-5, atol=2e-5)
    half = finish(batch, augment, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), slow, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("memory_format", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mix", [False, True])
@pytest.mark.parametrize("blur", [False, True])
def test_narrow_clips_are_the_float32_ones_rounded_once(blur, mix, dtype, memory_format):
    batch = random_batch(blur=blur)
    if mix:
        batch.params.share.copy_(torch.linspace(0.2, 1, len(batch.clips)))
    augment = AugmentConfig(blur=0.5)
    out = finish(batch, augment, memory_format=memory_format, dtype=dtype)
    assert out.is_contiguous(memory_format=memory_format)
    whole = finish(batch, augment, memory_format=memory_format)
    assert whole.dtype == torch.float32
    assert torch.equal(out, whole.to(dtype))


def test_drawn_blur_is_ignored_where_the_configuration_has_none():
    batch = random_batch(blur=True)
    still = random_batch(blur=False)
    assert torch.equal(finish(batch, AugmentConfig(blur=0.0)), finish(still, AugmentConfig(blur=0.0)))


def test_many_clips():
    batch = random_batch(size=16)
    big = ClipBatch(
        clips=batch.clips.repeat(9, 1, 1, 1, 1),
        params=ClipParams(
            batch.params.colour.repeat(9, 1, 1), batch.params.flip.repeat(9), torch.zeros(45), **unmixed(45)
        ),
        videos=torch.arange(45),
        frames=batch.frames.repeat(9, 1),
    )
    torch.testing.assert_close(
        finish(big, AugmentConfig()), finish(batch, AugmentConfig()).repeat(9, 1, 1, 1, 1), rtol=0, atol=1e-5
    )


def test_memory_formats_hold_the_same_values():
    batch = random_batch(size=16)
    last = finish(batch, AugmentConfig())
    first = finish(batch, AugmentConfig(), memory_format=torch.contiguous_format)
    assert last.is_contiguous(memory_format=torch.channels_last_3d)
    assert first.is_contiguous()
    torch.testing.assert_close(last, first, rtol=0, atol=0)


def test_input_is_not_changed():
    batch = random_batch(blur=True)
    before = batch.clips.clone()
    finish(batch, AugmentConfig(blur=1.0))
    assert torch.equal(batch.clips, before)


def test_empty_batch_keeps_its_shape():
    batch = random_batch(size=16)
    empty = ClipBatch(
        clips=batch.clips[:0],
        params=ClipParams(
            batch.params.colour[:0], batch.params.flip[:0], batch.params.sigma[:0], **unmixed(0)
        ),
        videos=batch.videos[:0],
        frames=batch.frames[:0],
    )
    assert finish(empty, AugmentConfig()).shape == (0, 3, 3, 16, 16)


def test_the_k400_recipe_draws_what_its_source_draws(good_video):
    augment = load_yaml(find_recipe("k400")).augment
    video, clip, count = probe_video(good_video), ClipConfig(frames=3), 600
    draws = [draw_clips(video, clip, augment, seed=0, epoch=0, index=i) for i in range(count)]
    colours = [colour_factors(matrix) for draw in draws for matrix in draw.colour]
    flips, sigmas, boxes = (
        np.concatenate([getattr(d, n) for d in draws]) for n in ("flip", "sigma", "boxes")
    )
    still = np.array([abs(c.brightness - 1) < 1e-6 for c in colours])
    gray = np.array([c.gray for c in colours])
    for share, expected in ((~still, 0.8), (gray, 0.2), (sigmas > 0, 0.5), (flips, 0.5)):
        assert abs(share.mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / (2 * count))
    turned = np.array([c[:4] for c in colours if not c.gray])
    assert (np.abs(turned - [1, 1, 1, 0]).max(0) <= np.array([0.6, 0.6, 0.6, 0.15]) + 1e-4).all()
    assert (np.abs(turned - [1, 1, 1, 0]).max(0) > np.array([0.57, 0.57, 0.57, 0.14])).all()
    assert 0.1 <= sigmas[sigmas > 0].min() < 0.2
    assert 1.9 < sigmas.max() <= 2.0
    areas = boxes[:, 2] * boxes[:, 3]
    aspects = boxes[:, 3] * 80 / (boxes[:, 2] * 48)
    assert areas.min() >= 0.2
    assert areas.max() <= 0.7661
    assert aspects.min() >= 0.75 - 1e-6
    assert aspects.max() <= 4 / 3 + 1e-6


def test_crop_is_the_box_of_every_frame():
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 60, 3), dtype=np.uint8)
    box = np.array([0.25, 0.5, 0.5, 0.25])
    out = crop_resize(frames, box, 10)
    assert out.shape == (4, 10, 10, 3)
    assert out.is_contiguous()
    cut = torch.from_numpy(frames[:, 10:30, 30:45]).permute(0, 3, 1, 2).double()
    truth = F.interpolate(cut, (10, 10), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    assert (out.double() - truth).abs().max() <= 1.0


def test_crop_of_the_whole_frame_at_its_own_size_is_the_frame():
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crop_resize(frames, np.array([0, 0, 1, 1]), 20).numpy(), frames)


def test_smallest_box_still_has_a_pixel():
    frames = np.zeros((2, 20, 20, 3), np.uint8)
    assert crop_resize(frames, np.array([0.99, 0.99, 0.001, 0.001]), 16).shape == (2, 16, 16, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_gives_the_values_of_the_cpu():
    augment = AugmentConfig(blur=0.5)
    batch = random_batch(blur=True)
    out = finish(batch, augment, "cuda")
    assert out.device.type == "cuda"
    torch.testing.assert_close(out.cpu(), finish(batch, augment), rtol=1e-3, atol=1e-2)


def mixed_batch(videos: int, views: int = 2, length: int = 3, size: int = 16) -> ClipBatch:
    """Clips of one grey level per video, with drawn donors."""
    rows = videos * views
    g = torch.Generator().manual_seed(0)
    level = torch.arange(videos, dtype=torch.uint8).repeat_interleave(views)
    return ClipBatch(
        clips=(5 * level)[:, None, None, None, None].expand(rows, length, size, size, 3).contiguous(),
        params=ClipParams(
            colour=torch.eye(3, 4).repeat(rows, 1, 1),
            flip=torch.zeros(rows, dtype=torch.bool),
            sigma=torch.zeros(rows),
            share=torch.ones(rows),
            donor=torch.rand(rows, 2, generator=g),
        ),
        videos=torch.arange(videos),
        frames=torch.arange(rows * length).view(rows, length),
    )


@pytest.mark.parametrize("videos", [2, 3, 4, 6, 8, 16, 24])
@pytest.mark.parametrize("fast", [False, True])
def test_a_mixed_clip_has_the_scene_of_another_video(videos, fast):
    batch = mixed_batch(videos)
    augment = AugmentConfig(mix=1.0, mean=0.0, std=1.0)
    out = finish(batch, augment, fast=fast)
    seen = (out[:, 0, 0, 0, 0] * 255 / 5).round().long().unflatten(0, (videos, 2))
    own = torch.arange(videos)[:, None]
    assert (seen != own).all(), "a clip kept its own scene"
    assert ((seen >= 0) & (seen < videos)).all()
    if videos % 8 == 0:
        assert (seen // 8 == own // 8).all(), "a donor from another group: shares of a batch would differ"
    if videos > 2:
        assert (seen[:, 0] != seen[:, 1]).all(), "both clips of a video have the same donor"


def test_a_part_of_a_batch_has_the_donors_of_the_whole_batch():
    batch = mixed_batch(32)
    whole = finish(batch, AugmentConfig(mix=1.0))
    parts = [finish(part, AugmentConfig(mix=1.0)) for part in parts_of(batch, 4, 2)]
    assert torch.equal(torch.cat(parts), whole)


def test_a_batch_of_one_video_is_not_mixed():
    batch = mixed_batch(1)
    assert torch.equal(finish(batch, AugmentConfig(mix=1.0)), finish(batch, AugmentConfig()))


def test_the_mix_is_drawn_for_every_clip_and_moves_no_other_draw(good_video):
    video, clip = probe_video(good_video), ClipConfig()
    plain = draw_clips(video, clip, AugmentConfig(mix=0.0), seed=1, epoch=2, index=3)
    mixed = draw_clips(video, clip, AugmentConfig(mix=0.6), seed=1, epoch=2, index=3)
    for name in ("frames", "boxes", "colour", "flip", "sigma"):
        assert np.array_equal(getattr(plain, name), getattr(mixed, name)), name
    assert not plain.share.any()
    again = draw_clips(video, clip, AugmentConfig(mix=0.6), seed=1, epoch=2, index=3)
    assert np.array_equal(mixed.donor, again.donor)
    many = [draw_clips(video, clip, AugmentConfig(mix=0.6), seed=1, epoch=e, index=3) for e in range(200)]
    share = np.concatenate([draw.share for draw in many])
    assert 0 <= share.min() < 0.05 < 0.55 < share.max() <= 0.6
    assert abs(share.mean() - 0.3) < 0.03
