"""The model card: what an encoder is, as its run says it. Nothing is in it that the run does not know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import bodvcl
from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.methods import method_title
from bodvcl.config.schema import TrainConfig
from bodvcl.engine.checkpoint import ENCODER
from bodvcl.export.facts import EncoderFacts
from bodvcl.runs.contents import RunFolder
from bodvcl.runs.data_names import data_and_fold
from bodvcl.system.commit import code_commit
from bodvcl.viz.probe_html import percent, signed

HUB_LICENCES = (
    "apache-2.0 mit bsd-2-clause bsd-3-clause cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-4.0 cc-by-nc-sa-4.0 gpl-3.0 lgpl-3.0 agpl-3.0 mpl-2.0 unlicense isc"
).split()
"""SPDX identifiers, in small letters, that the Hub knows as they are. Any other is ``other`` with a name."""

STREAMS = ("backbone", "backbone+std", "static", "dynamic")
"""Kinds of features whose accuracies a card shows, in the order of its columns."""

CITATION = """@article{song_bodvcl,
  title   = {Self-Supervised Video Representation Learning in a Heuristic Decoupled Perspective},
  author  = {Song, Zeen and Qiang, Wenwen and Zheng, Changwen and Xiong, Hui and Hua, Gang},
  journal = {arXiv preprint arXiv:2407.14069v2},
  year    = {2026}
}"""


def model_card(
    name: str, facts: EncoderFacts, config: TrainConfig, run: RunFolder | None, licence: str | None
) -> str:
    """The card in Markdown, with the YAML head that the Hub reads.

    Args:
        name: name of the model.
        facts: what belongs to the weights.
        config: configuration of the run.
        run: the run folder; None: only the encoder is at hand.
        licence: SPDX identifier of the licence of the weights; None: not stated.
    """
    parts = [
        f"---\n{yaml.safe_dump(_head(licence), sort_keys=False)}---",
        f"# {name}",
        _lead(facts),
        "## Use",
        _use(name, facts),
        "## Training",
        _table(("", ""), _training(facts, config, run)),
        "## What it reads from videos",
        *_probe(run),
        "## Intended use and limits",
        _LIMITS,
        "## Licence",
        _licence(licence),
        "## Citation",
        f"The method is that of this paper:\n\n```bibtex\n{CITATION}\n```",
        _origin(facts),
    ]
    return "\n\n".join(parts) + "\n"


def data_name(spec: str) -> str:
    """Name of the data of a run without the folder that it lay in."""
    name, fold = data_and_fold(spec)
    return f"{name}, fold {fold}" if fold else name


def _head(licence: str | None) -> dict[str, Any]:
    head: dict[str, Any] = {
        "library_name": "bodvcl",
        "pipeline_tag": "feature-extraction",
        "tags": ["video", "self-supervised-learning", "contrastive-learning", "koopman"],
    }
    if licence is not None and licence.lower() in HUB_LICENCES:
        head["license"] = licence.lower()
    elif licence is not None:
        head |= {"license": "other", "license_name": licence}
    return head


def _lead(facts: EncoderFacts) -> str:
    clip = facts.clip
    span = GEOMETRY[facts.model.backbone].frames_per_feature
    rate = "" if clip.fps is None else f" at {clip.fps:g} frames per second"
    return (
        f"A video encoder, trained without labels: {method_title(facts.method, facts.decouple)} with the "
        f"backbone {facts.model.backbone}. It maps a clip of {clip.frames} frames of {clip.size} x "
        f"{clip.size} pixels, every {_ordinal(clip.stride)} frame of a video{rate}, to one feature per "
        f"{'frame' if span == 1 else f'{span} frames'}."
    )


def _ordinal(number: int) -> str:
    if number == 1:
        return "single"
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _use(name: str, facts: EncoderFacts) -> str:
    return f"""Install bodvcl with its extra `export` (`pip install '.[export]'` in a clone of its code).

```python
import torch
from bodvcl.hub import VideoEncoderModel

encoder = VideoEncoderModel.from_pretrained("{name}")  # this folder, or OWNER/NAME on the Hub
frames = torch.randint(0, 256, ({facts.clip.frames}, 240, 320, 3), dtype=torch.uint8)  # yours instead: RGB
with torch.inference_mode():
    clips = encoder.prepare(frames)           # cut to the centre, resized and normalised
    features = encoder(clips)                 # (1, T, D): one feature per time step
    vector = encoder.pooled(clips)            # (1, 2 D): mean and deviation over time
    static, dynamic = encoder.streams(clips)  # (1, M) each: what is shown, and how it moves
```

