"""Checkpoints: atomic, complete, and refused where they do not belong."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

import bodvcl
from bodvcl.config.parse import dump_yaml, validate
from bodvcl.config.schema import LogConfig, ModelConfig, TrainConfig
from bodvcl.data.files.video_list import VideoList, difference
from bodvcl.engine.finite import not_finite, some
from bodvcl.engine.ranks import Ranks
from bodvcl.errors import CheckpointError, ConfigError
from bodvcl.models.encoder import VideoEncoder, build_encoder
from bodvcl.runs.folder import write_atomically

FORMAT = 1
LAST = Path("checkpoint") / "last.pt"
ENCODER = Path("checkpoint") / "encoder.pt"

_CHANGED_BY_STEPS = ("learner", "optimizer", "scaler")
_MUST_MATCH = (
    *("method", "moco", "byol", "swav", "dualvar", "hdc"),
    *("decouple", "data", "seed", "batch_size", "clip", "model", "shapes", "digits"),
)
_NEVER_MATTER = (
    "run_dir",
    "resume",
    "resume_with_other_videos",
    "dry_run",
    "config",
    "max_steps",
    "workers",
    "decode",
    "device",
    "log",
    "shapes.cache",
    "digits.cache",
)


class NotFinite(CheckpointError):
    """A state that holds NaN or infinities is not written.

    Attributes:
        names: of the values that are not finite.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        super().__init__(f"{path} is not written: {some(names)} not finite")
        self.names = names


def checkpoint_state(
    step: int,
    config: TrainConfig,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    ranks: Ranks,
    videos: VideoList | None = None,
) -> dict[str, Any]:
    """What a checkpoint holds: weights, buffers, optimiser, loss scale, random states, step, configuration.
    It is the same on every rank but for the random states. Tensors are the run's own: a step changes them.

    The data position is the step: order and draws are functions of (seed, epoch, position) and of the list
    of videos, which is kept, too; None: of videos that are a function of the configuration.
    """
    return {
        "format": FORMAT,
        "version": bodvcl.__version__,
        "step": step,
        "config": dump_yaml(config),
        "learner": learner.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "random": _random_states(),
        "world_size": ranks.size,
        "videos": None if videos is None else videos.dump(),
    }


def save_checkpoint(run_dir: Path, state: Mapping[str, Any]) -> Path:
    """Write a :func:`checkpoint_state` to ``checkpoint/last.pt``; rank 0 calls it.

    Raises:
        NotFinite: the state holds NaN or infinities; the previous checkpoint is untouched.
        CheckpointError: the disk is full or cannot be written; the previous checkpoint is untouched.
    """
    return _write(run_dir / LAST, state)


def saved_step(run_dir: Path) -> int | None:
    """Steps done in the run's ``checkpoint/last.pt``; None where there is none, or it cannot be read."""
    try:
        return int(_read(run_dir / LAST, torch.device("cpu"))["step"])
    except CheckpointError:
        return None


