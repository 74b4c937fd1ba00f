"""The linear solvers against dense algebra."""

from __future__ import annotations

import itertools

import pytest
import torch

from bodvcl.bilevel.linear import conjugate_gradients, neumann_series

GAMMA = 0.1


def system(size=6, lowest=0.5, highest=8.0):
    """A symmetric H with these extreme eigenvalues, a mixed block, and v split over two names."""
    g = torch.Generator().manual_seed(3)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=g, dtype=torch.float64))
    hessian = basis @ torch.diag(torch.linspace(lowest, highest, size, dtype=torch.float64)) @ basis.T
    mixed = torch.randn(3, size, generator=g, dtype=torch.float64)
    v = torch.randn(size, generator=g, dtype=torch.float64)

    def product(u):
        flat = torch.cat([u["a"], u["b"]])
        image = hessian @ flat
        return {"a": image[:2], "b": image[2:], "x": mixed @ flat}

    return hessian, mixed, v, {"a": v[:2], "b": v[2:]}, product


def joined(u):
    return torch.cat([u["a"], u["b"]])


def test_conjugate_gradients_solve_a_system_in_as_many_iterations_as_it_has_unknowns():
    hessian, mixed, v, start, product = system()
    want = torch.linalg.solve(torch.eye(6, dtype=torch.float64) + GAMMA * hessian, v)
    errors = []
    for k in (2, 4, 6, 9):
        solution = conjugate_gradients(product, start, GAMMA, k)
        assert solution.u.keys() == {"a", "b"}
        torch.testing.assert_close(solution.mixed, {"x": mixed @ joined(solution.u)})
        errors.append(float((joined(solution.u) - want).norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-12
    assert errors[3] < 1e-12, "further iterations do no harm"


@pytest.mark.parametrize("k", [1, 2, 5])
def test_neumann_is_the_truncated_series(k):
    hessian, mixed, v, start, product = system()
    terms = [torch.linalg.matrix_power(-GAMMA * hessian, i) @ v for i in range(k + 1)]
    solution = neumann_series(product, start, GAMMA, k)
    torch.testing.assert_close(joined(solution.u), sum(terms))
    torch.testing.assert_close(solution.mixed["x"], mixed @ sum(terms[:-1]))


def test_conjugate_gradients_return_v_where_the_system_is_negative_from_the_start():
    _, mixed, v, start, product = system(lowest=-40.0, highest=-20.0)
    solution = conjugate_gradients(product, start, GAMMA, 4)
    assert torch.equal(joined(solution.u), v)
    torch.testing.assert_close(solution.mixed["x"], mixed @ v)


def test_conjugate_gradients_keep_the_last_good_solution_of_an_indefinite_system():
    hessian, _, _, start, product = system(lowest=-30.0, highest=40.0)
    matrix = torch.eye(6, dtype=torch.float64) + GAMMA * hessian
    assert joined(start) @ matrix @ joined(start) > 0, "the first direction is good"
    seen = [joined(conjugate_gradients(product, start, GAMMA, k).u) for k in range(1, 9)]
    same = [torch.equal(a, b) for a, b in itertools.pairwise(seen)]
    assert True in same, "a bad direction is met"
    assert all(same[same.index(True) :])
    assert all(torch.isfinite(u).all() for u in seen)


@pytest.mark.parametrize("solve", [conjugate_gradients, neumann_series])
def test_nothing_in_nothing_out(solve):
    _, _, _, start, product = system()
    zero = {name: torch.zeros_like(t) for name, t in start.items()}
    solution = solve(product, zero, GAMMA, 3)
    assert torch.equal(joined(solution.u), torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize("solve", [conjugate_gradients, neumann_series])
def test_directions_without_curvature_are_left_alone(solve):
    v = {"a": torch.ones(2, dtype=torch.float64), "b": torch.ones(3, dtype=torch.float64)}
    solution = solve(lambda u: {"a": 2 * u["a"]}, v, GAMMA, 30)
    torch.testing.assert_close(solution.u["a"], v["a"] / (1 + 2 * GAMMA))
    torch.testing.assert_close(solution.u["b"], v["b"])
