"""CVAERegressor: what it predicts, what its parameters do, and what never changes."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score

from skvae import CVAERegressor, PredictiveDistribution
from skvae._engine import door, inference
from skvae._engine.door import normal_draws

# short fits often end before the bound has settled or the latent has come alive
pytestmark = pytest.mark.filterwarnings(
    "ignore:Training stopped:sklearn.exceptions.ConvergenceWarning",
    "ignore:All . latent dimensions:sklearn.exceptions.ConvergenceWarning",
)

QUICK = {
    "batch_size": 32,
    "n_components": 2,
    "hidden_layer_sizes": (32,),
    "n_estimators": 2,
    "n_samples": 32,
    "max_iter": 5,
    "kl_warmup": 0.3,
    "random_state": 0,
}
# long enough that the weights of some epoch are better than the starting ones
LEARNING = QUICK | {"max_iter": 10, "learning_rate_init": 1e-2}
TRAINED = QUICK | {"max_iter": 40, "learning_rate_init": 1e-2}
# a plain Gaussian decoder: whatever it does not know of y has to go through z
PLAIN = TRAINED | {
    "max_iter": 60,
    "n_mixtures": 1,
    "numeric_embedding": None,
    "dropout": 0.0,
}


def surface(X):
    """Mean and standard deviation of y given X: a wave, and noise that grows."""
    return np.sin(1.5 * X[:, 0]) + X[:, 1], 0.1 + 0.1 * (X[:, 0] + 2.0)


def wave(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, size=(n, 2))
    mean, std = surface(X)
    return X, mean + std * rng.normal(size=n)


CORRELATION = 0.8  # of the two outputs, given X
SCALES = np.array([0.5, 500.0])


def two_outputs(n, seed):
    """Outputs of very different scales, correlated given X."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, size=(n, 2))
    root = np.linalg.cholesky([[1.0, CORRELATION], [CORRELATION, 1.0]])
    return X, (2.0 * X + rng.normal(size=(n, 2)) @ root.T) * SCALES


def fit(X, y, settings=None, **kwargs):
    return CVAERegressor(**(QUICK | (settings or {}))).fit(X, y, **kwargs)


@pytest.fixture(scope="module")
def data():
    return wave(300, seed=0)


@pytest.fixture(scope="module")
def new():
    return wave(200, seed=1)


@pytest.fixture(scope="module")
def model(data):
    return CVAERegressor(**TRAINED).fit(*data)


@pytest.fixture(scope="module")
def joint():
    """What is left of both outputs given X is correlated: one latent dimension."""
    settings = PLAIN | {"n_components": 1, "n_samples": 256}
    return CVAERegressor(**settings).fit(*two_outputs(300, seed=0))


@pytest.fixture(scope="module")
def many_draws(data):
    """So many fixed draws of z that their own error is far below that of samples."""
    return CVAERegressor(**PLAIN | {"n_samples": 1024}).fit(*data)


# -- shapes ----------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7])
def test_shapes_of_a_single_output(model, data, n):
    X, y = (part[:n] for part in data)
    assert model.predict(X).shape == (n,)
    assert [p.shape for p in model.predict(X, return_std=True)] == [(n,), (n,)]
    assert model.predict(X, quantiles=[0.1, 0.5, 0.9]).shape == (n, 3)
    assert model.predict(X, quantiles=[0.5]).shape == (n, 1)
    assert model.predict_interval(X).shape == (n, 2)
    assert model.sample(X, 3, random_state=0).shape == (3, n)
    assert model.score_samples(X, y).shape == (n,)
    assert model.transform(X).shape == model.transform(X, y).shape == (n, 2)
    assert model.decode(np.zeros((n, 2)), X).shape == (n,)
    assert model.n_outputs_ == 1


@pytest.mark.parametrize("n", [1, 7])
def test_shapes_of_several_outputs(joint, n):
    X, y = (part[:n] for part in two_outputs(7, seed=3))
    assert joint.predict(X).shape == (n, 2)
    assert [p.shape for p in joint.predict(X, return_std=True)] == [(n, 2), (n, 2)]
    assert joint.predict(X, quantiles=[0.1, 0.5, 0.9]).shape == (n, 3, 2)
    assert joint.predict_interval(X).shape == (n, 2, 2)
    assert joint.sample(X, 3, random_state=0).shape == (3, n, 2)
    assert joint.score_samples(X, y).shape == (n,)
    assert joint.transform(X).shape == joint.transform(X, y).shape == (n, 1)
    assert joint.decode(np.zeros((n, 1)), X).shape == (n, 2)
    assert joint.n_outputs_ == 2


def test_a_target_of_one_column_keeps_its_column(data):
    X, y = data
    flat, column = fit(X, y), fit(X, y[:, None])
    n = len(X)
    np.testing.assert_array_equal(column.predict(X), flat.predict(X)[:, None])
    np.testing.assert_array_equal(
        column.sample(X, 2, random_state=0),
        flat.sample(X, 2, random_state=0)[..., None],
    )
    assert column.predict(X, quantiles=[0.1, 0.9]).shape == (n, 2, 1)
    assert column.predict_interval(X).shape == (n, 2, 1)
    assert column.decode(np.zeros((n, 2)), X).shape == (n, 1)
    np.testing.assert_array_equal(
        column.score_samples(X, y[:, None]), flat.score_samples(X, y)
    )


def test_targets_may_be_lists_series_or_frames(data):
    X, y = data
    expected = fit(X, y).predict(X)
    for target in (list(y), pd.Series(y, index=np.arange(len(y)) + 7, name="y")):
        np.testing.assert_array_equal(fit(X, target).predict(X), expected)
    frame = fit(X, pd.DataFrame({"speed": y}))
    np.testing.assert_array_equal(frame.predict(X), expected[:, None])


