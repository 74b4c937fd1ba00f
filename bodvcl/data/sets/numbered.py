"""Videos that are folders of numbered images: which names belong together, and in which order."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

_IMAGE = re.compile(r"(?P<before>.*?)(?P<number>[0-9]+)(?P<extension>\.(?:jpe?g|png))", re.IGNORECASE)
_FLOW = "flow"  # images of optical flow beside the frames, as MMAction writes them
_SIDE_NAMES = frozenset(["thumbs.db", "desktop.ini"])
_SIDE_EXTENSIONS = frozenset(
    [".csv", ".json", ".md", ".mp3", ".srt", ".txt", ".wav", ".xml", ".yaml", ".yml"]
)


class Numbered(NamedTuple):
    """The images of a folder.

    Attributes:
        pattern: name of the image with a number: ``pattern % number``.
        numbers: the numbers that there are, increasing; two or more.
    """

    pattern: str
    numbers: Sequence[int]


def numbered_images(names: Sequence[str]) -> Numbered | str:
    """The frames among the names in a folder; images of optical flow and other files do not count.

    Frames have the extension .jpg, .jpeg or .png, and names that differ only in a number before it, written
    with or without leading zeros.

    Returns:
        The images, or why there is no clear order of frames.
    """
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for match in filter(None, map(_IMAGE.fullmatch, names)):
        if not match["before"].lower().startswith(_FLOW):
            kinds[match["before"], match["extension"]].append(match["number"])
    if not kinds:
        return "no image with a number as name in it"
    if len(kinds) > 1:
        examples = " and ".join(
            f"{before}{min(kinds[before, end])}{end}" for before, end in sorted(kinds)[:2]
        )
        return f"images with several kinds of names in it, such as {examples}"
    (((before, extension), digits),) = kinds.items()
    width = min(map(len, digits))
    numbers = sorted(map(int, digits))
    if {f"{number:0{width}d}" for number in numbers} != set(digits):
        return (
            f"numbers of images are written in several ways, such as {min(digits)} and {max(digits, key=len)}"
        )
    if len(numbers) < 2:
        return "only one image in it"
    return Numbered(f"{before.replace('%', '%%')}%0{width}d{extension}", numbers)


def is_numbered(name: str) -> bool:
    """Whether a name is that of an image with a number."""
    return _IMAGE.fullmatch(name) is not None


def only_images(names: Sequence[str]) -> bool:
    """Whether nothing but images, small side files and hidden files is among the names in a folder."""
    return all(
        is_numbered(name)
        or name.startswith(".")
        or name.lower() in _SIDE_NAMES
        or os.path.splitext(name)[1].lower() in _SIDE_EXTENSIONS
        for name in names
    )
