"""The runs of a page: their encoders, what their folders hold, their names and colours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bodvcl.config.parse import validate
from bodvcl.config.schema import TrainConfig
from bodvcl.engine.checkpoint import load_run
from bodvcl.errors import CheckpointError
from bodvcl.evaluate.options import ClipOptions
from bodvcl.evaluate.probed_encoder import ProbedEncoder
from bodvcl.figures.folder import file_name
from bodvcl.models.encoder import VideoEncoder
from bodvcl.runs.contents import RunFolder, read_run
from bodvcl.viz.svg import DYNAMIC, EXTRA, STATIC

COLOURS = (STATIC, DYNAMIC, EXTRA, "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of the runs, of Okabe and Ito; more runs than colours begin again."""


class OpenedRun(NamedTuple):
    """A run on the page.

    Attributes:
        name: what the figures call it.
        path: its folder.
        config: its configuration, with the clips that the user chose.
        encoder: its trained encoder.
        contents: what its folder holds.
        colour: its colour.
        key: its number and name, as a part of a file's name.
    """

    name: str
    path: Path
    config: TrainConfig
    encoder: VideoEncoder
    contents: RunFolder
    colour: str
    key: str

    def probed(self, encoder: VideoEncoder | None = None, name: str = "") -> ProbedEncoder:
        """An encoder of this run with what its features depend on.

        Args:
            encoder: the encoder. None: the trained one.
            name: what messages call it. Empty: as the run.
        """
        c = self.config
        return ProbedEncoder(
            name or self.name, encoder or self.encoder, c.model, c.clip, c.augment, c.koopman
        )


def open_runs(paths: Sequence[Path], names: Sequence[str], clip: ClipOptions) -> list[OpenedRun]:
    """Open finished runs.

    Args:
        paths: their folders.
        names: one name per run; empty: the names of the folders.
        clip: values that override those of the runs.

    Raises:
        CheckpointError: a folder that is none, or holds no finished run.
        ConfigError: clips that a backbone cannot take.
    """
    for path in paths:
        if not path.is_dir():
            raise CheckpointError(
                f"{path} is not a folder; expected the folder of a run, such as runs/<name>"
            )
    runs = []
    for number, (path, name) in enumerate(zip(paths, names or folder_names(paths))):
        encoder, config = load_run(path)
        config = validate(dataclasses.asdict(dataclasses.replace(config, clip=clip.override(config.clip))))
        colour = COLOURS[number % len(COLOURS)]
        key = file_name(str(number + 1), name)
        runs.append(OpenedRun(name, path, config, encoder, read_run(path), colour, key))
    return runs


def folder_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many parts as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
