"""``bodvcl search --duplicates``, ``--outliers``, ``--clusters``: what curators of a data set look for."""

from __future__ import annotations

import warnings
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from bodvcl.cli.search_answer import Answer, Section, short, time_of, where
from bodvcl.cli.search_like import TOP
from bodvcl.embed.file import Embeddings
from bodvcl.errors import DataError
from bodvcl.search.changes import file_state
from bodvcl.search.clusters import Clusters, k_means
from bodvcl.search.duplicates import Copy, copies
from bodvcl.search.labels import agreement, label_columns, sharing
from bodvcl.search.neighbours import near_pairs, nearest
from bodvcl.search.options import SearchOptions
from bodvcl.search.outliers import outliers as far_rows
from bodvcl.search.space import Space
from bodvcl.search.weight import BY, by_words
from bodvcl.text.tables import Listing, Row
from bodvcl.text.words import counted, printable

LEAST, NEIGHBOURS, CENTRAL = 0.95, 10, 3


def duplicates(space: Space, options: SearchOptions) -> Answer:
    """Videos that are copies of another, with the one to keep.

    Raises:
        DataError: the file has one video.
    """
    rows = space.embeddings
    _refuse_one_video(rows)
    least = LEAST if options.above is None else options.above
    joint = space.joint(options.motion)
    pairs = near_pairs(joint, rows.video, least)
    found = copies(rows, pairs)
    title = f"copies by {by_words(options.motion)}, score {least:g} or more"
    groups = [(kept, list(group)) for kept, group in groupby(found, key=lambda copy: copy.kept)]
    records, listed, sections = [], [], []
    for number, (kept, group) in enumerate(groups, start=1):
        members = [(kept, "keep", None), *((copy.row, "remove", copy.score) for copy in group)]
        records += [
            {
                "group": number,
                **where(rows, row),
                "bytes": _bytes(rows, row),
                "verdict": verdict,
                "score": score,
            }
            for row, verdict, score in members
        ]
        if number > (options.top or TOP):
            continue
        listed += [
            Row(
                [str(number), rows.paths[row]],
                {
                    "bytes": "" if rows.size[row] < 0 else f"{rows.size[row]:,}",
                    "score": "" if score is None else f"{score:.3f}",
                    "": verdict,
                },
                last=row == members[-1][0],
            )
            for row, verdict, score in members
        ]
        captions = [
            (row, f"{verdict}: {short(rows, row)}" + ("" if score is None else f" ({score:.3f})"))
            for row, verdict, score in members
        ]
        sections.append(Section(f"Group {number}", "scores are those with the video to keep", captions))
    if not found:
        none = _why_none(rows, joint, least, len(pairs[0]))
        lines: list[Listing | str] = [none]
        sections.append(Section("No copies", none, []))
    else:
        lines = [Listing(title, ("", "path"), ("bytes", "score", ""), listed)]
        lines.append(
            f"{len(found):,} {'copy' if len(found) == 1 else 'copies'} in {counted(len(groups), 'group')}"
        )
        if len(groups) > (options.top or TOP):
            lines.append(
                f"the first {options.top or TOP} groups are shown; --top shows more, --out writes all"
            )
    return Answer(title, lines, records, sections, _removable(rows, found))


def _removable(rows: Embeddings, found: list[Copy]) -> list[str]:
    """Paths of copies, without those that changed, or whose file to keep changed or is gone."""
    safe = [
        rows.paths[copy.row]
        for copy in found
        if not {file_state(rows, copy.row), file_state(rows, copy.kept)} & {"changed", "missing"}
    ]
    if len(safe) < len(found):
        warnings.warn(
            f"{len(found) - len(safe):,} of {len(found):,} copies are not listed for removal: they, "
            "or the file to keep, changed since they were embedded or are gone",
            stacklevel=2,
        )
    return safe


def _why_none(rows: Embeddings, joint: NDArray[np.float32], least: float, pairs: int) -> str:
    if pairs:
        return (
            f"no copies: {counted(pairs, 'pair')} of windows with a score of {least:g} or more, "
            "but no video has all of its windows in another"
        )
    best = float(nearest(joint, rows.video, 1)[0].max())
    return (
        f"no copies: the nearest two of {counted(len(rows), 'row')} have a score of {best:.3f}, "
        f"below --above {least:g}"
    )


