"""Every method that the options name has an objective."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
from networks import config, network

from bodvcl.config.methods import TITLES
from bodvcl.config.schema import TrainConfig
from bodvcl.engine.assemble import build_learner, objective_options
from bodvcl.objectives.base import ClipObjective, Objective, StreamObjective
from bodvcl.objectives.build import OBJECTIVES, build_objective


def test_every_method_of_the_options_is_registered_once():
    assert set(OBJECTIVES) == set(get_args(get_type_hints(TrainConfig)["method"])) == set(TITLES)


def test_a_method_gets_the_streams_and_the_options_of_the_run():
    options = objective_options(config("moco"))
    assert options.streams == ("video",)
    objective = build_objective("moco", options, network("hdc")[0])
    assert isinstance(objective, Objective)
    assert objective.momentum == options.moco.momentum
    decoupled = TrainConfig(method="byol")
    assert set(build_learner(decoupled).objective.predictor) == {"static", "dynamic"}


@pytest.mark.parametrize("base", [StreamObjective, ClipObjective])
def test_an_objective_without_its_losses_cannot_be_made(base):
    with pytest.raises(TypeError, match="forward"):
        type("Unfinished", (base,), {})()
