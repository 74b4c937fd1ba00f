"""`fused` outside of the compiler.

A module of its own, imported while the compiler traces a call and not before: `torch.compiler.disable`
imports the compiler, which takes a second.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bodvcl.ops.contrastive.derivatives import fused
from bodvcl.ops.contrastive.problem import ContrastiveProblem
from bodvcl.ops.transforms import EAGER_ONLY

_disable: Callable[..., Callable[[ContrastiveProblem, str, str, bool], Tensor]] = torch.compiler.disable

fused_eagerly = _disable(fused, reason=EAGER_ONLY)
