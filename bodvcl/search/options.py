"""Options of ``bodvcl search``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bodvcl.config.command_line import Flag, Positional, argument
from bodvcl.config.schema import STRICT, UserPath
from bodvcl.errors import ConfigError
from bodvcl.search.weight import weight_of_motion

OUT = (".csv", ".json")
"""Suffixes of ``--out``."""
OUT_DUPLICATES = (*OUT, ".txt")


@dataclass
class SearchOptions:
    """Find videos that look alike or move alike in a file of bodvcl embed.

    Exactly one of --like, --duplicates, --outliers, --clusters and --agreement says what is looked for."""

    __pydantic_config__ = STRICT

    file: Annotated[Positional[UserPath], argument(metavar="FILE")]
    """File of bodvcl embed."""
    like: Annotated[str | None, argument(metavar="VIDEO[@SECONDS]")] = None
    """Find what is like this video of the file (its path, or the end of it), or like a video outside the
    file, which is then embedded. SECONDS chooses a moment of a long video."""
    duplicates: Flag = False
    """Find videos that are copies of another: re-encoded, scaled, or a part of it."""
    outliers: Flag = False
    """Find videos that are far from all others."""
    clusters: Annotated[int | None, Field(ge=2), argument(metavar="K")] = None
    """Divide the videos into so many clusters (k-means)."""
    agreement: Flag = False
    """Tell how often the nearest videos share each label of a video: by appearance, by motion and by both."""
    by: Annotated[str, argument(metavar="appearance|motion|both|WEIGHT")] = "both"
    """What is compared. A number from 0 to 1 is the weight of motion: both is 0.5."""
    top: Annotated[int | None, Field(ge=1)] = None
    """Number of hits, outliers or groups of duplicates that are shown, of videos of each cluster, or of
    nearest videos that are counted. None: 10; of each cluster 3."""
    same_video: Flag = False
    """With --like: also show other windows of the same video."""
    above: Annotated[float | None, Field(gt=0, le=1)] = None
    """Least score of duplicates. None: 0.95."""
    neighbours: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Nearest rows of other videos to which the distance of an outlier is averaged. None: 10."""
    checkpoint: Annotated[UserPath | None, argument(metavar="RUN|FILE")] = None
    """Where the encoder of the file is now, to embed a video outside the file. None: where it was."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N, to embed a video outside the file."""
    out: Annotated[UserPath | None, argument(metavar="FILE")] = None
    """Write all that was found to this .csv or .json file. Of duplicates a .txt file lists the files to
    remove."""
    page: Annotated[UserPath | None, argument(metavar="FILE.html")] = None
    """Write a page with playable thumbnails."""

    @property
    def motion(self) -> float:
        """Weight of motion in a score."""
        return weight_of_motion(self.by)


def refuse_contradictions(options: SearchOptions) -> None:
    """Raise :class:`~bodvcl.errors.ConfigError` for options that contradict each other."""
    kinds = {
        "--like": options.like is not None,
        "--duplicates": options.duplicates,
        "--outliers": options.outliers,
        "--clusters": options.clusters is not None,
        "--agreement": options.agreement,
    }
    asked = [name for name, given in kinds.items() if given]
    if len(asked) != 1:
        what = f"{' and '.join(asked)} together" if asked else "nothing to search for"
        raise ConfigError(f"{what}: give exactly one of {', '.join(kinds)}")
    weight_of_motion(options.by)
    belongs = {
        "--same-video": (options.same_video, "--like"),
        "--checkpoint": (options.checkpoint is not None, "--like"),
        "--above": (options.above is not None, "--duplicates"),
        "--neighbours": (options.neighbours is not None, "--outliers"),
    }
    for option, (given, to) in belongs.items():
        if given and to != asked[0]:
            raise ConfigError(f"{option} applies only to {to}, not to {asked[0]}")
    if options.agreement and (options.by != "both" or options.page is not None):
        raise ConfigError(
            "--agreement compares by appearance, by motion and by both, and shows no video: drop --by and "
            "--page"
        )
    _refuse_suffix("--out", options.out, OUT_DUPLICATES if options.duplicates else OUT)
    _refuse_suffix("--page", options.page, (".html",))


def _refuse_suffix(option: str, path: Path | None, known: tuple[str, ...]) -> None:
    if path is not None and path.suffix.lower() not in known:
        raise ConfigError(f"{option} {path}: expected a name that ends in {' or '.join(known)}")
