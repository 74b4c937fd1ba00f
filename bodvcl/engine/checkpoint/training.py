"""The state of a training, ``last.pt``: from it a run continues exactly where it was."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import bodvcl
from bodvcl.data.files.video_list import VideoList
from bodvcl.engine.checkpoint.file import FOLDER, FORMAT, LAST, first_lines, read_state, write_state
from bodvcl.engine.checkpoint.folders import folder_of
from bodvcl.engine.checkpoint.same_run import compare_settings, compare_videos
from bodvcl.engine.checkpoint.shards import Shards, read_whole
from bodvcl.engine.finite import not_finite, some
from bodvcl.engine.ranks import Ranks
from bodvcl.errors import CheckpointError
from bodvcl.ops.cut import own_part
from bodvcl.optim.layout import laid_out

Compare = Callable[[str, str, Collection[str]], tuple[list[str], list[str]]]
"""Compares the settings of two runs, as :func:`~bodvcl.engine.checkpoint.same_run.compare_settings` does."""


class Changing(NamedTuple):
    """What a step of the training changes: modules, optimiser and loss scale."""

    learner: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


def checkpoint_state(
    changing: Changing, step: int, settings: str, world_size: int, videos: VideoList | None = None
) -> dict[str, Any]:
    """What a checkpoint holds: weights, buffers, optimiser, loss scale, random states, step, configuration.

    It is the same on every rank, except for the random states and for tensors that are cut over the ranks: of
    these it holds the rank's own part. Its tensors are those of the run, which the next step changes. The
    position in the data is the step: order and random draws are functions of (seed, epoch, position) and of
    the list of videos.

    Args:
        changing: what a step changes.
        step: steps that are done.
        settings: configuration of the run, as YAML.
        world_size: number of processes.
        videos: list of the training videos; None: the configuration determines them.
    """
    return {
        "format": FORMAT,
        "version": bodvcl.__version__,
        "step": step,
        "config": settings,
        "learner": {name: own_part(t) for name, t in changing.learner.state_dict().items()},
        "optimizer": changing.optimizer.state_dict(),
        "scaler": changing.scaler.state_dict(),
        "random": _random_states(),
        "world_size": world_size,
        "videos": None if videos is None else videos.dump(),
    }


def save_checkpoint(run_dir: Path, state: Mapping[str, Any]) -> Path:
    """Write a :func:`checkpoint_state` to ``checkpoint/last.pt``. Only rank 0 calls it.

    Raises:
        NotFinite: the state contains NaN or infinities; the previous checkpoint is untouched.
        CheckpointError: the disk is full or cannot be written; the previous checkpoint is untouched.
    """
    return write_state(run_dir / LAST, state)


def saved_step(run_dir: Path) -> int | None:
    """Number of steps in the run's ``checkpoint/last.pt``; None: there is no such file, or it is damaged."""
    try:
        return int(read_state(run_dir / LAST, torch.device("cpu"))["step"])
    except CheckpointError:
        return None


