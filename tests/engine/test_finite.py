"""What is not a number is never saved, and a run that ends with it does not end well."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bodvcl.cli.train import main
from bodvcl.config.parse import dump_yaml, load_yaml
from bodvcl.engine.checkpoint import ENCODER, LAST, NotFinite, load_encoder, save_checkpoint, save_encoder
from bodvcl.engine.finite import copied, not_finite
from bodvcl.engine.loop import Trainer

QUIET = ["--log.no-probe", "--log.no-report"]
BAD = (math.nan, math.inf, -math.inf)


def leaves(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor) and state.is_floating_point() and state.numel():
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from leaves(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from leaves(value)


FINITE = st.one_of(
    st.integers(), st.text(), st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
TENSOR = st.builds(
    lambda size, dtype: torch.ones(size, dtype=dtype),
    st.integers(0, 3),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool]),
)
STATE = st.recursive(
    FINITE | TENSOR,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(STATE, st.lists(st.sampled_from(["a", 0]), max_size=4), st.sampled_from(BAD), st.booleans())
def test_one_value_that_is_no_number_is_found_however_deep_it_lies(state, path, bad, in_a_tensor):
    assert not_finite(state) == []
    poisoned: Any = torch.tensor([[0.0, bad]]) if in_a_tensor else bad
    for key in path:
        poisoned = {key: poisoned} if key else [poisoned]
    (name,) = not_finite({"first": state, "last": poisoned})
    assert name == ".".join(["last", *map(str, reversed(path))])
    assert not_finite(copied({"last": poisoned})) == [name]


def test_a_copy_keeps_what_a_step_changes():
    weight = torch.nn.Parameter(torch.ones(2))
    state = {"w": weight, "rest": [1, (weight,), "x"]}
    copy = copied(state)
    with torch.no_grad():
        weight.fill_(math.nan)
    assert not_finite(copy) == []
    assert copy["rest"][0] == 1
    assert torch.equal(copy["rest"][1][0], torch.ones(2))


@pytest.mark.parametrize("method", ["moco", "swav", "byol"])
@pytest.mark.parametrize("optimizer", ["adamw", "lars"])
def test_no_poisoned_tensor_of_any_kind_is_written(tiny, tmp_path, method, optimizer):
    run = tmp_path / "r"
    options = ["--method", method, "--optim.name", optimizer, "--moco.queue", "8", "--max-steps", "2"]
    assert main([*tiny, *QUIET, *options, "--run-dir", str(run)]) == 0
    before = (run / LAST).read_bytes()
    state = torch.load(run / LAST, weights_only=True)
    tensors = list(leaves(state))
    assert len(tensors) > 20
    for number, tensor in enumerate(tensors):
        last = (-1,) * tensor.ndim
        value = tensor[last].clone()
        tensor[last] = BAD[number % len(BAD)]
        with pytest.raises(NotFinite):
            save_checkpoint(run, state)
        tensor[last] = value
    assert (run / LAST).read_bytes() == before
    save_checkpoint(run, state)


def test_no_poisoned_encoder_is_written(finished_run, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    encoder, config = load_encoder(finished_run), load_yaml(finished_run / "config.yaml")
    for name, tensor in encoder.state_dict().items():
        if tensor.is_floating_point():
            value = tensor.clone()
            tensor[(0,) * tensor.ndim] = math.nan
            with pytest.raises(NotFinite, match=f"encoder.{name} is not finite"):
                save_encoder(tmp_path, 1, dump_yaml(config), config.model, encoder)
            tensor.copy_(value)
    assert not list((tmp_path / "checkpoint").iterdir())
    save_encoder(tmp_path, 1, dump_yaml(config), config.model, encoder)


def _weights(trainer: Trainer) -> None:
    next(iter(trainer.learner.trainable().values())).data[0] = math.inf


def _statistics(trainer: Trainer) -> None:
    next(b for n, b in trainer.learner.named_buffers() if n.endswith("running_var"))[0] = math.nan


def _momentum_encoder(trainer: Trainer) -> None:
    next(trainer.learner.target.parameters()).data[0] = math.nan


def _optimiser(trainer: Trainer) -> None:
    state = next(iter(trainer.optimizer.state.values()))
    next(v for v in state.values() if isinstance(v, Tensor) and v.ndim)[0] = math.nan


POISONS = {
    _weights: "learner.encoder",
    _statistics: "running_var",
    _momentum_encoder: "learner.target",
    _optimiser: "optimizer.state",
}


def _poisoned_after(monkeypatch: pytest.MonkeyPatch, step: int, poison: Callable[[Trainer], None]) -> None:
    own = Trainer._train_step

    def train_step(self: Trainer, *arguments: Any) -> dict[str, float]:
        values = own(self, *arguments)
        if self.step == step:
            poison(self)
        return values

    monkeypatch.setattr(Trainer, "_train_step", train_step)


def _saved_step(run: Path) -> int:
    state = torch.load(run / LAST, weights_only=True)
    assert not_finite({part: state[part] for part in ("learner", "optimizer", "scaler")}) == []
    return state["step"]


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize(
    ("step", "options", "kept"),
    [(1, ["--max-steps", "1"], 0), (3, ["--max-steps", "3"], 2), (4, [], 3), (6, [], 5)],
)
def test_a_poisoned_state_is_not_saved_and_the_one_before_is(
    tiny, tmp_path, monkeypatch, capsys, poison, step, options, kept
):
    """At the last step, and where a checkpoint is due: every second step."""
    _poisoned_after(monkeypatch, step, poison)
    run = tmp_path / "r"
    assert main([*tiny, *QUIET, "--method", "byol", *options, "--run-dir", str(run)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"bodvcl train: error: after step {step} ")
    assert POISONS[poison] in error
    assert "lower --optim.lr" in error
    assert f"{run / LAST} holds the state after {kept} step" in error
    assert _saved_step(run) == kept
    assert not (run / ENCODER).exists()
    assert not (run / "summary.json").exists()
    monkeypatch.undo()
    assert main(["--resume", "--run-dir", str(run), *options]) == 0


def test_what_a_loss_shows_too_late_does_not_replace_the_last_checkpoint(tiny, tmp_path, monkeypatch, capsys):
    _poisoned_after(monkeypatch, 3, lambda trainer: _weights(trainer))
    run = tmp_path / "r"
    assert main([*tiny, *QUIET, "--run-dir", str(run)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("bodvcl train: error: step 4: ")
    assert f"{run / LAST} holds the state after 2 steps" in error
    assert _saved_step(run) == 2


def test_where_nothing_was_saved_that_is_said(tiny, tmp_path, monkeypatch, capsys):
    _poisoned_after(monkeypatch, 1, lambda trainer: _weights(trainer))
    run = tmp_path / "r"
    assert main([*tiny, *QUIET, "--log.save-every", "100", "--run-dir", str(run)]) == 2
    assert "no checkpoint has been written" in capsys.readouterr().err
    assert not (run / LAST).exists()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars", "lamb"])
def test_a_step_that_is_far_too_long_is_no_success(tiny, tmp_path, optimizer):
    run = tmp_path / "r"
    options = [
        "--optim.lr",
        "1e12",
        "--optim.weight-decay",
        "1e12",
        "--optim.warmup",
        "0",
        "--max-steps",
        "3",
    ]
    options += ["--optim.clip-norm", "None"]
    code = main([*tiny, *QUIET, *options, "--optim.name", optimizer, "--run-dir", str(run)])
    _saved_step(run)
    if code == 0:
        assert not_finite(load_encoder(run).state_dict()) == []
    else:
        assert code == 2
        assert not (run / ENCODER).exists()


def test_a_poisoned_checkpoint_is_refused_with_the_remedy(tiny, tmp_path, capsys):
    run = tmp_path / "r"
    assert main([*tiny, *QUIET, "--max-steps", "1", "--run-dir", str(run)]) == 0
    state = torch.load(run / LAST, weights_only=True)
    next(leaves(state["optimizer"])).fill_(math.nan)
    torch.save(state, run / LAST)
    before = (run / LAST).read_bytes()
    assert main(["--resume", "--run-dir", str(run), "--max-steps", "2"]) == 2
    assert "not finite; copy an earlier checkpoint over it" in capsys.readouterr().err
    assert (run / LAST).read_bytes() == before
