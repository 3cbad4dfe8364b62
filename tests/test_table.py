"""Tables to encoded arrays and back: what is learned, what is kept bit for bit."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from skvae import CVAERegressor, VAETransformer
from skvae._table import codec, reading
from skvae._table.distinct import distinct_values
from skvae._table.schema import (
    BINARY,
    CONTINUOUS,
    SMALLEST_SCALE,
    learn_schema,
    rounding_error,
)
from skvae._table.scores import learn_knots, normal_scores

DTYPES = {
    "float64": "float64",
    "float32": "float32",
    "int64": "int64",
    "uint8": "uint8",
    "bool": "bool",
    "Int64": "Int64",
    "Float64": "Float64",
    "boolean": "boolean",
}


def mixed_frame(n=40, missing=True):
    """One column of every dtype; those that can miss values do."""
    rng = np.random.default_rng(0)
    columns = {}
    for i, dtype in enumerate(DTYPES):
        if dtype in ("bool", "boolean"):
            cells = pd.Series(rng.random(n) < 0.4)
        elif "int" in dtype.lower():
            cells = pd.Series(rng.integers(0, 200, n))
        else:
            cells = pd.Series(rng.normal(10.0 * i, 3.0, n))
        columns[dtype] = cells.astype(dtype)
    frame = pd.DataFrame(columns)
    if missing:
        for i, dtype in enumerate(
            ["float64", "float32", "Int64", "Float64", "boolean"]
        ):
            frame.loc[i::7, dtype] = np.nan if dtype.startswith("f") else pd.NA
    return frame


def learn(X, weight=None, density=True, **kwargs):
    """Schema of a frame or array, and the table that it came from."""
    table = read(X)
    weight = np.ones(len(table.values)) if weight is None else weight
    return learn_schema(table, weight, density=density, **kwargs), table


def read(X):
    if isinstance(X, np.ndarray):
        return reading.read_array(X, str(X.dtype))
    return reading.read_frame(X)


def column(values, **kwargs):
    """What is learned about a single column."""
    schema, _ = learn(pd.DataFrame({"a": values}), **kwargs)
    return schema.columns[0]


# -- rounding --------------------------------------------------------------------


@pytest.mark.parametrize("step", [1.0, 0.1, 5.0, 1e-6])
def test_the_rounding_error_of_a_lattice_is_its_step_over_root_twelve(step):
    values = step * np.random.default_rng(0).integers(-10, 10, size=300)
    assert len(np.unique(values)) == 20
    assert rounding_error(values) == pytest.approx(step / np.sqrt(12), rel=1e-9)


def test_the_rounding_error_is_the_standard_deviation_of_what_rounding_took_away():
    exact = np.random.default_rng(0).normal(size=3000)
    rounded = exact.round(1)
    lost = (exact - rounded).std()
    # the standard error of a standard deviation of 3000 uniforms is 0.8 %
    assert rounding_error(rounded) == pytest.approx(lost, rel=0.03)


def test_the_rounding_error_of_exact_values_vanishes_with_their_number():
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=100), rng.normal(size=10_000)
    assert len(np.unique(many)) == 10_000
    # gaps of n points of density f are about 1 / (n f): a hundredth as large
    assert rounding_error(many) < 0.03 * rounding_error(few) < 0.03 * 0.01


def test_the_rounding_error_moves_with_the_units_and_not_with_the_origin():
    values = np.random.default_rng(0).integers(0, 9, size=100) / 4
    assert rounding_error(1000 * values) == pytest.approx(1000 * rounding_error(values))
    assert rounding_error(values + 32) == rounding_error(values)
    assert rounding_error(values[::-1]) == rounding_error(values)
    assert rounding_error(values[:1]) == 0.0


def test_the_resolution_is_the_rounding_error_in_standard_deviations():
    values = np.random.default_rng(0).normal(50.0, 10.0, size=300).round()
    learned, exact = column(values), column(values + np.linspace(0, 1e-4, 300))
    assert learned.resolution == pytest.approx(rounding_error(values) / values.std())
    assert learned.resolution == pytest.approx(1 / np.sqrt(12) / 10.0, rel=0.1)
    assert exact.resolution == SMALLEST_SCALE  # finer than float32 can tell
    assert column(1e6 * values).resolution == pytest.approx(learned.resolution)


def test_what_floats_leave_of_a_sum_is_no_resolution():
    """y = (b + k / 10) - b for b of one decimal: k / 10, but for the last bits."""
    rng = np.random.default_rng(0)
    k, b = rng.integers(1, 5, 300), rng.uniform(0, 3, 300).round(1)
    clean = (k / 10).round(1)
    dusty = (b + k / 10).round(1) - b
    assert len(np.unique(dusty)) > 4
    assert np.abs(dusty - clean).max() < 1e-15
    assert rounding_error(dusty) == pytest.approx(rounding_error(clean), rel=1e-9)
    assert column(dusty).resolution == pytest.approx(column(clean).resolution, rel=1e-9)
    np.testing.assert_allclose(column(dusty).lattice, [0.1, 0.2, 0.3, 0.4], rtol=1e-12)
    assert len(learn_knots(dusty, np.ones(300))) == 4
    # most rows alike, and a value far away, do not blur the rest
    steady = np.r_[np.zeros(200), dusty, 1e12]
    assert len(distinct_values(steady)[0]) == 6


TENTHS = np.arange(100) / 10  # of a second
DIFFERENT = {
    "of many sizes": np.random.default_rng(0).lognormal(sigma=4.0, size=2000),
    "small probabilities": 10.0 ** -np.random.default_rng(0).uniform(0, 30, 1000),
    "microseconds since 1970": 1.7e9 + np.arange(1000) / 1e6,
    "sessions, years apart": np.r_[1.4e9 + TENTHS, 1.55e9 + TENTHS, 1.7e9 + TENTHS],
    "0 and large integers": np.r_[np.zeros(500), 1e9 + np.arange(500.0)],
    "runs of keys": (np.arange(0, 1e10, 2e8)[:, None] + np.arange(20.0)).ravel(),
    "beyond squares": np.array([-1e308, 0.0, 1.0, 1e308]),
}


@pytest.mark.parametrize("values", DIFFERENT.values(), ids=DIFFERENT)
def test_values_that_differ_are_kept_as_they_are(values):
    distinct, place = distinct_values(values)
    np.testing.assert_array_equal(distinct, np.unique(values))
    np.testing.assert_array_equal(distinct[place], values)


def test_the_most_frequent_of_alike_values_stands_for_them():
    values = np.array([0.1 + 0.2, 0.3, 0.3, 1.0, 2.0, 0.3])
    distinct, place = distinct_values(values)
    assert distinct.tolist() == [0.3, 1.0, 2.0]
    assert place.tolist() == [0, 0, 0, 1, 2, 0]


def test_the_floor_never_exceeds_the_spread_of_the_column():
    """One value in a hundred is another: the step is ten standard deviations."""
    values = np.r_[np.zeros(99), 5.0]
    assert rounding_error(values) > 2 * values.std()
    assert column(values).resolution <= 1.0


# -- kinds and scales ------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False, True], BINARY),
        (pd.array([True, None, False], dtype="boolean"), BINARY),
        ([0, 1, 1], BINARY),
        ([0.0, np.nan, 1.0], BINARY),
        (pd.array([0, None, 1], dtype="Int64"), BINARY),
        ([1, 1, 1], BINARY),
        ([0, 2, 2], CONTINUOUS),
        ([0.0, 0.5, 1.0], CONTINUOUS),
        ([-1, 1, 1], CONTINUOUS),
    ],
)
def test_booleans_and_zeros_with_ones_are_binary(values, kind):
    assert column(values).kind == kind


def test_only_booleans_are_binary_among_conditions():
    """A condition has no likelihood: 0/1 numbers are standardised like others."""
    assert column([0, 1, 1], density=False).kind == CONTINUOUS
    assert column([True, False, True], density=False).kind == BINARY


def test_the_kind_can_be_asked_for():
    assert column([0, 1, 1], kinds={"a": CONTINUOUS}).kind == CONTINUOUS
    assert column([0.0, 1.0, 0.0], kinds={"a": BINARY}).kind == BINARY
    with pytest.raises(ValueError, match=r"'a'.*Bernoulli.*0, 1 or NaN, got 0\.5"):
        column([0.0, 0.5, 1.0], kinds={"a": BINARY})


def test_integer_weights_give_the_scales_of_repeated_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)) * [1.0, 100.0, 1e-3]
    X[rng.random(X.shape) < 0.2] = np.nan
    weight = rng.integers(1, 5, size=50)
    weighted, _ = learn(X, weight.astype(float))
    repeated, _ = learn(np.repeat(X, weight, axis=0))
    plain, _ = learn(X)
    np.testing.assert_allclose(weighted.shift, repeated.shift, rtol=1e-12)
    np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=1e-12)
    assert (np.abs(weighted.scale / plain.scale - 1.0) > 1e-3).all()


@pytest.mark.parametrize("unit", [1e-150, 1e-6, 1e6, 1e150])
def test_scales_move_with_the_units_and_nothing_else_does(unit):
    X = np.random.default_rng(0).normal(3.0, 2.0, size=(50, 2))
    here, there = learn(X)[0], learn(unit * X)[0]
    np.testing.assert_allclose(there.shift, unit * here.shift, rtol=1e-12)
    np.testing.assert_allclose(there.scale, unit * here.scale, rtol=1e-12)
    for one, other in zip(here.columns, there.columns, strict=True):
        assert other.resolution == pytest.approx(one.resolution, rel=1e-9)


# -- there and back --------------------------------------------------------------


def test_encoded_columns_have_mean_zero_and_standard_deviation_one():
    frame = mixed_frame()
    schema, table = learn(frame)
    encoded = codec.encode(schema, table)
    numeric = list(schema.of_kind(CONTINUOUS))
    assert len(numeric) == len(frame.columns) - 2
    np.testing.assert_allclose(np.nanmean(encoded[:, numeric], axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.nanstd(encoded[:, numeric], axis=0), 1.0)
    assert set(np.unique(encoded[:, list(schema.of_kind(BINARY))])[:2]) == {0.0, 1.0}
    np.testing.assert_array_equal(np.isnan(encoded), frame.isna())
    assert frame.isna().to_numpy().any()


def test_decoding_returns_the_frame_that_was_encoded():
    frame = mixed_frame(missing=False)
    frame.index = pd.Index([f"row {i}" for i in range(len(frame))])
    schema, table = learn(frame)
    back = codec.decode(schema, codec.encode(schema, table), frame.index)
    # shift and scale cost a rounding each
    pd.testing.assert_frame_equal(back, frame, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decoding_returns_the_array_that_was_encoded(dtype):
    X = np.random.default_rng(0).normal(100.0, 7.0, size=(30, 4)).astype(dtype)
    schema, table = learn(X)
    back = codec.decode(schema, codec.encode(schema, table))
    assert back.dtype == dtype
    np.testing.assert_allclose(back, X, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "UInt16", "Int64"])
def test_what_an_integer_column_cannot_hold_becomes_what_it_can(dtype):
    """A decoder's mean knows no bounds; a cast that wraps around would be nonsense."""
    frame = pd.DataFrame({"a": pd.Series([1, 2, 4]).astype(dtype)})
    schema, _ = learn(frame)
    cells = codec.decode(schema, np.array([[-1e30], [0.0], [1e30]]))["a"]
    limits = np.iinfo(dtype.lower())
    assert cells.dtype == dtype
    assert list(cells) == [limits.min, 2, pytest.approx(limits.max, rel=1e-15)]


