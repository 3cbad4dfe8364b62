"""Probabilities against closed forms: what the library says is what is true.

The first half writes the weights of a linear-Gaussian model by hand, x = W z + b + s e,
of which everything is known; the second fits estimators.
"""

import copy
import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from skvae import CVAERegressor, VAETransformer
from skvae._engine import door
from skvae._engine.config import HeadConfig, ModelConfig
from skvae._engine.likelihoods.numeric import UNIT_SOFTPLUS
from skvae._engine.model import LatentModel
from skvae._engine.priors import LOG_VAR_BOUND

short_fit = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # few epochs do here
)


@pytest.fixture(autouse=True)
def one_thread():
    """Small arrays: threads that wait for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- a linear-Gaussian model -----------------------------------------------------

D, L = 4, 2
FLOOR = 1e-3
# orthogonal columns: given all cells the latents are independent, as the encoder's are
W = np.array([[1.0, 0.5], [-0.5, 1.0], [0.8, 0.6], [-0.6, 0.8]])
B = np.array([0.3, -1.0, 0.0, 2.0])
SCALE = 0.7
PRECISION = 1.0 + (W**2).sum(axis=0) / SCALE**2  # of the posterior, diagonal
MARGINAL = multivariate_normal(B, W @ W.T + SCALE**2 * np.eye(D))
# what e is, where the model says so, in the place of independent noise
TIED = np.array(
    [[1.0, 0.5, -0.4, 0.2], [0.5, 1.0, 0.1, 0], [-0.4, 0.1, 1.0, 0.3], [0.2, 0, 0.3, 1]]
)
RESIDUALS = pytest.mark.parametrize("correlation", [None, TIED])


def covariance(correlation):
    """Covariance of rows."""
    return W @ W.T + SCALE**2 * (np.eye(D) if correlation is None else correlation)


def write_affine(model, weights, network, matrix, bias):
    """Set a network without hidden layers to h -> h @ matrix + bias."""
    views = model.layout.views(weights)
    (layer,) = network.first
    assert network.rest == []
    views[layer.weight][:] = torch.as_tensor(matrix)
    views[layer.bias][:] = torch.as_tensor(bias)


def linear_gaussian(draws, tilt=0.0, widen=1.0, shift=0.0, correlation=None):
    """The model above as ``Learned``; its encoder is exact where no cell is missing.

    ``tilt`` turns the posterior mean away from the truth, in units of the latent, and
    ``widen`` multiplies its standard deviation. ``shift`` moves all columns. With a
    ``correlation`` of the residuals the encoder is no longer exact.
    """
    head = HeadConfig("gaussian", tuple(range(D)), (FLOOR,) * D)
    config = ModelConfig(D, 0, (head,), L, hidden_layer_sizes=(), activation="identity")
    model = LatentModel(config, torch.device("cpu"), torch.float64)
    weights = torch.zeros(1, sum(model.layout.sizes), dtype=torch.float64)
    # outputs of the decoder: mean and raw scale of each column
    raw_scale = math.log(math.expm1(SCALE - FLOOR)) - UNIT_SOFTPLUS
    matrix, bias = np.zeros((L, 2, D)), np.full((2, D), raw_scale)
    matrix[:, 0], bias[0] = W.T, B + shift
    write_affine(model, weights, model.decoder.net, matrix.reshape(L, -1), bias.ravel())
    # inputs of the encoder: values and missing indicators; outputs: mean, raw log var
    gain = W / SCALE**2 / PRECISION  # (D, L)
    log_var = 2 * math.log(widen) - np.log(PRECISION)
    raw_log_var = LOG_VAR_BOUND * np.arctanh(log_var / LOG_VAR_BOUND)
    matrix = np.zeros((2 * D, 2 * L))
    matrix[:D, :L] = gain
    bias = np.concatenate([tilt - (B + shift) @ gain, raw_log_var])
    write_affine(model, weights, model.encoder, matrix, bias)
    flat = weights.numpy()
    nothing = np.zeros((1, L))
    learned = door.Learned(config, flat, draws, np.zeros(1), nothing, nothing)
    return replace(learned, correlation=correlation)


def asked(learned):
    return door.Engine(learned, "cpu")


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return MARGINAL.rvs(n, random_state=rng)


def posterior_mean(x):
    return (x - B) @ W / SCALE**2 / PRECISION


@pytest.mark.parametrize("n_draws", [1, 2, 7, 64])
def test_the_exact_posterior_gives_the_exact_likelihood_at_any_number_of_draws(n_draws):
    """log p(x, z) - log q(z | x) is log p(x) whatever z: nothing is left to chance."""
    draws = np.random.default_rng(1).standard_normal((n_draws, L))
    x = rows(50)
    log_prob, error = asked(linear_gaussian(draws)).log_prob(door.Encoded.of(x))
    np.testing.assert_allclose(log_prob, MARGINAL.logpdf(x), rtol=0, atol=1e-6)
    if n_draws > 1:
        np.testing.assert_allclose(error, 0.0, atol=1e-6)
    else:
        assert np.isnan(error).all()  # one draw knows nothing of its spread


def test_latents_and_their_kl_are_those_of_the_exact_posterior():
    x = rows(50)
    engine = asked(linear_gaussian(np.zeros((1, L))))
    mean = posterior_mean(x)
    np.testing.assert_allclose(engine.posterior_mean(door.Encoded.of(x)), mean)
    # KL(N(m, v) || N(0, 1)) = (m² + v - 1 - log v) / 2
    kl = 0.5 * (mean**2 + 1 / PRECISION - 1 + np.log(PRECISION)).mean(axis=0)
    np.testing.assert_allclose(engine.mean_kl(door.Encoded.of(x)), kl[None])


def test_information_is_that_of_a_gaussian_channel_whatever_the_prior():
    """½ log(1 + variance of the means over rows / variance of the posterior).

    With a weight for each row; 0 where all rows are the same one.
    """
    x, weight = rows(50), np.random.default_rng(1).uniform(0.5, 2.0, size=50)
    engine = asked(linear_gaussian(np.zeros((1, L))))
    told = engine.information(door.Encoded.of(x, weight=weight))
    between = np.cov(posterior_mean(x), rowvar=False, ddof=0, aweights=weight)
    expected = 0.5 * np.log1p(between.diagonal() * PRECISION)
    np.testing.assert_allclose(told, expected[None])
    same = engine.information(door.Encoded.of(np.tile(x[0], (50, 1))))
    np.testing.assert_allclose(same, 0.0, atol=1e-12)


def test_the_decoder_returns_the_mean_given_the_latent():
    z = np.random.default_rng(0).standard_normal((20, L))
    decoded = asked(linear_gaussian(np.zeros((1, L)))).decode_mean(z)
    np.testing.assert_allclose(decoded, z @ W.T + B)


@RESIDUALS
def test_draws_have_the_mean_and_covariance_of_the_model(correlation):
    """Bounds: 5 standard errors, for a covariance sqrt((C_ij² + C_ii C_jj) / n)."""
    n = 20_000
    learned = linear_gaussian(np.zeros((1, L)), correlation=correlation)
    x = asked(learned).sample(n, None, 1, seed=0)[0]
    cov = covariance(correlation)
    assert (np.abs(x.mean(0) - B) < 5 * np.sqrt(np.diag(cov) / n)).all()
    variance = cov**2 + np.outer(np.diag(cov), np.diag(cov))
    assert (np.abs(np.cov(x.T) - cov) < 5 * np.sqrt(variance / n)).all()


def side_by_side(one, other):
    """Two models as the members of one."""
    return replace(
        one,
        config=replace(one.config, n_estimators=2),
        weights=np.vstack([one.weights, other.weights]),
        bound=np.zeros(2),
    )


def test_members_form_an_equal_mixture():
    """p(x) is the mean of the members' p(x), to rounding."""
    draws = np.random.default_rng(1).standard_normal((16, L))
    models = linear_gaussian(draws), linear_gaussian(draws, 0.3, 1.5, shift=0.5)
    data = door.Encoded.of(rows(20))
    one, other = (asked(learned).log_prob(data)[0] for learned in models)
    assert np.abs(one - other).min() > 1e-3
    log_prob, _ = asked(side_by_side(*models)).log_prob(data)
    np.testing.assert_allclose(log_prob, np.logaddexp(one, other) - math.log(2))


