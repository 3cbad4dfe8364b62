"""Conformal calibration: coverage that does not depend on the model being right."""

import numpy as np
import pytest
from scipy.stats import beta, binom, norm

from skvae import CVAERegressor, PredictiveDistribution, _conformal

pytestmark = pytest.mark.filterwarnings(
    "ignore:Training stopped:sklearn.exceptions.ConvergenceWarning",
    "ignore:All . latent dimensions:sklearn.exceptions.ConvergenceWarning",
)
# hardly trained: intervals of such a model are far from their nominal coverage
CRUDE = {
    "n_components": 1,
    "hidden_layer_sizes": (16,),
    "n_estimators": 1,
    "n_mixtures": 2,
    "n_samples": 8,
    "max_iter": 3,
    "random_state": 0,
}


def heteroscedastic(x, rng):
    return x + (0.05 + np.abs(x)) * rng.standard_normal(len(x))


def skewed(x, rng):
    return np.exp(x + rng.standard_normal(len(x)))


def bimodal(x, rng):
    return rng.choice([-1.0, 1.0], len(x)) * (2 + x) + 0.1 * rng.standard_normal(len(x))


def rows(draw, n, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.0, 1.0, n)
    return x[:, None], draw(x, rng)


@pytest.fixture(scope="module", params=[heteroscedastic, skewed, bimodal])
def crude(request):
    """A crude model and a way to draw further rows of its data."""
    model = CVAERegressor(**CRUDE).fit(*rows(request.param, 100, seed=0))
    return model, lambda n, seed: rows(request.param, n, seed)


def covered(model, X, y, coverage):
    low, high = model.predict_interval(X, coverage).T
    return np.mean((low <= y) & (y <= high))


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_coverage_is_that_of_the_theory(crude, coverage):
    """Given n = 399 calibration rows it is Beta(n + 1 - k, k), k = (1 - c)(n + 1).

    Over 4000 new rows binomial noise comes on top. Bounds hold in 999 of 1000 runs.
    """
    model, draw = crude
    model.conformalize(*draw(399, seed=1))
    k = round((1 - coverage) * 400)
    low, high = beta(400 - k, k).ppf([2.5e-4, 1 - 2.5e-4])
    low = binom(4000, low).ppf(2.5e-4) / 4000
    high = binom(4000, high).ppf(1 - 2.5e-4) / 4000
    assert low <= covered(model, *draw(4000, seed=2), coverage) <= high


def test_a_crude_model_does_not_cover_without_it(crude):
    """Else the test above would pass with a ``conformalize`` that does nothing."""
    model, draw = crude
    X, y = draw(4000, seed=2)
    model.conformalize(*draw(399, seed=1))
    calibrated = [abs(covered(model, X, y, c) - c) for c in (0.5, 0.9)]
    model.conformal_tails_ = None
    plain = [abs(covered(model, X, y, c) - c) for c in (0.5, 0.9)]
    assert max(plain) > 0.05
    assert max(plain) > 2 * max(calibrated)


@pytest.mark.parametrize("n_rows", [9, 10, 25])
def test_coverage_holds_in_small_samples_on_average(n_rows):
    """A forecast that is wrong everywhere; the mean over calibrations is exact.

    Expected coverage 1 - floor(0.1 (n + 1)) / (n + 1), 20,000 repetitions: the standard
    error of the mean is 0.0021, the bound four of them.
    """
    rng = np.random.default_rng(0)
    y = rng.gumbel(size=(20_000, n_rows + 1))
    cdf = norm(1.0, 0.3).cdf(y)
    tail = np.minimum(cdf, norm(1.0, 0.3).sf(y))
    limits = [
        _conformal.calibrated_tails(np.sort(row)[:, None], 0.9)[0]
        for row in tail[:, :-1]
    ]
    inside = np.mean(tail[:, -1] >= limits)
    expected = 1 - int(0.1 * (n_rows + 1) + 1e-9) / (n_rows + 1)
    assert expected >= 0.9
    assert abs(inside - expected) < 0.0085


def test_each_output_is_calibrated_on_its_own():
    """Of two outputs one is far noisier than the model believes, one far calmer.

    399 rows to calibrate, 4000 new ones: coverage has a standard deviation of 0.016.
    """
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (5000, 1))
    noise = rng.standard_normal((5000, 2)) * 100.0 ** np.array([1, -1])
    factor = np.where(np.arange(5000)[:, None] < 601, 1.0, [3.0, 0.3])
    y = X + noise * factor
    model = CVAERegressor(**CRUDE).fit(X[:601], y[:601])
    model.conformalize(X[601:1000], y[601:1000])
    interval = model.predict_interval(X[1000:])
    assert interval.shape == (4000, 2, 2)
    inside = (interval[:, 0] <= y[1000:]) & (y[1000:] <= interval[:, 1])
    np.testing.assert_allclose(inside.mean(axis=0), 0.9, atol=0.06)
    lowest, highest = model.conformal_tails_[39]
    assert lowest < 0.01 < 0.05 < highest


def test_intervals_are_quantiles_at_the_calibrated_levels(crude):
    model, draw = crude
    X, y = draw(99, seed=3)
    model.conformalize(X, y)
    tail = _conformal.calibrated_tails(model.conformal_tails_, 0.8)[0]
    cdf = model.predict_distribution(X).cdf(model.predict_interval(X, 0.8).T)
    np.testing.assert_allclose(cdf[0], tail, atol=1e-9)
    np.testing.assert_allclose(cdf[1], 1 - tail, atol=1e-9)
    # exactly 20 of the 99 + 1 ranks lie outside
    assert np.sum(model.conformal_tails_[:, 0] < tail) == 19


