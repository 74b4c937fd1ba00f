"""What the solvers cost, counted, and which combinations are refused."""

from __future__ import annotations

import itertools

import pytest
from bilevel_problems import SOLVERS, SmallProblem

from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.checks import contradictions
from bodvcl.config.parse import parse_config
from bodvcl.config.passes import Passes, bilevel_of, differentiates_twice, passes
from bodvcl.config.schema import BilevelConfig, TrainConfig
from bodvcl.errors import ConfigError


def counted(config):
    """A double backward pass goes through the forward pass as well, and is counted there too."""
    problem = SmallProblem()
    make_solver(config)(problem.params, problem)
    count = problem.count
    return Passes(count["forward"], count["backward"] - count["double"], count["double"])


@pytest.mark.parametrize(
    ("solver", "scope", "steps"), list(itertools.product(SOLVERS, ("all", "head"), (1, 2, 10)))
)
def test_passes_are_as_stated(solver, scope, steps):
    config = BilevelConfig(solver=solver, scope=scope, inner_steps=steps, iterations=4)
    assert counted(config) == passes(config)


@pytest.mark.parametrize(
    "config", [None, *(BilevelConfig(solver="single", scope=scope) for scope in ("all", "head"))]
)
def test_without_a_look_ahead_a_step_is_one_pass(config):
    assert counted(config) == passes(config) == (1, 1, 0)
    if config is not None:
        assert not list(contradictions(TrainConfig(bilevel=config)))


def test_by_default_a_step_is_one_pass():
    assert counted(BilevelConfig()) == passes(BilevelConfig()) == (1, 1, 0)


@pytest.mark.parametrize(
    ("solver", "one", "ten"),
    [
        ("first_order", (2, 2, 0), (11, 11, 0)),
        ("fd", (3, 3, 0), (21, 21, 0)),
        ("fd_central", (4, 4, 0), (31, 31, 0)),
        ("itd", (2, 2, 1), (11, 11, 10)),
        ("hvp", (3, 3, 1), (21, 21, 10)),
        ("cg", (3, 3, 3), (12, 12, 3)),
        ("neumann", (3, 3, 3), (12, 12, 3)),
    ],
)
def test_passes_of_one_and_of_ten_inner_steps(solver, one, ten):
    assert passes(BilevelConfig(solver=solver, scope="all")) == one
    assert passes(BilevelConfig(solver=solver, scope="all", inner_steps=10)) == ten
    assert passes(BilevelConfig(solver=solver, inner_steps=10, scope="head")) == (1, 1, 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"solver": "single", "inner_steps": 2}, "bilevel.inner_steps: solver single has no inner step"),
        ({"solver": "single", "max_inner_norm": 0.1}, "bilevel.max_inner_norm: solver single"),
        ({"solver": "cg", "iterations": 1}, "use at least 2, or solver first_order; got 1"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(options, says):
    config = BilevelConfig(**options)
    with pytest.raises(ValueError, match=says):
        make_solver(config)
    assert any(says in line for line in contradictions(TrainConfig(bilevel=config)))
    assert not list(contradictions(TrainConfig(decouple="none", bilevel=config)))
    flags = [f"--bilevel.{name.replace('_', '-')}={value}" for name, value in options.items()]
    with pytest.raises(ConfigError, match=says):
        parse_config(flags)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_compiled_backbone_is_not_differentiated_twice(solver):
    config = TrainConfig(compile=True, bilevel=BilevelConfig(solver=solver, scope="all"))
    refused = [line for line in contradictions(config) if "cannot differentiate" in line]
    assert bool(refused) == (solver in ("itd", "hvp", "cg", "neumann")) == differentiates_twice(config)
    config.bilevel.scope = "head"
    assert not list(contradictions(config))


def test_only_a_run_with_a_lower_level_has_bilevel_options():
    config = TrainConfig(bilevel=BilevelConfig(solver="itd"))
    assert bilevel_of(config) is config.bilevel
    config.decouple = "none"
    assert bilevel_of(config) is None
    assert not differentiates_twice(config)
