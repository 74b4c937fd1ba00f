"""Names that the command line offers; nothing heavy is imported for them."""

from __future__ import annotations

from typing import Literal, get_args

Probe = Literal["ridge", "sgd", "knn", "retrieval"]
PROBES: tuple[Probe, ...] = get_args(Probe)
ControlName = Literal["none", "static", "dynamic"]
CONTROLS: tuple[ControlName, ...] = get_args(ControlName)
FlowName = Literal["auto", "raft", "tvl1"]
FLOWS: tuple[FlowName, ...] = get_args(FlowName)
