"""Compiles the parts of a training step with torch.compile."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import torch

from bodvcl.engine.learner import Learner
from bodvcl.engine.losses import PLAIN, LossFunctions, predict, split
from bodvcl.errors import ConfigError
from bodvcl.objectives.base import StreamObjective


def compile_step(learner: Learner, device: torch.device, *, fast: bool, twice: bool) -> LossFunctions:
    """Compile backbones, projectors, the objective, the streams and L_pred, forward and backward.

    Modules are compiled in place; the names of their weights do not change. What changes from step to step
    (queue, prototypes, momentum, learning rate) is a tensor, or is used outside of compiled code. So the
    compiler runs in the first steps only, once for each arithmetic and each size of the clips' batch.

    Three things stay as they are:

    - Projector and L_pred with a solver that differentiates the lower loss twice: a compiled backward pass
      cannot be differentiated.
    - An objective that encodes the clips itself (DualVar, HDC). It draws random numbers, for which compiled
      code has another generator, or reads the backbone at several depths.
    - The losses of the reference route, whose formulas are what everything else is compared with.

    CUDA graphs (mode "reduce-overhead") are not used. There, PyTorch frees what a compiled function returned
    as soon as the next one is called with no backward pass pending; it counts that as a new iteration. A
    bi-level step calls each part several times and keeps what came out: the slope of the lower level, the
    features, the keys, the values that are read a step late. The passes also get other parameters each
    time, theta and the look-ahead theta*, whose addresses a graph would have to record again or copy.

    Args:
        learner: its modules are compiled.
        device: device of the training.
        fast: whether the losses take the fused operators.
        twice: whether the solver differentiates the lower loss twice.

    Returns:
        the functions for :class:`~bodvcl.engine.problem.BatchProblem`.

    Raises:
        ConfigError: there is no compiler for this device.
    """
    why = _missing(device)
    if why is not None:
        raise ConfigError(f"--compile: {why}; or leave --compile out")
    for encoder in (learner.encoder, learner.target):
        if encoder is not None:
            encoder.backbone.compile()
            if not twice:
                encoder.projector.compile()
    if not fast:
        return PLAIN
    if isinstance(learner.objective, StreamObjective):
        learner.objective.compile()
    return LossFunctions(torch.compile(split), torch.compile(predict))


def _missing(device: torch.device) -> str | None:
    if device.type == "cuda":
        if find_spec("triton") is None:
            return "torch.compile needs Triton for a GPU: install triton"
        if torch.cuda.get_device_capability(device) < (7, 0):
            return "Triton needs a GPU of compute capability 7.0 or more"
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None and shutil.which("clang++") is None:
        return f"torch.compile needs a C++ compiler and {compiler} is not on the PATH: install g++"
    return None
