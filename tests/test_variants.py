"""Every variant of the family, asked for as a user does, keeps the same promises.

A variant that is not in ``VARIANTS`` does not exist.
"""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from skvae import CVAERegressor, VAETransformer
from skvae._engine.config import LATENTS, OBJECTIVES, POSTERIORS, SCHEDULES
from skvae._regressor import PRIORS as CONDITIONAL_PRIORS
from skvae._transformer import PRIORS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {
    "n_components": 2,
    "hidden_layer_sizes": (16,),
    "n_estimators": 2,
    "n_samples": 32,
    "max_iter": 15,
    "random_state": 0,
}
TABLE = [
    {},
    {"likelihood": "gaussian"},
    {"likelihood": "gaussian_fixed"},
    {"likelihood": "student_t"},
    {"objective": "elbo", "n_draws": 10},
    {"objective": "iwae", "n_draws": 4},
    {"objective": "dreg", "n_draws": 4},
    {"objective": "elbo", "beta": 4.0},
    {"kl_warmup": 0.5},
    {"kl_schedule": "cyclical"},
    {"kl_schedule": "constant"},
    {"objective": "elbo", "free_bits": 0.2},
    {"masking": 0.5},
    {"trimming": 0.2},
    {"trimming": 0.2, "prior": "mixture"},
    {"prior": "mixture"},
    {"prior": "vamp"},
    {"prior": "flow"},
    {"posterior": "flow"},
    {"posterior": "flow", "prior": "flow", "objective": "dreg"},
    {"latent": "hierarchical", "n_components": (3, 2)},
    {"latent": "hierarchical", "n_components": (3, 2, 1), "prior": "mixture"},
    {"latent": "hierarchical", "n_components": (3, 2), "objective": "dreg"},
    {"latent": "vq", "n_components": 4},
]
CONDITIONAL = [
    {},
    {"prior": "normal"},
    {"n_mixtures": 1},
    {"objective": "dreg"},
    {"objective": "iwae"},
    {"objective": "elbo", "free_bits": 0.1},
    {"n_components": 0},
]
VARIANTS = [(VAETransformer, settings) for settings in TABLE]
VARIANTS += [(CVAERegressor, settings) for settings in CONDITIONAL]


def name(value):
    if not isinstance(value, dict):
        return value.__name__
    return "-".join(f"{k}={v}" for k, v in value.items()) or "default"


each = pytest.mark.parametrize(("Estimator", "settings"), VARIANTS, ids=name)


def rows(n=120, seed=0):
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, n)
    X = np.column_stack([t, t**2, np.sin(3 * t)]) + 0.1 * rng.normal(size=(n, 3))
    return 3.0 + 5.0 * X


def holes(X, seed=0):
    return np.where(np.random.default_rng(seed).random(X.shape) < 0.2, np.nan, X)


def build(Estimator, settings):
    return Estimator(**SMALL | settings)


def fit(Estimator, settings, X):
    model = build(Estimator, settings)
    if Estimator is CVAERegressor:
        return model.fit(X[:, :1], np.nan_to_num(X[:, 1:], nan=4.0))
    return model.fit(X)


def score(model, X):
    if isinstance(model, CVAERegressor):
        return model.score_samples(X[:, :1], np.nan_to_num(X[:, 1:], nan=4.0))
    return model.score_samples(X)


def test_every_choice_of_every_parameter_is_among_the_variants():
    chosen = [{"latent": "gaussian", "posterior": "gaussian", **s} for s in TABLE]
    for parameter, choices in {
        "objective": OBJECTIVES,
        "prior": set(PRIORS) - {"normal"},
        "posterior": POSTERIORS,
        "latent": LATENTS,
        "kl_schedule": set(SCHEDULES) - {"linear"},
    }.items():
        assert set(choices) == {s[parameter] for s in chosen if parameter in s}
    priors = {s.get("prior", "conditional") for s in CONDITIONAL}
    assert priors == set(CONDITIONAL_PRIORS)


