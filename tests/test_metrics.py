"""Metrics and scorers: closed forms, brute force, other libraries and properties."""

import pickle

import numpy as np
import pytest
import sklearn
from scipy import stats
from scipy.integrate import quad
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_regression
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import BayesianRidge, LinearRegression
from sklearn.metrics import mean_absolute_error, mean_pinball_loss
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

import skvae
from skvae import CVAERegressor, PredictiveDistribution, metrics
from skvae.metrics import (
    calibration_error,
    crps_score,
    energy_score,
    interval_coverage,
    make_coverage_scorer,
    make_pinball_scorer,
    neg_crps_scorer,
    neg_log_likelihood_scorer,
    pinball,
    pit_values,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # three epochs do not converge
)
S, N, O = 7, 5, 2  # noqa: E741 - draws, rows, outputs
LEVELS = [0.1, 0.5, 0.8]
SCORERS = {
    "nll": neg_log_likelihood_scorer,
    "crps": neg_crps_scorer,
    "pinball": make_pinball_scorer(LEVELS),
    "coverage": make_coverage_scorer(0.8),
}


def sample_data(n_outputs=O, seed=0, n_draws=S):
    """Observed values and draws, with an axis of outputs unless it is None."""
    rng = np.random.default_rng(seed)
    shape = (N,) if n_outputs is None else (N, n_outputs)
    return rng.normal(size=shape), rng.normal(0.3, 1.5, size=(n_draws, *shape))


def mixtures(n_outputs=O, seed=0, n_rows=N):
    rng = np.random.default_rng(seed)
    shape = (n_rows, 3, n_outputs, 2)
    weights = rng.dirichlet(np.ones(2), shape[:-1])
    means, scales = rng.normal(size=shape), np.exp(0.3 * rng.normal(size=shape))
    return PredictiveDistribution.from_components(weights, means, scales)


def normals(mean, scale):
    mean, scale = (np.reshape(v, (len(mean), 1, -1, 1)) for v in (mean, scale))
    return PredictiveDistribution.from_components(np.ones(mean.shape), mean, scale)


def regression_data(n_outputs=1, n=60):
    X, y = make_regression(
        n, 3, n_informative=3, n_targets=n_outputs, noise=5.0, random_state=0
    )
    return X, y


def tiny(**kwargs):
    options = {"max_iter": 3, "n_estimators": 1, "hidden_layer_sizes": (8,)}
    with_draws = {"n_samples": 8, "random_state": 0, "early_stopping": False}
    return CVAERegressor(2, **{**options, **with_draws, **kwargs})


@pytest.fixture(scope="module")
def fitted():
    X, y = regression_data()
    return tiny().fit(X, y), X, y


# --- crps -------------------------------------------------------------------------


def test_crps_of_a_normal_is_the_closed_form():
    """Gneiting and Raftery (2007), sec. 4.2, with the sign reversed."""
    mean, scale, y = np.array([0.0, 5.0]), np.array([1.0, 3.0]), np.array([0.7, -1.0])
    z = (y - mean) / scale
    expected = scale * (
        z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    )
    assert crps_score(y, normals(mean, scale)) == pytest.approx(expected.mean())


def test_crps_of_a_mixture_is_the_integral_of_its_squared_error_as_a_cdf():
    """Gneiting and Raftery (2007), eq. 20."""
    ours = mixtures(1, n_rows=1)

    def squared_error(t, observed):
        return (ours.cdf([t])[0] - (t >= observed)) ** 2

    for y in (-2.0, 0.4):
        below, _ = quad(squared_error, -15, y, args=(np.inf,))
        above, _ = quad(squared_error, y, 15, args=(-np.inf,))
        assert crps_score([y], ours) == pytest.approx(below + above, abs=1e-6)


@pytest.mark.parametrize("n_outputs", [None, 1, O])
@pytest.mark.parametrize("estimator", ["nrg", "fair"])
def test_crps_of_draws_is_the_sum_over_pairs(n_outputs, estimator):
    y, draws = sample_data(n_outputs)
    pairs = np.abs(draws[:, None] - draws[None]).sum((0, 1))
    count = S * (S - 1) if estimator == "fair" else S**2
    expected = (np.abs(draws - y).mean(0) - 0.5 * pairs / count).mean(0)
    ours = crps_score(y, draws, estimator=estimator, multioutput="raw_values")
    np.testing.assert_allclose(ours, np.atleast_1d(expected))