def load_checkpoint(
    run_dir: Path,
    changing: Changing,
    settings: str,
    seed: int,
    ranks: Ranks,
    videos: VideoList | None = None,
    *,
    accept_other_videos: bool = False,
    shards: Shards | None = None,
    compare: Compare = compare_settings,
) -> tuple[int, list[str]]:
    """Restore in place what :func:`save_checkpoint` wrote. Every rank reads the file.

    The number of ranks may differ. Rank 0 gets its random states back; the other ranks are seeded anew from
    seed, rank and step. Videos that have moved to another folder are accepted as the same.

    Args:
        run_dir: folder of the run.
        changing: what is restored.
        settings: configuration of the run that continues, as YAML.
        seed: seed of the run.
        ranks: the processes.
        videos: list of the training videos; None: the configuration determines them.
        accept_other_videos: continue although the videos differ.
        shards: how the tensors are cut over the ranks; None: they are not. The run that saved the checkpoint
            may have cut them in another way, or not at all.
        compare: tells whether settings belong to one run.

    Returns:
        The number of steps that are done, and one line per option that has changed since then and may change
        (a new learning rate, for example).

    Raises:
        CheckpointError: the file cannot be read; its data, clips, model or method differ; its videos differ
            and ``accept_other_videos`` is False.
    """
    path = run_dir / LAST
    device = ranks.device if shards is None else torch.device("cpu")  # which has room for whole weights
    state, changed = read_checkpoint(run_dir, settings, device, videos is not None, compare)
    changed += compare_videos(path, state, videos, accept_other_videos)
    state = _own_state(path, state, ranks, shards)
    learner = state["learner"]
    try:
        changing.learner.load_state_dict(learner if shards is None else shards.placed(learner))
        changing.optimizer.load_state_dict(laid_out(state["optimizer"], changing.optimizer))
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not fit this configuration ({first_lines(error)}): "
            "continue with the version that wrote it, or start a new run with another --run-dir"
        ) from error
    if changing.scaler.is_enabled() and state["scaler"]:
        changing.scaler.load_state_dict(state["scaler"])
    step = int(state["step"])
    if ranks.first:
        _restore_random_states(state["random"])
    else:
        seed_rank(seed, ranks.rank, step)
    if state["world_size"] != ranks.size:
        changed.append(f"processes were {state['world_size']}, now {ranks.size}")
    return step, changed


def read_checkpoint(
    run_dir: Path, settings: str, device: torch.device, listed: bool, compare: Compare = compare_settings
) -> tuple[dict[str, Any], list[str]]:
    """The state in ``checkpoint/last.pt``, and one line per option that has changed and may change.

    Tensors that are in a folder beside the file are not read.

    Args:
        run_dir: folder of the run.
        settings: configuration of the run that continues, as YAML.
        device: device of the tensors.
        listed: whether the run lists its videos: then the list decides, and the name of the data may differ.
        compare: tells whether settings belong to one run.

    Raises:
        CheckpointError: the file cannot be read or is not finite; its data, clips, model or method differ.
    """
    path = run_dir / LAST
    state = read_state(path, device)
    needed = {"step", "config", *Changing._fields}
    if not state.keys() >= (needed - {"learner"} if FOLDER in state else needed):
        raise CheckpointError(
            f"{path} holds no state of a training run; copy a step-*.pt or epoch-*.pt over it"
        )
    if FOLDER in state:
        folder_of(path, state)
    _refuse_broken(path, not_finite({part: state[part] for part in Changing._fields if part in state}))
    listed = listed and bool(state.get("videos"))  # older versions kept no list
    different, changed = compare(state["config"], settings, ("data",) if listed else ())
    if different:
        raise CheckpointError(
            f"{path} belongs to another configuration ({'; '.join(different)}): "
            "drop these options to continue that run, or start a new one with another --run-dir"
        )
    return state, changed


def _own_state(path: Path, state: dict[str, Any], ranks: Ranks, shards: Shards | None) -> dict[str, Any]:
    """The state of a checkpoint in the form of this run, whole or cut."""
    if FOLDER not in state:
        return state if shards is None else shards.part_of(path, state)
    state = read_whole(path, state) if shards is None else shards.read(path, state)
    _refuse_broken(path, ranks.union(not_finite({part: state[part] for part in Changing._fields})))
    return state


def _refuse_broken(path: Path, broken: Sequence[str]) -> None:
    if broken:
        raise CheckpointError(
            f"{path} cannot be continued from: {some(broken)} not finite; copy an earlier checkpoint over it "
            "(step-*.pt or epoch-*.pt, where there are any), or start a new run with another --run-dir"
        )


def seed_rank(seed: int, rank: int, step: int) -> None:
    """Seed PyTorch's generators for the random draws of one rank (dropout, shuffles) from a step on."""
    torch.manual_seed(hash((seed, rank, step)) % 2**63)


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in states["cuda"]][: torch.cuda.device_count()])
