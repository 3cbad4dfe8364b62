"""Tables as they come: text, categories, counts and holes, in and out again."""

import itertools
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skvae import CVAERegressor, VAEImputer, VAEOutlierDetector, VAETransformer
from skvae._table import codec, reading
from skvae._table.columns import chosen_columns
from skvae._table.schema import (
    CATEGORICAL,
    CONTINUOUS,
    COUNT,
    MOST_CODES,
    ORDINAL,
    POSITIVE,
    learn_schema,
    recurring,
)

QUICK = {
    "n_components": 2,
    "hidden_layer_sizes": (16,),
    "n_estimators": 2,
    "n_samples": 64,
    "max_iter": 5,
    "random_state": 0,
}
LONGER = {"max_iter": 120, "learning_rate_init": 1e-2}
quick = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def mixed(n=120, seed=0):
    """A frame with every kind of column; no holes."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n)
    names = np.array(["low", "mid", "high"])
    rank = np.digitize(size, [-0.5, 0.5])
    return pd.DataFrame(
        {
            "size": size,
            "single": (2 * size + rng.normal(size=n)).astype(np.float32),
            "count": rng.poisson(np.exp(size / 2) * 3),
            "flag": size + rng.normal(size=n) > 0,
            "word": rng.choice(["red", "green", "blue"], size=n),
            "text": pd.array(rng.choice(["x", "y"], size=n), dtype="string"),
            "level": pd.Categorical.from_codes(rank, names, ordered=True),
            "group": pd.Categorical.from_codes(
                rng.integers(2, size=n), ["a", "b", "never"]
            ),
            "code": pd.Categorical(rng.choice([10, 20, 30], size=n)),
            "maybe": pd.array(rng.integers(0, 9, size=n), dtype="Int64"),
            "share": pd.array(rng.random(n), dtype="Float64"),
            "object": pd.Series(rng.choice(["p", "q"], size=n), dtype=object),
        }
    )


def holes(frame, share=0.2, seed=1):
    """``frame`` without some cells, in dtypes that can miss them."""
    gone = np.random.default_rng(seed).random(frame.shape) < share
    return frame.mask(gone), gone


def schema_of(table, **options):
    return learn_schema(table, np.ones(len(table.values)), density=True, **options)


def weighted_schema(X, **options):
    table = reading.read_frame(X)
    return table, schema_of(table, **options)


# -- there and back --------------------------------------------------------------


def test_kinds_follow_from_dtypes():
    _, schema = weighted_schema(mixed())
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds["size"] == kinds["count"] == kinds["share"] == CONTINUOUS
    assert kinds["flag"] == "binary"
    assert kinds["level"] == ORDINAL
    for name in ("word", "text", "group", "code", "object"):
        assert kinds[name] == CATEGORICAL


def test_decoding_returns_what_was_encoded_for_every_kind():
    frame = mixed()
    kinds = {"count": COUNT, "share": POSITIVE, "maybe": CATEGORICAL}
    table, schema = weighted_schema(frame, kinds=kinds)
    back = codec.decode(schema, codec.encode(schema, table), frame.index)
    pd.testing.assert_frame_equal(back, frame)


def test_decoding_returns_an_array_of_objects():
    cells = mixed()[["size", "word", "count"]].to_numpy(dtype=object)
    table = reading.read_objects(cells)
    schema = schema_of(table)
    back = codec.decode(schema, codec.encode(schema, table))
    assert back.dtype == object
    assert back[:, 1].tolist() == cells[:, 1].tolist()
    np.testing.assert_allclose(back[:, 0].astype(float), cells[:, 0].astype(float))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_every_mark_of_a_missing_value_is_one(missing):
    column = pd.Series(["a", missing, "b", missing], dtype=object)
    table = reading.read_frame(pd.DataFrame({"word": column, "n": [1.0, 2, 3, 4]}))
    assert np.isnan(table.values[:, 0]).tolist() == [False, True, False, True]


def test_categories_are_those_that_occur_and_keep_their_order():
    _, schema = weighted_schema(mixed())
    by_name = {column.name: column for column in schema.columns}
    assert by_name["level"].categories == ("low", "mid", "high")
    assert by_name["group"].categories == ("a", "b")
    assert by_name["word"].categories == ("blue", "green", "red")


def test_the_log_jacobian_of_a_log_normal_column_is_that_of_the_logarithm():
    frame = pd.DataFrame({"share": [0.5, 1.0, 4.0, np.nan]})
    table, schema = weighted_schema(frame, kinds={"share": POSITIVE})
    step = 1e-6
    moved = reading.read_frame(frame * (1 + step))
    slope = (codec.encode(schema, moved) - codec.encode(schema, table))[:, 0]
    slope /= frame["share"].to_numpy() * step
    jacobian = codec.log_scale(schema, table)[:, 0]
    np.testing.assert_allclose(-np.log(slope[:3]), jacobian[:3], atol=1e-5)
    assert jacobian[3] == 0.0


# -- estimators ------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    frame, _ = holes(mixed())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VAETransformer(**QUICK).fit(frame), frame


def test_rows_come_back_in_the_columns_and_dtypes_of_fit(fitted):
    model, frame = fitted
    answers = {
        "sample": model.sample(40, random_state=0),
        "inverse_transform": model.inverse_transform(model.transform(frame)),
        "reconstruct": model.reconstruct(frame),
        "impute": model.impute(frame),
        "draws": model.impute(frame, n_imputations=2, random_state=0)[1],
    }
    # a column of objects was one of booleans before it had holes
    assert frame["flag"].dtype == object
    expected = frame.dtypes.to_dict() | {"flag": np.dtype(bool)}
    for rows in answers.values():
        assert rows.dtypes.to_dict() == expected
        assert not rows.isna().any(axis=None)
        for name in ("word", "text", "level", "group", "code", "object"):
            assert set(rows[name]) <= set(frame[name].dropna())


def test_observed_cells_are_returned_bit_for_bit(fitted):
    model, frame = fitted
    for filled in (model.impute(frame), model.impute(frame, 1, random_state=0)[0]):
        seen = frame.notna()
        for name in frame:
            left, right = filled[name][seen[name]], frame[name][seen[name]]
            pd.testing.assert_series_equal(left, right, check_dtype=name != "flag")


def asked(**columns):
    """A model of a frame of many kinds, and a question with the columns given."""
    n = 60
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "count": rng.integers(0, 9, n),
            "flag": rng.random(n) < 0.5,
            "whole": np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 9, n)),
            "word": rng.choice(["p", "q", "r"], n),
        }
    )
    grades = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    frame["grade"] = pd.Series(rng.choice(["low", "mid", "high"], n)).astype(grades)
    question = frame.head(3).assign(**{k: pd.Series(v) for k, v in columns.items()})
    return VAETransformer(**QUICK).fit(frame), frame, question


@quick
def test_columns_with_holes_come_back_in_the_dtypes_of_fit():
    model, frame, question = asked(
        count=[1.0, np.nan, 3.0],
        flag=pd.Series([None, True, None], dtype=object),
        word=pd.Series([None, "q", None], dtype=object),
        grade=pd.Series([None, "mid", None], dtype=object),
    )
    filled = model.impute(question)
    assert filled.dtypes.to_dict() == frame.dtypes.to_dict()
    assert not filled.isna().any(axis=None)
    for name in question:
        seen = question[name].notna()
        assert filled[name][seen].tolist() == question[name][seen].tolist()


@quick
def test_fewer_levels_in_a_question_are_no_holes_in_the_answer():
    """As ``astype("category")`` of few rows makes them."""
    model, frame, _ = asked()
    alone = pd.Series(pd.Categorical([None, None, "q"]))
    question = frame.tail(3).assign(word=alone.array, grade=pd.Categorical([None] * 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = model.impute(question)
    assert not filled.isna().any(axis=None)
    assert filled["word"].iloc[2] == "q"
    assert set(filled["word"]) <= {"p", "q", "r"}


@quick
def test_numbers_keep_their_values_whatever_integer_dtype_they_come_in():
    """``whole`` was float64 in fit, for its holes; 2.5 of ``count`` is no integer."""
    model, _, question = asked(
        whole=pd.Series([1, None, 3], dtype="Int64"), count=[2.5, np.nan, 3.0]
    )
    filled = model.impute(question)
    assert not filled.isna().any(axis=None)
    assert filled["whole"].iloc[[0, 2]].tolist() == [1, 3]
    assert filled["count"].iloc[[0, 2]].tolist() == [2.5, 3.0]
    between = filled["whole"].iloc[1]
    assert between != round(between)  # an expectation


@quick
def test_the_likeliest_of_many_categories_fills_a_hole():
    """A third of the rows are "A", the others all different: over 256 categories."""
    n = 900
    words = np.where(np.arange(n) % 3 == 0, "A", [f"u{i}" for i in range(n)])
    X = pd.DataFrame({"word": words, "x": np.random.default_rng(0).normal(size=n)})
    with pytest.warns(UserWarning, match="categories"):
        vae = VAETransformer(**QUICK).fit(X)
    filled = vae.impute(X.head(20).assign(word=None))
    assert filled["word"].tolist() == ["A"] * 20


def test_scores_are_finite_and_those_of_columns_are_zero_where_missing(fitted):
    model, frame = fitted
    assert np.isfinite(model.score_samples(frame)).all()
    parts = model.score_features(frame)
    assert (parts[frame.isna().to_numpy()] == 0).all()
    discrete = [frame.columns.get_loc(name) for name in ("word", "level", "flag")]
    assert (parts[:, discrete] <= 1e-9).all()  # logarithms of masses


@quick
def test_arrays_of_objects_are_taken_and_given_back():
    cells = holes(mixed())[0][["size", "word", "count"]].to_numpy(dtype=object)
    model = VAETransformer(**QUICK).fit(cells)
    filled = model.impute(cells)
    assert filled.dtype == object
    seen = ~pd.isna(cells)
    assert (filled[seen] == cells[seen]).all()
    assert set(filled[:, 1]) == {"red", "green", "blue"}


@quick
def test_numbers_can_be_categories():
    frame = mixed()[["size", "count"]]
    asked = VAETransformer(**QUICK, categorical_features=["count"]).fit(frame)
    assert asked.likelihoods_ == {"size": "mixture", "count": "categorical"}
    assert set(asked.sample(200, random_state=0)["count"]) <= set(frame["count"])
    array = VAETransformer(**QUICK, categorical_features=[1]).fit(frame.to_numpy())
    masked = VAETransformer(**QUICK, categorical_features=[False, True])
    masked.fit(frame.to_numpy())
    for other in (array, masked):
        score = other.score_samples(frame.to_numpy())
        np.testing.assert_allclose(score, asked.score_samples(frame))


@quick
@pytest.mark.parametrize(
    ("column", "likelihood"),
    [
        ("size", "gaussian_fixed"),
        ("size", "student_t"),
        ("size", "mixture"),
        ("share", "lognormal"),
        ("count", "poisson"),
        ("count", "negative_binomial"),
    ],
)
def test_a_likelihood_asked_for_gives_rows_of_its_kind(column, likelihood):
    frame = mixed()
    model = VAETransformer(**QUICK, likelihood={column: likelihood}).fit(frame)
    assert model.likelihoods_[column] == likelihood
    rows = model.sample(300, random_state=0)
    filled = model.impute(frame.assign(**{column: frame[column].where([False] * 120)}))
    if likelihood in ("poisson", "negative_binomial"):
        assert (rows[column] >= 0).all()
    if likelihood == "lognormal":
        assert (rows[column] > 0).all()
    assert np.isfinite(filled[column].astype(float)).all()
    assert np.isfinite(model.score(frame))


@quick
def test_one_name_is_for_the_columns_without_text():
    frame = mixed()[["size", "word", "level", "count"]]
    model = VAETransformer(**QUICK, likelihood="mixture").fit(frame)
    assert model.likelihoods_ == {
        "size": "mixture",
        "word": "categorical",
        "level": "categorical",
        "count": "mixture",
    }


@quick
def test_categories_tell_a_regressor_what_numbers_do_not():
    """y is a mean of its category: R² of more than .9; without the column below 0.5."""
    rng = np.random.default_rng(0)
    word = rng.choice(["a", "b", "c", "d"], size=400)
    y = np.select([word == "a", word == "b", word == "c"], [3.0, -1.0, 5.0], 0.0)
    y += 0.1 * rng.normal(size=400)
    frame = pd.DataFrame({"noise": rng.normal(size=400), "word": word})
    settings = QUICK | {"max_iter": 60}
    model = CVAERegressor(**settings).fit(frame[:300], y[:300])
    assert model.score(frame[300:], y[300:]) > 0.9
    plain = CVAERegressor(**settings).fit(frame[["noise"]][:300], y[:300])
    assert plain.score(frame[["noise"]][300:], y[300:]) < 0.5


# -- probabilities ---------------------------------------------------------------


def dependent(n=600, seed=0):
    """Two discrete columns and a binary one that hang together."""
    rng = np.random.default_rng(seed)
    first = rng.choice(["a", "b", "c"], size=n, p=[0.5, 0.3, 0.2])
    flip = rng.random(n) < 0.2
    second = np.where(
        flip, rng.choice(["u", "v"], size=n), np.where(first == "a", "u", "v")
    )
    third = (rng.random(n) < np.where(second == "u", 0.8, 0.3)).astype(bool)
    return pd.DataFrame({"first": first, "second": second, "third": third})


@pytest.fixture(scope="module", params=["independent", "autoregressive"])
def discrete(request):
    frame = dependent()
    longer = {"max_iter": 40, "n_samples": 2048, "decoder": request.param}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = VAETransformer(**QUICK | longer).fit(frame)
    grid = itertools.product(["a", "b", "c"], ["u", "v"], [False, True])
    return model, pd.DataFrame(grid, columns=list(frame))


def test_the_masses_of_all_rows_sum_to_one(discrete):
    """Each mass is an estimate: standard errors add up to the bound."""
    model, grid = discrete
    log_prob, error = model.score_samples(grid, return_se=True)
    bound = 4 * np.sqrt(((np.exp(log_prob) * error) ** 2).sum()) + 1e-3
    assert abs(np.exp(log_prob).sum() - 1.0) < bound
    assert bound < 0.02


def test_the_masses_are_those_of_the_table(discrete):
    """Within 0.03 of the frequencies of 600 rows, whose own error is up to 0.02."""
    model, grid = discrete
    mass = np.exp(model.score_samples(grid))
    counts = dependent().value_counts().reindex(pd.MultiIndex.from_frame(grid))
    np.testing.assert_allclose(mass, counts.fillna(0) / 600, atol=0.03)


def test_imputations_are_drawn_from_the_conditional_by_enumeration(discrete):
    """p(first, third | second = v): chi-square of 4000 draws, p > 1e-4."""
    model, grid = discrete
    asked = pd.DataFrame({"first": [None], "second": ["v"], "third": [None]})
    asked = asked.astype({"first": object, "third": object})
    draws = model.impute(asked.convert_dtypes(), n_imputations=4000, random_state=0)
    rows = pd.concat(draws)
    counts = rows.astype({"third": bool}).value_counts()
    possible = grid[grid["second"] == "v"]
    mass = np.exp(model.score_samples(possible))
    found = counts.reindex(pd.MultiIndex.from_frame(possible)).fillna(0)
    assert found.sum() == 4000
    assert stats.chisquare(found, 4000 * mass / mass.sum()).pvalue > 1e-4


def test_an_expected_category_is_the_likeliest_by_enumeration(discrete):
    """Of a hole before cells that are there, and of one after them."""
    model, grid = discrete
    mass = np.exp(model.score_samples(grid))
    table = grid.assign(mass=mass)
    for hole in ("first", "third"):
        others = [c for c in grid if c != hole]
        likeliest = table.loc[table.groupby(others)["mass"].idxmax()]
        asked = likeliest[list(grid)].astype({hole: object})
        asked[hole] = None
        found = model.impute(asked.convert_dtypes())[hole]
        assert list(found) == list(likeliest[hole])


def many_categories(n=2000, n_categories=400, seed=0):
    rng = np.random.default_rng(seed)
    names = np.array([f"id{i}" for i in range(n_categories)])
    share = 1.0 / np.arange(1, n_categories + 1)
    word = names[rng.choice(n_categories, size=n, p=share / share.sum())]
    word[:n_categories] = names  # each occurs
    return pd.DataFrame({"word": word, "n": rng.normal(size=n)})


@quick
def test_rare_categories_share_a_code_and_their_masses_still_sum_to_one():
    frame = many_categories()
    with pytest.warns(UserWarning, match=r"X column 'word' has 400 categories"):
        model = VAETransformer(**QUICK).fit(frame)
    (column,) = (c for c in model.schema_.columns if c.name == "word")
    assert column.n_codes == MOST_CODES
    alone = pd.DataFrame({"word": list(column.categories), "n": np.nan})
    mass = np.exp(model.score_samples(alone))
    assert abs(mass.sum() - 1.0) < 0.02
    # within the shared code each has its share
    rare = mass[MOST_CODES - 1 :]
    np.testing.assert_allclose(rare / rare.sum(), column.pooled, rtol=1e-6)
    drawn = model.sample(4000, random_state=0)["word"]
    assert drawn.isin(column.categories[MOST_CODES:]).any()


@quick
def test_ten_thousand_categories_are_fitted_with_a_warning():
    n = 12_000
    words = [f"id{i % 10_000}" for i in range(n)]
    frame = pd.DataFrame({"word": words, "n": np.arange(n) % 7.0})
    with pytest.warns(UserWarning, match=r"'word' has 10000 categories"):
        model = VAETransformer(**QUICK | {"max_iter": 1}).fit(frame)
    assert np.isfinite(model.score_samples(frame.head(20))).all()


# -- columns that changed, and refusals ------------------------------------------


@quick
def test_a_new_category_is_missing_with_a_warning_or_without_or_an_error():
    frame = mixed()[["size", "word"]]
    new = frame.head(3).copy()
    new.loc[1, "word"] = "violet"
    gone = new.copy()
    gone.loc[1, "word"] = None
    model = VAETransformer(**QUICK).fit(frame)
    with pytest.warns(UserWarning, match=r"'word' has categories .*'violet'.*missing"):
        score = model.score_samples(new)
    np.testing.assert_array_equal(score, model.score_samples(gone))
    with pytest.warns(UserWarning, match="violet"):
        assert model.impute(new).loc[1, "word"] == "violet"
    model.set_params(handle_unknown="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.score_samples(new), score)
    model.set_params(handle_unknown="error")
    with pytest.raises(ValueError, match=r"'word' .*'violet'.*handle_unknown='warn'"):
        model.score_samples(new)


@quick
def test_numbers_where_text_was_and_text_where_numbers_were_are_refused():
    frame = mixed()[["size", "word"]]
    model = VAETransformer(**QUICK).fit(frame)
    with pytest.raises(ValueError, match=r"'word' held text in fit.*got 3\.0"):
        model.transform(frame.assign(word=3.0))
    with pytest.raises(ValueError, match=r"'size' was numeric in fit.*'large'"):
        model.transform(frame.assign(size="large"))


@quick
def test_a_column_of_text_may_be_all_missing_when_it_is_asked_about():
    frame = mixed()[["size", "word"]]
    model = VAETransformer(**QUICK).fit(frame)
    gone = frame.head(5).assign(word=np.nan)
    assert np.isfinite(model.score_samples(gone)).all()
    assert model.impute(gone)["word"].isin(["red", "green", "blue"]).all()


@quick
def test_one_category_only_has_mass_one():
    frame = mixed()[["size"]].assign(word="same")
    model = VAETransformer(**QUICK).fit(frame)
    np.testing.assert_allclose(model.score_features(frame)[:, 1], 0.0, atol=1e-12)
    assert set(model.sample(5, random_state=0)["word"]) == {"same"}


@pytest.mark.parametrize(
    ("likelihood", "column", "message"),
    [
        ("poisson", "size", r"'size' is to hold counts; .*integers >= 0"),
        ("negative_binomial", "share", r"'share' is to hold counts"),
        ("lognormal", "size", r"'size' is to be log-normal; expected positive"),
        ("gaussian", "word", r"'word' holds text or categories; expected numbers"),
        ("bernoulli", "count", r"'count' is to have a Bernoulli likelihood"),
    ],
)
def test_a_likelihood_that_a_column_cannot_have_is_refused(likelihood, column, message):
    with pytest.raises(ValueError, match=message):
        VAETransformer(**QUICK, likelihood={column: likelihood}).fit(mixed())


@quick
@pytest.mark.parametrize(
    ("likelihood", "column", "value", "message"),
    [
        ("poisson", "count", -1, r"'count' was a count in fit; .*>= 0.* got -1"),
        ("poisson", "count", 2.5, r"'count' was a count in fit; .* got 2.5"),
        ("lognormal", "share", 0.0, r"'share' was log-normal in fit; .* got 0"),
    ],
)
def test_a_value_that_a_likelihood_does_not_have_is_refused_after_fit(
    likelihood, column, value, message
):
    frame = mixed()[["size", column]]
    model = VAETransformer(**QUICK, likelihood={column: likelihood}).fit(frame)
    with pytest.raises(ValueError, match=message):
        model.score_samples(frame.assign(**{column: value}))


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        (["nowhere"], ValueError, r"categorical_features names column 'nowhere'"),
        ([7], ValueError, r"categorical_features names column 7"),
        ([True], ValueError, r"categorical_features has 1 entries .* expected 2"),
        ("size", TypeError, r"categorical_features must be 'from_dtype'.* got 'size'"),
        (3, TypeError, r"categorical_features must be 'from_dtype'.* got 3"),
    ],
)
def test_categorical_features_that_mean_nothing_are_refused(chosen, error, message):
    frame = mixed()[["size", "count"]]
    for Estimator in (VAETransformer, CVAERegressor):
        model = Estimator(**QUICK, categorical_features=chosen)
        with pytest.raises(error, match=message):
            model.fit(frame, frame["size"])


def test_columns_are_chosen_in_the_order_of_the_table():
    names = ("a", "b", "c")
    assert chosen_columns(["c", "a"], names) == ["a", "c"]
    assert chosen_columns([-1, 0], names) == ["a", "c"]
    assert chosen_columns(None, names) == chosen_columns("from_dtype", names) == []


# -- draws -----------------------------------------------------------------------


@quick
@pytest.mark.parametrize("as_array", [False, True])
def test_draws_of_a_column_whose_values_recur_are_among_its_values(as_array):
    """Mostly zeros, and a few large numbers: half of all draws would miss the zero."""
    rng = np.random.default_rng(0)
    n = 300
    gain = np.where(rng.random(n) < 0.9, 0.0, rng.choice([1500.0, 7000.0], size=n))
    frame = pd.DataFrame({"gain": gain, "size": rng.normal(size=n)})
    X = frame.to_numpy() if as_array else frame
    names = ["x0", "x1"] if as_array else ["gain", "size"]
    likelihood = dict(zip(names, ["mixture", "gaussian"], strict=True))
    model = VAETransformer(**QUICK | LONGER, likelihood=likelihood)
    rows = np.asarray(model.fit(X).sample(1000, random_state=0))
    assert set(rows[:, 0]) == {0.0, 1500.0, 7000.0}
    assert (rows[:, 0] == 0).mean() == pytest.approx(0.9, abs=0.08)
    inside = np.abs(rows[:, 1] - frame["size"].mean()) < 2.0
    assert len(set(rows[inside, 1])) == inside.sum() > 900
    holes = frame.assign(gain=np.nan).head(20)
    holes = holes.to_numpy() if as_array else holes
    drawn = np.asarray(model.impute(holes, n_imputations=1, random_state=0)[0])
    assert set(drawn[:, 0]) <= {0.0, 1500.0, 7000.0}
    mean = np.asarray(model.impute(holes))[:, 0]
    assert not set(mean) & {0.0, 1500.0, 7000.0}


@quick
@pytest.mark.parametrize("kind", [float, int])
def test_new_rows_stay_within_the_values_of_all_rows_seen(kind):
    """Of a latent drawn from N(0, I), 2000 rows of a model of 100 go beyond them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": 10.0 * rng.normal(size=100)}).round(4).astype(kind)
    model = VAETransformer(**QUICK | LONGER).fit(frame)
    low, high = frame["size"].min(), frame["size"].max()
    new = model.sample(2000, random_state=0)["size"]
    assert (new.min(), new.max(), new.dtype) == (low, high, frame["size"].dtype)
    assert ((new == low) | (new == high)).mean() < 0.1
    # draws of missing cells are those of the model
    hole = pd.DataFrame({"size": [np.nan]})
    drawn = np.array([d["size"][0] for d in model.impute(hole, 2000, random_state=0)])
    assert drawn.min() < low
    assert drawn.max() > high
    wider = pd.DataFrame({"size": [2 * low, 2 * high]})
    model.partial_fit(wider)
    new = model.sample(2000, random_state=0)["size"]
    assert 2 * low <= new.min() < low
    assert high < new.max() <= 2 * high


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.tile([3.0, 1.0, 2.0], 3), (1.0, 2.0, 3.0)),
        (np.arange(9.0), ()),
        (np.repeat(np.arange(1001.0), 3), ()),
    ],
)
def test_values_recur_where_there_are_few_and_often(values, expected):
    assert recurring(values) == expected


