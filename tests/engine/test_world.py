"""What is read from the variables of a launcher: a place in the world, or one line on what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bodvcl.engine.ranks import Ranks, World, world_from_environment
from bodvcl.errors import ConfigError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
WHOLE = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def world_of(variables: dict[str, str]) -> World:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return world_from_environment()


def test_what_torchrun_says_is_taken():
    assert world_of(WHOLE) == World(1, 2, 1, 2)
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    assert world_of(WHOLE | alone) == world_of(alone) == World()
    assert world_of({}) == world_of({"WORLD_SIZE": "1"}) == World()
    without = {name: value for name, value in WHOLE.items() if name != "LOCAL_WORLD_SIZE"}
    assert world_of(without) == World(1, 2, 1, 1)


@pytest.mark.parametrize("missing", [name for name in NAMES if name != "LOCAL_WORLD_SIZE"])
def test_a_part_of_it_is_refused_by_name(missing):
    variables = {name: value for name, value in WHOLE.items() if name != missing}
    with pytest.raises(ConfigError, match=rf"set but {missing} is not: start the processes with torchrun"):
        world_of(variables)


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "WORLD_SIZE"])
def test_one_alone_is_refused(name):
    with pytest.raises(ConfigError, match=rf"{name} is set but .* are not: .* or unset {name}"):
        world_of({name: "2"})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "MASTER_ADDR"])
@pytest.mark.parametrize("value", ["one", "1.5", "-1", "0x1", "1_0", "\N{SUPERSCRIPT TWO}"])
def test_what_is_no_number_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"{name} is .*; expected a whole number"):
        world_of(WHOLE | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RANK", "2"),
        ("LOCAL_RANK", "2"),
        ("WORLD_SIZE", "0"),
        ("LOCAL_WORLD_SIZE", "3"),
        ("LOCAL_WORLD_SIZE", "0"),
        ("MASTER_PORT", "65536"),
        ("MASTER_PORT", "0"),
    ],
)
def test_a_contradiction_is_refused(name, value):
    with pytest.raises(ConfigError, match="must be below WORLD_SIZE"):
        world_of(WHOLE | {name: value})


values = st.sampled_from(["", "0", "1", "2", "3", "70000", "x", "-1"])


@given(variables=st.dictionaries(st.sampled_from(NAMES), values))
def test_the_place_is_in_the_world_or_the_user_is_told(variables):
    try:
        world = world_of(variables)
    except ConfigError:
        return
    assert 0 <= world.rank < world.size
    assert 0 <= world.local_rank < world.size
    assert 1 <= world.local_size <= world.size
    if world.size > 1:
        assert variables["MASTER_ADDR"]


def test_a_wrong_option_is_told_although_rank_is_set():
    command = [sys.executable, "-m", "bodvcl.train", "--nonsense", "1"]
    done = subprocess.run(command, env=os.environ | {"RANK": "1"}, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown option --nonsense" in done.stderr


def test_an_address_that_does_not_exist_is_one_line(monkeypatch):
    for name, value in (WHOLE | {"MASTER_ADDR": "no.such.machine.invalid"}).items():
        monkeypatch.setenv(name, value)
    ranks = Ranks(World(1, 2, 1, 2), torch.device("cpu"))
    message = "cannot meet at no.such.machine.invalid:29500"
    monkeypatch.setattr("torch.distributed.rendezvous", _unreachable)
    with pytest.raises(ConfigError, match=message), ranks:
        pass


def _unreachable(url):
    raise torch.distributed.DistNetworkError("The client socket has failed to connect to any address")
