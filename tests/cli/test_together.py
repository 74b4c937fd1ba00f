"""The last words of a training with several processes that a signal stopped."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from bodvcl.cli import together
from bodvcl.cli.together import stopped


@pytest.mark.parametrize(("number", "asked"), [(signal.SIGUSR1, 1), (signal.SIGTERM, 0)])
def test_the_first_process_requeues_and_the_others_wait_for_it(monkeypatch, capsys, number, asked):
    calls: list[str] = []
    monkeypatch.setattr(together, "requeue", lambda: calls.append("asked") or "requeued")
    outcome = SimpleNamespace(signal=number, step=3, total=9)
    heard: list[object] = []
    first = SimpleNamespace(tell=lambda make: heard.append(make()) or heard[-1])
    second = SimpleNamespace(tell=lambda make: heard[-1])
    for ranks in (first, second):
        assert stopped("finetune", outcome, Path("runs/a"), ranks) == 128 + number
        assert capsys.readouterr().out.count("requeued") == asked
    assert calls == ["asked"] * asked
