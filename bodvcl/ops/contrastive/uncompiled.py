"""`fused` outside of the compiler. A module of its own, imported while the compiler traces a call and not
before: `torch.compiler.disable` imports the compiler, which takes a second.
"""

from __future__ import annotations

import torch

from bodvcl.ops.contrastive.op import fused
from bodvcl.ops.transforms import EAGER_ONLY

fused_eagerly = torch.compiler.disable(fused, reason=EAGER_ONLY)
