"""One normal distribution fitted to rows with holes, against closed forms."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skvae._engine import multinormal as module
from skvae._engine.likelihoods.numeric import raw_scale_of, scale_from
from skvae._engine.multinormal import MultiNormal

MEAN = np.array([0.3, -0.2, 0.5])
COVARIANCE = np.array([[1.0, 0.6, -0.3], [0.6, 0.8, 0.2], [-0.3, 0.2, 1.5]])


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def rows(n, seed=0):
    return np.random.default_rng(seed).multivariate_normal(MEAN, COVARIANCE, n)


def fit(x, known=None, weight=None):
    known = np.ones_like(x) if known is None else known
    weight = np.ones(len(x)) if weight is None else weight
    return MultiNormal.fit(tensor(x * known), tensor(known), tensor(weight))


def covariance(normal):
    scale = normal.scale.numpy()
    return normal.correlation.numpy() * np.outer(scale, scale)


def test_complete_rows_give_their_moments_and_a_row_of_independence():
    x = rows(50)
    found = fit(x)
    np.testing.assert_allclose(found.mean.numpy(), x.mean(axis=0), atol=1e-9)
    expected = np.cov(x.T, ddof=0)
    expected = (50 * expected + np.eye(3)) / 51
    np.testing.assert_allclose(covariance(found), expected, atol=1e-4)


def test_a_regression_fills_in_where_one_column_has_holes(monkeypatch):
    """The maximum of the likelihood is that of Anderson (1957), in closed form."""
    monkeypatch.setattr(module, "SHRINKAGE", 0.0)
    monkeypatch.setattr(module, "TOLERANCE", 1e-10)
    x = rows(300)
    there = x[:, 1] < x[:, 1].mean()  # whether x0 is: the smaller x1, so it is not
    known = np.ones_like(x)
    known[~there, 0] = 0.0
    found = fit(x, known)
    design = np.column_stack([np.ones(there.sum()), x[there, 1:]])
    line, *_ = np.linalg.lstsq(design, x[there, 0])
    noise = np.mean((x[there, 0] - design @ line) ** 2)
    others = np.cov(x[:, 1:].T, ddof=0)
    assert found.mean[0] == pytest.approx(
        line[0] + line[1:] @ x[:, 1:].mean(axis=0), abs=1e-7
    )
    expected = np.empty((3, 3))
    expected[1:, 1:] = others
    expected[0, 1:] = expected[1:, 0] = others @ line[1:]
    expected[0, 0] = noise + line[1:] @ others @ line[1:]
    np.testing.assert_allclose(covariance(found), expected, atol=1e-7)


def test_a_row_of_weight_two_is_two_rows(monkeypatch):
    monkeypatch.setattr(module, "SHRINKAGE", 0.0)
    x = rows(40)
    known = (np.random.default_rng(1).random(x.shape) < 0.7).astype(float)
    weight = np.random.default_rng(2).integers(1, 4, size=40)
    found = fit(x, known, weight)
    same = fit(np.repeat(x, weight, axis=0), np.repeat(known, weight, axis=0))
    for field in ("mean", "scale", "correlation"):
        torch.testing.assert_close(
            getattr(found, field), getattr(same, field), rtol=0, atol=1e-9
        )


def test_more_columns_than_rows_have_a_correlation_with_a_root():
    x = np.random.default_rng(0).normal(size=(5, 12))
    known = (np.random.default_rng(1).random(x.shape) < 0.7).astype(float)
    found = fit(x, known)
    assert np.linalg.eigvalsh(found.correlation.numpy()).min() > 1e-3


def test_a_column_of_one_value_or_of_none_has_a_scale():
    """Such as a table without the rows that are held out may have."""
    x, known = rows(50), np.ones((50, 3))
    x[:, 0], known[:, 1] = 0.4, 0.0
    found = fit(x, known)
    assert found.mean[0] == pytest.approx(0.4, abs=1e-3)
    assert found.scale[0] ** 2 == pytest.approx(1 / 51, abs=1e-4)
    assert found.mean[1] == pytest.approx(0.0, abs=1e-3)
    assert found.scale[1] == pytest.approx(1.0, abs=1e-3)
    assert found.log_prob(tensor(x), tensor(known)).isfinite().all()


def test_the_density_is_that_of_the_cells_that_are_there():
    scale = np.sqrt(COVARIANCE.diagonal())
    normal = MultiNormal(
        tensor(MEAN), tensor(scale), tensor(COVARIANCE / np.outer(scale, scale))
    )
    x = rows(5)
    known = np.array(
        [[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=float
    )
    found = normal.log_prob(tensor(x * known), tensor(known)).numpy()
    for row, seen, value in zip(x, known > 0, found, strict=True):
        expected = 0.0
        if seen.any():
            part = COVARIANCE[np.ix_(seen, seen)]
            expected = multivariate_normal(MEAN[seen], part).logpdf(row[seen])
        assert value == pytest.approx(expected, abs=1e-12)


def test_a_scale_has_the_raw_output_that_it_is_made_of():
    scale, floor = tensor([0.011, 0.5, 1.0, 30.0]), tensor([0.01] * 4)
    found = scale_from(raw_scale_of(scale, floor), floor, 0.0)
    torch.testing.assert_close(found, scale)
    least = scale_from(raw_scale_of(tensor([0.001]), floor[:1]), floor[:1], 0.0)
    assert 0.01 < float(least) < 0.0101
