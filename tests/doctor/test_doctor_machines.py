"""Machines that are not fit, made up one by one: each check says what is wrong and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bodvcl.data.made.rendered import encode
from bodvcl.doctor import data, decoders, limits, numbers, run_folder, software
from bodvcl.doctor.data import check_data, judge_reading
from bodvcl.doctor.driver import judge_driver
from bodvcl.doctor.file_system import judge_kind, kind_of
from bodvcl.doctor.gpus import Gpu, judge_gpus
from bodvcl.doctor.outcome import Outcome, combined, failed, ok, skipped, warning
from bodvcl.doctor.shared_memory import BATCH, check_shared_memory, needed
from bodvcl.system.driver import Driver

H100 = Gpu(0, "NVIDIA H100", (9, 0), 79 * 2**30, 80 * 2**30)
TORCH = ["sm_80", "sm_90", "sm_120", "compute_120"]
BUILD = ["80-real", "90-real", "120"]


def is_bad(outcome: Outcome, verdict: str, *words: str) -> bool:
    """Whether an outcome has this verdict, says these words, and says what to do."""
    assert outcome.verdict == verdict, outcome
    assert outcome.remedy
    for word in words:
        assert word in f"{outcome.seen} | {outcome.remedy}", outcome
    return True


# ------------------------------------------------------------------ driver and GPUs


@pytest.mark.parametrize(
    ("driver", "cuda", "trouble", "verdict", "said"),
    [
        (None, "13.0", "", "skipped", "no NVIDIA driver"),
        (None, None, "", "skipped", "without CUDA"),
        (Driver("580.65.06", (13, 0)), "13.0", "", "ok", "580.65.06 serves CUDA 13.0"),
        (Driver("580.65.06", (13, 0)), "12.8", "", "ok", "for CUDA 12.8"),
        (Driver("525.60.13", (12, 0)), "12.8", "", "ok", "for CUDA 12.8"),
        (Driver("570.86.10", (12, 8)), "13.0", "", "failed", "install driver 580 or newer"),
        (Driver("470.82.01", (11, 4)), "12.8", "", "failed", "install driver 525 or newer"),
        (Driver("580.65.06", (13, 0)), None, "", "failed", "install PyTorch for CUDA"),
        (Driver("580.65.06", None, "no libcuda.so.1"), "13.0", "", "failed", "--gpus all"),
        (Driver("580.65.06", (13, 0)), "13.0", "Error 803: mismatch", "failed", "Error 803: mismatch"),
    ],
)
def test_driver_and_pytorch(driver, cuda, trouble, verdict, said, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    outcome = judge_driver(driver, cuda, trouble)
    assert outcome.verdict == verdict
    assert said in f"{outcome.seen} | {outcome.remedy}"
    assert bool(outcome.remedy) == (verdict == "failed")


@pytest.mark.parametrize("visible", ["", "-1", "-1,0", "NoDevFiles", "none"])
@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        (Driver("580.65.06", (13, 0)), "13.0"),
        (Driver("470.82.01", (11, 4)), "13.0"),
        (Driver("580.65.06", (13, 0)), None),
        (Driver("580.65.06", None, "error 34"), "13.0"),
    ],
)
def test_hidden_gpus_are_not_a_fault(visible, driver, cuda, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    outcome = judge_driver(driver, cuda, "no CUDA GPUs are available")
    assert outcome == skipped(f"CUDA_VISIBLE_DEVICES={visible!r} hides all GPUs: trains on the CPU")


@pytest.mark.parametrize("visible", ["0", "1,0", "3,-1", "GPU-8932f937", "MIG-GPU-1/0/0", " 0"])
def test_gpus_that_are_shown_must_work(visible, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert is_bad(judge_driver(Driver("470.82.01", (11, 4)), "13.0", ""), "failed", "580 or newer")
    assert is_bad(judge_driver(Driver("580.65.06", (13, 0)), "13.0", "Error 802"), "failed", "Error 802")


def test_gpus_that_can_train():
    eight = [Gpu(number, "NVIDIA H100", (9, 0), 2**36, 2**36) for number in range(8)]
    outcome = judge_gpus(eight, 8, TORCH, BUILD)
    assert outcome == ok("8 x NVIDIA H100, sm_90, 64.0 GiB free or more on each")
    assert judge_gpus([Gpu(0, "A40", (8, 6), 1, 1)], None, TORCH, BUILD).verdict == "ok"
    assert judge_gpus([Gpu(0, "newer", (13, 0), 1, 1)], None, TORCH, BUILD).verdict == "ok"
    assert judge_gpus([H100], 1, TORCH, []).verdict == "ok"
    assert judge_gpus([], None, [], []).verdict == "skipped"


def test_gpus_that_cannot():
    turing = Gpu(1, "NVIDIA T4", (7, 5), 2**34, 2**34)
    assert is_bad(judge_gpus([H100, turing], None, TORCH, BUILD), "failed", "GPU 1 (NVIDIA T4, sm_75)")
    assert is_bad(judge_gpus([H100], None, TORCH, ["80-real"]), "warning", "CMAKE_CUDA_ARCHITECTURES=90-real")
    assert is_bad(judge_gpus([H100], 8, TORCH, BUILD), "failed", "1 GPU visible, 8 expected")
    used = Gpu(3, "NVIDIA H100", (9, 0), 10 * 2**30, 80 * 2**30)
    assert is_bad(
        judge_gpus([H100, used], None, TORCH, BUILD), "warning", "GPU 3", "10.0 of 80.0 GiB", "nvidia-smi"
    )


# ------------------------------------------------------------------ numbers


def test_numbers_are_right_here():
    assert numbers.check_cpu_operators().verdict != "failed"
    assert numbers.check_gpu_operators().verdict == ("ok" if torch.cuda.is_available() else "skipped")


@pytest.mark.parametrize("operation", ["koopman_split_and_loss", "info_nce"])
def test_a_library_that_gives_wrong_numbers(operation, monkeypatch):
    right = getattr(numbers, operation)

    def wrong(x, *arguments, backend, **options):
        return right(x + 0.05 if backend == "auto" else x, *arguments, backend=backend, **options)

    monkeypatch.setattr(numbers, operation, wrong)
    name = "koopman" if operation.startswith("koopman") else "contrastive"
    assert is_bad(
        numbers.check_cpu_operators(),
        "failed",
        f"wrong numbers ({numbers.backends_on('cpu')}",
        f"{name} float32 by",
    )


def test_a_library_that_gives_no_numbers():
    nothing = {"koopman float32": (float("nan"), 1e-4), "contrastive float32": (0.0, 1e-4)}
    assert is_bad(numbers.judge_numbers(nothing, "cpu"), "failed", "koopman float32 by nan")
    assert numbers.off(torch.tensor([float("nan")]), torch.ones(1)) == float("inf")


def test_no_library(monkeypatch):
    monkeypatch.delenv("BODVCL_NATIVE", raising=False)
    monkeypatch.setattr("bodvcl.ops.native.cpu_available", lambda: False)
    monkeypatch.setattr("bodvcl.ops.native.why_not", lambda device: "built for another processor")
    outcome = numbers.check_cpu_operators()
    assert is_bad(outcome, "warning", "built for another processor")


# ------------------------------------------------------------------ software, decoders


def test_packages():
    installed = {"torch": "2.14.1", "torchvision": "0.29.1", "numpy": "2.4.0", "av": "18.1.0", "triton": None}
    assert software.judge_packages((3, 11, 7), installed).verdict == "ok"
    said = software.judge_packages((3, 11, 7), installed, ["av", "pyarrow"])
    assert is_bad(said, "failed", "pip install av pyarrow")
    assert is_bad(
        software.judge_packages((3, 11, 7), installed | {"torch": "2.9.0"}), "warning", "torch 2.9.0"
    )


def test_every_package_that_is_asked_for_is_looked_for(monkeypatch):
    there = software.version_of
    monkeypatch.setattr(software, "version_of", lambda name: None if name == "scikit-learn" else there(name))
    assert is_bad(software.check_packages(), "failed", "pip install scikit-learn")


def test_glibc():
    tag = "Tag: py3-none-manylinux_2_34_x86_64"
    assert software.judge_glibc("glibc", "2.28", "").verdict == "ok"
    assert software.judge_glibc("glibc", "2.36", tag).verdict == "ok"
    assert is_bad(software.judge_glibc("glibc", "2.28", tag), "failed", "glibc 2.28, 2.34 is needed")
    assert is_bad(software.judge_glibc("glibc", "2.17", ""), "failed", "2.28 is needed")
    assert is_bad(software.judge_glibc("", "", ""), "failed", "not Alpine Linux")


def test_a_decoder_that_gives_other_frames(monkeypatch):
    from bodvcl.data.files import reading

    right = reading.read_frames
    assert decoders.check_pyav().verdict == "ok"
    monkeypatch.setattr(reading, "read_frames", lambda info, wanted: right(info, [n - 1 for n in wanted]))
    assert is_bad(decoders.check_pyav(), "failed", "other frames than those asked for")


# ------------------------------------------------------------------ shared memory, limits


def test_shared_memory_that_is_missing_or_small(tmp_path, monkeypatch):
    assert is_bad(check_shared_memory(0, tmp_path / "shm"), "warning", "there is no ")
    assert is_bad(check_shared_memory(8, tmp_path / "shm"), "failed", "--shm-size")
    monkeypatch.setattr("os.statvfs", lambda folder: _free(64 * 2**20))
    assert is_bad(check_shared_memory(8, tmp_path), "warning", "0.07 of 0.07 GB free", "--shm-size")
    monkeypatch.setattr("os.statvfs", lambda folder: _free(needed(16)))
    assert check_shared_memory(8, tmp_path, workers=16).verdict == "ok"
    assert check_shared_memory(8, tmp_path, workers=17).verdict == "warning"
    assert needed(17) - needed(16) == 2 * BATCH


def _free(size: int, files: int = 10**6) -> os.statvfs_result:
    blocks = size // 4096
    return os.statvfs_result((4096, 4096, blocks, blocks, blocks, files, files, files, 0, 255))


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC])
def test_shared_memory_that_cannot_be_written(code, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", _refuses(code))
    assert is_bad(check_shared_memory(0, tmp_path), "warning", os.strerror(code))
    assert check_shared_memory(2, tmp_path).verdict == "failed"


def _refuses(code: int):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


@contextlib.contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def test_few_open_files():
    with limited(resource.RLIMIT_NOFILE, 64):
        outcome = limits.check_limits()
    assert is_bad(outcome, "failed", "64 open files", "ulimit -n 65536")
    assert limits.judge_open_files(512).verdict == "warning"
    assert limits.judge_open_files(1024).verdict == limits.judge_open_files(-1).verdict == "ok"


def test_processes_and_locked_memory():
    assert limits.judge_processes(-1, None).verdict == "ok"
    assert is_bad(limits.judge_processes(4096, 100), "warning", "100 processes", "--pids-limit")
    assert is_bad(limits.judge_processes(200, None), "warning", "ulimit -u")
    assert is_bad(limits.judge_locked_memory(64 * 1024, rdma=True), "warning", "64 KiB", "memlock=-1")
    assert limits.judge_locked_memory(64 * 1024, rdma=False).verdict == "ok"
    assert limits.judge_locked_memory(-1, rdma=True).verdict == "ok"


def test_a_step_with_fewer_cores_than_its_job(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 128)
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "96(x2)")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert limits.check_cores(8).seen.startswith("96 of 128 ")


@pytest.mark.parametrize(("node", "cores"), [(0, 96), (1, 96), (2, 32), (3, 128), (4, 1)])
def test_a_job_with_other_cores_on_every_node(node, cores, monkeypatch):
    """As many as Slurm gave here, never more than there are; without an entry those of the process."""
    monkeypatch.setattr("os.cpu_count", lambda: 128)
    monkeypatch.setattr(limits, "available_cores", lambda: 1)
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "96(x2),32,256")
    monkeypatch.setenv("SLURM_NODEID", str(node))
    assert limits.check_cores(0).seen.startswith(f"{cores} of 128 ")


def test_memory_that_a_container_has_used(tmp_path, monkeypatch):
    monkeypatch.setattr("bodvcl.doctor.together.visible_gpus", lambda: 0)
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: {2**26} kB\nMemAvailable: {2**25} kB\n")
    assert limits.check_memory(1, tmp_path).verdict == "ok"
    (group / "memory.max").write_text(f"{4 * 2**30}\n")
    (group / "memory.stat").write_text("inactive_file 0\n")
    (group / "memory.current").write_text(f"{2**29}\n")
    assert limits.check_memory(1, tmp_path) == ok("3.5 of 4.0 GiB free")
    (group / "memory.current").write_text("4200000000\n")
    assert is_bad(limits.check_memory(1, tmp_path), "warning", "0.1 of 4.0 GiB free", "about 3 GiB")


def test_one_process_of_a_node_with_many_gpus(monkeypatch):
    """In docs/slurm.sbatch one process looks at the node, and eight will train on it."""
    monkeypatch.setattr(limits, "machine_memory", lambda root: 2**34)
    monkeypatch.setattr("bodvcl.doctor.together.visible_gpus", lambda: 8)
    assert is_bad(limits.check_memory(1), "warning", "24 GiB are needed for 8 ranks")
    assert is_bad(limits.check_memory(16), "warning", "48 GiB are needed for 16 ranks")
    monkeypatch.setitem(sys.modules, "bodvcl.doctor.together", None)  # as where PyTorch cannot be imported
    assert "rank" not in limits.check_memory(0).seen


def test_memory_and_cores():
    gib = 2**30
    assert limits.judge_memory(64 * gib, 60 * gib, 8).verdict == "ok"
    assert is_bad(limits.judge_memory(64 * gib, 20 * gib, 8), "warning", "20.0 of 64.0 GiB free", "24 GiB")
    assert is_bad(limits.judge_memory(4 * gib, 60 * gib, 8), "warning", "4.0 of 4.0 GiB", "--mem")
    assert limits.judge_cores(16, None, "1", 8, 16).verdict == "ok"
    assert is_bad(limits.judge_cores(4, None, "8", 0, 64), "warning", "more threads than cores")
    assert is_bad(limits.judge_cores(64, 4.0, "", 0, 64), "warning", "time for 4.0 only")
    assert is_bad(limits.judge_cores(1, None, "1", 8, 64), "warning", "--cpus-per-task")


# ------------------------------------------------------------------ run folder


def test_a_run_folder_that_is_fit_is_left_as_it_was(tmp_path):
    folder = tmp_path / "new" / "run"
    for check in (
        run_folder.check_write_speed,
        run_folder.check_rename,
        run_folder.check_locks,
        run_folder.check_file_times,
    ):
        assert check(folder).verdict in ("ok", "warning"), check
    assert run_folder.check_rename(folder).verdict == "ok"
    assert run_folder.check_locks(folder).verdict == "ok"
    assert "can be created" in run_folder.check_run_folder(folder).seen
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_cannot_be_written(tmp_path):
    assert is_bad(run_folder.check_run_folder(Path("/proc/1/runs")), "failed", "/proc/1 cannot be written")
    (tmp_path / "file").touch()
    assert is_bad(run_folder.check_run_folder(tmp_path / "file"), "failed", "is not a folder")


@pytest.mark.parametrize(
    ("free", "files", "verdict", "said"),
    [
        (0, 10**6, "failed", "0.0 GB free"),
        (2 * run_folder.CHECKPOINT - 1, 10**6, "failed", "two checkpoints"),
        (2 * 10**9, 10**6, "warning", "room for 3 checkpoints"),
        (10**12, 5, "failed", "inodes"),
        (10**12, None, "ok", "1000.0 GB free"),
    ],
)
def test_room_in_a_run_folder(free, files, verdict, said):
    outcome = run_folder.judge_room("x", free, files)
    assert outcome.verdict == verdict
    assert said in f"{outcome.seen} {outcome.remedy}"


def test_a_run_folder_on_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("os.statvfs", lambda folder: _free(0))
    assert is_bad(run_folder.check_run_folder(tmp_path), "failed", "0.0 GB free")


def test_a_disk_that_fills_up_while_it_is_measured(tmp_path):
    from bodvcl.doctor.apart import run_apart

    with limited(resource.RLIMIT_FSIZE, 2**20):
        outcome = run_apart(lambda: run_folder.check_write_speed(tmp_path), 30)
    assert is_bad(outcome, "failed")
    assert "can be written" in outcome.seen or "the disk is full" in outcome.seen
    assert is_bad(run_folder.judge_speed(12 * 10**6, 3.0), "warning", "4 MB/s", "takes 138 s")


def _removed_first(source, target):
    """A stand-in for a file system whose rename is not atomic."""
    Path(target).unlink(missing_ok=True)
    os.link(source, target)
    os.unlink(source)


def _copied(source, target):
    """A stand-in for a file system that copies in place of renaming."""
    data = Path(source).read_bytes()
    with open(target, "wb", buffering=0) as file:
        file.write(data[:100])
        file.write(data[100:])
    os.unlink(source)


@pytest.mark.parametrize("replace", [_removed_first, _copied])
def test_a_file_system_whose_rename_is_not_atomic(replace, tmp_path, monkeypatch):
    monkeypatch.setattr("os.replace", replace)
    assert is_bad(
        run_folder.check_rename(tmp_path), "failed", "while the file was replaced", "choose a --run-dir"
    )


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", _refuses(errno.ENOLCK))
    assert is_bad(run_folder.check_locks(tmp_path), "warning", os.strerror(errno.ENOLCK))
    monkeypatch.setattr("fcntl.flock", lambda file, how: None)
    assert is_bad(run_folder.check_locks(tmp_path), "warning", "two processes got the same lock")


def test_a_file_server_with_another_clock():
    assert run_folder.judge_times(0.3).verdict == run_folder.judge_times(0.0).verdict == "ok"
    assert is_bad(run_folder.judge_times(-7.2), "warning", "7.2 s behind")


MOUNTS = r"""22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:25 / /scratch rw - lustre 10.0.0.1@o2ib:/x rw
24 22 0:26 / /scratch/my\040own rw - fuse.s3fs s3fs rw
25 22 0:27 / /tmp rw - ext4 /dev/vdb rw
26 22 0:28 / /tmp rw - tmpfs tmpfs rw
27 22 0:29 / /home rw - nfs4 server:/home rw
28 22 0:30 / /bucket rw - fuse mountpoint-s3 rw
29 22 0:31 / /volume rw - fuse.glusterfs server:/volume rw
30 22 0:32 / /podman rw - fuse.fuse-overlayfs fuse-overlayfs rw
31 22 0:33 / /old-podman rw - fuse fuse-overlayfs rw
32 22 0:34 / /ceph rw - fuse.ceph-fuse ceph-fuse rw
33 22 0:35 / /ntfs rw - fuseblk /dev/sda1 rw
34 22 0:36 / /mine rw - fuse.bindfs /srv rw
35 22 0:37 / /no-source rw - fuse
"""


@pytest.mark.parametrize(
    ("folder", "kind", "verdict"),
    [
        ("/runs", "ext4", "ok"),
        ("/scratch/runs", "lustre", "ok"),
        ("/scratch/my own/runs", "fuse.s3fs", "warning"),
        ("/tmp/runs", "tmpfs", "warning"),
        ("/home/me", "nfs4", "ok"),
        ("/homeless", "ext4", "ok"),
        ("/bucket/runs", "fuse.mountpoint-s3", "warning"),
        ("/podman/runs", "fuse.fuse-overlayfs", "warning"),
        ("/old-podman", "fuse.fuse-overlayfs", "warning"),
        ("/volume", "fuse.glusterfs", "ok"),
        ("/ceph", "fuse.ceph-fuse", "ok"),
        ("/ntfs", "fuseblk", "ok"),
        ("/mine", "fuse.bindfs", "ok"),
        ("/no-source", "fuse", "ok"),
    ],
)
def test_file_systems(folder, kind, verdict):
    assert kind_of(Path(folder), MOUNTS) == kind
    outcome = judge_kind(Path(folder), kind)
    assert outcome.verdict == verdict
    assert kind in outcome.seen
    assert bool(outcome.remedy) == (verdict == "warning")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nfs4", "a network file system"),
        ("fuse.glusterfs", "a network file system"),
        ("fuse.bindfs", "local"),
        ("fuse.mountpoint-s3", "replace and lock files"),
        ("fuse.fuse-overlayfs", "layer of a container"),
    ],
)
def test_what_a_file_system_means(kind, said):
    assert said in judge_kind(Path("/x"), kind).seen


# ------------------------------------------------------------------ data


def test_data_that_can_be_read(tmp_path):
    encode(tmp_path / "drawn.mp4", decoders.drawn_frames())
    outcome = check_data(str(tmp_path))
    assert outcome.verdict == "ok", outcome
    assert "1 video, the first one decodes (26 frames)" in outcome.seen
    assert check_data("shapes").verdict == "ok"


def test_data_that_cannot(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    assert is_bad(check_data(str(tmp_path)), "failed", "a.mp4: not readable as a video", "bodvcl data scan")
    assert is_bad(judge_reading("x", 10**7, 2.0), "warning", "5 MB/s", "transcode")
    assert judge_reading("x", 1000, 1.0).verdict == "ok"  # too little to tell


def test_no_more_files_are_looked_for_than_are_read(tmp_path, monkeypatch):
    """A large data set on a slow file server: to ask for all of its files would take minutes."""
    looked, is_file = [], Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: looked.append(path) or is_file(path))
    files = [tmp_path / f"{number}.mp4" for number in range(9)]
    for path in files:
        path.write_bytes(bytes(2**20))
    monkeypatch.setattr(data, "_MOST", 3 * 2**20)
    outcome = data._speed("9 videos", ["https://example.org/a.tar", *map(str, files)])
    assert outcome.seen.startswith("9 videos, 3.1 MB read at")
    assert looked == files[:3]


def test_files_that_are_not_there_take_no_more_than_the_time(monkeypatch):
    monkeypatch.setattr(data, "_LONGEST", 0.05)
    looked = []
    monkeypatch.setattr(Path, "is_file", lambda path: looked.append(path) or time.sleep(0.01))
    assert data._speed("400 videos", ["/lost.mp4"] * 400) == ok("400 videos")
    assert len(looked) < 100


# ------------------------------------------------------------------ outcomes


def test_several_outcomes_as_one():
    assert combined([ok("a"), skipped("b")]) == Outcome("ok", "a; b")
    assert combined([ok("a"), warning("b", "c"), failed("d", "e"), failed("f", "e")]) == Outcome(
        "failed", "d; f; b", "e; c"
    )
