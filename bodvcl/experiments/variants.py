"""What the comparison trains: data sets and named variants, each a list of options of ``bodvcl train``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """Options of ``bodvcl train``, and how many times as many epochs as the others it gets."""

    options: tuple[str, ...] = ()
    epochs: int = 1


DATA: dict[str, tuple[str, ...]] = {
    "shapes": ("--data", "shapes", "--shapes.correlation", "sc"),
    "digits": ("--data", "digits", "--digits.correlation", "full"),
}
"""Built-in data, correlated in training and independent in the probe."""

PLAIN = "plain"

COMPARISON: dict[str, Variant] = {
    PLAIN: Variant(("--decouple", "none")),
    "+ L_pred": Variant(("--decouple", "pred")),
    "+ BOD-VCL": Variant(("--decouple", "bod")),
    "plain, 3x steps": Variant(("--decouple", "none"), epochs=3),
}
"""The method without and with its parts at equal steps, and the plain method at equal compute: BOD-VCL's
default solver takes three passes of the backbone a step."""

SEARCH: dict[str, Variant] = {
    PLAIN: Variant(("--decouple", "none")),
    "default": Variant(),
    "hard mask": Variant(("--koopman.mask", "hard", "--koopman.ridge", "0")),
    "hard mask, xi 0.3": Variant(("--koopman.mask", "hard", "--koopman.ridge", "0", "--koopman.xi", "0.3")),
    "smooth, power 4": Variant(("--koopman.smooth-power", "4")),
    "smooth, power 32": Variant(("--koopman.smooth-power", "32")),
    "ridge 0.1": Variant(("--koopman.ridge", "0.1")),
    "ridge 0.001": Variant(("--koopman.ridge", "0.001")),
    "rank 3": Variant(("--koopman.ridge", "0", "--koopman.rank", "3")),
    "frames not normalised": Variant(("--koopman.no-normalize",)),
    "projector weights": Variant(("--koopman.weights", "projector")),
    "L_pred train": Variant(("--prediction.mode", "train")),
    "L_pred forecast": Variant(("--prediction.mode", "forecast")),
    "gamma 0.01": Variant(("--bilevel.gamma", "0.01")),
    "gamma 1": Variant(("--bilevel.gamma", "1")),
    "first order": Variant(("--bilevel.solver", "first_order")),
    "single level": Variant(("--bilevel.solver", "single")),
    "clip norm 1": Variant(("--optim.clip-norm", "1")),
}
"""One thing changed at a time, beside the plain method."""

GROUPS: Mapping[str, Mapping[str, Variant]] = {"comparison": COMPARISON, "search": SEARCH}
