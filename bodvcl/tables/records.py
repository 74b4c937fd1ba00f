"""The measurements in a run folder or file, in one form whatever wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bodvcl.errors import DataError
from bodvcl.runs.data_names import data_and_fold
from bodvcl.runs.results import RESULTS, Fact, read_result
from bodvcl.tables.origins import Origin, origin_of

PROBE = "probe.json"
PROBED = "probe"
"""Kind of a record that was read from frozen features."""

TRAINED, TESTED = "training videos", "test videos"
"""Names of the numbers of videos among the facts of a protocol; splits of a data set differ in them."""

_OF_ONE_FOLD = re.compile(r"_split\d+$")
"""A run over all splits of a data set has the metrics of each beside their means."""

SYMBOLS = {
    "backbone": "z",
    "backbone+std": "z and its std",
    "projector": "projector",
    "static": "Z_A",
    "dynamic": "Z_M",
}
"""Kind of features to its symbol in the paper."""


@dataclass(frozen=True)
class Record:
    """One number that was measured.

    Attributes:
        place: folder or file that holds it.
        data: data set, without fold and folder.
        fold: split of the data set; empty: it has one.
        kind: how it was measured: ``finetune``, ``linear``, ``detect`` or ``probe``.
        metric: what was measured: ``top1``; of a probe ``digit, z, ridge top1``.
        value: the number; shares are in [0, 1].
        protocol: what numbers of one column must share.
        seed: seed of the evaluation, or of the pre-training if that was all.
        origin: what the encoder was before.
        commit: commit of the code; empty: not known.
    """

    place: Path
    data: str
    fold: str
    kind: str
    metric: str
    value: float
    protocol: Mapping[str, Fact]
    seed: int
    origin: Origin
    commit: str = ""


def read_records(place: Path) -> list[Record]:
    """The numbers of a run.

    Args:
        place: a folder with ``results.json`` or ``probe.json``, or a file of ``bodvcl probe --out``.

    Raises:
        DataError: there are none, or they cannot be read.
    """
    if place.is_dir() and (place / RESULTS).exists():
        return _of_result(place)
    file = place / PROBE if place.is_dir() else place
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content["rows"], list):
            raise ValueError("`rows` is no list")
        if "checkpoint" in content:
            return _of_probe_file(file, content)
        return _of_training(file, content)
    except FileNotFoundError:
        raise DataError(
            f"{place} holds neither {RESULTS} nor {PROBE}: the run has not finished, or it is no run"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} cannot be read as scores ({type(error).__name__}: {error})") from error


def _of_result(folder: Path) -> list[Record]:
    result = read_result(folder)
    data, fold = data_and_fold(result.data)
    origin = origin_of(result.checkpoint, folder, result.method, result.backbone)
    protocol = {**result.protocol, TRAINED: result.train, TESTED: result.test}
    return [
        Record(folder, data, fold, result.kind, name, value, protocol, result.seed, origin, result.commit)
        for name, value in result.metrics.items()
        if not _OF_ONE_FOLD.search(name)
    ]


def _of_training(file: Path, content: Mapping[str, Any]) -> list[Record]:
    """The probe at the end of a run."""
    config = yaml.safe_load((file.parent / "config.yaml").read_text(encoding="utf-8"))
    data, fold = data_and_fold(str(config["data"]))
    origin = origin_of(str(file.parent), file.parent)
    records = []
    for row in content["rows"]:
        if row.get("skipped"):
            continue
        protocol = _protocol(row, config["clip"], clips=1, control="none")
        metric = _metric(row, "ridge", "top1")
        records.append(
            Record(
                file.parent, data, fold, PROBED, metric, row["pretrained"], protocol, config["seed"], origin
            )
        )
    return records


def _of_probe_file(file: Path, content: Mapping[str, Any]) -> list[Record]:
    """A file of ``bodvcl probe --out``."""
    data, fold = data_and_fold(str(content["data"]))
    origin = origin_of(content["checkpoint"], file.parent)
    records = []
    for row in content["rows"]:
        if row.get("skipped"):
            continue
        facts = {"clips": content["clips_per_video"], "control": content["control"]}
        if row["probe"] == "knn":
            facts |= {"k": content["k"], "temperature": content["temperature"]}
        protocol = _protocol(row, content["clip"], **facts)
        metric = _metric(row, row["probe"], row["metric"])
        records.append(
            Record(file, data, fold, PROBED, metric, row["value"], protocol, content["seed"], origin)
        )
    return records


def _metric(row: Mapping[str, Any], probe: str, metric: str) -> str:
    features = SYMBOLS.get(row["features"], row["features"])
    return f"{row['semantic']}, {features}, {metric if probe == 'retrieval' else f'{probe} {metric}'}"


def _protocol(row: Mapping[str, Any], clip: Mapping[str, Any], **facts: Fact) -> dict[str, Fact]:
    clips = {name: clip[name] for name in ("frames", "stride", "size", "fps")}
    return {**facts, **clips, TRAINED: row["train"], TESTED: row["test"]}
