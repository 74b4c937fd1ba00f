"""A row that is not finite is seen in the loss of its stream, never left out."""

from __future__ import annotations

import pytest
import torch
from batches import DIM, STREAMS, batch

from bodvcl.objectives.byol import BYOL
from bodvcl.objectives.moco import MoCo
from bodvcl.objectives.simclr import SimCLR
from bodvcl.objectives.swav import SwAV

OBJECTIVES = {
    "simclr": lambda: SimCLR(0.2),
    "moco": lambda: MoCo(STREAMS, DIM, 0.2, 48, 0.99),
    "byol": lambda: BYOL(STREAMS, DIM, 6, 0.99),
    "swav": lambda: SwAV(STREAMS, DIM, 0.2, 4, 0.1, 3, 0.0),
}


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", OBJECTIVES)
def test_the_loss_of_the_stream_is_no_number(method, broken):
    given = batch(views=2)
    with torch.no_grad():
        given.streams["static"][3, 2] = broken
    losses = OBJECTIVES[method]().double()(given)
    assert losses["static"].isnan()
    assert losses["dynamic"].isfinite()