def test_more_coverage_is_a_wider_interval(crude):
    model, draw = crude
    X, y = draw(199, seed=4)
    model.conformalize(X, y)
    widths = [np.diff(model.predict_interval(X, c)) for c in (0.5, 0.8, 0.95)]
    assert (np.diff(np.hstack(widths), axis=1) > 0).all()


def test_a_target_beyond_all_probability_gives_an_infinite_interval():
    components = np.zeros((2, 1, 1, 1))
    distribution = PredictiveDistribution.from_components(
        components + 1, components, components + 1
    )
    interval = distribution.central_interval([0.0])
    np.testing.assert_array_equal(interval, [[-np.inf, np.inf]] * 2)


def test_calibration_of_mirrored_targets_gives_mirrored_intervals():
    """Targets far above all that the model expects, and far below."""
    rng = np.random.default_rng(0)
    X, e = rng.uniform(-1, 1, (300, 1)), rng.standard_normal(300)
    model = CVAERegressor(**CRUDE | {"n_mixtures": 3}).fit(X[:200], e[:200])
    distribution = model.predict_distribution(X[200:])
    centre = distribution.quantile(0.5)
    components = distribution._blocks(slice(None))
    above, below = (
        PredictiveDistribution.from_components(
            components.weights, sign * components.means, components.scales
        )
        for sign in (1, -1)
    )
    for shift in (2.0, 12.0, 50.0):
        tail = above.tail_probability(centre + shift)
        np.testing.assert_array_equal(tail, below.tail_probability(-centre - shift))
        assert (tail >= 0).all()
        assert (above.cdf(centre + shift) <= 1).all()
    tails = [float(above.tail_probability(centre + 12.0).min())]
    assert 0 < tails[0] < 1e-16
    low, high = above.central_interval(tails).T
    np.testing.assert_array_equal(below.central_interval(tails).T, (-high, -low))
    assert np.isfinite([low, high]).all()


@pytest.mark.parametrize("shift", [-5.0, 5.0, 50.0])
def test_targets_beyond_what_the_model_expects_are_covered(crude, shift):
    model, draw = crude
    X, y = draw(99, seed=8)
    low, high = model.conformalize(X, y + shift).predict_interval(X, 0.8).T
    # exactly 20 of the 99 + 1 ranks lie outside
    assert np.sum((low <= y + shift) & (y + shift <= high)) >= 80


def test_targets_that_tie_are_covered():
    """Integers, and features that do not tell them apart: scores are few and recur.

    200 rows to fit, 99 to calibrate, 1701 new ones, 20 splits: the mean coverage has a
    standard error below 0.01.
    """
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 2000).astype(float)
    X = np.zeros((2000, 1))
    model = CVAERegressor(**CRUDE).fit(X[:200], y[:200])
    inside = []
    for seed in range(20):
        order = 200 + np.random.default_rng(seed).permutation(1800)
        here, new = order[:99], order[99:]
        model.conformalize(X[here], y[here])
        inside.append([covered(model, X[new], y[new], c) for c in (0.5, 0.9)])
    half, most = np.mean(inside, axis=0)
    assert half > 0.5 - 0.02
    assert most > 0.9 - 0.02


def test_next_to_no_coverage_takes_the_highest_score(crude):
    model, draw = crude
    X, y = draw(20, seed=6)
    model.conformalize(X, y)
    assert _conformal.calibrated_tails(model.conformal_tails_, 1e-12) == pytest.approx(
        model.conformal_tails_[-1]
    )


def test_fitting_again_undoes_it(crude):
    model, draw = crude
    X, y = draw(100, seed=5)
    model = CVAERegressor(**CRUDE).fit(X, y)
    plain = model.predict_interval(X)
    assert model.conformal_tails_ is None
    model.conformalize(X, y)
    assert not np.array_equal(model.predict_interval(X), plain)
    np.testing.assert_array_equal(model.fit(X, y).predict_interval(X), plain)
    model.conformalize(X, y).partial_fit(X, y)
    assert model.conformal_tails_ is None


def test_too_few_rows_for_a_coverage(crude):
    model, draw = crude
    X, y = draw(8, seed=6)
    model.conformalize(X, y)
    message = r"coverage=0.9 needs at least 9 rows in conformalize; there were 8"
    with pytest.raises(ValueError, match=message):
        model.predict_interval(X, 0.9)
    assert np.isfinite(model.predict_interval(X, 0.8)).all()


@pytest.mark.parametrize("coverage", [0.0, 1.0, 1.2])
def test_coverage_out_of_range(crude, coverage):
    model, draw = crude
    X, y = draw(20, seed=6)
    with pytest.raises(ValueError, match=r"coverage must be a number in \(0, 1\)"):
        model.conformalize(X, y).predict_interval(X, coverage)


@pytest.mark.parametrize("tails", [[0.1], [0.1, 0.6], [0.1, -0.1], [0.1, np.nan]])
def test_tails_out_of_range(tails):
    components = np.zeros((3, 1, 2, 1))
    distribution = PredictiveDistribution.from_components(
        components + 1, components, components + 1
    )
    with pytest.raises(ValueError, match=r"tails must be 2 number\(s\) in \[0, 0.5\]"):
        distribution.central_interval(tails)


def test_rows_of_calibration_must_match(crude):
    model, draw = crude
    X, y = draw(20, seed=6)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.conformalize(X, y[:-1])
    with pytest.raises(ValueError, match="y must have 1 output"):
        model.conformalize(X, np.c_[y, y])
