"""Compile the contrastive kernels for a GPU that is not there and print what they use, as JSON lines.

``python ahead_of_time.py ARCH DTYPE WIDTH PRECISION [ones] [registers=N]``, in a process of its own: the
interpreter must be off and the cache directory set before Triton is imported. "ones" stands for sizes and
strides that are 1, "registers=N" for a limit of N registers per thread.
"""

from __future__ import annotations

import json
import sys

import torch
import triton
from machine_code import resources
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bodvcl.kernels import contrastive as kernels

NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
IDS = ("Q_VIDEO", "K_VIDEO", "Q_CLIP", "K_CLIP")
STRIDES = ("q_stride_h", "q_stride_n", "k_stride_h", "k_stride_n", "queue_stride_h", "queue_stride_n")


def sources(
    dtype: torch.dtype, width: int, precision: str, takes_large: bool
) -> dict[str, tuple[ASTSource, dict]]:
    """Each kernel as the launcher would specialise it: aligned pointers, strides that are multiples of 16."""
    input_precision, widen, bf16 = kernels.operand(dtype, precision)
    dense, sparse = kernels.tiles(width, dtype), kernels.tiles(width, dtype, sparse=True)
    d = kernels.padded(width)
    flags = {"BLOCK_D": d, "PRECISION": input_precision, "WIDEN": widen, "BF16": bf16, "CLIPS": True}
    merge = {"BLOCK_N": 16, "BLOCK_D": d, "MEANS": True}

    def rows(group: int, tiles: kernels.Tiles) -> tuple[ASTSource, dict]:
        blocks = {"GROUP": group, "BLOCK_N": tiles.own, "BLOCK_K": tiles.step, "CHUNK": tiles.chunk}
        constants = flags | blocks | {"HAS_QUEUE": True, "MEANS": True}
        return source(kernels.contrastive_fwd_kernel, dtype, constants), options(tiles)

    def columns(tiles: kernels.Tiles) -> tuple[ASTSource, dict]:
        constants = flags | {"BLOCK_K": tiles.own, "BLOCK_N": tiles.step, "CHUNK": tiles.chunk}
        return source(kernels.contrastive_bwd_keys_kernel, dtype, constants), options(tiles)

    large = kernels.tiles(width, dtype, large=True) if takes_large else dense
    more = {"negatives, many": rows(0, large), "backward, many": columns(large)} if large != dense else {}
    return {
        "negatives": rows(0, dense),
        "positives": rows(1, sparse),
        "backward": columns(dense),
        **more,
        "merge": (
            source(kernels.contrastive_merge_kernel, dtype, merge),
            {"num_warps": kernels.merge_warps(width), "enable_fp_fusion": True},
        ),
    }


def options(tiles: kernels.Tiles) -> dict[str, object]:
    return {"num_warps": tiles.warps, "num_stages": tiles.stages, "enable_fp_fusion": True}


def of_ones(src: ASTSource) -> ASTSource:
    """The same with sizes and strides of 1, which the launcher compiles in as constants."""
    names = src.fn.arg_names
    sizes = [n for n, kind in src.signature.items() if kind == "i32" and n not in ("TOTAL", "S")]
    constants = {names[path[0]]: value for path, value in src.constants.items()}
    return ASTSource(
        fn=src.fn,
        signature=src.signature | dict.fromkeys(sizes, "constexpr"),
        constexprs=constants | dict.fromkeys(sizes, 1),
    )


def source(kernel, dtype: torch.dtype, constants: dict) -> ASTSource:
    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name in ("Q", "K", "QUEUE"):
            return f"*{NAMES[dtype]}"
        if name in IDS:
            return "*i64"
        return "i32" if name in ("H", "N", "COUNT_K", "COUNT_QUEUE", "D", "TOTAL", "S", *STRIDES) else "*fp32"

    names = list(kernel.arg_names)
    signature = {name: kind(name) for name in names}
    aligned = [n for n in names if signature[n].startswith("*") or n in ("D", *STRIDES)]
    attrs = {(names.index(n),): [["tt.divisibility", 16]] for n in aligned}
    return ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attrs)


def main(arch: str, dtype: str, width: str, precision: str, *changes: str) -> None:
    chosen = next(t for t, name in NAMES.items() if name == dtype)
    registers = [int(c.removeprefix("registers=")) for c in changes if c.startswith("registers=")]
    limit = {"maxnreg": min(registers)} if registers else {}
    for name, (src, options) in sources(
        chosen, int(width), precision, takes_large=arch in ("90", "100")
    ).items():
        src = of_ones(src) if "ones" in changes else src
        compiled = triton.compile(src, target=GPUTarget("cuda", int(arch), 32), options=options | limit)
        ptx = compiled.asm["ptx"]
        instructions = ("wgmma.mma_async", "mma.sync", "tcgen05.mma")
        print(
            json.dumps(
                {
                    "kernel": name,
                    "shared": compiled.metadata.shared,
                    "mma": {op: ptx.count(op) for op in instructions},
                    **resources(compiled.asm["cubin"]),
                }
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
