"""The SBOM of a wheel: CycloneDX, from an environment in which it is installed with what it needs."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

Json = dict[str, Any]


def environment_bom(python: Path) -> Json:
    """What is installed beside ``python``, by cyclonedx-py, without times and random numbers."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", str(python)]
    found: Json = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def wheel_bom(bom: Json, wheel: Path) -> Json:
    """The bill of an environment as that of the wheel: the wheel is the root, with what is linked into it.

    Args:
        bom: of an environment that holds the wheel's package and its dependencies.
        wheel: the file; its ``build.json`` says which CUDA runtime is linked into ``_C_cuda.so``.
    """
    (own,) = (part for part in bom["components"] if part["name"] == "bodvcl")
    others = [part for part in bom["components"] if part is not own]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    root = {**own, "hashes": [{"alg": "SHA-256", "content": digest}]}
    root.pop("externalReferences", None)  # the folder that it was installed from
    inside = _linked(wheel)
    if inside:
        root["components"] = inside
    needs = [{**entry} for entry in bom["dependencies"] if entry["ref"] != "root-component"]
    return {
        **bom,
        "metadata": {**bom["metadata"], "component": root},
        "components": others,
        "dependencies": needs,
    }


def _linked(wheel: Path) -> list[Json]:
    """Code of others inside the libraries of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        build = json.loads(archive.read("bodvcl/build.json"))
        if "bodvcl/_C_cuda.so" not in archive.namelist():
            return []
    return [
        {
            "type": "library",
            "bom-ref": "cudart-static",
            "name": "cudart",
            "version": build["cuda_compiler"],
            "description": "the CUDA runtime, linked statically into bodvcl/_C_cuda.so",
            "publisher": "NVIDIA Corporation",
            "licenses": [{"license": {"name": "NVIDIA Software License Agreement"}}],
        }
    ]


def write_bom(bom: Json, file: Path) -> list[str]:
    """Write the bill; the problems that CycloneDX's schema finds in it."""
    text = json.dumps(bom, indent=2, sort_keys=True) + "\n"
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        return [" ".join(str(error).split())[:300]]
    file.write_text(text, encoding="utf-8")
    return []
