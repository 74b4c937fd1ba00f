"""Fine-tuning from its options: run folders, one run or one for each official split, and the last words."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import asdict, replace
from pathlib import Path

from bodvcl.cli.together import stopped, together, workers_of_process
from bodvcl.config.recipes import as_yaml
from bodvcl.engine.device import pick_device
from bodvcl.engine.ranks import Ranks, World, world_from_environment
from bodvcl.engine.wandb_log import check_wandb
from bodvcl.finetune.dry_run import dry_run
from bodvcl.finetune.folds import fold_data, mean_metrics, mean_result
from bodvcl.finetune.options import FinetuneOptions
from bodvcl.finetune.report import fold_table
from bodvcl.finetune.run import Tuned, refuse_changed, tune
from bodvcl.runs.folder import open_run_dir, write_atomically
from bodvcl.runs.results import RESULTS, Result, read_result
from bodvcl.system.global_state import restored
from bodvcl.text.tables import show

_LESS = "lower --batch-size, or train a smaller part with --tune"


@restored()
def finetune(options: FinetuneOptions) -> int:
    """Train and test as ``bodvcl finetune`` does. Under ``torchrun``, this process takes its place among the
    others.

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
    folds = fold_data(str(options.data), options.folds)
    if options.dry_run:
        if world.rank == 0:
            for data in folds.values() or [str(options.data)]:
                dry_run(replace(options, data=data, folds=()), print)
        return 0
    ranks = Ranks(world, device)
    with contextlib.ExitStack() as held, together(ranks, _LESS):
        name = "linear" if options.tune == "head" else "finetune"
        folder = ranks.tell(lambda: _opened(held, options.run_dir, options.resume, name))
        if folds:
            return _all_folds(options, folds, folder, ranks, world)
        found = tune(options, ranks, folder, workers=workers_of_process(options.workers, world))
        return _end(found, folder, ranks)


def _all_folds(
    options: FinetuneOptions, folds: dict[int, str], folder: Path, ranks: Ranks, world: World
) -> int:
    """One run for each split, in a folder of its own; those that are done are not done again."""
    runs = {
        fold: replace(options, data=data, folds=(), run_dir=folder / f"split-{fold}")
        for fold, data in folds.items()
    }
    results = ranks.tell(lambda: {fold: found for fold, run in runs.items() if (found := _done(run))})
    if ranks.first:
        write_atomically(folder / "config.yaml", as_yaml(asdict(options)).encode())
    for fold, chosen in runs.items():
        own = folder / f"split-{fold}"
        print(f"split {fold}: {chosen.data}")
        done = results.get(fold)
        if done is None:
            with contextlib.ExitStack() as held:
                ranks.tell(functools.partial(_opened, held, own, options.resume))
                found = tune(chosen, ranks, own, workers=workers_of_process(options.workers, world))
            if found.result is None:
                return _end(found, folder, ranks)
            if found.table is not None:
                show(found.table)
            done = found.result
        results[fold] = done
    results = {fold: results[fold] for fold in runs}
    if ranks.first:
        mean_result(str(options.data), results).save(folder)
    show(fold_table(str(options.data), results, mean_metrics(results)))
    print(f"results of every split and their mean are in\n  {folder}")
    return 0


def _done(options: FinetuneOptions) -> Result | None:
    """The result of a split that has finished, with the same options; None: it has not."""
    folder = Path(str(options.run_dir))
    if not (folder / RESULTS).exists():
        return None
    refuse_changed(options, folder)
    return read_result(folder)


def _opened(held: contextlib.ExitStack, folder: Path | None, resume: bool, name: str = "") -> Path:
    """The folder of a run, open until the stack ends."""
    return held.enter_context(open_run_dir(folder, name, resume))


def _end(found: Tuned, folder: Path, ranks: Ranks) -> int:
    """The last words of a run; returns its exit code."""
    outcome = found.outcome
    if outcome.signal is not None:
        return stopped("finetune", outcome, folder, ranks)
    if (best := outcome.best) is not None:
        print(f"best validation: {best.name} {100 * best.value:.1f}% after step {best.step}")
    if found.table is not None:
        show(found.table)
    print(f"results, predictions and the classifier are in\n  {folder}")
    return 0
