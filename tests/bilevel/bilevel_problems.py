"""Two smooth losses of a small network, with a buffer and a parameter of the objective, that count their
passes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from patience import PATIENCE
from torch import Tensor

from bodvcl.bilevel.problem import Params, Step
from bodvcl.bilevel.solvers import make_solver
from bodvcl.config.schema import BilevelConfig

GAMMA = 0.1
SOLVERS = ("fd", "fd_central", "itd", "hvp", "cg", "neumann", "first_order")


class _Counted(torch.autograd.Function):
    """The identity; its backward passes, and theirs, are counted."""

    @staticmethod
    def forward(ctx, x, count, name):
        ctx.count, ctx.name = count, name
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.count[ctx.name] += 1
        return _Counted.apply(grad, ctx.count, "double"), None, None


class SmallProblem:
    """A backbone of one layer, a head of two, and a parameter of the objective; float64 by default.

    Both losses are means over the batch, so that halves of a batch average to the whole.

    Attributes:
        params: theta.
        buffer: moves by the batch's mean at the first pass only.
        count: backbone passes: "forward", "backward", "double".
    """

    def __init__(self, dtype: torch.dtype = torch.float64, rows: slice = slice(None)) -> None:
        g = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return (torch.randn(shape, generator=g, dtype=torch.float64) / 2).to(dtype)

        self.params = {
            "backbone.weight": draw(5, 7),
            "backbone.bias": draw(7),
            "head.weight": draw(7, 6),
            "head.out": draw(6, 3),
            "objective.prototypes": draw(3, 4),
        }
        self.head = frozenset({"head.weight", "head.out"})
        self.x, self.y = 2 * draw(12, 5)[rows], 2 * draw(12, 3)[rows]
        self.buffer = torch.zeros(7, dtype=dtype)
        self.count = {"forward": 0, "backward": 0, "double": 0}

    def features(self, params: Params) -> Tensor:
        self.count["forward"] += 1
        hidden = self.x @ params["backbone.weight"] + params["backbone.bias"]
        if self.count["forward"] == 1:
            self.buffer += hidden.detach().mean(0)
        out = torch.tanh(hidden)
        return _Counted.apply(out, self.count, "backward") if out.requires_grad else out

    def lower(self, params: Params, features: Tensor | None = None, *, twice: bool = False) -> Tensor:
        return self._lower(self._project(params, features))

    def upper(self, params: Params, features: Tensor | None = None) -> Tensor:
        return self._upper(params, self._project(params, features))

    def both(self, params: Params) -> tuple[Tensor, Tensor]:
        out = self._project(params, None)
        return self._lower(out), self._upper(params, out)

    def _project(self, params: Params, features: Tensor | None) -> Tensor:
        features = self.features(params) if features is None else features
        return torch.tanh(features @ params["head.weight"]) @ params["head.out"]

    def _lower(self, out: Tensor) -> Tensor:
        return (out - self.y).square().sum(-1).mean()

    def _upper(self, params: Params, out: Tensor) -> Tensor:
        return torch.logsumexp(out @ params["objective.prototypes"], -1).mean()


class HalfFeatures(SmallProblem):
    """The backbone's features arrive in bfloat16; what follows is float32."""

    def __init__(self) -> None:
        super().__init__(torch.float32)

    def features(self, params: Params) -> Tensor:
        return super().features(params).bfloat16()

    def _project(self, params: Params, features: Tensor | None) -> Tensor:
        features = self.features(params) if features is None else features
        return super()._project(params, features.float())


class HugePrototypes(SmallProblem):
    """An objective far larger than the network."""

    def __init__(self) -> None:
        super().__init__()
        self.params["objective.prototypes"] *= 1e6


class FlatUpper(SmallProblem):
    """Nothing to learn in the upper level: v is 0."""

    def _upper(self, params: Params, out: Tensor) -> Tensor:
        return out.sum() * 0.0


class Ranks:
    """Runs one function per rank in a thread each; :meth:`mean` is the all-reduce between them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.calls = [0] * size
        self._barrier = threading.Barrier(size, timeout=PATIENCE)
        self._said: list[Params] = [{}] * size
        self._errors: list[BaseException] = []

    def mean(self, rank: int) -> Callable[[Params], Params]:
        """The hook of one rank."""

        def reduce(tensors: Params) -> Params:
            self.calls[rank] += 1
            self._said[rank] = tensors
            self._barrier.wait()
            averaged = {name: sum(said[name] for said in self._said) / self.size for name in tensors}
            self._barrier.wait()
            return averaged

        return reduce

    def run(self, make: Callable[[int], Params]) -> list[Params]:
        """What each rank returns."""
        results: list[Params] = [{}] * self.size

        def work(rank: int) -> None:
            try:
                results[rank] = make(rank)
            except BaseException as error:
                self._errors.append(error)
                self._barrier.abort()

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
        return results


def flat(tensors: Params) -> Tensor:
    return torch.cat([t.detach().double().flatten() for t in tensors.values()])


def relative_error(got: Params, want: Params) -> float:
    return float((flat(got) - flat(want)).norm() / flat(want).norm())


def solve(problem: SmallProblem, **options: Any) -> Step:
    return make_solver(BilevelConfig(**{"gamma": GAMMA, **options}))(problem.params, problem)


def moving(problem: SmallProblem, scope: str) -> list[str]:
    """Names that the inner steps move: not the objective's, which L_pred does not depend on."""
    return sorted(problem.head if scope == "head" else [n for n in problem.params if "objective" not in n])


def slope(problem: SmallProblem, params: Params, names: list[str], twice: bool) -> Params:
    """Gradient of the lower loss in the named parameters."""
    return dict(
        zip(names, torch.autograd.grad(problem.lower(params), [params[n] for n in names], create_graph=twice))
    )


def explicit_step(
    problem: SmallProblem, params: Params, names: list[str], rate: float, twice: bool = True
) -> Params:
    """Eq. 24 with its graph."""
    g = slope(problem, params, names, twice)
    return {n: p - rate * g[n] if n in g else p for n, p in params.items()}


def exact_hypergradient(problem: SmallProblem, steps: int, scope: str, rate: float = GAMMA) -> Params:
    """By autograd through every inner step."""
    leaves = {n: p.detach().requires_grad_() for n, p in problem.params.items()}
    star = leaves
    for _ in range(steps):
        star = explicit_step(problem, star, moving(problem, scope), rate)
    return dict(zip(leaves, torch.autograd.grad(problem.upper(star), list(leaves.values()))))
