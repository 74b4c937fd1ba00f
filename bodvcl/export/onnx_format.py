"""The encoder as an ONNX file, for onnxruntime and others."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bodvcl.errors import ConfigError
from bodvcl.export.facts import EncoderFacts
from bodvcl.export.graph import ANY_BATCH, EXAMPLES, INPUT, EncoderGraph, Outputs, random_clips

KEY = "bodvcl"
"""Key of the metadata that holds :class:`~bodvcl.export.facts.EncoderFacts` as JSON."""
MOST_BYTES = 2**31 - 1
"""A protobuf message, and so a single ONNX file, is smaller than 2 GB."""


def refuse_without_onnx() -> None:
    """Refuse where the packages that write ONNX are missing.

    Raises:
        ConfigError: says how to install them.
    """
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise ConfigError(
            f"--to onnx needs the package {missing[0]}, which is not installed: "
            "pip install onnx onnxscript onnxruntime"
        )


def can_run_onnx() -> bool:
    """Whether onnxruntime is here, so that a file can be run."""
    return find_spec("onnxruntime") is not None


def onnx_bytes(graph: EncoderGraph, facts: EncoderFacts) -> bytes:
    """An ONNX file that onnx's checker accepts.

    Raises:
        ConfigError: the weights do not fit into one file.
    """
    import onnx

    size = sum(value.numel() * value.element_size() for value in graph.state_dict().values())
    if size >= MOST_BYTES:
        raise ConfigError(
            f"--to onnx: the weights have {size / 1e9:.1f} GB, and an ONNX file holds less than 2 GB; "
            "take --to torch.export"
        )
    clips = random_clips(facts.clip, EXAMPLES)
    with torch.no_grad():
        program = torch.onnx.export(
            graph,
            (clips,),
            input_names=[INPUT],
            output_names=list(graph(clips)),
            dynamic_shapes=ANY_BATCH,
            dynamo=True,
            verbose=False,
        )
    if program is None:  # only where a file is named
        raise RuntimeError("torch.onnx.export returned no program")
    model: Any = program.model_proto
    for node in model.graph.node:  # names of PyTorch's functions, and paths of source files on this machine
        node.ClearField("metadata_props")
    for value in model.graph.value_info:
        value.ClearField("metadata_props")
    onnx.helper.set_model_props(model, {KEY: facts.as_json()})
    data: bytes = model.SerializeToString()
    onnx.checker.check_model(data, full_check=True)
    return data


def run_onnx(file: Path, clips: Tensor) -> Outputs:
    """Outputs of a file of :func:`onnx_bytes`, by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(None, {INPUT: clips.numpy()})
    return {name: torch.from_numpy(value) for name, value in zip(names, values)}