@pytest.mark.parametrize("estimator", ["nrg", "fair"])
def test_scores_of_draws_agree_with_scoringrules(estimator):
    scoringrules = pytest.importorskip("scoringrules")
    y, draws = sample_data()
    crps = scoringrules.crps_ensemble(
        y, np.moveaxis(draws, 0, -1), estimator=estimator, backend="numpy"
    )
    energy = scoringrules.es_ensemble(
        y, np.swapaxes(draws, 0, 1), estimator=estimator, backend="numpy"
    )
    ours = crps_score(y, draws, estimator=estimator, multioutput="raw_values")
    np.testing.assert_allclose(ours, crps.mean(0))
    assert energy_score(y, draws, estimator=estimator) == pytest.approx(energy.mean())


def test_crps_of_one_draw_is_the_absolute_error():
    y, draws = sample_data(n_draws=1)
    ours = crps_score(y, draws, estimator="nrg")
    assert ours == pytest.approx(mean_absolute_error(y, draws[0]))


def test_fair_crps_of_draws_is_unbiased_for_the_distribution_drawn_from():
    """Within 5 standard errors, over 4000 sets of 3 draws."""
    n = 4000
    ours = normals(np.full(n, 0.5), np.full(n, 2.0))
    y = np.full(n, 1.0)
    draws = ours.sample(3, random_state=0)
    each = np.array([crps_score(y[:1], draws[:, i : i + 1]) for i in range(n)])
    error = each.std() / np.sqrt(n)
    assert abs(each.mean() - crps_score(y, ours)) < 5 * error
    assert crps_score(y, draws, estimator="nrg") > crps_score(y, ours) + 5 * error


@pytest.mark.parametrize("score", [crps_score, energy_score])
def test_scores_follow_units_and_shifts_and_ignore_the_order_of_draws(score):
    y, draws = sample_data()
    first = score(y, draws)
    assert score(10 * y + 3, 10 * draws + 3) == pytest.approx(10 * first)
    assert score(y, draws[::-1]) == pytest.approx(first)
    assert score(-y, -draws) == pytest.approx(first)


@pytest.mark.parametrize("n_outputs", [1, O])
def test_a_column_of_y_is_a_single_output(n_outputs):
    y, draws = sample_data(n_outputs)
    ours = mixtures(n_outputs)
    raw = crps_score(y, ours, multioutput="raw_values")
    assert raw.shape == (n_outputs,)
    assert crps_score(y, ours) == pytest.approx(raw.mean())
    if n_outputs == 1:
        assert crps_score(y[:, 0], ours) == crps_score(y, ours)
        assert crps_score(y[:, 0], draws) == crps_score(y, draws[..., 0])


# --- energy -----------------------------------------------------------------------


def test_energy_score_is_the_sum_over_pairs():
    """Gneiting and Raftery (2007), eq. 22, beta = 1."""
    y, draws = sample_data(3)
    pairs = np.linalg.norm(draws[:, None] - draws[None], axis=-1).sum((0, 1))
    distance = np.linalg.norm(draws - y, axis=-1).mean(0)
    for estimator, count in (("nrg", S**2), ("fair", S * (S - 1))):
        expected = (distance - 0.5 * pairs / count).mean()
        assert energy_score(y, draws, estimator=estimator) == pytest.approx(expected)


def test_energy_score_of_one_output_is_the_crps():
    y, draws = sample_data(None)
    assert energy_score(y, draws) == pytest.approx(crps_score(y, draws))


def test_energy_score_does_not_change_when_outputs_are_rotated():
    y, draws = sample_data()
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert energy_score(y @ turn, draws @ turn) == pytest.approx(energy_score(y, draws))


def test_energy_score_of_a_distribution_is_that_of_its_seeded_draws():
    y, ours = sample_data()[0], mixtures()
    score = energy_score(y, ours, n_samples=16, random_state=3)
    assert score == energy_score(y, ours.sample(16, random_state=3))
    assert score == energy_score(y, ours, n_samples=16, random_state=3)
    assert score != energy_score(y, ours, n_samples=16, random_state=4)


