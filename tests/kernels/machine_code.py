"""What a compiled kernel uses, from Triton's own disassemblers: registers, stack, and spills in loops."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import networkx
import triton

LABEL = re.compile(r"\s*(\.L_\w+):")
INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?(\w+)(.*?);")
TARGET = re.compile(r"\((\.L_\w+)\)")
ENDS = ("BRA", "EXIT", "RET", "BRX", "JMP")
SPILLS = ("STL", "LDL")


def resources(cubin: bytes) -> dict[str, int]:
    """Resources of a kernel: registers and bytes of stack per thread, instructions and spills in its loops.

    What does not fit into registers is kept on the stack. A value that is put there before a loop and taken
    back after it costs nothing; one that is moved in every pass of the loop does.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        usage = _said(triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", path)
        listing = _said(triton.knobs.nvidia.nvdisasm.path, "-c", path)
    fields = dict(field.split(":", 1) for field in usage.split() if field.count(":") == 1)
    in_loops = loop_instructions(listing)
    return {
        "registers": int(fields["REG"]),
        "stack": int(fields["STACK"]),
        "in_loops": len(in_loops),
        "spills_in_loops": sum(name in SPILLS for name in in_loops),
    }


def loop_instructions(listing: str) -> list[str]:
    """The names of the instructions that can run more than once, of one kernel as nvdisasm writes it."""
    names, graph = [], networkx.DiGraph()
    labels, jumps = {}, []
    for line in listing.splitlines():
        if label := LABEL.match(line):
            labels[label[1]] = len(names)
        elif found := INSTRUCTION.match(line):
            jumps += [(len(names), target) for target in TARGET.findall(found[2]) if found[1] == "BRA"]
            names.append(found[1])
            always = "@" not in line.partition(found[1])[0]
            if not (always and found[1] in ENDS):
                graph.add_edge(len(names) - 1, len(names))
    graph.add_edges_from((at, labels[target]) for at, target in jumps)
    return [names[i] for part in networkx.strongly_connected_components(graph) if len(part) > 1 for i in part]


def _said(*command: object) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout
