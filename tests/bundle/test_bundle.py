"""`make bundle`: what is in the folder, and that an interrupted one is continued."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made_bundles import (
    PACKAGES,
    PLATFORM,
    PYTHON,
    TARGET,
    add_to_index,
    given_pins,
    has_uv,
    install,
    make,
    write_wheel,
)

from bundle.errors import BundleError  # isort: skip - of .ci, which made_bundles puts on the path
from bundle.resolve import only_for, parse, resolve, uv
from bundle.target import target
from bundle.wheel_file import WheelFile, wheel_of_bodvcl

needs_uv = pytest.mark.skipif(not has_uv(), reason="needs uv (pip install uv)")


def test_every_file_is_listed_with_its_hash(bundle):
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    sums = dict(reversed(line.split("  ")) for line in (bundle / "SHA256SUMS").read_text().splitlines())
    assert files == {*sums, "SHA256SUMS"}
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)
    wheels = {name for name in files if name.startswith("wheels/")}
    assert len(wheels) == len(PACKAGES) + 1
    pinned = (bundle / "requirements.txt").read_text() + (bundle / "torch.txt").read_text()
    for name in wheels:
        assert f"--hash=sha256:{sums[name]}\n" in pinned


def test_torch_and_what_only_it_needs_stand_apart(bundle):
    apart = [line.split(" ")[0] for line in (bundle / "torch.txt").read_text().splitlines()]
    assert apart == ["cuda-part==13.1", "torch==2.14.1", "torchvision==0.29.1"]


def test_the_manifest_says_what_is_in_it(bundle):
    told = json.loads((bundle / "bundle.json").read_text())
    assert (told["python"], told["platform"], told["extras"]) == (PYTHON, PLATFORM, ["dali"])
    assert (told["bodvcl"], told["commit"], told["native_libraries"]) == ("0.1.0", "0123456789ab", ["_C"])
    assert (told["torch"], told["cuda"]) == ("2.14.1", "13.0")
    assert told["download_bytes"] == sum(path.stat().st_size for path in (bundle / "wheels").iterdir())
    assert [entry["name"] for entry in told["packages"] if not entry["locked"]] == ["more"]


def test_an_interrupted_bundle_is_no_bundle_and_is_continued(bundle, only_packages, tmp_path, capsys):
    """One wheel was cut off, one not fetched yet, one is of an earlier bundle: the others are kept."""
    out = tmp_path / "bundle"
    shutil.copytree(bundle, out)
    for name in ("requirements.txt", "torch.txt", "README.txt", "SHA256SUMS"):
        (out / name).unlink()
    (out / "wheels" / "small-1.5-py3-none-any.whl").write_bytes(b"PK")
    (out / "wheels" / "more-0.3-py3-none-any.whl").rename(out / "wheels" / "more-0.2-py3-none-any.whl")
    refused = install(out, tmp_path / "env")
    assert refused.returncode == 2
    assert "not whole" in refused.stderr
    assert make(only_packages, out) == 0
    told = capsys.readouterr().out
    fetched = {line.split(" ")[1].split("-")[0] for line in told.splitlines() if line.endswith(", fetched")}
    assert fetched == {"small", "more"}
    assert told.count(", kept") == len(PACKAGES) - 2
    for path in (path for path in bundle.rglob("*") if path.is_file()):
        assert (out / path.relative_to(bundle)).read_bytes() == path.read_bytes(), "the same bytes as at once"
    assert not (out / "wheels" / "more-0.2-py3-none-any.whl").exists()


def test_a_wheel_that_cannot_be_fetched_is_named_and_can_be_fetched_later(
    bundle, only_packages, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
        assert make(only_packages, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"bundle: cuda-part 13.1 cannot be fetched for Python {PYTHON} on {PLATFORM}" in error
    assert not (tmp_path / "out" / "SHA256SUMS").exists()
    for path in (bundle / "wheels").iterdir():
        shutil.copy(path, tmp_path / "out" / "wheels")
    assert make(only_packages, tmp_path / "out") == 0


@pytest.mark.parametrize("told", [None, "{}", "[]", "words"])
def test_other_folders_are_left_alone(only_packages, tmp_path, capsys, told):
    """Also one that looks like a bundle, where ``told`` is what its bundle.json says."""
    (tmp_path / "wheels").mkdir()
    for name in ("wheels/other-1.0-py3-none-any.whl", "README.txt", "requirements.txt"):
        (tmp_path / name).touch()
    if told is not None:
        (tmp_path / "bundle.json").write_text(told)
    before = sorted(tmp_path.rglob("*"))
    assert make(only_packages, tmp_path) == 2
    assert "holds something else than a bundle" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_wheel_may_be_the_one_in_the_bundle(bundle, only_packages, tmp_path):
    out = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (wheel,) = (out / "wheels").glob("bodvcl-*.whl")
    assert make(only_packages, out, f"--wheel={wheel}") == 0
    assert (out / "SHA256SUMS").read_bytes() == (bundle / "SHA256SUMS").read_bytes()


@needs_uv
def test_a_package_without_a_wheel_is_named(only_packages, tmp_path):
    wheel = write_wheel(tmp_path, "bodvcl", "0.1.0", ["only-source"], {})
    (tmp_path / "lock.txt").write_text("")
    with pytest.raises(BundleError, match=r"no set of wheels serves Python .*\n(.*\n)*.*only-source"):
        resolve(WheelFile(wheel), [], TARGET, tmp_path / "lock.txt")


def test_an_extra_that_does_not_exist_is_named(packages):
    (wheel,) = packages.glob("bodvcl-*.whl")
    with pytest.raises(BundleError, match="EXTRAS: no dalli; there are dali"):
        resolve(WheelFile(wheel), ["dalli"], TARGET, packages / "lock.txt")


@needs_uv
def test_the_lock_is_preferred_and_an_index_may_give_other_builds_of_torch(
    packages, only_packages, tmp_path, monkeypatch
):
    index = Path(shutil.copytree(packages / "index", tmp_path / "index"))
    add_to_index(index, write_wheel(tmp_path, "small", "1.6", [], {}))
    add_to_index(index, write_wheel(tmp_path, "torch", "2.14.2", [], {}))
    lock = tmp_path / "lock.txt"
    hashed = f"small==1.5 \\\n    --hash=sha256:{'0' * 64}\n"
    lock.write_text(hashed + "torch==2.14.1 ; python_version > '3'\ntorchvision==0.29.1\n")
    (wheel,) = packages.glob("bodvcl-*.whl")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.as_uri())
    found = {pin.name: pin.version for pin in resolve(WheelFile(wheel), [], TARGET, lock)}
    assert found == {"small": "1.5", "torch": "2.14.1", "torchvision": "0.29.1", "cuda-part": "13.1"}
    add_to_index(tmp_path / "cpu", write_wheel(tmp_path, "torch", "2.14.1+cpu", [], {}))
    pins = resolve(WheelFile(wheel), [], TARGET, lock, (tmp_path / "cpu").as_uri())
    found = {pin.name: pin.version for pin in pins}
    assert found == {"small": "1.5", "torch": "2.14.1+cpu", "torchvision": "0.29.1"}
    assert all(pin.is_in(lock.read_text()) for pin in pins)


def test_pins_are_read_as_uv_writes_them():
    text = f"""\