def test_energy_score_sees_a_dependence_that_the_crps_does_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 200))
    y = np.stack([x[0], x[0]], axis=-1)
    dependent = np.stack([x[1:], x[1:]], axis=-1)
    independent = np.stack([x[1:], rng.permuted(x[1:], axis=0)], axis=-1)
    assert crps_score(y, dependent) == pytest.approx(crps_score(y, independent))
    assert energy_score(y, dependent) < energy_score(y, independent) - 0.01


# --- pinball ----------------------------------------------------------------------


def test_pinball_is_the_mean_of_scikit_learns():
    y, _ = sample_data()
    predictions = np.sort(np.random.default_rng(1).normal(size=(N, 3, O)), axis=1)
    weight = np.arange(1.0, N + 1)
    for multioutput in ("raw_values", "uniform_average", [0.2, 0.8]):
        options = {"sample_weight": weight, "multioutput": multioutput}
        expected = np.mean(
            [
                mean_pinball_loss(y, predictions[:, i], alpha=q, **options)
                for i, q in enumerate(LEVELS)
            ],
            axis=0,
        )
        ours = pinball(y, predictions, quantiles=LEVELS, **options)
        np.testing.assert_allclose(ours, expected)


def test_pinball_of_one_level_and_one_output():
    ours = pinball([1.0, 2.0], [[0.0], [4.0]], quantiles=0.9)
    assert ours == pytest.approx(mean_pinball_loss([1, 2], [0, 4], alpha=0.9))


def test_twice_the_pinball_of_many_levels_is_the_crps():
    y, ours = sample_data()[0], mixtures()
    levels = (np.arange(400) + 0.5) / 400
    doubled = 2 * pinball(y, ours.quantile(levels), quantiles=levels)
    assert doubled == pytest.approx(crps_score(y, ours), rel=1e-3)


# --- coverage and calibration -----------------------------------------------------


def test_coverage_counts_values_inside_and_at_the_ends():
    interval = [[0.0, 1.0]] * 3 + [[-np.inf, np.inf]]
    assert interval_coverage([0.0, 1.0, 1.1, 9.0], interval) == 0.75
    both = np.stack([interval, interval], axis=-1)  # (4, 2, 2)
    y = [[0.0, 5.0], [1.0, 5.0], [1.1, 0.5], [9.0, 9.0]]
    raw = interval_coverage(y, both, multioutput="raw_values")
    np.testing.assert_array_equal(raw, [0.75, 0.5])
    assert interval_coverage(y, both, multioutput=[1, 3]) == 0.5625


def test_coverage_of_own_intervals_is_what_was_asked_for():
    ours = mixtures(n_rows=3000)
    y = ours.sample(1, random_state=0)[0]
    assert interval_coverage(y, ours.interval(0.8)) == pytest.approx(0.8, abs=0.02)


def test_pit_of_a_distribution_is_its_cdf():
    y, ours = sample_data()[0], mixtures()
    np.testing.assert_array_equal(pit_values(y, ours), ours.cdf(y))
    y, ours = sample_data(1)[0], mixtures(1)
    assert pit_values(y, ours).shape == (N, 1)
    np.testing.assert_array_equal(pit_values(y[:, 0], ours), ours.cdf(y[:, 0]))


def test_pit_of_draws_is_the_middle_of_a_gap_or_a_random_point_in_it():
    y, draws = sample_data()
    rank = (draws < y).sum(0)
    np.testing.assert_allclose(pit_values(y, draws), (rank + 0.5) / (S + 1))
    random = pit_values(y, draws, random_state=0)
    assert ((rank / (S + 1) <= random) & (random <= (rank + 1) / (S + 1))).all()
    np.testing.assert_array_equal(random, pit_values(y, draws, random_state=0))
    assert (random != pit_values(y, draws, random_state=1)).all()


def test_pit_of_a_value_tied_with_draws_is_in_the_middle_of_them():
    ties = [[1.0], [1.0], [1.0]]
    np.testing.assert_allclose(pit_values([1.0], ties), [0.5])


@pytest.mark.parametrize("n_values", [None, 3])  # continuous, or many ties
def test_random_pit_of_draws_is_uniform_where_predictions_are_calibrated(n_values):
    rng = np.random.default_rng(0)
    values = (
        rng.normal(size=(5, 4000))
        if n_values is None
        else rng.integers(n_values, size=(5, 4000))
    )
    pit = pit_values(values[0], values[1:], random_state=0)
    assert stats.kstest(pit, "uniform").pvalue > 0.01