def test_integer_targets_are_numbers(data):
    X, y = data
    counts = np.round(10 * y).astype(int)
    np.testing.assert_array_equal(
        fit(X, counts).predict(X), fit(X, counts.astype(float)).predict(X)
    )


# -- what is predicted -----------------------------------------------------------


def test_the_mean_and_the_noise_are_learned(model, new):
    X, y = new
    mean, std = surface(X)
    predicted, spread = model.predict(X, return_std=True)
    # error² of the mean, against its variance of about 2
    assert np.mean((predicted - mean) ** 2) < 0.1
    assert np.var(mean) > 1.5
    assert np.corrcoef(spread, std)[0, 1] > 0.7
    assert spread.mean() == pytest.approx(std.mean(), rel=0.3)
    assert model.score(X, y) == pytest.approx(r2_score(y, predicted))
    assert model.score(X, y) > 0.85
    true = norm(mean, std).logpdf(y).mean()
    assert true - 0.3 < model.score_samples(X, y).mean() < true + 0.1


def test_the_prediction_is_the_mean_of_many_samples(many_draws, new):
    """n draws have the standard error std / √n: 4 of them for all 60 rows."""
    X = new[0][:60]
    n = 2000
    draws = many_draws.sample(X, n, random_state=0)
    mean, std = many_draws.predict(X, return_std=True)
    assert (np.abs(draws.mean(axis=0) - mean) < 4 * std / np.sqrt(n)).all()
    np.testing.assert_allclose(draws.std(axis=0), std, rtol=0.15)


def test_draws_that_do_not_fit_at_once_come_in_blocks(many_draws, new, monkeypatch):
    """No two blocks are alike; means within 5 standard errors for 10 rows."""
    X, n = new[0][:10], 400
    mean, std = many_draws.predict(X, return_std=True)
    held = []
    sample = inference.Inference.sample
    monkeypatch.setattr(door, "CHUNK_ELEMENTS", 1000)
    monkeypatch.setattr(
        inference.Inference,
        "sample",
        lambda self, batch, n, generator: (
            held.append(n) or sample(self, batch, n, generator)
        ),
    )
    draws = many_draws.sample(X, n, random_state=0)
    assert max(held) * 16 <= 1000  # 16 units in the widest layer, one member at least
    assert draws.shape == (n, 10)
    assert len(np.unique(draws)) == draws.size
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * std / np.sqrt(n)).all()


def test_predict_and_the_distribution_tell_the_same(model, new):
    X = new[0]
    distribution = model.predict_distribution(X)
    assert isinstance(distribution, PredictiveDistribution)
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_array_equal(model.predict(X), mean)
    np.testing.assert_array_equal(distribution.mean(), mean)
    np.testing.assert_array_equal(distribution.std(), std)
    levels = [0.05, 0.25, 0.5, 0.95]
    quantiles = model.predict(X, quantiles=levels)
    np.testing.assert_array_equal(distribution.quantile(levels), quantiles)
    assert (np.diff(quantiles, axis=1) > 0).all()
    np.testing.assert_allclose(model.predict_interval(X), quantiles[:, [0, 3]])
    np.testing.assert_allclose(
        model.predict_interval(X, coverage=0.5),
        model.predict(X, quantiles=[0.25, 0.75]),
    )
    for level, column in zip(levels, quantiles.T, strict=True):
        np.testing.assert_allclose(distribution.cdf(column), level, atol=1e-8)


def test_intervals_cover_what_they_promise(model, new):
    X, y = new
    low, high = model.predict_interval(X, coverage=0.8).T
    inside = np.mean((low < y) & (y < high))
    # 200 rows: a standard error of 0.03; the rest is what 40 epochs leave open
    assert inside == pytest.approx(0.8, abs=0.12)


def test_draws_fall_below_a_quantile_as_often_as_it_says(model, new):
    X = new[0][:50]
    draws = model.sample(X, 400, random_state=0)
    for level in (0.1, 0.5, 0.9):
        below = np.mean(draws < model.predict(X, quantiles=[level])[:, 0])
        # 20 000 draws: a standard error of 0.0035, and as much for the fixed draws
        assert below == pytest.approx(level, abs=0.02)


def test_both_ways_to_the_likelihood_agree(model, new):
    """Importance weights and the mixture estimate one number.

    At 2 x 32 draws they differ by 0.0005 nats on average; this latent says little.
    """
    X, y = new
    weighted, mixture = model.score_samples(X, y), model.predict_distribution(X)
    difference = weighted - mixture.log_prob(y)
    assert np.abs(difference).mean() < 0.01
    assert np.ptp(weighted) > 1.0


def test_both_ways_to_the_joint_likelihood_agree(joint):
    X, y = two_outputs(200, seed=1)
    difference = joint.score_samples(X, y) - joint.predict_distribution(X).log_prob(y)
    # at 2 x 256 draws 0.003 to 0.02 in five fits, of a latent that says 1 nat
    assert np.abs(difference).mean() < 0.05
    assert joint.kl_per_dimension_[0] > 0.5


def test_a_score_without_targets_is_that_of_the_prediction(model, new):
    X, _ = new
    expected = model.score_samples(X, model.predict(X))
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-12)
    # the sharper the prediction, the higher it is
    _, std = model.predict(X, return_std=True)
    assert np.corrcoef(model.score_samples(X), -np.log(std))[0, 1] > 0.9


