"""The results of a probe as HTML: a table with bars, and a table of the streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bodvcl.viz.html import Markup, escape, join

ProbeRow = Mapping[str, Any]


def probe_bars(rows: Sequence[ProbeRow]) -> Markup:
    """Table of the backbone rows: a bar for the untrained encoder, a bar for the pre-trained one, a dotted
    line at chance."""
    head = (
        "<tr><th>semantic</th><th>accuracy from 0 to 100%</th>"
        '<th class="n">chance</th><th class="n">untrained</th><th class="n">pre-trained</th>'
        '<th class="n">gain</th></tr>'
    )
    key = (
        '<div class="key"><span><i style="background:var(--before)"></i>untrained</span>'
        '<span><i style="background:var(--static)"></i>pre-trained, static semantic</span>'
        '<span><i style="background:var(--dynamic)"></i>pre-trained, dynamic semantic</span>'
        '<span><i class="dots"></i>chance</span></div>'
    )
    body = join(_bar_row(row) for row in rows)
    table = f'<table class="probe"><thead>{head}</thead><tbody>{body}</tbody></table>'
    return Markup(f'<div class="card">{table}{key}</div>')


def stream_table(backbone: Sequence[ProbeRow], streams: Mapping[str, Sequence[ProbeRow]]) -> Markup:
    """Table of pre-trained accuracies: the backbone beside each stream, the better stream in bold."""
    names = list(streams)
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in ("chance", "backbone", *names))
    lines = []
    for row in backbone:
        twins = [next((r for r in streams[name] if r["semantic"] == row["semantic"]), {}) for name in names]
        shares = [twin.get("pretrained") for twin in twins]
        best = max((share for share in shares if share is not None), default=None)
        cells = [_cell(row.get("chance")), _cell(row.get("pretrained"))]
        cells += [_cell(share, bold=share is not None and share == best) for share in shares]
        lines.append(f"<tr><td>{_semantic(row)}</td>{''.join(cells)}</tr>")
    return Markup(
        f'<div class="card"><table><thead><tr><th>semantic</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def percent(share: float | None) -> str:
    """A share in percent with one decimal; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f}"


def signed(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def _bar_row(row: ProbeRow) -> Markup:
    if row.get("skipped"):
        return Markup(
            f'<tr><td class="wide">{_semantic(row)}</td>'
            f'<td class="wide" colspan="5"><small>skipped: {escape(row["skipped"])}</small></td></tr>'
        )
    gain, margin = row["gain"], row["gain_margin"]
    verdict = "" if abs(gain) <= margin else "good" if gain > 0 else "bad"
    counts = f"{row['classes']} classes, {row['test']} test videos"
    return Markup(
        f'<tr class="{_kind(row)}"><td class="wide">{_semantic(row)}<br><small>{escape(counts)}</small></td>'
        f'<td class="wide">{_bars(row)}</td>'
        f'<td class="n" data-name="chance">{percent(row["chance"])}</td>'
        f'<td class="n" data-name="untrained">{percent(row["untrained"])}</td>'
        f'<td class="n" data-name="pre-trained"><b>{percent(row["pretrained"])}</b></td>'
        f'<td class="n" data-name="gain"><span class="{verdict}">{signed(gain)}</span>'
        f" <small>± {100 * margin:.1f}</small></td></tr>"
    )


def _bars(row: ProbeRow) -> Markup:
    alt = (
        f"{row['semantic']}: untrained {percent(row['untrained'])}%, "
        f"pre-trained {percent(row['pretrained'])}%, chance {percent(row['chance'])}%"
    )
    pieces = "".join(
        f'<i class="bar {style}" style="width:{100 * row[which]:.2f}%"></i>'
        f'<i class="range {style}-range" style="left:{100 * row[which + "_low"]:.2f}%;'
        f'width:{100 * (row[which + "_high"] - row[which + "_low"]):.2f}%"></i>'
        for which, style in (("untrained", "was"), ("pretrained", "is"))
    )
    chance = f'<i class="chance" style="left:{100 * row["chance"]:.2f}%"></i>'
    return Markup(f'<div class="bars" role="img" aria-label="{escape(alt)}">{pieces}{chance}</div>')


def _semantic(row: ProbeRow) -> Markup:
    kind = row.get("kind")
    badge = f' <span class="kind {_kind(row)}">{escape(kind)}</span>' if kind else ""
    return Markup(f"<b>{escape(row['semantic'])}</b>{badge}")


def _kind(row: ProbeRow) -> str:
    return row["kind"] if row.get("kind") in ("static", "dynamic") else "other"


def _cell(share: float | None, bold: bool = False) -> Markup:
    text = percent(share)
    return Markup(f'<td class="n">{f"<b>{text}</b>" if bold else text}</td>')
