"""What a comparison will train, and about how long it takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bodvcl.cli.fit import duration
from bodvcl.cli.run_videos import scan_run
from bodvcl.compare.plan import CompareOptions, Task
from bodvcl.config.parse import parse_config
from bodvcl.engine.device import pick_device
from bodvcl.engine.ranks import Ranks, World
from bodvcl.engine.timing import step_seconds
from bodvcl.sweep.job import is_finished
from bodvcl.sweep.local import slots
from bodvcl.text.words import counted


def cost(options: CompareOptions, tasks: Sequence[Task]) -> str:
    """One line: how many trainings, how many are left, and their time from a step that is measured.

    Args:
        options: what is compared.
        tasks: all trainings; they differ in variant and seed.
    """
    left = [task for task in tasks if not is_finished(task)]
    variants = counted(len({task.cell for task in tasks}), "variant")
    which = f"{counted(len(tasks), 'training')}: {variants} x {counted(options.seeds, 'seed')}"
    if not left:
        return f"{which}; all are finished"
    config = parse_config(tasks[-1].arguments)
    device = pick_device(config.device)
    videos = len(scan_run(config).training())
    steps = config.epochs * (videos // config.batch_size)
    steps = steps if config.max_steps is None else min(steps, config.max_steps)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each training has
    try:
        seconds = step_seconds(config, Ranks(World(), device))
    finally:
        torch.set_num_threads(threads)
    at_a_time = min(len(slots(options.workers)), len(left))
    total = len(left) * steps * seconds / at_a_time
    return (
        f"{which}, {len(left)} to do, {at_a_time} at a time; {counted(steps, 'step')} of {seconds:.3g} s "
        f"take about {duration(total)} in all (a step was measured alone, without decoding and probes); "
        "--minutes limits it, and the same command goes on"
    )
