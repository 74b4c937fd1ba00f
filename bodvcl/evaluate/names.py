"""Names that the command line offers; importing them costs nothing."""

from __future__ import annotations

from typing import Literal, get_args

Probe = Literal["ridge", "sgd", "knn", "retrieval"]
PROBES: tuple[Probe, ...] = get_args(Probe)
ControlName = Literal["none", "static", "dynamic"]
FlowName = Literal["auto", "raft", "tvl1"]
FeatureKind = Literal["backbone", "backbone+std", "projector", "static", "dynamic"]
FEATURE_KINDS: tuple[FeatureKind, ...] = get_args(FeatureKind)
"""Kinds of features, as :func:`bodvcl.evaluate.features.extract_features` names them."""
