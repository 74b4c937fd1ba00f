"""On what vectors depend, and whether those of a file are what an embedding would write."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

import bodvcl
from bodvcl.data.sets import built_in
from bodvcl.embed.file import POOLED, STATIC, STILL, About
from bodvcl.embed.options import EmbedOptions
from bodvcl.embed.vectors import Embedder
from bodvcl.system.folders import expand

_BESIDE = ("checkpoint", "step", "data", "labels")
"""Facts that vectors do not depend on: equal weights at another place make equal vectors."""

_NAMES = {
    "version": "the version of bodvcl",
    "weights": "the weights of the encoder",
    "widths": "the kinds of vectors",
    "window": "--window",
    "every": "--step",
    "clips": "the clips per row",
    "frames": "--frames",
}
"""What messages call a fact."""


def facts_of(options: EmbedOptions, embedder: Embedder) -> About:
    """What the file of an embedding says about itself, but for the labels."""
    encoder, config, clips = embedder.encoder, embedder.config, options.clips_of_a_row
    streams = STATIC in embedder.kinds
    width = {POOLED: 2 * encoder.backbone.dim, STILL: encoder.backbone.dim}
    length = encoder.backbone.frames_out(config.clip.frames)
    return About(
        version=bodvcl.__version__,
        checkpoint=str(options.checkpoint.absolute()),
        weights=embedder.weights,
        step=embedder.steps,
        data=source_name(options.data),
        decouple=config.decouple if streams else "none",
        window=options.window,
        clips=clips,
        clip=asdict(config.clip),
        widths={kind: width.get(kind, config.model.embed_dim) for kind in embedder.kinds},
        every=options.every,
        frames=[clips * length, encoder.backbone.dim] if options.frames else [],
        koopman=asdict(config.koopman) if streams else {},
        normalisation=[config.augment.mean, config.augment.std],
        precision=embedder.arithmetic.name,
    )


def source_name(data: str) -> str:
    """A source as it is kept: a path becomes absolute, a name stays."""
    path = expand(data)
    return data if built_in(data) or not path.exists() else os.path.abspath(path)


def differences(old: About, new: About) -> list[str]:
    """Why the vectors of two embeddings differ: "what was, now what it is" of each fact that does."""
    before, now = _what_counts(old), _what_counts(new)
    found = []
    for name in {**before, **now}:
        was, is_now = before.get(name), now.get(name)
        if was == is_now:
            continue
        called = _NAMES.get(name, f"--{name}" if name.startswith("clip.") else name)
        shown = "" if name == "weights" else f" ({_shown(was)}, now {_shown(is_now)})"
        found.append(f"{called}{shown}")
    return found


def _what_counts(about: About) -> dict[str, Any]:
    facts = json.loads(json.dumps(asdict(about)))  # as they come back from a file
    values = {name: value for name, value in facts.items() if name not in _BESIDE}
    clip = {
        f"clip.{name}": value for name, value in values.pop("clip").items() if name not in ("views", "twin")
    }
    koopman = {f"koopman.{name}": value for name, value in values.pop("koopman").items()}
    return values | clip | koopman


def _shown(value: Any) -> str:
    return (
        "none"
        if value in (None, [], {})
        else ", ".join(map(str, value))
        if isinstance(value, list | dict)
        else f"{value}"
    )
