"""``--shard``: a run whose weights are cut over its processes trains as one whose weights are whole, its
checkpoints continue on any number of processes, and what it cannot do is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import processes
import pytest
import torch
from patience import LONG
from same_training import assert_same_movement

from bodvcl.cli.train import main
from bodvcl.config.parse import load_yaml, parse_config
from bodvcl.engine.checkpoint import ENCODER, LAST, load_encoder, remove_unused_folders
from bodvcl.engine.checkpoint.file import read_state
from bodvcl.engine.checkpoint.folders import folder_of
from bodvcl.engine.checkpoint.shards import read_whole
from bodvcl.engine.learner import untrained_encoder
from bodvcl.engine.metrics import METRICS
from bodvcl.errors import ConfigError
from bodvcl.models.backbones.build import BACKBONES

SMALL = [
    "--data", "shapes", "--device", "cpu", "--workers", "0", "--batch-size", "12", "--epochs", "2",
    "--seed", "1", "--shapes.train-videos", "24", "--shapes.probe-videos", "16", "--shapes.frames", "20",
    "--shapes.size", "32", "--clip.size", "32", "--clip.frames", "6", "--augment.mix", "0",
    "--model.backbone", "vit_b16", "--model.embed-dim", "12", "--model.hidden-dim", "16",
    "--precision", "fp32", "--koopman.max-gain", "None", "--bilevel.solver", "first_order",
    "--bilevel.gamma", "0.001", "--optim.name", "sgd", "--optim.lr", "0.002", "--log.every", "1",
    "--log.save-every", "2", "--log.keep-last", "2", "--log.no-probe", "--log.no-report",
]  # fmt: skip
"""Options of a run of four steps without amplified rounding."""
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_vit(monkeypatch):
    monkeypatch.setattr("bodvcl.models.backbones.build.BACKBONES", dict(BACKBONES))
    processes.small_vit()


@pytest.fixture(scope="session")
def small(shapes_cache) -> list[str]:
    return [*SMALL, "--shapes.cache", str(shapes_cache)]


def train(run, options, size=2, mishap="small"):
    """Train with so many processes; what they said."""
    ended = processes.finish(processes.start([*options, "--run-dir", str(run)], mishap=mishap, size=size))
    return [code for code, _, _ in ended], ended


def trained(run, options, size=2, mishap="small"):
    codes, ended = train(run, options, size, mishap)
    assert codes == [0] * size, ended
    return run


@pytest.fixture(scope="module")
def cut(small, tmp_path_factory):
    """Folder of a run of two processes with cut weights; it keeps the state after step 2."""
    return trained(tmp_path_factory.mktemp("cut") / "r", [*small, "--shard"])


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """The same with whole weights."""
    return trained(tmp_path_factory.mktemp("whole") / "r", small)


def after_two_steps(run: Path, folder: Path) -> Path:
    """A copy of a run, set back to step 2 as docs/training.md says."""
    shutil.copytree(run, folder)
    shutil.copyfile(folder / "checkpoint" / "step-00000002.pt", folder / LAST)
    return folder


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


def state_of(run: Path) -> dict:
    """The whole state of a run, however it was saved."""
    state = read_state(run / LAST, CPU)
    return read_whole(run / LAST, state) if "shards" in state else state


def assert_same_training(run: Path, reference: Path, tolerance: float = 1e-3) -> None:
    """Losses, weights, momentum encoder and the optimiser's state are equal but for rounding."""
    for got, want in zip(metrics(run), metrics(reference), strict=True):
        for name in set(want) & {"loss", "loss_pred", "grad_norm"}:
            assert got[name] == pytest.approx(want[name], rel=1e-3, abs=1e-6), (got["step"], name)
    config = load_yaml(reference / "config.yaml")
    start = untrained_encoder(config.model, config.seed).state_dict()
    got, want = state_of(run), state_of(reference)
    assert got["step"] == want["step"] == 4
    for prefix in ("encoder.", "target."):
        of = [{n: t for n, t in s["learner"].items() if n.startswith(prefix)} for s in (got, want)]
        if of[1]:
            assert_same_movement(*of, {f"{prefix}{name}": t for name, t in start.items()}, tolerance)
    assert got["optimizer"]["state"].keys() == want["optimizer"]["state"].keys()
    for number, values in want["optimizer"]["state"].items():
        for key, value in values.items():
            apart = (got["optimizer"]["state"][number][key] - value).norm()
            assert apart <= 10 * tolerance * value.norm() + 1e-6, (number, key)


def assert_same_bits(run: Path, reference: Path) -> None:
    got, want = state_of(run), state_of(reference)
    for name, value in want["learner"].items():
        assert torch.equal(got["learner"][name], value), name
    for number, values in want["optimizer"]["state"].items():
        for key, value in values.items():
            assert torch.equal(got["optimizer"]["state"][number][key], value), (number, key)


# ------------------------------------------------------------ training


