"""Options of ``bodvcl embed``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from bodvcl.config.command_line import Flag, Positional, argument
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import ConfigError
from bodvcl.evaluate.options import ClipOptions


@dataclass(kw_only=True)
class EmbedOptions:
    """Write the features of videos, or of windows of long videos, into a file for search and other programs.

    Typed again, an interrupted command continues, and a finished one adds what is new in SOURCE.
    """

    __pydantic_config__ = STRICT

    data: Annotated[Positional[str], argument(metavar="SOURCE")]
    """Folder, video file, .csv list, tar files, or data set by name such as ucf101:FOLDER or shapes
    (docs/data_sets.md)."""
    checkpoint: Annotated[UserPath, argument(metavar="RUN|FILE")]
    """Folder of a run of bodvcl train or bodvcl finetune, or its encoder.pt or classifier.pt."""
    out: Annotated[UserPath, argument(metavar="FILE")]
    """File to write: .parquet, or .safetensors with an .index.parquet beside it."""
    window: Annotated[float, Field(gt=0)] | None = None
    """Seconds of a row, for long videos. None: a row is a whole video."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Seconds from the start of a window to that of the next. None: that of --window."""
    clips_per_video: Annotated[int, Field(ge=1)] = 3
    """Clips of a whole video, spread evenly over it; their features are averaged."""
    clips_per_window: Annotated[int, Field(ge=1)] = 1
    """Clips of a window, spread evenly over it; their features are averaged."""
    frames: Flag = False
    """Also write the backbone's features of every frame of the clips, and the times of these frames."""
    clip: ClipOptions = field(default_factory=ClipOptions)
    restart: Flag = False
    """Begin anew: what FILE has, and what an interrupted command left, is replaced."""
    dry_run: Flag = False
    """Say how many rows would be written, and stop."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. Under torchrun each process takes its own."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Decoding processes. 0: decode in this process. None: chosen from the number of cores."""

    @property
    def clips_of_a_row(self) -> int:
        """Clips of every row."""
        return self.clips_per_video if self.window is None else self.clips_per_window

    @property
    def every(self) -> float | None:
        """Seconds from the start of a window to that of the next; None: rows are whole videos."""
        return None if self.window is None else self.step or self.window


def refuse_contradictions(options: EmbedOptions) -> None:
    """Raise :class:`~bodvcl.errors.ConfigError` for options that contradict each other."""
    if options.step is not None and options.window is None:
        raise ConfigError(f"--step {options.step:g} applies only to windows; add --window SECONDS")
    if options.clips_per_window != 1 and options.window is None:
        raise ConfigError("--clips-per-window applies only to windows; add --window SECONDS")
