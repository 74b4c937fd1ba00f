"""Two machines in namespaces of this one, for tests of what runs on several: ``node1`` and ``node2``."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

NODES = ("node1", "node2")
_PROGRAMS = ("unshare", "nsenter", "ip", "mount", "hostname")
_APART = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", "--uts")


def skip_without(*programs: str) -> None:
    """Skip the test where two hosts cannot be made, or a program is missing."""
    missing = [name for name in (*_PROGRAMS, *programs) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("namespaces of networks need root")
    allowed = subprocess.run(
        [*_APART, "ip", "link", "add", "wire", "type", "veth"], capture_output=True, text=True
    )
    if allowed.returncode:
        pytest.skip(f"namespaces of networks are not allowed here: {allowed.stderr.strip()}")


class TwoHosts:
    """Their own network, host names, process numbers and /etc/hosts; the files are those of this machine."""

    def __init__(self, first: int, second: int) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self._enter = {
            "node1": ["nsenter", "--target", str(first), "--pid", "--mount", "--net", "--uts"],
            "node2": ["nsenter", "--target", str(second), "--net", "--uts"],
        }

    def command(self, node: str, words: Sequence[str]) -> list[str]:
        """The command that runs ``words`` on a node."""
        inside = [] if node == "node1" else self._enter[node]
        return [*self._enter["node1"], *inside, *words]

    def start(
        self, node: str, words: Sequence[str], environment: Mapping[str, str], said: Path
    ) -> subprocess.Popen[bytes]:
        """Start a program on a node that ends with the hosts at the latest; what it says goes to a file."""
        with open(said, "wb") as file:
            running = subprocess.Popen(
                self.command(node, words), env=environment, stdout=file, stderr=subprocess.STDOUT
            )
        self.started.append(running)
        return running


@contextlib.contextmanager
def two_hosts(folder: Path, names: Mapping[str, Sequence[str]] | None = None) -> Iterator[TwoHosts]:
    """Two hosts; everything that runs on them is ended with the block, or with this process.

    Args:
        folder: empty folder for their files.
        names: further names of the nodes.
    """
    lines = ["127.0.0.1 localhost"]
    for number, node in enumerate(NODES, 1):
        lines.append(" ".join([f"10.0.0.{number}", node, *(names or {}).get(node, ())]))
    (folder / "hosts").write_text("\n".join(lines) + "\n")
    script = Path(__file__).with_name("two_hosts.sh")
    running = subprocess.Popen(
        [*_APART, "bash", str(script), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stdin is not None
    assert running.stdout is not None
    started: list[subprocess.Popen[bytes]] = []
    try:
        second = running.stdout.readline()
        assert second, "the hosts could not be made"
        (first,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        hosts = TwoHosts(int(first), int(second))
        started = hosts.started
        yield hosts
    finally:
        running.stdin.close()  # the first process inside ends, and Linux ends all others with it
        for process in (running, *started):
            process.wait()
        running.stdout.close()
