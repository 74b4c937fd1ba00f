"""The encoder as a program of PyTorch: TorchScript and torch.export. Neither needs bodvcl to be loaded."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from bodvcl.export.facts import EncoderFacts
from bodvcl.export.graph import ANY_BATCH, EXAMPLES, EncoderGraph, Outputs, random_clips

FACTS = "encoder.json"
"""Name of the extra file that holds :class:`~bodvcl.export.facts.EncoderFacts`."""


def torchscript_bytes(graph: EncoderGraph, facts: EncoderFacts) -> bytes:
    """A file for ``torch.jit.load``."""
    buffer = io.BytesIO()
    with _asked_for(), torch.no_grad():
        traced = torch.jit.trace(
            graph,
            (random_clips(facts.clip, EXAMPLES),),
            strict=False,  # the outputs are a dictionary
            check_trace=False,  # they are compared with those of the encoder, on other clips
        )
        torch.jit.save(traced, buffer, _extra_files={FACTS: facts.as_json()})
    return buffer.getvalue()


def run_torchscript(file: Path, clips: Tensor) -> Outputs:
    """Outputs of a file of :func:`torchscript_bytes`."""
    with _asked_for(), torch.no_grad():
        outputs: Outputs = torch.jit.load(file)(clips)
    return outputs


def program_bytes(graph: EncoderGraph, facts: EncoderFacts) -> bytes:
    """A file for ``torch.export.load``."""
    with torch.no_grad():
        program = torch.export.export(graph, (random_clips(facts.clip, EXAMPLES),), dynamic_shapes=ANY_BATCH)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of source files on this machine
    program.example_inputs = None  # they can be larger than the weights
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={FACTS: facts.as_json()})
    return buffer.getvalue()


def run_program(file: Path, clips: Tensor) -> Outputs:
    """Outputs of a file of :func:`program_bytes`."""
    with file.open("rb") as opened, torch.no_grad():  # by a path, PyTorch warns unless it ends with .pt2
        outputs: Outputs = torch.export.load(opened).module()(clips)
    return outputs


@contextlib.contextmanager
def _asked_for() -> Iterator[None]:
    """PyTorch warns that TorchScript is deprecated. The command says so once, in its own words."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        yield
