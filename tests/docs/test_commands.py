"""Every command of the pages is one that there is, with options that its --help lists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pages import PAGES, blocks, code_in, name_of

from bodvcl.cli.main import VERBS
from bodvcl.cli.main import main as bodvcl_main

_VERB = re.compile(r"(?:^|[\s;&(])(?:bodvcl|-m bodvcl\.)\s?(?P<verb>[a-z]+)(?P<rest>(?: .*)?)$")
_GROUPED = re.compile(r"(?<![\w-])--([a-z]\w*\.[\w-]+)")
"""Options with a group in their name, such as --optim.lr, can be ours only."""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_have_options_that_exist(page):
    wrong = [f"{line}: {why}" for line in commands(page) for why in _faults(line)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_in_sentences_exist(page):
    known = options("train") | options("probe") | options("finetune") | options("detect")
    named = {found for code in code_in(page) for found in _GROUPED.findall(code)}
    missing = sorted(name for name in named if name.replace("_", "-") not in known)
    assert not missing, missing


def test_faults_are_found():
    assert not list(_faults("bodvcl train --optim.lr 0.3 --no-fast"))
    assert list(_faults("bodvcl train --optim.rate 0.3"))
    assert list(_faults("torchrun --nproc-per-node 8 -m bodvcl.train --gone"))
    assert list(_faults("bodvcl trian"))
    assert any(commands(PAGES[0])), "README has commands"


def commands(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks that call bodvcl."""
    for block in blocks(page, "bash", "sh", "console"):
        for line in block.text.replace("\\\n", " ").splitlines():
            line = re.sub(r"\s#.*", "", line).strip().removeprefix("$ ")
            if _VERB.search(line):
                yield line


@cache
def options(*verb: str) -> frozenset[str]:
    """The options in the --help of a verb, without their dashes."""
    import contextlib
    import io

    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        bodvcl_main([*verb, "--help"])
    return frozenset(re.findall(r"(?<![\w-])--([a-z][\w.-]*)", told.getvalue()))


def _faults(line: str) -> Iterator[str]:
    found = _VERB.search(line)
    assert found is not None
    verb = [found["verb"]]
    words = shlex.split(found["rest"])
    if verb == ["experiments"]:
        return  # python -m bodvcl.experiments.compare: test_names.py holds the module
    if verb[0] not in VERBS:
        yield f"no verb {verb[0]!r}"
        return
    if verb == ["data"]:
        verb.append(words.pop(0))
    for word in words:
        if word.startswith("--") and word.split("=")[0][2:].replace("_", "-") not in options(*verb):
            yield f"no option {word}"
