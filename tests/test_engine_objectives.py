"""What training minimises, against closed forms; and its schedules."""

import math

import numpy as np
import pytest
import torch

from skvae._engine import objectives, schedules
from skvae._engine.config import TrainConfig
from skvae._engine.distributions import Gaussian
from skvae._engine.objectives import Dreg, Elbo, Iwae, Terms, Trimmed

E, S, N, L = 2, 5, 6, 3
ONE = torch.tensor(1.0, dtype=torch.float64)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def some_terms(n_draws=S, n_rows=N):
    """Terms of no model in particular: any numbers of the right shapes."""
    posterior = Gaussian(normal(E, n_rows, L, seed=1), normal(E, n_rows, L, seed=2))
    prior = Gaussian(normal(E, n_rows, L, seed=3), normal(E, n_rows, L, seed=4))
    z = posterior.at(normal(E, n_draws, n_rows, L, seed=5))
    return Terms(normal(E, n_draws, n_rows, seed=6), z, posterior, prior)


def take(terms, rows):
    """Terms of some rows, given by number; a row may come more than once."""
    posterior, prior = (
        Gaussian(g.mean[:, rows], g.log_var[:, rows])
        for g in (terms.posterior, terms.prior)
    )
    return Terms(terms.log_lik[:, :, rows], terms.z[:, :, rows], posterior, prior)


def ones(n_rows=N):
    return torch.ones(E, n_rows, dtype=torch.float64)


def log_density(gaussian, z):
    scale = (0.5 * gaussian.log_var).exp().unsqueeze(1)
    normals = torch.distributions.Normal(gaussian.mean.unsqueeze(1), scale)
    return normals.log_prob(z).sum(-1)


def kl(terms):
    """KL(q || p) by torch.distributions: (E, N, L)."""
    pair = (
        torch.distributions.Normal(g.mean, (0.5 * g.log_var).exp())
        for g in (terms.posterior, terms.prior)
    )
    return torch.distributions.kl_divergence(*pair)


# -- the bounds ------------------------------------------------------------------


def test_the_elbo_is_likelihood_less_kl():
    terms = some_terms()
    expected = (terms.log_lik.mean(1) - kl(terms).sum(-1)).mean(1)
    torch.testing.assert_close(-Elbo()(terms, ONE, ones()), expected)


@pytest.mark.parametrize("beta", [0.0, 0.5, 3.0])
def test_beta_multiplies_the_kl(beta):
    terms = some_terms()
    expected = beta * kl(terms).sum(-1).mean(1) - terms.log_lik.mean((1, 2))
    torch.testing.assert_close(Elbo()(terms, beta * ONE, ones()), expected)


def test_free_bits_are_a_floor_of_each_dimensions_mean_kl():
    terms = some_terms()
    mean_kl = kl(terms).mean(1)  # (E, L)
    floor = mean_kl.median().item()
    assert (mean_kl < floor).any()
    assert (mean_kl > floor).any()
    expected = mean_kl.clamp(min=floor).sum(-1) - terms.log_lik.mean((1, 2))
    torch.testing.assert_close(Elbo(floor)(terms, ONE, ones()), expected)


def test_a_dimension_within_its_free_bits_is_not_pulled_to_the_prior():
    terms = some_terms()
    mean_kl = kl(terms).mean(1)
    floor = mean_kl.median().item()
    mean = terms.posterior.mean.requires_grad_()
    (pull,) = torch.autograd.grad(Elbo(floor)(terms, ONE, ones()).sum(), mean)
    free = (mean_kl < floor).unsqueeze(1).expand_as(pull)
    assert (pull[free] == 0).all()
    assert (pull[~free] != 0).any()


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_the_importance_weighted_bound_is_the_log_of_the_mean_weight(beta):
    """Burda et al. (2016), eq. 8, with torch.distributions' densities."""
    terms = some_terms()
    ratio = log_density(terms.prior, terms.z) - log_density(terms.posterior, terms.z)
    weights = (terms.log_lik + beta * ratio).exp()
    expected = weights.mean(1).log().mean(1)
    torch.testing.assert_close(-Iwae()(terms, beta * ONE, ones()), expected)


def test_one_draw_of_the_importance_weighted_bound_is_a_monte_carlo_elbo():
    terms = some_terms(n_draws=1)
    expected = terms.log_weights().squeeze(1).mean(1)
    torch.testing.assert_close(-Iwae()(terms, ONE, ones()), expected)


