"""What the comparison trains: data sets and named variants, each a list of options of ``bodvcl train``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """A variant of the training: options of ``bodvcl train``."""

    options: tuple[str, ...] = ()


_KEPT = ("--decode.keep", "1", "--augment.mix", "0")

DATA: dict[str, tuple[str, ...]] = {
    "shapes": ("--data", "shapes", "--shapes.correlation", "sc", *_KEPT),
    "digits": ("--data", "digits", "--digits.correlation", "full", *_KEPT),
}
"""Built-in data, correlated in training and independent in the probe. Their videos have no scene of their
own, and none is mixed."""

PLAIN = "plain"

UNCORRELATED = ("--shapes.correlation", "none", "--digits.correlation", "none")

COMPARISON: dict[str, Variant] = {
    PLAIN: Variant(("--decouple", "none")),
    "+ L_pred": Variant(("--decouple", "pred")),
    "+ BOD-VCL": Variant(("--decouple", "bod", "--koopman.dynamic", "mean")),
    "+ BOD-VCL, std": Variant(("--decouple", "bod", "--koopman.dynamic", "std")),
    "plain, uncorrelated": Variant(("--decouple", "none", *UNCORRELATED)),
}
"""The method without and with its parts, with the dynamic stream of the paper and with its standard deviation
over time, all with the same number of steps; and the plain method on data without correlations, which shows
what decoupling could recover."""

MIXED = "plain, scenes exchanged"
MIXED_BOD = "+ BOD-VCL, scenes exchanged"

OWN: dict[str, Variant] = {
    PLAIN: Variant(("--decouple", "none", "--augment.mix", "0")),
    "+ L_pred": Variant(("--decouple", "pred", "--augment.mix", "0")),
    "+ BOD-VCL": Variant(("--decouple", "bod", "--augment.mix", "0")),
    MIXED: Variant(("--decouple", "none", "--augment.mix", "1")),
    MIXED_BOD: Variant(("--decouple", "bod", "--augment.mix", "1")),
}
"""For videos of one's own: the method without and with its parts, and without and with scenes exchanged
between videos, which videos with a scene of their own need (docs/findings.md). The last is the default."""

SEARCH: dict[str, Variant] = {
    PLAIN: Variant(("--decouple", "none")),
    "default": Variant(),
    "hard mask": Variant(("--koopman.mask", "hard", "--koopman.ridge", "0")),
    "hard mask, xi 0.3": Variant(("--koopman.mask", "hard", "--koopman.ridge", "0", "--koopman.xi", "0.3")),
    "smooth, power 2": Variant(("--koopman.smooth-power", "2")),
    "smooth, power 32": Variant(("--koopman.smooth-power", "32")),
    "ridge 0.001": Variant(("--koopman.ridge", "0.001")),
    "ridge 0.1": Variant(("--koopman.ridge", "0.1")),
    "ridge 1": Variant(("--koopman.ridge", "1")),
    "rank 3": Variant(("--koopman.ridge", "0", "--koopman.rank", "3")),
    "frames not normalised": Variant(("--koopman.no-normalize",)),
    "dynamic mean": Variant(("--koopman.dynamic", "mean")),
    "static part": Variant(("--koopman.static", "part")),
    "dynamic weight 1": Variant(("--objective.dynamic-weight", "1")),
    "projector weights": Variant(("--koopman.weights", "projector")),
    "gradient gain 100": Variant(("--koopman.max-gain", "100")),
    "L_pred train": Variant(("--prediction.mode", "train")),
    "L_pred forecast": Variant(("--prediction.mode", "forecast")),
    "gamma 0.01": Variant(("--bilevel.gamma", "0.01")),
    "gamma 10": Variant(("--bilevel.gamma", "10")),
    "scope all": Variant(("--bilevel.scope", "all")),
    "single level": Variant(("--bilevel.solver", "single")),
    "clip norm 1": Variant(("--optim.clip-norm", "1")),
    "plain, no projector norm": Variant(("--decouple", "none", "--model.no-projector-norm")),
    "no projector norm": Variant(("--model.no-projector-norm",)),
}
"""BOD-VCL with one setting changed at a time, and the plain method."""

GROUPS: Mapping[str, Mapping[str, Variant]] = {"comparison": COMPARISON, "search": SEARCH}
"""Variants for built-in data; for videos of one's own the comparison is :data:`OWN`."""
