"""What a method asks of the other options."""

from __future__ import annotations

import pytest

from bodvcl.config.parse import parse_config
from bodvcl.errors import ConfigError

TWIN = ["--clip.views", "3", "--clip.twin"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clip.views", "1"], "clip.views"),
        (["--method", "moco", "--batch-size", "24"], "must be a multiple of 48, such as 65520 or 65568"),
        (["--method", "moco", "--moco.queue", "32"], "must be a multiple of 64, such as 64; got 32"),
        (["--method", "dualvar", *TWIN], "decouple bod: DualVar has losses of its own"),
        (["--method", "hdc", "--decouple", "pred", *TWIN], "decouple pred: HDC-style has losses of its own"),
        (["--method", "dualvar", "--decouple", "none"], "--clip.views 3 --clip.twin; got views 2, no twin"),
        (["--method", "dualvar", "--decouple", "none", "--clip.views", "4", "--clip.twin"], "got views 4"),
        (["--method", "hdc", "--decouple", "none", "--clip.twin"], "needs 3 or more clips per video"),
        (
            ["--method", "dualvar", "--decouple", "none", *TWIN, "--dualvar.segments", "3"],
            "a clip of 8 frames cannot be cut into 3 segments",
        ),
        (
            ["--prediction.strict", "--bilevel.solver", "single", "--bilevel.scope", "all"],
            "prediction.strict: with solver single",
        ),
        (["--prediction.strict"], "prediction.strict: with scope head"),
        (["--prediction.strict", "--bilevel.scope", "head"], "network; add --bilevel.scope all"),
        (
            ["--prediction.strict", "--model.backbone", "vit_b16", "--clip.size", "64"],
            "prediction.strict: attention mixes all frames",
        ),
        (["--method", "mocov3"], "method"),
    ],
)
def test_a_combination_that_makes_no_sense_is_refused_with_the_reason(options, message):
    with pytest.raises(ConfigError) as error:
        parse_config(options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["simclr", "moco", "byol", "swav"])
@pytest.mark.parametrize("decouple", ["none", "pred", "bod"])
@pytest.mark.parametrize("views", ["2", "4"])
def test_what_makes_sense_is_accepted(method, decouple, views):
    options = ["--method", method, "--decouple", decouple, "--clip.views", views]
    assert parse_config(options).method == method


def test_the_strict_lower_level_is_accepted_where_the_backbone_looks_ahead():
    assert parse_config(["--prediction.strict", "--bilevel.scope", "all"]).prediction.strict
    assert parse_config(["--prediction.strict", "--decouple", "none"]).prediction.strict


def test_a_queue_that_fits_another_batch_is_accepted():
    assert parse_config(["--method", "moco", "--batch-size", "24", "--moco.queue", "480"]).moco.queue == 480
    for method in ("dualvar", "hdc"):
        assert parse_config(["--method", method, "--decouple", "none", *TWIN]).clip.twin
