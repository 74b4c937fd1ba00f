"""``bodvcl finetune --dry-run``: what would be trained and tested. No video is opened, nothing is written."""

from __future__ import annotations

from collections.abc import Callable

from bodvcl.data.sets import built_in
from bodvcl.engine.device import pick_device
from bodvcl.engine.precision import pick_arithmetic
from bodvcl.errors import DataError
from bodvcl.finetune.options import FinetuneOptions
from bodvcl.finetune.protocol import announcement
from bodvcl.finetune.run import prepare
from bodvcl.finetune.videos import listed_videos
from bodvcl.runs.folder import refuse_other_run
from bodvcl.runs.lock import refuse_locked
from bodvcl.text.words import counted


def dry_run(options: FinetuneOptions, say: Callable[[str], None]) -> None:
    """Say what would be trained and tested, and what that costs.

    Raises:
        UserError: what would stop the run and costs little to see.
    """
    pick_arithmetic(options.precision, options.fast, pick_device(options.device))
    start, sketch = prepare(options)
    for line in announcement(options, start, sketch):
        say(line)
    if options.run_dir is not None:
        refuse_other_run(options.run_dir, options.resume)
        refuse_locked(options.run_dir)
    if built_in(str(options.data)):
        say(f"the videos of {options.data} are rendered when they are needed")
        return
    videos = listed_videos(options, say)
    if videos is None:
        say("the videos are in tar files; a dry run opens none")
        return
    clips = len(videos.train) * options.clips_per_video
    if clips < options.batch_size:
        raise DataError(
            f"a batch of {options.batch_size} clips cannot be filled from {counted(clips, 'clip')} of "
            f"{counted(len(videos.train), 'training video')}; lower --batch-size"
        )
    steps = clips // options.batch_size
    say(
        f"label {videos.labels.column}: {len(videos.labels.classes):,} classes; "
        f"{counted(len(videos.train), 'video')} to train on, {len(videos.val):,} to validate, "
        f"{len(videos.test):,} to test; none is opened"
    )
    say(f"{steps * options.epochs:,} steps, {steps:,} in an epoch")