def test_calibration_error_is_the_distance_of_frequencies_from_levels():
    y, ours = sample_data(1)[0][:, 0], mixtures(1)
    pit = ours.cdf(y)
    levels = [0.25, 0.5, 0.75]
    expected = np.mean([abs((pit <= p).mean() - p) for p in levels])
    assert calibration_error(y, ours, n_levels=3) == pytest.approx(expected)


def test_calibration_error_is_small_for_own_draws_and_large_for_others():
    ours = mixtures(n_rows=3000)
    y = ours.sample(1, random_state=0)[0]
    raw = calibration_error(y, ours, multioutput="raw_values")
    assert raw.shape == (O,)
    assert calibration_error(y, ours) == pytest.approx(raw.mean())
    assert raw.max() < 0.02
    assert calibration_error(y, ours.sample(99, random_state=1)) < 0.02
    assert calibration_error(y + 100, ours) == pytest.approx(0.5)


# --- weights ----------------------------------------------------------------------


def weighted_calls(y, draws, rows):
    """Every metric on chosen rows."""
    y, draws = y[rows], draws[:, rows]
    ends = np.sort(draws[:2], axis=0).swapaxes(0, 1)
    few = np.moveaxis(draws[:3], 0, 1)
    return {
        "crps": lambda **w: crps_score(y, draws, **w),
        "energy": lambda **w: energy_score(y, draws, **w),
        "pinball": lambda **w: pinball(y, few, quantiles=LEVELS, **w),
        "coverage": lambda **w: interval_coverage(y, ends, **w),
        "calibration": lambda **w: calibration_error(y, draws, **w),
    }


@pytest.mark.parametrize(
    "name", ["crps", "energy", "pinball", "coverage", "calibration"]
)
def test_a_weight_counts_as_repeated_rows(name):
    y, draws = sample_data()
    weight = np.array([2, 0, 1, 3, 1])
    once = weighted_calls(y, draws, np.arange(N))[name]
    repeated = weighted_calls(y, draws, np.repeat(np.arange(N), weight))[name]
    assert once(sample_weight=weight) == pytest.approx(repeated())
    assert once(sample_weight=np.ones(N)) == pytest.approx(once())


def test_a_row_of_weight_zero_may_be_impossible():
    """Its log density is minus infinity, and 0 times that is no number."""
    X, y = regression_data()
    model = BayesianRidge().fit(X, y)
    spoilt = np.append(y[:-1], 1e300)
    weight = np.append(np.ones(len(y) - 1), 0.0)
    assert neg_log_likelihood_scorer(model, X, spoilt) == -np.inf
    expected = neg_log_likelihood_scorer(model, X[:-1], y[:-1])
    weighted = neg_log_likelihood_scorer(model, X, spoilt, sample_weight=weight)
    assert weighted == pytest.approx(expected)


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_take_weights_as_repeated_rows(fitted, name):
    model, X, y = fitted
    weight = np.arange(len(y)) % 3
    rows = np.repeat(np.arange(len(y)), weight)
    weighted = SCORERS[name](model, X, y, sample_weight=weight)
    assert weighted == pytest.approx(SCORERS[name](model, X[rows], y[rows]), rel=1e-5)


# --- scorers ----------------------------------------------------------------------


def test_scorers_agree_with_the_metrics_they_negate(fitted):
    model, X, y = fitted
    ours = model.predict_distribution(X)
    log_likelihood = model.score_samples(X, y).mean()
    quantiles = model.predict(X, quantiles=LEVELS)
    held = interval_coverage(y, model.predict_interval(X, 0.8))
    expected = {
        "nll": log_likelihood,
        "crps": -crps_score(y, ours),
        "pinball": -pinball(y, quantiles, quantiles=LEVELS),
        "coverage": -abs(held - 0.8),
    }
    for name, scorer in SCORERS.items():
        score = scorer(model, X, y)
        assert isinstance(score, float)
        assert score == pytest.approx(expected[name])


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_walk_through_pipelines_and_searches(fitted, name):
    _, X, y = fitted
    scaler = StandardScaler().fit(X)
    inner = tiny().fit(scaler.transform(X), y)
    expected = SCORERS[name](inner, scaler.transform(X), y)
    pipe = make_pipeline(StandardScaler(), tiny()).fit(X, y)
    nested = Pipeline([("only", pipe)])
    search = GridSearchCV(pipe, {"cvaeregressor__beta": [1.0]}, cv=2, scoring="r2")
    search.fit(X, y)
    for wrapped in (pipe, nested, search, FrozenEstimator(pipe)):
        assert SCORERS[name](wrapped, X, y) == pytest.approx(expected)


