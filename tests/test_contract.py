"""scikit-learn's own contract, and ours where its check excuses stochastic learners."""

from inspect import signature

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import (
    CVAERegressor,
    VAEClassifier,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
)

# the checks fit tiny nets for a few epochs, so that they often end at max_iter or
# with a latent that is not used yet: those warnings are tested in test_bad_input.py
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {
    "n_components": 2,
    "hidden_layer_sizes": (16,),
    "n_estimators": 1,
    "n_samples": 16,
    "max_iter": 40,
}
EXCUSES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "weights and repeated rows meet other batches and other chance, as in "
        "scikit-learn's own stochastic learners: equal in distribution, tested below"
    )
}
UNLABELLED = {
    "check_classifiers_classes": (
        "one of its classes is -1, which is no class here; the check leaves it out for "
        "scikit-learn's own semi-supervised classifiers, by their names"
    )
}

ESTIMATORS = [
    VAETransformer,
    CVAERegressor,
    VAEClassifier,
    VAEImputer,
    VAEOutlierDetector,
]


def excuses(estimator):
    """Checks that an estimator does not pass, and why."""
    if isinstance(estimator, VAEImputer):
        return {}  # returns the complete rows of that check as they are
    return EXCUSES | (UNLABELLED if isinstance(estimator, VAEClassifier) else {})


COMMON = {
    "n_components",
    "hidden_layer_sizes",
    "activation",
    "dropout",
    "numeric_embedding",
    "n_estimators",
    "objective",
    "n_draws",
    "beta",
    "kl_warmup",
    "kl_schedule",
    "free_bits",
    "max_iter",
    "batch_size",
    "learning_rate_init",
    "alpha",
    "early_stopping",
    "validation_fraction",
    "n_iter_no_change",
    "tol",
    "min_scale",
    "categorical_features",
    "n_samples",
    "warm_start",
    "device",
    "verbose",
    "random_state",
}


@pytest.mark.parametrize("Estimator", ESTIMATORS)
def test_every_estimator_has_what_all_have(Estimator):
    assert set(Estimator().get_params()) >= COMMON
    fit, chunk = (
        set(signature(getattr(Estimator, name)).parameters)
        for name in ("fit", "partial_fit")
    )
    assert {"X", "y", "sample_weight", "X_val"} <= fit
    assert ("y_val" in fit) == (Estimator in (CVAERegressor, VAEClassifier))
    assert {"X", "y", "sample_weight"} <= chunk
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    model = Estimator(**SMALL | {"max_iter": 3}, random_state=0).fit(X, y)
    assert model.n_iter_ == 3
    assert np.shape(model.loss_curve_) == (3,)
    held_out = Estimator().early_stopping is True  # "auto" wants an X_val
    assert np.shape(model.validation_scores_) == ((3,) if held_out else (0,))
    assert model.kl_per_dimension_.shape == (2,)
    assert model.active_units_ in (0, 1, 2)
    assert model.history_.kl.shape == (3, 1, 2)
    assert model.n_features_in_ == 3


@parametrize_with_checks(
    [E(**SMALL) for E in ESTIMATORS],
    expected_failed_checks=excuses,
)
def test_sklearn_contract(estimator, check):
    check(estimator)


# -- weights as repeated rows ----------------------------------------------------

WEIGHTED = {
    "n_components": 2,
    "hidden_layer_sizes": (32,),
    "n_estimators": 4,
    "n_samples": 32,
    "learning_rate_init": 1e-2,
    "kl_warmup": 0.3,
    "max_iter": 30,
}


def probabilities(vae, cells):
    """Mass of each cell of a table of booleans, normalised over the cells."""
    mass = np.exp(vae.score_samples(cells))
    # importance weighting with 32 draws estimates each mass to a few per cent
    assert mass.sum() == pytest.approx(1.0, abs=0.1)
    return mass / mass.sum()


def distance(p, q):
    """Total variation distance of two mass functions."""
    return 0.5 * np.abs(p - q).sum()


@pytest.mark.parametrize(
    ("early_stopping", "bound"),
    [
        # over 10 seeds the distance from the weighted frequencies was 0.016 ± 0.003
        (False, 0.06),
        # 0.033 ± 0.025: on 20 held-out rows the epoch that is kept is a matter of luck
        (True, 0.14),
    ],
)
def test_weights_act_as_repeated_rows_in_distribution(early_stopping, bound):
    """Two booleans, 1:4:4:1 on (0,0), (0,1), (1,0), (1,1): a joint that is counted.

    Both margins are 1/2 with weights and without, so that only what the nets have
    learned, and no scaling, can show the weights.
    """
    cells = pd.DataFrame({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1]}).astype(bool)
    X = cells.loc[np.repeat(cells.index, 50)].reset_index(drop=True)
    weight = np.repeat([1, 4, 4, 1], 50)
    truth, equal = np.array([0.1, 0.4, 0.4, 0.1]), np.full(4, 0.25)
    assert np.allclose(truth @ cells, 0.5)
    assert np.allclose(equal @ cells, 0.5)
    assert distance(truth, equal) > 2 * bound  # a fit cannot be near both
    repeated = X.loc[np.repeat(X.index, weight)].reset_index(drop=True)
    assert len(repeated) == weight.sum() == 500

    settings = WEIGHTED | {"early_stopping": early_stopping, "random_state": 0}
    # the same number of steps for both: 500 rows in 50s, 200 in 20s
    by_weight = VAETransformer(**settings, batch_size=20)
    by_row = VAETransformer(**settings, batch_size=50)
    p_weight = probabilities(by_weight.fit(X, sample_weight=weight), cells)
    p_row = probabilities(by_row.fit(repeated), cells)
    p_equal = probabilities(by_weight.fit(X), cells)

    assert distance(p_weight, truth) < bound
    assert distance(p_row, truth) < bound
    assert distance(p_weight, p_row) < bound
    assert distance(p_equal, equal) < bound


