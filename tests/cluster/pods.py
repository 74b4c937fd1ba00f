"""The container of ``docs/jobset.yaml``: its command and environment, resolved as Kubernetes does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

MANIFEST = Path(__file__).parents[2] / "docs" / "jobset.yaml"


def manifest() -> dict[str, Any]:
    """The manifest."""
    return yaml.safe_load(MANIFEST.read_text())


def container() -> dict[str, Any]:
    """Its only container."""
    (job,) = manifest()["spec"]["replicatedJobs"]
    (found,) = job["template"]["spec"]["template"]["spec"]["containers"]
    return found


def environment(index: int, given: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, str]:
    """Variables of the pod with this index.

    Args:
        index: of the pod in its Job.
        given: in place of the values of the manifest.
        fields: values of the downward API by their paths.
    """
    found = {"JOB_COMPLETION_INDEX": str(index)}
    for variable in container()["env"]:
        source = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        found[variable["name"]] = variable["value"] if source is None else fields[source]
    return {**found, **given}


def command(variables: Mapping[str, str], options: list[str] | None = None) -> list[str]:
    """Command and arguments, with ``$(NAME)`` replaced.

    Args:
        variables: of the pod.
        options: of the training, in place of those from the first one on that users set.
    """
    words = [*container()["command"], *container()["args"]]
    if options is not None:
        words = [*words[: words.index("--run-dir=$(RUN)") + 1], *options]
    return [re.sub(r"\$\((\w+)\)", lambda name: variables.get(name[1], name[0]), word) for word in words]