@each
def test_a_variant_is_a_scikit_learn_estimator(Estimator, settings):
    model = build(Estimator, settings).set_params(n_estimators=1, max_iter=3)
    # stochastic learners meet other batches with weights than with repeated rows
    weights = "check_sample_weight_equivalence_on_dense_data"
    accuracy = "check_regressors_train"  # three epochs are not enough for R² of 0.5
    check_estimator(
        model,
        expected_failed_checks=dict.fromkeys((weights, accuracy), "see above"),
        on_skip=None,
    )


@each
def test_scores_are_finite_deterministic_and_of_each_row_alone(Estimator, settings):
    X = holes(rows())
    model = fit(Estimator, settings, X)
    scores = score(model, X)
    assert scores.shape == (120,)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(score(model, X), scores)
    order = np.random.default_rng(1).permutation(120)
    np.testing.assert_allclose(score(model, X[order]), scores[order], rtol=1e-6)
    np.testing.assert_allclose(score(model, X[:7]), scores[:7], rtol=1e-6)
    # a hundred units off
    X = rows()
    assert (score(model, X + 100.0) < score(model, X).min() - 5).all()


@each
def test_the_same_seed_gives_the_same_model(Estimator, settings):
    X = rows()
    one, other = (fit(Estimator, settings, X) for _ in range(2))
    np.testing.assert_array_equal(score(one, X), score(other, X))
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(score(again, X), score(one, X))
    assert clone(one).get_params() == one.get_params()


@each
def test_a_variant_says_how_its_latent_fares(Estimator, settings):
    X = rows()
    model = fit(Estimator, settings, X)
    width = np.sum(settings.get("n_components", SMALL["n_components"]))
    assert model.kl_per_dimension_.shape == (width,)
    assert model.history_.kl.shape[-1] == width
    assert model.active_units_ == (model.kl_per_dimension_ > 0.01).sum()
    given = (X[:, :1], X[:, 1:]) if Estimator is CVAERegressor else (X,)
    assert model.transform(*given).shape == (120, width)
    assert len(model.get_feature_names_out()) == width


@pytest.mark.parametrize("settings", TABLE, ids=name)
def test_a_variant_completes_draws_and_reconstructs_rows(settings):
    X = rows()
    model = fit(VAETransformer, settings, X)
    gaps = holes(X)
    completed = model.impute(gaps)
    seen = ~np.isnan(gaps)
    np.testing.assert_array_equal(completed[seen], gaps[seen])
    assert np.isfinite(completed).all()
    assert model.impute(gaps, 3, random_state=0).shape == (3, *X.shape)
    new = model.sample(400, random_state=0)
    assert new.shape == (400, 3)
    # of a model of 15 epochs: near the rows, but no more
    gap = np.abs(new.mean(axis=0) - X.mean(axis=0)) / X.std(axis=0)
    assert gap.max() < 1.0
    Z = model.transform(X)
    np.testing.assert_allclose(model.inverse_transform(Z), model.reconstruct(X))
    assert model.prior_gap(X) > -0.5


def test_a_mean_over_components_varies_less_than_one_over_draws():
    """`predict` against the mean of as many draws of y, 60 sets of 32 draws of z each.

    The variance of a mean over draws is that of the predictive distribution over 32;
    what is left without drawing components is the part that z makes.
    """
    X = rows(200)
    model = CVAERegressor(**SMALL | {"n_samples": 128, "max_iter": 40})
    model.fit(X[:, :1], X[:, 1:])
    features = X[:20, :1]
    rng = np.random.default_rng(0)
    means, naive = [], []
    for seed in range(60):
        draws = rng.standard_normal((8 * 32, 2))  # predictions take an eighth of them
        other = build(CVAERegressor, {"n_samples": 32})
        vars(other).update(vars(model))
        other.learned_ = replace(model.learned_, draws=draws)
        means.append(other.predict(features))
        naive.append(model.sample(features, 32, random_state=seed).mean(axis=0))
    assert np.var(means, axis=0).mean() < 0.2 * np.var(naive, axis=0).mean()