def test_scorers_work_for_several_outputs():
    X, y = regression_data(n_outputs=2)
    model = tiny().fit(X, y)
    for scorer in SCORERS.values():
        assert np.isfinite(scorer(model, X, y))
    assert neg_log_likelihood_scorer(model, X, y) == pytest.approx(
        model.score_samples(X, y).mean()
    )


def test_other_regressors_are_scored_as_normal_distributions():
    X, y = regression_data()
    for model in (BayesianRidge(), GaussianProcessRegressor(alpha=0.1)):
        half = len(y) // 2
        mean, std = model.fit(X[:half], y[:half]).predict(X[half:], return_std=True)
        X_test, y_test = X[half:], y[half:]
        expected = stats.norm(mean, std).logpdf(y_test).mean()
        assert neg_log_likelihood_scorer(model, X_test, y_test) == pytest.approx(
            expected
        )
        column = neg_log_likelihood_scorer(model, X_test, y_test[:, None])
        assert column == pytest.approx(expected)
        crps = -crps_score(y_test, normals(mean, std))
        assert neg_crps_scorer(model, X_test, y_test) == pytest.approx(crps)


def test_a_distribution_without_score_samples_is_scored_by_its_own_density():
    class Fixed(DummyRegressor):
        def predict_distribution(self, X):
            return mixtures(n_rows=len(X))

    y, _ = sample_data()
    score = neg_log_likelihood_scorer(Fixed(), np.zeros((N, 1)), y)
    assert score == pytest.approx(mixtures().log_prob(y).mean())


@pytest.mark.parametrize(
    "transformer",
    [
        None,
        StandardScaler(),
        StandardScaler(with_mean=False),
        MinMaxScaler((-1, 3)),
        MaxAbsScaler(),
        RobustScaler(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_linear_transforms_of_the_target_are_undone(transformer, n_outputs):
    X, y = regression_data(n_outputs)
    y = 1e6 + 1e3 * y
    model = GaussianProcessRegressor(alpha=0.1)
    wrapped = TransformedTargetRegressor(model, transformer=transformer).fit(X, y)
    X = X + 0.1  # away from the points of fit
    mean = wrapped.predict(X)
    _, std = wrapped.regressor_.predict(X, return_std=True)
    two_rows = wrapped.transformer_.inverse_transform(
        [[0.0] * n_outputs, [1] * n_outputs]
    )
    std = std * np.squeeze(np.diff(two_rows, axis=0))
    expected = stats.norm(mean, std).logpdf(y).reshape(len(y), -1).sum(1).mean()
    assert neg_log_likelihood_scorer(wrapped, X, y) == pytest.approx(expected, rel=1e-6)
    crps = -crps_score(y, normals(mean, std))
    assert neg_crps_scorer(wrapped, X, y) == pytest.approx(crps, rel=1e-6)
    own = neg_crps_scorer(pickle.loads(pickle.dumps(wrapped)), X, y)
    assert own == pytest.approx(crps, rel=1e-6)


def test_transforms_of_the_target_nest_and_stand_in_pipelines():
    X, y = regression_data()
    inner = TransformedTargetRegressor(BayesianRidge(), transformer=MinMaxScaler())
    middle = make_pipeline(StandardScaler(), inner)
    outer = TransformedTargetRegressor(middle, transformer=StandardScaler()).fit(X, y)
    scaled = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), BayesianRidge()), transformer=MinMaxScaler()
    ).fit(X, y)  # a scaling before the scaling to [0, 1] changes nothing
    for scorer in SCORERS.values():
        assert scorer(outer, X, y) == pytest.approx(scorer(scaled, X, y), rel=1e-6)


def test_score_samples_behind_a_transformed_target_is_in_the_units_of_y():
    X, y = regression_data()
    scaler = StandardScaler().fit(y[:, None])
    wrapped = TransformedTargetRegressor(tiny(), transformer=StandardScaler())
    target = scaler.transform(y[:, None])[:, 0]
    inner = tiny().fit(X, target)
    expected = inner.score_samples(X, target).mean() - np.log(scaler.scale_[0])
    score = neg_log_likelihood_scorer(wrapped.fit(X, y), X, y)
    assert score == pytest.approx(expected)