@quick
def test_a_row_without_any_cell_is_no_hindrance():
    """Its likelihood is that of nothing, 1, within the Monte Carlo error."""
    frame = mixed()[["size", "word", "flag"]]
    empty = frame.head(5).mask(np.ones((5, 3), dtype=bool))
    rows = pd.concat([frame, empty.astype(object)], ignore_index=True).convert_dtypes()
    model = VAETransformer(**QUICK).fit(rows)
    log_prob, error = model.score_samples(rows, return_se=True)
    assert (np.abs(log_prob[-5:]) < 4 * error[-5:] + 1e-6).all()
    assert (error[-5:] < 0.02).all()
    filled = model.impute(rows)[-5:]
    assert not filled.isna().any(axis=None)


# -- rows that come alone, and columns without names ------------------------------


@quick
@pytest.mark.parametrize("rows", [[[1.0, None]], np.array([[1.0, np.nan]])])
@pytest.mark.parametrize("Estimator", [VAETransformer, VAEImputer])
def test_a_row_whose_text_is_missing_is_completed_alone(Estimator, rows):
    cells = mixed()[["size", "word"]].to_numpy(dtype=object)
    cells[::9, 1] = None
    model = Estimator(**QUICK).fit(cells)
    many = model.impute(np.array([[1.0, None], *cells[:5]], dtype=object))
    alone = model.impute(rows)
    assert alone[0, 0] == 1.0
    assert alone[0, 1] == many[0, 1]
    drawn = model.impute(rows, 3, random_state=0)
    assert {draw[0, 1] for draw in drawn} <= {"red", "green", "blue"}
    if Estimator is VAEImputer:
        assert model.transform(rows).tolist() == alone.tolist()