def test_members_count_by_their_likelihood_where_cells_are_known():
    """E[x | x] is that of each member, weighted by how well it explains the row.

    The draws are symmetric, so the mean over them is exact for a linear decoder.
    """
    half = np.random.default_rng(1).standard_normal((8, L))
    draws = np.vstack([half, -half])
    models = linear_gaussian(draws), linear_gaussian(draws, shift=0.5)
    x = rows(20)
    density = np.array([MARGINAL.pdf(x), MARGINAL.pdf(x - 0.5)])
    means = [B + s + posterior_mean(x - s) @ W.T for s in (0.0, 0.5)]
    share = density / density.sum(axis=0)
    assert (share[0] > 0.6).any()
    assert (share[0] < 0.4).any()
    expected = share[0][:, None] * means[0] + share[1][:, None] * means[1]
    answer = asked(side_by_side(*models)).conditional_mean(door.Encoded.of(x))
    np.testing.assert_allclose(answer, expected, rtol=1e-9, atol=1e-9)


def test_every_draw_comes_from_a_member_at_random():
    """Members 100 apart; of 4000 draws half, within 5 standard errors, are of each."""
    draws = np.zeros((1, L))
    models = linear_gaussian(draws), linear_gaussian(draws, shift=100.0)
    x = asked(side_by_side(*models)).sample(40, None, 100, seed=0)
    second = (x > 50).all(axis=-1)
    assert ((x > 50).any(axis=-1) == second).all()  # no row is of both
    assert abs(second.mean() - 0.5) < 5 * 0.5 / math.sqrt(4000)
    assert 0 < second[:, 0].mean() < 1
    assert 0 < second[0].mean() < 1


