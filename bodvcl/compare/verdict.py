"""What a comparison shows, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bodvcl.compare.summary import Cell, Line, ProbeRows, summarise
from bodvcl.compare.variants import MIXED, MIXED_BOD, PLAIN

FEW = 30
"""Fewer test videos tell nothing: one of them is more than three points."""

WHO: Mapping[str, str] = {
    MIXED_BOD: "BOD-VCL with exchanged scenes",
    "+ BOD-VCL, std": "BOD-VCL",
    "+ BOD-VCL": "BOD-VCL",
}
"""Variants that the sentences are about, the first that is there."""
AGAINST: Mapping[str, str] = {PLAIN: "plain", MIXED: "plain with exchanged scenes"}
"""Variants that they are compared with."""


def verdicts(runs: Mapping[Cell, Sequence[ProbeRows]]) -> list[str]:
    """A sentence for each data set, method, and variant to compare with.

    Args:
        runs: as for :func:`bodvcl.compare.summary.summarise`.
    """
    sentences = []
    for against, base in AGAINST.items():
        lines = [line for line in summarise(runs, against) if line.features == "z"]
        for data, method in dict.fromkeys((line.data, line.method) for line in lines):
            here = [line for line in lines if (line.data, line.method) == (data, method)]
            ours = next((name for name in WHO if any(line.variant == name for line in here)), None)
            chosen = [line for line in here if line.variant == ours and line.gain is not None]
            if ours is not None and chosen:
                sentences.append(f"{data}, {method}: {sentence(chosen, WHO[ours], base)}")
    return sentences


def sentence(lines: Sequence[Line], who: str, base: str) -> str:
    """What one variant reads better or worse than another.

    Args:
        lines: the variant, one line for each label; each has a gain.
        who: the variant, as the subject of the sentence.
        base: what it is compared with.
    """
    told = [(_differs(line), line) for line in lines]
    said = [f"`{line.semantic}` {word} than {base}: {_points(line)}" for word, line in told if word]
    open_ones = [f"`{line.semantic}`: {_why_not(line)}" for word, line in told if not word]
    start = f"{who} reads " if said else f"{who} and {base}: "
    return start + "; ".join([*said, *open_ones]) + "."


def _differs(line: Line) -> str:
    """Better or worse; empty: nothing is shown."""
    if _few(line) or line.gain is None or line.margin is None or abs(line.gain) <= line.margin:
        return ""
    return "better" if line.gain > 0 else "worse"


def _few(line: Line) -> bool:
    return line.tested is not None and line.tested < FEW


def _why_not(line: Line) -> str:
    if _few(line):
        return f"too few videos to tell (tested on {line.tested}; {FEW} or more are needed)"
    if line.margin is None:
        return f"one seed cannot tell ({_points(line)})"
    return f"no difference shown ({_points(line)})"


def _points(line: Line) -> str:
    gain = line.gain or 0.0
    if line.margin is None:
        return f"{gain:+.1f} points"
    return f"{gain:+.1f} points, 95% interval {gain - line.margin:+.1f} to {gain + line.margin:+.1f}"