def test_two_branches_are_both_predicted():
    """y = ±1 given X: the mean says 0, where the density says that nothing lies."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1))
    y = rng.choice([-1.0, 1.0], size=300) + 0.1 * rng.normal(size=300)
    assert (np.abs(y) > 0.5).all()
    at = np.zeros((1, 1))
    # by the mixture head, and by the latent alone
    for settings, between in ((TRAINED, 0.02), (PLAIN, 0.3)):
        distribution = fit(X, y, settings).predict_distribution(at)
        assert abs(distribution.mean()[0]) < 0.3
        assert distribution.std()[0] == pytest.approx(1.0, abs=0.2)
        # a normal of that variance holds 0.38 there, and is densest at 0, by 1.6
        assert distribution.cdf([0.5])[0] - distribution.cdf([-0.5])[0] < between
        modes = distribution.pdf([-1.0])[0] + distribution.pdf([1.0])[0]
        assert modes / 2 > 1.25 * distribution.pdf([0.0])[0]


# -- several outputs -------------------------------------------------------------


def test_outputs_of_different_scales_are_all_learned(joint):
    X, y = two_outputs(200, seed=1)
    assert y[:, 1].std() > 900 * y[:, 0].std()
    r2 = r2_score(y, joint.predict(X), multioutput="raw_values")
    # the noise leaves 1 - 1 / (1 + 4 * 4 / 3)
    assert (r2 > 0.84 - 0.1).all()
    assert joint.score(X, y) == pytest.approx(r2.mean())
    _, std = joint.predict(X, return_std=True)
    np.testing.assert_allclose(std.mean(axis=0), SCALES, rtol=0.2)


def test_outputs_are_correlated_given_the_features(joint):
    at = np.array([[0.5, -0.5]])
    draws = joint.sample(at, 2000, random_state=0)[:, 0]
    # 0.01 of it chance; over five fits the model was off by at most 0.05
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(CORRELATION, abs=0.15)
    covariance = joint.predict_distribution(at).cov()[0]
    scale = np.sqrt(covariance.diagonal())
    np.testing.assert_allclose(scale, SCALES, rtol=0.2)
    correlation = covariance[0, 1] / scale.prod()
    assert correlation == pytest.approx(CORRELATION, abs=0.15)
    # and not because of X, which is independent of both
    X, _ = two_outputs(300, seed=0)
    assert abs(np.corrcoef(X.T)[0, 1]) < 0.15


def test_the_joint_density_is_more_than_the_product_of_the_margins(joint):
    X, y = two_outputs(200, seed=1)
    distribution = joint.predict_distribution(X)
    margins = 0.0
    for i in range(2):
        step = 1e-4 * SCALES[i]
        above, below = y.copy(), y.copy()
        above[:, i], below[:, i] = y[:, i] + step, y[:, i] - step
        rise = distribution.cdf(above)[:, i] - distribution.cdf(below)[:, i]
        margins = margins + np.log(rise / (2 * step))
    # of two normals with correlation 0.8: -log(1 - 0.64) / 2 = 0.51 nats
    gain = (joint.score_samples(X, y) - margins).mean()
    # the mean over 200 rows has a standard error of 0.06; five fits gave 0.46 to 0.49
    assert gain == pytest.approx(0.51, abs=0.2)


# -- latents ---------------------------------------------------------------------


def test_transform_is_the_prior_and_with_y_the_posterior(joint):
    X, y = two_outputs(100, seed=1)
    prior, posterior = joint.transform(X), joint.transform(X, y)
    assert np.abs(prior - posterior).max() > 0.1
    # the prior does not know the residual; to the posterior it is all that counts
    residual = (y - joint.predict(X)) / SCALES
    shift = (posterior - prior)[:, 0]
    assert abs(np.corrcoef(shift, residual.sum(axis=1))[0, 1]) > 0.9
    other = joint.transform(X, y + 2 * SCALES)
    assert np.abs(other - posterior).mean() > 0.5


def test_fit_transform_is_fit_and_then_transform(data):
    X, y = data
    np.testing.assert_array_equal(
        CVAERegressor(**QUICK).fit_transform(X, y), fit(X, y).transform(X)
    )


def test_decoding_goes_along_the_latent(joint):
    """At the posterior mean the decoder is nearer to y than the prediction is.

    Members have latents of their own, so it has to be the encoder's own decoder.
    """
    X, y = two_outputs(100, seed=1)
    far = np.abs(joint.predict(X) - y).mean(axis=0)
    for member in range(2):
        chosen = copy.copy(joint)
        chosen.learned_ = replace(joint.learned_, bound=np.eye(2)[member])
        decoded = chosen.decode(chosen.transform(X, y), X)
        near = np.abs(decoded - y).mean(axis=0)
        assert (near < 0.7 * far).all()
    assert np.abs(decoded - joint.decode(chosen.transform(X), X)).max() > 0.1


def test_latents_in_single_precision_for_features_in_single_precision(data):
    X, y = data
    model = fit(X.astype(np.float32), y)
    assert model.transform(X.astype(np.float32)).dtype == np.float32
    assert model.transform(X.astype(np.float32), y).dtype == np.float32
    assert model.predict(X.astype(np.float32)).dtype == np.float64


# -- features --------------------------------------------------------------------


def test_missing_features_are_taken():
    X, y = wave(300, seed=0)
    rng = np.random.default_rng(5)
    holed = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    model = CVAERegressor(**TRAINED).fit(holed, y)
    known, std_known = model.predict([[0.0, 1.5], [0.0, -1.5]], return_std=True)
    unknown, std_unknown = model.predict([[0.0, np.nan]], return_std=True)
    assert known == pytest.approx([1.5, -1.5], abs=0.6)
    # x1 is uniform on (-2, 2): y spreads by 1.15 about 0 where it is not known
    assert unknown == pytest.approx([0.0], abs=0.6)
    assert std_unknown[0] > std_known.max() + 0.2
    everything = model.predict_distribution(np.full((1, 2), np.nan))
    assert everything.std()[0] == pytest.approx(y.std(), rel=0.35)


def test_frames_of_many_dtypes_are_features(data):
    X, y = data
    n = len(X)
    frame = pd.DataFrame(
        {
            "a": X[:, 0].astype(np.float32),
            "b": X[:, 1] > 0,
            "c": pd.array(np.arange(n) % 3, dtype="Int64"),
            "d": pd.array(X[:, 1], dtype="Float64"),
        }
    )
    frame.loc[::4, "c"] = pd.NA
    frame.loc[1::4, "d"] = pd.NA
    model = fit(frame, y)
    assert list(model.feature_names_in_) == list("abcd")
    assert np.isfinite(model.predict(frame)).all()
    assert frame.isna().to_numpy().sum() == n / 2
    filled = frame.assign(c=frame["c"].fillna(0), d=frame["d"].fillna(0.0))
    assert (model.predict(filled) != model.predict(frame)).mean() == 0.5
    shuffled = model.predict(frame.iloc[::-1])
    np.testing.assert_allclose(shuffled[::-1], model.predict(frame), rtol=1e-9)


# -- units and order -------------------------------------------------------------


def test_losses_and_validation_scores_are_in_the_units_of_the_target(data):
    X, y = data
    here, there = fit(X, y), fit(X, 1000.0 * y)
    cost = np.log(1000.0)
    np.testing.assert_allclose(
        there.loss_curve_, np.array(here.loss_curve_) + cost, atol=1e-3
    )
    np.testing.assert_allclose(
        there.validation_scores_, np.array(here.validation_scores_) - cost, atol=1e-3
    )
    np.testing.assert_allclose(there.predict(X), 1000.0 * here.predict(X), rtol=1e-3)


def test_answers_depend_on_their_own_row_alone(model, new):
    X, y = (part[:30] for part in new)
    close = {"rtol": 1e-9, "atol": 1e-9}
    order = np.random.default_rng(0).permutation(30)
    for ask in (
        lambda X, y: model.predict(X),
        lambda X, y: model.predict(X, quantiles=[0.1, 0.9]),
        lambda X, y: model.predict_distribution(X).crps(y),
        lambda X, y: model.predict_distribution(X).log_prob(y),
        model.score_samples,
        lambda X, y: model.transform(X),
        model.transform,
    ):
        together = ask(X, y)
        np.testing.assert_array_equal(ask(X, y), together)
        np.testing.assert_allclose(ask(X[order], y[order]), together[order], **close)
        for i in (0, 17):
            alone = ask(X[i : i + 1], y[i : i + 1])
            np.testing.assert_allclose(alone, together[i : i + 1], **close)


# -- chance ----------------------------------------------------------------------


def test_a_seed_makes_fits_identical_and_another_seed_another_fit(data):
    X, y = data
    one, same, other = (fit(X, y, {"random_state": s}) for s in (7, 7, 8))
    np.testing.assert_array_equal(one.learned_.weights, same.learned_.weights)
    np.testing.assert_array_equal(one.predict(X), same.predict(X))
    assert one.loss_curve_ == same.loss_curve_
    assert np.abs(one.predict(X) - other.predict(X)).max() > 1e-3


def test_draws_repeat_with_a_seed_and_only_then(model, new):
    X, _ = new
    np.testing.assert_array_equal(
        model.sample(X, 2, random_state=3), model.sample(X, 2, random_state=3)
    )
    assert (
        model.sample(X, 2, random_state=3) != model.sample(X, 2, random_state=4)
    ).any()
    assert (model.sample(X, 2) != model.sample(X, 2)).any()
    # every draw is drawn afresh, and so is every row
    draws = model.sample(np.zeros((50, 2)), 2, random_state=0)
    assert len(np.unique(draws)) == 100


def test_questions_leave_the_model_as_it_was(model, new):
    X, y = new
    before = model.predict(X)
    model.sample(X)
    model.score_samples(X, y)
    model.transform(X, y)
    model.predict_interval(X)
    np.testing.assert_array_equal(model.predict(X), before)


# -- going on --------------------------------------------------------------------


def test_partial_fit_goes_on_from_chunk_to_chunk(new):
    chunks = [wave(100, seed) for seed in range(3)]
    model = CVAERegressor(**QUICK | {"learning_rate_init": 5e-3})
    scores = []
    for epoch in range(45):
        model.partial_fit(*chunks[epoch % 3])
        scores.append(model.score_samples(*new).mean())
        if epoch == 0:
            schemas = model.schema_, model.target_schema_
    assert model.n_iter_ == len(model.loss_curve_) == 45
    assert (model.schema_, model.target_schema_) == schemas
    assert scores[-1] > scores[0] + 0.5
    assert np.mean(scores[-15:]) > np.mean(scores[:15])
    assert model.score(*new) > 0.7


def test_every_row_of_a_chunk_is_learned_from():
    """Of 21 rows a batch of 16 would leave five out."""
    X, y = wave(21, seed=0)
    settings = QUICK | {"batch_size": "auto", "n_estimators": 1}
    start = CVAERegressor(**settings).partial_fit(*wave(60, seed=1))

    def weights(targets):
        return copy.deepcopy(start).partial_fit(X, targets).learned_.weights

    base = weights(y)
    for row in range(21):
        assert not np.array_equal(weights(y + (np.arange(21) == row)), base), row


@pytest.mark.parametrize("seed", range(2))
def test_calls_with_a_fixed_seed_learn_as_well_as_with_others(seed):
    """Noise and dropout that came again would be learned by heart.

    With noise that came again these two ended 0.15 and 0.44 nats below.
    """
    X, y = wave(60, seed)
    new = wave(500, seed=9)

    def score(random_state):
        settings = {"batch_size": "auto", "n_samples": 64}
        settings |= {"random_state": random_state}
        model = CVAERegressor(**QUICK | settings)
        for _ in range(50):
            model.partial_fit(X, y)
        return model.score_samples(*new).mean()

    assert score(seed) > score(np.random.RandomState(seed)) - 0.15


def test_warm_start_goes_on_where_fit_ended(data):
    X, y = data
    model = fit(X, y, TRAINED | {"warm_start": True})
    first, ended, n_iter = model.loss_curve_[0], model.loss_curve_[-1], model.n_iter_
    # gently: at its peak the learning rate throws a trained model off at first
    model.set_params(learning_rate_init=1e-4, max_iter=3, kl_warmup=0.0).fit(X, y)
    assert model.n_iter_ == n_iter + 3 == len(model.loss_curve_)
    assert first - ended > 1.0
    # the kept weights are those of the best epoch, not of the last
    assert abs(model.loss_curve_[n_iter] - ended) < 0.25 * (first - ended)


# -- validation rows -------------------------------------------------------------


def test_validation_scores_are_those_of_the_rows_that_were_given(data, new):
    X, y = data
    X_val, y_val = new
    scores = [
        np.array(fit(X, y, X_val=X_val, y_val=target).validation_scores_)
        for target in (y_val, y_val + 3.0 * y.std())
    ]
    assert (scores[0] > scores[1] + 0.5).all()


def test_the_kept_weights_are_the_best_on_the_validation_rows(data, new):
    settings = TRAINED | {"n_estimators": 1, "n_samples": 64}
    model = fit(*data, settings, X_val=new[0], y_val=new[1])
    best = max(model.validation_scores_)
    np.testing.assert_array_equal(
        model.learned_.bound, model.history_.bound.max(axis=0)
    )
    # of 8 draws and of 64, with a latent that says little: 0.004 apart in five fits
    assert model.score_samples(*new).mean() == pytest.approx(best, abs=0.03)
    assert np.ptp(model.validation_scores_) > 0.5


def test_early_stopping_keeps_the_best_weights_of_an_overfitting_net(new):
    """25 rows and 200 epochs: what is learned late is noise."""
    X, y = wave(25, seed=0)
    settings = {
        "hidden_layer_sizes": (64, 64),
        "dropout": 0.0,
        "max_iter": 200,
        "n_iter_no_change": 200,
        "learning_rate_init": 1e-2,
        "min_scale": 0.01,
    }
    kept = fit(X, y, settings, X_val=new[0], y_val=new[1])
    bound, epoch = kept.history_.bound, kept.history_.best_epoch
    assert (bound[-1] < bound.max(axis=0) - 1.0).all()  # the trait: it overfits
    later = epoch >= 0  # -1: the starting weights were never bettered
    assert later.any()
    np.testing.assert_array_equal(epoch[later], bound.argmax(axis=0)[later])
    # every other member is kept twice as late
    best, early = bound.max(axis=0)[::2], kept.learned_.bound[::2]
    np.testing.assert_array_equal(early[later[::2]], best[later[::2]])
    assert (early >= best).all()
    last = fit(X, y, settings | {"early_stopping": False})
    assert last.validation_scores_ == []
    assert kept.score_samples(*new).mean() > last.score_samples(*new).mean() + 1.0
    assert kept.score_samples(X, y).mean() < last.score_samples(X, y).mean()


# -- densities of several outputs ------------------------------------------------


def test_the_joint_density_integrates_to_one(joint):
    """A sum over a lattice with a fifth of a standard deviation as its step.

    Of a smooth density it errs by far less than its own Monte Carlo error, which is
    below 0.01 nats a point; densities are unbiased, so their mass errs by less.
    """
    x = np.array([[0.5, -1.0]])
    mean, std = (part[0] for part in joint.predict(x, return_std=True))
    steps = np.arange(-6, 6.01, 0.2)
    lattice = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    y = mean + std * lattice
    log_prob = joint.score_samples(np.repeat(x, len(y), axis=0), y)
    mass = np.exp(log_prob).sum() * np.prod(0.2 * std)
    assert mass == pytest.approx(1.0, abs=0.01)


def test_the_joint_density_hardly_hangs_on_the_draws(joint):
    """1024 draws around the mode of p(z | X, y): below 0.01 nats in every row."""
    X, y = two_outputs(100, seed=1)
    scores = []
    for seed in range(5):
        other, learned = copy.copy(joint), joint.learned_
        draws = normal_draws(*learned.draws.shape, seed)
        other.learned_ = replace(learned, draws=draws)
        scores.append(other.score_samples(X, y))
    error = np.std(scores, axis=0, ddof=1)
    assert 0.0 < error.max() < 0.01


# -- parameters ------------------------------------------------------------------


def test_a_rounded_target_cannot_drive_the_density_to_infinity():
    """The floor bounds the density: that of a normal at its mode."""
    step = 0.5
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2))
    y = step * rng.integers(1, 5, size=150)
    assert len(np.unique(y)) == 4
    settings = {"max_iter": 60, "learning_rate_init": 2e-2}
    auto, tiny = fit(X, y, settings), fit(X, y, settings | {"min_scale": 1e-3})
    bound = -np.log(np.sqrt(2 * np.pi) * step / np.sqrt(12))
    assert auto.score_samples(X, y).max() < bound
    assert auto.predict_distribution(X).log_prob(y).max() < bound
    assert tiny.score_samples(X, y).max() > bound
    assert tiny.score_samples(X, y).mean() > auto.score_samples(X, y).mean()


def test_a_floor_is_a_least_standard_deviation(data):
    X, y = data
    model = fit(X, y, {"min_scale": 0.5})
    _, std = model.predict(X, return_std=True)
    assert (std > 0.5 * y.std()).all()


def test_free_bits_keep_the_latent_alive(data):
    """Five components tell all there is to tell, unless the first nats are free."""
    settings = {"max_iter": 30, "learning_rate_init": 1e-2}
    # from the first step at full price, and the last weights whatever their bound
    settings |= {"kl_schedule": "constant", "early_stopping": False}
    bare = fit(*data, settings)
    free = fit(*data, settings | {"free_bits": 0.5})
    assert (bare.kl_per_dimension_ < 0.1).all()
    assert (free.kl_per_dimension_ > 0.25).all()


def test_beta_trades_the_kl_for_the_reconstruction():
    X, y = two_outputs(300, seed=0)
    settings = PLAIN | {
        "objective": "elbo",
        "kl_schedule": "constant",
        "early_stopping": False,
    }
    kl = [
        fit(X, y, settings | {"beta": beta}).kl_per_dimension_.sum()
        for beta in (0.1, 1.0, 10.0)
    ]
    assert kl[0] > kl[1] + 0.3 > kl[2] + 0.6


def test_more_mixture_components_follow_a_skewed_target_without_a_latent():
    """Beta is so high that the latent says nothing: the head is on its own."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 1)), rng.exponential(size=300)
    settings = PLAIN | {"beta": 1e3, "kl_schedule": "constant", "min_scale": 0.05}
    scores = {
        k: fit(X, y, settings | {"n_mixtures": k}).score_samples(X, y).mean()
        for k in (1, 5)
    }
    # entropies: 1 nat of the exponential, 1.42 of a normal of the same variance
    assert scores[1] == pytest.approx(-1.42, abs=0.15)
    assert scores[5] > scores[1] + 0.2


