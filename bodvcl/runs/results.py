"""The result of an evaluation that trains: ``results.json`` in its run folder."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bodvcl
from bodvcl.errors import DataError
from bodvcl.runs.folder import write_atomically
from bodvcl.system.commit import code_commit

RESULTS = "results.json"
FORMAT = 1

Fact = str | int | float | bool | None


@dataclass(frozen=True)
class Result:
    """Numbers of one trained evaluation, and what they depend on.

    Attributes:
        kind: ``finetune``, ``linear`` or ``detect``.
        data: data set with its fold, as ``--data`` took it.
        checkpoint: what the weights started from; None: from scratch.
        protocol: what results of one table must share: clips and crops of the test, schedule, parts trained.
        metrics: name to value; shares are in [0, 1]. The first is the one that papers print.
        train: number of training examples.
        test: number of test examples.
        seed: seed of the run.
        seconds: time of training and test, over all resumes.
        method: how the checkpoint was pre-trained, as tables name it; empty: not known.
        backbone: name of the backbone.
        version: release of this project that wrote it.
        commit: commit of that code; empty: not known.
    """

    kind: str
    data: str
    checkpoint: str | None
    protocol: Mapping[str, Fact]
    metrics: Mapping[str, float]
    train: int
    test: int
    seed: int
    seconds: float
    method: str = ""
    backbone: str = ""
    version: str = bodvcl.__version__
    commit: str = field(default_factory=code_commit)

    def save(self, folder: Path) -> Path:
        """Write ``results.json`` into a run folder, atomically.

        Raises:
            OSError: it cannot be written.
            ValueError: a metric is not finite.
        """
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        write_atomically(folder / RESULTS, f"{json.dumps(content, indent=1, allow_nan=False)}\n".encode())
        return folder / RESULTS


def read_result(folder: Path) -> Result:
    """The result in a run folder.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = folder / RESULTS
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("it has another format")
        result = Result(**content)
        if not result.metrics or not all(math.isfinite(value) for value in result.metrics.values()):
            raise ValueError("it holds no finite metrics")
    except FileNotFoundError:
        raise DataError(f"{folder} holds no {RESULTS}: the evaluation has not finished there") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}): run the evaluation again") from error
    return result