def test_cross_validate_reports_every_score():
    X, y = regression_data()
    model = make_pipeline(StandardScaler(), tiny())
    scores = cross_validate(model, X, y, cv=2, scoring=SCORERS, error_score="raise")
    for name in SCORERS:
        assert np.isfinite(scores[f"test_{name}"]).all()


def test_a_search_refits_the_candidate_with_the_best_likelihood():
    X, y = regression_data()
    grid = {"bayesianridge__tol": [1e-3], "bayesianridge__fit_intercept": [False, True]}
    pipe = make_pipeline(StandardScaler(), BayesianRidge())
    search = GridSearchCV(pipe, grid, scoring=SCORERS, refit="nll", cv=3)
    search.fit(X, y + 500)
    assert search.best_params_["bayesianridge__fit_intercept"]
    assert neg_crps_scorer(search, X, y + 500) == neg_crps_scorer(
        search.best_estimator_, X, y + 500
    )
    copied = clone(search)
    assert copied.scoring["nll"] == neg_log_likelihood_scorer


@pytest.mark.parametrize("scoring", [neg_crps_scorer, SCORERS])
def test_a_search_hands_weights_to_the_scorers(scoring):
    """Rows of weight 0 are nonsense; with weights the scores do not see them."""
    X, y = regression_data()
    weight = np.arange(len(y)) % 2
    spoilt = np.where(weight == 0, 1e6, y)
    refit = "crps" if isinstance(scoring, dict) else True
    search = GridSearchCV(
        BayesianRidge(), {"tol": [1e-3]}, scoring=scoring, refit=refit, cv=2
    )
    with sklearn.config_context(enable_metadata_routing=True):
        routed = (
            {
                name: s.set_score_request(sample_weight=True)
                for name, s in scoring.items()
            }
            if isinstance(scoring, dict)
            else scoring.set_score_request(sample_weight=True)
        )
        search.set_params(
            scoring=routed,
            estimator=BayesianRidge().set_fit_request(sample_weight=True),
        )
        search.fit(X, spoilt, sample_weight=weight)
    assert search.best_score_ > -100


@pytest.mark.skipif(
    tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8),
    reason="older searches give scorers no weights unless routing is on",
)
@pytest.mark.parametrize("scoring", [neg_crps_scorer, SCORERS])
def test_a_search_hands_weights_to_the_scorers_without_routing(scoring):
    X, y = regression_data()
    weight = np.arange(len(y)) % 2
    refit = "crps" if isinstance(scoring, dict) else True
    model = BayesianRidge()
    search = GridSearchCV(model, {"tol": [1e-3]}, scoring=scoring, refit=refit, cv=2)
    search.fit(X, np.where(weight == 0, 1e6, y), sample_weight=weight)
    assert search.best_score_ > -100


def test_weights_that_no_scorer_asked_for_are_refused_by_the_routing():
    X, y = regression_data()
    with sklearn.config_context(enable_metadata_routing=True):
        model = BayesianRidge().set_fit_request(sample_weight=True)
        search = GridSearchCV(model, {"tol": [1e-3]}, scoring=neg_crps_scorer, cv=2)
        with pytest.raises(ValueError, match=r"sample_weight.*not explicitly set"):
            search.fit(X, y, sample_weight=np.ones(len(y)))


def test_a_request_makes_another_scorer_and_leaves_the_shared_one():
    asking = neg_crps_scorer.set_score_request(sample_weight="w")
    assert neg_crps_scorer.sample_weight is None
    assert asking.sample_weight == "w"
    assert repr(asking) == "neg_crps_scorer.set_score_request(sample_weight='w')"


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_pickle_and_say_what_they_are(name):
    scorer = SCORERS[name]
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    assert repr(scorer) in {
        "neg_log_likelihood_scorer",
        "neg_crps_scorer",
        "make_pinball_scorer(quantiles=(0.1, 0.5, 0.8))",
        "make_coverage_scorer(coverage=0.8)",
    }


def test_the_module_is_an_attribute_of_the_package():
    assert skvae.metrics is metrics
    assert set(metrics.__all__) <= set(dir(metrics))


# --- errors -----------------------------------------------------------------------