@pytest.mark.parametrize(
    "change",
    [
        {"n_mixtures": 1},
        {"activation": "relu"},
        {"activation": "identity"},
        {"numeric_embedding": None},
        {"objective": "iwae", "n_draws": 4},
        {"objective": "dreg", "n_draws": 4},
        {"prior": "normal"},
        {"n_draws": 4},
        {"dropout": 0.0},
        {"hidden_layer_sizes": (8, 8, 8)},
        {"hidden_layer_sizes": ()},
        {"n_estimators": 1},
        {"n_components": 5},
        {"batch_size": 16},
        {"kl_schedule": "constant"},
        {"kl_schedule": "cyclical"},
        {"alpha": 1.0},
        {"early_stopping": False},
        {"validation_fraction": 0.5},
        {"min_scale": 0.5},
    ],
    ids=str,
)
def test_every_parameter_has_an_effect(data, change):
    plain, changed = fit(*data, LEARNING), fit(*data, LEARNING | change)
    assert (plain.history_.best_epoch >= 0).all()  # something was learned
    difference = plain.score_samples(*data) - changed.score_samples(*data)
    assert np.isfinite(difference).all()
    assert np.abs(difference).max() > 1e-6


def test_a_model_without_latents_decodes_what_it_predicts(data):
    X, _ = data
    model = fit(*data, LEARNING | {"n_components": 0, "n_estimators": 1})
    Z = model.transform(X)
    assert Z.shape == (len(X), 0)
    np.testing.assert_allclose(model.decode(Z, X), model.predict(X), rtol=1e-6)


