"""Which network is trained, on clips of which size, and at which rate."""

from __future__ import annotations

from bodvcl.config.backbones import GEOMETRY
from bodvcl.config.fit.choice import Chosen, Machine
from bodvcl.config.schema import ModelConfig


def choose_network(chosen: Chosen, machine: Machine) -> None:
    """Choose the network by the device; where it starts from weights, by these."""
    weights = chosen.config.model.weights
    if weights is not None:
        owner = next((g.name for g in GEOMETRY.values() if g.weights == weights.partition(".")[0]), None)
        chosen.take("model.backbone", owner or "r2plus1d_18", "the network of --model.weights")
    elif machine.gpu:
        chosen.take("model.backbone", "r2plus1d_18", "a network for real videos that a GPU trains in hours")
    else:
        chosen.take("model.backbone", "tiny", "a network that a CPU trains in minutes to hours")
    name = chosen.config.model.backbone
    if name == "tiny":
        chosen.take("model.width", 32, "twice the width of the built-in data's, for more varied pictures")
        chosen.take("clip.size", 64, f"what {name} reads, with the real hands of docs/findings.md")
        chosen.take("model.embed_dim", ModelConfig.embed_dim, f"as docs/findings.md has it for {name}")
        chosen.take("model.hidden_dim", ModelConfig.hidden_dim, f"as docs/findings.md has it for {name}")
        chosen.take("optim.lr", 2e-3, f"the rate of docs/findings.md, for {name}")
        return
    chosen.take("clip.size", 112, f"the size that {name} is usually trained with")
    chosen.take("model.embed_dim", 128, "M of the paper, Table 12")
    chosen.take("model.hidden_dim", 2048, "the projector of the paper")
    if weights is None:
        chosen.take("optim.lr", 5e-4, f"a usual rate of AdamW for {name} from scratch; not tuned")
    else:
        chosen.take("optim.lr", 2e-4, "a usual rate of AdamW from published weights; not tuned")
