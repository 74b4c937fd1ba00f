"""A Slurm of two nodes for tests: a controller and two daemons, on two hosts in namespaces."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from patience import PATIENCE, wait_until
from two_hosts import NODES, TwoHosts

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "scancel")
_CONFIGURATION = """\
ClusterName=test
SlurmctldHost=node1
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
ReturnToService=2
KillOnBadExit=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,sched_min_interval=0
NodeName=node1,node2 CPUs=24
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=1200
PartitionName=high Nodes=ALL PriorityTier=2
"""
"""Each node says it has 24 cores, whatever there are. Nobody checks who calls: the network is its own."""
LOOK = 0.4
"""Seconds between two questions to Slurm, each of which starts a program."""
OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"}
"""States that a job does not leave by itself."""


class SmallSlurm:
    """Calls the programs of Slurm on ``node1``.

    Args:
        hosts: where it runs.
        folder: for its files.
        environment: what the user has set.
    """

    def __init__(self, hosts: TwoHosts, folder: Path, environment: Mapping[str, str]) -> None:
        self._hosts, self.folder = hosts, folder
        self.environment = {**environment, "SLURM_CONF": str(folder / "slurm.conf")}

    def call(self, *words: str, fails: bool = False) -> str:
        """What a command says that ends well, or badly if it is to."""
        done = subprocess.run(
            self._hosts.command("node1", words),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert bool(done.returncode) == fails, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def is_ready(self) -> bool:
        """Whether both nodes wait for jobs."""
        asked = self._hosts.command("node1", ["sinfo", "--noheader", "--Node", "--format", "%T"])
        done = subprocess.run(asked, env=self.environment, capture_output=True, text=True)
        return done.stdout.split() == ["idle"] * (2 * len(NODES))  # of each partition

    def submit(self, *words: str) -> str:
        """Number of a new job."""
        return self.call("sbatch", "--parsable", *words)

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows about a job, by the names of ``scontrol show job``."""
        words = self.call("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, number: str) -> str:
        """State of a job."""
        return self.job(number)["JobState"]

    def wait(self, number: str, *states: str) -> dict[str, str]:
        """Wait until a job is in one of the states; returns what Slurm knows about it then."""
        wait_until(lambda: self.state(number) in states, lambda: self.state(number) in OVER, LOOK)
        return self.job(number)

    def start_now(self, number: str) -> None:
        """Let a requeued job run without the minutes that Slurm waits before it starts a job again."""
        self.call("scontrol", "update", f"JobId={number}", "StartTime=now")


@contextlib.contextmanager
def small_slurm(hosts: TwoHosts, folder: Path, environment: Mapping[str, str]) -> Iterator[SmallSlurm]:
    """A Slurm whose nodes are ready. It ends with its hosts.

    Args:
        hosts: where it runs.
        folder: empty folder for its files.
        environment: what the user has set; the jobs get it.
    """
    (folder / "state").mkdir()
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(folder=folder))
    slurm = SmallSlurm(hosts, folder, environment)
    hosts.start("node1", ["slurmctld", "-D"], slurm.environment, folder / "slurmctld.txt")
    for node in NODES:
        hosts.start(node, ["slurmd", "-D", "-N", node], slurm.environment, folder / f"slurmd-{node}.txt")
    wait_until(slurm.is_ready, lambda: any(daemon.poll() is not None for daemon in hosts.started))
    yield slurm
