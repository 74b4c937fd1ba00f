"""Order is a function of (seed, epoch); the shares of any number of processes make the same global batch."""

from __future__ import annotations

import numpy as np
import pytest

from bodvcl.data.clips.order import check_share, epoch_order, step_videos
from bodvcl.errors import ConfigError


def test_order_is_a_permutation_that_changes_with_seed_and_epoch():
    orders = {(seed, epoch): epoch_order(seed, epoch, 50) for seed in (-1, 0, 1) for epoch in range(3)}
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == len(orders)
    np.testing.assert_array_equal(orders[0, 1], epoch_order(0, 1, 50))


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_the_shares_make_the_global_batch(world_size):
    order = epoch_order(0, 0, 20)
    for step in range(3):
        shares = [step_videos(order, step, 6, rank, world_size) for rank in range(world_size)]
        assert all(len(share) == 6 // world_size for share in shares)
        np.testing.assert_array_equal(np.concatenate(shares), order[6 * step : 6 * step + 6])


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match=r"batch of 6 .* 4 processes; .* multiple of 4, 4 or 8"):
        check_share(6, 0, 4)
    with pytest.raises(ConfigError, match="multiple of 4, 4 for example"):
        check_share(2, 0, 4)
    with pytest.raises(ValueError, match=r"rank is 2; expected 0 \.\. 1"):
        check_share(4, 2, 2)
