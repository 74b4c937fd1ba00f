"""What every verb that trains with several processes does around its work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bodvcl.data.workers.process import default_workers
from bodvcl.engine.ranks import PeerFailed, Ranks, World, silent
from bodvcl.errors import UserError
from bodvcl.system.surroundings import as_user_errors


@contextlib.contextmanager
def together(ranks: Ranks, less_memory: str) -> Iterator[None]:
    """While entered, the ranks communicate, rank 0 alone prints, and one rank reports what failed.

    Args:
        ranks: the processes.
        less_memory: what the user can do where memory runs out.

    Raises:
        UserError: on the rank that failed first.
        SystemExit: code 2, on the others.
    """
    try:
        with ranks, silent(unless=ranks.first), as_user_errors(less_memory):
            yield
    except PeerFailed:
        raise SystemExit(2) from None
    except UserError as error:
        if not ranks.speaks:
            raise SystemExit(2) from None
        if ranks.rank:
            raise type(error)(f"process {ranks.rank}: {error}") from error
        raise


def workers_of_process(workers: int | None, world: World) -> int | None:
    """Number of decoding processes for this process. Without ``--workers``: its share of the cores."""
    if workers is not None or world.local_size == 1:
        return workers
    return max(1, default_workers() // world.local_size)