@pytest.mark.parametrize("dtype", ["bool", "boolean"])
def test_a_boolean_becomes_its_likelier_value_whatever_its_likelihood(dtype):
    frame = pd.DataFrame({"a": pd.Series([True, False, True, False]).astype(dtype)})
    for kind in (BINARY, CONTINUOUS):
        schema, table = learn(frame, kinds={"a": kind})
        encoded = codec.encode(schema, table)
        # between the two values, nearer to each in turn
        pale = 0.6 * encoded + 0.4 * (encoded.max() + encoded.min() - encoded)
        decoded = codec.decode(schema, pale)
        pd.testing.assert_frame_equal(decoded, frame)


def test_the_log_jacobian_is_the_derivative_of_the_encoding():
    frame = mixed_frame(missing=False)[["float64", "Float64", "bool"]]
    schema, table = learn(frame)
    step = 1e-3
    moved = frame.copy()
    moved[["float64", "Float64"]] += step
    change = codec.encode(schema, read(moved)) - codec.encode(schema, table)
    slope = change[:, :2] / step
    log_scale = codec.log_scale(schema, table)
    np.testing.assert_allclose(-np.log(slope), log_scale[:, :2], rtol=1e-8)
    assert np.abs(log_scale[:, :2]).min() > 0.5
    assert (log_scale[:, 2] == 0.0).all()  # a mass has no units


