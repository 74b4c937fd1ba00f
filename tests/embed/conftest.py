"""Small encoders and videos for the tests of `bodvcl embed`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bodvcl.cli.embed import main
from bodvcl.config.parse import dump_yaml
from bodvcl.config.schema import ClipConfig, ModelConfig, TrainConfig
from bodvcl.engine.checkpoint import save_encoder
from bodvcl.models.encoder import build_encoder

sys.path.append(str(Path(__file__).parents[1] / "data"))  # its maker of videos

from video_files import write_video

CONFIG = TrainConfig(
    clip=ClipConfig(frames=4, stride=2, size=16), model=ModelConfig(width=4, embed_dim=8, hidden_dim=16)
)


def make_run(folder: Path, seed: int) -> Path:
    """A run folder with an encoder of random weights."""
    torch.manual_seed(seed)
    (folder / "checkpoint").mkdir(parents=True)
    save_encoder(folder, 7, dump_yaml(CONFIG), CONFIG.model, build_encoder(CONFIG.model))
    return folder


@pytest.fixture(scope="session")
def encoder_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("encoders") / "one", 0)


@pytest.fixture(scope="session")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another encoder, with weights of its own."""
    return make_run(tmp_path_factory.mktemp("encoders") / "two", 1)


@pytest.fixture
def embed(encoder_run: Path) -> Callable[..., int]:
    """Runs the verb with a checkpoint, in this process: ``embed(SOURCE, FILE, *OPTIONS, run=RUN)``."""

    def run(source: Path | str, out: Path, *options: str, run: Path = encoder_run) -> int:
        fixed = ["--checkpoint", str(run), "--out", str(out), "--workers", "0", "--device", "cpu"]
        return main([str(source), *fixed, *options])

    return run


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of five videos of 25 frames a second, a.mp4 to e.mp4, of 1 to 3 seconds."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate("abcde"):
        size = (48, 80) if number % 2 else (64, 80)
        write_video(folder / f"{name}.mp4", 25 + 12 * number, size=size)
    return folder


@pytest.fixture
def listed(videos: Path) -> Path:
    """The same videos as a list with labels; the last has none."""
    path = videos / "list.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "gesture", "start"])
        writer.writerows(
            [f"{n}.mp4", "train", "wave" if n in "abc" else "point" * (n != "e"), n] for n in "abcde"
        )
    return path
