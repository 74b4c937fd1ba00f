"""Compile the augmentation kernel for a GPU that is not there and print what it uses, as JSON lines.

``python augment_ahead_of_time.py ARCH DTYPE [ones]``, with "ones" for clips of one frame, and of one pixel,
in a process of its own: the interpreter must be off and the cache directory set before Triton is imported.
The widest blur takes longest to compile; ``CASES`` holds it once.
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

from bodvcl.kernels import augment as kernels
from bodvcl.ops.augment.backend import MAX_RADIUS

POINTERS = {"CLIPS": "*u8", "COLOUR": "*fp32", "FLIP": "*u8", "SIGMA": "*fp32", "BOX": "*i32"}
MATRIX_INSTRUCTIONS = ("wgmma.mma_async", "mma.sync", "tcgen05.mma")
CHANNELS_LAST = ("out_c_stride",)
REALS = ("low", "high")
CASES = ((0, False), (0, True), (6, True), (MAX_RADIUS, False))
"""Blur radius, and whether boxes are resized."""


def source(dtype: torch.dtype, radius: int, box: bool, ones: tuple[str, ...]) -> ASTSource:
    """The kernel as the launcher would specialise it: ``ones`` are arguments that are 1, compiled in."""
    constants = {
        "HAS_BOX": box,
        **kernels.constants(radius, dtype),
        **dict.fromkeys(ones, 1),
    }
    names = list(kernels.augment_kernel.arg_names)

    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name == "OUT":
            return f"*{NAMES[dtype]}"
        return POINTERS.get(name, "fp32" if name in REALS else "i32")

    signature = {name: kind(name) for name in names}
    attrs = {
        (names.index(name),): [["tt.divisibility", 16]] for name in names if signature[name].startswith("*")
    }
    return ASTSource(fn=kernels.augment_kernel, signature=signature, constexprs=constants, attrs=attrs)


def main(arch: str, dtype: str, sizes: str = "") -> None:
    chosen = next(t for t, name in NAMES.items() if name == dtype)
    cases = [(radius, box, CHANNELS_LAST) for radius, box in CASES]
    if sizes == "ones":
        cases = [(6, True, ("FRAMES", "out_x_stride")), (0, True, ("FRAMES", "SIZE", "out_x_stride"))]
    for radius, box, ones in cases:
        compiled = triton.compile(
            source(chosen, radius, box, ones),
            target=GPUTarget("cuda", int(arch), 32),
            options={
                "num_warps": kernels.tiles(radius, chosen).warps,
                "num_stages": 1,
                "enable_fp_fusion": True,
            },
        )
        ptx = compiled.asm["ptx"]
        entry = {
            "radius": radius,
            "box": box,
            "shared": compiled.metadata.shared,
            "mma": sum(ptx.count(name) for name in MATRIX_INSTRUCTIONS),
        }
        print(json.dumps(entry | resources(compiled.asm["cubin"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
