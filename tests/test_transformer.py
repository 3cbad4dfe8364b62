"""VAETransformer: what it returns, what its parameters do, and what never changes."""

import copy
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from skvae import VAETransformer
from skvae._engine.train import batches

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

# x = z W + noise: two factors, four columns
LOADINGS = np.array([[1.0, 0.8, 0.0, 0.5], [0.0, 0.5, 1.0, -0.7]])
NOISE = 0.3
COVARIANCE = LOADINGS.T @ LOADINGS + NOISE**2 * np.eye(4)
TRUTH = multivariate_normal(np.zeros(4), COVARIANCE)


def factor_rows(n, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ LOADINGS + NOISE * rng.normal(size=(n, 4))


def holes(X, seed=0, rate=0.2):
    """The rows of ``X`` with some of their cells, never all, missing at random."""
    missing = np.random.default_rng(seed).random(X.shape) < rate
    missing[missing.all(axis=1), 0] = False
    return np.where(missing, np.nan, X)


def conditional_mean(row):
    """E[row | its observed cells] under the true distribution."""
    seen = ~np.isnan(row)
    gain = COVARIANCE[np.ix_(~seen, seen)] @ np.linalg.inv(
        COVARIANCE[np.ix_(seen, seen)]
    )
    out = row.copy()
    out[~seen] = gain @ row[seen]
    return out


def mixed_frame(n=90, missing=True):
    """A frame of every dtype with one factor behind its columns."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "f64": z + 0.3 * rng.normal(size=n),
            "f32": (5.0 - z + 0.3 * rng.normal(size=n)).astype(np.float32),
            "i64": np.round(10 * z).astype(np.int64),
            "flag": z > 0,
            "zero_one": (z > 0.5).astype(np.int64),
            "Int64": pd.array(np.round(5 * z).astype(np.int64), dtype="Int64"),
            "Float64": pd.array(2.0 * z, dtype="Float64"),
            "boolean": pd.array(z < 0, dtype="boolean"),
        },
        index=pd.Index([f"row {i}" for i in range(n)], name="who"),
    )
    if missing:
        frame.iloc[::5, [0, 1]] = np.nan
        frame.iloc[1::5, [5, 6, 7]] = pd.NA
    return frame


@pytest.fixture(scope="module")
def rows():
    return holes(factor_rows(300, seed=0))


@pytest.fixture(scope="module")
def vae(rows):
    return VAETransformer(**TRAINED).fit(rows)


@pytest.fixture(scope="module")
def framed():
    return VAETransformer(**TRAINED).fit(mixed_frame())


def fit(X, settings=None, **kwargs):
    return VAETransformer(**(QUICK | (settings or {}))).fit(X, **kwargs)


# -- shapes, units, dtypes -------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7])
def test_shapes(vae, rows, n):
    X = rows[:n]
    assert vae.transform(X).shape == (n, 2)
    assert vae.inverse_transform(np.zeros((n, 2))).shape == (n, 4)
    assert vae.reconstruct(X).shape == (n, 4)
    assert vae.sample(n, random_state=0).shape == (n, 4)
    assert vae.impute(X).shape == (n, 4)
    assert vae.impute(X, n_imputations=3, random_state=0).shape == (3, n, 4)
    assert vae.score_samples(X).shape == (n,)
    assert [part.shape for part in vae.score_samples(X, return_se=True)] == [(n,)] * 2
    assert vae.score_features(X).shape == (n, 4)
    assert isinstance(vae.score(X), float)
    assert vae.score(X) == pytest.approx(vae.score_samples(X).mean())


def test_what_a_fit_leaves_behind(vae):
    n_iter = vae.n_iter_
    assert 0 < n_iter <= 40
    assert len(vae.loss_curve_) == len(vae.validation_scores_) == n_iter
    assert vae.kl_per_dimension_.shape == (2,)
    assert vae.active_units_ == (vae.kl_per_dimension_ > 0.01).sum() == 2
    assert vae.history_.loss.shape == vae.history_.bound.shape == (n_iter, 2)
    assert vae.history_.kl.shape == (n_iter, 2, 2)
    assert vae.n_features_in_ == 4
    assert not hasattr(vae, "feature_names_in_")


def test_the_kl_is_that_of_the_kept_weights_and_the_best_member(rows):
    """Without early stopping the last epoch is kept, and watched on all rows."""
    vae = fit(rows, LEARNING | {"early_stopping": False, "n_estimators": 3})
    best, last = vae.learned_.best_member, vae.history_.kl[-1]
    assert vae.learned_.bound.argmax() == best
    np.testing.assert_allclose(vae.kl_per_dimension_, last[best], rtol=1e-3)
    assert np.ptp(last.sum(axis=1)) > 0.01  # the members differ


def test_a_trained_model_is_near_the_true_distribution(vae):
    """A floor under all that follows: these questions go to a model that knows much."""
    X = factor_rows(300, seed=1)
    independent = multivariate_normal(np.zeros(4), np.diag(np.diag(COVARIANCE)))
    gain = TRUTH.logpdf(X).mean() - independent.logpdf(X).mean()
    assert gain > 1.5
    assert vae.score(X) > independent.logpdf(X).mean() + 0.75 * gain


def test_losses_and_validation_scores_are_in_the_units_of_the_columns(rows):
    """Scaling all columns by 1000 costs log 1000 nats for each observed cell."""
    here, there = fit(rows), fit(1000.0 * rows)
    cells = (~np.isnan(rows)).sum(axis=1).mean()
    assert cells < 3.5
    cost = cells * np.log(1000.0)
    np.testing.assert_allclose(
        there.loss_curve_, np.array(here.loss_curve_) + cost, atol=1e-3
    )
    np.testing.assert_allclose(
        there.validation_scores_, np.array(here.validation_scores_) - cost, atol=1e-3
    )


def test_a_frame_goes_in_and_a_frame_comes_out(framed):
    X = mixed_frame()
    assert X.isna().any().sum() == 5
    decoded = framed.inverse_transform(framed.transform(X))
    rebuilt, drawn = framed.reconstruct(X), framed.sample(50, random_state=0)
    filled = framed.impute(X)
    draws = framed.impute(X, n_imputations=2, random_state=0)
    assert isinstance(draws, list)
    for out in (decoded, rebuilt, drawn, filled, *draws):
        assert isinstance(out, pd.DataFrame)
        assert list(out.columns) == list(X.columns)
        assert (out.dtypes == X.dtypes).all()
        assert not out.isna().any(axis=None)
    for out in (rebuilt, filled, *draws):
        pd.testing.assert_index_equal(out.index, X.index)
    pd.testing.assert_frame_equal(rebuilt.reset_index(drop=True), decoded)
    assert set(drawn["zero_one"]) == {0, 1}


def test_kinds_are_inferred_from_dtype_and_values(framed):
    binary = [c for c, name in framed.likelihoods_.items() if name == "bernoulli"]
    assert binary == ["flag", "zero_one", "boolean"]
    others = framed.likelihoods_.keys() - binary
    assert {framed.likelihoods_[c] for c in others} == {"mixture"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_come_back_in_the_dtype_of_fit(rows, dtype):
    X = rows[:60].astype(dtype)
    vae = fit(X)
    for out in (
        vae.transform(X),
        vae.inverse_transform(vae.transform(X)),
        vae.reconstruct(X),
        vae.sample(3, random_state=0),
        vae.impute(X),
        vae.impute(X, n_imputations=2, random_state=0),
    ):
        assert out.dtype == dtype
    # likelihoods are sums: always in double precision
    assert vae.score_samples(X).dtype == vae.score_features(X).dtype == np.float64


def test_single_and_double_precision_tell_the_same(rows):
    X = rows[:100].astype(np.float32)
    single, double = fit(X), fit(X.astype(np.float64))
    np.testing.assert_array_equal(single.score_samples(X), double.score_samples(X))


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_rows_out_follow_the_rows_of_fit_and_not_those_that_ask(framed):
    X = mixed_frame()
    array = X.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    filled = framed.impute(array)
    assert isinstance(filled, pd.DataFrame)
    expected = framed.impute(X).reset_index(drop=True)
    pd.testing.assert_frame_equal(filled, expected)


def test_latents_are_decoded_by_the_member_that_encoded_them(rows):
    """Members have latents of their own: another's decoder would not know them."""
    vae = VAETransformer(**TRAINED | {"n_estimators": 4}).fit(rows)
    X = factor_rows(100, seed=1)
    latents, errors = [], np.empty((4, 4))
    for member in range(4):
        chosen = copy.copy(vae)
        chosen.learned_ = replace(vae.learned_, bound=np.eye(4)[member])
        latents.append(chosen.transform(X))
        np.testing.assert_array_equal(
            chosen.inverse_transform(latents[-1]), chosen.reconstruct(X)
        )
    for decoder in range(4):
        chosen.learned_ = replace(vae.learned_, bound=np.eye(4)[decoder])
        for encoder in range(4):
            rebuilt = chosen.inverse_transform(latents[encoder])
            errors[decoder, encoder] = np.mean((rebuilt - X) ** 2)
    # the noise is a tenth of the variance of a column
    assert (errors.diagonal() < 0.35 * X.var(axis=0).mean()).all()
    assert errors.max() > X.var(axis=0).mean()


# -- missing cells ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_imputations", [None, 3])
def test_observed_cells_are_returned_bit_for_bit(vae, dtype, n_imputations):
    X = holes(factor_rows(50, seed=4)).astype(dtype)
    X[0, 0], X[1, 1], X[2, 2] = -0.0, np.finfo(dtype).tiny, 1.0 / 3.0
    observed = ~np.isnan(X)
    assert 0 < (~observed).sum() < X.size
    filled = np.atleast_3d(vae.impute(X, n_imputations, random_state=0))
    filled = filled.reshape(-1, *X.shape)
    assert not np.isnan(filled).any()
    for table in filled:
        assert table.dtype == dtype
        assert table[observed].tobytes() == X[observed].tobytes()


def test_observed_cells_of_an_array_of_objects_are_returned_as_they_were():
    rng = np.random.default_rng(0)
    X = np.empty((40, 3), dtype=object)
    X[:, 0] = [2**54 + int(i) for i in rng.integers(2**53, size=40)]  # past float64
    X[:, 1] = [bool(b) for b in rng.integers(2, size=40)]
    X[:, 2] = list(rng.choice(["u", "v"], size=40))
    X[::4, 1], X[1::4, 2] = None, np.nan
    vae = fit(X, {"max_iter": 2, "n_estimators": 1})
    for rows in (X, X[X[:, 2] == "u"]):
        observed = ~pd.isna(rows)
        filled = vae.impute(rows)
        assert not pd.isna(filled).any()
        for cell, kept in zip(rows[observed], filled[observed], strict=True):
            assert type(cell) is type(kept)
            assert cell == kept


@pytest.mark.parametrize("n_imputations", [None, 2])
def test_observed_cells_of_a_frame_are_returned_as_they_were(framed, n_imputations):
    X = mixed_frame()
    before = X.copy()
    filled = framed.impute(X, n_imputations, random_state=0)
    for table in filled if n_imputations else [filled]:
        for name in X:
            observed = X[name].notna()
            assert table[name][observed].equals(X[name][observed])
    pd.testing.assert_frame_equal(X, before)


def test_a_complete_row_is_returned_as_it_is(vae):
    X = factor_rows(20, seed=5)
    np.testing.assert_array_equal(vae.impute(X), X)
    np.testing.assert_array_equal(vae.impute(X, 2, random_state=0), [X, X])


def test_imputations_are_almost_as_good_as_the_true_conditional_means(vae):
    X = factor_rows(300, seed=1)
    holed = holes(X, seed=2)
    missing = np.isnan(holed)
    best = np.array([conditional_mean(row) for row in holed])

    def error(filled):
        return np.sqrt(np.mean((filled - X)[missing] ** 2))

    assert error(best) < 0.7 * error(np.zeros_like(X))
    # of what the other cells tell about a missing one, three quarters are used
    used = (error(np.zeros_like(X)) - error(vae.impute(holed))) / (
        error(np.zeros_like(X)) - error(best)
    )
    assert used > 0.75


def test_drawn_imputations_scatter_about_the_conditional_mean(vae):
    X = holes(factor_rows(40, seed=6))
    missing = np.isnan(X)
    n = 400
    draws = vae.impute(X, n_imputations=n, random_state=0)
    spread = draws.std(axis=0, ddof=1)
    assert (spread[missing] > 0.1).all()
    # n draws of 2 x 32 weighted points: within 5 standard errors in all 30-odd cells
    error = (draws.mean(axis=0) - vae.impute(X))[missing]
    assert (np.abs(error) < 5 * spread[missing] / np.sqrt(n)).all()


def test_drawn_imputations_of_a_row_are_drawn_jointly(vae):
    """Two missing cells are correlated given the other two: by -0.75 up to 0.76."""
    for pair in combinations(range(4), 2):
        missing = list(pair)
        seen = [i for i in range(4) if i not in pair]
        given = COVARIANCE[np.ix_(missing, seen)] @ np.linalg.inv(
            COVARIANCE[np.ix_(seen, seen)]
        )
        exact = (
            COVARIANCE[np.ix_(missing, missing)]
            - given @ (COVARIANCE[np.ix_(seen, missing)])
        )
        correlation = exact[0, 1] / np.sqrt(exact[0, 0] * exact[1, 1])
        X = np.zeros((1, 4))
        X[0, missing] = np.nan
        draws = vae.impute(X, n_imputations=1000, random_state=0)[:, 0, missing]
        # 0.03 of it chance; over three fits the six were off by 0.05, at most by 0.15
        assert np.corrcoef(draws.T)[0, 1] == pytest.approx(correlation, abs=0.25)
        # the spread of what is unknown, below that of the column (0.9 and more)
        spread = draws.std(axis=0)
        assert (spread < 0.8 * np.sqrt(COVARIANCE.diagonal()[missing])).all()
        np.testing.assert_allclose(spread, exact.diagonal() ** 0.5, rtol=0.5)


def test_a_missing_boolean_is_filled_with_its_likelier_value(framed):
    X = mixed_frame(missing=False)
    holed = X.copy()
    holed["flag"] = holed["flag"].astype("boolean").mask(np.arange(len(X)) % 2 == 0)
    framed = VAETransformer(**TRAINED).fit(holed)
    filled = framed.impute(holed)["flag"]
    share = np.mean(
        [t["flag"] for t in framed.impute(holed, 60, random_state=0)], axis=0
    )
    missing = holed["flag"].isna().to_numpy()
    assert missing.sum() == 45
    # 60 draws tell the likelier value where its share is 5 standard errors from 1/2
    sure = missing & (np.abs(share - 0.5) > 2.5 / np.sqrt(60))
    assert sure.sum() >= 10
    assert (filled.to_numpy(dtype=bool) == (share > 0.5))[sure].all()
    # 45 fair guesses would be right half the time, with a standard error of 0.075
    assert (filled == X["flag"])[missing].mean() > 0.5 + 3 * 0.075


def test_missing_cells_are_taken_everywhere(vae):
    X = np.full((3, 4), np.nan)
    X[1, 2] = 1.0
    assert np.isfinite(vae.transform(X)).all()
    assert np.isfinite(vae.reconstruct(X)).all()
    assert np.isfinite(vae.impute(X)).all()
    assert np.isfinite(vae.score_features(X)).all()
    assert np.isfinite(vae.score_samples(X)).all()
    np.testing.assert_array_equal(vae.transform(X)[0], vae.transform(X)[2])


def test_nothing_observed_has_the_probability_one(vae):
    log_prob, error = vae.score_samples(np.full((1, 4), np.nan), return_se=True)
    assert 0.0 <= error[0] < 0.2
    assert abs(log_prob[0]) <= 5 * error[0]
    assert (vae.score_features(np.full((1, 4), np.nan)) == 0.0).all()


def test_a_column_that_is_missing_in_fit_alone_is_still_learned():
    """Each row lacks half of its cells; the columns' dependence is learned anyway."""
    X = factor_rows(300, seed=0)
    halved = X.copy()
    halved[::2, 2:] = np.nan
    halved[1::4, 0] = np.nan
    vae = VAETransformer(**TRAINED).fit(halved)
    new = factor_rows(200, seed=1)
    held = new.copy()
    held[:, 2] = np.nan
    filled = vae.impute(held)[:, 2]
    assert np.corrcoef(filled, new[:, 2])[0, 1] > 0.7


# -- likelihoods -----------------------------------------------------------------


def test_scores_depend_on_their_own_row_alone(vae, rows):
    X = rows[:40]
    scores, contributions = vae.score_samples(X), vae.score_features(X)
    Z, filled = vae.transform(X), vae.impute(X)
    order = np.random.default_rng(0).permutation(40)
    # a chunk's size may change the order of a sum in double precision
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(vae.score_samples(X[order]), scores[order], **close)
    np.testing.assert_allclose(vae.impute(X[order]), filled[order], **close)
    for i in range(0, 40, 7):
        one = X[i : i + 1]
        np.testing.assert_allclose(vae.score_samples(one), scores[[i]], **close)
        np.testing.assert_allclose(vae.score_features(one), contributions[[i]], **close)
        np.testing.assert_allclose(vae.transform(one), Z[[i]], **close)
        np.testing.assert_allclose(vae.impute(one), filled[[i]], **close)
    np.testing.assert_array_equal(vae.score_samples(X), scores)


def test_the_standard_error_shrinks_with_the_root_of_the_draws(rows):
    """The draws are fixed after training: the weights are the same for both."""
    X = factor_rows(100, seed=1)
    few, many = (fit(rows, {"n_samples": n, "max_iter": 20}) for n in (16, 1024))
    np.testing.assert_array_equal(few.transform(X), many.transform(X))
    (score, error), (better, small) = (
        vae.score_samples(X, return_se=True) for vae in (few, many)
    )
    assert (error > 0).all()
    assert (small > 0).all()
    # the root of 1024 / 16; the variance of 16 weights is known to 35 % in one row
    assert np.median(error / small) == pytest.approx(8.0, rel=0.25)
    # the error is of independent draws, and the fixed ones are more even
    assert np.mean(np.abs(score - better) < 3 * np.hypot(error, small)) > 0.95


def test_a_single_draw_has_no_standard_error(rows):
    _, error = fit(rows, {"n_samples": 1}).score_samples(rows, return_se=True)
    assert np.isnan(error).all()


def information(row):
    """KL(p(z | observed cells) || p(z)) of the true model, in closed form."""
    W = LOADINGS[:, ~np.isnan(row)]
    covariance = np.linalg.inv(np.eye(2) + W @ W.T / NOISE**2)
    mean = covariance @ W @ row[~np.isnan(row)] / NOISE**2
    log_det = np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.trace(covariance) + mean @ mean - 2 - log_det)


