"""The recipe that all trainings of a comparison on one's own videos share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bodvcl.cli.fit import explained, fitted
from bodvcl.cli.run_videos import divided, scan_run
from bodvcl.compare.own import OwnVideos
from bodvcl.config.parse import dump_yaml, parse_config
from bodvcl.engine.device import pick_device
from bodvcl.engine.ranks import World
from bodvcl.errors import ConfigError
from bodvcl.evaluate.labels_to_probe import label_notes, wanted_labels
from bodvcl.runs.folder import write_atomically
from bodvcl.text.words import plain

SHARE = 0.4
"""Share of the epochs of the recipe ``videos`` that a training of a comparison gets: 400 steps on a CPU.
With 384 and 550 steps docs/findings.md tells the variants apart."""


def write_recipe(own: OwnVideos, extra: Sequence[str]) -> None:
    """Scan the videos, choose what suits them and the device, and write it.

    Args:
        own: the videos, and where the recipe is written.
        extra: options of ``bodvcl train`` that the user gave; what they say is kept.

    Raises:
        DataError: no label can be probed, or no video can be used.
        ConfigError: options that cannot be used.
    """
    config = parse_config(["--data", own.data, *extra])
    if not config.log.probe:
        raise ConfigError("the comparison is that of the probes after training: remove --log.no-probe")
    device = pick_device(config.device)
    found = scan_run(config)
    chosen, reasons = fitted(config, found, device, World())
    videos = divided(found.holding(chosen.clip), probed=True)
    choice = wanted_labels(videos.probe, (), chosen.seed)
    if "epochs" in reasons:
        fewer = max(1, round(SHARE * chosen.epochs))
        reasons = {**reasons, "epochs": f"{SHARE:.0%} of the {chosen.epochs} that bodvcl train would take"}
        chosen = dataclasses.replace(chosen, epochs=fewer)
    if device.type == "cpu" and chosen.workers is None:
        chosen = dataclasses.replace(chosen, workers=0)
    print(f"reads the labels {', '.join(map(plain, choice.labels))}")
    print("\n".join([*label_notes(choice), *explained(chosen, reasons)]))
    write_atomically(own.recipe, dump_yaml(chosen).encode())