def test_a_missing_cell_has_no_jacobian():
    X = np.array([[1.0, 10.0], [np.nan, 30.0], [5.0, np.nan]])
    schema, table = learn(X)
    expected = np.where(np.isnan(X), 0.0, np.log([2.0, 10.0]))
    np.testing.assert_allclose(codec.log_scale(schema, table), expected)


# -- normal scores ---------------------------------------------------------------


def test_rows_of_next_to_no_weight_have_finite_scores():
    values, weight = np.arange(6.0), np.array([1e-300, 1.0, 1.0, 1.0, 1e-300, 1e-300])
    scores = normal_scores(learn_knots(values, weight), values)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) >= 0).all()
    np.testing.assert_allclose(scores[2], 0.0, atol=1e-12)


def test_normal_scores_are_normal_quantiles_of_ranks():
    """Many distinct values: knots at even scores follow the exact map.

    Both maps rise and agree at the knots, so they differ by less than the gap of two.
    """
    values = np.random.default_rng(0).lognormal(size=4000)
    knots = learn_knots(values, np.ones(4000))
    assert len(knots) == 133
    rank = (stats.rankdata(values) - 0.5) / 4000
    exact = stats.norm.ppf(rank)
    gap = np.ptp(exact) / 132
    assert gap < 0.06
    np.testing.assert_allclose(normal_scores(knots, values), exact, rtol=0, atol=gap)