def test_the_prior_of_a_row_is_that_of_its_features_or_none_of_them(data):
    X, _ = data
    prior = fit(*data, LEARNING).transform(X)
    assert np.ptp(prior, axis=0).max() > 1e-3
    np.testing.assert_array_equal(
        fit(*data, LEARNING | {"prior": "normal"}).transform(X), 0.0
    )


def test_priornet_spreads_a_linear_decoder_where_the_normal_prior_cannot():
    """y = w exp(x) e + noise for two outputs: the latent's spread hangs on x.

    PriorNet has it log-linear, as it is; under N(0, I) the one spread of a linear
    decoder is wrong at both ends. The truth is a normal with covariance
    exp(2 x) w wᵀ + 0.01 I.
    """
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.5, 1.5, size=(2, 500))
    weights = np.array([1.0, -0.5])
    spread, noise = np.exp(x), 0.1 * rng.normal(size=(2, 500, 2))
    y = (spread * rng.normal(size=(2, 500)))[..., None] * weights + noise
    along = y @ weights / np.linalg.norm(weights)
    across = y @ np.array([0.5, 1.0]) / np.linalg.norm(weights)
    scale = np.sqrt(spread**2 * (weights @ weights) + 0.01)
    truth = norm.logpdf(along, scale=scale) + norm.logpdf(across, scale=0.1)
    settings = PLAIN | {"hidden_layer_sizes": (), "n_components": 1, "max_iter": 150}
    behind = {}
    for prior in ("conditional", "normal"):
        model = fit(x[0][:, None], y[0], settings | {"prior": prior})
        gap = truth[1] - model.score_samples(x[1][:, None], y[1])
        behind[prior] = gap.mean()
        assert gap.std() / np.sqrt(500) < 0.06  # standard error of the divergence
    assert behind["conditional"] < 0.1
    assert behind["normal"] > behind["conditional"] + 0.3


