"""``bodvcl detect --dry-run``: what would be trained and tested. No film is opened, nothing is written."""

from __future__ import annotations

import yaml

from bodvcl.detect.annotations import read_annotations
from bodvcl.detect.network import starting_point
from bodvcl.detect.options import DetectOptions
from bodvcl.detect.run import described, plain
from bodvcl.runs.folder import refuse_other_run
from bodvcl.text.words import counted


def dry_run(options: DetectOptions) -> list[str]:
    """Lines that say what would be done.

    Raises:
        UserError: what would stop the run and costs little to see.
    """
    start = starting_point(options)
    annotations = read_annotations(options)
    if options.run_dir is not None:
        refuse_other_run(options.run_dir, options.resume)
    steps = len(annotations.train) // options.batch_size
    films = {example.film for example in (*annotations.train, *annotations.test)}
    return [
        *described(options, start, annotations),
        f"{counted(options.epochs, 'epoch')} of {counted(steps, 'step')} with {options.batch_size} clips, if "
        f"all {counted(len(films), 'film')} exist; a dry run opens none",
        "",
        yaml.safe_dump(plain(options), sort_keys=False),
    ]