def test_tied_values_share_their_middle_rank():
    knots = learn_knots(np.array([5.0, 1.0, 1.0, 2.0]), np.ones(4))
    expected = stats.norm.ppf([0.25, 0.625, 0.875])
    np.testing.assert_allclose(normal_scores(knots, np.array([1.0, 2, 5])), expected)
    # between two values a line, beyond the last the last, a hole stays a hole
    cells = np.array([1.5, -9.0, 99.0, np.nan])
    between = expected[:2].mean()
    expected = [between, expected[0], expected[2], np.nan]
    np.testing.assert_allclose(normal_scores(knots, cells), expected)


def test_a_row_of_weight_two_has_the_rank_of_two_rows():
    values, weight = np.arange(50.0) ** 2, np.arange(1, 51) % 3 + 1
    repeated = np.repeat(values, weight)
    weighted = learn_knots(values, weight.astype(float))
    assert weighted == learn_knots(repeated, np.ones(len(repeated)))


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 1.0, 1.0]])
def test_one_or_two_values_have_no_scores(values):
    """They would say nothing that the standardised value does not."""
    assert learn_knots(np.array(values), np.ones(len(values))) == ()


def test_scores_are_appended_to_the_encoded_columns():
    X = np.column_stack([np.arange(5.0), [0, 1, 0, 1, 1], [7.0, np.nan, 8, 9, 9]])
    schema, table = learn(X, density=False, scored=True)
    encoded = codec.encode(schema, table)
    assert (schema.width, schema.scored) == (5, (0, 2))
    plain, _ = learn(X, density=False)
    assert plain.width == 3
    np.testing.assert_array_equal(encoded[:, :3], codec.encode(plain, table))
    ranks = [0.1, 0.3, 0.5, 0.7, 0.9]
    np.testing.assert_allclose(encoded[:, 3], stats.norm.ppf(ranks))
    assert np.isnan(encoded[1, 4])
    # monotone maps of a column change only its standardised values
    X[:, 0] = np.exp(X[:, 0])
    moved, table = learn(X, density=False, scored=True)
    np.testing.assert_allclose(codec.encode(moved, table)[:, 3:], encoded[:, 3:])


