"""Detection from its options: the run folder, the processes, and the last words."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bodvcl.cli.together import stopped, together, workers_of_process
from bodvcl.detect.annotations import evaluate_file
from bodvcl.detect.dry_run import dry_run
from bodvcl.detect.options import DetectOptions
from bodvcl.detect.run import detect, prepare
from bodvcl.engine.device import pick_device
from bodvcl.engine.ranks import Ranks, world_from_environment
from bodvcl.engine.wandb_log import check_wandb
from bodvcl.runs.folder import open_run_dir, refuse_other_run
from bodvcl.system.global_state import restored
from bodvcl.text.tables import show


def evaluate(options: DetectOptions, path: Path) -> int:
    """Print the frame mAP of a file of predictions."""
    show(*evaluate_file(options, path).tables())
    return 0


@restored()
def tune_detector(options: DetectOptions) -> int:
    """Train and test. Under ``torchrun``, this process takes its place among the others.

    Args:
        options: what to train and how, checked.

    Returns:
        0 when everything is done, 128 + the number of the signal that stopped the training.

    Raises:
        UserError: anything that the user can fix; see the subclasses.
        SystemExit: code 2: another process failed and has printed why.
    """
    world = world_from_environment()
    device = pick_device(options.device, world)
    if options.log.wandb is not None:
        check_wandb()
    if options.dry_run:
        for line in dry_run(options) if world.rank == 0 else ():
            print(line)
        return 0
    ranks = Ranks(world, device)
    with contextlib.ExitStack() as held, together(ranks, "lower --batch-size"):
        ranks.tell(lambda: _refuse_taken(options))
        prepared = prepare(options, ranks, workers=workers_of_process(options.workers, world))
        folder = ranks.tell(
            lambda: held.enter_context(open_run_dir(options.run_dir, "detect", options.resume))
        )
        outcome, evaluation = detect(options, prepared, ranks, folder)
        if outcome.signal is not None:
            return stopped("detect", outcome, folder, ranks)
        if evaluation is not None:
            show(*evaluation.tables())
            print(f"results, predictions and AP of each class are in\n  {folder}")
    return 0


def _refuse_taken(options: DetectOptions) -> None:
    """Say before the films are looked at that the folder holds another run."""
    if options.run_dir is not None:
        refuse_other_run(options.run_dir, options.resume)