@quick
@pytest.mark.parametrize(
    "names", [[0, 1], [("a", 1), ("a", np.nan)], [0, np.nan], ["x", 1]]
)
@pytest.mark.parametrize(
    "Estimator", [VAETransformer, VAEImputer, VAEOutlierDetector, CVAERegressor]
)
def test_columns_in_another_order_are_refused_whatever_they_are_called(
    Estimator, names
):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal([0.0, 9.0], size=(60, 2)))
    frame.columns = pd.Index(names, tupleize_cols=False)
    y = () if Estimator is not CVAERegressor else (frame.iloc[:, 0].to_numpy(),)
    settings = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}
    model = Estimator(2, **settings)
    if names == ["x", 1]:  # scikit-learn wants all text or none
        with pytest.raises(TypeError, match="Feature names are only supported if"):
            model.fit(frame, *y)
        return
    model.fit(frame, *y)
    ask = model.transform if Estimator is not VAEOutlierDetector else model.predict
    ask(frame)
    told = rf"other columns than in fit: the one at 0 is {re.escape(repr(names[1]))}"
    with pytest.raises(ValueError, match=told):
        ask(frame.iloc[:, ::-1])
    with pytest.raises(ValueError, match=told):
        model.partial_fit(frame.iloc[:, ::-1], *y)


