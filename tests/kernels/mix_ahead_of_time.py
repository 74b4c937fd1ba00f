"""Compile the mixing kernels for a GPU that is not there and print what they use, as JSON lines.

``python mix_ahead_of_time.py ARCH DTYPE``, in a process of its own: the interpreter must be off and the cache
directory set before Triton is imported. For each kernel one line for each memory format, and one for clips of
one frame. The last line is the mixing of float32 clips into clips of DTYPE.
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

KERNELS = (kernels.median_kernel, kernels.mix_kernel)
CASES = ((True, ("c_stride", "out_c_stride")), (False, ("p_stride", "out_p_stride")), (True, ("LENGTH",)))
"""Whether colours are neighbours in memory, and the arguments that are 1."""


def source(
    kernel: triton.JITFunction,
    read: torch.dtype,
    written: torch.dtype,
    channels_last: bool,
    ones: tuple[str, ...],
) -> ASTSource:
    """The kernel as the launcher would specialise it."""
    constants = {"CHANNELS_LAST": channels_last, "BLOCK": kernels.BLOCK, **dict.fromkeys(ones, 1)}
    names = list(kernel.arg_names)

    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name in ("CLIPS", "SCENE", "OUT"):
            return f"*{NAMES[read if name == 'CLIPS' else written]}"
        return "*fp32" if name == "STILL" else "i32"

    signature = {name: kind(name) for name in names}
    attrs = {(names.index(n),): [["tt.divisibility", 16]] for n in names if signature[n].startswith("*")}
    return ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attrs)


def main(arch: str, dtype: str) -> None:
    chosen = next(t for t, name in NAMES.items() if name == dtype)
    cases = [(kernel, chosen, *case) for kernel in KERNELS for case in CASES]
    for kernel, read, channels_last, ones in [*cases, (kernels.mix_kernel, torch.float32, *CASES[0])]:
        compiled = triton.compile(
            source(kernel, read, chosen, channels_last, ones),
            target=GPUTarget("cuda", int(arch), 32),
            options={"num_warps": 4, "num_stages": 1},
        )
        entry = {"kernel": kernel.__name__, "channels_last": channels_last}
        entry["shared"] = compiled.metadata.shared
        print(json.dumps(entry | resources(compiled.asm["cubin"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
