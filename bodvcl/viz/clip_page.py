"""The contact sheet of clips as a picture or as an HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

import numpy as np

from bodvcl.data.show import SeenVideo, drawn_lines
from bodvcl.text.words import counted, printable
from bodvcl.viz.clip_sheet import LEGEND, SheetVideo, SheetView, draw_sheet
from bodvcl.viz.sheet import png

MOST_FRAMES = 8
"""Largest number of frames of a clip on the sheet; of a longer clip, evenly spread ones are shown."""


def sheet_video(seen: SeenVideo) -> SheetVideo:
    """Pictures and text of a video for the sheet."""
    video, draws = seen.video, seen.draws
    shown = np.unique(np.linspace(0, draws.frames.shape[1] - 1, MOST_FRAMES).round().astype(int))

    def view(number: int) -> SheetView:
        top, left, height, width = draws.boxes[number].tolist()
        return SheetView(
            name=f"clip {number + 1}",
            lines=drawn_lines(video, draws, number),
            labels=[f"frame {frame}" for frame in draws.frames[number, shown].tolist()],
            before=seen.before[number, shown],
            box=(top, left, height, width),
            after=seen.after[number, shown],
        )

    rate = f", {video.fps:.4g} frames per second" if video.fps else ""
    facts = f"{video.width} x {video.height}, {counted(video.frames, 'frame')}{rate}, {video.codec}"
    return SheetVideo(printable(video.name), facts, [view(k) for k in range(len(draws.frames))])


def sheet_png(title: str, videos: Sequence[SheetVideo]) -> bytes:
    """The sheet as one PNG picture."""
    return png(draw_sheet(title, videos))


def sheet_html(title: str, videos: Sequence[SheetVideo]) -> bytes:
    """The sheet as a self-contained HTML page: one picture per video, each with a description for screen
    readers."""
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(LEGEND)}</p>"]
    for video in videos:
        picture = base64.b64encode(png(draw_sheet("", [video]))).decode()
        text = "; ".join(f"{view.name}: {', '.join(view.lines)}" for view in video.views)
        alt = html.escape(f"{video.name}, {video.facts}. {text}", quote=True)
        parts.append(f'<p><img src="data:image/png;base64,{picture}" alt="{alt}"></p>')
    style = "body { margin: 24px; background: #fefdfc; color: #30343b; font-family: sans-serif; }"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style} img {{ max-width: 100%; }}</style>\n</head>\n"
        "<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    ).encode()
