"""Limits of control groups, in made-up trees of files."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from bodvcl.system.cgroup import free_memory, processors, smallest_limit


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_no_limits(tmp_path):
    assert smallest_limit("memory.max", tmp_path) is None
    assert processors(tmp_path) is None
    tree(tmp_path, {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert smallest_limit("memory.max", tmp_path) is None
    assert processors(tmp_path) is None


def test_a_container_sees_itself_as_the_top(tmp_path):
    tree(tmp_path, {"sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"})
    tree(tmp_path, {"sys/fs/cgroup/pids.max": "512\n", "proc/self/cgroup": "0::/\n"})
    assert smallest_limit("memory.max", tmp_path) == 1000
    assert smallest_limit("pids.max", tmp_path) == 512
    assert processors(tmp_path) == 2.5


def test_a_job_is_in_a_group_of_groups(tmp_path):
    """As Slurm makes them: the limit of the job counts where the step has none."""
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_7/step_0\n",
            "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/memory.max": "5000\n",
            "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/memory.max": "max\n",
        },
    )
    assert smallest_limit("memory.max", tmp_path) == 5000


def test_version_1(tmp_path):
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:cpu,memory:/slurm/uid_0/job_7\n8:pids:/x\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/slurm/uid_0/job_7/memory.limit_in_bytes": "7000\n",
            "sys/fs/cgroup/pids/x/pids.max": "99\n",
        },
    )
    assert smallest_limit("memory.max", tmp_path) == 7000
    assert smallest_limit("pids.max", tmp_path) == 99


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize("job", ["", "/slurm/uid_0/job_7"])
def test_time_of_version_1(folder, job, tmp_path):
    tree(
        tmp_path,
        {
            "proc/self/cgroup": f"4:{folder}:{job or '/docker/not-seen-in-the-container'}\n0::/\n",
            f"sys/fs/cgroup/{folder}/cpu.cfs_quota_us": "-1\n",
            f"sys/fs/cgroup/{folder}/cpu.cfs_period_us": "100000\n",
        },
    )
    assert processors(tmp_path) is None
    tree(tmp_path, {f"sys/fs/cgroup/{folder}{job}/cpu.cfs_quota_us": "200000\n"})
    tree(tmp_path, {f"sys/fs/cgroup/{folder}{job}/cpu.cfs_period_us": "100000\n"})
    assert processors(tmp_path) == 2.0


def test_the_share_of_time_is_no_quota(tmp_path):
    tree(tmp_path, {"proc/self/cgroup": "5:cpuset:/x\n6:cpuacct:/x\n"})
    tree(
        tmp_path,
        {"sys/fs/cgroup/cpuset/x/cpuset.cpus": "0-3\n", "sys/fs/cgroup/cpuacct/x/cpu.cfs_quota_us": "1\n"},
    )
    assert processors(tmp_path) is None


def test_memory_that_is_used_is_not_free(tmp_path):
    assert free_memory(tmp_path) is None
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job_7/step_0\n",
            "sys/fs/cgroup/job_7/memory.max": "4294967296\n",
            "sys/fs/cgroup/job_7/memory.current": "4200000000\n",
            "sys/fs/cgroup/job_7/memory.stat": "active_file 90000000\ninactive_file 100000000\n",
            "sys/fs/cgroup/job_7/step_0/memory.max": "max\n",
            "sys/fs/cgroup/job_7/step_0/memory.current": "1000\n",
        },
    )
    assert free_memory(tmp_path) == 4294967296 - 4200000000 + 100000000


def test_memory_that_is_used_in_version_1(tmp_path):
    tree(
        tmp_path,
        {
            "proc/self/cgroup": "3:memory:/docker/not-seen-in-the-container\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 7\ntotal_inactive_file 500\n",
        },
    )
    assert free_memory(tmp_path) == 1500


def test_a_process_that_cannot_open_another_file_knows_no_limit():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        found = smallest_limit("pids.max"), free_memory(), processors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found == (None, None, None)