`clips` are normalised as `(rgb - {facts.clip.mean:g}) / {facts.clip.std:g}` with RGB in [0, 1]."""


def _training(facts: EncoderFacts, config: TrainConfig, run: RunFolder | None) -> Iterable[tuple[str, str]]:
    summary: Mapping[str, Any] = {} if run is None else run.summary
    yield "data", data_name(config.data)
    if "training videos" in summary:
        yield "videos trained on", f"{summary['training videos']:,}"
    elif "videos" in summary:
        yield "videos found in the data, those for the probe among them", f"{summary['videos']:,}"
    yield "method", method_title(facts.method, facts.decouple)
    yield "backbone", facts.model.backbone
    yield "started from", facts.model.weights or "random weights"
    clip = facts.clip
    yield "clip", f"{clip.frames} frames, stride {clip.stride}, {clip.size} x {clip.size} pixels"
    yield "epochs", str(config.epochs)
    yield "steps", f"{facts.step:,}"
    yield "videos per step", f"{config.batch_size}, {config.clip.views} clips of each"
    per = f" for {config.optim.lr_per} videos" if config.optim.lr_per else ""
    yield "optimiser", f"{config.optim.name}, learning rate {config.optim.lr:g}{per}"
    yield "precision", config.precision
    yield "seed", str(config.seed)
    for key, title in (("device", "device"), ("seconds", "seconds of training"), ("finished", "finished")):
        if key in summary:
            yield title, str(summary[key])


def _probe(run: RunFolder | None) -> list[str]:
    rows = [row for row in ([] if run is None else run.probe) if not row.get("skipped")]
    backbone = [row for row in rows if row["features"] == "backbone"]
    if not backbone:
        return ["The run holds no results of a probe, so what the features tell was not measured here."]
    by_kind = {(row["features"], row["semantic"]): row for row in rows}
    kinds = [kind for kind in STREAMS if any(key[0] == kind for key in by_kind)]
    lines = []
    for row in backbone:
        shares = [by_kind.get((kind, row["semantic"]), {}).get("pretrained") for kind in kinds]
        gain = f"{signed(row['gain'])} ± {percent(row['gain_margin'])}"
        semantic = f"{row['semantic']} ({row['kind']})" if row.get("kind") else str(row["semantic"])
        accuracies = map(percent, [row["chance"], row["untrained"], *shares])
        lines.append([semantic, str(row["train"]), str(row["test"]), *accuracies, gain])
    head = ["semantic", "training videos", "test videos", "chance", "untrained", *kinds, "gain"]
    return [
        "Accuracy in percent of a linear classifier (ridge) on the frozen features of the run's own data, "
        "measured at the end of the training. `untrained` is the backbone before the training, `gain` that "
        "of the backbone over it with its 95% interval. A gain smaller than its ± may be chance.",
        _table(head, lines),
    ]


_LIMITS = """\
The features are meant for search among videos, for grouping them, and as a start for training with labels.
The encoder is no classifier, and it was not made to recognise persons.

It was trained on the data above and on clips of that length, size and rate. How well its features serve
other kinds of videos was not measured, unless the table above says so. Whatever is one-sided in the training
videos is in the features, too; this was not examined."""


def _licence(licence: str | None) -> str:
    if licence is None:
        return "Whoever exported these weights stated no licence. Ask them before you use the weights."
    return f"{licence}, as stated by whoever exported the weights. The code of bodvcl has its own licence."


def _origin(facts: EncoderFacts) -> str:
    commit = code_commit()
    return (
        f"Trained with bodvcl {facts.version}; exported, and this card written from the run, by bodvcl "
        f"{bodvcl.__version__}{f', commit {commit}' if commit else ''}."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def run_folder_of(path: Path) -> Path | None:
    """The run folder that a checkpoint lies in; None: only the encoder is at hand.

    Args:
        path: the folder itself, or its ``checkpoint/encoder.pt``.
    """
    folder = path if path.is_dir() else path.absolute().parent.parent
    of_run = path.is_dir() or folder / ENCODER == path.absolute()
    return folder if of_run and (folder / "config.yaml").is_file() else None
