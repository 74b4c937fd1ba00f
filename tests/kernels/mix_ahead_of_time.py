"""Compile the mixing kernel for a GPU that is not there and print what it uses, as JSON lines.

``python mix_ahead_of_time.py ARCH DTYPE``, in a process of its own: the interpreter must be off and the cache
directory set before Triton is imported. One line for each memory format, and one for clips of one frame.
"""

from __future__ import annotations

import json
import sys

import torch
import triton
from ahead_of_time import NAMES
from machine_code import resources
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bodvcl.kernels import mix as kernels

CASES = ((True, ("c_stride", "out_c_stride")), (False, ("p_stride", "out_p_stride")), (True, ("LENGTH",)))
"""Whether colours are neighbours in memory, and the arguments that are 1."""


def source(dtype: torch.dtype, channels_last: bool, ones: tuple[str, ...]) -> ASTSource:
    """The kernel as the launcher would specialise it."""
    constants = {"CHANNELS_LAST": channels_last, "BLOCK": kernels.BLOCK, **dict.fromkeys(ones, 1)}
    names = list(kernels.mix_kernel.arg_names)

    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name in ("CLIPS", "STILL", "OUT"):
            return f"*{NAMES[dtype]}"
        return "*fp32" if name in ("SHARE", "GAIN") else "i32"

    signature = {name: kind(name) for name in names}
    attrs = {(names.index(n),): [["tt.divisibility", 16]] for n in names if signature[n].startswith("*")}
    return ASTSource(fn=kernels.mix_kernel, signature=signature, constexprs=constants, attrs=attrs)


def main(arch: str, dtype: str) -> None:
    chosen = next(t for t, name in NAMES.items() if name == dtype)
    for channels_last, ones in CASES:
        compiled = triton.compile(
            source(chosen, channels_last, ones),
            target=GPUTarget("cuda", int(arch), 32),
            options={"num_warps": 8, "num_stages": 1},
        )
        entry = {"channels_last": channels_last, "shared": compiled.metadata.shared}
        print(json.dumps(entry | resources(compiled.asm["cubin"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