def test_two_processes_with_cut_weights_train_as_with_whole_ones(cut, whole):
    assert_same_training(cut, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        pytest.param(
            "--method byol --accumulate 2 --optim.name adamw --optim.lr 1e-4 --optim.clip-norm 1",
            5e-2,
            marks=LONG,
        ),
        pytest.param(
            "--method moco --moco.queue 48 --sync-norm False --optim.name lars --optim.lr 1",
            1e-3,
            marks=LONG,
        ),
        pytest.param(
            "--method swav --bilevel.solver single --optim.name lamb --optim.lr 1e-3", 5e-2, marks=LONG
        ),
    ],
)
def test_methods_and_optimisers_train_as_with_whole_weights(small, tmp_path, options, tolerance):
    options = [*small, *options.split()]
    assert_same_training(
        trained(tmp_path / "cut", [*options, "--shard"]), trained(tmp_path / "whole", options), tolerance
    )


@pytest.mark.slow
@LONG
def test_bfloat16_travels_and_trains_nearly_the_same(small, tmp_path):
    options = [*small, "--decouple", "none", "--precision", "bf16"]
    runs = trained(tmp_path / "cut", [*options, "--shard"]), trained(tmp_path / "whole", options)
    for got, want in zip(*map(metrics, runs), strict=True):
        assert got["loss"] == pytest.approx(want["loss"], rel=2e-2)


@pytest.mark.slow
def test_a_step_reads_nothing_back(small, tmp_path):
    options = [*small, "--shard", "--method", "byol"]
    _, ended = train(tmp_path / "r", options, mishap="small+reads")
    assert [line for line in ended[0][1].splitlines() if line.startswith("reads:")] == ["reads: []"] * 4, (
        ended
    )


def test_one_process_cuts_nothing(small, tmp_path, capsys):
    run = tmp_path / "r"
    assert main([*small, "--shard", "--max-steps", "1", "--run-dir", str(run)]) == 0
    assert "--shard changes nothing: one process holds everything" in capsys.readouterr().out
    assert torch.load(run / LAST, weights_only=True)["step"] == 1
    assert not list((run / "checkpoint").glob("shards-*"))


# ------------------------------------------------------------ checkpoints


def test_the_file_for_users_holds_whole_weights(cut):
    state = torch.load(cut / ENCODER, weights_only=True)["encoder"]
    assert all(type(t) is torch.Tensor for t in state.values())
    inside = {n.removeprefix("encoder."): t for n, t in state_of(cut)["learner"].items()}
    assert all(torch.equal(t, inside[name]) for name, t in state.items())
    assert load_encoder(cut)(torch.zeros(1, 3, 6, 32, 32)).shape == (1, 3, 12)


def test_each_process_writes_its_part(cut):
    folder = folder_of(cut / LAST, read_state(cut / LAST, CPU))
    parts = {path.name: path.stat().st_size for path in folder.glob("*.distcp")}
    assert parts.keys() == {"__0_0.distcp", "__1_0.distcp"}
    assert min(parts.values()) > 0.4 * sum(parts.values())
    assert {p.name for p in (cut / "checkpoint").glob("shards-*")} == {"shards-00000002", "shards-00000004"}


def test_one_process_continues_what_two_have_cut(cut, tmp_path, capsys):
    run = after_two_steps(cut, tmp_path / "r")
    assert main(["--resume", "--run-dir", str(run)]) == 0
    assert "processes were 2, now 1" in capsys.readouterr().out
    assert_same_training(run, cut)
    assert isinstance(torch.load(run / LAST, weights_only=True)["learner"], dict)


@pytest.mark.slow
def test_as_many_processes_continue_bit_for_bit(cut, tmp_path):
    run = after_two_steps(cut, tmp_path / "r")
    (run / "checkpoint" / "shards-00000003").mkdir()  # as a process leaves it that is killed while it saves
    assert_same_bits(trained(run, ["--resume"]), cut)
    names = {path.name for path in (run / "checkpoint").glob("shards-*")}
    assert names == {"shards-00000002", "shards-00000004-2"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "size", "option"),
    [
        ("cut", 4, "--shard"),
        pytest.param("cut", 2, "--no-shard", marks=LONG),
        pytest.param("whole", 3, "--shard", marks=LONG),
    ],
)
def test_any_processes_continue_with_weights_whole_or_cut(cut, whole, tmp_path, start, size, option):
    """Three and four processes hold parts of different sizes."""
    run = after_two_steps({"cut": cut, "whole": whole}[start], tmp_path / "r")
    assert_same_training(trained(run, ["--resume", option], size), whole)


