"""One row of the matrix: an empty environment, the package, and what a user does first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from matrix import Row
from outcome import FAILED, NOT_CHECKED, PASSED, Outcome

TRAINING = (
    "-m bodvcl.train --fast --max-steps 20 --batch-size 16 --scenes.train-videos 64 --scenes.probe-videos 64"
).split()
IMPORT = "import sys, bodvcl.losses; assert bodvcl.__file__.startswith(sys.prefix), bodvcl.__file__"
FILES_OF_A_RUN = ("config.yaml", "metrics.jsonl", "checkpoint/last.pt", "probe.json", "report.html")


class Problem(Exception):
    """Why a step failed, in one line."""


class Skipped(Exception):
    """Why a step cannot be made here, in one line."""


class Environment:
    """Runs the steps of a row in a folder of its own, outside of the sources.

    Args:
        row: releases and source.
        package: the wheel or the sdist.
        folder: of the environment, its caches and logs; emptied.
        uv: the program.
    """

    def __init__(self, row: Row, package: Path, folder: Path, uv: str) -> None:
        self.row, self.package, self.folder, self.uv = row, package, folder, uv
        self.python = folder / "venv/bin/python"
        keep = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        self.env = {**keep, "XDG_CACHE_HOME": str(folder / "cache"), "UV_CACHE_DIR": uv_cache(uv)}

    def run(self) -> Iterator[Outcome]:
        """The outcome of every step; behind a failed installation nothing is checked."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "work").mkdir(parents=True)
        steps: dict[str, Callable[[], object]] = {
            "install": self._install,
            "pip check": lambda: self._call([self.uv, "pip", "check", "-p", str(self.python)], "check"),
            "import": lambda: self._python("import", "-W", "error::UserWarning", "-c", IMPORT),
            "native": self._native,
            "doctor": lambda: self._python("doctor", "-m", "bodvcl", "doctor"),
            "20 steps": self._train,
        }
        broken = ""
        for check, step in steps.items():
            if broken:
                yield Outcome(self.row.name, check, NOT_CHECKED, broken)
                continue
            start = time.monotonic()
            state, reason = PASSED, ""
            try:
                step()
            except Problem as problem:
                state, reason = FAILED, str(problem)
            except Skipped as skipped:
                state, reason = NOT_CHECKED, str(skipped)
            yield Outcome(self.row.name, check, state, reason, time.monotonic() - start)
            if check == "install" and state != PASSED:
                broken = "there is no environment"

    def _install(self) -> None:
        find = [self.uv, "python", "find", "--no-project", "--no-python-downloads", self.row.python]
        if subprocess.run(find, capture_output=True, env=self.env).returncode:
            raise Skipped(f"no Python {self.row.python} on the PATH")
        pinned = self.folder / "constraints.txt"
        pinned.write_text(f"torch=={self.row.torch}.*\n")
        self._call(
            [self.uv, "venv", "--no-python-downloads", "-p", self.row.python, str(self.folder / "venv")],
            "venv",
        )
        install = [self.uv, "pip", "install", "-p", str(self.python), "-c", str(pinned)]
        if self.row.source == "sdist":
            install += ["--build-constraints", str(pinned)]
        self._call([*install, str(self.package)], "install", BODVCL_BUILD="cpu")
        self._python(
            "versions", "-c", f"import torch; assert torch.__version__.startswith('{self.row.torch}.')"
        )

    def _native(self) -> None:
        report = json.loads(self._python("info", "-m", "bodvcl.info", "--json"))
        library = report["libraries"]["_C"]
        if library["state"] != "loaded":
            raise Problem(f"_C is {library['state']}: {library['reason']}")
        if report["operators"]["koopman"]["cpu"]["backend"] != "cpu":
            raise Problem(f"the Koopman operators take the route {report['operators']['koopman']['cpu']}")

    def _train(self) -> None:
        self._python("train", *TRAINING, "--run-dir", str(self.folder / "run"))
        lost = [name for name in FILES_OF_A_RUN if not (self.folder / "run" / name).is_file()]
        if lost:
            raise Problem(f"the run has no {', '.join(lost)}")
        last = json.loads((self.folder / "run/metrics.jsonl").read_text().splitlines()[-1])
        if last.get("step") != 20:
            raise Problem(f"the run ended at step {last.get('step')}")

    def _python(self, log: str, *arguments: str) -> str:
        return self._call([str(self.python), *arguments], log)

    def _call(self, command: list[str], log: str, **env: str) -> str:
        """Run a command; its output to a file of the folder.

        Raises:
            Problem: it failed.
        """
        done = subprocess.run(
            command,
            cwd=self.folder / "work",
            env={**self.env, **env},
            capture_output=True,
            text=True,
            errors="replace",
        )
        (self.folder / f"{log}.log").write_text(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise Problem(f"exit code {done.returncode}: {last} ({self.folder / log}.log)")
        return done.stdout


def uv_cache(uv: str) -> str:
    """The cache of uv: XDG_CACHE_HOME, which moves it, is set for the package."""
    return subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