@quick
def test_integers_that_floats_do_not_tell_apart_are_no_categories():
    frame = mixed()[["size"]].assign(key=2**53 + np.arange(len(mixed())) % 3)
    model = VAETransformer(**QUICK, categorical_features=["key"])
    told = r"column 'key' is to be categorical .* 2\*\*53 .* astype\(str\)"
    with pytest.raises(ValueError, match=told):
        model.fit(frame)
    assert len(model.fit(frame.astype({"key": str})).schema_.columns[1].categories) == 3


@quick
def test_one_likelihood_for_all_leaves_categorical_features_alone():
    frame = mixed()[["size", "single"]].assign(code=np.arange(120) % 3)
    settings = QUICK | {"categorical_features": ["code"]}
    model = VAETransformer(**settings, likelihood="gaussian").fit(frame)
    expected = {"size": "gaussian", "single": "gaussian", "code": "categorical"}
    assert model.likelihoods_ == expected
    same = settings | {"likelihood": {"code": "categorical"}}
    assert VAETransformer(**same).fit(frame).likelihoods_["code"] == "categorical"
    other = settings | {"likelihood": {"code": "poisson"}}
    told = r"likelihood\['code'\]='poisson' .* categorical_features has the column, too"
    with pytest.raises(ValueError, match=told):
        VAETransformer(**other).fit(frame)


