"""The controls of section 3.2: motion without appearance, and appearance without motion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchvision.models.optical_flow import raft_small

from bodvcl.config.schema import ClipConfig
from bodvcl.errors import ConfigError
from bodvcl.evaluate import flow as flow_module
from bodvcl.evaluate.controls import DynamicControl, StaticControl, still_clip, warped_noise
from bodvcl.evaluate.flow import RAFT, RAFTS, TVL1, choose_flow
from bodvcl.evaluate.probe import probe_table

CPU = torch.device("cpu")


def texture(size: int, seed: int, sigma: float = 1.5) -> np.ndarray:
    """Smooth uint8 (size, size) texture."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), sigma, mode="wrap")
    field = (field - field.min()) / np.ptp(field)
    return (255 * field).astype(np.uint8)


def translating(step: tuple[int, int], frames: int = 5, size: int = 40, seed: int = 0) -> np.ndarray:
    """uint8 (frames, size, size, 3): a texture that moves by ``step`` = (x, y) pixels a frame."""
    wide = np.repeat(texture(3 * size, seed)[..., None], 3, axis=2)
    x0, y0 = size - 2 * frames * np.sign(step[0]), size
    return np.stack(
        [
            wide[y0 - t * step[1] : y0 - t * step[1] + size, x0 - t * step[0] : x0 - t * step[0] + size]
            for t in range(frames)
        ]
    )


def constant_flow(dx: float, dy: float, frames: int = 6, size: int = 32) -> np.ndarray:
    return np.broadcast_to([dx, dy], (frames - 1, size, size, 2)).astype(np.float64)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def moved(frame: np.ndarray, x: int, y: int) -> np.ndarray:
    return np.roll(frame, (y, x), axis=(0, 1))


def test_a_still_frame_is_repeated() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    still = still_clip(clip, 3)
    assert still.shape == clip.shape
    assert (still == clip[3]).all()


def test_without_flow_the_noise_stays() -> None:
    noise = warped_noise(np.zeros((4, 16, 20, 2)), np.random.default_rng(0))
    assert noise.shape == (5, 16, 20, 3)
    assert noise.dtype == np.uint8
    assert (noise == noise[0]).all()


@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, -2), (3, 2)])
def test_the_noise_moves_as_the_flow_says(x: int, y: int) -> None:
    noise = warped_noise(constant_flow(-x, -y), np.random.default_rng(0))
    inner = slice(16, -16) if max(abs(x), abs(y)) > 2 else slice(11, -11)
    for t in range(1, 4):
        expected = moved(noise[0], t * x, t * y)
        assert (noise[t][inner, inner] == expected[inner, inner]).all()
    assert correlation(noise[1], noise[0]) < 0.1


def test_slow_motion_adds_up() -> None:
    noise = warped_noise(constant_flow(-0.25, 0.0, frames=9), np.random.default_rng(0))
    assert (noise[8][:, 4:] == moved(noise[0], 2, 0)[:, 4:]).all()
    assert (noise[1][:, 2:] == noise[0][:, 2:]).all()


def test_what_comes_in_from_outside_is_new() -> None:
    noise = warped_noise(constant_flow(-4, 0), np.random.default_rng(0))
    edges = [frame[:, :4] for frame in noise]
    assert all(abs(correlation(edges[0], edge)) < 0.2 for edge in edges[1:])
    assert abs(correlation(noise[1][:, :4], noise[0][:, -4:])) < 0.2