Y, DRAWS = sample_data()
QUANTILES = np.zeros((N, 3, O))
INTERVAL = np.stack([np.zeros((N, O)), np.ones((N, O))], axis=1)


@pytest.mark.parametrize("score", [crps_score, energy_score, pit_values])
@pytest.mark.parametrize(
    ("y", "predictive", "message"),
    [
        ([["a"]], DRAWS, "y_true must be an array of numbers, got list"),
        (np.zeros((N, O, 1)), DRAWS, r"y_true must have shape \(n\) or \(n, n_outputs"),
        (np.full((N, O), np.nan), DRAWS, "y_true must be finite, got 10 values"),
        (np.zeros((0, O)), DRAWS, "y_true must have at least one row"),
        (Y, None, r"predictive must have shape \(n_draws, n\) or .* got \(\)"),
        (Y, Y[0], r"predictive must have shape \(n_draws, n\) or .* got \(2,\)"),
        (Y, np.inf * np.ones((S, N, O)), "predictive must be finite, got 70 values"),
        (Y, DRAWS[:0], "predictive must hold draws of the 5 rows and 2 output"),
        (Y, np.moveaxis(DRAWS, 0, -1), r"draws first: \(n_draws, 5, 2\); got \(5, 2"),
        (Y, mixtures(1), r"predictive describes 5 rows and 1 output.*has 5 and 2"),
        (Y[:3], mixtures(), "predictive describes 5 rows .* y_true has 3 and 2"),
    ],
)
def test_bad_values_and_predictions_are_refused(score, y, predictive, message):
    with pytest.raises(ValueError, match=message):
        score(y, predictive)


@pytest.mark.parametrize("score", [crps_score, energy_score])
def test_bad_ensemble_estimators_are_refused(score):
    with pytest.raises(ValueError, match="estimator must be 'fair' or 'nrg', got 'pw"):
        score(Y, mixtures(), estimator="pwm")
    with pytest.raises(ValueError, match="'fair' needs at least 2 draws, got 1"):
        score(Y, DRAWS[:1])


@pytest.mark.parametrize("n_samples", [0, 2.0, True])
def test_bad_counts_are_refused(n_samples):
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got"):
        energy_score(Y, mixtures(), n_samples=n_samples)
    with pytest.raises(ValueError, match="n_levels must be an int >= 1, got"):
        calibration_error(Y, mixtures(), n_levels=n_samples)


def test_a_bad_random_state_is_refused():
    with pytest.raises(ValueError, match="random_state must be None, an int >= 0"):
        pit_values(Y, DRAWS, random_state="seed")


@pytest.mark.parametrize(
    ("multioutput", "message"),
    [
        ("variance_weighted", "multioutput must be 'raw_values', 'uniform_average' or"),
        ([1.0], r"multioutput must have one weight per output, shape \(2,\); got"),
        ([-1.0, 2.0], "multioutput must be finite and non-negative .* from -1.0"),
        ([0.0, 0.0], "multioutput must be finite and non-negative with a positive sum"),
    ],
)
def test_bad_weights_of_outputs_are_refused(multioutput, message):
    with pytest.raises(ValueError, match=message):
        crps_score(Y, DRAWS, multioutput=multioutput)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(N + 1), r"sample_weight must have one weight per row, shape \(5,\)"),
        (np.full(N, np.nan), "sample_weight must be finite and non-negative"),
        (["a"] * N, "sample_weight must be an array of numbers"),
    ],
)
def test_bad_weights_of_rows_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        crps_score(Y, DRAWS, sample_weight=weight)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (QUANTILES[:, :2], r"quantile_predictions must have shape \(5, 3, 2\).*\(5, 2"),
        (QUANTILES[..., None], r"quantile_predictions must have shape \(n, n_quantile"),
        (QUANTILES * np.nan, "quantile_predictions must be finite, got 30"),
    ],
)
def test_bad_quantile_predictions_are_refused(predictions, message):
    with pytest.raises(ValueError, match=message):
        pinball(Y, predictions, quantiles=LEVELS)