def test_the_analytic_and_the_drawn_kl_agree_on_average():
    """Bound: 5 standard errors of the mean of 40 000 draws a row."""
    n_draws = 40_000
    terms = some_terms(n_draws)
    drawn = log_density(terms.posterior, terms.z) - log_density(terms.prior, terms.z)
    error = (drawn.mean(1) - terms.kl_each().sum(-1)).abs()
    assert (error < 5 * drawn.std(1) / math.sqrt(n_draws)).all()


def test_more_draws_never_lower_the_expected_bound():
    """A bound of 2 k draws is at least the mean of the two bounds of k (Jensen)."""
    terms = some_terms(n_draws=4)
    halves = [
        Terms(terms.log_lik[:, s], terms.z[:, s], terms.posterior, terms.prior)
        for s in (slice(0, 2), slice(2, 4))
    ]
    whole = -Iwae()(terms, ONE, ones())
    half = sum(-Iwae()(part, ONE, ones()) for part in halves) / 2
    elbo = terms.log_weights().mean((1, 2))
    assert (whole > half).all()
    assert (half > elbo).all()


def test_log_mean_exp_survives_numbers_that_exp_does_not():
    values = torch.tensor([[-2000.0, -2000.0 + math.log(3)]]).double()
    out = objectives.log_mean_exp(values, 1)
    torch.testing.assert_close(out, torch.tensor([-2000.0 + math.log(2)]).double())


# -- row weights -----------------------------------------------------------------


@pytest.mark.parametrize("objective", [Elbo(), Elbo(free_bits=0.3), Iwae()])
def test_integer_weights_act_as_repeated_rows(objective):
    """With weights of mean one, which is how the door passes them."""
    times = torch.tensor([1, 3, 1, 2, 1, 4])
    terms, beta = some_terms(), 0.7 * ONE
    weight = times.double().expand(E, N) / times.double().mean()
    repeated = take(terms, torch.arange(N).repeat_interleave(times))
    expected = objective(repeated, beta, ones(int(times.sum())))
    loss = objective(terms, beta, weight)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    assert (loss - objective(terms, beta, ones())).abs().min() > 1e-3


@pytest.mark.parametrize("objective", [Elbo(), Iwae()])
def test_the_loss_is_linear_in_the_weights(objective):
    terms, a, b = some_terms(), normal(E, N, seed=7), normal(E, N, seed=8)
    together = objective(terms, ONE, 2 * a - b)
    apart = 2 * objective(terms, ONE, a) - objective(terms, ONE, b)
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("objective", [Elbo(), Elbo(free_bits=0.3), Iwae()])
def test_a_row_of_weight_zero_changes_nothing(objective):
    terms, weight = some_terms(), ones()
    weight[:, 2] = 0.0
    terms.log_lik[:, :, 2] = 1e3
    loss = objective(terms, ONE, weight)
    terms.log_lik[:, :, 2] = -1e3
    assert torch.equal(loss, objective(terms, ONE, weight))


# -- trimming --------------------------------------------------------------------


def likeliest(terms, beta, n_rows):
    """Numbers of the rows of highest bound, for each member, in the order of rows."""
    bound = terms.log_lik.mean(1) - beta * kl(terms).sum(-1)
    return bound.topk(n_rows, dim=1).indices.sort(dim=1).values


@pytest.mark.parametrize("objective", [Elbo(), Elbo(free_bits=0.3), Iwae()])
@pytest.mark.parametrize(("fraction", "n_kept"), [(0.1, 6), (0.2, 5), (0.5, 3)])
def test_trimming_is_the_objective_of_the_likeliest_rows(objective, fraction, n_kept):
    """Of six rows a tenth is none; each member has likeliest rows of its own."""
    terms, beta = some_terms(), 0.7 * ONE
    loss = Trimmed(objective, fraction)(terms, beta, ones())
    rows = likeliest(terms, beta, n_kept)
    assert n_kept == N or not torch.equal(rows[0], rows[1])
    for member in range(E):
        some = take(terms, rows[member])
        expected = objective(some, beta, ones(n_kept))[member]
        torch.testing.assert_close(loss[member], expected)


def test_rows_that_are_trimmed_have_no_gradient():
    terms = some_terms()
    terms.log_lik.requires_grad_()
    Trimmed(Elbo(), 0.5)(terms, ONE, ones()).sum().backward()
    kept = terms.log_lik.grad.abs().sum(1) > 0
    rows = likeliest(terms, ONE, 3)
    assert torch.equal(kept, torch.zeros_like(kept).scatter(1, rows, True))


