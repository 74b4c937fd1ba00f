"""What every verb that trains with several processes does around its work."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

from bodvcl.data.workers.process import default_workers
from bodvcl.engine.ranks import PeerFailed, Ranks, World, silent
from bodvcl.engine.signals import requeue
from bodvcl.errors import UserError
from bodvcl.finetune.loop import TuningOutcome
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


def stopped(verb: str, outcome: TuningOutcome, folder: Path, ranks: Ranks) -> int:
    """Say how a training with labels that a signal stopped goes on; returns the exit code.

    Args:
        verb: verb of ``bodvcl`` that continues it.
        outcome: of the training; it has a signal.
        folder: folder of the run.
        ranks: the processes; the first one requeues the job, and the others wait for it: a launcher may end
            all as soon as one has ended.
    """
    number = int(outcome.signal or 0)
    print(f"stopped at step {outcome.step} of {outcome.total}; the state is saved. Continue with:")
    print("  " + shlex.join(["bodvcl", verb, "--resume", "--run-dir", str(folder)]))
    again = ranks.tell(lambda: requeue() if number == signal.SIGUSR1 else None)
    if again is not None:
        print(again)
    return 128 + number