# -- missing cells ---------------------------------------------------------------


def with_holes(n=12):
    """Rows, and each with other cells missing: none, some, all."""
    x = rows(n)
    rng = np.random.default_rng(3)
    holes = rng.random(x.shape) < 0.5
    holes[0], holes[1] = False, True
    return np.where(holes, np.nan, x)


def conditional(x, correlation=None):
    """Exact mean and covariance of all cells given the observed ones of a row."""
    seen = ~np.isnan(x)
    cov = covariance(correlation)
    gain = cov[:, seen] @ np.linalg.inv(cov[np.ix_(seen, seen)])
    mean = B + gain @ (x[seen] - B[seen])
    return mean, cov - gain @ cov[seen]


def marginal_log_prob(x, correlation=None):
    seen = ~np.isnan(x)
    if not seen.any():
        return 0.0
    cov = covariance(correlation)[np.ix_(seen, seen)]
    return multivariate_normal(B[seen], cov).logpdf(x[seen])


# as wide as the prior and more: whatever is missing, the weights are bounded
WIDE = {"widen": 3.0}


def replicates(question, n_replicates=24, n_draws=4096, **encoder):
    """Answers with independent sets of independent draws, and their standard error."""
    rng = np.random.default_rng(5)
    answers = []
    for _ in range(n_replicates):
        draws = rng.standard_normal((n_draws, L))
        answers.append(question(asked(linear_gaussian(draws, **encoder))))
    answers = np.array(answers)
    return answers.mean(0), answers.std(0, ddof=1) / math.sqrt(n_replicates)


@RESIDUALS
def test_missing_cells_are_integrated_out_of_the_likelihood(correlation):
    """With holes the encoder is not exact; importance weights make up for it.

    Bound: 5 standard errors of 24 replicates, plus the bias of the logarithm, half the
    squared standard error of one replicate.
    """
    x = with_holes()
    assert np.isnan(x).any()
    encoder = WIDE | {"correlation": correlation}
    mean, error = replicates(lambda e: e.log_prob(door.Encoded.of(x))[0], **encoder)
    exact = np.array([marginal_log_prob(row, correlation) for row in x])
    assert error.max() < 0.02
    bias = 0.5 * 24 * error**2
    assert (np.abs(mean - exact) < 5 * error + bias + 1e-9).all()


def test_the_stated_standard_error_is_that_of_independent_draws():
    """Its mean over 300 replicates against their spread, which is known to 4 %.

    Bound: 4 of these, and 5 % for the logarithm, of which the error is a first-order
    approximation.
    """
    x = with_holes()[2:]
    rng = np.random.default_rng(6)
    answers = []
    for _ in range(300):
        draws = rng.standard_normal((128, L))
        engine = asked(linear_gaussian(draws, **WIDE))
        answers.append(engine.log_prob(door.Encoded.of(x)))
    answers = np.array(answers)
    spread, stated = answers[:, 0].std(axis=0), answers[:, 1].mean(axis=0)
    assert spread.min() > 1e-3
    np.testing.assert_allclose(stated, spread, rtol=4 / math.sqrt(2 * 300) + 0.05)


