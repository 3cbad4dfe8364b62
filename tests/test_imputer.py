"""VAEImputer: what it completes, what it leaves alone, and that its draws are right."""

import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skvae import VAEImputer, VAETransformer

pytestmark = pytest.mark.filterwarnings(
    "ignore:Training stopped:sklearn.exceptions.ConvergenceWarning",
    "ignore:All .* latent dimensions:sklearn.exceptions.ConvergenceWarning",
)

QUICK = {
    "n_components": 2,
    "hidden_layer_sizes": (16,),
    "n_estimators": 1,
    "n_samples": 32,
    "n_draws": 4,
    "max_iter": 3,
    "random_state": 0,
}
TRAINED = QUICK | {
    "likelihood": "gaussian",
    "hidden_layer_sizes": (32,),
    "n_estimators": 2,
    "n_draws": 8,
    "dropout": 0.0,
    "kl_warmup": 0.1,
    "max_iter": 40,
    "learning_rate_init": 1e-2,
}

# y = x0 - 0.5 x1 + noise, x correlated
COEFFICIENTS = np.array([1.0, -0.5])
NOISE = 0.5


def gaussian_rows(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.multivariate_normal([0, 0], [[1.0, 0.6], [0.6, 1.0]], size=n)
    return np.column_stack([x, x @ COEFFICIENTS + NOISE * rng.normal(size=n)])


def curved_rows(n, seed):
    """y = |x0| - 0.5 x1, which no normal distribution is near."""
    X = gaussian_rows(n, seed)
    X[:, 2] = np.abs(X[:, 0]) - 0.5 * X[:, 1]
    return X


def holes(X, seed=0, rate=0.3):
    return np.where(np.random.default_rng(seed).random(X.shape) < rate, np.nan, X)


def mixed_frame(n=80, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(3, size=n)
    frame = pd.DataFrame(
        {
            "number": group + 0.2 * rng.normal(size=n),
            "count": pd.array(rng.integers(5, size=n), dtype="Int64"),
            "flag": pd.array(group > 0, dtype="boolean"),
            "text": np.array(["a", "b", "c"], dtype=object)[group],
            "level": pd.Categorical(np.array(["low", "mid", "high"])[group]),
        }
    )
    return frame.mask(rng.random(frame.shape) < 0.25)


@pytest.fixture(scope="module")
def trained():
    return VAEImputer(**TRAINED).fit(holes(gaussian_rows(600, 0)))


# -- what comes out --------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_observed_cells_of_new_rows_come_back_bit_for_bit(dtype):
    imputer = VAEImputer(**QUICK).fit(holes(gaussian_rows(60, 0)).astype(dtype))
    new = holes(gaussian_rows(40, 1), seed=1).astype(dtype)
    before = new.copy()
    seen = ~np.isnan(new)
    assert 0.5 < seen.mean() < 0.9
    out = imputer.transform(new)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out[seen], new[seen])
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(new, before)


def test_a_mixed_frame_comes_back_complete_in_its_dtypes():
    X, new = mixed_frame(), mixed_frame(30, seed=1).set_axis(range(100, 130))
    assert new.isna().any().all()
    out = VAEImputer(**QUICK).fit(X).transform(new)
    assert not out.isna().any(axis=None)
    assert out.dtypes.to_dict() == new.dtypes.to_dict()
    assert out.index.equals(new.index)
    for name in new:
        seen = new[name].notna()
        pd.testing.assert_series_equal(out.loc[seen, name], new.loc[seen, name])
        assert set(out[name]) <= set(out[name][seen]) or name in ("number", "count")


def test_an_array_of_objects_keeps_its_cells():
    X = mixed_frame()[["number", "text"]].astype(object).to_numpy()
    X[pd.isna(X)] = None
    out = VAEImputer(**QUICK).fit(X).transform(X)
    seen = ~pd.isna(X)
    assert not pd.isna(out).any()
    assert all(a is b for a, b in zip(out[seen], X[seen], strict=True))
    assert set(out[:, 1]) == {"a", "b", "c"}


def test_completed_cells_are_near_their_true_expectations(trained):
    """E[y | x] is linear with the coefficients that made y."""
    X = gaussian_rows(400, 2)
    X[:, 2] = np.nan
    expected = X[:, :2] @ COEFFICIENTS
    error = trained.transform(X)[:, 2] - expected
    assert expected.std() > 0.8
    # 0.03 to 0.08 over five seeds
    assert np.sqrt(np.mean(error**2)) < 0.15


def test_a_row_is_completed_alike_alone_and_among_others(trained):
    X = holes(gaussian_rows(30, 3), seed=3)
    whole = trained.transform(X)
    np.testing.assert_allclose(trained.transform(X[7:8]), whole[7:8], atol=1e-9)
    np.testing.assert_array_equal(trained.transform(X), whole)


def test_it_is_the_imputation_of_the_transformer_under_it():
    X = holes(curved_rows(200, 0))
    settings = TRAINED | {"kl_warmup": 0}
    imputer = VAEImputer(**settings).fit(X)
    assert imputer.active_units_ > 0
    vae = VAETransformer(**settings, residuals="correlated").fit(X)
    np.testing.assert_array_equal(imputer.transform(X), vae.impute(X))


def test_what_the_latent_leaves_is_completed_by_the_correlation_of_residuals():
    """A latent that three epochs have taught next to nothing.

    The standard deviation of y is 0.95, its noise given both features 0.5; residuals
    tell three quarters of the variance between, and the latent nearly nothing.
    """
    X = holes(gaussian_rows(600, 0))
    whole = gaussian_rows(400, 1)
    gap = whole.copy()
    gap[:, 2] = np.nan
    settings = QUICK | {"likelihood": "gaussian"}
    errors = {}
    for residuals in ("independent", "correlated"):
        imputer = VAEImputer(**settings, residuals=residuals).fit(X)
        errors[residuals] = np.var(imputer.transform(gap)[:, 2] - whole[:, 2])
    told = whole[:, 2].var() - NOISE**2
    assert errors["independent"] > NOISE**2 + 0.75 * told
    assert errors["correlated"] < NOISE**2 + 0.25 * told
    assert VAEImputer().residuals == "correlated"


def test_a_chunk_of_one_row_leaves_the_correlation_of_residuals():
    X = holes(gaussian_rows(300, 0))
    imputer = VAEImputer(**QUICK | {"learning_rate_init": 1e-6})
    before = imputer.partial_fit(X).vae_.learned_.correlation
    after = imputer.partial_fit(X[:1]).vae_.learned_.correlation
    assert np.abs(before - np.eye(3)).max() > 0.1
    # residuals of one row against 500
    assert 0 < np.abs(after - before).max() < 0.03
    other = gaussian_rows(300, 1) * [1.0, 1.0, -1.0]
    turned = imputer.partial_fit(other).vae_.learned_.correlation
    assert turned[0, 2] < after[0, 2] - 0.1


def test_each_call_takes_other_rows_of_a_chunk_for_the_correlation():
    """The same 100 of 400 rows would move it twice by the same, but for 500 / 600."""
    X = gaussian_rows(400, 0)
    imputer = VAEImputer(**QUICK | {"learning_rate_init": 1e-9})
    found = [imputer.partial_fit(X).vae_.learned_.correlation for _ in range(3)]
    first, second = (np.triu(b - a, 1) for a, b in pairwise(found))
    gap = np.abs(second - 500 / 600 * first).max()
    assert gap > 0.3 * np.abs(first).max()


def test_a_warm_start_fits_the_correlation_anew():
    """To the new rows alone, in which y has the other sign."""
    X = pd.DataFrame(gaussian_rows(200, 0), columns=list("abc"))
    X["d"] = np.arange(200) % 2 == 0  # with which no normal distribution answers
    imputer = VAEImputer(**QUICK, warm_start=True).fit(X)
    assert imputer.vae_.learned_.correlation[0, 2] > 0.1
    turned = imputer.fit(X.assign(c=-X["c"])).vae_.learned_.correlation
    assert turned[0, 2] < -0.1


# -- one normal distribution in the place of the networks ---------------------------


def test_where_rows_are_normal_missing_cells_are_those_of_a_regression():
    """Least squares, but for one row of independence in 600."""
    X, gap = gaussian_rows(600, 0), gaussian_rows(100, 1)
    expected = LinearRegression().fit(X[:, :2], X[:, 2]).predict(gap[:, :2])
    gap[:, 2] = np.nan
    imputer = VAEImputer(**QUICK | {"likelihood": "gaussian"}).fit(X)
    np.testing.assert_allclose(imputer.transform(gap)[:, 2], expected, atol=0.01)
    assert imputer.active_units_ == 0
    assert (imputer.kl_per_dimension_ == 0).all()


@pytest.mark.parametrize("given", [False, True])
def test_where_rows_are_far_from_normal_the_networks_answer(given):
    """y = |x0| - 0.5 x1: of x1 alone its error is 0.6, of both 0."""
    X, gap = curved_rows(600, 0), curved_rows(200, 1)
    whole = gap[:, 2].copy()
    gap[:, 2] = np.nan
    X_val = curved_rows(100, 2) if given else None
    imputer = VAEImputer(**TRAINED).fit(X, X_val=X_val)
    assert imputer.active_units_ > 0
    error = imputer.transform(gap)[:, 2] - whole
    assert np.sqrt(np.mean(error**2)) < 0.3


def test_the_networks_answer_where_residuals_are_asked_to_be_independent():
    X = gaussian_rows(300, 0)
    for residuals, used in (("independent", True), ("correlated", False)):
        imputer = VAEImputer(**TRAINED, residuals=residuals).fit(X)
        assert (imputer.active_units_ > 0) == used


def test_a_further_chunk_goes_on_from_the_networks():
    X = gaussian_rows(300, 0)
    imputer = VAEImputer(**TRAINED).fit(X)
    assert imputer.active_units_ == 0
    assert imputer.partial_fit(X).active_units_ > 0


def test_pickles_and_clones_answer_alike(trained):
    X = holes(gaussian_rows(20, 4), seed=4)
    copy = pickle.loads(pickle.dumps(trained))
    np.testing.assert_array_equal(copy.transform(X), trained.transform(X))
    assert clone(trained).get_params() == trained.get_params()


def test_warm_start_goes_on_where_fit_ended():
    X = holes(gaussian_rows(60, 0))
    imputer = VAEImputer(**QUICK, warm_start=True).fit(X)
    first = imputer.n_iter_
    assert imputer.fit(X).n_iter_ == 2 * first


def test_a_refused_warm_start_leaves_the_model_as_it_was():
    X = holes(gaussian_rows(60, 0))
    imputer = VAEImputer(**QUICK, warm_start=True).fit(X)
    completed, parameters = imputer.transform(X), imputer.vae_.get_params()
    with pytest.raises(ValueError, match=r"another shape.*n_components.*residuals"):
        imputer.set_params(n_components=5).fit(X)
    assert imputer.vae_.get_params() == parameters
    np.testing.assert_array_equal(imputer.transform(X), completed)


def test_how_training_went_is_told_as_of_the_model(trained):
    np.testing.assert_array_equal(
        trained.kl_per_dimension_, trained.vae_.kl_per_dimension_
    )
    assert trained.active_units_ == trained.vae_.active_units_
    assert len(trained.loss_curve_) == trained.n_iter_ == len(trained.history_.loss)
    assert trained.validation_scores_ == trained.vae_.validation_scores_


@pytest.mark.filterwarnings("ignore:X .* feature names:UserWarning")
@pytest.mark.parametrize("as_frame", [False, True])
@pytest.mark.parametrize("val_as_frame", [False, True])
def test_rows_held_out_by_hand_are_what_training_is_judged_by(as_frame, val_as_frame):
    X, near = holes(gaussian_rows(100, 0)), holes(gaussian_rows(60, 1))
    if as_frame:
        X = pd.DataFrame(X, columns=["a", "b", "c"])
    if val_as_frame:
        near = pd.DataFrame(near, columns=["a", "b", "c"])
    settings = QUICK | {"max_iter": 10}
    near, far = (
        VAEImputer(**settings).fit(X, X_val=rows).validation_scores_
        for rows in (near, near + 5.0)
    )
    assert max(far) < min(near)


def test_chunks_are_learned_one_after_the_other():
    """With the whole weight of the KL from the start one latent of two may sleep."""
    X, new = gaussian_rows(600, 0), gaussian_rows(400, 1)
    imputer = VAEImputer(**TRAINED | {"learning_rate_init": 3e-3})
    for _ in range(40):
        for rows in np.split(holes(X), 3):
            imputer.partial_fit(rows)
    assert imputer.n_iter_ == 120
    new[:, 2] = np.nan
    completed = imputer.transform(new)[:, 2]
    exact = new[:, :2] @ COEFFICIENTS
    # 0.11 to 0.28 over five seeds; the mean of the column is off by 0.8
    assert np.sqrt(np.mean((completed - exact) ** 2)) < 0.4


def test_the_first_chunk_says_which_columns_there_are():
    X = with_special_columns()
    with pytest.warns(UserWarning, match=r"no observed value in column \['x1'\]"):
        imputer = VAEImputer(**QUICK, add_indicator=True).partial_fit(X)
    names = imputer.get_feature_names_out().tolist()
    full = gaussian_rows(60, 1)[:, [0, 1, 2, 0, 1]]
    imputer.partial_fit(full)
    assert imputer.get_feature_names_out().tolist() == names
    assert imputer.transform(X).shape == (60, len(names))


@pytest.mark.filterwarnings("ignore:X .*feature names:UserWarning")
def test_chunks_may_come_with_names_or_without():
    X = holes(gaussian_rows(80, 0))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    asked = {"likelihood": {"b": "student_t"}}
    imputer = VAEImputer(**QUICK, **asked).partial_fit(frame)
    imputer.set_params(likelihood={"x1": "student_t"}).partial_fit(X)
    both = VAEImputer(**QUICK, **asked).partial_fit(frame).partial_fit(frame)
    np.testing.assert_array_equal(
        imputer.transform(frame).to_numpy(), both.transform(frame).to_numpy()
    )


@pytest.mark.parametrize("now_varies", [True, False])
def test_a_warm_start_with_other_columns_is_refused(now_varies):
    varies = gaussian_rows(60, 0)
    constant = np.column_stack([varies[:, 0], np.full(60, 4.0), varies[:, 2]])
    first, then = (constant, varies) if now_varies else (varies, constant)
    imputer = VAEImputer(**QUICK, warm_start=True).fit(first)
    before = imputer.transform(holes(first))
    with pytest.raises(ValueError, match=r"\['x1'\] varied in one .*warm_start=False"):
        imputer.fit(then)
    np.testing.assert_array_equal(imputer.transform(holes(first)), before)
    assert imputer.fit(first).n_iter_ == 2 * QUICK["max_iter"]


# -- columns without values, or of one value -------------------------------------


def with_special_columns():
    X = holes(gaussian_rows(60, 0))
    constant = np.where(np.arange(60) % 2 == 0, 4.0, np.nan)
    return np.column_stack([X[:, 0], np.full(60, np.nan), constant, X[:, 1:]])


def test_a_column_without_values_is_dropped_with_a_warning():
    X = with_special_columns()
    with pytest.warns(UserWarning, match=r"no observed value in column \['x1'\]"):
        imputer = VAEImputer(**QUICK).fit(X)
    out = imputer.transform(X)
    assert out.shape == (60, 4)
    assert imputer.get_feature_names_out().tolist() == ["x0", "x2", "x3", "x4"]


def test_a_column_without_values_is_kept_as_zero_if_asked_for():
    X = with_special_columns()
    new = X.copy()
    new[3, 1] = 7.0
    out = VAEImputer(**QUICK, keep_empty_features=True).fit(X).transform(new)
    assert out.shape == X.shape
    assert out[3, 1] == 7.0
    assert (np.delete(out[:, 1], 3) == 0.0).all()


@pytest.mark.parametrize(
    ("column", "filler"),
    [
        (pd.Series([None] * 60, dtype="string"), "missing_value"),
        (pd.Series([None] * 60, dtype="boolean"), False),
        (pd.Series([None] * 60, dtype="Int64"), 0),
        (pd.Series(pd.Categorical([None] * 60, categories=["k", "l"])), "k"),
        (pd.Series(pd.Categorical([None] * 60, categories=["k"])), "k"),
    ],
)
def test_kept_columns_without_values_stay_in_their_dtype(column, filler):
    X = pd.DataFrame(holes(gaussian_rows(60, 0)), columns=["a", "b", "c"])
    X = X.assign(empty=column)
    out = VAEImputer(**QUICK, keep_empty_features=True).fit_transform(X)
    assert out["empty"].dtype == column.dtype
    assert (out["empty"] == filler).all()


def test_a_constant_column_is_filled_with_its_value():
    X = with_special_columns()
    out = VAEImputer(**QUICK, keep_empty_features=True).fit_transform(X)
    assert (out[:, 2] == 4.0).all()


def test_a_table_of_constants_needs_no_model():
    imputer = VAEImputer(**QUICK).fit([[1.0, 2.0], [np.nan, 2.0]])
    assert imputer.vae_ is None
    assert imputer.n_iter_ == 1
    assert imputer.active_units_ == 0
    assert imputer.kl_per_dimension_.shape == (2,)
    assert imputer.loss_curve_ == imputer.validation_scores_ == []
    np.testing.assert_array_equal(imputer.transform([[np.nan, 5.0]]), [[1.0, 5.0]])


def test_positions_of_categories_and_likelihoods_survive_a_dropped_column():
    X = with_special_columns()
    X[:, 4] = np.arange(60) % 3
    given = {"categorical_features": [1, 4], "likelihood": {"x1": "poisson"}}
    with pytest.warns(UserWarning, match="dropped"):
        imputer = VAEImputer(**QUICK, **given).fit(X)
    X[::2, 4] = np.nan
    assert imputer.vae_.likelihoods_["x4"] == "categorical"
    assert set(imputer.transform(X)[:, 3]) <= {0.0, 1.0, 2.0}


# -- indicators, names, containers -----------------------------------------------


@pytest.mark.filterwarnings("ignore:X has no observed", "ignore:Skipping features")
@pytest.mark.parametrize("add_indicator", [False, True])
@pytest.mark.parametrize("keep_empty_features", [False, True])
@pytest.mark.parametrize("as_frame", [False, True])
def test_columns_out_are_those_of_the_simple_imputer(
    add_indicator, keep_empty_features, as_frame
):
    X = with_special_columns()
    X[:, 4] = 1.5  # nothing missing: no indicator
    if as_frame:
        X = pd.DataFrame(X, columns=list("abcde"))
    options = {
        "add_indicator": add_indicator,
        "keep_empty_features": keep_empty_features,
    }
    ours, theirs = VAEImputer(**QUICK, **options), SimpleImputer(**options)
    out, other = np.asarray(ours.fit_transform(X), float), theirs.fit_transform(X)
    assert out.shape == other.shape
    names = ours.get_feature_names_out()
    assert names.tolist() == theirs.get_feature_names_out().tolist()
    if add_indicator:
        kept = out.shape[1] - 4
        assert kept in (4, 5)
        np.testing.assert_array_equal(out[:, kept:], other[:, kept:])
        assert out[:, kept:].any()


def test_set_output_gives_the_names(trained):
    X = holes(gaussian_rows(40, 0))
    imputer = VAEImputer(**QUICK, add_indicator=True).set_output(transform="pandas")
    out = imputer.fit(X).transform(X[:5])
    assert out.columns.tolist() == imputer.get_feature_names_out().tolist()
    assert out.shape == (5, 6)


def test_polars_goes_in_and_comes_out():
    polars = pytest.importorskip("polars")
    X = polars.DataFrame(holes(gaussian_rows(40, 0)), schema=["a", "b", "c"])
    out = VAEImputer(**QUICK).set_output(transform="polars").fit_transform(X)
    assert isinstance(out, polars.DataFrame)
    assert out.columns == ["a", "b", "c"]
    assert np.isfinite(out.to_numpy()).all()


def test_text_and_integers_with_holes_come_out_as_polars():
    polars = pytest.importorskip("polars")
    X = polars.DataFrame(
        {
            "x": [0.5 * i for i in range(60)],
            "n": [None if i % 5 == 0 else i % 7 for i in range(60)],
            "flag": [None, True, False] * 20,
            "town": ["Bern", "Basel", None] * 20,
            "size": polars.Series(
                ["large", None, "small"] * 20, dtype=polars.Enum(["small", "large"])
            ),
            "same": [None, *["a"] * 59],
        }
    )
    imputer = VAEImputer(**QUICK | {"add_indicator": True})
    out = imputer.set_output(transform="polars").fit_transform(X)
    assert out.columns == imputer.get_feature_names_out().tolist()
    assert out.null_count().sum_horizontal().item() == 0
    for name in X.columns:
        assert out[name].dtype == X[name].dtype
        known = X[name].is_not_null()
        assert out[name].filter(known).to_list() == X[name].drop_nulls().to_list()


def test_values_that_cannot_be_told_apart_are_refused():
    X = gaussian_rows(50, 0)[:, :2]
    X[:, 0] = 1e15 + np.round(100 * X[:, 0])
    X[::4, 0] = np.nan
    message = r"X column \['x0'\] has values that differ by no more than 1e-12 of"
    with pytest.raises(ValueError, match=message):
        VAEImputer(**QUICK).fit(X)


def test_a_row_of_weight_0_has_no_say_in_the_indicators():
    X = gaussian_rows(50, 0)
    X[0, 1] = np.nan
    weight = np.arange(50) > 0
    imputer = VAEImputer(**QUICK, add_indicator=True).fit(X, sample_weight=weight)
    assert imputer.transform(X).shape == (50, 3)
    assert VAEImputer(**QUICK, add_indicator=True).fit(X).transform(X).shape == (50, 4)


def test_a_constant_column_comes_back_in_the_dtype_of_a_complete_one():
    X = pd.DataFrame(
        {
            "x": gaussian_rows(50, 0)[:, 0],
            "flag": pd.Series([None] + [True] * 49, dtype=object),
            "n": np.full(50, 3),
        }
    )
    imputer = VAEImputer(**QUICK)
    assert imputer.fit_transform(X).dtypes.tolist() == ["float64", "bool", "int64"]
    X["n"] = X["n"].astype(float).mask(X.index == 4)
    out = imputer.transform(X)
    assert out.dtypes.tolist() == ["float64", "bool", "int64"]
    assert out["flag"].all()
    assert (out["n"] == 3).all()
    X.loc[7, "n"] = 2.5  # another value than that of fit, which no integer holds
    assert imputer.transform(X)["n"].dtype == "float64"


def test_progress_goes_by_the_name_of_the_estimator(capsys):
    VAEImputer(**QUICK | {"max_iter": 1, "verbose": 1}).fit(gaussian_rows(40, 0))
    assert capsys.readouterr().out.startswith("[VAEImputer] epoch 1 of 1, loss ")


def test_a_search_over_a_pipeline_completes_the_rows_it_did_not_see():
    X = mixed_frame(120)
    y = X["number"].fillna(1.0).to_numpy()
    imputer = VAEImputer(**QUICK | {"max_iter": 20, "learning_rate_init": 1e-2})
    columns = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), ["text", "level"]),
    )
    pipeline = make_pipeline(imputer, columns, Ridge())
    grid = {"vaeimputer__n_components": [1, 2], "ridge__alpha": [0.1, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.predict(mixed_frame(20, seed=5))).all()
    assert search.best_score_ > 0.5


# -- draws -----------------------------------------------------------------------


def test_a_drawn_transform_draws_anew_and_repeats_with_the_seed():
    X = holes(gaussian_rows(50, 0))
    fits = [VAEImputer(**QUICK, sample_posterior=True).fit(X) for _ in range(2)]
    first, second = fits[0].transform(X), fits[0].transform(X)
    missing = np.isnan(X)
    assert (first[missing] != second[missing]).all()
    np.testing.assert_array_equal(first[~missing], X[~missing])
    np.testing.assert_array_equal(fits[1].transform(X), first)


def test_draws_scatter_about_the_expectation(trained):
    X = holes(gaussian_rows(50, 6), seed=6)
    draws = trained.impute(X, 400, random_state=0)
    assert draws.shape == (400, 50, 3)
    missing = np.isnan(X)
    spread = draws.std(axis=0)[missing]
    gap = (draws.mean(axis=0) - trained.transform(X))[missing] / spread
    # a mean of 400 draws is off by 0.05 of their spread
    assert np.abs(gap).max() < 0.3
    assert (spread > 0.2).all()


def test_intervals_of_draws_hold_nine_of_ten_cells(trained):
    truth = gaussian_rows(1000, 7)
    X = holes(truth, seed=7)
    missing = np.isnan(X)
    draws = trained.impute(X, 100, random_state=0)[:, missing]
    low, high = np.quantile(draws, [0.05, 0.95], axis=0, method="weibull")
    covered = np.mean((low <= truth[missing]) & (truth[missing] <= high))
    assert missing.sum() > 800
    # binomial standard error 0.01
    assert covered == pytest.approx(0.9, abs=0.04)


def pooled_coefficients(tables):
    """Rubin's rules: pooled coefficients of y on x and their standard errors."""
    estimates, variances = [], []
    for table in tables:
        x, y = table[:, :2], table[:, 2]
        fit = LinearRegression().fit(x, y)
        residual = y - fit.predict(x)
        centred = x - x.mean(axis=0)
        inverse = np.linalg.inv(centred.T @ centred)
        estimates.append(fit.coef_)
        variances.append(residual.var(ddof=3) * np.diag(inverse))
    between = np.var(estimates, axis=0, ddof=1)
    total = np.mean(variances, axis=0) + (1 + 1 / len(tables)) * between
    return np.mean(estimates, axis=0), np.sqrt(total)


@pytest.mark.slow
def test_pooled_regression_coefficients_are_unbiased():
    """The mean over five data sets is within 0.06 of the truth.

    Its own standard error is 0.02. Means in the holes instead give 0.65 and -0.2.
    """
    settings = {"n_components": 3, "n_draws": 32, "kl_warmup": 0.5, "max_iter": 160}
    settings = TRAINED | settings | {"learning_rate_init": 5e-3}
    pooled, filled = [], []
    for seed in range(5):
        X = holes(gaussian_rows(600, 10 + seed), seed=20 + seed)
        imputer = VAEImputer(**settings | {"random_state": seed}).fit(X)
        estimate, error = pooled_coefficients(imputer.impute(X, 20, random_state=seed))
        assert ((error > 0.02) & (error < 0.06)).all()
        pooled.append(estimate)
        completed = SimpleImputer().fit_transform(X)
        filled.append(LinearRegression().fit(completed[:, :2], completed[:, 2]).coef_)
    assert np.abs(np.mean(filled, axis=0) - COEFFICIENTS).min() > 0.2
    np.testing.assert_allclose(np.mean(pooled, axis=0), COEFFICIENTS, atol=0.06)


def test_a_frame_may_follow_an_array_and_an_array_a_frame():
    X = holes(gaussian_rows(80, 0))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    named, bare = (VAEImputer(**QUICK).fit(rows) for rows in (frame, X))
    with pytest.warns(UserWarning, match="VAEImputer was fitted with feature names"):
        completed = named.transform(X)
    np.testing.assert_array_equal(completed, named.transform(frame).to_numpy())
    with pytest.warns(UserWarning, match="VAEImputer was fitted without feature names"):
        completed = bare.transform(frame)
    assert list(completed.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(completed.to_numpy(), bare.transform(X))


# -- refusals --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["sample_posterior", "add_indicator", "keep_empty_features"]
)
def test_flags_are_flags(name):
    with pytest.raises(TypeError, match=name):
        VAEImputer(**QUICK, **{name: "yes"}).fit(gaussian_rows(20, 0))


def test_a_failed_fit_leaves_the_earlier_one():
    X = holes(gaussian_rows(40, 0))
    imputer = VAEImputer(**QUICK).fit(X)
    before = imputer.transform(X)
    with pytest.raises(ValueError, match="learning_rate_init"):
        imputer.set_params(learning_rate_init=-1.0).fit(X)
    np.testing.assert_array_equal(imputer.transform(X), before)


def test_parameters_are_checked_without_a_model_too():
    with pytest.raises(ValueError, match="max_iter"):
        VAEImputer(**QUICK | {"max_iter": 0}).fit([[1.0], [1.0]])
    with pytest.raises(ValueError, match=r"n_components.*got 0"):
        VAEImputer(**QUICK | {"n_components": 0}).fit([[1.0], [1.0]])


def test_the_iterative_imputer_takes_the_same_options():
    options = {"sample_posterior", "add_indicator", "keep_empty_features"}
    assert options <= set(IterativeImputer().get_params())
    assert options <= set(VAEImputer().get_params())


def test_indicators_beside_columns_without_names_work_in_a_pipeline():
    X = np.random.default_rng(0).normal(size=(60, 3))
    frame = pd.DataFrame(X)  # columns 0, 1, 2
    frame.iloc[::5, 0] = np.nan
    imputer = VAEImputer(**QUICK, add_indicator=True)
    out = imputer.fit_transform(frame)
    assert out.columns.tolist() == imputer.get_feature_names_out().tolist()
    assert out.columns.tolist() == ["x0", "x1", "x2", "missingindicator_x0"]
    assert make_pipeline(imputer, Ridge()).fit(frame, X[:, 1]).score(frame, X[:, 1]) > 0


def test_a_constant_with_decimals_is_not_cut_to_fit_integers():
    frame = pd.DataFrame({"a": np.arange(40.0), "b": 2.5})
    new = pd.DataFrame({"a": [1.0, 2.0], "b": pd.array([pd.NA, 3], dtype="Int64")})
    filled = VAEImputer(**QUICK).fit(frame).transform(new)["b"]
    assert filled.tolist() == [2.5, 3.0]


@pytest.mark.parametrize("kind", ["Int8", "UInt16", "Int64"])
def test_integers_of_polars_stay_what_they_are(kind):
    polars = pytest.importorskip("polars")
    cells = polars.Series([1, 2, None, 4] * 10, dtype=getattr(polars, kind))
    frame = polars.DataFrame({"a": np.arange(40.0), "b": cells})
    imputer = VAEImputer(**QUICK).set_output(transform="polars")
    assert imputer.fit_transform(frame)["b"].dtype == getattr(polars, kind)
