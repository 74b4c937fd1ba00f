"""The label columns that a user asked to probe, and what the user is told about them."""

from __future__ import annotations

from collections.abc import Sequence

from bodvcl.data.files.video import VideoInfo
from bodvcl.errors import ConfigError, DataError
from bodvcl.evaluate.columns import LabelChoice, choose_labels, look_alikes
from bodvcl.evaluate.several import classes_in, hint
from bodvcl.evaluate.splits import label_columns
from bodvcl.text.words import plain, suggestion

_USABLE = "a label needs two classes or more, each with videos to train and to test on"


def wanted_labels(
    videos: Sequence[VideoInfo], wanted: Sequence[str], seed: int, separator: str | None = None
) -> LabelChoice:
    """Label columns to probe, and which videos train and test.

    Args:
        videos: videos with their labels and splits.
        wanted: columns that the user named. Empty: every column that looks like a label.
        seed: seed of drawn halves.
        separator: text between several classes of a label; None: a label is one class.

    Raises:
        DataError: no column can be probed.
        ConfigError: a column that the user named does not exist, or cannot be probed.
    """
    columns = label_columns(videos)
    if not columns:
        raise DataError(
            "no video has a label; a probe needs a .csv list with label columns, a folder per class "
            "(class-folders:FOLDER), or a labelled data set by name: give it with --data"
        )
    existing = f"there are: {', '.join(map(plain, columns))}"
    for name in wanted:
        if name not in columns:
            raise ConfigError(
                f"--labels {plain(name)}: no such column{suggestion(name, columns)}; {existing}"
            )
    choice = choose_labels(videos, wanted, seed, separator)
    reasons = "; ".join(f"{plain(name)}: {why}" for name, why in choice.left_out.items())
    if wanted and choice.left_out:
        raise ConfigError(f"--labels: {reasons}; choose among other columns ({existing}): {_USABLE}")
    if not choice.labels:
        raise DataError(
            f"no label can be probed ({reasons}); {_USABLE}; --labels COLUMN probes a column although it "
            "does not look like a label"
        )
    return choice


def label_notes(choice: LabelChoice, separator: str | None = None) -> list[str]:
    """Lines for the user: columns that are left out, classes that may be meant as one, or as several."""
    lines = []
    if choice.left_out:
        lines.append(
            "columns left out, because they do not look like labels (--labels names the columns to probe):"
        )
        lines += [f"  {plain(name)}: {why}" for name, why in choice.left_out.items()]
    for name, values in choice.labels.items():
        if separator is None and (line := hint(name, values)) is not None:
            lines.append(line)
        for names in look_alikes(one for value in values for one in classes_in(value, separator)):
            lines.append(
                f"note: label {plain(name)}: {' and '.join(map(repr, names))} are written alike, "
                f"but count as {len(names)} classes"
            )
    return lines