@pytest.mark.parametrize(
    "encoder",
    [WIDE, {"tilt": 0.3, "widen": 4.0}, WIDE | {"correlation": TIED}],
)
def test_conditional_means_are_those_of_the_gaussian(encoder):
    """Bound: 5 standard errors of 24 replicates of 4096 draws.

    Self-normalising biases by 1 / 4096 of a variance: far below the standard error.
    """
    x = with_holes()
    data = door.Encoded.of(x)
    mean, error = replicates(lambda e: e.conditional_mean(data), **encoder)
    correlation = encoder.get("correlation")
    exact = np.array([conditional(row, correlation)[0] for row in x])
    missing = np.isnan(x)
    assert error.max() < 0.02
    assert (np.abs(mean - exact) < 5 * error + 1e-9)[missing].all()


@RESIDUALS
def test_conditional_draws_have_the_conditional_mean_and_covariance(correlation):
    """Draws of missing cells come from their joint conditional distribution.

    Bound: 5 standard errors of 24 replicates of 500 draws each.
    """
    x = with_holes()[2:]
    assert (np.isnan(x).sum(axis=1) >= 2).any()
    exact = [conditional(row, correlation) for row in x]
    seeds = itertools.count()

    def moments(engine):
        draws = engine.conditional_draws(door.Encoded.of(x), 500, seed=next(seeds))
        found = []
        for i, (row, (mean, _)) in enumerate(zip(x, exact, strict=True)):
            gap = (draws[:, i] - mean)[:, np.isnan(row)]
            found += [gap.mean(0), (gap.T @ gap / 500).ravel()]
        return np.concatenate(found)

    encoder = WIDE | {"correlation": correlation}
    mean, error = replicates(moments, n_draws=1024, **encoder)
    expected = []
    for row, (_, cov) in zip(x, exact, strict=True):
        missing = np.isnan(row)
        expected += [np.zeros(missing.sum()), cov[np.ix_(missing, missing)].ravel()]
    assert error.max() < 0.05
    assert (np.abs(mean - np.concatenate(expected)) < 5 * error).all()


def test_the_correlation_of_residuals_is_found_from_rows_with_holes():
    """Rows of the model with residuals that go together, a fifth of the cells missing.

    Fitted to half of them, the correlation makes the others as likely as the truth does
    to 0.01 nats a row (six numbers fitted to 2000 rows cost 0.0015); independent ones
    make them less likely by 0.03 at the least.
    """
    cov = covariance(TIED)
    x = multivariate_normal(B, cov).rvs(4000, random_state=4)
    x[np.random.default_rng(5).random(x.shape) < 0.2] = np.nan
    draws = np.random.default_rng(6).standard_normal((256, L))
    learned = linear_gaussian(draws, **WIDE)
    found = asked(learned).fit_correlation(door.Encoded.of(x[:2000]), seed=0)
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_allclose(found.diagonal(), 1.0)
    new = x[2000:]
    exact = np.mean([marginal_log_prob(row, TIED) for row in new])
    apart = np.mean([marginal_log_prob(row) for row in new])
    fitted = np.mean([marginal_log_prob(row, found) for row in new])
    assert apart < exact - 0.03
    assert fitted > exact - 0.01


def test_the_share_of_a_cell_is_its_expected_log_density():
    """E[log N(x_d; w_d z + b_d, s²)] over the exact posterior of a complete row.

    Bound: 5 standard errors of 24 replicates.
    """
    x = rows(8)
    mean, error = replicates(lambda e: e.log_prob_cells(door.Encoded.of(x)))
    squares = (x - B - posterior_mean(x) @ W.T) ** 2 + W**2 @ (1 / PRECISION)
    exact = -0.5 * (squares / SCALE**2 + math.log(2 * math.pi * SCALE**2))
    assert error.max() < 0.02
    assert (np.abs(mean - exact) < 5 * error + 1e-9).all()


# -- the bounds ------------------------------------------------------------------


