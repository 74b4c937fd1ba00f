"""Which CUDA cards the kernels of a build can run on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import torch


class Card(NamedTuple):
    """A visible GPU: its name and its compute capability (major, minor)."""

    name: str
    capability: tuple[int, int]


def serves(archs: Iterable[str], capability: tuple[int, int]) -> bool:
    """Whether code that was built for ``archs`` runs on a card of this compute capability.

    Machine code runs on cards of its major version from its minor version on, PTX on all newer cards, and
    code for ``90a`` or the like on that capability only (CUDA C++ Programming Guide, "Compute Capability").

    Args:
        archs: as in ``CMAKE_CUDA_ARCHITECTURES``: "80-real", "90-virtual", or "120", which is both.
        capability: (major, minor) of the card.
    """
    for arch in archs:
        found = re.fullmatch(r"(\d+)(\d)([a-z]?)(-real|-virtual)?", arch)
        if found is None:
            continue
        built, special, kind = (int(found[1]), int(found[2])), found[3], found[4]
        if special:
            fits = built == capability
        else:
            machine_code = kind != "-virtual" and built[0] == capability[0] and built[1] <= capability[1]
            fits = machine_code or (kind != "-real" and built <= capability)
        if fits:
            return True
    return False


def why_not_cards(archs: Iterable[str], cards: Iterable[Card]) -> str:
    """Why a build for ``archs`` cannot be used beside these cards; "" where it runs on all of them."""
    archs = tuple(archs)
    for card in cards:
        if not serves(archs, card.capability):
            number = "".join(map(str, card.capability))
            return (
                f"{card.name} (sm_{number}) is not among the cards of this build ({', '.join(archs)}): build "
                f"with CMAKE_CUDA_ARCHITECTURES={number}-real, or hide the card with CUDA_VISIBLE_DEVICES"
            )
    return ""


@cache
def visible_cards() -> tuple[Card, ...]:
    """The GPUs that PyTorch sees; asked once, because it starts CUDA."""
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(Card(card.name, (card.major, card.minor)) for card in found)