def test_a_folder_that_is_missing_is_one_message(cut, tmp_path, capsys):
    run = after_two_steps(cut, tmp_path / "r")
    shutil.rmtree(run / "checkpoint" / "shards-00000002")
    for options in (["--resume"], ["--resume", "--dry-run"]):
        assert main([*options, "--run-dir", str(run)]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{run / LAST} holds no tensors of its own, and " in error
        assert "shards-00000002, where they should be, is not there" in error


class _Spy:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("damage", ["part", "index", "code"])
def test_a_damaged_folder_is_one_message_and_runs_no_code(cut, tmp_path, monkeypatch, capsys, damage):
    monkeypatch.chdir(tmp_path)
    run = after_two_steps(cut, tmp_path / "r")
    folder = run / "checkpoint" / "shards-00000002"
    if damage == "part":
        (folder / "__1_0.distcp").write_bytes(b"")
    else:
        (folder / ".metadata").write_bytes(b"no index" if damage == "index" else pickle.dumps(_Spy()))
    before = {path: path.read_bytes() for path in (run / "checkpoint").rglob("*") if path.is_file()}
    assert main(["--resume", "--run-dir", str(run)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{folder} is not a readable part of a checkpoint" in error
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "ran").exists()


def test_only_folders_that_no_checkpoint_needs_are_removed(tmp_path):
    place = tmp_path / "checkpoint"
    place.mkdir()
    for name in ("shards-1", "shards-2", "shards-3"):
        (place / name).mkdir()
    for name, folder in (("last.pt", "shards-2"), ("epoch-0001.pt", "shards-1")):
        torch.save({"format": 1, "shards": folder}, place / name)
    (place / "encoder.pt").write_bytes(b"damaged")
    remove_unused_folders(tmp_path)
    assert len(list(place.glob("shards-*"))) == 3
    (place / "encoder.pt").unlink()
    remove_unused_folders(tmp_path)
    assert {path.name for path in place.glob("shards-*")} == {"shards-1", "shards-2"}


# ------------------------------------------------------------ what goes wrong


@pytest.mark.slow
def test_a_loss_that_is_no_number_on_one_leaves_no_trace(small, tmp_path):
    run = tmp_path / "r"
    options = [*small, "--shard", "--log.save-every", "100", "--log.keep-last", "1"]
    codes, ended = train(run, options, mishap="small+nan")
    assert codes == [2, 2], ended
    said = "".join(err for _, _, err in ended)
    assert said.count("error:") == 1
    assert "Traceback" not in said
    assert "bodvcl train: error: step 3: loss" in ended[0][2]
    assert f"{run / LAST} holds the state after 2 steps" in ended[0][2]
    short = trained(tmp_path / "short", [*small, "--shard", "--max-steps", "2"])
    assert_same_bits(run, short)


@pytest.mark.slow
def test_one_that_fails_ends_all_with_its_message(small, tmp_path):
    codes, ended = train(tmp_path / "r", [*small, "--shard"], mishap="small+fails")
    assert all(codes), ended
    said = "".join(err for _, _, err in ended)
    assert said.count("error:") == 1
    assert "bodvcl train: error: process 1: the disk went away" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_disk_that_is_full_for_one_keeps_the_checkpoint_before(small, tmp_path):
    run = tmp_path / "r"
    codes, ended = train(run, [*small, "--shard", "--log.keep-last", "1"], mishap="small+full")
    assert codes == [2, 2], ended
    said = "".join(err for _, _, err in ended)
    assert said.count("error:") == 1
    assert "Traceback" not in said
    assert f"bodvcl train: error: cannot write {run / LAST} (" in ended[0][2]
    assert "the previous checkpoint is intact; make room and continue with --resume" in ended[0][2]
    assert state_of(run)["step"] == 2
    assert [path.name for path in (run / "checkpoint").glob("shards-*")] == ["shards-00000002"]
    trained(run, ["--resume"])
    assert state_of(run)["step"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model.backbone r3d_18", "shard: r3d_18 has no blocks to cut, and is small"),
        (
            "--decouple none --method dualvar --clip.views 3 --clip.twin",
            "shard: DualVar passes the backbone itself",
        ),
        (
            "--decouple none --method hdc --clip.views 3 --clip.twin",
            "shard: HDC-style passes the backbone itself",
        ),
        ("--bilevel.scope all", "shard with bilevel.solver fd and scope all: every inner step"),
        (
            "--optim.name lamb --optim.fused apex",
            "shard with optim.fused apex: apex takes the norm of a part for that of the whole tensor",
        ),
        ("--compile", "shard with compile: FSDP's hooks are not compiled"),
        (
            "--precision fp16",
            "shard with precision fp16: there is no loss scale over cut gradients; use bf16",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_remedy(options, message):
    with pytest.raises(ConfigError) as error:
        parse_config(["--shard", "--model.backbone", "vit_b16", "--clip.size", "64", *options.split()])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", ["", "--decouple none", "--bilevel.solver single --bilevel.scope all"])
def test_what_passes_the_backbone_once_can_be_cut(options):
    assert parse_config(
        ["--shard", "--model.backbone", "vit_b16", "--clip.size", "64", *options.split()]
    ).shard
