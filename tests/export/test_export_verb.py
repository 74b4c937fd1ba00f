"""bodvcl export: what is written computes what the encoder computes, and bad input is one line."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import bodvcl
from bodvcl.cli.export import main
from bodvcl.errors import CheckpointError
from bodvcl.export import onnx_format, write
from bodvcl.export.graph import eager_outputs, random_clips

OLD_RUN = Path(__file__).parent.parent / "runs" / "written_by_0_1_0"
NAMES = {"features", "pooled", "embeddings", "static", "dynamic"}


def exported(run, to, out, *options):
    assert main([str(run), "--to", to, "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def expected(finished_run):
    """Five clips, and what the encoder says about them."""
    encoder = bodvcl.load_encoder(finished_run)
    clips = random_clips(encoder.clip, 5, seed=7)
    with torch.no_grad():
        outputs = eager_outputs(encoder.encoder, encoder.facts.koopman, clips)
    assert outputs.keys() == NAMES
    return clips, outputs


def assert_same(found, expected, atol=1e-5):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(torch.as_tensor(found[name]), value, rtol=0, atol=atol)


def test_the_streams_of_a_loaded_encoder_are_those_of_the_export(finished_run, expected):
    clips, outputs = expected
    encoder = bodvcl.load_encoder(finished_run)
    with torch.no_grad():
        static, dynamic = encoder.streams(clips)
        assert_same({"pooled": encoder.pooled(clips)}, {"pooled": outputs["pooled"]}, 0)
    assert torch.equal(static, outputs["static"])
    assert torch.equal(dynamic, outputs["dynamic"])


@pytest.mark.parametrize("to", ["safetensors", "hf"])
def test_weights_come_back_bit_for_bit(finished_run, to, tmp_path, capsys):
    out = exported(finished_run, to, tmp_path / "new" / f"encoder.{to}")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"wrote {out} (")
    assert said[1] == "checked: run by PyTorch on 3 random clips, it differs by 0 from the encoder"
    before, after = bodvcl.load_encoder(finished_run), bodvcl.load_encoder(out)
    assert after.facts == before.facts
    assert after.clip == before.clip
    assert not after.training
    assert after.state_dict().keys() == before.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(after.state_dict().values(), before.state_dict().values()))
    assert list((tmp_path / "new").iterdir()) == [out], "no temporary file is left"


def test_safetensors_can_be_read_by_anyone_and_are_the_same_every_time(finished_run, tmp_path):
    from safetensors import safe_open

    first = exported(finished_run, "safetensors", tmp_path / "a.safetensors")
    second = exported(finished_run / "checkpoint" / "encoder.pt", "safetensors", tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()
    with safe_open(first, framework="np") as file:
        facts = json.loads(file.metadata()["bodvcl"])
        assert "backbone.layers.0.0.weight" in file.keys()  # noqa: SIM118
    assert facts["model"]["backbone"] == "tiny"
    assert facts["clip"] == {"frames": 8, "stride": 2, "fps": None, "size": 16, "mean": 0.45, "std": 0.225}
    assert facts["koopman"]["mask"] == "smooth"
    assert (facts["step"], facts["method"], facts["decouple"]) == (6, "simclr", "bod")
    assert facts["version"] == bodvcl.__version__


@pytest.fixture(scope="module")
def programs(finished_run, tmp_path_factory):
    """The encoder for torch.jit.load and torch.export.load, under names without an ending."""
    folder = tmp_path_factory.mktemp("programs")
    return {to: exported(finished_run, to, folder / to) for to in ("torchscript", "torch.export")}


ALONE = """
import json, sys
sys.modules["bodvcl"] = None      # as if it was not installed
import torch
script, program, clips, results = sys.argv[1:]
clips, facts = torch.load(clips), {"encoder.json": ""}
with torch.inference_mode():
    found = [torch.jit.load(script, _extra_files=facts)(x) for x in (clips, clips[:1])]
    found += [torch.export.load(program).module()(x) for x in (clips, clips[:1])]