def test_bounds_rise_with_the_draws_from_the_elbo_to_the_likelihood():
    """ELBO <= IWAE-4 <= IWAE-16 <= log p(x), for a wrong encoder.

    The smaller bounds are means over all parts of the set of 16, so each rise is an
    inequality without an error (Burda et al. 2016, theorem 1). Means over 40 rows and
    200 sets meet the closed form of the ELBO within 5 standard errors, and exceed the
    likelihood by at most 4.
    """
    data, rng = door.Encoded.of(x := rows(40)), np.random.default_rng(9)
    tilt, widen = 0.4, 1.6

    def bound(draws, size):
        parts = np.split(draws, len(draws) // size)
        models = (linear_gaussian(part, tilt, widen) for part in parts)
        return np.mean([asked(model).log_prob(data)[0] for model in models])

    sets = rng.standard_normal((200, 16, L))
    bounds = np.array([[bound(draws, k) for k in (1, 4, 16)] for draws in sets])
    assert (np.diff(bounds, axis=1) > 0).all()
    mean, error = bounds.mean(0), bounds.std(0, ddof=1) / math.sqrt(200)
    # the gap of the ELBO is KL(q || posterior): a shift by tilt, a scale by widen
    gap = 0.5 * (widen**2 - 1 - 2 * math.log(widen) + tilt**2 * PRECISION).sum()
    exact = MARGINAL.logpdf(x).mean()
    assert abs(mean[0] - (exact - gap)) < 5 * error[0]
    assert 5 * error[0] < 0.2 * gap
    assert exact - 0.2 * gap < mean[2] < exact + 4 * error[2]


# -- fitted estimators -----------------------------------------------------------


def factor_model(n_rows, seed):
    """Rows of a factor-analysis model, six columns and two factors, and its density."""
    rng = np.random.default_rng(seed)
    loadings = np.array(
        [[1.0, 0.0], [0.9, 0.3], [0.8, -0.5], [0.2, 1.0], [-0.3, 0.9], [0.0, 0.8]]
    )
    scales = np.array([0.5, 0.6, 0.5, 0.4, 0.6, 0.5])
    mean = np.array([1.0, -2.0, 0.0, 5.0, 3.0, -1.0])
    z = rng.standard_normal((n_rows, 2))
    x = mean + z @ loadings.T + scales * rng.standard_normal((n_rows, 6))
    return x, multivariate_normal(mean, loadings @ loadings.T + np.diag(scales**2))


def two_moons_like(n_rows=300, seed=0):
    """A curved, correlated pair of columns in units of their own."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, n_rows)
    x = np.column_stack([t, t**2]) + 0.1 * rng.standard_normal((n_rows, 2))
    return x * [3.0, 0.2] + [10.0, -1.0]


SMALL = {
    "batch_size": 32,
    "n_components": 2,
    "hidden_layer_sizes": (32,),
    "n_estimators": 2,
    "max_iter": 30,
    "learning_rate_init": 1e-2,
    "random_state": 0,
    "device": "cpu",
}


def fitted_vae(x, **settings):
    return VAETransformer(**SMALL | settings).fit(x)


def fitted_cvae(x, y, **settings):
    return CVAERegressor(**SMALL | {"n_mixtures": 2} | settings).fit(x, y)


def regression(n_rows=200, seed=0):
    """A noisy curve over two features, noise growing with the second."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n_rows, 2))
    noise = (0.1 + 0.1 * (x[:, 1] > 0)) * rng.standard_normal(n_rows)
    return x, 5.0 + 2.0 * np.sin(2 * x[:, 0]) + noise


def branches(n_rows=300, seed=0):
    """A target on one of two curves: what one Gaussian and no latent cannot say."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n_rows, 2))
    side = rng.choice([-1.0, 1.0], n_rows)
    return x, 5.0 + 3.0 * side * (1.5 + x[:, 0]) + 0.5 * rng.standard_normal(n_rows)


# a latent that a small, short fit puts to use, with a posterior as wide as it must be
AWAKE = {
    "n_components": 1,
    "objective": "iwae",
    "n_draws": 8,
    "kl_warmup": 0.1,
    "max_iter": 60,
}


@pytest.mark.slow
def test_a_trained_model_comes_within_one_percent_of_the_true_likelihood():
    """Factor-analysis rows, held out, defaults but for the latent's size.

    The estimate of a mean over 4000 rows is paired with the true one, so the error of
    the difference is far below the 1 % (0.07 nats) that is asked for.
    """
    x, density = factor_model(3000, seed=0)
    held_out, _ = factor_model(4000, seed=1)
    true = density.logpdf(held_out)
    model = VAETransformer(n_components=2, random_state=0, device="cpu").fit(x)
    log_prob = model.score_samples(held_out)
    gap = true - log_prob
    error = gap.std() / math.sqrt(len(gap))
    assert error < 0.002 * abs(true.mean())
    assert gap.mean() < 0.01 * abs(true.mean())
    # no density beats the true one by more than chance
    assert gap.mean() > -4 * error


def redrawn(model, n_replicates=10, n_draws=128):
    """Fitted ``model`` with other draws of inference: independent sets of normals.

    A density estimated by importance weights is right on average over such sets, and
    so is its integral; means over sets have the standard error of independent numbers.
    """
    assert model.kl_per_dimension_.sum() > 0.1  # else there is nothing to integrate
    rng = np.random.default_rng(11)
    for _ in range(n_replicates):
        other = copy.copy(model)
        draws = rng.standard_normal((n_draws, model.n_components))
        other.learned_ = replace(model.learned_, draws=draws)
        yield other


def assert_mean(values, expected, max_error):
    """The mean of independent ``values`` is ``expected`` within 5 standard errors.

    These must not exceed ``max_error``, or the test would show nothing.
    """
    error = np.std(values, axis=0, ddof=1) / math.sqrt(len(values))
    assert np.max(error) < max_error
    assert (np.abs(np.mean(values, axis=0) - expected) < 5 * error).all()


# one latent that is in use, and a posterior that covers what it stands for
ONE_LATENT = {
    "n_components": 1,
    "likelihood": "gaussian",
    "kl_schedule": "constant",
    "max_iter": 60,
}


@short_fit
def test_the_density_of_one_column_integrates_to_one():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-2, 0.5, 150), rng.normal(2, 1.0, 150)])[:, None]
    model = fitted_vae(7.0 * x, **ONE_LATENT)
    grid = np.linspace(-80, 80, 801)
    step = grid[1] - grid[0]
    models = redrawn(model, n_draws=1024)
    densities = [np.exp(m.score_samples(grid[:, None])) for m in models]
    assert np.max(densities, axis=0)[[0, -1]].max() < 1e-6  # the grid holds all of it
    assert_mean([d.sum() * step for d in densities], 1.0, max_error=0.02)


# beside other cells z is worth little: a small beta keeps it in use, and a posterior
# that was trained under dropout would not cover what it stands for
DECODERS = [{}, {"decoder": "autoregressive", "beta": 0.1, "dropout": 0.0}]


@short_fit
@pytest.mark.parametrize("settings", DECODERS)
def test_the_density_of_two_columns_integrates_to_one(settings):
    model = fitted_vae(two_moons_like(), **ONE_LATENT | settings)
    first, second = np.linspace(-2, 22, 81), np.linspace(-1.9, 0.1, 81)
    grid = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1)
    cell = (first[1] - first[0]) * (second[1] - second[0])
    density = [
        np.exp(m.score_samples(grid.reshape(-1, 2))).reshape(81, 81)
        for m in redrawn(model)
    ]
    edges = [np.max([d[0], d[-1], d[:, 0], d[:, -1]]) for d in density]
    assert max(edges) < 1e-3 * np.max(density)  # the grid holds all of it
    assert_mean([d.sum() * cell for d in density], 1.0, max_error=0.02)


FIRST, SECOND = (8.0, 10.0, 12.0), (-1.0, -0.98, -0.95)  # near rows, of each column
GRIDS = np.linspace(-2.0, 22.0, 301), np.linspace(-2.4, 0.6, 301)


@short_fit
@pytest.mark.parametrize("settings", DECODERS)
@pytest.mark.parametrize(("hole", "values"), [(1, FIRST), (0, SECOND)])
def test_the_marginal_of_a_missing_column_is_the_integral_over_it(
    settings, hole, values
):
    """Scores of rows with a hole against quadrature over the values of the hole."""
    model = fitted_vae(spoil(two_moons_like()), **ONE_LATENT | settings)
    grid = GRIDS[hole]
    step = grid[1] - grid[0]
    marginals, masses = [], []
    for m in redrawn(model, n_draws=1024):
        asked = np.insert(np.array(values)[:, None], hole, np.nan, axis=1)
        marginals.append(np.exp(m.score_samples(asked)))
        tables = [np.insert(grid[:, None], 1 - hole, v, axis=1) for v in values]
        masses.append([np.exp(m.score_samples(t)).sum() * step for t in tables])
    size = np.mean(marginals, axis=0)
    assert_mean((np.array(masses) - marginals) / size, 0.0, max_error=0.03)


@short_fit
@pytest.mark.parametrize("n_mixtures", [1, 2])
def test_the_conditional_density_integrates_to_one(n_mixtures):
    x, y = branches()
    model = fitted_cvae(x, y, n_mixtures=n_mixtures, **AWAKE)
    grid = np.linspace(-25, 35, 601)
    masses = [
        [
            np.exp(m.score_samples(np.tile(row, (601, 1)), grid)).sum() * 0.1
            for row in x[:3]
        ]
        for m in redrawn(model)
    ]
    assert_mean(masses, 1.0, max_error=0.03)


@short_fit
def test_the_score_of_a_target_is_the_predictive_density():
    """Two estimates of one density: weighted posterior draws, and prior draws.

    Bound: 5 standard errors of the first and of the second, which is the mean of
    densities given the 2 · 2048 latents.
    """
    x, y = branches()
    x, y, given = x[:50], y[:50], (x, y)
    model = fitted_cvae(*given, n_samples=2048, n_mixtures=1, **AWAKE)
    assert model.kl_per_dimension_.sum() > 0.1
    engine, pairs = door.Engine(model.learned_, "cpu"), model._pairs(x, y)
    _, error = engine.log_prob(pairs)
    _, means, scales = (part[:, :, 0, 0] for part in engine.mixture(pairs.c))
    density = norm.pdf(pairs.x, means, scales)  # (rows, latents), standardised
    other = density.std(axis=1) / density.mean(axis=1) / math.sqrt(2 * 2048)
    assert np.median(error + other) < 0.1
    gap = model.score_samples(x, y) - model.predict_distribution(x).log_prob(y)
    assert (np.abs(gap) < 5 * (error + other)).all()


@short_fit
def test_predict_is_the_mean_of_many_samples():
    """Bound: 5 standard errors of 4000 draws, and of the 2 · 512 fixed draws."""
    x, y = branches()
    model = fitted_cvae(x, y, n_samples=512, n_mixtures=1, **AWAKE)
    assert model.kl_per_dimension_.sum() > 0.1
    n = 4000
    draws = model.sample(x[:20], n_samples=n, random_state=1)
    assert draws.shape == (n, 20)
    error = draws.std(axis=0) * (1 / math.sqrt(n) + 1 / math.sqrt(2 * 512))
    assert (np.abs(draws.mean(axis=0) - model.predict(x[:20])) < 5 * error).all()


@short_fit
def test_quantiles_and_cdf_invert_each_other():
    x, y = regression()
    distribution = fitted_cvae(x, y).predict_distribution(x[:25])
    levels = [0.001, 0.05, 0.5, 0.9, 0.999]
    quantiles = distribution.quantile(levels)
    assert quantiles.shape == (25, 5)
    assert (np.diff(quantiles, axis=1) > 0).all()
    for level, quantile in zip(levels, quantiles.T, strict=True):
        np.testing.assert_allclose(distribution.cdf(quantile), level, rtol=1e-6)
    cdf = distribution.cdf(y[:25])
    inside = (cdf > 1e-6) & (cdf < 1 - 1e-6)
    assert inside.sum() > 20
    back = [distribution.quantile(float(p))[i] for i, p in enumerate(cdf) if inside[i]]
    np.testing.assert_allclose(back, y[:25][inside], rtol=1e-6)


# -- units -----------------------------------------------------------------------


def spoil(x, seed=0):
    """Remove a fifth of the cells."""
    holes = np.random.default_rng(seed).random(x.shape) < 0.2
    return np.where(holes, np.nan, x)


# 1024 scales floats without rounding, so all else must be equal to the last bit; 1000
# rounds the standardised cells in their last digit (1e-16), which is lost where
# training turns them into float32, but for a cell in a billion
FACTORS = [(1024.0, 0.0), (1000.0, 1e-12)]
# of a difference of two log-likelihoods that are added up from about ten terms
ROUNDING = {"rtol": 0, "atol": 1e-12}
# rows with holes climb to a mode in a few Newton steps, which enlarge it
CLIMBED = {"rtol": 0, "atol": 1e-8}


@short_fit
@pytest.mark.parametrize(("factor", "tolerance"), FACTORS)
def test_the_unit_of_a_column_shifts_the_likelihood_and_changes_nothing_else(
    factor, tolerance
):
    x = spoil(two_moons_like())
    unit = np.array([factor, 1.0])
    one, other = fitted_vae(x), fitted_vae(x * unit)
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(other.transform(x * unit), one.transform(x), **close)
    jacobian = np.where(np.isnan(x), 0.0, np.log(unit))
    assert 0 < (jacobian == 0).mean() < 1
    shift = one.score_samples(x) - other.score_samples(x * unit)
    np.testing.assert_allclose(shift, jacobian.sum(axis=1), **CLIMBED)
    cells = one.score_features(x) - other.score_features(x * unit)
    np.testing.assert_allclose(cells, jacobian, **CLIMBED)
    shift = np.subtract(one.validation_scores_, other.validation_scores_)
    # the history of training is in float32: half of its spacing between 8 and 16, twice
    np.testing.assert_allclose(shift, jacobian.sum(axis=1).mean(), rtol=0, atol=1e-6)
    imputed = other.impute(x * unit)
    np.testing.assert_allclose(imputed, one.impute(x) * unit, rtol=1e-8)
    close = {"rtol": tolerance, "atol": 0}
    sample, scaled = (model.sample(50, random_state=0) for model in (one, other))
    np.testing.assert_allclose(scaled, sample * unit, **close)


@short_fit
@pytest.mark.parametrize(("factor", "tolerance"), FACTORS)
def test_the_unit_of_the_target_shifts_the_likelihood_and_scales_predictions(
    factor, tolerance
):
    x, y = regression()
    one, other = fitted_cvae(x, y), fitted_cvae(x, factor * y)
    shift = one.score_samples(x, y) - other.score_samples(x, factor * y)
    np.testing.assert_allclose(shift, math.log(factor), **ROUNDING)
    predicted, scaled = (m.predict(x, return_std=True) for m in (one, other))
    np.testing.assert_allclose(scaled, factor * np.array(predicted), rtol=tolerance)
    latents, same = one.transform(x, y), other.transform(x, factor * y)
    np.testing.assert_allclose(same, latents, rtol=tolerance, atol=tolerance)


@short_fit
@pytest.mark.parametrize(("factor", "tolerance"), FACTORS)
def test_the_unit_of_a_feature_changes_nothing(factor, tolerance):
    x, y = regression()
    x = spoil(x)
    scaled = x * [1.0, factor]
    one, other = fitted_cvae(x, y), fitted_cvae(scaled, y)
    close = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(other.predict(scaled), one.predict(x), **close)
    scores, same = one.score_samples(x, y), other.score_samples(scaled, y)
    np.testing.assert_allclose(same, scores, rtol=0, atol=10 * tolerance)


# -- imputation ------------------------------------------------------------------


def bits(values):
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


@short_fit
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_imputations", [None, 3])
def test_imputation_returns_observed_cells_bit_for_bit(dtype, n_imputations):
    x = spoil(two_moons_like()).astype(dtype)
    x[0] = [-0.0, 1e-30]
    x[1] = [1 / 3, np.nextafter(dtype(-1), dtype(0))]
    before = x.copy()
    model = fitted_vae(x, max_iter=5)
    filled = model.impute(x, n_imputations=n_imputations, random_state=0)
    for one in filled if n_imputations else [filled]:
        assert one.dtype == dtype
        assert np.isfinite(one).all()
        observed = ~np.isnan(x)
        np.testing.assert_array_equal(bits(one)[observed], bits(x)[observed])
    np.testing.assert_array_equal(bits(x), bits(before))


@short_fit
def test_imputation_of_a_frame_returns_observed_cells_and_dtypes():
    x = two_moons_like()
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": spoil(x)[:, 0],
            "b": x[:, 1].astype(np.float32),
            "flag": rng.random(len(x)) < 0.3,
            "count": rng.integers(0, 50, len(x)),
        },
        index=np.arange(len(x))[::-1],
    )
    filled = fitted_vae(frame, max_iter=5).impute(frame)
    assert (filled.dtypes == frame.dtypes).all()
    assert filled.index.equals(frame.index)
    assert filled.notna().all(axis=None)
    observed = frame["a"].notna()
    assert 0 < observed.mean() < 1
    pd.testing.assert_frame_equal(filled[observed], frame[observed], check_exact=True)