def test_contributions_sum_to_the_score_and_what_no_column_owns(rows):
    """That part is KL(p(z | x) || p(z)), which the truth knows in closed form.

    It has no units: the columns are scaled by 100, each by another sign.
    """
    settings = TRAINED | {"n_estimators": 1, "n_samples": 256, "max_iter": 60}
    scaled = rows * [100.0, -100.0, 0.01, 100.0]
    vae = VAETransformer(**settings).fit(scaled)
    shared = vae.score_features(scaled).sum(axis=1) - vae.score_samples(scaled)
    exact = np.array([information(row) for row in rows])
    assert (shared > 0).all()
    # in four fits it was 3 to 12 % lower, since the model is a bit less sharp
    assert shared.mean() == pytest.approx(exact.mean(), rel=0.2)
    assert np.corrcoef(shared, exact)[0, 1] > 0.9
    missing = np.isnan(rows)
    assert missing.any()
    assert (vae.score_features(scaled)[missing] == 0.0).all()


def test_a_wild_cell_is_the_one_that_costs_the_score():
    """Four columns that say the same, and one cell that contradicts the other three."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1)) + 0.3 * rng.normal(size=(300, 4))
    vae = VAETransformer(**TRAINED).fit(X)
    typical = vae.score_features(X[:50])
    for column in range(4):
        wild = X[:50].copy()
        wild[:, column] += 3.0  # ten standard deviations of the noise
        assert vae.score(wild) < vae.score(X[:50]) - 10.0
        cost = (typical - vae.score_features(wild)).mean(axis=0)
        assert cost.argmax() == column
        assert cost[column] > 0.5 * cost.sum()


# -- chance ----------------------------------------------------------------------


def test_a_seed_makes_fits_identical_and_another_seed_another_fit(rows):
    one, same, other = (fit(rows, {"random_state": s}) for s in (7, 7, 8))
    np.testing.assert_array_equal(one.learned_.weights, same.learned_.weights)
    np.testing.assert_array_equal(one.score_samples(rows), same.score_samples(rows))
    assert one.loss_curve_ == same.loss_curve_
    assert np.abs(one.score_samples(rows) - other.score_samples(rows)).max() > 1e-3


def test_a_random_state_instance_moves_on_with_each_fit(rows):
    state = np.random.RandomState(0)
    first = fit(rows, {"random_state": state})
    second = fit(rows, {"random_state": state})
    again = fit(rows, {"random_state": np.random.RandomState(0)})
    np.testing.assert_array_equal(first.learned_.weights, again.learned_.weights)
    assert (first.learned_.weights != second.learned_.weights).any()


def test_draws_repeat_with_a_seed_and_only_then(vae, rows):
    for draw in (
        lambda seed: vae.sample(20, random_state=seed),
        lambda seed: vae.impute(rows[:20], 2, random_state=seed),
    ):
        np.testing.assert_array_equal(draw(3), draw(3))
        assert (draw(3) != draw(4)).any()
        assert (draw(None) != draw(None)).any()


def test_sampled_rows_are_distributed_as_the_data(vae):
    n = 4000
    X = vae.sample(n, random_state=0)
    # sampling errors are 0.03 at most; the rest is what 240 cells a column and 40
    # epochs leave open
    np.testing.assert_allclose(X.mean(axis=0), np.zeros(4), atol=0.25)
    np.testing.assert_allclose(np.cov(X.T), COVARIANCE, atol=0.3)
    assert COVARIANCE.max() - COVARIANCE.min() > 1.5
    # what is beyond the least and the greatest row of fit, about 2 of 240, is neither
    assert len(np.unique(X[:, 0])) > 0.98 * n


# -- going on --------------------------------------------------------------------


def test_partial_fit_goes_on_from_chunk_to_chunk():
    chunks = [factor_rows(100, seed) for seed in range(3)]
    new = factor_rows(200, seed=9)
    vae = VAETransformer(**QUICK | {"learning_rate_init": 5e-3})
    scores = []
    for epoch in range(45):
        vae.partial_fit(chunks[epoch % 3])
        scores.append(vae.score(new))
        if epoch == 0:
            schema = vae.schema_
    assert vae.n_iter_ == len(vae.loss_curve_) == 45
    # the first chunk's scales, for good
    after, before = vae.schema_.columns, schema.columns
    assert [replace(c, span=(0, 0)) for c in after] == [
        replace(c, span=(0, 0)) for c in before
    ]
    values = np.concatenate(chunks)
    assert [c.span for c in after] == list(
        zip(values.min(axis=0), values.max(axis=0), strict=True)
    )
    assert scores[-1] > scores[0] + 0.5
    smooth = np.convolve(scores, np.ones(15) / 15, "valid")[::15]
    assert (np.diff(smooth) > 0).all()


def test_partial_fit_after_fit_starts_at_its_weights(rows):
    vae = VAETransformer(**TRAINED).fit(rows)
    before, n_iter = vae.score(rows), vae.n_iter_
    vae.set_params(learning_rate_init=1e-4).partial_fit(rows)
    assert vae.n_iter_ == n_iter + 1
    assert vae.score(rows) == pytest.approx(before, abs=0.2)
    fresh = VAETransformer(**TRAINED).partial_fit(rows)
    assert fresh.score(rows) < before - 0.5


def test_partial_fit_takes_a_single_row_once_scales_are_known(vae, rows):
    model = fit(rows)
    assert model.partial_fit(rows[:1]).n_iter_ == 6


def test_warm_start_goes_on_where_fit_ended(rows):
    cold = fit(rows, TRAINED)
    first = cold.loss_curve_[0]
    warm = fit(rows, TRAINED | {"warm_start": True, "kl_warmup": 0.0})
    n_iter = warm.n_iter_
    ended = warm.loss_curve_[-1]
    # gently: at its peak the learning rate throws a trained model off at first
    warm.set_params(learning_rate_init=1e-4, max_iter=3).fit(rows)
    assert warm.n_iter_ == n_iter + 3 == len(warm.loss_curve_)
    assert warm.loss_curve_[n_iter] < first - 0.5
    # a training loss has the chance of its batches in it
    assert warm.loss_curve_[n_iter] == pytest.approx(ended, abs=0.4)


def test_without_warm_start_a_fit_forgets(rows):
    vae = fit(rows)
    once = vae.score_samples(rows)
    vae.fit(rows[:100] * 50.0)
    vae.fit(rows)
    assert vae.n_iter_ == 5
    np.testing.assert_array_equal(vae.score_samples(rows), once)


# -- validation rows -------------------------------------------------------------


def test_validation_scores_are_those_of_the_rows_that_were_given(rows):
    near, far = factor_rows(100, seed=1), factor_rows(100, seed=1) + 3.0
    scores = {}
    for name, X_val in (("near", near), ("far", far)):
        vae = fit(rows, {"n_estimators": 1, "max_iter": 10}, X_val=X_val)
        scores[name] = np.array(vae.validation_scores_)
    assert (scores["near"] > scores["far"] + 1.0).all()


@pytest.mark.parametrize("with_holes", [False, True])
def test_the_kept_weights_are_the_best_on_the_validation_rows(rows, with_holes):
    """A score is a bound over 64 draws of z, the one that chooses is over 8 of them."""
    X_val = 100.0 * factor_rows(100, seed=1)
    X_val = holes(X_val, rate=0.5) if with_holes else X_val
    settings = TRAINED | {"n_estimators": 1, "n_samples": 64}
    vae = VAETransformer(**settings).fit(100.0 * rows, X_val=X_val)
    best = max(vae.validation_scores_)
    np.testing.assert_array_equal(vae.learned_.bound, vae.history_.bound.max(axis=0))
    # over ten fits the score, the tighter bound, was -0.02 to 0.15 nats above
    assert -0.1 < vae.score(X_val) - best < 0.3
    # while log 100 for each observed cell are 9 and 18: the units are not in doubt
    assert abs(best) > 5.0


def test_early_stopping_keeps_the_best_weights_of_an_overfitting_net():
    """40 rows and 300 epochs: what is learned late is noise."""
    X, X_val = factor_rows(40, seed=0), factor_rows(300, seed=1)
    settings = {
        "hidden_layer_sizes": (64, 64),
        "n_estimators": 2,
        "max_iter": 300,
        "n_iter_no_change": 300,
        "learning_rate_init": 1e-2,
        "n_samples": 64,
        "min_scale": 0.01,
    }
    kept = fit(X, settings, X_val=X_val)
    bound, epoch = kept.history_.bound, kept.history_.best_epoch
    assert (bound[-1] < bound.max(axis=0) - 1.0).all()  # the trait: it overfits
    later = epoch >= 0  # -1: the starting weights were never bettered
    assert later.any()
    np.testing.assert_array_equal(epoch[later], bound.argmax(axis=0)[later])
    # every other member is kept twice as late
    best, early = bound.max(axis=0)[::2], kept.learned_.bound[::2]
    np.testing.assert_array_equal(early[later[::2]], best[later[::2]])
    assert (early >= best).all()
    last = fit(X, settings | {"early_stopping": False})
    assert last.validation_scores_ == []
    assert kept.score(X_val) > last.score(X_val) + 1.0
    assert kept.score(X) < last.score(X)


def test_early_stopping_ends_a_fit_that_no_longer_improves():
    X, X_val = factor_rows(25, seed=0), factor_rows(300, seed=1)
    settings = {"max_iter": 300, "learning_rate_init": 1e-2, "n_iter_no_change": 10}
    vae = fit(X, settings, X_val=X_val)
    assert vae.history_.stopped_early
    # patience begins when the KL has its full weight, after 0.3 of 300 epochs
    assert 100 <= vae.n_iter_ < 300
    bound = vae.history_.bound
    assert (bound[-10:].max(axis=0) <= bound[:-10].max(axis=0) + 2e-3).all()
    patient = fit(X, settings | {"max_iter": 60, "n_iter_no_change": 60}, X_val=X_val)
    assert not patient.history_.stopped_early
    assert patient.n_iter_ == 60


# -- parameters ------------------------------------------------------------------


def test_rounded_columns_cannot_drive_the_density_to_infinity():
    """The floor bounds the density of each cell: that of a normal at its mode.

    A mixture's components can sit on the four values and sharpen without end.
    """
    step = 0.5
    X = step * np.random.default_rng(0).integers(1, 5, size=(120, 2))
    assert len(np.unique(X)) == 4
    settings = {"max_iter": 60, "learning_rate_init": 2e-2, "likelihood": "mixture"}
    auto = fit(X, settings)
    tiny = fit(X, settings | {"min_scale": 1e-3})
    bound = -2 * np.log(np.sqrt(2 * np.pi) * step / np.sqrt(12))
    assert auto.score_samples(X).max() < bound
    assert tiny.score_samples(X).max() > bound
    assert tiny.score(X) > auto.score(X)


def test_free_bits_keep_the_latent_alive():
    """On noise no dimension is worth its KL, unless the first nats are free."""
    X = np.random.default_rng(0).normal(size=(150, 3))
    settings = {"objective": "elbo", "max_iter": 30, "learning_rate_init": 1e-2}
    settings["likelihood"] = "gaussian"
    # from the first step at full price, and the last weights whatever their bound
    settings |= {"kl_schedule": "constant", "early_stopping": False}
    bare = fit(X, settings)
    free = fit(X, settings | {"free_bits": 0.5})
    assert (bare.kl_per_dimension_ < 0.1).all()
    # 0.5 nats cost nothing and help a little: they are spent, up to minibatch noise
    assert (free.kl_per_dimension_ > 0.25).all()


@pytest.mark.parametrize("change", [{"beta": 4.0}, {"free_bits": 0.2}])
def test_a_weighted_kl_is_that_of_the_evidence_lower_bound(rows, change):
    """``objective="auto"`` takes the bound that has a KL divergence to weigh."""
    auto = {"objective": "auto", "n_draws": "auto", "max_iter": 5}
    asked = fit(rows, auto | change)
    explicit = fit(rows, auto | change | {"objective": "elbo", "n_draws": 1})
    np.testing.assert_array_equal(
        asked.score_samples(rows), explicit.score_samples(rows)
    )
    tighter = fit(rows, auto | {"objective": "iwae"} | change | {"free_bits": 0.0})
    assert not np.array_equal(asked.score_samples(rows), tighter.score_samples(rows))


@pytest.mark.parametrize("early_stopping", [True, False])
def test_beta_trades_the_kl_for_the_reconstruction(rows, early_stopping):
    settings = TRAINED | {"objective": "elbo", "n_draws": 1, "kl_schedule": "constant"}
    settings["early_stopping"] = early_stopping  # by the bound at the same beta
    kl = [
        fit(rows, settings | {"beta": beta}).kl_per_dimension_.sum()
        for beta in (0.1, 1.0, 3.0)
    ]
    assert kl[0] > kl[1] + 0.5
    assert kl[1] > kl[2] + 0.5


def test_the_kl_is_cheap_while_it_warms_up(rows):
    """While beta rises from 0 the latent says more than a constant beta allows."""
    settings = TRAINED | {
        "likelihood": "gaussian",
        "objective": "elbo",
        "n_draws": 8,
        "early_stopping": False,
        "kl_warmup": 0.5,
    }
    kl = {
        schedule: fit(rows, settings | {"kl_schedule": schedule}).history_.kl
        for schedule in ("constant", "linear", "cyclical")
    }
    kl = {name: value.sum(axis=2).mean(axis=1) for name, value in kl.items()}
    assert (kl["linear"][3:10] > 1.5 * kl["constant"][3:10]).all()
    # at the end all of them pay in full
    assert kl["linear"][-1] == pytest.approx(kl["constant"][-1], rel=0.1)
    # four cycles of 10 epochs: the price falls to nothing at 10, 20 and 30
    for start in (10, 20, 30):
        assert kl["cyclical"][start + 2] > kl["cyclical"][start - 1] + 0.1
        assert kl["linear"][start + 2] < kl["linear"][start - 1] + 0.1


def test_a_warm_up_of_length_zero_is_a_constant_schedule(rows):
    none = fit(rows, LEARNING | {"kl_warmup": 0.0})
    constant = fit(rows, LEARNING | {"kl_schedule": "constant"})
    linear = fit(rows, LEARNING)
    np.testing.assert_array_equal(none.learned_.weights, constant.learned_.weights)
    assert (none.learned_.weights != linear.learned_.weights).any()


def test_a_mixture_likelihood_has_room_for_two_modes():
    """Beta is so high that the latent says nothing: the likelihood is on its own."""
    rng = np.random.default_rng(0)
    X = 3.0 * rng.choice([-1.0, 1.0], size=(200, 1)) + 0.3 * rng.normal(size=(200, 1))
    normal = -0.5 * np.log(2 * np.pi * np.e * X.var())
    two_modes = -0.5 * np.log(2 * np.pi * np.e * 0.09) - np.log(2)
    assert two_modes > normal + 1.0
    settings = {"beta": 1e3, "objective": "elbo", "kl_schedule": "constant"}
    settings |= {"max_iter": 60, "learning_rate_init": 2e-2, "early_stopping": False}
    scores = {
        name: fit(X, settings | {"likelihood": name}).score(X)
        for name in ("gaussian", "mixture")
    }
    assert scores["gaussian"] == pytest.approx(normal, abs=0.1)
    assert scores["mixture"] > normal + 0.7 * (two_modes - normal)


def test_likelihoods_are_asked_for_by_column():
    X = mixed_frame(missing=False)
    asked = {"f64": "student_t", "zero_one": "gaussian", "flag": "auto"}
    vae = fit(X, {"likelihood": asked})
    assert vae.likelihoods_["f64"] == "student_t"
    assert vae.likelihoods_["zero_one"] == "gaussian"
    assert vae.likelihoods_["flag"] == vae.likelihoods_["boolean"] == "bernoulli"
    assert vae.likelihoods_["f32"] == "mixture"
    # a column of 0 and 1 with a density is no longer bounded by a probability
    masses = fit(X).score_features(X)[:, list(X).index("zero_one")]
    assert (masses <= 0.0).all()
    # and its expectation, where it is of floats, is no longer one of the two
    floats = X.astype({"zero_one": float})
    holes = floats.assign(zero_one=floats["zero_one"].where(np.arange(len(X)) >= 10))
    completed = fit(floats, {"likelihood": asked}).impute(holes)
    assert not set(completed["zero_one"][:10]) & {0.0, 1.0}
    assert set(fit(floats).impute(holes)["zero_one"]) <= {0.0, 1.0}
    with_arrays = fit(
        X[["f64", "i64"]].to_numpy(float), {"likelihood": {"x1": "gaussian"}}
    )
    assert with_arrays.likelihoods_ == {"x0": "mixture", "x1": "gaussian"}


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "relu"},
        {"activation": "tanh"},
        {"activation": "gelu"},
        {"activation": "identity"},
        {"numeric_embedding": "periodic"},
        {"objective": "elbo"},
        {"n_draws": 2},
        {"dropout": 0.5},
        {"masking": 0.5},
        {"trimming": 0.2},
        {"hidden_layer_sizes": (8, 8, 8)},
        {"hidden_layer_sizes": ()},
        {"n_estimators": 1},
        {"n_components": 5},
        {"batch_size": 16},
        {"batch_size": 10_000},
        {"alpha": 1.0},
        {"learning_rate_init": 1e-4},
        {"early_stopping": False},
        {"validation_fraction": 0.5},
        {"min_scale": 0.5},
        {"likelihood": "gaussian"},
        {"objective": "iwae"},
        {"prior": "mixture"},
        {"prior": "vamp"},
        {"prior": "flow"},
        {"posterior": "flow"},
        {"latent": "hierarchical", "n_components": (2, 1)},
        {"latent": "vq", "n_components": 2},
    ],
    ids=str,
)
def test_every_parameter_has_an_effect(rows, change):
    plain, changed = fit(rows, LEARNING), fit(rows, LEARNING | change)
    assert (plain.history_.best_epoch >= 0).all()  # something was learned
    difference = plain.score_samples(rows) - changed.score_samples(rows)
    assert np.isfinite(difference).all()
    assert np.abs(difference).max() > 1e-4


def test_verbose_tells_of_progress_and_quiet_does_not(rows, capsys):
    model = fit(rows, {"verbose": True})
    out = capsys.readouterr().out
    assert out.count("\n") == 5
    assert "VAETransformer" in out
    last = model.loss_curve_[-1]  # in the units of the data
    assert f"epoch 5 of 5, loss {last:.4f} nats" in out
    fit(rows)
    assert capsys.readouterr() == ("", "")


TIED = {
    "likelihood": "gaussian",
    "n_components": 1,
    "hidden_layer_sizes": (),
    "n_estimators": 1,
    "max_iter": 2,
    "random_state": 0,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_correlated_residuals_tie_what_a_latent_leaves():
    """Three columns, one latent, hardly trained: the copula makes up for the rest.

    Correlations of new rows are those of the table within 0.1; without it they are off
    by 0.3 at the least.
    """
    cov = [[1.0, 0.8, -0.6], [0.8, 1.0, -0.5], [-0.6, -0.5, 1.0]]
    X = np.random.default_rng(0).multivariate_normal(np.zeros(3), cov, size=1000)
    apart = VAETransformer(**TIED).fit(X)
    tied = VAETransformer(**TIED, residuals="correlated").fit(X)
    true = np.corrcoef(X.T)
    errors = [
        np.abs(np.corrcoef(m.sample(5000, random_state=0).T) - true).max()
        for m in (apart, tied)
    ]
    assert errors[0] > 0.3
    assert errors[1] < 0.1
    assert tied.score(X) > apart.score(X) + 0.2
    np.testing.assert_array_equal(tied.transform(X), apart.transform(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_correlated_residuals_need_two_continuous_columns():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=60), "b": rng.choice(["x", "y"], size=60)})
    apart = VAETransformer(**TIED | {"likelihood": "auto"}).fit(X)
    tied = VAETransformer(**TIED | {"likelihood": "auto"}, residuals="correlated")
    np.testing.assert_array_equal(tied.fit(X).score_samples(X), apart.score_samples(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("latent", ["gaussian", "hierarchical", "vq"])
def test_correlated_residuals_serve_mixed_tables_with_holes(latent):
    """Rows are answered alike alone and among others, for every latent."""
    rng = np.random.default_rng(0)
    group = rng.integers(3, size=120)
    X = pd.DataFrame(
        {
            "count": rng.poisson(3 + group).astype(float),
            "number": group + rng.normal(size=120),
            "text": np.array(["x", "y", "z"], dtype=object)[group],
            "skewed": np.exp(group + rng.normal(size=120)),
        }
    )
    X = X.mask(rng.random(X.shape) < 0.2)
    settings = TIED | {"likelihood": {"skewed": "lognormal"}, "n_components": 2}
    model = VAETransformer(**settings, latent=latent, residuals="correlated").fit(X)
    off = np.abs(model.learned_.correlation - np.eye(3))
    assert model.learned_.correlation.shape == (3, 3)
    assert off.max() > 0.05
    alone = np.concatenate([model.score_samples(X.iloc[[i]]) for i in range(8)])
    np.testing.assert_allclose(model.score_samples(X)[:8], alone, rtol=1e-9)
    filled = model.impute(X)
    one = pd.concat([model.impute(X.iloc[[i]]) for i in range(8)])
    pd.testing.assert_frame_equal(filled[:8], one, rtol=1e-9)
    for draw in model.impute(X, 2, random_state=0):
        assert not draw.isna().any().any()
        pd.testing.assert_frame_equal(draw[X.notna()], X)


def test_an_autoregressive_decoder_takes_no_correlated_residuals():
    model = VAETransformer(decoder="autoregressive", residuals="correlated")
    with pytest.raises(ValueError, match="ties cells by itself: residuals must be"):
        model.fit(np.random.default_rng(0).normal(size=(40, 3)))


@pytest.mark.parametrize(
    ("n_rows", "draws", "objective", "batch"),
    [(100, 8, "dreg", 16), (3_000, 2, "dreg", 187), (20_000, 1, "elbo", 256)],
)
def test_what_auto_means_for_an_autoregressive_decoder(n_rows, draws, objective, batch):
    """Four members of any table, noise, smaller batches; fewer draws of z."""
    X = np.random.default_rng(0).normal(size=(n_rows, 2))
    small = {"hidden_layer_sizes": (4,), "n_samples": 2, "max_steps": 1}
    vae = VAETransformer(2, decoder="autoregressive", **small).fit(X)
    assert len(vae.learned_.weights) == 4
    config = vae._train_config(n_rows)
    assert (config.n_draws, config.objective) == (draws, objective)
    assert (config.dropout, batches(config, n_rows)[1]) == (0.1, batch)
    asked = {"n_draws": 3, "dropout": 0.0, "batch_size": 512, "n_estimators": 1}
    config = vae.set_params(**asked)._train_config(n_rows)
    assert (config.n_draws, config.dropout) == (3, 0.0)
    assert batches(config, n_rows)[1] == min(n_rows, 512)
    assert len(vae.fit(X).learned_.weights) == 1
    # independent cells go without noise
    config = VAETransformer()._train_config(20_000)
    assert (config.dropout, batches(config, 20_000)[1]) == (0.0, 512)


@pytest.mark.parametrize(
    ("n_rows", "members", "draws", "objective"),
    [
        (100, 4, 8, "dreg"),
        (5_000, 4, 6, "dreg"),
        (12_000, 2, 2, "dreg"),
        (20_000, 1, 1, "elbo"),
    ],
)
def test_many_rows_have_few_members_and_draws(n_rows, members, draws, objective):
    """What "auto" takes; a fit of one step shows it in the shape of the weights."""
    X = np.random.default_rng(0).normal(size=(n_rows, 2))
    vae = VAETransformer(2, hidden_layer_sizes=(4,), n_samples=2, max_steps=1).fit(X)
    assert len(vae.learned_.weights) == members
    config = vae._train_config(n_rows)
    assert (config.n_draws, config.objective) == (draws, objective)
    assert vae.set_params(n_draws=3)._train_config(n_rows).n_draws == 3
    # a fit that goes on keeps its members
    more = X[:50]
    assert len(vae.partial_fit(more).learned_.weights) == members