def test_the_trimmed_bound_raises_the_least_likely_rows_to_the_next_one():
    terms = some_terms()
    plain = Elbo().bound(terms, 2.0)
    trimmed = Trimmed(Elbo(), 0.4).bound(terms, 2.0)
    expected = plain.maximum(plain.sort(dim=1).values[:, 2:3])  # two of six
    torch.testing.assert_close(trimmed, expected, rtol=0, atol=0)


@pytest.mark.parametrize("free_bits", [0.0, 0.5])
@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_held_out_rows_are_judged_at_the_beta_of_training(beta, free_bits):
    terms = some_terms()
    log_ratio = terms.prior.log_prob(terms.z) - terms.posterior.log_prob(terms.z)
    likelihood = (terms.log_lik + log_ratio).exp().mean(1).log()
    kl = terms.kl_each().mean(1).clamp(min=free_bits).sum(-1)  # the part that costs
    expected = likelihood.mean(1) - (beta - 1.0) * kl
    bound = Elbo(free_bits).bound(terms, beta)
    torch.testing.assert_close(bound.mean(1), expected)


@pytest.mark.parametrize("kind", [Iwae, Dreg])
@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_an_importance_weighted_bound_is_judged_as_it_is_trained(kind, beta):
    terms = some_terms()
    loss = kind()(terms, beta * ONE, ones())
    torch.testing.assert_close(kind().bound(terms, beta).mean(1), -loss)


@pytest.mark.parametrize(("name", "kind"), [("elbo", Elbo), ("iwae", Iwae)])
def test_trimming_goes_with_every_objective(name, kind):
    trimmed = objectives.build(TrainConfig(objective=name, trimming=0.1))
    assert isinstance(trimmed.objective, kind)
    assert trimmed.fraction == 0.1


@pytest.mark.parametrize(("name", "kind"), [("elbo", Elbo), ("iwae", Iwae)])
def test_the_objective_asked_for_is_built(name, kind):
    assert isinstance(objectives.build(TrainConfig(objective=name)), kind)


def test_free_bits_reach_the_objective():
    assert objectives.build(TrainConfig(free_bits=0.2)).free_bits == 0.2


# -- schedules -------------------------------------------------------------------

N_STEPS = [1, 7, 160, 2500]


def kl_weights(n_steps=400, **settings):
    config = TrainConfig(**{"beta": 2.0, **settings})
    return schedules.kl_weights(config, n_steps).numpy()


@pytest.mark.parametrize("n_steps", N_STEPS)
@pytest.mark.parametrize("schedule", ["linear", "cyclical", "constant"])
@pytest.mark.parametrize("kl_warmup", [0.01, 0.3, 0.5, 0.99, 1.0])
def test_the_kl_weight_ends_at_beta(schedule, kl_warmup, n_steps):
    """A fit ends on the objective that was asked for, however long its warm-up."""
    weights = kl_weights(n_steps, kl_schedule=schedule, kl_warmup=kl_warmup)
    assert weights.shape == (n_steps,)
    assert weights[-1] == pytest.approx(2.0, rel=1e-6)
    assert ((weights >= 0) & (weights <= 2.0 * (1 + 1e-6))).all()


def test_a_linear_warmup_rises_evenly_over_its_fraction_and_stays():
    weights = kl_weights(kl_schedule="linear", kl_warmup=0.25)
    rise = weights[:99]
    # a straight line from about 0: within one step of beta t / (0.25 n)
    np.testing.assert_allclose(rise, 2.0 * np.arange(99) / 100, atol=2.0 / 100)
    np.testing.assert_allclose(np.diff(rise), np.diff(rise)[0], rtol=1e-3)
    np.testing.assert_allclose(weights[101:], 2.0, rtol=1e-6)


def test_a_cyclical_warmup_rises_four_times():
    weights = kl_weights(kl_schedule="cyclical", kl_warmup=0.5)
    falls = np.flatnonzero(np.diff(weights) < 0) + 1
    np.testing.assert_array_equal(falls, [100, 200, 300])
    for cycle in np.split(weights, falls):
        assert cycle[0] <= 2.0 / 40
        assert (np.diff(cycle) >= 0).all()
        np.testing.assert_allclose(cycle[52:], 2.0, rtol=1e-6)
        assert (cycle[:48] < 2.0).all()


