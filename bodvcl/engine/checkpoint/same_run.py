"""Whether a checkpoint belongs to a run: the same options where they matter, and the same videos."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from bodvcl.config.saved import as_meant
from bodvcl.config.schema import TrainConfig
from bodvcl.data.files.video_list import VideoList, difference
from bodvcl.errors import CheckpointError
from bodvcl.text.words import counted

_MUST_MATCH = (
    *("method", "moco", "byol", "swav", "dualvar", "hdc"),
    *("decouple", "data", "seed", "batch_size", "clip", "model", "shapes", "digits", "scenes"),
)
"""Options that make a run another run."""
_NEVER_MATTER = (
    "run_dir",
    "resume",
    "resume_with_other_videos",
    "dry_run",
    "config",
    "fit",
    "max_steps",
    "workers",
    "decode",
    "device",
    "log",
    "shapes.cache",
    "digits.cache",
    "scenes.cache",
)
"""Options whose change is not even reported."""


def compare_settings(saved: str, now: str, may_change: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Compare the configuration in a checkpoint with that of the run to continue.

    Args:
        saved: configuration in the checkpoint, as YAML. Options that it does not have did not exist then.
        now: configuration of the run, as YAML.
        may_change: groups of options that may differ here, although they normally make it another run.

    Returns:
        Two lists of lines, one per option that differs: those that make it another run, and the others.
    """
    values = yaml.safe_load(saved)
    before = asdict(TrainConfig()), values, as_meant(values)
    return differences(before, yaml.safe_load(now), {*_MUST_MATCH} - {*may_change}, _NEVER_MATTER)


def differences(
    before: Sequence[Mapping[str, Any]],
    after: Mapping[str, Any],
    must_match: Collection[str],
    never_matter: Collection[str],
) -> tuple[list[str], list[str]]:
    """Compare two configurations.

    Args:
        before: nested values of the first; later mappings override earlier ones.
        after: nested values of the second.
        must_match: groups, and options outside of groups, that make a run another run.
        never_matter: groups and options, by their dotted names, whose change is not even reported.

    Returns:
        Two lists of lines, one per option that differs: those that make it another run, and the others.
    """
    old: dict[str, Any] = {}
    for values in before:
        old |= _flat(values)
    new = _flat(after)
    different: list[str] = []
    changed: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        top = key.partition(".")[0]
        if old.get(key) == new.get(key) or key in never_matter or top in never_matter:
            continue
        line = f"{key} was {old.get(key)}, now {new.get(key)}"
        (different if top in must_match else changed).append(line)
    return different, changed


def compare_videos(
    path: Path, state: Mapping[str, Any], videos: VideoList | None, accept_others: bool
) -> list[str]:
    """Compare the videos of a checkpoint with those of the run to continue.

    Args:
        path: file of the checkpoint, for the error message.
        state: the checkpoint.
        videos: videos of the run; None: the configuration determines them.
        accept_others: accept other videos.

    Returns:
        One line if the videos differ, or are the same at another place; else none.

    Raises:
        CheckpointError: the videos differ, and ``accept_others`` is False.
    """
    if videos is None or not state.get("videos"):
        return []
    before = VideoList.load(state["videos"])
    found = difference(before, videos)
    if found is None and before.root != videos.root:
        return [f"the videos have moved from {before.root} to {videos.root}: the same {_files(videos)}"]
    if found is None:
        return []
    if not accept_others:
        raise CheckpointError(
            f"{path} was trained on other videos: {found}; put the files back, continue with the present "
            "videos (--resume-with-other-videos), or start a new run with another --run-dir"
        )
    return [f"the videos: {found}"]


def _files(videos: VideoList) -> str:
    return f"{counted(len(videos.files), 'file')}, by their names, sizes and contents"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
