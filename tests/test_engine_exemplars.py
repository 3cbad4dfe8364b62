"""The density that stands on rows of the fit: exact, and without the row itself."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from skvae import VAETransformer
from skvae._engine import door
from skvae._engine.exemplars import Exemplars
from skvae._engine.inference import expand_members

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NONE = -1


def rows(n, seed):
    rng = np.random.default_rng(seed)
    t = rng.uniform(-2, 2, n)
    return np.column_stack([t, t**2]) + 0.2 * rng.normal(size=(n, 2))


def fit(X, **settings):
    small = {"n_components": 2, "hidden_layer_sizes": (16,), "n_estimators": 2}
    vae = VAETransformer(**small, max_iter=30, random_state=0, **settings).fit(X)
    return door.Engine(vae.learned_.smoothed(0.3), "cpu")


@pytest.fixture(scope="module")
def engine():
    return fit(rows(150, 0), likelihood="gaussian")


def ask(engine, exemplars, X, own=None, weight=None, each=False):
    own = np.full(len(X), NONE) if own is None else np.array(own)
    by = door.Encoded.of(exemplars, weight=weight)
    question = engine.log_prob_given_others if each else engine.log_prob_by
    return question(by, door.Encoded.of(X), own)


def by_hand(engine, exemplars, X):
    """Log densities of rows by each exemplar of each member: (E, K, N)."""
    batch = engine._batch(door.Encoded.of(exemplars), slice(None))
    with torch.no_grad():
        z = engine.inference.posterior_mean(expand_members(batch, engine.n_members))
        outputs = engine.model.decode(engine.inference.w, z.unsqueeze(2), [])
        (head,) = engine.model.heads
        parts = head.likelihood.mixture(head.raw(outputs))  # (E, K, 1, 1, D)
    log_pdf = norm.logpdf(X, parts.mean[:, :, 0].numpy(), parts.scale[:, :, 0].numpy())
    assert parts.scale.min() > 0.3  # the noise is in it
    return log_pdf.sum(-1)


def test_it_is_the_mean_over_members_and_weighted_exemplars(engine):
    exemplars, X, weight = rows(7, 1), rows(5, 2), np.arange(1.0, 8.0)
    parts = by_hand(engine, exemplars, X) + np.log(weight / weight.sum())[:, None]
    expected = logsumexp(parts, axis=(0, 1)) - np.log(2)
    np.testing.assert_allclose(ask(engine, exemplars, X, weight=weight), expected)


def test_a_weight_is_as_many_exemplars(engine):
    exemplars, X = rows(4, 1), rows(5, 2)
    count = np.array([1, 3, 2, 1])
    np.testing.assert_allclose(
        ask(engine, exemplars, X, weight=count.astype(float)),
        ask(engine, exemplars.repeat(count, axis=0), X),
    )


def test_a_row_does_not_count_for_itself(engine):
    exemplars = rows(6, 1)
    found = ask(engine, exemplars, exemplars, own=np.arange(6))
    for i in range(6):
        others = np.delete(exemplars, i, axis=0)
        np.testing.assert_allclose(found[i], ask(engine, others, exemplars[[i]])[0])
    assert (found < ask(engine, exemplars, exemplars)).all()


def test_it_integrates_to_one(engine):
    """On a grid of 1/10 as wide as the narrowest kernel, and far beyond all rows."""
    exemplars = rows(20, 1)
    axis = np.arange(-16.0, 16.0, 0.03)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(ask(engine, exemplars, grid)).sum() * 0.03**2
    assert mass == pytest.approx(1.0, abs=1e-6)


def test_a_cell_given_the_others_is_the_ratio_of_two_densities(engine):
    exemplars, X = rows(9, 1), rows(4, 2)
    X[0, 1] = np.nan
    own = [NONE, 3, NONE, NONE]
    each = ask(engine, exemplars, X, own, each=True)
    whole = ask(engine, exemplars, X, own)
    for d in range(2):
        others = X.copy()
        others[:, d] = np.nan
        expected = whole - ask(engine, exemplars, others, own)
        np.testing.assert_allclose(each[:, d], expected, atol=1e-12)
    assert each[0, 1] == 0.0


@pytest.mark.parametrize("likelihood", ["mixture", "student_t", "gaussian_fixed"])
def test_every_likelihood_gives_the_sum_of_its_cells(likelihood):
    """Whole rows may be a matrix product, cells by themselves never are."""
    engine = fit(rows(60, 0), likelihood=likelihood)
    exemplars, X = rows(9, 1), rows(4, 2)
    X[0, 1] = np.nan
    alone = X.copy()
    alone[:, 1] = np.nan
    # chain rule: log p(x0) + log p(x1 | x0)
    chain = ask(engine, exemplars, alone) + ask(engine, exemplars, X, each=True)[:, 1]
    np.testing.assert_allclose(ask(engine, exemplars, X), chain)


@pytest.mark.parametrize("each", [False, True])
def test_many_rows_in_chunks_and_blocks_are_as_few(engine, monkeypatch, each):
    """64 elements: one row a chunk, some exemplars a block, the own one in any."""
    exemplars, X = rows(150, 1), rows(12, 2)
    X[:3] = exemplars[[0, 70, 149]]
    own = [0, 70, 149, *[NONE] * 9]
    whole = ask(engine, exemplars, X, own, each=each)
    blocks, begin = [], Exemplars.__init__

    def counted(self, inference, batch):
        blocks.append(len(batch))
        begin(self, inference, batch)

    monkeypatch.setattr(Exemplars, "__init__", counted)
    monkeypatch.setattr(engine, "max_elements", 64)
    np.testing.assert_allclose(ask(engine, exemplars, X, own, each=each), whole)
    assert len(blocks) > 2
    assert sum(blocks) == 150


def test_a_cell_far_out_is_odd_and_spoils_no_number(engine):
    """1e9 standard deviations off a sum less the cell has no digits left."""
    exemplars, X = rows(20, 1), np.zeros((3, 2))
    X[:, 0] = [1e9, 1e160, 0.0]
    each = ask(engine, exemplars, X, each=True)
    assert np.isfinite(each[[0, 2]]).all()
    assert each[1, 0] == -np.inf
    assert each[1, 1] == 0.0  # nothing is left of the density of the others
    alone = X[:, :2].copy()
    alone[:, 0] = np.nan
    beside = ask(engine, exemplars, alone)
    whole = ask(engine, exemplars, X)
    np.testing.assert_allclose(each[:, 0], whole - beside)