class Counting:
    """Stands in for a generator: gives each noise sample a colour of its own."""

    def integers(self, low: int, high: int, size: tuple[int, ...], dtype: type) -> np.ndarray:
        number = np.arange(size[0] * size[1])
        colours = np.stack([number // 65536, number // 256 % 256, number % 256], 1)
        return colours.reshape(size).astype(dtype)


def flows_of_all_kinds(size: int = 48, frames: int = 6) -> dict[str, np.ndarray]:
    y, x = np.indices((size, size)) - (size - 1) / 2
    rng = np.random.default_rng(3)
    fields = {
        "expansion": np.stack([-0.2 * x, -0.2 * y], -1),
        "contraction": np.stack([0.25 * x, 0.25 * y], -1),
        "rotation": np.stack([-0.3 * y, 0.3 * x], -1),
        "collapse": np.stack([-x, -y], -1),
        "far away": np.full((size, size, 2), 1e6),
        "wild": 5 * rng.standard_normal((size, size, 2)),
    }
    return {name: np.broadcast_to(field, (frames - 1, *field.shape)) for name, field in fields.items()}


@pytest.mark.parametrize("kind", flows_of_all_kinds())
def test_every_frame_is_independent_uniform_noise(kind: str) -> None:
    """No sample twice in a frame: with distinct samples, as many distinct values as pixels."""
    flow = flows_of_all_kinds()[kind]

    for frame in warped_noise(flow, Counting()):  # type: ignore[arg-type]
        assert len(np.unique(frame.reshape(-1, 3), axis=0)) == frame.shape[0] * frame.shape[1]


def test_rotation_keeps_most_of_the_noise_from_frame_to_frame() -> None:
    size, angle = 48, 0.1
    y, x = np.indices((size, size)) - (size - 1) / 2
    cos, sin = np.cos(angle) - 1, np.sin(angle)
    flow = np.broadcast_to(np.stack([cos * x + sin * y, cos * y - sin * x], -1), (8, size, size, 2))
    noise = warped_noise(flow, Counting()).astype(int) @ [65536, 256, 1]  # type: ignore[arg-type]
    inside = x**2 + y**2 < (size / 2 - 4) ** 2
    for earlier, later in itertools.pairwise(noise):
        assert np.isin(later, earlier)[inside].mean() > 0.75
    for number in np.intersect1d(noise[0], noise[8][inside]):
        (start,), (end,) = np.argwhere(noise[0] == number), np.argwhere(noise[8] == number)
        turned = np.arctan2(y[tuple(end)], x[tuple(end)]) - np.arctan2(y[tuple(start)], x[tuple(start)])
        radius = np.hypot(y[tuple(start)], x[tuple(start)])
        error = (turned - 8 * angle + np.pi) % (2 * np.pi) - np.pi
        assert abs(error) * radius < 3


def test_tvl1_points_back_to_where_things_were() -> None:
    flow = TVL1()(translating((2, -1)))
    assert flow.shape == (4, 40, 40, 2)
    assert flow.dtype == np.float32
    inner = flow[:, 8:-8, 8:-8].reshape(-1, 2)
    assert np.abs(np.median(inner, axis=0) - [-2, 1]).max() < 0.1


def test_tvl1_of_a_still_video_is_zero() -> None:
    still = np.repeat(translating((1, 0))[:1], 4, axis=0)
    assert not TVL1()(still).any()


@pytest.mark.parametrize(("x", "y"), [(2, 0), (-1, 2)])
def test_noise_of_a_translating_texture_translates_with_it(x: int, y: int) -> None:
    control = DynamicControl(seed=0, flow=TVL1(), stride=1)
    noise = control(translating((x, y))[None], video=4)[0]
    inner = slice(10, -10)
    for t in range(4):
        scores = {
            (dx, dy): correlation(noise[t + 1][inner, inner], moved(noise[t], dx, dy)[inner, inner])
            for dx in range(-3, 4)
            for dy in range(-3, 4)
        }
        assert max(scores, key=scores.get) == (x, y)
        assert scores[x, y] > 0.8


def test_noise_of_a_still_video_stays() -> None:
    still = np.repeat(translating((1, 0))[:1], 5, axis=0)
    noise = DynamicControl(seed=0, flow=TVL1(), stride=2)(still[None], video=0)
    assert noise.shape == (1, 3, 40, 40, 3)
    assert (noise == noise[:, :1]).all()


def test_draws_belong_to_the_seed_the_video_and_the_clip() -> None:
    clips = np.stack([translating((1, 0)), translating((1, 0))])
    for control in (DynamicControl, StaticControl):
        make = (lambda s: DynamicControl(s, TVL1(), 1)) if control is DynamicControl else StaticControl
        results = [make(seed)(clips, video) for seed, video in ((0, 0), (0, 0), (1, 0), (0, 1))]
        assert (results[0] == results[1]).all()
        if control is DynamicControl:
            assert (results[0][0] != results[0][1]).any()
            assert all((results[0] != other).any() for other in results[2:])
    chosen = {tuple(StaticControl(0)(clips, video)[:, 0, 0, :, 0].ravel()) for video in range(20)}
    assert len(chosen) > 5


def test_static_control_has_no_motion_and_frames_of_its_clip() -> None:
    clip = translating((1, 1))
    control = StaticControl(0)
    still = control(clip[None], video=3)[0]
    assert (still == still[0]).all()
    assert any((still[0] == frame).all() for frame in clip)
    config = ClipConfig(frames=8, stride=4)
    assert control.decoded(config) == config


def test_dynamic_control_takes_the_flow_of_all_frames_in_between() -> None:
    decoded = DynamicControl(0, TVL1(), stride=4).decoded(ClipConfig(frames=8, stride=4, size=32))
    assert (decoded.frames, decoded.stride, decoded.size) == (29, 1, 32)


def test_no_single_frame_shows_the_appearance() -> None:
    """Two textures are told apart on single frames of the videos, and not on those of the control."""
    clips, labels = [], []
    for number in range(80):
        kind, rng = number % 2, np.random.default_rng(number)
        field = texture(64, seed=number, sigma=1.0 + 1.5 * kind)
        step = rng.integers(-2, 3, 2)
        clip = np.stack([moved(field, *(t * step))[:16, :16] for t in range(3)])
        clips.append(np.repeat(clip[..., None], 3, axis=3))
        labels.append("fine" if kind == 0 else "coarse")
    control = DynamicControl(seed=0, flow=TVL1(), stride=1)

    def describe(clip: np.ndarray) -> np.ndarray:
        """Means, spreads and correlations of neighbours in the last frame."""
        frame = clip[-1].mean(-1)
        across, down = np.abs(np.diff(frame, axis=1)), np.abs(np.diff(frame, axis=0))
        return np.array([frame.mean(), frame.std(), across.mean(), down.mean(), across.std(), down.std()])

    def accuracy(made: list[np.ndarray]) -> float:
        x = np.stack([describe(clip) for clip in made])
        return probe_table(x[:40], labels[:40], x[40:], labels[40:], probes=("ridge",))[0].value

    assert accuracy(clips) > 0.95
    controlled = [control(clip[None], video)[0] for video, clip in enumerate(clips)]
    assert 0.25 < accuracy(controlled) < 0.75


def test_motion_can_still_be_read_from_the_control() -> None:
    steps = {"left": (-2, 0), "right": (2, 0), "up": (0, -2), "down": (0, 2)}
    labels = list(steps) * 12
    control = DynamicControl(seed=0, flow=TVL1(), stride=1)
    clips = [translating(steps[name], frames=2, size=24, seed=n) for n, name in enumerate(labels)]
    made = [control(clip[None], video)[0] for video, clip in enumerate(clips)]

    def matches(clip: np.ndarray) -> list[float]:
        """How well the second frame is the first one, moved each way."""
        inner = slice(5, -5)
        return [
            correlation(clip[1][inner, inner], moved(clip[0], *step)[inner, inner]) for step in steps.values()
        ]

    x = np.array([matches(clip) for clip in made])
    score = probe_table(x[:24], labels[:24], x[24:], labels[24:], probes=("ridge",))[0]
    assert score.value > 0.9


@pytest.fixture
def hub(tmp_path, monkeypatch) -> object:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_without_weights_tvl1_is_chosen_and_raft_is_refused(hub) -> None:
    chosen = choose_flow("auto", CPU)
    assert isinstance(chosen, TVL1)
    assert "TV-L1" in chosen.name
    with pytest.raises(ConfigError, match=r"weights of RAFT are missing; put https://\S+raft_large\S+ into"):
        choose_flow("raft", CPU)


@pytest.mark.parametrize("content", [b"", b"half of a download", None])
def test_damaged_weights_of_raft_are_named(hub, content) -> None:
    file = hub / RAFTS["RAFT large"][1].url.rpartition("/")[2]
    torch.save({"other": torch.zeros(1)}, file) if content is None else file.write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"raft_large\S+: not the weights of RAFT large, or damaged; download"
    ):
        choose_flow("auto", CPU)


def test_without_scikit_image_the_package_is_named(hub, monkeypatch) -> None:
    monkeypatch.setattr(flow_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install scikit-image"):
        choose_flow("auto", CPU)


def test_raft_is_chosen_where_its_weights_are(hub) -> None:
    torch.manual_seed(0)
    file = hub / RAFTS["RAFT small"][1].url.rpartition("/")[2]
    torch.save(raft_small(weights=None).state_dict(), file)
    chosen = choose_flow("auto", CPU)
    assert isinstance(chosen, RAFT)
    assert file.name in chosen.name
    assert not chosen.on_workers
    assert isinstance(choose_flow("tvl1", CPU), TVL1)
    frames = translating((1, 0), frames=3, size=36)
    flow = chosen(frames)
    assert flow.shape == (2, 36, 36, 2)
    assert np.isfinite(flow).all()


def test_raft_gets_the_later_frame_first_and_its_flow_is_scaled_back(hub) -> None:
    file = hub / RAFTS["RAFT small"][1].url.rpartition("/")[2]
    torch.save(raft_small(weights=None).state_dict(), file)
    flow = choose_flow("raft", CPU)
    seen = []

    class Recorder(torch.nn.Module):
        def forward(self, first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
            seen.append((first, second))
            ones = torch.ones(len(first), 2, *first.shape[-2:])
            return [torch.zeros_like(ones), ones * torch.tensor([8.0, 4.0])[:, None, None]]

    flow.model = Recorder()
    frames = np.stack([np.full((32, 64, 3), value, np.uint8) for value in (0, 128, 255)])
    result = flow(frames)
    ((first, second),) = seen
    assert first.shape == (2, 3, 128, 128)
    assert first.mean((1, 2, 3)).tolist() == pytest.approx([0.0039, 1.0], abs=1e-3)
    assert second.mean((1, 2, 3)).tolist() == pytest.approx([-1.0, 0.0039], abs=1e-3)
    np.testing.assert_allclose(result, np.broadcast_to([4.0, 1.0], (2, 32, 64, 2)), atol=1e-6)
