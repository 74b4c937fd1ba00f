"""Warnings from the logged values of a run, each with its remedy. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

WINDOW = 20
"""Number of logged lines that a finding is based on, so that one bad batch is no finding."""
HISTORY = 3 * WINDOW
"""Number of logged lines that the checks need."""
EMPTY = 0.5
"""Largest share of clips with an empty stream that is accepted. With an untrained encoder, about one clip
in ten has no static eigenvalue. Where most clips have none, the loss of that stream says little."""
COLLAPSED = 0.99
"""Mean cosine between embeddings of different videos above which they count as collapsed to one point."""
LOW_RANK = 1.5
"""Effective rank of the embeddings of a stream, at most min(batch, M), below which they lie on a line."""
SAME_STREAMS = 0.9
"""Mean cosine between Z_A and Z_M of a clip above which both streams count as the same. Measured on the
built-in data: 0.0 with the default ridge of 0.01, 0.97 and 0.98 with 0.3, 0.99 with 1."""
SHARED = 0.55
"""Share of the clips with the same nearest video in both streams above which the dynamic stream counts as
holding what the static one holds. Measured on the built-in scenes, in the last 100 steps of 384 with 32
videos a step, five seeds: 0.59 to 0.66 where both streams held the scene, 0.41 to 0.48 where the dynamic one
held the motion, and 0.43 to 0.52 on the same videos without scenes."""
OFF_CIRCLE = 0.9
"""Mean distance of the eigenvalues to the unit circle above which nearly all are 0: a frame does not predict
the next. Noise and the ridge also increase it: 0.6 in runs on the built-in data."""
LOWER_RISES = 2.0
"""Growth of L_pred from one window to the next, while the upper loss falls, above which the upper level
dominates. The first window is ignored: the frames of an untrained network are nearly equal, so L_pred starts
near 0 and rises as features appear."""
WAITS = 0.5
"""Share of the time spent waiting for data above which decoding limits the speed."""
SKIPS = 0.2
"""Largest share of skipped float16 steps in a window that is accepted. A good loss scale skips one step in
thousands."""

Line = Mapping[str, float]


class Finding(NamedTuple):
    """A warning.

    Attributes:
        name: identifies the finding.
        text: what is wrong and what to change.
    """

    name: str
    text: str


def health_warnings(history: Sequence[Line]) -> list[Finding]:
    """Findings in the last lines of a log.

    Args:
        history: logged values, oldest first. The last ``WINDOW`` lines are used; with fewer there are no
            findings. Growth of the losses is checked from ``HISTORY`` lines on.
    """
    if len(history) < WINDOW:
        return []
    recent = history[-WINDOW:]
    return [
        *_empty_streams(recent),
        *_collapse(recent),
        *_spectrum(recent),
        *(_levels(history[-2 * WINDOW : -WINDOW], recent) if len(history) >= HISTORY else ()),
        *_machine(recent),
    ]


def _empty_streams(recent: Sequence[Line]) -> Iterator[Finding]:
    remedies = {
        "static": "use --koopman.mask smooth, which cannot empty it, or a larger --koopman.xi",
        "dynamic": "look at the clips with `bodvcl data show`: if they move, raise --clip.stride "
        "or lower --koopman.xi",
    }
    for stream, remedy in remedies.items():
        share = _mean(recent, f"empty_{stream}")
        if share is not None and share > EMPTY:
            yield Finding(
                f"empty_{stream}",
                f"the {stream} stream is empty for {100 * share:.0f}% of the clips: {remedy}",
            )


def _collapse(recent: Sequence[Line]) -> Iterator[Finding]:
    cosines = {k: v for k in _names(recent, "mean_cosine") if (v := _mean(recent, k)) is not None}
    least = min(cosines.values(), default=0.0)
    if least > COLLAPSED:
        yield Finding(
            "collapse",
            f"the embeddings of different videos are nearly the same (mean cosine {least:.3f}): "
            "use --model.projector-norm, lower --optim.lr, and check that a batch holds different videos",
        )
        return
    for key in _names(recent, "effective_rank"):
        rank = _mean(recent, key)
        if rank is not None and rank < LOW_RANK:
            stream = key.removeprefix("effective_rank").strip("_") or "video"
            yield Finding(
                key,
                f"the embeddings of the {stream} stream lie on a line (effective rank {rank:.2f}): "
                "lower --optim.lr, or raise --batch-size for more negatives",
            )


def _spectrum(recent: Sequence[Line]) -> Iterator[Finding]:
    alike = _mean(recent, "stream_cosine")
    if alike is not None and alike > SAME_STREAMS:
        yield Finding(
            "stream_cosine",
            f"the static and the dynamic stream are nearly the same (cosine {alike:.2f}), so nothing is "
            "decoupled: lower --koopman.ridge",
        )
    shared = _mean(recent, "shared_neighbours")
    if shared is not None and shared > SHARED:
        yield Finding(
            "shared_neighbours",
            f"for {100 * shared:.0f}% of the clips the nearest other video is the same in both streams: the "
            "dynamic stream holds what the static one does, most often the scene; use --augment.mix 1 and "
            "--koopman.dynamic std, and see what the streams hold with `bodvcl probe --streams`",
        )
    distance = _mean(recent, "circle_distance")
    if distance is not None and distance > OFF_CIRCLE:
        yield Finding(
            "circle_distance",
            f"the eigenvalues are far inside the unit circle (mean distance {distance:.2f}), one frame does "
            "not predict the next: lower --clip.stride, or raise --prediction.nu",
        )


def _levels(before: Sequence[Line], after: Sequence[Line]) -> Iterator[Finding]:
    lower_before, lower_after = _mean(before, "loss_pred"), _mean(after, "loss_pred")
    upper_before, upper_after = _mean(before, "loss"), _mean(after, "loss")
    if lower_before is None or lower_after is None or upper_before is None or upper_after is None:
        return
    if lower_after > LOWER_RISES * lower_before > 0 and upper_after < upper_before:
        yield Finding(
            "lower_rises",
            f"L_pred rises ({lower_before:.3g} to {lower_after:.3g}) while the contrastive loss falls: the "
            "upper level dominates; raise --bilevel.gamma, or lower --optim.lr",
        )


def _machine(recent: Sequence[Line]) -> Iterator[Finding]:
    wait = _mean(recent, "data_wait")
    if wait is not None and wait > WAITS:
        yield Finding(
            "data_wait",
            f"{100 * wait:.0f}% of the time is spent waiting for clips: raise --workers, decode on the GPU "
            "(--decoder), or make smaller copies with `bodvcl data transcode`",
        )
    if "skipped_steps" in recent[0] and "step" in recent[0]:
        steps = recent[-1]["step"] - recent[0]["step"]
        skipped = recent[-1]["skipped_steps"] - recent[0]["skipped_steps"]
        if steps > 0 and skipped / steps > SKIPS:
            yield Finding(
                "skipped_steps",
                f"{skipped:.0f} of the last {steps:.0f} steps overflowed float16 and were skipped: "
                "use --precision bf16, or lower --optim.lr",
            )


def _names(recent: Sequence[Line], prefix: str) -> list[str]:
    return [name for name in recent[-1] if name.startswith(prefix)]


def _mean(lines: Sequence[Line], name: str) -> float | None:
    values = [line[name] for line in lines if name in line and math.isfinite(line[name])]
    return fmean(values) if values else None
