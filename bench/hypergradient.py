"""How far the solvers are from the exact hypergradient: python bench/hypergradient.py

Prints the table of docs/bilevel.md, for the first batch of the built-in shapes at initialisation, in float32.
Distances are relative to the whole gradient.
"""

from __future__ import annotations

import torch

from bodvcl.bilevel.problem import Step
from bodvcl.bilevel.solvers import make_solver
from bodvcl.bilevel.vectors import difference, norm
from bodvcl.cli.run_videos import divided, scan_run
from bodvcl.config.schema import BilevelConfig, ModelConfig, TrainConfig
from bodvcl.data.clips.augment import finish
from bodvcl.data.clips.plan import ClipPlan
from bodvcl.data.sources.source import open_source
from bodvcl.engine.assemble import build_learner, loss_options
from bodvcl.engine.problem import BatchProblem


def main() -> None:
    config = TrainConfig(data="shapes")
    videos = divided(scan_run(config), probed=False).train
    plan = ClipPlan(videos, config.clip, config.augment, config.batch_size, config.seed)
    batch = next(iter(open_source(plan, config.decode, device=torch.device("cpu"), workers=0).epoch(0)))
    clips, ids = finish(batch, config.augment), batch.videos.repeat_interleave(config.clip.views)

    def step(solver: str, scope: str) -> Step:
        learner = build_learner(config).train()
        problem = BatchProblem(learner, clips, ids, loss_options(config), None)
        return make_solver(BilevelConfig(solver, scope=scope))(learner.trainable(), problem)

    others = ("fd", "fd_central", "first_order")
    print("projector norm  scope  Hessian's share  " + "  ".join(f"{name} - itd" for name in others))
    for config.model in (ModelConfig(projector_norm=False), ModelConfig()):
        for scope in ("all", "head"):
            exact = step("itd", scope)
            away = [norm(difference(step(name, scope).gradient, exact.gradient, 1)) for name in others]
            shares = [exact.hessian_share, *(distance / norm(exact.gradient) for distance in away)]
            print(config.model.projector_norm, scope, *(f"{share.item():.2g}" for share in shares), sep="\t")


if __name__ == "__main__":
    main()
