"""The data sets of a sweep: ``{ucf101@1}`` in its options becomes what --data gave for that name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bodvcl.errors import ConfigError

_PLACE = re.compile(r"\{(?P<name>[a-z0-9_]+(?:@\w+)?)\}")
_OTHERS = {"run", "own", "checkpoint"}
DATASETS = Path("datasets")
"""Folder in which a data set is looked for that --data does not give: datasets/NAME, as the recipes do."""


class Places:
    """Data sets by name.

    Args:
        given: values of --data: NAME:FOLDER, NAME@SPLIT:FOLDER, or the name of a built-in data set.
    """

    def __init__(self, given: Sequence[str]) -> None:
        self._given = {spec.partition(":")[0]: spec for spec in given}
        self._used: set[str] = set()

    def missing(self, words: Iterable[str]) -> list[str]:
        """Names in ``words`` that are neither given nor in the folder ``datasets``."""
        return [name for name in _names(words) if self._find(name) is None]

    def fill(self, words: Iterable[str]) -> tuple[str, ...]:
        """The words with every data set in its place; one that is missing is expected in ``datasets``."""
        return tuple(_PLACE.sub(self._fill, word) for word in words)

    def refuse_unused(self) -> None:
        """Refuse data that nothing has used.

        Raises:
            ConfigError: names them.
        """
        unused = [spec for name, spec in self._given.items() if name not in self._used]
        if unused:
            raise ConfigError(
                f"--data {unused[0]}: nothing in this sweep takes it; give the data of every run after ` -- `"
            )

    def _fill(self, match: re.Match[str]) -> str:
        name = match["name"]
        if name in _OTHERS:
            return match[0]
        return self._find(name) or f"{name}:{DATASETS / name.partition('@')[0]}"

    def _find(self, name: str) -> str | None:
        bare, _, fold = name.partition("@")
        for key, spec in self._given.items():
            same = key == name or (not fold and key.partition("@")[0] == name)
            if same or key == bare:
                self._used.add(key)
                return spec if same else f"{name}{spec[len(key) :]}"
        folder = DATASETS / bare
        return f"{name}:{folder}" if folder.is_dir() else None


def _names(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        yield from (match["name"] for match in _PLACE.finditer(word) if match["name"] not in _OTHERS)
