"""The Koopman pass outside of the compiler.

A module of its own, imported while the compiler traces a call and not before: `torch.compiler.disable`
imports the compiler, which takes a second.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from bodvcl.ops.koopman.results import KoopmanRaw
from bodvcl.ops.koopman.route import Call, run_here
from bodvcl.ops.transforms import EAGER_ONLY

_disable: Callable[..., Callable[[Call, bool, bool], KoopmanRaw]] = torch.compiler.disable

run_eagerly = _disable(run_here, reason=EAGER_ONLY)
