"""examples/containers: linted, and their steps executed on a root folder with a made-up bundle.

No engine is started here. What this shows: the scripts run, without a network, and end in the same files for
both; the image starts as another user than root, finds its programs first and can write its home.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import container_recipes as recipes
import container_roots as roots
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "containers"
DOCKER = recipes.dockerfile((FOLDER / "Dockerfile").read_text())
APPTAINER = recipes.definition((FOLDER / "bodvcl.def").read_text())
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint (make cluster-tools)")
def test_the_dockerfile_is_clean():
    done = subprocess.run(
        [str(HADOLINT), "--no-color", FOLDER / "Dockerfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_both_have_the_same_base_and_the_same_stages():
    bases = [stage.base.removeprefix("docker.io/library/") for stage in DOCKER]
    assert bases == [stage.base for stage in APPTAINER] == ["python:3.12-bookworm"] * 2
    assert [stage.name for stage in DOCKER] == [stage.name for stage in APPTAINER] == ["install", "final"]


def test_the_image_is_not_roots_and_opens_the_video_decoder():
    assert DOCKER[-1].user == "1000", "a number: Kubernetes' runAsNonRoot cannot judge a name"
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in DOCKER[-1].environment
    assert set(APPTAINER[-1].environment) <= set(DOCKER[-1].environment)


@pytest.fixture(scope="module")
def images(bundle, tmp_path_factory) -> dict[str, Path]:
    if why := roots.why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("containers")
    shutil.copytree(bundle, folder / "bundle")
    return {
        "docker": roots.build(DOCKER, folder / "bundle", folder / "docker"),
        "apptainer": roots.build(APPTAINER, folder, folder / "apptainer"),
    }


@pytest.mark.slow
def test_the_steps_end_in_images_that_start(images):
    environment = {name: files(root / "opt") for name, root in images.items()}
    assert environment["docker"] == environment["apptainer"]
    assert "bodvcl/bin/bodvcl" in environment["docker"]
    for root in images.values():
        assert not (root / "bundle").exists(), "the bundle stays in the first stage"
        assert not files(root / "root" / ".cache") | files(root / "tmp") | files(root / "var"), (
            "nothing is left over"
        )
    for user in ("1000", "4242"):  # the image's own, and one that a cluster sets
        done = roots.start(images["docker"], DOCKER[-1], "train", "--fast", user=user)
        assert done.stdout == f"bodvcl train --fast | user {user} | home /home/bodvcl\n", done.stderr
        done = roots.start(images["apptainer"], APPTAINER[-1], "train", "--fast", user=user)
        assert done.stdout.startswith(f"bodvcl train --fast | user {user} |"), done.stderr
    for root, stage in ((images["docker"], DOCKER[-1]), (images["apptainer"], APPTAINER[-1])):
        assert roots.start(root, stage, user="1000").stdout.startswith("bodvcl info |")


@pytest.mark.slow
def test_the_user_of_the_image_writes_its_home_and_nothing_else(images):
    root = images["docker"]
    assert roots.run(root, "touch /home/bodvcl/run", user="1000").returncode == 0
    assert roots.run(root, "touch /home/bodvcl/other", user="4242").returncode == 0
    for path in ("/opt/bodvcl/file", "/usr/file", "/etc/file", "/file"):
        assert roots.run(root, f"touch {path}", user="1000").returncode != 0, path


def test_unknown_instructions_are_not_passed_over():
    with pytest.raises(ValueError, match="VOLUME"):
        recipes.dockerfile("FROM a\nVOLUME /data\n")
    with pytest.raises(ValueError, match="%setup"):
        recipes.definition("Bootstrap: docker\nFrom: a\n%setup\n    touch /host\n")


def files(folder: Path) -> set[str]:
    """Files and links below ``folder``, relative to it; without compiled Python."""
    found = folder.rglob("*")
    return {
        str(p.relative_to(folder)) for p in found if p.suffix != ".pyc" and (p.is_file() or p.is_symlink())
    }
