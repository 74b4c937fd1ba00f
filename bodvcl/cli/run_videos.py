"""The videos of a run: found, announced, and divided into those to train on and those to probe with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bodvcl.config.schema import TrainConfig
from bodvcl.data.files.columns import taken, where
from bodvcl.data.files.scan import ScanResult, scan
from bodvcl.data.files.video import VideoInfo
from bodvcl.data.sets import BuiltInSettings
from bodvcl.data.sets.split_names import of_the_probe
from bodvcl.errors import DataError
from bodvcl.evaluate.end_of_run import spread
from bodvcl.evaluate.run_data import is_there
from bodvcl.evaluate.splits import without_shared
from bodvcl.text.words import counted

_PROBED = 10_000  # far more than the probe after training encodes


@dataclass(frozen=True)
class RunVideos:
    """The videos of a run.

    Attributes:
        found: everything that the scan found.
        train: videos to train on.
        probe: videos for the probe after training: the splits named probe_*, or all videos if there are none,
            at most 10,000, evenly spread. The probe then keeps to the data's own train and test splits, and
            tests no video that trains it.
    """

    found: ScanResult
    train: Sequence[VideoInfo]
    probe: Sequence[VideoInfo]


def scan_run(config: TrainConfig) -> ScanResult:
    """Scan the videos of a run. While options are to be chosen, videos of any length are kept.

    Raises:
        DataError: no usable video, or a resumed run whose data are gone.
        ConfigError: ``--augment.flip`` where left and right matter for a class.
    """
    if config.resume and not is_there(config.data):
        raise DataError(
            f"{config.data}: no such file or folder; if the data of the run have moved, give their new place "
            "with --data: the run goes on if the files are the same"
        )
    found = scan(
        config.data,
        clip=None if config.fit else config.clip,
        settings=BuiltInSettings.of(config),
        workers=config.workers,
        image_fps=config.clip.image_fps,
    )
    if "augment.flip" not in config.fit:
        found.refuse_flip(config.augment.flip)
    return found


def divided(found: ScanResult, *, probed: bool) -> RunVideos:
    """Print what a scan found, and divide it.

    Args:
        found: videos that hold a clip.
        probed: whether a probe follows the training.

    Raises:
        DataError: no video to train on.
    """
    for line in found.summary():
        print(line)
    print(found.training_part().text)
    of_probe = where(found.videos, "split", of_the_probe)
    to_probe = taken(found.videos, of_probe) if of_probe.any() else found.videos
    if len(to_probe) > _PROBED:
        to_probe = spread(to_probe, _PROBED)
    videos = RunVideos(found, found.training(), without_shared(to_probe))
    left_out = len(to_probe) - len(videos.probe)
    if probed and left_out:
        print(f"the probe after training does not test on {counted(left_out, 'video')} that it trains on")
    return videos
