"""What the experiment on scenes shows: a curve over the share of the scene, and a few sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from bodvcl.compare.summary import Line
from bodvcl.compare.variants import PLAIN
from bodvcl.experiments.scene_plan import KNOB, OURS, SUPERVISED, data_name

Z = "z"
ENOUGH = 10.0
"""Points of accuracy over the untrained network that count as learned."""


def knob_plot(lines: Sequence[Line], path: Path) -> bool:
    """Draw the accuracy of z over the share of the scene: a panel per method and semantic.

    Returns:
        Whether there was something to draw: at least two shares.
    """
    shown = [line for line in lines if line.features == Z and line.variant in KNOB]
    if len({line.data for line in shown}) < 2:
        return False
    panels = list(dict.fromkeys((line.method, line.semantic) for line in shown))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels) + 1, 2.8), squeeze=False, constrained_layout=True
    )
    for axis, (method, semantic) in zip(axes[0], panels):
        for variant, colour in zip(KNOB, ("#666666", "#0072b2")):
            chosen = sorted(
                (float(line.data.split()[1]), line)
                for line in shown
                if (line.method, line.semantic, line.variant) == (method, semantic, variant)
            )
            axis.errorbar(
                [share for share, _ in chosen],
                [line.mean for _, line in chosen],
                yerr=[line.spread or 0 for _, line in chosen],
                color=colour,
                marker="o",
                label=variant,
            )
        axis.set_title(f"{method}: {semantic}", fontsize=9)
        axis.set_xlabel("share of the scene", fontsize=8)
        axis.set_ylim(0, 105)
    axes[0][0].set_ylabel("accuracy from z, %", fontsize=8)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return True


def verdict(lines: Sequence[Line]) -> list[str]:
    """For each method and semantic: is it too hard, is it suppressed, and what does the method learn of it?

    Args:
        lines: the summary of all trainings. What is missing is not talked about.
    """
    sentences = []
    for method in dict.fromkeys(line.method for line in lines):
        of_method = [line for line in lines if line.method == method]
        semantics = dict.fromkeys(line.semantic for line in of_method if line.semantic != "scene")
        for semantic in semantics:
            found = [line for line in of_method if line.semantic == semantic]
            sentences += [f"{method}, {semantic}: {text}" for text in _of_semantic(found)]
        for kind, features in (("static", "Z_A"), ("dynamic", "Z_M")):
            line = _find(of_method, data_name(1), OURS, features, "scene")
            if line is not None:
                sentences.append(
                    f"{method}: the {kind} stream of {OURS!r} gives the scene away at {line.mean:.0f}%"
                )
    return sentences


def _of_semantic(lines: Sequence[Line]) -> Iterator[str]:
    plain = _find(lines, data_name(1), PLAIN, Z)
    taught = [line for name in SUPERVISED if (line := _find(lines, data_name(1), name, Z)) is not None]
    without = _find(lines, data_name(0), PLAIN, Z)
    ours = _find(lines, data_name(1), OURS, Z)
    if taught:
        best = max(taught, key=lambda line: line.mean)
        able = best.mean > best.untrained + ENOUGH
        what = "the network can learn it" if able else "labels do not teach it in these steps"
        yield f"{what}: {best.mean:.0f}% with labels, {best.untrained:.0f}% untrained"
    if plain is not None and without is not None:
        suppressed = without.mean > plain.mean + ENOUGH
        yield (
            f"it is {'suppressed by the scene' if suppressed else 'not suppressed by the scene'}: the plain "
            f"method learns {without.mean:.0f}% without a scene and {plain.mean:.0f}% with one"
        )
    if plain is not None and ours is not None and ours.gain is not None:
        margin = "" if ours.margin is None else f" ± {ours.margin:.0f}"
        yield f"{OURS!r} learns {ours.mean:.0f}%, {ours.gain:+.0f}{margin} points over the plain method"


def _find(
    lines: Sequence[Line], data: str, variant: str, features: str, semantic: str | None = None
) -> Line | None:
    matches = (
        line
        for line in lines
        if (line.data, line.variant, line.features) == (data, variant, features)
        and semantic in (None, line.semantic)
    )
    return next(matches, None)
