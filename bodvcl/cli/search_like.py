"""``bodvcl search --like``: the rows nearest to a row, or to a video outside the file."""

from __future__ import annotations

from bodvcl.cli.search_answer import Answer, Section, short, time_of, where
from bodvcl.errors import DataError
from bodvcl.search.asked import Asked, asked_video
from bodvcl.search.changes import file_state
from bodvcl.search.labels import label_columns, label_of, shared_labels
from bodvcl.search.options import SearchOptions
from bodvcl.search.space import Hit, Space
from bodvcl.search.weight import by_words
from bodvcl.text.tables import Listing, Row
from bodvcl.text.words import printable

TOP = 10
_COLUMNS = ("rank", "path", "time", "start", "end", "score", "appearance", "motion")
"""A label of such a name is shown as "label NAME"."""


def like(space: Space, options: SearchOptions) -> Answer:
    """The nearest rows, as a table and with their labels.

    Raises:
        DataError: no such video, it cannot be read, or it has changed since it was embedded; no other video.
        CheckpointError: the encoder is gone, or is not that of the file.
        ConfigError: the name is ambiguous.
    """
    rows = space.embeddings
    asked = asked_video(rows, options.like or "")
    hits = _hits(space, asked, options)
    if not hits:
        raise DataError(
            f"{options.file} has no other video than {printable(asked.path)}"
            + ("" if options.same_video else ": --same-video shows the other windows of it")
        )
    title = f"like {_named(space, asked)}, by {by_words(options.motion)}"
    names = {name: f"label {name}" if name in _COLUMNS else name for name in label_columns(rows)}
    listed = [
        Row(
            [str(rank), rows.paths[hit.row]],
            {"time": time_of(rows, hit.row)}
            | {name: f"{getattr(hit, name):.3f}" for name in ("score", "appearance", "motion")}
            | {shown: printable(label_of(rows, name, hit.row) or "") for name, shown in names.items()},
        )
        for rank, hit in enumerate(hits, start=1)
    ]
    columns = ("time", "score", "appearance", "motion", *names.values())
    lines = [] if asked.row is None else _shared(space, asked.row, hits)
    records = [
        {"rank": rank, **where(rows, hit.row), "score": hit.score, "appearance": hit.appearance}
        | {"motion": hit.motion, **{shown: label_of(rows, name, hit.row) for name, shown in names.items()}}
        for rank, hit in enumerate(hits, start=1)
    ]
    return Answer(
        title,
        [Listing(title, ("", "path"), columns, listed), *lines],
        records,
        _sections(space, asked, hits, lines),
    )


def _hits(space: Space, asked: Asked, options: SearchOptions) -> list[Hit]:
    rows, top = space.embeddings, options.top or TOP
    if asked.row is not None:
        if file_state(rows, asked.row) == "changed":
            raise DataError(
                f"--like {printable(asked.path)}: the file has changed since it was embedded; "
                "run bodvcl embed again"
            )
        return space.near_row(asked.row, options.motion, top, same_video=options.same_video)

    from bodvcl.embed.query import embed_query

    vectors = embed_query(
        asked.path, rows.about, checkpoint=options.checkpoint, seconds=asked.seconds, device=options.device
    )
    own = space.rows_of(asked.video) if asked.video is not None and not options.same_video else None
    return space.near(space.query(vectors), options.motion, top, own)


def _named(space: Space, asked: Asked) -> str:
    if asked.row is None or space.embeddings.about.window is None:
        return printable(asked.path) + ("" if asked.seconds is None else f" at {asked.seconds:g} s")
    return f"{printable(asked.path)} {time_of(space.embeddings, asked.row)}"


def _shared(space: Space, row: int, hits: list[Hit]) -> list[str]:
    """How many of the hits share each label of the query."""
    shared = shared_labels(space.embeddings, row, [hit.row for hit in hits])
    return [
        f"same {printable(name)} as the query ({printable(label_of(space.embeddings, name, row) or '')}): "
        f"{count} of {known}"
        for name, (count, known) in shared.items()
    ]


def _sections(space: Space, asked: Asked, hits: list[Hit], lines: list[str]) -> list[Section]:
    rows = space.embeddings
    found = []
    for hit in hits:
        cosines = f"appearance {hit.appearance:.2f}, motion {hit.motion:.2f}"
        found.append((hit.row, f"{short(rows, hit.row)}: {hit.score:.3f} ({cosines})"))
    sections = [Section("The nearest", "; ".join(lines), found)]
    if asked.row is not None:
        sections.insert(0, Section("Query", printable(asked.path), [(asked.row, short(rows, asked.row))]))
    return sections