def test_verbose_tells_of_progress_and_quiet_does_not(data, capsys):
    model = fit(*data, {"verbose": True})
    out = capsys.readouterr().out
    assert out.count("\n") == 5
    assert "CVAERegressor" in out
    last = model.loss_curve_[-1]  # in the units of the data
    assert f"epoch 5 of 5, loss {last:.4f} nats" in out
    fit(*data)
    assert capsys.readouterr() == ("", "")


def test_what_a_fit_leaves_behind(model):
    n_iter = model.n_iter_
    assert 0 < n_iter <= 40
    assert len(model.loss_curve_) == len(model.validation_scores_) == n_iter
    assert model.kl_per_dimension_.shape == (2,)
    assert model.active_units_ == (model.kl_per_dimension_ > 0.01).sum()
    assert model.history_.kl.shape == (n_iter, 2, 2)
    assert model.n_features_in_ == 2


# -- without a latent ------------------------------------------------------------


def test_no_latent_is_a_mixture_density_network(recwarn):
    """The density is that of the head: nothing is drawn, so ``n_samples`` is idle."""
    X, y = wave(200, seed=0)
    few, many = (
        CVAERegressor(**(TRAINED | {"n_components": 0, "n_samples": n})).fit(X, y)
        for n in (1, 64)
    )
    assert not [w for w in recwarn if "collapsed" in str(w.message)]
    np.testing.assert_array_equal(few.predict(X), many.predict(X))
    from_head = few.predict_distribution(X).log_prob(y)
    np.testing.assert_allclose(few.score_samples(X, y), from_head, rtol=1e-9)
    assert few.score(X, y) > 0.8
    assert few.active_units_ == 0
    assert few.kl_per_dimension_.shape == (0,)
    assert few.transform(X).shape == few.transform(X, y).shape == (200, 0)


