"""Choose what a run on one's own videos trains."""

from __future__ import annotations

import dataclasses

from bodvcl.config.fit.choice import Chosen, Footage, Machine
from bodvcl.config.fit.clips import choose_clips
from bodvcl.config.fit.length import Needs, choose_batch, choose_epochs
from bodvcl.config.fit.network import choose_network
from bodvcl.config.schema import AugmentConfig, Fitted, TrainConfig


def fit(
    config: TrainConfig, footage: Footage, machine: Machine, needs: Needs
) -> tuple[TrainConfig, dict[Fitted, str]]:
    """Choose the options of ``config.fit``.

    Args:
        config: the options of the run.
        footage: one or more training videos.
        machine: what it trains on.
        needs: see :data:`Needs`. It is only asked about GPUs.

    Returns:
        The options, with nothing left to choose; and for each chosen one, in the order of the choice, its
        reason.
    """
    chosen = Chosen(config)
    choose_network(chosen, machine)
    videos = choose_clips(chosen, footage, machine)
    if footage.sided is None:
        chosen.take("augment.flip", AugmentConfig.flip, "no class says left or right")
    else:
        chosen.take("augment.flip", 0.0, f"the class {footage.sided!r} says left or right")
    choose_batch(chosen, videos, machine, needs)
    choose_epochs(chosen, videos, machine)
    return dataclasses.replace(chosen.config, fit=()), chosen.reasons
