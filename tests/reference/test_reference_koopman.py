"""The paper's formulas as written, on clips whose answer is known by construction."""

from __future__ import annotations

import pytest
import torch

from bodvcl.reference import koopman as reference


def clip(eigenvalues, t=6, m=9, seed=0):
    """Frames (t, m) of a linear system with these real eigenvalues, its modes, and the eigenvalues."""
    g = torch.Generator().manual_seed(seed)
    modes = torch.randn(len(eigenvalues), m, dtype=torch.float64, generator=g)
    lam = torch.tensor(eigenvalues, dtype=torch.float64)
    return (lam[None] ** torch.arange(t)[:, None]) @ modes, modes, lam


def test_the_operator_takes_every_frame_to_the_next():
    x, modes, lam = clip([1.0, 0.8, 0.3])
    k = reference.koopman_operator(x)
    assert torch.allclose(x[:-1] @ k.T, x[1:], atol=1e-10)
    assert torch.allclose(modes @ k.T, lam[:, None] * modes, atol=1e-10)
    past, future, pairs, _ = reference.snapshots(x)
    assert reference.prediction_mse(k, past, future, pairs) < 1e-20


def test_the_split_sorts_modes_by_their_eigenvalue():
    x, modes, lam = clip([1.0, 0.95, 0.3])
    weight = (lam[None] ** torch.arange(6)[:, None]).mean(0)
    z_a, z_m = reference.koopman_split(x, 0.1)
    assert torch.allclose(z_a, (weight * lam)[:2] @ modes[:2], atol=1e-9)
    assert torch.allclose(z_m, (weight * lam)[2:] @ modes[2:], atol=1e-9)
    z_a, z_m = reference.koopman_split(x, 0.1, weights="projector")
    assert torch.allclose(z_a, weight[:2] @ modes[:2], atol=1e-9)
    assert torch.allclose(z_a + z_m, x.mean(0), atol=1e-12)
    z_a, _ = reference.koopman_split(x, mask="smooth", smooth_power=4)
    assert torch.allclose(z_a, (weight * lam * ((1 + lam) / 2) ** 4) @ modes, atol=1e-9)


def test_the_threshold_is_strict_and_zero_eigenvalues_never_count():
    lam = torch.tensor([1.0, 0.75, 1e-14], dtype=torch.complex128)
    assert reference.mask_of(lam, 0.25).tolist() == [True, False, False]
    assert reference.mask_of(lam, 1.0).tolist() == [True, True, False]


def test_orthogonality_is_zero_for_a_rotation_and_m_minus_rank_for_a_partial_one():
    q = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    assert reference.orthogonality(q).abs() < 1e-20
    partial = q @ torch.diag(torch.tensor([1.0, 1, 1, 0, 0], dtype=torch.float64))
    assert reference.orthogonality(partial) == pytest.approx(2.0)


def test_held_out_errors_vanish_for_linear_data_and_not_for_noise():
    x, _, _ = clip([1.0, 0.8], t=6)
    assert reference.held_out_errors(x).max() < 1e-16
    noise = torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert reference.held_out_errors(noise).min() > 1


def test_the_authors_split_equals_the_paper_for_orthogonal_modes_of_unit_frames():
    """Where the eigenvectors are orthonormal and the frames have length one, both say the same."""
    q = torch.linalg.qr(torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[
        0
    ].T
    still = q[:1].expand(6, -1)
    z_a, z_m = reference.official_split(still)
    assert torch.allclose(z_a, q[0], atol=1e-10)
    assert z_m.abs().max() < 1e-10
    x, _, _ = clip([1.0, 0.8, 0.3])
    z_a, z_m = reference.official_split(x)
    paper_a, paper_m = reference.koopman_split(x)
    assert (z_a - paper_a).norm() + (z_m - paper_m).norm() > 0.05 * paper_a.norm()