def outliers(space: Space, options: SearchOptions) -> Answer:
    """Rows that are far from those of other videos.

    Raises:
        DataError: the file has one video.
    """
    rows = space.embeddings
    _refuse_one_video(rows)
    neighbours = options.neighbours or NEIGHBOURS
    found = far_rows(space, options.motion, neighbours)
    title = f"outliers by {by_words(options.motion)}: mean of 1 - score with the {neighbours} nearest rows"
    shown = found[: options.top or TOP]
    listed = [
        Row(
            [str(rank), rows.paths[one.row], rows.paths[one.nearest]],
            {"time": time_of(rows, one.row), "distance": f"{one.distance:.3f}", "score": f"{one.score:.3f}"},
        )
        for rank, one in enumerate(shown, start=1)
    ]
    usual = float(np.median([one.distance for one in found]))
    records = [
        {"rank": rank, **where(rows, one.row), "distance": one.distance}
        | {"nearest": rows.paths[one.nearest], "score": one.score}
        for rank, one in enumerate(found, start=1)
    ]
    table = Listing(title, ("", "path", "nearest"), ("time", "distance", "score"), listed)
    lines = f"the median distance of all {counted(len(found), 'row')} is {usual:.3f}"
    section = Section(
        "The furthest", lines, [(one.row, f"{short(rows, one.row)}: {one.distance:.3f}") for one in shown]
    )
    return Answer(title, [table, lines], records, [section])


def clusters(space: Space, options: SearchOptions) -> Answer:
    """Clusters with their sizes, their most central rows, and how they agree with the labels.

    Raises:
        ConfigError: fewer different rows than clusters.
    """
    rows, count = space.embeddings, options.clusters or 2
    made = k_means(space, options.motion, count)
    title = f"{count} clusters by {by_words(options.motion)}"
    listed, sections = [], []
    for cluster in range(count):
        central = made.central(cluster, options.top or CENTRAL).tolist()
        size = int((made.of == cluster).sum())
        listed += [
            Row([str(cluster) if not place else "", f"{size:,}" if not place else "", rows.paths[row]], {})
            for place, row in enumerate(central)
        ]
        captions = [(row, short(rows, row)) for row in central]
        sections.append(Section(f"Cluster {cluster}", counted(size, "row"), captions))
    records = [
        {**where(rows, row), "cluster": int(made.of[row]), "distance": float(made.distance[row])}
        for row in range(len(rows))
    ]
    table = Listing(title, ("cluster", "rows", "most central"), (), listed)
    return Answer(title, [table, *_agreement(rows, made)], records, sections)


def label_agreement(space: Space, options: SearchOptions) -> Answer:
    """How often the nearest rows of other videos share each label of a row, by appearance, motion and both.

    Raises:
        DataError: no label with two values or more, or one video.
    """
    rows, count = space.embeddings, options.top or TOP
    _refuse_one_video(rows)
    near = {by: nearest(space.joint(motion), rows.video, count)[1] for by, motion in BY.items()}
    found_of = [
        (column, by, found)
        for column in label_columns(rows)
        for by, numbers in near.items()
        if (found := sharing(rows.labels[column], numbers)) is not None
    ]
    if not found_of:
        raise DataError(
            "--agreement needs labels: the rows of this file have none, or all the same; embed a .csv list "
            "with columns of labels"
        )
    cells: dict[str, dict[str, str]] = {}
    for column, by, (shared, chance) in found_of:
        cells.setdefault(column, {"chance": f"{100 * chance:.1f}"})[by] = f"{100 * shared:.1f}"
    listed = [Row([printable(column)], values) for column, values in cells.items()]
    records = [
        {"label": column, "by": by, "nearest": count, "shared": shared, "chance": chance}
        for column, by, (shared, chance) in found_of
    ]
    title = f"the {count} nearest of {counted(len(rows), 'row')} that share the label of a row, in %"
    return Answer(title, [Listing(title, ("label",), ("chance", *BY), listed)], records, [])


def _agreement(rows: Embeddings, made: Clusters) -> list[str]:
    lines = []
    for column in label_columns(rows):
        found = agreement(made.of, rows.labels[column])
        if found is not None:
            lines.append(
                f"{printable(column)}: purity {found.purity:.3f} (one cluster: {found.largest:.3f}), "
                f"normalised mutual information {found.nmi:.3f}"
            )
    return lines


def _bytes(rows: Embeddings, row: int) -> int | None:
    return int(rows.size[row]) if rows.size[row] >= 0 else None


def _refuse_one_video(rows: Embeddings) -> None:
    if (rows.video == rows.video[0]).all():
        raise DataError("the file of embeddings has one video: there is nothing to compare it with")