@pytest.mark.parametrize("quantiles", [[], [[0.5]], 0.0, [0.5, 1.0], [np.nan]])
def test_bad_levels_are_refused(quantiles):
    with pytest.raises(
        ValueError, match="quantiles must be one or more numbers strict"
    ):
        pinball(Y, QUANTILES, quantiles=quantiles)
    with pytest.raises(
        ValueError, match="quantiles must be one or more numbers strict"
    ):
        make_pinball_scorer(quantiles)


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        (INTERVAL[:, :1], r"interval must have shape \(5, 2, 2\) .* got \(5, 1, 2\)"),
        (INTERVAL[0, 0], r"interval must have shape \(n, 2\) or \(n, 2, n_outputs\)"),
        (INTERVAL * np.nan, "interval must have no NaN, got 20"),
        (INTERVAL[:, ::-1], "interval must have its lower end first, got 10 interval"),
    ],
)
def test_bad_intervals_are_refused(interval, message):
    with pytest.raises(ValueError, match=message):
        interval_coverage(Y, interval)


@pytest.mark.parametrize("coverage", [0, 1.0, 90, "0.9"])
def test_a_bad_coverage_is_refused(coverage):
    with pytest.raises(ValueError, match="coverage must lie strictly between 0 and 1"):
        make_coverage_scorer(coverage)


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        make_pipeline(StandardScaler(), LinearRegression()),
        make_pipeline(StandardScaler(), "passthrough"),
        GaussianMixture(),
    ],
    ids=["regressor", "pipeline", "transformer", "density"],
)
def test_an_estimator_without_a_distribution_is_refused(name, estimator):
    X, y = regression_data()
    message = "predicts no distribution: it has neither predict_distribution"
    with pytest.raises(TypeError, match=message):
        SCORERS[name](estimator.fit(X, y), X, y)


def test_a_standard_deviation_of_zero_is_refused():
    X, y = regression_data()
    with pytest.raises(
        ValueError, match="DummyRegressor predicts a standard deviation"
    ):
        neg_crps_scorer(DummyRegressor().fit(X, y), X, y)


def test_a_search_without_refit_is_refused():
    X, y = regression_data()
    search = GridSearchCV(BayesianRidge(), {"tol": [1e-3]}, refit=False, cv=2)
    with pytest.raises(
        TypeError, match=r"GridSearchCV predicts .* must be fitted with"
    ):
        neg_crps_scorer(search.fit(X, y), X, y)


@pytest.mark.parametrize(
    "transformer",
    [
        FunctionTransformer(np.log1p, np.expm1, check_inverse=False),
        QuantileTransformer(n_quantiles=10),
        MinMaxScaler(clip=True),
    ],
    ids=["function", "quantiles", "clip"],
)
@pytest.mark.parametrize("name", SCORERS)
def test_a_target_transformed_otherwise_is_refused(name, transformer):
    X, y = regression_data()
    model = TransformedTargetRegressor(BayesianRidge(), transformer=transformer)
    model.fit(X, y - y.min())
    with pytest.raises(TypeError, match=r"cannot be mapped exactly through .* Use one"):
        SCORERS[name](model, X, y - y.min())


@pytest.mark.parametrize(
    "model",
    [
        TransformedTargetRegressor(BayesianRidge()),
        make_pipeline(StandardScaler(), BayesianRidge()),
        CVAERegressor(),
    ],
    ids=["target", "pipeline", "regressor"],
)
def test_an_unfitted_estimator_is_refused(model):
    X, y = regression_data()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        neg_crps_scorer(model, X, y)


def test_the_coverage_scorer_takes_calibrated_intervals():
    """A model calibrated on targets 3 higher: its own intervals hold none of them."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (400, 1))
    y = X[:, 0] + 0.1 * rng.standard_normal(400)
    model = CVAERegressor(max_iter=3, n_estimators=1, n_samples=8, random_state=0)
    scaled = TransformedTargetRegressor(model, transformer=StandardScaler())
    fitted = make_pipeline(StandardScaler(), scaled).fit(X[:100], y[:100])
    inner = fitted[-1].regressor_
    spread = fitted[-1].transformer_.scale_[0]
    shifted = y + 3 * spread
    scorer = make_coverage_scorer(0.8)
    assert scorer(fitted, X[200:], shifted[200:]) == pytest.approx(-0.8, abs=0.02)
    targets = fitted[-1].transformer_.transform(shifted[100:199, None])[:, 0]
    inner.conformalize(fitted[:-1].transform(X[100:199]), targets)
    # coverage given 99 rows of calibration has a standard deviation of 0.045
    assert scorer(fitted, X[200:], shifted[200:]) > -0.15
