"""`bodvcl embed` beside a plain loop that decodes the same clips, runs the encoder and keeps the vectors.

Vectors of both are equal, which is asserted first. `times_plain` is the speed of `embed` as a share of that
of the loop, the median over rounds in which both run in turn: 1 is as fast. `embed` also reads the
checkpoint, looks at the files, writes parts and the file; the loop has all this before it begins. Both run in
one thread of one process, and processor time is measured, so that other work on the machine counts little.
The encoder is the smallest one: with any other the share that is not decoding or forward is smaller.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_data import write_film

from bodvcl.config.parse import dump_yaml
from bodvcl.config.schema import ClipConfig, TrainConfig
from bodvcl.data.clips.augment import crop_resize, finish
from bodvcl.data.clips.draws import ClipDraws, evaluation_draws
from bodvcl.data.clips.plan import collect
from bodvcl.data.files.reading import read_frames
from bodvcl.data.files.scan import scan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sources.pyav_clips import decode_size
from bodvcl.embed.file import KINDS, read_embeddings
from bodvcl.embed.options import EmbedOptions
from bodvcl.embed.rows import plan_rows
from bodvcl.embed.run import embed
from bodvcl.engine.checkpoint import load_run, save_encoder
from bodvcl.engine.ranks import Ranks, World
from bodvcl.evaluate.features import extract_features, still_features
from bodvcl.models.encoder import build_encoder

FILMS, ROUNDS = 16, 5
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """A folder of films of ten seconds."""
    folder = tmp_path_factory.mktemp("films")
    for seed in range(FILMS):
        write_film(folder / f"{seed:02d}.mp4", "h264", seed)
    return folder


def plain_loop(
    run: Path, groups: list[list[tuple[VideoInfo, ClipDraws]]], clips: int
) -> Callable[[], dict[str, torch.Tensor]]:
    """Decodes and embeds groups of clips: those of a group are a batch; each video is opened once for it."""
    encoder, config = load_run(run)
    stills: list[torch.Tensor] = []

    def batches():
        for group in groups:
            made = []
            for info, draws in group:
                frames = read_frames(info, draws.frames.reshape(-1), decode_size(info, config.clip, 1.0))
                clips_of = frames.reshape(*draws.frames.shape, *frames.shape[1:])
                made += [crop_resize(clip, draws.boxes[0], config.clip.size) for clip in clips_of]
            batch = collect(torch.stack(made), list(range(len(made))), [draws for _, draws in group])
            pixels = finish(batch, config.augment, CPU)
            stills.append(still_features(encoder, pixels, 1).unflatten(0, (-1, clips)).mean(1))
            yield pixels.unflatten(0, (-1, clips))

    def loop() -> dict[str, torch.Tensor]:
        stills.clear()
        return extract_features(encoder, batches(), CPU, config.koopman) | {"still": torch.cat(stills)}

    return loop


def joined(draws: list[ClipDraws]) -> ClipDraws:
    """The clips of neighbouring windows as those of one read."""
    return ClipDraws(*(np.concatenate(values) for values in zip(*(vars(one).values() for one in draws))))


@pytest.mark.parametrize("rows", ["videos", "windows"])
def test_embed(benchmark, films, tmp_path, one_thread, rows):
    config = TrainConfig(clip=ClipConfig(frames=16, stride=2, size=112))
    run = tmp_path / "run"
    (run / "checkpoint").mkdir(parents=True)
    save_encoder(run, 1, dump_yaml(config), config.model, build_encoder(config.model))
    window = None if rows == "videos" else 2.0
    videos = scan(films, clip=config.clip, workers=0, progress=False).videos
    parts, _ = plan_rows(videos, config.clip, window, window)
    clips = 3 if window is None else 1
    draws = [
        evaluation_draws(videos[video], config.clip, clips, first=first, stop=stop)
        for video, first, stop in zip(parts.video.tolist(), parts.first.tolist(), parts.stop.tolist())
    ]
    size = 512 // (16 * clips)
    groups = []
    for start in range(0, len(parts), size):
        by_video: dict[int, list[ClipDraws]] = {}
        for row in range(start, min(start + size, len(parts))):
            by_video.setdefault(int(parts.video[row]), []).append(draws[row])
        groups.append([(videos[number], joined(of_video)) for number, of_video in by_video.items()])
    loop = plain_loop(run, groups, clips)
    out = tmp_path / "out.parquet"
    options = EmbedOptions(data=str(films), checkpoint=run, out=out, window=window, restart=True)
    ranks = Ranks(World(), CPU)

    def command() -> None:
        embed(options, ranks, workers=0, say=lambda _: None)

    def seconds(call: Callable[[], object]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    command()
    want, got = loop(), read_embeddings(out)
    for kind in KINDS:
        name = "backbone+std" if kind == "pooled" else kind
        np.testing.assert_array_equal(got.vectors[kind], want[name].numpy())
    rounds = [(seconds(loop), seconds(command)) for _ in range(ROUNDS)]
    benchmark.group = f"embed, {rows} of {FILMS} films of 300 frames 340x256"
    benchmark.extra_info["times_plain"] = statistics.median(plain / own for plain, own in rounds)
    benchmark.extra_info["rows_per_cpu_second"] = len(parts) / statistics.median(own for _, own in rounds)
    benchmark.pedantic(command, rounds=1)