def test_weights_of_the_regressor_act_as_repeated_rows_in_distribution():
    """y is x or -x; four times the weight on -x makes P(y x < 0) four in five.

    Mean and variance of x and y are the same with weights and without.
    """
    rng = np.random.default_rng(0)
    n = 100
    x = rng.normal(size=n)
    X = np.concatenate([x, x])[:, None]
    y = np.concatenate([x, -x]) + 0.1 * rng.normal(size=2 * n)
    weight = np.repeat([1, 4], n)
    at = np.array([[-1.0], [1.0]])

    settings = WEIGHTED | {"numeric_embedding": None, "dropout": 0.0, "random_state": 0}
    by_weight = CVAERegressor(**settings, batch_size=20)
    by_row = CVAERegressor(**settings, batch_size=50)

    def opposed(model):
        """P(y > 0 | x = -1) and P(y < 0 | x = 1)."""
        below = model.predict_distribution(at).cdf([0.0, 0.0])
        return np.array([1.0 - below[0], below[1]])

    p_weight = opposed(by_weight.fit(X, y, sample_weight=weight))
    p_row = opposed(by_row.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight)))
    p_equal = opposed(by_weight.fit(X, y))
    # over 8 seeds the error of each of the three fits was at most 0.045
    assert p_weight == pytest.approx(0.8, abs=0.1)
    assert p_row == pytest.approx(0.8, abs=0.1)
    assert p_equal == pytest.approx(0.5, abs=0.1)


def test_the_scale_of_all_weights_does_not_matter():
    X = np.random.default_rng(0).normal(size=(80, 2))
    weight = np.random.default_rng(1).uniform(0.5, 2.0, size=80)
    vae = VAETransformer(**SMALL, random_state=0)
    once = vae.fit(X, sample_weight=weight).score_samples(X)
    # a power of two scales floats without rounding
    again = vae.fit(X, sample_weight=1024 * weight).score_samples(X)
    unweighted = vae.fit(X).score_samples(X)
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - unweighted).max() > 1e-3


def zero_weight_rows(X, weight):
    """Lay rows of weight 0, unlike all others, between the rows of ``X``."""
    at = np.arange(0, len(X), 3)
    wild = np.full((len(at), X.shape[1]), 1e6)
    return np.insert(X, at, wild, axis=0), np.insert(weight, at, 0.0), at


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_rows_of_weight_zero_change_nothing(method):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(60, 3)), rng.uniform(0.5, 2.0, size=60)
    X[rng.random(X.shape) < 0.2] = np.nan
    more, more_weight, _ = zero_weight_rows(X, weight)
    assert (more_weight == 0).sum() == 20
    assert np.nanmax(np.abs(more)) > 1e5 > np.nanmax(np.abs(X))

    fits = []
    for rows, weights in [(X, weight), (more, more_weight)]:
        vae = VAETransformer(**SMALL, random_state=0)
        fits.append(getattr(vae, method)(rows, sample_weight=weights))
    np.testing.assert_array_equal(*(vae.score_samples(X) for vae in fits))
    np.testing.assert_array_equal(*(vae.transform(X) for vae in fits))
    assert fits[0].loss_curve_ == fits[1].loss_curve_
    assert fits[0].validation_scores_ == fits[1].validation_scores_


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_rows_of_weight_zero_change_nothing_in_the_regressor(method):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(60, 3)), rng.uniform(0.5, 2.0, size=60)
    y = X[:, 0] + 0.1 * rng.normal(size=60)
    more, more_weight, at = zero_weight_rows(X, weight)
    more_y = np.insert(y, at, -1e6)

    fits = []
    for rows, targets, weights in [(X, y, weight), (more, more_y, more_weight)]:
        model = CVAERegressor(**SMALL, random_state=0)
        fits.append(getattr(model, method)(rows, targets, sample_weight=weights))
    np.testing.assert_array_equal(*(model.predict(X) for model in fits))
    np.testing.assert_array_equal(*(model.score_samples(X, y) for model in fits))
    assert fits[0].loss_curve_ == fits[1].loss_curve_
