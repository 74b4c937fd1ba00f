"""Two processes over gloo train as one does on the whole batch; they start, stop and fail together."""

from __future__ import annotations

import os
import shutil
import signal

import processes
import pytest
import torch
import yaml
from patience import wait_until
from same_training import SMOOTH, assert_same_training, metrics

from bodvcl.cli.train import main
from bodvcl.engine.checkpoint import LAST
from bodvcl.engine.device import pick_device
from bodvcl.engine.metrics import METRICS
from bodvcl.engine.ranks import Ranks, World, world_from_environment
from bodvcl.errors import ConfigError


def has_stepped(run):
    return (run / METRICS).exists() and (run / METRICS).stat().st_size > 0


@pytest.fixture(scope="module")
def one_process(tiny, tmp_path_factory):
    run = tmp_path_factory.mktemp("one") / "r"
    options = [*tiny, *SMOOTH, "--run-dir", str(run)]
    assert main(options) == 0
    return run


@pytest.fixture(scope="module")
def two_processes(tiny, tmp_path_factory):
    """Folder of a run of two processes that was stopped after three steps, and what they said."""
    run = tmp_path_factory.mktemp("two") / "r"
    options = [*tiny, *SMOOTH, "--run-dir", str(run), "--max-steps", "3"]
    ended = processes.finish(processes.start(options))
    assert [code for code, _, _ in ended] == [0, 0], ended
    return run, ended


def test_two_processes_train_as_one(two_processes, tiny, tmp_path):
    """Batch statistics and contrast span both processes; so the global batch decides, not who holds it."""
    run, _ = two_processes
    reference = tmp_path / "reference"
    assert main([*tiny, *SMOOTH, "--run-dir", str(reference), "--max-steps", "3"]) == 0
    assert_same_training(run, reference, 3)


@pytest.mark.slow
def test_two_processes_mix_the_scenes_that_one_would(tiny, tmp_path):
    """With shares of 8 videos. The standard deviations over time are standardised over both processes."""
    options = [*tiny, *SMOOTH, "--augment.mix", "1", "--koopman.dynamic", "std", "--max-steps", "2"]
    options += ["--batch-size", "16", "--shapes.train-videos", "32"]
    run, reference = tmp_path / "two", tmp_path / "one"
    ended = processes.finish(processes.start([*options, "--run-dir", str(run)]))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert main([*options, "--run-dir", str(reference)]) == 0
    assert_same_training(run, reference, 2)


@pytest.mark.slow
def test_batch_statistics_of_groups_of_one_are_those_of_each_process(tiny, tmp_path):
    runs = []
    for name, options in (("groups", ["--sync-norm-group", "1"]), ("own", ["--sync-norm", "False"])):
        runs.append(tmp_path / name)
        options = [*tiny, *SMOOTH, *options, "--max-steps", "3", "--run-dir", str(runs[-1])]
        ended = processes.finish(processes.start(options))
        assert [code for code, _, _ in ended] == [0, 0], ended
        assert ("batch normalisation in groups of 1" in ended[0][1]) == (name == "groups")
    assert_same_training(*runs, 3)


def test_only_the_first_process_speaks(two_processes):
    _, ((_, out, err), (_, other_out, other_err)) = two_processes
    assert "2 processes, 2 videos each" in out
    assert "pre-training" in err
    assert other_out == ""
    assert "pre-training" not in other_err


def test_a_run_of_two_processes_is_continued_by_one(two_processes, one_process, tmp_path, capsys):
    stopped, _ = two_processes
    run = tmp_path / "r"
    shutil.copytree(stopped, run)
    assert main(["--resume", "--run-dir", str(run), "--max-steps", "None"]) == 0
    assert "processes were 2, now 1" in capsys.readouterr().out
    assert_same_training(run, one_process, 6)


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_one_message(tiny, tmp_path):
    options = [*tiny, "--batch-size", "5", "--run-dir", str(tmp_path / "r")]
    ended = processes.finish(processes.start(options))
    assert [code for code, _, _ in ended] == [2, 2]
    said = "".join(err for _, _, err in ended)
    assert said.count("error:") == 1
    assert "a batch of 5 videos cannot be shared equally by 2 processes" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_one_that_fails_ends_all_with_its_message(tiny, tmp_path):
    ended = processes.finish(processes.start([*tiny, "--run-dir", str(tmp_path / "r")], mishap="fails"))
    assert all(code != 0 for code, _, _ in ended)
    said = "".join(err for _, _, err in ended)
    assert said.count("error:") == 1
    assert "bodvcl train: error: process 1: the disk went away" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_loss_that_is_no_number_on_one_ends_all_with_the_state_before(tiny, tmp_path):
    run = tmp_path / "r"
    options = [*tiny, *SMOOTH, "--log.save-every", "100", "--run-dir", str(run)]
    ended = processes.finish(processes.start(options, mishap="nan"))
    assert [code for code, _, _ in ended] == [2, 2], ended
    said = "".join(err for _, _, err in ended)
    assert said.count("error:") == 1
    assert "Traceback" not in said
    assert "bodvcl train: error: step 3: loss" in ended[0][2]
    assert f"{run / LAST} holds the state after 2 steps" in ended[0][2]
    assert torch.load(run / LAST, weights_only=True)["step"] == 2
    assert [line["step"] for line in metrics(run)] == [1, 2]


@pytest.mark.slow
def test_a_signal_to_one_stops_all_at_the_same_step(tiny, tmp_path):
    run = tmp_path / "r"
    running = processes.start([*tiny, "--epochs", "2000", "--run-dir", str(run)])
    try:
        wait_until(lambda: has_stepped(run), lambda: any(process.poll() is not None for process in running))
    except AssertionError as error:
        raise AssertionError(processes.finish(running)) from error
    os.kill(running[1].pid, signal.SIGUSR1)
    ended = processes.finish(running)
    assert [code for code, _, _ in ended] == [128 + signal.SIGUSR1] * 2, ended
    assert torch.load(run / LAST, weights_only=True)["step"] == metrics(run)[-1]["step"]
    assert "not in a Slurm job: nothing is requeued" in ended[0][1]
    assert yaml.safe_load((run / "config.yaml").read_text())["epochs"] == 2000


def test_half_an_environment_is_refused(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert world_from_environment() == World()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(
        ConfigError,
        match="RANK, WORLD_SIZE are set but LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not: start the",
    ):
        world_from_environment()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", World(1, 2, 1)) == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2"):
        pick_device("auto", World(2, 3, 2))
    with pytest.raises(ConfigError, match="each has its own"):
        pick_device("cuda:0", World(1, 2, 1))


def test_alone_nothing_is_shared():
    with Ranks(World(), torch.device("cpu")) as ranks:
        tensors = {"a": torch.ones(2)}
        assert ranks.mean(tensors)["a"] is tensors["a"]
        assert ranks.least(3, -1) == [3, -1]
        assert ranks.tell(lambda: "made") == "made"
        assert not torch.distributed.is_initialized()