@quick
def test_a_cell_whose_square_overflows_is_only_very_odd():
    rows = np.random.default_rng(0).normal(size=(80, 2))
    model = VAETransformer(**QUICK).fit(rows)
    far = np.array([[1e300, np.nan], [-1e300, 1.0]])
    assert (model.score_samples(far) < -1e100).all()
    whole = model.impute(far)
    np.testing.assert_array_equal(whole[~np.isnan(far)], far[~np.isnan(far)])
    drawn = model.impute(far, 5, random_state=0)
    assert np.isfinite([whole, *drawn]).all()
    assert model.score_features(far)[1].argmin() == 0


@quick
@pytest.mark.parametrize("dtype", ["string", "object", "category"])
def test_a_number_may_be_missing_in_a_column_of_any_dtype(dtype):
    frame = mixed()[["size", "word"]]
    model = VAETransformer(**QUICK).fit(frame)
    gone = frame.head(3).assign(size=pd.Series([None] * 3, dtype=dtype))
    plain = frame.head(3).assign(size=np.nan)
    np.testing.assert_array_equal(model.score_samples(gone), model.score_samples(plain))
    given = frame.head(3).assign(size=pd.Series(["a", None, None], dtype=dtype))
    with pytest.raises(ValueError, match=r"'size' was numeric in fit; .* such as 'a'"):
        model.score_samples(given)


def test_nested_columns_of_polars_are_refused_by_name():
    polars = pytest.importorskip("polars")
    for cells, dtype in (
        ([{"a": 1}] * 30, None),
        ([[1, 2]] * 30, polars.Array(int, 2)),
    ):
        frame = polars.DataFrame(
            {"a": np.arange(30.0), "nested": polars.Series(cells, dtype=dtype)}
        )
        with pytest.raises(ValueError, match=r"column 'nested' holds .*nested objects"):
            VAETransformer(**QUICK).fit(frame)


@quick
def test_codes_that_fit_has_not_seen_are_shown_in_full():
    frame = mixed()[["size"]].assign(code=1234500 + np.arange(120) % 3)
    settings = QUICK | {"categorical_features": ["code"], "handle_unknown": "error"}
    model = VAETransformer(**settings).fit(frame)
    with pytest.raises(ValueError, match=r"fit has not seen: 2\.5, 1234567\."):
        model.transform(frame.head(2).assign(code=[1234567.0, 2.5]))
