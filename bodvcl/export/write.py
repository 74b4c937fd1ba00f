"""From a trained encoder to a file or folder of another format, checked before it takes its place."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bodvcl.engine.checkpoint import read_encoder, saved_config
from bodvcl.errors import CheckpointError, ConfigError
from bodvcl.export import onnx_format, torch_formats
from bodvcl.export.facts import EncoderFacts
from bodvcl.export.graph import EncoderGraph, Outputs, eager_outputs, random_clips
from bodvcl.export.hub_folder import read_hub_folder, write_hub_folder
from bodvcl.export.model_card import model_card, run_folder_of
from bodvcl.export.opening import is_export, open_encoder
from bodvcl.export.options import ExportOptions
from bodvcl.export.streams import why_no_streams
from bodvcl.export.weights_file import read_weights, weights_bytes
from bodvcl.models.encoder import VideoEncoder
from bodvcl.runs.contents import read_run
from bodvcl.runs.folder import write_atomically

TOLERANCE = 1e-4
"""Largest accepted difference to the encoder, as a share of the largest number of an output, or of 1."""
CHECKED = 3
"""Random clips that an export is checked on; another number than it was traced with."""

SUFFIXES = {".safetensors": "safetensors", ".onnx": "onnx", ".pt2": "torch.export"}
"""Endings of file names that belong to one format."""


class Program(NamedTuple):
    """A format that holds the computation.

    Attributes:
        make: content of the file.
        run: outputs of a file for normalised clips.
    """

    make: Callable[[EncoderGraph, EncoderFacts], bytes]
    run: Callable[[Path, Tensor], Outputs]


PROGRAMS: Mapping[str, Program] = {
    "torchscript": Program(torch_formats.torchscript_bytes, torch_formats.run_torchscript),
    "torch.export": Program(torch_formats.program_bytes, torch_formats.run_program),
    "onnx": Program(onnx_format.onnx_bytes, onnx_format.run_onnx),
}


def refuse_export(options: ExportOptions) -> None:
    """Refuse what cannot be done, before any work.

    Raises:
        ConfigError: the path exists or belongs to another format, a package is missing, a licence where no
            card is written, or a card without a run.
    """
    out = options.out
    if os.path.lexists(out):
        raise ConfigError(f"--out: {out} exists already: remove it, or choose another name")
    other = SUFFIXES.get(out.suffix, options.to)
    if other != options.to:
        raise ConfigError(f"--out: {out} has the name of a file of --to {other}, but --to is {options.to}")
    if options.license is not None and options.to != "hf":
        raise ConfigError("--license is for the model card, which only --to hf writes; drop it")
    if options.to == "onnx":
        onnx_format.refuse_without_onnx()
    if options.to == "hf" and is_export(options.run):
        raise ConfigError(
            f"--to hf writes the model card from the run, and {options.run} is an export of one"
        )


def export(options: ExportOptions) -> list[str]:
    """Export an encoder; returns lines for the user.

    Raises:
        ConfigError: as :func:`refuse_export`.
        CheckpointError: no encoder there, or an export that computes something else than the encoder.
        OSError: the path cannot be written; nothing is left there.
    """
    refuse_export(options)
    encoder, facts = open_encoder(options.run)
    clips = random_clips(facts.clip, CHECKED)
    with torch.no_grad():
        expected = eager_outputs(encoder, facts.koopman, clips)
    with _new(options.out) as path:
        _write(options, path, encoder, facts)
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
        checked = options.to != "onnx" or onnx_format.can_run_onnx()
        found = _outputs(options, path, clips) if checked else {}
        error = largest_error(found, expected)
        if not error <= TOLERANCE:
            raise CheckpointError(
                f"the export differs from the encoder by {error:.1g} on random clips, more than "
                f"{TOLERANCE:g}; nothing was written; try another format with --to"
            )
    return [
        f"wrote {options.out} ({size / 1e6:.1f} MB)",
        *_remarks(options, facts, error if checked else None),
    ]


def largest_error(found: Outputs, expected: Outputs) -> float:
    """Largest absolute difference of outputs, each as a share of its largest number or of 1.

    Outputs that were not found are not compared. NaN: an output is not finite.
    """
    errors = [
        (found[name] - expected[name]).abs().max() / expected[name].abs().max().clamp_min(1) for name in found
    ]
    return float(torch.stack(errors).max()) if errors else 0.0


def _remarks(options: ExportOptions, facts: EncoderFacts, error: float | None) -> Iterator[str]:
    if error is None:
        yield "not checked: onnxruntime is not installed (pip install onnxruntime)"
    else:
        by = {"onnx": "onnxruntime", "torchscript": "TorchScript"}.get(options.to, "PyTorch")
        yield f"checked: run by {by} on {CHECKED} random clips, it differs by {error:.1g} from the encoder"
    why = why_no_streams(facts.koopman)
    if options.to in PROGRAMS and why is not None:
        yield f"without the two streams: {why}; bodvcl.koopman_split makes them of the embeddings"
    if options.to == "torchscript":
        yield "TorchScript is deprecated in PyTorch: prefer --to torch.export where the program can load it"


def _write(options: ExportOptions, path: Path, encoder: VideoEncoder, facts: EncoderFacts) -> None:
    if options.to == "hf":
        config = saved_config(*read_encoder(options.run))
        folder = run_folder_of(options.run)
        run = None if folder is None else read_run(folder)
        path.mkdir()
        name = options.out.absolute().name
        write_hub_folder(path, encoder, facts, model_card(name, facts, config, run, options.license))
    elif options.to == "safetensors":
        write_atomically(path, weights_bytes(encoder, facts))
    else:
        graph = EncoderGraph(encoder, facts.koopman).eval()
        write_atomically(path, PROGRAMS[options.to].make(graph, facts))


def _outputs(options: ExportOptions, path: Path, clips: Tensor) -> Outputs:
    if options.to in PROGRAMS:
        return PROGRAMS[options.to].run(path, clips)
    encoder, facts = read_hub_folder(path) if options.to == "hf" else read_weights(path)
    with torch.no_grad():
        return eager_outputs(encoder, facts.koopman, clips)


@contextlib.contextmanager
def _new(out: Path) -> Iterator[Path]:
    """A path beside ``out`` that becomes ``out`` at the end of the block, and is removed after an error."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        yield Path(folder) / out.name
        os.rename(Path(folder) / out.name, out)
