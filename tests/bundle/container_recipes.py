"""The steps of a Dockerfile and of an Apptainer definition, in one form that a test can execute.

Only what the two files of examples/containers use is understood; anything else is an error.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Copy:
    """From the build's context (``stage`` None) or from an earlier stage, to a new path."""

    source: str
    to: str
    stage: str | None = None


@dataclass(frozen=True)
class Run:
    """A shell script, as root."""

    script: str


@dataclass
class Stage:
    """A stage of a build: what it begins with, its steps, and how its image starts."""

    base: str
    name: str
    steps: list[Copy | Run] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    """Assignments as a shell reads them, ``PATH=/opt/bin:$PATH``, in their order."""
    user: str | None = None
    """None: root in Docker, who calls it in Apptainer."""
    folder: str = "/"
    start: str = ""
    """A shell script that is given the words of the command line as its arguments."""


def dockerfile(text: str) -> list[Stage]:
    """The stages of a Dockerfile."""
    stages: list[Stage] = []
    defaults: dict[str, str] = {}
    entry: list[str] = []
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for line in filter(None, map(str.strip, joined.splitlines())):
        instruction, _, rest = line.partition(" ")
        words = shlex.split(rest)
        match instruction:
            case "ARG" if not stages:
                name, _, value = rest.partition("=")
                defaults[f"${{{name}}}"] = value
            case "FROM":
                stages.append(
                    Stage(defaults.get(words[0], words[0]), words[2] if len(words) > 1 else "final")
                )
            case "COPY":
                stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
                stages[-1].steps.append(Copy(words[0], words[1], stage))
            case "RUN":
                stages[-1].steps.append(Run(rest))
            case "ENV":
                stages[-1].environment += words
            case "USER":
                stages[-1].user = rest
            case "WORKDIR":
                stages[-1].folder = rest
            case "ENTRYPOINT":
                entry = json.loads(rest)
            case "CMD":
                default = shlex.join(json.loads(rest))
                stages[-1].start = f'[ $# -gt 0 ] || set -- {default}\nexec {shlex.join(entry)} "$@"'
            case "LABEL":
                pass
            case _:
                raise ValueError(f"{instruction} is not understood")
    return stages


def definition(text: str) -> list[Stage]:
    """The stages of an Apptainer definition."""
    stages: list[Stage] = []
    section = ""
    bodies: dict[str, str] = {}
    for line in (*text.splitlines(), "Bootstrap: end"):
        if line.startswith("#"):
            continue
        if line.startswith("Bootstrap:"):
            if stages:
                _fill(stages[-1], bodies)
            stages.append(Stage("", ""))
            bodies, section = {}, ""
        elif line.startswith("%"):
            section = line[1:].strip()
        elif section:
            bodies[section] = bodies.get(section, "") + line + "\n"
        elif found := re.match(r"(From|Stage): (\S+)", line):
            setattr(stages[-1], {"From": "base", "Stage": "name"}[found[1]], found[2])
    return stages[:-1]


def _fill(stage: Stage, bodies: dict[str, str]) -> None:
    for section, body in bodies.items():
        kind, _, rest = section.partition(" ")
        match kind:
            case "files":
                for line in filter(None, map(str.strip, body.splitlines())):
                    source, to = line.split()
                    stage.steps.append(Copy(source, to, rest.removeprefix("from ") if rest else None))
            case "post":
                stage.steps.append(Run(body))
            case "environment":
                stage.environment += [
                    line.strip().removeprefix("export ") for line in body.splitlines() if line.strip()
                ]
            case "runscript":
                stage.start = body
            case "labels" | "help":
                pass
            case _:
                raise ValueError(f"%{kind} is not understood")