def load_checkpoint(
    run_dir: Path,
    config: TrainConfig,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    ranks: Ranks,
    device: torch.device,
    videos: VideoList | None = None,
) -> tuple[int, list[str]]:
    """Restore what :func:`save_checkpoint` wrote, in place; every rank reads the file.

    The number of ranks may be another. Random states are those of rank 0 before; other ranks draw theirs anew
    from seed, rank and step. ``videos`` are those that the run would go on with; the same ones at another
    place are accepted.

    Returns:
        The number of steps done, and one line per option that differs from the checkpoint's without making it
        another run (a new learning rate, say).

    Raises:
        CheckpointError: unreadable, or made by a run whose data, clips, model or method were others, or with
            other videos, unless ``config.resume_with_other_videos``.
    """
    path = run_dir / LAST
    state, changed = read_checkpoint(run_dir, config, device, listed=videos is not None)
    changed += _other_videos(path, state, config, videos)
    try:
        learner.load_state_dict(state["learner"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not fit this configuration ({_first_line(error)}): "
            "continue with the version that wrote it, or start a new run with another --run-dir"
        ) from error
    if scaler.is_enabled() and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    step = int(state["step"])
    if ranks.first:
        _restore_random_states(state["random"])
    else:
        seed_rank(config.seed, ranks.rank, step)
    if state["world_size"] != ranks.size:
        changed.append(f"processes were {state['world_size']}, now {ranks.size}")
    return step, changed


def read_checkpoint(
    run_dir: Path, config: TrainConfig, device: torch.device, listed: bool
) -> tuple[dict[str, Any], list[str]]:
    """The state in ``checkpoint/last.pt``, and one line per option that may differ from its own and does.

    Args:
        run_dir: folder of the run.
        config: that the run would go on with.
        device: where its tensors are wanted.
        listed: whether the videos are listed, so that the list decides and not how the data are named.

    Raises:
        CheckpointError: unreadable, not finite, or made by a run whose data, clips, model or method were
            others.
    """
    path = run_dir / LAST
    state = _read(path, device)
    if not state.keys() >= {"step", "config", *_CHANGED_BY_STEPS}:
        raise CheckpointError(
            f"{path} holds no state of a training run; copy a step-*.pt or epoch-*.pt over it"
        )
    if broken := not_finite({part: state[part] for part in _CHANGED_BY_STEPS}):
        raise CheckpointError(
            f"{path} cannot be continued from: {some(broken)} not finite; copy an earlier checkpoint over it "
            "(step-*.pt or epoch-*.pt, where there are any), or start a new run with another --run-dir"
        )
    listed = listed and bool(state.get("videos"))  # older versions kept no list
    different, changed = compare_configs(state["config"], config, may_change=("data",) if listed else ())
    if different:
        raise CheckpointError(
            f"{path} belongs to another configuration ({'; '.join(different)}): "
            "drop these options to continue that run, or start a new one with another --run-dir"
        )
    return state, changed


def _other_videos(
    path: Path, state: Mapping[str, Any], config: TrainConfig, videos: VideoList | None
) -> list[str]:
    if videos is None or not state.get("videos"):
        return []
    found = difference(VideoList.load(state["videos"]), videos)
    if found is None:
        return []
    if not config.resume_with_other_videos:
        raise CheckpointError(
            f"{path} was trained on other videos: {found}; put the files back, go on with what is there now "
            "(--resume-with-other-videos), or start a new run with another --run-dir"
        )
    return [f"the videos: {found}"]


def keep_checkpoint(run_dir: Path, step: int, log: LogConfig, steps_per_epoch: int) -> None:
    """Give the checkpoint that was just written further names, so that later ones do not replace it.

    ``step-<n>.pt`` for the newest ``log.keep_last`` (where that is more than 1), ``epoch-<n>.pt`` for good
    every ``log.keep_every`` epochs. To go back to one, copy it over ``last.pt``.
    """
    last = run_dir / LAST
    epoch, rest = divmod(step, steps_per_epoch)
    if log.keep_every is not None and rest == 0 and epoch and epoch % log.keep_every == 0:
        _link(last, last.with_name(f"epoch-{epoch:04d}.pt"))
    if log.keep_last > 1:
        _link(last, last.with_name(f"step-{step:08d}.pt"))
        for old in sorted(last.parent.glob("step-*.pt"))[: -log.keep_last]:
            old.unlink()


def seed_rank(seed: int, rank: int, step: int) -> None:
    """Seed PyTorch's generators for the draws of one rank (dropout, shuffles) from a step on."""
    torch.manual_seed(hash((seed, rank, step)) % 2**63)


def compare_configs(
    saved_yaml: str, config: TrainConfig, may_change: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """What differs between a checkpoint's configuration and this one: (makes it another run, may change).

    Args:
        saved_yaml: configuration in the checkpoint.
        config: this one.
        may_change: options that would make it another run, and do not here.
    """
    saved, now = _flat(yaml.safe_load(saved_yaml)), _flat(yaml.safe_load(dump_yaml(config)))
    different, changed = [], []
    for key in sorted(saved.keys() | now.keys()):
        top = key.partition(".")[0]
        if saved.get(key) == now.get(key) or key in _NEVER_MATTER or top in _NEVER_MATTER:
            continue
        line = f"{key} was {saved.get(key)}, now {now.get(key)}"
        (different if top in _MUST_MATCH and top not in may_change else changed).append(line)
    return different, changed


def save_encoder(run_dir: Path, step: int, config: TrainConfig, encoder: VideoEncoder) -> Path:
    """Write ``checkpoint/encoder.pt``: what another program needs to use the encoder, and nothing else.

    Raises:
        NotFinite: weights or statistics are NaN or infinite; an earlier file is untouched.
        CheckpointError: the disk is full or cannot be written; an earlier file is untouched.
    """
    return _write(
        run_dir / ENCODER,
        {
            "format": FORMAT,
            "version": bodvcl.__version__,
            "step": step,
            "config": dump_yaml(config),
            "folder": _current_folder(),
            "model": dataclasses.asdict(config.model),
            "encoder": {name: t.cpu() for name, t in encoder.state_dict().items()},
        },
    )


def load_encoder(path: Path | str, device: torch.device | str = "cpu") -> VideoEncoder:
    """An encoder in evaluation mode from ``encoder.pt`` or from a run folder.

    Raises:
        CheckpointError: as :func:`load_run`.
    """
    return load_run(path, device)[0]


def load_run(path: Path | str, device: torch.device | str = "cpu") -> tuple[VideoEncoder, TrainConfig]:
    """The encoder, in evaluation mode, and the configuration of the run that trained it.

    Args:
        path: ``encoder.pt`` or a run folder.
        device: where the encoder is wanted.

    Raises:
        CheckpointError: no such file, not one of ours, or the training state ``last.pt``.
    """
    file, state = _read_encoder(Path(path), torch.device(device))
    try:
        config = validate(yaml.safe_load(str(state["config"])))
    except (ConfigError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{file} was written by bodvcl {state['version']} with options that bodvcl {bodvcl.__version__} "
            f"does not have: {_first_line(error)}"
        ) from error
    try:
        encoder = build_encoder(ModelConfig(**state["model"]))
        encoder.load_state_dict(state["encoder"])
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{file} was written by bodvcl {state['version']} and does not fit the encoder of bodvcl "
            f"{bodvcl.__version__} ({_first_line(error)}): use it with the version that wrote it"
        ) from error
    return encoder.to(device).eval(), config


def training_folder(path: Path) -> Path | None:
    """The folder from which the run was started, by which relative paths of its configuration go.

    Args:
        path: as :func:`load_run` takes it.

    Returns:
        None where the checkpoint does not say: one of an older version, or a training whose current folder
        was removed.

    Raises:
        CheckpointError: as :func:`load_run`.
    """
    folder = _read_encoder(path, torch.device("cpu"))[1].get("folder")
    return None if folder is None else Path(folder)


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return None


def _read_encoder(path: Path, device: torch.device) -> tuple[Path, dict[str, Any]]:
    """The file of an encoder, and what is in it."""
    file = path / ENCODER if path.is_dir() else path
    if path.is_dir() and not file.exists():
        training = (path / LAST).exists()
        raise CheckpointError(
            f"no encoder in {path}: its training was not finished or stopped properly; continue it with: "
            f"bodvcl train --resume --run-dir {shlex.quote(str(path))}"
            if training
            else f"no checkpoint at {file}; expected the folder of a run, or an encoder.pt"
        )
    state = _read(file, device)
    if "model" not in state:
        raise CheckpointError(
            f"{file} holds the state of a training run, not an encoder; give the run folder or its {ENCODER}"
        )
    if missing := [name for name in ("config", "version", "encoder") if name not in state]:
        raise CheckpointError(f"{file} is not a bodvcl checkpoint: it has no {' and no '.join(missing)}")
    return file, state


def _link(existing: Path, name: Path) -> None:
    name.unlink(missing_ok=True)
    try:
        os.link(existing, name)
    except OSError:  # a file system without hard links
        shutil.copyfile(existing, name)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__


def _write(path: Path, state: Mapping[str, Any]) -> Path:
    if broken := not_finite(state):
        raise NotFinite(path, broken)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "the disk is full" if full else (error.strerror or str(error))
        kept = "the previous checkpoint is intact" if path.exists() else "there is no earlier one"
        raise CheckpointError(
            f"cannot write {path} ({buffer.tell() / 1e6:.1f} MB): {why}; {kept}; "
            "make room and continue with --resume"
        ) from error
    return path


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}") from error
    except EOFError as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint (it ends too early, or is empty)"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is not a readable checkpoint ({reason})") from error
    except Exception as error:  # of the unpickler, which takes any bytes for its instructions
        raise CheckpointError(
            f"{path} is not a readable checkpoint (damaged, or another kind of file)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("format"), int) and state["format"] != FORMAT:
        raise CheckpointError(
            f"{path} is a checkpoint of format {state['format']}, written by bodvcl "
            f"{state.get('version', '(unknown)')}; bodvcl {bodvcl.__version__} reads format {FORMAT}"
        )
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a bodvcl checkpoint of format {FORMAT}")
    return state


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in states["cuda"]][: torch.cuda.device_count()])


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