def test_no_latent_leaves_several_outputs_independent_given_X():
    """With one member: a mixture over members ties them a little."""
    X, y = two_outputs(200, seed=0)
    settings = TRAINED | {"n_components": 0, "n_estimators": 1}
    covariance = CVAERegressor(**settings).fit(X, y).predict_distribution(X).cov()
    scale = np.sqrt(covariance[:, 0, 0] * covariance[:, 1, 1])
    np.testing.assert_allclose(covariance[:, 0, 1] / scale, 0.0, atol=1e-12)


# -- weights ---------------------------------------------------------------------


def test_weights_say_how_often_a_row_counts():
    """Two branches, y = 1 and y = -1, as many rows of each; those at 1 weigh 9 times.

    So P(y < 0) is 0.1 and the mean 0.8. Over 12 seeds these have standard deviations
    of 0.007 and 0.021, and P(y < 0) without weights one of 0.023: bounds are four.
    """
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (400, 1))
    y = np.tile([1.0, -1.0], 200) + 0.1 * rng.standard_normal(400)
    weight = np.where(y > 0, 9.0, 1.0)
    plain = CVAERegressor(**TRAINED).fit(X, y).predict_distribution(X)
    weighted = CVAERegressor(**TRAINED).fit(X, y, weight).predict_distribution(X)
    zeros = np.zeros(400)
    assert abs(plain.cdf(zeros).mean() - 0.5) < 0.092
    assert abs(weighted.cdf(zeros).mean() - 0.1) < 0.028
    assert abs(weighted.mean().mean() - 0.8) < 0.085


def test_weights_count_with_several_outputs():
    """As above, for two outputs, whose bound is another one; likewise four errors."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (400, 1))
    side = np.tile([1.0, -1.0], 200)
    y = np.column_stack([side, -side]) + 0.1 * rng.standard_normal((400, 2))
    weight = np.where(side > 0, 9.0, 1.0)
    model = CVAERegressor(**TRAINED).fit(X, y, weight)
    cdf = model.predict_distribution(X).cdf(np.zeros((400, 2)))
    np.testing.assert_allclose(cdf.mean(axis=0), [0.1, 0.9], atol=0.028)


def test_every_output_has_a_floor_of_its_own():
    """One output is a line rounded to halves, the other the line as it is."""
    X = np.random.default_rng(0).normal(size=(200, 1))
    y = np.column_stack([np.round(2 * X[:, 0]) / 2, X[:, 0]])
    settings = {"max_iter": 80, "learning_rate_init": 2e-2, "n_components": 0}
    _, std = fit(X, y, settings).predict(X, return_std=True)
    floor = 0.5 / np.sqrt(12)
    assert (std[:, 0] >= floor).all()
    assert np.median(std[:, 1]) < 0.7 * floor


def test_rows_of_weight_zero_are_as_if_they_were_not_there(data):
    X, y = data
    wild = np.r_[y, 1e6 * np.ones(50)]
    weight = np.r_[np.ones(len(y)), np.zeros(50)]
    without = CVAERegressor(**QUICK).fit(X, y)
    ignored = CVAERegressor(**QUICK).fit(np.r_[X, X[:50]], wild, weight)
    np.testing.assert_array_equal(without.predict(X), ignored.predict(X))


AUTOMATIC = {
    1: {"objective": "elbo", "n_draws": 1, "kl_warmup": 0.0},
    2: {"objective": "dreg", "n_draws": 4, "kl_warmup": 0.2},
}


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_how_the_latent_is_trained_depends_on_the_number_of_outputs(data, n_outputs):
    """Each "auto" is what the docstring says: any other value is another fit."""
    X, y = data
    y = np.column_stack([y, X[:, 0] * y])[:, :n_outputs]
    auto = dict.fromkeys(AUTOMATIC[1], "auto")

    def predicted(**changes):
        return CVAERegressor(**QUICK | auto | changes).fit(X, y).predict(X)

    expected = predicted()
    np.testing.assert_array_equal(predicted(**AUTOMATIC[n_outputs]), expected)
    for name, value in AUTOMATIC[3 - n_outputs].items():
        others = {k: v for k, v in AUTOMATIC[n_outputs].items() if k != name}
        assert not np.array_equal(predicted(**others | {name: value}), expected)


@pytest.mark.parametrize(
    ("settings", "n_outputs", "expected"),
    [
        ({}, 2, ("periodic", 2, 8, 4)),
        ({"n_components": 0}, 2, ("periodic", 2, 8, 4)),
        ({}, 1, ("periodic", 2, 8, 0)),
        ({"n_estimators": 2}, 2, ("periodic", 2, 2, 0)),
        ({"numeric_embedding": "periodic"}, 2, ("periodic", 2, 8, 0)),
        ({"numeric_embedding": None}, 2, (None, 0, 8, 0)),
        # categories alone: nothing to embed
        ({"categorical_features": [0, 1]}, 2, ("periodic", 0, 8, 0)),
        ({"categorical_features": [0]}, 2, ("periodic", 1, 8, 4)),
    ],
    ids=str,
)
def test_half_of_the_members_for_several_outputs_are_plain(
    settings, n_outputs, expected
):
    """Before any is left out: no row is held out."""
    X, y = two_outputs(60, seed=0)
    X = X.round() if "categorical_features" in settings else X
    quick = {k: v for k, v in QUICK.items() if k != "n_estimators"}
    model = CVAERegressor(**quick | {"max_iter": 1, "early_stopping": False} | settings)
    config = model.fit(X, y[:, :n_outputs]).learned_.config
    found = (config.numeric_embedding, config.n_scores, config.n_estimators)
    assert (*found, config.n_plain) == expected


def test_the_model_knows_which_features_have_distinct_values():
    """Learned once: a chunk whose values recur changes nothing."""
    X, y = two_outputs(60, seed=0)
    X[:, 1] = X[:, 1].round()
    model = fit(X, y, {"numeric_embedding": "periodic"})
    expected = (True, False, True, False)  # features and their normal scores
    assert model.learned_.config.distinct == expected
    model.partial_fit(X.round(), y)
    assert model.learned_.config.distinct == expected


@pytest.mark.parametrize("wavy", [False, True])
def test_members_that_do_worse_without_an_embedding_are_left_out(wavy):
    """Outputs that are linear in X, given few rows, or waves of it; then to go on."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.7, 1.7, size=(200, 2))
    y = (np.sin(4.0 * X) if wavy else X) + 0.1 * rng.normal(size=X.shape)
    settings = {k: v for k, v in TRAINED.items() if k != "n_estimators"}
    model = CVAERegressor(**settings).fit(X, y)
    assert model.learned_.config.n_plain == (0 if wavy else 4)
    n_members = 4 if wavy else 8
    assert len(model.learned_.weights) == model.history_.loss.shape[1] == n_members
    assert model.score(X, y) > 0.8
    # gently: at its peak the learning rate throws a trained model off at first
    gentle = copy.deepcopy(model).set_params(learning_rate_init=1e-3)
    warm = copy.deepcopy(gentle).set_params(warm_start=True).fit(X, y)
    for again in (gentle.partial_fit(X, y), warm):
        assert again.learned_.config == model.learned_.config
        assert (again.learned_.weights != model.learned_.weights).any()


