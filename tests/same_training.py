"""How far two trainings are apart: what two ways of summing may differ by, and a wrong term may not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def assert_same_movement(
    got: Mapping[str, Tensor],
    want: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    tolerance: float = 0.05,
) -> None:
    """Parameters, and running statistics, ended where they should, to ``tolerance`` of how far they moved.

    By norm over all of them: a rounding that sends one activation to the other side of a ReLU's kink changes
    single weights by some per cent of their movement, and the whole by far less than a wrong term would.
    """
    assert got.keys() == want.keys()
    kinds: dict[str, list[str]] = {"parameters": [], "statistics": []}
    for name, value in want.items():
        if value.is_floating_point():
            kinds["statistics" if ".running_" in name else "parameters"].append(name)
        else:
            assert torch.equal(got[name], value), name
    for kind, names in kinds.items():
        if not names:
            continue
        end, should, began = (torch.cat([t[n].double().flatten() for n in names]) for t in (got, want, start))
        apart, moved = (end - should).norm().item(), (should - began).norm().item()
        assert moved > 0, kind
        assert apart <= tolerance * moved, f"{kind}: {apart:.2e} apart after moving {moved:.2e}"
