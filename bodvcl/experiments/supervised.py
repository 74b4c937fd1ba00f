"""``python -m bodvcl.experiments.supervised``: the network of a run, trained with the labels.

A control: what it does not reach, the network cannot learn in these steps, whatever the loss is. It takes
the options of `bodvcl train` and uses its videos, clips, augmentation, backbone, optimiser and schedule. All
label columns are learned at once, each by a linear layer on the mean and the standard deviation over time of
the backbone's features. The probe afterwards is that of any run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodvcl.cli.console import run_verb
from bodvcl.cli.fit import fitted_videos
from bodvcl.cli.run_videos import RunVideos
from bodvcl.config.parse import parse_config
from bodvcl.config.schema import TrainConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import built_in
from bodvcl.data.sources.source import open_source
from bodvcl.engine.learner import untrained_encoder
from bodvcl.engine.ranks import World
from bodvcl.errors import ConfigError, DataError
from bodvcl.evaluate.end_of_run import evaluate_run
from bodvcl.evaluate.probe_console import probe_summary
from bodvcl.models.encoder import VideoEncoder, mean_and_std
from bodvcl.optim.schedule import learning_rate, rising_steps
from bodvcl.runs.folder import write_atomically
from bodvcl.text.progress import progress_bar
from bodvcl.text.tables import show


class Classifier(nn.Module):
    """A linear layer for each label column, on the pooled features of a backbone.

    Args:
        encoder: its backbone is trained; its projector is not used.
        classes: label column to its number of classes.
    """

    def __init__(self, encoder: VideoEncoder, classes: Mapping[str, int]) -> None:
        super().__init__()
        self.encoder = encoder
        width = 2 * encoder.backbone.dim
        self.heads = nn.ModuleList(nn.Linear(width, count) for count in classes.values())

    def forward(self, clips: Tensor) -> list[Tensor]:
        """Logits ``(N, classes)`` of every label column, for clips ``(N, 3, L, S, S)``."""
        pooled = mean_and_std(self.encoder.frames(clips))
        return [head(pooled) for head in self.heads]


def label_numbers(videos: Sequence[VideoInfo]) -> tuple[dict[str, int], Tensor]:
    """Number of classes of each label column, and the class of each video ``(videos, columns)``.

    Raises:
        DataError: there is no column in which every video has a label.
    """
    columns = [name for name in videos[0].labels if all(name in video.labels for video in videos)]
    if not columns:
        raise DataError("the videos have no labels to learn from")
    names = [sorted({video.labels[column] for video in videos}) for column in columns]
    numbers = [
        [found.index(video.labels[column]) for column, found in zip(columns, names)] for video in videos
    ]
    return dict(zip(columns, map(len, names))), torch.tensor(numbers)


def train_supervised(config: TrainConfig, videos: RunVideos) -> tuple[VideoEncoder, float]:
    """Train the encoder's backbone with the labels of the training videos, on a CPU.

    Returns:
        The encoder, and the mean loss of a label column in the last step.
    """
    classes, numbers = label_numbers(videos.train)
    plan = ClipPlan(videos.train, config.clip, config.augment, config.batch_size, config.seed)
    source = open_source(
        plan, config.decode, device=torch.device("cpu"), decoder=config.decoder, workers=config.workers
    )
    model = Classifier(untrained_encoder(config.model, config.seed), classes)
    model.to(memory_format=torch.channels_last_3d)
    optim = config.optim
    optimizer = torch.optim.AdamW(model.parameters(), lr=optim.lr, weight_decay=optim.weight_decay)
    total = config.epochs * source.steps_per_epoch
    rising = rising_steps(optim, total, source.steps_per_epoch)
    loss, step = torch.tensor(0.0), 0
    with progress_bar(total=total, desc="learning the labels", unit="step") as bar:
        for epoch in range(config.epochs):
            for batch in source.epoch(epoch, 0):
                rate = learning_rate(step, total, optim.lr, rising, optim.warmup_lr, optim.cosine_from_start)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                target = numbers[batch.videos].repeat_interleave(config.clip.views, 0)
                logits = model(finish(batch, config.augment))
                loss = torch.stack(
                    [F.cross_entropy(found, one) for found, one in zip(logits, target.T)]
                ).mean()
                optimizer.zero_grad()
                loss.backward()
                if optim.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
                optimizer.step()
                step += 1
                bar.update()
    return model.encoder, float(loss.detach())


def main(argv: Sequence[str] | None = None) -> int:
    """Train with the labels, probe, and write ``probe.json`` into the run folder; returns the exit code."""

    def experiment() -> int:
        config = parse_config(sys.argv[1:] if argv is None else argv)
        if config.run_dir is None:
            raise ConfigError("run_dir: give the folder of the results with --run-dir")
        if config.optim.name != "adamw":
            raise ConfigError(f"optim.name {config.optim.name}: this control is trained with adamw")
        folder = Path(config.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        config, _, videos = fitted_videos(config, torch.device("cpu"), World())
        start = time.monotonic()
        encoder, loss = train_supervised(config, videos)
        seconds = time.monotonic() - start
        entry = built_in(config.data)
        rows = evaluate_run(
            untrained_encoder(config.model, config.seed),
            encoder,
            videos.probe,
            folder,
            torch.device("cpu"),
            clip=config.clip,
            augment=config.augment,
            koopman=config.koopman,
            seed=config.seed,
            kinds=None if entry is None else entry.kinds,
        )
        write_atomically(folder / "metrics.jsonl", (json.dumps({"loss": loss}) + "\n").encode())
        write_atomically(folder / "summary.json", json.dumps({"seconds": seconds}).encode())
        show(*probe_summary(rows))
        return 0

    return run_verb("experiments.supervised", experiment)


if __name__ == "__main__":
    sys.exit(main())