torch.save(found, results)
print(json.loads(facts["encoder.json"])["clip"]["size"])
"""


def test_programs_load_without_this_package_and_take_any_number_of_clips(programs, expected, tmp_path):
    clips, outputs = expected
    torch.save(clips, tmp_path / "clips")
    files = [programs["torchscript"], programs["torch.export"], tmp_path / "clips", tmp_path / "results"]
    said = subprocess.run(
        [sys.executable, "-W", "ignore::FutureWarning", "-c", ALONE, *map(str, files)],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert said.stdout == "16\n"
    for found in torch.load(tmp_path / "results"):
        assert_same(found, {name: value[: len(found["pooled"])] for name, value in outputs.items()})


def test_programs_do_not_tell_where_they_were_made(programs):
    here = str(Path(bodvcl.__file__).parent).encode()
    for file in programs.values():
        assert here not in file.read_bytes()


def test_the_programs_that_bodvcl_cannot_load_name_what_does(programs, tmp_path):
    for to, call in (("torchscript", "torch.jit.load"), ("torch.export", "torch.export.load")):
        with pytest.raises(CheckpointError, match=call):
            bodvcl.load_encoder(programs[to])
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"onnxruntime\.InferenceSession"):
        bodvcl.load_encoder(tmp_path / "x.onnx")


def test_onnx_is_checked_and_runs_in_onnxruntime(finished_run, expected, tmp_path, capsys):
    import onnx
    import onnxruntime

    clips, outputs = expected
    out = exported(finished_run, "onnx", tmp_path / "encoder.onnx")
    said = capsys.readouterr().out
    assert "checked: run by onnxruntime on 3 random clips, it differs by " in said
    assert float(said.split("it differs by ")[1].split()[0]) < 1e-4
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("clips", ["batch", 3, 8, 16, 16])]
    for count in (5, 1):
        found = session.run(None, {"clips": clips[:count].numpy()})
        names = [output.name for output in session.get_outputs()]
        assert_same(dict(zip(names, found)), {name: value[:count] for name, value in outputs.items()}, 1e-4)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["bodvcl"])
    assert facts["clip"]["mean"] == 0.45
    assert not onnx.load(out).graph.node[0].metadata_props
    assert str(Path(bodvcl.__file__).parent).encode() not in out.read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_without_onnxruntime_the_file_is_said_not_to_be_checked(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(
        write.PROGRAMS, "onnx", write.Program(lambda graph, facts: b"a file", onnx_format.run_onnx)
    )
    monkeypatch.setattr(onnx_format, "can_run_onnx", lambda: False)
    exported(finished_run, "onnx", tmp_path / "encoder.onnx")
    assert "not checked: onnxruntime is not installed" in capsys.readouterr().out


def test_an_export_that_computes_something_else_is_not_written(finished_run, tmp_path, monkeypatch, capsys):
    def off_by_little(file, clips):
        encoder = bodvcl.load_encoder(finished_run)
        outputs = eager_outputs(encoder.encoder, encoder.facts.koopman, clips)
        return {**outputs, "pooled": outputs["pooled"] + 2e-4}

    monkeypatch.setitem(write.PROGRAMS, "torchscript", write.Program(lambda graph, facts: b"", off_by_little))
    assert main([str(finished_run), "--to", "torchscript", "--out", str(tmp_path / "a.pt")]) == 2
    said = capsys.readouterr().err
    assert "the export differs from the encoder by 0.0002 on random clips, more than 0.0001" in said
    assert not list(tmp_path.iterdir())


def test_a_split_that_needs_eigenvalues_is_left_out_and_said(tiny, tmp_path, capsys):
    from bodvcl.cli.train import main as train

    run = tmp_path / "run"
    assert train([*tiny, "--run-dir", str(run), "--koopman.mask", "hard", "--log.no-probe"]) == 0
    capsys.readouterr()
    out = exported(run, "torchscript", tmp_path / "a.pt")
    assert "without the two streams: the hard mask needs eigenvalues" in capsys.readouterr().out
    encoder = bodvcl.load_encoder(run)
    clips = random_clips(encoder.clip, 2)
    with pytest.warns((FutureWarning, DeprecationWarning), match="deprecated"):
        loaded = torch.jit.load(out)
    with torch.no_grad():
        found = loaded(clips)
        assert found.keys() == {"features", "pooled", "embeddings"}
        torch.testing.assert_close(found["embeddings"], encoder.embeddings(clips))


def test_a_run_of_an_earlier_version(tmp_path):
    out = exported(OLD_RUN, "safetensors", tmp_path / "old.safetensors")
    assert bodvcl.load_encoder(out).facts.step == 4


def test_an_export_can_be_exported_but_a_card_needs_the_run(finished_run, tmp_path, capsys):
    first = exported(finished_run, "safetensors", tmp_path / "a.safetensors")
    folder = exported(finished_run, "hf", tmp_path / "hf")
    for source in (first, folder):
        again = exported(source, "safetensors", tmp_path / f"{source.name}.again")
        assert again.read_bytes() == first.read_bytes()
        capsys.readouterr()
        said = one_line(capsys, source, "--to", "hf", "--out", tmp_path / "new")
        assert f"--to hf writes the model card from the run, and {source} is an export of one" in said


def one_line(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    return said.err


def test_bad_input_is_one_line(finished_run, tmp_path, capsys):
    taken = tmp_path / "taken.onnx"
    taken.write_bytes(b"before")
    run = [finished_run, "--to"]
    assert "exists already: remove it" in one_line(capsys, *run, "onnx", "--out", taken)
    assert taken.read_bytes() == b"before"
    new = tmp_path / "new"
    assert "--to" in one_line(capsys, *run, "tensorflow", "--out", new)
    assert "name of a file of --to onnx" in one_line(capsys, *run, "safetensors", "--out", f"{new}.onnx")
    assert "--license is for the model card" in one_line(
        capsys, *run, "onnx", "--out", f"{new}.onnx", "--license", "MIT"
    )
    nothing = one_line(capsys, tmp_path / "nothing", "--to", "onnx", "--out", new)
    assert "no checkpoint at" in nothing
    assert "cannot write" in one_line(capsys, *run, "onnx", "--out", taken / "below" / "x.onnx")
    assert sorted(tmp_path.iterdir()) == [taken]


def test_an_unfinished_run_names_how_to_finish_it(finished_run, tmp_path, capsys):
    run = tmp_path / "unfinished"
    shutil.copytree(finished_run, run)
    (run / "checkpoint" / "encoder.pt").unlink()
    said = one_line(capsys, run, "--to", "onnx", "--out", tmp_path / "x.onnx")
    assert f"continue it with: bodvcl train --resume --run-dir {run}" in said
    with open(run / "config.yaml", "a") as file:
        file.write("checkpoint: somewhere\n")
    assert "bodvcl finetune --resume" in one_line(capsys, run, "--to", "onnx", "--out", tmp_path / "x.onnx")
    with open(run / "config.yaml", "a") as file:
        file.write("boxes: null\n")
    assert "bodvcl detect --resume" in one_line(capsys, run, "--to", "onnx", "--out", tmp_path / "x.onnx")


def test_a_fine_tuned_classifier_is_refused(finished_run, tmp_path, capsys):
    run = tmp_path / "tuned"
    shutil.copytree(finished_run, run)
    (run / "checkpoint" / "encoder.pt").rename(run / "checkpoint" / "classifier.pt")
    said = one_line(capsys, run, "--to", "onnx", "--out", tmp_path / "x.onnx")
    assert "holds a classifier of bodvcl finetune; give the run of an encoder" in said


def test_a_missing_package_is_named_before_any_work(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_format, "find_spec", lambda name: None if name == "onnxscript" else "there")
    said = one_line(capsys, tmp_path / "no run", "--to", "onnx", "--out", tmp_path / "x.onnx")
    assert "--to onnx needs the package onnxscript" in said
    assert "pip install onnx onnxscript onnxruntime" in said


@pytest.mark.parametrize("to", ["safetensors", "hf"])
def test_a_full_disk_leaves_nothing(finished_run, to, tmp_path, monkeypatch, capsys):
    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    said = one_line(capsys, finished_run, "--to", to, "--out", tmp_path / "x")
    assert "the disk is full" in said
    assert not list(tmp_path.iterdir())