def test_a_weighted_kl_and_no_latent_are_trained_by_the_evidence_lower_bound():
    """The importance-weighted bound has no KL to bound, or nothing to weigh."""
    X, y = two_outputs(60, seed=0)
    auto = dict.fromkeys(AUTOMATIC[1], "auto")
    for change in ({"free_bits": 0.1}, {"beta": 2.0}, {"n_components": 0}):
        settings = QUICK | auto | change
        explicit = settings | {"objective": "elbo", "n_draws": 1}
        if "n_components" in change:
            explicit |= {"kl_warmup": 0.0}
        np.testing.assert_array_equal(
            CVAERegressor(**settings).fit(X, y).predict(X),
            CVAERegressor(**explicit).fit(X, y).predict(X),
        )


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_kl_that_rises_four_times_takes_half_of_each_time(data, n_outputs):
    """With one output the weight would be the same throughout at a warm-up of 0."""
    X, y = data
    y = np.column_stack([y, X[:, 0] * y])[:, :n_outputs]

    def predicted(**changes):
        return (
            CVAERegressor(**QUICK | {"kl_warmup": "auto"} | changes)
            .fit(X, y)
            .predict(X)
        )

    cyclical = predicted(kl_schedule="cyclical")
    explicit = predicted(kl_schedule="cyclical", kl_warmup=0.5)
    np.testing.assert_array_equal(cyclical, explicit)
    assert not np.array_equal(cyclical, predicted(kl_schedule="linear"))


def test_the_advice_on_a_collapsed_latent_fits_the_number_of_outputs(monkeypatch):
    monkeypatch.setattr("skvae._estimator.COLLAPSED", 1e9)
    X, y = two_outputs(60, seed=0)
    for target, advice in (
        (y[:, 0], "With one output"),
        (y, "Raise max_iter: 5 are few"),
    ):
        with pytest.warns(ConvergenceWarning, match=f"carries nothing. {advice}"):
            CVAERegressor(**QUICK).fit(X, target)


@pytest.mark.parametrize(
    ("n_rows", "members"), [(50, 8), (4_000, 8), (4_500, 7), (5_000, 6), (20_000, 4)]
)
def test_few_rows_have_more_members(n_rows, members):
    """What "auto" takes; a fit of one step shows it in the shape of the weights."""
    X = np.random.default_rng(0).normal(size=(n_rows, 1))
    small = {"hidden_layer_sizes": (4,), "n_samples": 2, "numeric_embedding": None}
    model = CVAERegressor(1, **small, max_steps=1).fit(X, X[:, 0])
    assert len(model.learned_.weights) == members
    # a fit that goes on keeps its members
    more = X[:10]
    assert len(model.partial_fit(more, more[:, 0]).learned_.weights) == members
    # for several outputs an even number, half of them plain
    several = CVAERegressor(1, **small | {"numeric_embedding": "auto"}, max_steps=1)
    config = several.partial_fit(X, X[:, [0, 0]]).learned_.config
    assert (config.n_estimators, config.n_plain) == (members // 2 * 2, members // 2)
