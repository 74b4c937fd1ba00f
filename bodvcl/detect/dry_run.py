"""``bodvcl detect --dry-run``: what would be trained and tested. No film is opened, nothing is written."""

from __future__ import annotations

from bodvcl.detect.annotations import read_annotations
from bodvcl.detect.network import open_start
from bodvcl.detect.options import DetectOptions
from bodvcl.detect.protocol import announcement
from bodvcl.engine.device import pick_device
from bodvcl.engine.precision import pick_arithmetic
from bodvcl.runs.folder import refuse_other_run
from bodvcl.runs.lock import refuse_locked
from bodvcl.text.words import counted


def dry_run(options: DetectOptions) -> list[str]:
    """Lines that say what would be done.

    Raises:
        UserError: what would stop the run and costs little to see.
    """
    pick_arithmetic(options.precision, options.fast, pick_device(options.device))
    start, shape = open_start(options)
    annotations = read_annotations(options)
    if options.run_dir is not None:
        refuse_other_run(options.run_dir, options.resume)
        refuse_locked(options.run_dir)
    steps = len(annotations.train) // options.batch_size
    films = {example.film for example in (*annotations.train, *annotations.test)}
    return [
        *announcement(options, start, shape, annotations),
        f"{steps * options.epochs:,} steps, {steps:,} in an epoch, if all {counted(len(films), 'film')} "
        "exist; none is opened",
    ]
