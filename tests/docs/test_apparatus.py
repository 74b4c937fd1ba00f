"""The contributor's apparatus says what is true: pinned versions agree, commands exist, files parse."""

from __future__ import annotations

import re

import yaml
from pages import ROOT, blocks

LOCKED = (ROOT / ".ci/lock/locked.txt").read_text()


def test_pre_commit_has_the_ruff_of_the_lock():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (ruff,) = (hook["rev"] for hook in hooks if "ruff" in hook["repo"])
    assert f"\nruff=={ruff.removeprefix('v')} " in LOCKED


def test_the_workflow_calls_what_contributors_call():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["checks"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["bash .ci/run"]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]), "an action is pinned by its commit"


def test_issue_forms_are_forms():
    forms = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    fields = {form.stem: yaml.safe_load(form.read_text()) for form in forms if form.stem != "config"}
    assert set(fields) == {"bug", "feature", "question"}
    for form in fields.values():
        assert {"name", "description", "body"} <= set(form)
        assert any(part.get("validations", {}).get("required") for part in form["body"])


def test_make_targets_of_the_pages_exist():
    targets = set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", "docs/index.md", "docs/versions.md"):
        for block in blocks(ROOT / name, "bash"):
            for target in re.findall(r"^make ([a-z][\w-]*)", block.text, re.MULTILINE):
                assert target in targets, f"{block}: make {target}"


def test_every_part_of_the_package_has_its_place_in_the_table_of_layers():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    parts = [path.name for path in (ROOT / "bodvcl").iterdir() if (path / "__init__.py").exists()]
    missing = [name for name in parts if f"`bodvcl/{name}/`" not in text and f"`{name}/`" not in text]
    assert not missing, missing