@pytest.mark.parametrize("settings", [{"kl_schedule": "constant"}, {"kl_warmup": 0.0}])
def test_without_a_warmup_the_kl_weighs_beta_throughout(settings):
    np.testing.assert_array_equal(kl_weights(**settings), 2.0)


def test_dropout_falls_to_nothing_along_a_line():
    config = TrainConfig(dropout=0.4)
    table = schedules.dropout_rates(config, 200).numpy()
    np.testing.assert_allclose(table, np.linspace(0.4, 0.0, 201)[:-1], atol=1e-6)


def test_dropout_stays_where_there_is_no_end_in_sight():
    config = TrainConfig(dropout=0.4, constant_rate=True)
    np.testing.assert_allclose(schedules.dropout_rates(config, 3).numpy(), 0.4)


def rates(n_steps, **settings):
    config = TrainConfig(**{"learning_rate_init": 0.01, **settings})
    return schedules.learning_rates(config, n_steps).numpy()


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    table = rates(2000)
    peak = table.argmax()
    # the warm-up takes 3 % of the steps; by then the cosine has lost < 1 %
    assert abs(peak - 60) <= 2
    assert 0.99 * 0.01 < table[peak] <= 0.01
    assert table[0] < 0.02 * 0.01
    assert (np.diff(table[: peak + 1]) > 0).all()
    assert (np.diff(table[peak:]) < 0).all()
    # half way the cosine stands at one half, plus half of its final 1 %
    assert table[1000] == pytest.approx(0.01 * 0.505, rel=1e-3)
    assert table[-1] == pytest.approx(0.01 * 0.01, rel=1e-2)


@pytest.mark.parametrize("n_steps", N_STEPS)
def test_every_step_has_a_positive_learning_rate_of_at_most_the_peak(n_steps):
    table = rates(n_steps)
    assert table.shape == (n_steps,)
    assert ((table > 0) & (table <= 0.01)).all()


def test_a_constant_rate_stays():
    np.testing.assert_allclose(rates(50, constant_rate=True), 0.01, rtol=1e-6)


# -- configuration ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "vae"}, "objective must be one of .*elbo.* got 'vae'"),
        ({"kl_schedule": "step"}, "kl_schedule must be one of .* got 'step'"),
        ({"n_draws": 0}, r"n_draws must be an integer in \[1, inf\); got 0"),
        ({"max_iter": 0}, "max_iter must be .* got 0"),
        ({"n_iter_no_change": 0}, "n_iter_no_change must be .* got 0"),
        ({"beta": -1.0}, "beta must be .* got -1.0"),
        ({"kl_warmup": 1.5}, r"kl_warmup must be a number in \[0, 1\]; got 1.5"),
        ({"free_bits": -0.1}, "free_bits must be .* got -0.1"),
        ({"learning_rate_init": 0.0}, r"learning_rate_init must .*\(0, inf\); got 0"),
        ({"learning_rate_init": math.nan}, "learning_rate_init must be .* got nan"),
        ({"alpha": -1e-4}, "alpha must be .* got -0.0001"),
        ({"dropout": 1.0}, r"dropout must be a number in \[0, 1\); got 1.0"),
        ({"tol": -1.0}, "tol must be .* got -1.0"),
        ({"validation_fraction": 1.0}, r"validation_fraction must .*\(0, 1\); got 1"),
        ({"batch_size": 0}, r"batch_size must be an integer in \[1, inf\); got 0"),
        ({"batch_size": "big"}, "batch_size must be 'auto' or an integer .* got 'big'"),
        (
            {"objective": "iwae", "free_bits": 0.5},
            "free_bits .* means nothing under objective='iwae'",
        ),
    ],
)
def test_a_wrong_setting_of_training_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_draws": 2.5}, "n_draws must be an integer .* 2.5 of type float"),
        ({"beta": "1"}, "beta must be a number .* '1' of type str"),
        ({"max_iter": True}, "max_iter must be an integer .* True of type bool"),
        ({"early_stopping": "yes"}, "early_stopping must be True or False; got 'yes'"),
        ({"batch_size": 8.0}, "batch_size must be an integer .* 8.0 of type float"),
    ],
)
def test_a_setting_of_training_of_a_wrong_type_is_named(settings, message):
    with pytest.raises(TypeError, match=message):
        TrainConfig(**settings)