a==1.0 \\
    --hash=sha256:{"0" * 64} \\
    --hash=sha256:{"1" * 64}
    # via bodvcl, torch
b-c==2.0+cpu --hash=sha256:{"2" * 64}
    # via torch
"""
    first, second = parse(text)
    assert (first.name, first.version, sorted(first.asked_by)) == ("a", "1.0", ["bodvcl", "torch"])
    assert first.hashes == {"0" * 64, "1" * 64}
    assert (second.name, second.version, second.asked_by) == ("b-c", "2.0+cpu", {"torch"})


def test_what_only_torch_asks_for_goes_with_it(packages):
    assert only_for(given_pins(packages / "index")) == {"torch", "torchvision", "cuda-part"}


def test_targets():
    node = target("3.10", "manylinux_2_28_aarch64")
    assert node.uv_platform == "aarch64-manylinux_2_28"
    assert node.platforms[0] == "manylinux_2_28_aarch64"
    assert "manylinux2014_aarch64" in node.platforms
    assert "manylinux_2_34_aarch64" not in node.platforms
    assert "manylinux1_x86_64" in target("3.12", "manylinux_2_28_x86_64").platforms


@needs_uv
@pytest.mark.parametrize("minor", [17, 18, 29, 41])
def test_a_glibc_that_uv_does_not_know(only_packages, tmp_path, minor):
    """An older one stands in for it where uv chooses the releases; pip may take the newer wheels of them."""
    node = target(PYTHON, f"manylinux_2_{minor}_{TARGET.architecture}")
    (tmp_path / "lock.txt").write_text("")
    wheel = WheelFile(write_wheel(tmp_path, "bodvcl", "0.1.0", ["small"], {}))
    assert [pin.name for pin in resolve(wheel, [], node, tmp_path / "lock.txt")] == ["small"]
    assert node.platforms[0] == node.platform


@needs_uv
def test_the_nearest_glibc_that_uv_knows_stands_in():
    told = subprocess.run([uv(), "pip", "compile", "--help"], capture_output=True, text=True).stdout
    known = {int(minor) for minor in re.findall(r"x86_64-manylinux_2_(\d+)\b", told)}
    for minor in range(17, max(known) + 2):
        nearest = max(other for other in known if other <= minor)
        assert target("3.12", f"manylinux_2_{minor}_x86_64").uv_platform == f"x86_64-manylinux_2_{nearest}"


@pytest.mark.parametrize(
    ("python", "platform", "named"),
    [
        ("3", "manylinux_2_28_x86_64", "PYTHON_VERSION=3:"),
        ("3.12.1", "manylinux_2_28_x86_64", "PYTHON_VERSION=3.12.1:"),
        ("3.12", "linux_x86_64", "PLATFORM=linux_x86_64:"),
        ("3.12", "manylinux_2_5_x86_64", "PLATFORM=manylinux_2_5_x86_64:"),
    ],
)
def test_targets_that_there_are_not(python, platform, named):
    with pytest.raises(BundleError, match=named):
        target(python, platform)


def test_the_wheel_of_bodvcl_is_the_one_that_serves(tmp_path):
    arm = target("3.12", "manylinux_2_28_aarch64")
    with pytest.raises(BundleError, match=r"no wheel of bodvcl .*\(there: nothing\): `make wheel`"):
        wheel_of_bodvcl("", tmp_path, arm)
    write_wheel(tmp_path, "bodvcl", "0.1.0", [], {}, "py3-none-manylinux_2_28_x86_64")
    with pytest.raises(BundleError, match=r"there: bodvcl-0\.1\.0-py3-none-manylinux_2_28_x86_64\.whl"):
        wheel_of_bodvcl("", tmp_path, arm)
    (tmp_path / "cpu").mkdir()
    for_cpus = write_wheel(tmp_path / "cpu", "bodvcl", "0.1.0+cpu", [], {}, "py3-none-manylinux_2_28_aarch64")
    assert wheel_of_bodvcl("", tmp_path, arm).path == for_cpus
    right = write_wheel(tmp_path, "bodvcl", "0.1.0", [], {}, "py3-none-manylinux_2_28_aarch64")
    assert wheel_of_bodvcl("", tmp_path, arm).path == right
    write_wheel(tmp_path, "bodvcl", "0.2.0", [], {}, "py3-none-manylinux_2_28_aarch64")
    with pytest.raises(BundleError, match="more than one wheel"):
        wheel_of_bodvcl("", tmp_path, arm)
    with pytest.raises(BundleError, match="no such file"):
        wheel_of_bodvcl(str(tmp_path / "gone.whl"), tmp_path, arm)
