"""The copula of residuals against closed forms of the normal distribution."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from skvae._engine import copula as module
from skvae._engine.config import HeadConfig
from skvae._engine.copula import Copula, fit
from skvae._engine.heads import Head, Residuals

R = np.array([[1.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]])
KNOWN = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]], dtype=float)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def residuals(n_draws, seed=0):
    return np.random.default_rng(seed).normal(size=(n_draws, *KNOWN.shape))


def copula():
    return Copula.of(tensor(R), tensor(KNOWN))


def exact(row, seen):
    """Mean and covariance of the missing residuals of a row given the others."""
    gain = R[np.ix_(~seen, seen)] @ np.linalg.inv(R[np.ix_(seen, seen)])
    cov = R[np.ix_(~seen, ~seen)] - gain @ R[np.ix_(seen, ~seen)]
    return gain @ row[seen], cov


def test_the_density_is_the_joint_one_over_its_margins():
    e = residuals(4)
    found = copula().log_density(tensor(e)).numpy()
    for i, seen in enumerate(KNOWN > 0):
        expected = 0.0
        if seen.any():
            joint = multivariate_normal(cov=R[np.ix_(seen, seen)])
            there = e[:, i, seen]
            expected = joint.logpdf(there) - norm.logpdf(there).sum(axis=1)
        np.testing.assert_allclose(found[:, i], expected, atol=1e-12)


def test_missing_residuals_have_the_moments_of_the_conditional_normal():
    e = residuals(4)
    mean, cov = copula().mean(tensor(e)).numpy(), copula().covariance.numpy()
    for i, seen in enumerate(KNOWN > 0):
        np.testing.assert_array_equal(mean[:, i, seen], e[:, i, seen])
        for s in range(4):
            expected, spread = exact(e[s, i], seen)
            np.testing.assert_allclose(mean[s, i, ~seen], expected, atol=1e-12)
            within = cov[i][np.ix_(~seen, ~seen)]
            np.testing.assert_allclose(within, spread, atol=1e-12)
        assert (cov[i][seen] == 0).all()
        np.testing.assert_allclose(
            copula().scale[i] ** 2, cov[i].diagonal(), atol=1e-12
        )


def test_draws_of_missing_residuals_have_those_moments():
    """Bounds: 5 standard errors of 20,000 draws."""
    n = 20_000
    e = np.broadcast_to(residuals(1), (n, *KNOWN.shape))
    drawn = copula().draw(tensor(e), torch.Generator().manual_seed(0)).numpy()
    for i, seen in enumerate(KNOWN > 0):
        np.testing.assert_array_equal(drawn[:, i, seen], e[:, i, seen])
        if seen.all():
            continue
        mean, cov = exact(e[0, i], seen)
        gap = drawn[:, i, ~seen] - mean
        bound = 5 * np.sqrt(cov.diagonal() / n)
        assert (np.abs(gap.mean(axis=0)) < bound).all()
        square = cov**2 + np.outer(cov.diagonal(), cov.diagonal())
        assert (np.abs(gap.T @ gap / n - cov) < 5 * np.sqrt(square / n)).all()


def test_the_fit_finds_the_correlation_through_holes():
    """Bound: 5 standard errors of a correlation of the rows that have both cells."""
    n = 5000
    rng = np.random.default_rng(0)
    e = rng.multivariate_normal(np.zeros(3), R, size=n)
    known = (rng.random(e.shape) > 0.3).astype(float)
    found = fit(tensor(e)[None], tensor(known), torch.ones(n)).numpy()
    error = (1 - R**2) / math.sqrt(0.49 * n)
    assert (np.abs(found - R) < 5 * error + 1e-12).all()


def test_the_fit_does_not_depend_on_how_many_rows_are_at_work_together(monkeypatch):
    rng = np.random.default_rng(0)
    e, known = rng.normal(size=(4, 50, 3)), (rng.random((50, 3)) > 0.3).astype(float)
    parts = tensor(e), tensor(known), tensor(rng.random(50))
    together = fit(*parts)
    monkeypatch.setattr(module, "MATRIX_ELEMENTS", 7 * 9)
    torch.testing.assert_close(fit(*parts), together, rtol=0, atol=1e-12)


def test_a_row_stands_for_others_with_the_same_cells():
    e = tensor(np.random.default_rng(0).normal(size=(4, 6, 3)))
    pattern = tensor([[1.0, 0.0, 1.0]])
    one, each = (
        Copula.of(tensor(R), pattern),
        Copula.of(tensor(R), pattern.expand(6, 3)),
    )
    for answer in (
        lambda c: c.log_density(e),
        lambda c: c.mean(e),
        lambda c: c.scale.expand(6, 3),
        lambda c: c.draw(e, torch.Generator().manual_seed(0)),
    ):
        torch.testing.assert_close(answer(one), answer(each))


def test_a_row_of_weight_0_has_no_say_in_the_fit():
    rng = np.random.default_rng(0)
    e, known = rng.normal(size=(2, 40, 3)), np.ones((40, 3))
    weight = np.repeat([1.0, 0.0], 20)
    one = fit(tensor(e), tensor(known), tensor(weight))
    other = fit(tensor(e[:, :20]), tensor(known[:20]), tensor(weight[:20]))
    # twice the weight each, for the mean is 1: against the same rows of independence
    doubled = fit(tensor(np.tile(e[:, :20], (1, 2, 1))), tensor(known), torch.ones(40))
    torch.testing.assert_close(one, doubled)
    assert (one - other).abs().max() > 1e-3


def test_a_further_chunk_goes_on_from_the_correlation_before():
    """Complete rows of one draw: 500 rows of the earlier R and products of these.

    And of 6 rows of independence as many as these rows are of all.
    """
    e = np.random.default_rng(0).normal(size=(200, 3))
    found = fit(tensor(e)[None], torch.ones(200, 3), torch.ones(200), tensor(R))
    moments = 500 * R + e.T @ e + 200 / 700 * 6 * np.eye(3)
    scale = np.sqrt(moments.diagonal())
    np.testing.assert_allclose(found, moments / np.outer(scale, scale), atol=1e-12)


def test_a_chunk_without_residuals_changes_little_but_shrinkage():
    """Nothing known: the earlier R is what is expected of the missing residuals."""
    nothing = torch.zeros(20, 3, dtype=torch.float64)
    e = tensor(np.random.default_rng(0).normal(size=(4, 20, 3)))
    found = fit(e, nothing, torch.ones(20, dtype=torch.float64), tensor(R)).numpy()
    # 520 rows of R and 6 * 20 / 520 of independence, of which each step keeps a part
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(found[off], R[off] / (1 + 6 * 20 / 520 / 500), rtol=1e-4)


def test_a_wild_cell_does_not_decide_the_correlation():
    """Bound: what a pair of residuals of 5 adds to 500 independent rows."""
    rng = np.random.default_rng(0)
    e = rng.normal(size=(1, 500, 3))
    calm = fit(tensor(e), torch.ones(500, 3), torch.ones(500))
    e[0, 0] = 30.0
    wild = fit(tensor(e), torch.ones(500, 3), torch.ones(500))
    assert (wild - calm).abs().max() < 2 * 25 / 500


def test_few_rows_are_held_near_independence():
    e = tensor(np.ones((1, 2, 3)) * np.array([[1.0], [-1.0]]))  # all of them equal
    found = fit(e, torch.ones(2, 3).double(), torch.ones(2).double())
    off = found[~torch.eye(3, dtype=torch.bool)]
    torch.testing.assert_close(off, torch.full_like(off, 2 / (2 + 6)))


@pytest.mark.parametrize("rows", [1, 6])
def test_residuals_are_put_in_the_place_of_the_cells_that_are_wanted(rows):
    """A mixture of two columns, a coin and a Gaussian; (d,) for a row or for all."""
    configs = [
        HeadConfig("mixture", (3, 0), (0.1, 0.1), 3),
        HeadConfig("bernoulli", (1,)),
        HeadConfig("gaussian", (2,), (0.1,)),
    ]
    heads = [Head(config, torch.device("cpu"), torch.float64) for config in configs]
    start = 0
    for head in heads:
        head.slices.append(slice(start, start + head.likelihood.n_outputs))
        start += head.likelihood.n_outputs
    rng = np.random.default_rng(0)
    outputs, x, e = (tensor(rng.normal(size=(2, 6, n))) for n in (start, 4, 3))
    wanted = tensor(rng.random((rows, 3)) < 0.5).double()
    wanted[0] = tensor([1.0, 0.0, 1.0])
    tied = Residuals(heads)
    assert tied.columns.tolist() == [3, 0, 2]
    put = tied.put(outputs, x, e, wanted)
    there = wanted.expand(2, 6, 3) > 0
    torch.testing.assert_close(tied.of(outputs, put)[there], e[there])
    kept = torch.ones(2, 6, 4, dtype=torch.bool)
    kept[..., tied.columns] = ~there
    torch.testing.assert_close(put[kept], x[kept], rtol=0, atol=0)
