"""What is chosen for videos of one's own, from their lengths and rates and from the device."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

from bodvcl.config.fit.choice import TYPICAL, Footage, Machine
from bodvcl.config.fit.choose import fit
from bodvcl.config.parse import dump_yaml, load_yaml, parse_config, validate
from bodvcl.config.schema import BUILT_IN, ModelConfig, TrainConfig
from bodvcl.data.sets import DATA_SETS, BuiltInDataSet
from bodvcl.engine.learner import untrained_encoder
from bodvcl.errors import CheckpointError, ConfigError
from bodvcl.models.backbones.on_disk import torchvision_file, with_weights_on_disk

CPU = Machine(gpu=False)
GPU = Machine(gpu=True, memory=80 * 2**30)
OPEN = load_yaml(Path("configs/videos.yaml").resolve()).fit
GIB_A_VIDEO = 2**29


def footage(seconds, fps, count=1000, spread=0.0) -> Footage:
    """Videos of about this length and rate."""
    factors = np.linspace(1 - spread, 1 + spread, count)
    return Footage((np.float64(seconds) * fps * factors).round().astype(int), np.full(count, float(fps)))


@functools.cache
def _parsed(words: tuple[str, ...]) -> TrainConfig:
    return parse_config(["--data", "mine", *words])


def fitted(videos: Footage, machine: Machine = CPU, *words: str):
    config = _parsed(words)
    chosen, reasons = fit(config, videos, machine, lambda c: GIB_A_VIDEO * c.batch_size)
    assert chosen.fit == ()
    validate(dataclasses.asdict(chosen))
    assert set(reasons) == set(config.fit) - ({"model.width"} if chosen.model.backbone != "tiny" else set())
    return chosen, reasons


def span(config: TrainConfig, fps: float) -> float:
    """Seconds from the first to the last frame of a clip."""
    return (config.clip.frames - 1) * config.clip.stride / (config.clip.fps or fps)


@pytest.mark.parametrize("machine", [CPU, GPU])
@pytest.mark.parametrize("fps", [8.0, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0, 240.0])
@pytest.mark.parametrize("seconds", [2.0, 3.0, 10.0, 300.0])
def test_a_clip_covers_one_to_two_and_a_half_seconds_where_the_videos_are_long_enough(seconds, fps, machine):
    chosen, _ = fitted(footage(seconds, fps, spread=0.1), machine)
    assert 0.75 <= span(chosen, fps) <= 2.5
    assert chosen.clip.fps is None


@pytest.mark.parametrize("machine", [CPU, GPU])
@pytest.mark.parametrize(("seconds", "fps"), [(1.0, 30), (0.5, 30), (1.0, 10), (0.3, 25), (2.0, 5)])
def test_short_videos_are_not_left_out(seconds, fps, machine):
    videos = footage(seconds, fps, spread=0.2)
    chosen, _ = fitted(videos, machine)
    needed = (chosen.clip.frames - 1) * chosen.clip.stride + 1
    assert (videos.frames < needed).mean() <= 0.1


def test_a_few_short_videos_do_not_decide():
    mixed = Footage(np.r_[np.full(950, 300), np.full(50, 4)], np.full(1000, 30.0))
    assert fitted(mixed)[0].clip == fitted(footage(10, 30))[0].clip


def test_unlike_rates_are_resampled_where_all_are_known():
    rates = np.repeat([15.0, 30.0, 60.0], 100)
    chosen, reasons = fitted(Footage((rates * 10).astype(int), rates))
    assert chosen.clip.fps == 30
    assert "15 to 60" in reasons["clip.fps"]
    assert 1 <= span(chosen, 30) <= 2.5
    chosen, reasons = fitted(Footage((rates * 10).astype(int), np.where(np.arange(300) < 5, 0, rates)))
    assert chosen.clip.fps is None
    assert "5 videos is not known" in reasons["clip.fps"]
    chosen, reasons = fitted(Footage(np.full(10, 250), np.zeros(10)))
    assert "no known frame rate" in reasons["clip.stride"]
    assert chosen.clip.fps is None
    assert chosen.clip.stride > 1


def test_the_network_fits_the_device():
    on_cpu, on_gpu = fitted(TYPICAL)[0], fitted(TYPICAL, GPU)[0]
    assert (on_cpu.model.backbone, on_cpu.clip.frames) == ("tiny", 8)
    assert (on_gpu.model.backbone, on_gpu.clip.frames, on_gpu.clip.size) == ("r2plus1d_18", 16, 112)
    assert on_cpu.model.width > ModelConfig.width
    assert on_gpu.augment.mix == on_cpu.augment.mix == 1
    assert on_gpu.precision == "auto"


@pytest.mark.parametrize("gib", [8, 16, 24, 80])
def test_a_step_fits_into_the_memory(gib):
    chosen, reasons = fitted(TYPICAL, Machine(gpu=True, memory=gib * 2**30))
    needs = chosen.batch_size * GIB_A_VIDEO
    assert needs <= 0.6 * gib * 2**30 < 2 * needs
    assert f"{gib} GiB" in reasons["batch_size"]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("machine", [CPU, GPU])
@pytest.mark.parametrize("count", [2, 3, 7, 20, 100, 2_000, 1_000_000])
def test_the_length_is_sensible_for_few_and_for_many_videos(count, machine, processes):
    machine = dataclasses.replace(machine, processes=processes)
    chosen, _ = fitted(footage(1 if count < 10 else 10, 30, count), machine)
    assert chosen.batch_size % processes == 0
    assert chosen.batch_size <= max(count, 2 * processes)
    steps = chosen.epochs * (count // chosen.batch_size)
    assert 1 <= chosen.epochs <= 400
    if count >= 100:
        assert steps >= (1000 if machine.gpu else 300) / processes
        assert steps <= 10 * count / chosen.batch_size or steps <= (21_000 if machine.gpu else 1_100)


def test_what_the_user_gives_is_kept_and_the_rest_follows():
    words = ["--clip.frames", "4", "--batch_size=6", "--model.width", "4", "--augment.flip", "0.25"]
    chosen, reasons = fitted(footage(10, 30), CPU, *words, "--optim.lr", "0.1", "--clip.size", "32")
    assert (chosen.clip.frames, chosen.batch_size, chosen.model.width) == (4, 6, 4)
    assert (chosen.augment.flip, chosen.optim.lr, chosen.clip.size) == (0.25, 0.1, 32)
    assert not {"clip.frames", "batch_size", "model.width", "optim.lr", "clip.size"} & set(reasons)
    assert 1 <= span(chosen, 30) <= 2.5, "the stride fits the frames that were given"
    own_rate, _ = fitted(footage(10, 30), CPU, "--clip.fps", "10")
    assert 1 <= span(own_rate, 10) <= 2.5


def test_left_and_right_are_not_mirrored():
    chosen, reasons = fitted(dataclasses.replace(TYPICAL, sided="Turn left"))
    assert chosen.augment.flip == 0
    assert "Turn left" in reasons["augment.flip"]


def test_weights_decide_the_network():
    assert fitted(TYPICAL, CPU, "--model.weights", "S3D_Weights.KINETICS400_V1")[0].model.backbone == "s3d"
    assert fitted(TYPICAL, CPU, "--model.weights", "torchvision")[0].model.backbone == "r2plus1d_18"
    with_vit, _ = fitted(footage(0.3, 25), GPU, "--model.backbone", "vit_b16")
    assert with_vit.clip.frames % 2 == 0


def test_torchvision_names_the_file_and_downloads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: pytest.fail("downloaded"))
    model = ModelConfig(backbone="r3d_18", weights="torchvision")
    with pytest.raises(CheckpointError, match=r"checkpoints/r3d_18-\w+\.pth is not there; put .*https://"):
        with_weights_on_disk(model)
    with pytest.raises(CheckpointError, match="torchvision has no weights for slow_r50"):
        torchvision_file("slow_r50")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "r3d_18-b3b3357e.pth").write_text("")
    assert with_weights_on_disk(model).weights == str(folder / "r3d_18-b3b3357e.pth")
    with pytest.raises(ConfigError, match="torchvision has none for slow_r50"):
        parse_config("--model.backbone slow_r50 --model.weights torchvision".split())


# ------------------------------------------------------------------ where it applies


def test_it_applies_to_own_videos_without_a_recipe_only(tmp_path):
    assert parse_config([]).fit == ()
    assert parse_config(["--data", "digits"]).fit == ()
    assert parse_config(["--data", "mine", "--config", "scenes"]).fit == ()
    assert parse_config(["--data=mine"]).fit == OPEN
    assert parse_config(["--config", "videos"]).fit == OPEN
    assert parse_config(["--data", "mine", "--resume", "--run-dir", str(tmp_path)]).fit == OPEN
    assert parse_config(["--config", "scenes", "--fit", "clip.stride", "epochs"]).fit == (
        "clip.stride",
        "epochs",
    )
    assert parse_config(["--fit", "clip.stride", "epochs", "--clip.stride", "3"]).fit == ("epochs",)
    assert set(BUILT_IN) == {name for name, entry in DATA_SETS.items() if isinstance(entry, BuiltInDataSet)}


def test_a_resumed_run_keeps_its_values(tmp_path):
    chosen, _ = fitted(footage(10, 30))
    (tmp_path / "config.yaml").write_text(dump_yaml(chosen))
    again = parse_config(["--resume", "--run-dir", str(tmp_path)])
    assert again == dataclasses.replace(chosen, run_dir=tmp_path, resume=True)


def test_a_recipe_that_builds_on_it_decides(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: videos\nepochs: 7\nclip: {size: 96}\n")
    config = load_yaml(tmp_path / "mine.yaml")
    assert (config.epochs, config.clip.size) == (7, 96)
    assert set(OPEN) - set(config.fit) == {"epochs", "clip.size"}
    (tmp_path / "whole.yaml").write_text(dump_yaml(config))
    assert load_yaml(tmp_path / "whole.yaml") == config


def test_a_name_that_cannot_be_chosen_is_refused():
    with pytest.raises(ConfigError, match="fit"):
        parse_config(["--fit", "clip.sise"])


def test_the_chosen_networks_can_be_built():
    untrained_encoder(fitted(TYPICAL)[0].model, 0)