def test_columns_are_distinct_unless_their_values_recur_three_times():
    """Scores follow their columns; booleans and categories are not numbers."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "unlike": rng.normal(size=30),
            "often": np.tile(np.arange(10.0), 3),
            "twice": np.tile(np.arange(15.0), 2),
            "flag": np.tile([True, False], 15),
            "text": np.tile(["a", "b"], 15),
        }
    )
    schema, _ = learn(X, density=False, scored=True)
    assert schema.scored == (0, 1, 2)
    assert schema.distinct == (True, False, True, False, False, True, False, True)
    assert len(schema.distinct) == schema.width


# -- filling ---------------------------------------------------------------------

# values that do not survive a trip through shift and scale, or through float32
AWKWARD = [0.1 + 0.2, -0.0, 5e-324, 1.0 + 2.0**-52, 1e300, 1.0 / 3.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fitted", [np.float32, np.float64])
def test_filling_an_array_keeps_observed_cells_bit_for_bit(dtype, fitted):
    cells = np.clip(AWKWARD, None, 0.5 * np.finfo(dtype).max)
    X = cells.astype(dtype)[:, None].repeat(3, axis=1)
    X[1::2, 1] = np.nan
    X[::2, 2] = np.nan
    schema, _ = learn(np.random.default_rng(0).normal(size=(9, 3)).astype(fitted))
    table = read(X)
    filled = codec.fill(table, codec.decode(schema, np.full(X.shape, 0.5)))
    observed = ~np.isnan(X)
    assert filled.dtype == dtype
    assert not np.isnan(filled).any()
    assert filled[observed].tobytes() == X[observed].tobytes()
    assert 0 < observed.sum() < X.size


def test_filling_a_frame_keeps_observed_cells_dtypes_labels_and_index():
    frame = mixed_frame()
    frame.index = pd.Index(np.arange(len(frame)) // 2, name="patient")  # not unique
    schema, table = learn(frame)
    before = frame.copy()
    zeros = np.zeros((len(frame), len(frame.columns)))
    filled = codec.fill(table, codec.decode(schema, zeros, frame.index))
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_index_equal(filled.index, frame.index)
    assert (filled.dtypes == frame.dtypes).all()
    assert not filled.isna().any(axis=None)
    for name in frame:
        observed = frame[name].notna().to_numpy()
        assert filled[name][observed].equals(frame[name][observed])
    means = schema.shift[list(frame.columns).index("float32")]
    np.testing.assert_array_equal(
        filled["float32"][frame["float32"].isna()], np.float32(means)
    )


def test_large_integers_are_not_sent_through_floats():
    ids = 2**53 + 1 + 10**13 * np.arange(6)
    frame = pd.DataFrame({"id": pd.array(ids, dtype="Int64"), "x": np.arange(6.0)})
    assert int(float(frame["id"][0])) != frame["id"][0]
    frame.loc[2, "id"], frame.loc[0, "x"] = pd.NA, np.nan
    schema, table = learn(frame)
    filled = codec.fill(table, codec.decode(schema, np.zeros((6, 2))))
    observed = frame["id"].notna()
    assert (filled["id"][observed] == ids[observed]).all()


# -- other frames ----------------------------------------------------------------


def test_columns_are_known_by_their_labels_also_when_these_are_numbers():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 2)), columns=[7, 3])
    schema, table = learn(frame)
    decoded = codec.decode(schema, codec.encode(schema, table))
    pd.testing.assert_frame_equal(decoded, frame)


@pytest.fixture
def polars():
    return pytest.importorskip("polars")


def test_a_polars_frame_is_read_by_name(polars):
    frame = polars.DataFrame(
        {
            "height": [1.5, None, 2.5, 4.0],
            "alive": [True, None, False, True],
            "count": [3, 4, None, 9],
        }
    )
    assert reading.is_frame(frame)
    schema, table = learn(frame)
    assert schema.names == ("height", "alive", "count")
    assert [column.kind for column in schema.columns] == [
        CONTINUOUS,
        BINARY,
        CONTINUOUS,
    ]
    expected = [[1.5, 1, 3], [np.nan, np.nan, 4], [2.5, 0, np.nan], [4, 1, 9]]
    np.testing.assert_array_equal(table.values, expected)
    # integers with holes are integers, as pandas has them
    assert table.dtypes == ("float64", "boolean", "Int64")


def test_an_enum_of_polars_is_ordinal(polars):
    sizes = polars.Enum(["small", "medium", "large"])
    column = polars.Series(["large", None, "small", "medium"], dtype=sizes)
    schema, table = learn(polars.DataFrame({"size": column}))
    assert schema.columns[0].kind == "ordinal"
    assert schema.columns[0].categories == ("small", "medium", "large")
    np.testing.assert_array_equal(table.values[:, 0], [2, np.nan, 0, 1])


def test_text_in_a_polars_frame_is_read_as_labels(polars):
    frame = polars.DataFrame({"height": [1.5, 2.5, 3.0], "name": ["b", None, "a"]})
    table = reading.read_frame(frame)
    assert table.labels[1] == ("b", "a")
    np.testing.assert_array_equal(table.values[:, 1], [0.0, np.nan, 1.0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_take_polars_frames(polars):
    rng = np.random.default_rng(0)
    X = polars.DataFrame(rng.normal(size=(60, 3)), schema=["a", "b", "c"])
    X = X.with_columns(late=polars.col("a") > 0)
    settings = {
        "n_components": 2,
        "hidden_layer_sizes": (16,),
        "n_estimators": 1,
        "n_samples": 16,
        "max_iter": 3,
        "random_state": 0,
    }
    vae = VAETransformer(**settings).set_output(transform="polars").fit(X)
    assert list(vae.feature_names_in_) == X.columns
    assert vae.likelihoods_["late"] == "bernoulli"
    Z = vae.transform(X)
    assert isinstance(Z, polars.DataFrame)
    assert Z.columns == ["vaetransformer0", "vaetransformer1"]
    with pytest.raises(ValueError, match="same order"):
        vae.transform(X.select(["b", "a", "c", "late"]))
    as_pandas = pd.DataFrame(X.to_dict(as_series=False))
    same = VAETransformer(**settings).fit(as_pandas)
    np.testing.assert_array_equal(vae.score_samples(X), same.score_samples(as_pandas))

    y = X["a"].to_numpy()
    model = CVAERegressor(**settings).fit(X, y)
    assert list(model.feature_names_in_) == X.columns
    np.testing.assert_array_equal(model.predict(X), model.predict(as_pandas))


@pytest.mark.parametrize("kind", [bool, np.bool_])
def test_booleans_with_holes_are_binary_as_objects(kind):
    cells = [kind(1), None, kind(0), kind(1)]
    schema, table = learn(pd.DataFrame({"a": pd.Series(cells, dtype=object)}))
    assert schema.columns[0].kind == BINARY
    assert table.dtypes == ("bool",)
    np.testing.assert_array_equal(table.values[:, 0], [1, np.nan, 0, 1])
    as_array = np.array([cells, [1.0, 2.0, 3.0, 4.0]], dtype=object).T
    assert not reading.holds_text(as_array)


def test_categories_that_are_numbers_are_no_text():
    y = pd.Series([0.5, 1.0, 2.0]).astype("category")
    reading.refuse_text(y, "y")
    with pytest.raises(ValueError, match="column 'y' holds text such as 'a'"):
        reading.refuse_text(pd.Series(["a", "b"]).astype("category"), "y")
