"""Refusals name the column or parameter, what was expected and what came.

Also what a fit may say about itself, what it may cost to import, and what it may touch.
"""

import copy
import datetime
import os
import random
import re
import subprocess
import sys
import warnings
from inspect import signature
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skvae import (
    CVAERegressor,
    VAEClassifier,
    VAEImputer,
    VAEOutlierDetector,
    VAETransformer,
)
from skvae._estimator import _still_rising

ESTIMATORS = [VAETransformer, CVAERegressor]
ALL = [*ESTIMATORS, VAEClassifier]
SMALL = {
    "batch_size": 32,
    "n_components": 2,
    "hidden_layer_sizes": (32,),
    "n_estimators": 1,
    "n_samples": 16,
    "max_iter": 3,
    "device": "cpu",
    "random_state": 0,
}
# three epochs end before anything has settled; the warnings have tests of their own
quick = pytest.mark.filterwarnings(
    "ignore:Training stopped:sklearn.exceptions.ConvergenceWarning",
    "ignore:All 2 latent:sklearn.exceptions.ConvergenceWarning",
)
either = pytest.mark.parametrize("Estimator", ESTIMATORS)
each = pytest.mark.parametrize("Estimator", ALL)


def says(*words):
    """Match a message that has every one of ``words``, in any order."""
    return "(?s)" + "".join(rf"(?=.*(?<!\w){re.escape(w)}(?!\w))" for w in words)


def table(n=60):
    """Three correlated columns and a target."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3)) @ [[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]
    return X, X[:, 0] - X[:, 2] + 0.1 * rng.normal(size=n)


def frame(n=60):
    X, y = table(n)
    return pd.DataFrame(X, columns=["height", "width", "depth"]), y


def fit(Estimator, X, y=None, settings=None, **kwargs):
    model = Estimator(**(SMALL | (settings or {})))
    if Estimator not in (CVAERegressor, VAEClassifier):
        return model.fit(X, **kwargs)
    return model.fit(X, targets_of(Estimator, X) if y is None else y, **kwargs)


def targets_of(Estimator, X):
    y = table(X.shape[0])[1]
    return y > 0 if Estimator is VAEClassifier else y


def ask(model, X):
    """Put the first question that comes to mind to a fitted model."""
    return getattr(model, "predict", model.transform)(X)


# -- parameters ------------------------------------------------------------------

# name: values of the wrong type, values out of range, words of what is expected
NUMBERS = {
    "n_components": (["2", 2.0, None], [-1, -3], ["integer"]),
    "n_mixtures": (["2", 2.0, None], [0, -3], ["integer"]),
    "n_estimators": (["2", 2.0, None, True], [0, -1], ["integer"]),
    "n_draws": ([2.5, None], [0, -1], ["integer"]),
    "max_iter": (["9", 9.0, None], [0, -1], ["integer"]),
    "max_steps": (["9", 9.0, None], [0, -1], ["integer"]),
    "n_iter_no_change": (["9", 9.5, None], [0, -1], ["integer"]),
    "n_samples": (["9", 9.5, None], [0, -1], ["integer"]),
    "batch_size": ([2.5, None], [0, -8], ["integer"]),
    "dropout": ([None], [-0.1, 1.0, np.nan], ["number"]),
    "masking": (["0.1", None], [-0.1, 1.1, np.nan], ["number"]),
    "trimming": (["0.1", None], [-0.1, 0.6, np.nan], ["number"]),
    "classification_weight": (["1", None], [-1.0, np.inf, np.nan], ["number"]),
    "beta": (["1", None], [-1.0, np.inf, np.nan], ["number"]),
    "kl_warmup": ([None], [-0.1, 1.1, np.nan], ["number"]),
    "free_bits": (["1", None], [-0.1, np.inf], ["number"]),
    "learning_rate_init": (["1", None], [0.0, -1e-3, np.nan], ["number"]),
    "alpha": (["1", None], [-1e-3, np.inf], ["number"]),
    "tol": (["1", None], [-1e-3, np.nan], ["number"]),
    "validation_fraction": (["1", None], [0.0, 1.0, -0.1, np.nan], ["number"]),
    "min_scale": ([None, (0.1,)], [0.0, -1.0, np.nan], ["number"]),
}
# name: values that are not among the choices, the choices
CHOICES = {
    "activation": (["swish", None, 3], ["silu", "relu", "tanh", "gelu", "identity"]),
    "numeric_embedding": (["fourier", 3], ["None", "periodic"]),
    "objective": (["vae", None], ["elbo", "iwae"]),
    "kl_schedule": (["sigmoid", None], ["linear", "cyclical", "constant"]),
    "batch_size": (["all"], ["auto"]),
    "min_scale": (["tiny"], ["auto"]),
    "likelihood": (["normal", 3, None], ["auto", "gaussian", "mixture", "bernoulli"]),
    "handle_unknown": (["missing", None], ["warn", "ignore", "error"]),
    "prior": (["gaussian", None], ["normal"]),
    "posterior": (["normal", None], ["gaussian", "flow"]),
    "latent": (["codes", None], ["gaussian", "hierarchical", "vq"]),
    "decoder": (["masked", None], ["independent", "autoregressive"]),
    "residuals": (["tied", None], ["independent", "correlated"]),
}
FLAGS = {name: ["yes", None, 2] for name in ("early_stopping", "warm_start")}
ELSEWHERE = {
    "hidden_layer_sizes",
    "device",
    "random_state",
    "verbose",
    "categorical_features",
}


def of(Estimator, cases):
    """Cases of the parameters that an estimator has."""
    return [case for case in cases if case[0] in signature(Estimator).parameters]


def every(cases):
    """Cases of all estimators, each preceded by its estimator."""
    cases = list(cases)
    return [(E, *case) for E in ALL for case in of(E, cases)]


@each
def test_every_parameter_is_among_the_cases(Estimator):
    covered = NUMBERS.keys() | CHOICES.keys() | FLAGS.keys() | ELSEWHERE
    assert set(signature(Estimator).parameters) <= covered


@pytest.mark.parametrize(
    ("Estimator", "name", "value", "expected"),
    every(
        (name, value, expected)
        for name, (strange, _, expected) in NUMBERS.items()
        for value in strange
    ),
)
def test_a_number_of_another_type_is_refused(Estimator, name, value, expected):
    with pytest.raises(TypeError, match=says(name, *expected, type(value).__name__)):
        fit(Estimator, table()[0], settings={name: value})


@pytest.mark.parametrize(
    ("Estimator", "name", "value", "expected"),
    every(
        (name, value, expected)
        for name, (_, outside, expected) in NUMBERS.items()
        for value in outside
    ),
)
def test_a_number_out_of_range_is_refused(Estimator, name, value, expected):
    match = says(name, *expected) + rf".*got {re.escape(repr(value))}"
    with pytest.raises(ValueError, match=match):
        fit(Estimator, table()[0], settings={name: value})


@pytest.mark.parametrize(
    ("Estimator", "name", "value", "choices"),
    every(
        (name, value, choices)
        for name, (strange, choices) in CHOICES.items()
        for value in strange
    ),
)
def test_a_value_that_is_no_choice_is_refused(Estimator, name, value, choices):
    match = says(name, *choices) + rf".*got {re.escape(repr(value))}"
    with pytest.raises((ValueError, TypeError), match=match):
        fit(Estimator, table()[0], settings={name: value})


@pytest.mark.parametrize(
    ("Estimator", "name", "value"),
    every((name, value) for name, values in FLAGS.items() for value in values),
)
def test_a_flag_is_true_or_false(Estimator, name, value):
    match = says(name, "True", "False") + rf".*got {re.escape(repr(value))}"
    with pytest.raises(TypeError, match=match):
        fit(Estimator, table()[0], settings={name: value})


@each
@pytest.mark.parametrize("value", ["yes", None, 0.5, -1])
def test_verbose_is_a_flag_or_a_count(Estimator, value):
    match = says("verbose", "True", "False", "integer") + rf".*got {value!r}"
    with pytest.raises((TypeError, ValueError), match=match):
        fit(Estimator, table()[0], settings={"verbose": value})


@each
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (32, TypeError),
        (None, TypeError),
        ("ab", TypeError),
        (np.array(32), TypeError),
        ((32, 1.5), TypeError),
        ((32, 0), ValueError),
        ((-8,), ValueError),
    ],
)
def test_hidden_layer_sizes_must_be_positive_integers(Estimator, value, error):
    wrong = value[-1] if isinstance(value, tuple) else value
    match = r"hidden_layer_sizes.*integer.*got " + re.escape(repr(wrong))
    with pytest.raises(error, match=match):
        fit(Estimator, table()[0], settings={"hidden_layer_sizes": value})


@each
@pytest.mark.parametrize("device", ["gpu", "cuda:99", 3.5, None])
def test_a_device_that_is_not_here_is_refused(Estimator, device):
    match = r"device must be .*'auto', 'cpu', 'cuda'.*got " + re.escape(repr(device))
    with pytest.raises(ValueError, match=match):
        fit(Estimator, table()[0], settings={"device": device})


@quick
@each
def test_a_device_that_is_not_here_is_refused_by_a_fitted_model(Estimator):
    X, _ = table()
    model = fit(Estimator, X).set_params(device="gpu")
    with pytest.raises(ValueError, match=r"device must be .*got 'gpu'"):
        np.asarray(ask(model, X))


@each
@pytest.mark.parametrize("seed", ["one", 1.5])
def test_random_state_is_what_scikit_learn_takes(Estimator, seed):
    with pytest.raises(ValueError, match=rf"{seed}.* cannot be used to seed"):
        fit(Estimator, table()[0], settings={"random_state": seed})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"n_components": (4, 2)},
            r"n_components=.* only VAETransformer\(latent='hierarchical'\) has",
        ),
        ({"latent": "hierarchical", "n_components": (4, 0)}, "n_components must be an"),
        (
            {"latent": "hierarchical", "n_components": (4, 2), "prior": "vamp"},
            "latent='hierarchical' has a prior of its own: prior must be one of",
        ),
        (
            {"latent": "hierarchical", "n_components": (4, 2), "posterior": "flow"},
            "latent='hierarchical' has a posterior of its own",
        ),
        ({"latent": "vq", "prior": "mixture"}, "latent='vq' has a prior of its own"),
        (
            {"latent": "vq", "objective": "iwae"},
            "latent='vq' is trained .* objective='auto' or 'elbo'; got 'iwae'",
        ),
        (
            {"latent": "vq", "objective": "dreg", "n_draws": 4},
            "latent='vq' is trained .* objective='auto' or 'elbo'; got 'dreg'",
        ),
        (
            {"latent": "vq", "free_bits": 0.5},
            "free_bits means nothing with latent='vq'",
        ),
        (
            {"prior": "vamp", "posterior": "flow"},
            "prior='vamp' is a mixture of Gaussian posteriors: it needs posterior=",
        ),
    ],
)
def test_variants_that_do_not_go_together_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        fit(VAETransformer, table()[0], settings=settings)


@pytest.mark.parametrize(
    "cell", [datetime.date(2020, 1, 1), [1, 2], {"a": 1}, {1, 2}], ids=str
)
def test_cells_of_an_array_that_are_neither_numbers_nor_text_are_refused(cell):
    X = table()[0].astype(object)
    X[3, 1] = cell
    match = says("X", "'x1'", type(cell).__name__, "columns of their own")
    with pytest.raises(ValueError, match=match):
        fit(VAETransformer, X)


@quick
def test_a_large_beta_is_no_divergence_of_codes():
    """Their KL is the same for all rows, and the loss has beta times it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vae = fit(VAETransformer, table(150)[0], None, {"latent": "vq", "beta": 8.0})
    assert not any("diverged" in str(w.message) for w in caught)
    assert not vae.history_.diverged.any()


def test_only_a_latent_of_codes_has_codes():
    X, _ = table()
    with pytest.raises(AttributeError, match="codes") as caught:
        VAETransformer().codes(X)
    assert str(caught.value.__cause__) == "Only latent='vq' has codes."


def test_free_bits_have_no_meaning_under_iwae():
    settings = {"objective": "iwae", "free_bits": 0.1}
    for Estimator in ESTIMATORS:
        with pytest.raises(ValueError, match=r"free_bits.*'elbo'.*'iwae'"):
            fit(Estimator, table()[0], settings=settings)


@pytest.mark.parametrize(
    ("likelihood", "words"),
    [
        ({"heigth": "gaussian"}, ["likelihood", "heigth", "height"]),
        ({"width": "poison"}, ["likelihood", "width", "poison", "gaussian"]),
        ({"width": "bernoulli"}, ["width", "Bernoulli", "0", "1", "got"]),
        (["gaussian"], ["likelihood", "got"]),
    ],
)
def test_a_likelihood_that_does_not_fit_a_column_is_refused(likelihood, words):
    with pytest.raises((ValueError, TypeError), match=says(*words)):
        fit(VAETransformer, frame()[0], settings={"likelihood": likelihood})


@quick
@either
@pytest.mark.parametrize(
    "change", [{"n_components": 3}, {"hidden_layer_sizes": (8,)}, {"n_estimators": 2}]
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_cannot_go_on_with_weights_of_another_shape(Estimator, change, method):
    X, y = table()
    model = fit(Estimator, X, settings={"warm_start": True}).set_params(**change)
    before = np.asarray(ask(model, X))
    with pytest.raises(ValueError, match=says(*change, "warm_start=False")):
        getattr(model, method)(X, y)
    np.testing.assert_array_equal(ask(model, X), before)


# -- tables ----------------------------------------------------------------------


@either
@pytest.mark.parametrize("as_frame", [False, True])
@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (0, 3, ["0 sample(s)", "minimum of 2"]),
        (1, 3, ["1 sample(s)", "minimum of 2"]),
        (60, 0, ["0 feature(s)", "minimum of 1"]),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_table_without_rows_or_columns_is_refused(
    Estimator, as_frame, rows, columns, words, method
):
    X, y = frame()
    X, y = X.iloc[:rows, :columns], y[:rows]
    assert X.shape == (rows, columns)
    words = [*words, f"required by {Estimator.__name__}."]
    match = "(?s)" + "".join(f"(?=.*{re.escape(word)})" for word in words)
    with pytest.raises(ValueError, match=match):
        getattr(Estimator(**SMALL), method)(X if as_frame else X.to_numpy(), y)


@either
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_array_of_three_axes_is_refused(Estimator, method):
    X, y = frame()
    match = rf"dim 3, while dim <= 2 is required by {Estimator.__name__}\."
    with pytest.raises(ValueError, match=match):
        getattr(Estimator(**SMALL), method)(X.to_numpy()[:, :, None], y)


@each
@quick
@pytest.mark.parametrize("as_frame", [False, True])
def test_no_rows_to_answer_for_are_refused(Estimator, as_frame):
    X, _ = frame()
    X = X if as_frame else X.to_numpy()
    model = fit(Estimator, X)
    by = rf"required by {Estimator.__name__}\."
    with pytest.raises(ValueError, match=rf"0 sample\(s\).*minimum of 1 is {by}"):
        ask(model, X[:0])


@each
@quick
@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("as_frame", [False, True])
def test_infinity_is_refused_with_its_column(Estimator, value, as_frame):
    X, _ = frame()
    wrong = X.copy()
    wrong.loc[3, "width"] = value
    name = "width" if as_frame else "x1"
    X, wrong = (X, wrong) if as_frame else (X.to_numpy(), wrong.to_numpy())
    match = says("X", "infinity", name, "finite")
    with pytest.raises(ValueError, match=match):
        fit(Estimator, wrong)
    with pytest.raises(ValueError, match=match):
        ask(fit(Estimator, X), wrong)


@each
def test_a_column_without_any_value_is_refused(Estimator):
    X, _ = frame()
    X["width"] = np.nan
    with pytest.raises(ValueError, match=says("X", "width", "no observed value")):
        fit(Estimator, X)


@quick
@pytest.mark.parametrize("Estimator", [VAETransformer, VAEClassifier])
@pytest.mark.parametrize("value", [3.0, 1.0, 0.0, 0.1, -1e9])
def test_a_constant_column_is_taken_and_comes_back(Estimator, value):
    """As in a fold, where a column that varies may not."""
    X, _ = frame()
    X["width"] = value
    model = fit(Estimator, X)
    assert (model.sample(20, random_state=0)["width"] == value).all()
    assert np.isfinite(model.score_samples(X)).all()
    # another value is possible, and less likely the further it is away
    scores = [model.score_samples(X.assign(width=value + s)) for s in (0.0, 2.0, 4.0)]
    assert (scores[0] > scores[1]).all()
    assert (scores[1] > scores[2]).all()
    if Estimator is VAETransformer:
        holes = X.assign(width=np.where(np.arange(60) < 5, np.nan, value))
        assert (model.impute(holes)["width"] == value).all()
        assert (model.inverse_transform(model.transform(X))["width"] == value).all()


@quick
def test_a_constant_on_a_log_scale_is_one_in_its_own_units():
    X, _ = frame()
    X["width"] = 7.0
    vae = fit(VAETransformer, X, settings={"likelihood": {"width": "lognormal"}})
    assert (vae.sample(20, random_state=0)["width"] == 7.0).all()
    scores = [vae.score_samples(X.assign(width=w)) for w in (7.0, 70.0, 700.0)]
    assert (scores[0] > scores[1]).all()
    assert (scores[1] > scores[2]).all()


@pytest.mark.parametrize("Estimator", [VAETransformer, VAEClassifier])
def test_numbers_that_would_be_taken_for_constants_are_refused(Estimator):
    X, _ = frame()
    X["width"] = 2.0**53 + 2.0 * np.arange(60)
    match = says("X", "constant", "width", "differ by more than 1e-12", "offset")
    with pytest.raises(ValueError, match=match):
        fit(Estimator, X)


@quick
@pytest.mark.parametrize("width", [0.1, 0.0, -1e6])
def test_a_constant_feature_tells_nothing_and_does_no_harm(width):
    """Nor does another value of it in a new row."""
    X, y = frame()
    X["width"] = width
    model = fit(CVAERegressor, X, y)
    predicted, scores = model.predict(X), model.score_samples(X, y)
    assert np.isfinite([predicted, scores]).all()
    for other in (3.0, 1e9):
        new = X.assign(width=other)
        np.testing.assert_array_equal(model.predict(new), predicted)
        np.testing.assert_array_equal(model.score_samples(new, y), scores)


@quick
def test_a_feature_that_is_taken_for_constant_is_warned_of():
    X, y = frame()
    X["clock"] = 2.0**53 + 2.0 * np.arange(len(X))
    words = says("X", "clock", "differ by no more than 1e-12", "subtract an offset")
    with pytest.warns(UserWarning, match=words):
        model = fit(CVAERegressor, X, y)
    later = X.assign(clock=X["clock"] + 1e15)
    np.testing.assert_array_equal(model.predict(later), model.predict(X))


def held_out(Estimator, X):
    """Validation rows as ``fit`` takes them: with targets where it has some."""
    if Estimator in (CVAERegressor, VAEClassifier):
        return {"X_val": X, "y_val": targets_of(Estimator, X)}
    return {"X_val": X}


@pytest.mark.parametrize("Estimator", [*ALL, VAEImputer, VAEOutlierDetector])
def test_validation_rows_without_early_stopping_are_refused(Estimator):
    X, _ = table()
    val = held_out(Estimator, X)
    words = says("X_val", "early_stopping=True alone", "early_stopping=False", "Leave")
    with pytest.raises(ValueError, match=words):
        fit(Estimator, X, None, {"early_stopping": False}, **val)


@quick
def test_a_constant_boolean_column_has_a_mass_and_is_taken():
    X, _ = frame()
    X["solid"] = True
    vae = fit(VAETransformer, X)
    assert vae.likelihoods_["solid"] == "bernoulli"
    assert np.isfinite(vae.score_samples(X)).all()


# what is refused, and words of why and of what to do
OTHER_KINDS = {
    "mixed": (
        lambda n: pd.Series([1, "b"] * (n // 2), dtype=object),
        ["mixes text such as 'b' with numbers such as 1", "astype", "to_numeric"],
    ),
    "datetime": (
        lambda n: pd.Series(pd.date_range("2020-01-01", periods=n)),
        ["datetime64", "expected numbers, booleans, text", "days since"],
    ),
    "timedelta": (
        lambda n: pd.Series(pd.timedelta_range("1D", periods=n)),
        ["timedelta64", "expected numbers, booleans, text", "days since"],
    ),
    "period": (
        lambda n: pd.Series(pd.period_range("2020-01", periods=n, freq="M")),
        ["period", "expected numbers, booleans, text"],
    ),
    "complex": (lambda n: pd.Series(np.arange(n) + 1j), ["complex", "imaginary"]),
    "nested": (
        lambda n: pd.Series([[1, 2]] * n, dtype=object),
        [r"\[1, 2\] of type list", "expected numbers, booleans or text", "Spread"],
    ),
    "date object": (
        lambda n: pd.Series([datetime.date(2020, 1, 1)] * n, dtype=object),
        ["of type date", "expected numbers, booleans or text"],
    ),
}


@each
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_column_of_another_kind_is_refused_by_name(Estimator, kind):
    X, _ = frame()
    make, words = OTHER_KINDS[kind]
    X["extra"] = make(len(X))
    match = "(?s)X column 'extra'" + "".join(f"(?=.*{word})" for word in words)
    with pytest.raises(ValueError, match=match):
        fit(Estimator, X)


@each
@quick
def test_a_column_that_changed_its_kind_since_fit_is_refused(Estimator):
    X, _ = frame()
    model = fit(Estimator, X)
    X["width"] = "wide"
    with pytest.raises(ValueError, match=says("X", "width", "numeric")):
        ask(model, X)


@each
@pytest.mark.parametrize(
    ("column", "words"),
    [
        (np.array(["a", 1] * 30, dtype=object), ["x1", "mixes text"]),
        (np.arange(60).astype(object) + 1j, ["omplex"]),
    ],
    ids=["mixed", "complex"],
)
def test_an_array_column_of_another_kind_is_refused(Estimator, column, words):
    X = table()[0].astype(object)
    X[:, 1] = column
    match = "(?s)" + "".join(f"(?=.*{word})" for word in words)
    with pytest.raises((ValueError, TypeError), match=match):
        fit(Estimator, X)


@each
@pytest.mark.parametrize("dtype", ["datetime64[D]", "timedelta64[s]"])
def test_an_array_of_times_is_refused(Estimator, dtype):
    X = np.arange(120).reshape(60, 2).astype(dtype)
    with pytest.raises(
        (ValueError, TypeError), match=says("X", X.dtype.name, "days since")
    ):
        fit(Estimator, X)


@each
def test_an_array_of_complex_numbers_is_refused(Estimator):
    with pytest.raises(ValueError, match="Complex data not supported"):
        fit(Estimator, table()[0] + 1j)


@each
def test_a_sparse_table_is_refused(Estimator):
    with pytest.raises(TypeError, match=r"Sparse data was passed.*dense"):
        fit(Estimator, scipy.sparse.csr_array(table()[0]))


@each
def test_a_single_axis_is_refused(Estimator):
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        fit(Estimator, table()[0][:, 0])


@each
def test_a_column_name_that_occurs_twice_is_refused(Estimator):
    X, _ = frame()
    X.columns = ["height", "width", "width"]
    with pytest.raises(ValueError, match=says("X", "more than one", "width")):
        fit(Estimator, X)


@either
@quick
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X: X[["width", "height", "depth"]], "must be in the same order"),
        (lambda X: X[["height", "width"]], r"(?s)now missing.*depth"),
        (lambda X: X.assign(mass=1.0), r"(?s)unseen at fit time.*mass"),
        (  # the column too many is named, and not what it holds
            lambda X: X.assign(day=np.datetime64("2020-01-01")),
            r"(?s)unseen at fit time.*day",
        ),
        (lambda X: X.to_numpy()[:, :2], "X has 2 features, but .* is expecting 3"),
    ],
    ids=["order", "missing", "extra", "extra date", "array"],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_other_columns_than_those_of_fit_are_refused(Estimator, change, match):
    X, y = frame()
    model = fit(Estimator, X)
    wrong = change(X)
    assert list(getattr(wrong, "columns", [])) != list(X.columns)
    for method in (lambda X: ask(model, X), lambda X: model.partial_fit(X, y)):
        with pytest.raises(ValueError, match=match):
            method(wrong)


@quick
@pytest.mark.parametrize(
    "ask",
    [VAETransformer.transform, VAETransformer.partial_fit],
    ids=lambda f: f.__name__,
)
def test_a_binary_column_stays_binary(ask):
    X, _ = frame()
    X["solid"] = np.arange(len(X)) % 2
    vae = fit(VAETransformer, X)
    assert vae.likelihoods_["solid"] == "bernoulli"
    holed = X.assign(solid=X["solid"].astype(float).where(X.index != 7))
    expected = vae.score_samples(holed)
    X.loc[7, "solid"] = 2
    with pytest.warns(
        UserWarning, match=says("X", "solid", "not seen", "2", "missing")
    ):
        np.testing.assert_array_equal(vae.score_samples(X), expected)
    assert vae.set_params(handle_unknown="ignore").impute(X).loc[7, "solid"] == 2
    vae.set_params(handle_unknown="error")
    with pytest.raises(ValueError, match=says("X", "solid", "not seen", "2")):
        ask(vae, X)


@quick
@each
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_failed_fit_leaves_a_fitted_model_as_it_was(Estimator, method):
    X, _ = table()
    y = targets_of(Estimator, X)
    model = fit(Estimator, X)
    before = np.asarray(ask(model, X))
    refused = [
        ({"beta": -1.0}, X, y, "beta"),
        ({"n_components": -1}, X[:, :2], y, "n_components|2 features"),
        ({"device": "gpu"}, X[:, :2], y, "device|2 features"),
        ({}, np.where(X > 1, np.inf, X), y, "infinity"),
    ]
    if Estimator is CVAERegressor:
        refused.append(({}, X[:, :2] if method == "fit" else X, y * np.nan, "NaN"))
    for change, X_new, y_new, match in refused:
        asked = copy.deepcopy(model)
        with pytest.raises(ValueError, match=match):
            getattr(asked.set_params(**change), method)(X_new, y_new)
        asked.set_params(**SMALL, beta=1.0)
        np.testing.assert_array_equal(ask(asked, X), before)
        assert asked.n_iter_ == len(asked.loss_curve_) == 3


@either
def test_a_warning_that_is_an_error_leaves_no_fit_half_done(Estimator):
    """As pytest with ``-W error`` does: the warning comes when training is over."""
    X, y = table(150)
    model = Estimator(**SMALL, warm_start=True)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    before = np.asarray(ask(model, X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match=r"max_iter|collapsed"):
            model.fit(X, y)
    np.testing.assert_array_equal(ask(model, X), before)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_scores_) == 3


# -- targets ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "match"),
    [(np.nan, "y contains NaN"), (np.inf, "y contains inf"), (None, "y contains NaN")],
)
def test_a_target_that_is_missing_or_infinite_is_refused(value, match):
    X, y = table()
    y = y.astype(object if value is None else float)
    y[3] = value
    with pytest.raises(ValueError, match=match):
        fit(CVAERegressor, X, y)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_the_column_of_a_target_that_is_missing_is_named(value, word):
    X, y = table()
    match = rf"y contains {word} in column \['price'\], first in row 3; .* Leave such"
    Y = pd.DataFrame({"size": y, "price": np.where(np.arange(60) == 3, value, y)})
    for target in (Y, Y["price"]):
        with pytest.raises(ValueError, match=match):
            fit(CVAERegressor, X, target)
    with pytest.raises(ValueError, match=says("constant", "['price']")):
        fit(CVAERegressor, X, pd.Series(np.ones(60), name="price"))


@pytest.mark.parametrize(
    "y",
    [
        pd.date_range("2020", periods=60),
        list(pd.date_range("2020", periods=60)),
        pd.timedelta_range("1h", periods=60),
        pd.period_range("2020", periods=60, freq="D"),
        [datetime.date(2020, 1, 1)] * 60,
    ],
    ids=lambda y: type(y).__name__,
)
def test_targets_that_are_dates_are_refused_whatever_holds_them(y):
    with pytest.raises(ValueError, match=r"y must be numeric; .* days since a date"):
        fit(CVAERegressor, table()[0], y)


@quick
def test_an_index_is_a_target_like_any_other():
    X, y = table()
    with pytest.raises(ValueError, match="y must be numeric; column 'y' holds text"):
        fit(CVAERegressor, X, pd.Index(y.astype(str)))
    model, other = (fit(CVAERegressor, X, target) for target in (pd.Index(y), y))
    np.testing.assert_array_equal(model.predict(X), other.predict(X))


@quick
def test_a_target_that_is_missing_is_refused_when_it_is_scored():
    X, y = table()
    model = fit(CVAERegressor, X, y)
    y = np.where(np.arange(len(y)) == 3, np.nan, y)
    for method in (model.score_samples, model.transform, model.partial_fit):
        with pytest.raises(ValueError, match="y contains NaN"):
            method(X, y)


def test_a_regressor_needs_a_target():
    X, _ = table()
    for method in (CVAERegressor.fit, CVAERegressor.partial_fit):
        with pytest.raises(ValueError, match=says("requires y", "None")):
            method(CVAERegressor(**SMALL), X, None)


def test_a_constant_target_is_refused():
    X, y = table()
    with pytest.raises(
        ValueError, match=says("y", "constant", "differ by more than 1e-12")
    ):
        fit(CVAERegressor, X, np.full(len(y), 0.1))
    match = says("y", "constant", "y1", "differ by more than 1e-12")
    with pytest.raises(ValueError, match=match):
        fit(CVAERegressor, X, np.c_[y, np.full(len(y), 0.1)])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda y: y.astype(str).astype(object) + " m", r"(?s)(?=.*\by\b)(?=.* m')"),
        (lambda y: y[:, None, None], r"dim 3.*<= 2"),
        (lambda y: y[:5], r"inconsistent numbers of samples.*60, 5"),
        (lambda y: y + 1j, "Complex data not supported"),
        (lambda y: np.arange(60).astype("datetime64[D]"), says("y", "datetime64")),
        (lambda y: np.empty((60, 0)), says("y must have shape", "got (60, 0)")),
        (
            lambda y: pd.Series(np.arange(60).astype("datetime64[s]"), name="when"),
            says("y must be numeric", "'when'", "datetime64", "days since"),
        ),
        (
            lambda y: pd.DataFrame(
                {"a": y, "d": np.arange(60).astype("datetime64[s]")}
            ),
            says("y must be numeric", "'d'", "datetime64", "days since"),
        ),
        (lambda y: pd.Series(y.astype(str)), says("y must be numeric", "text")),
        (
            lambda y: pd.DataFrame({"a": y, "b": "low"}),
            says("y must be numeric", "'b'", "'low'"),
        ),
        (
            lambda y: pd.DataFrame(np.c_[y, -y], columns=["a", "a"]),
            says("y", "more than one column", "'a'"),
        ),
    ],
    ids=[
        "words",
        "3-D",
        "short",
        "complex",
        "times",
        "no output",
        "series of times",
        "frame with times",
        "series of words",
        "frame with words",
        "names twice",
    ],
)
def test_a_target_of_another_kind_or_shape_is_refused(change, match):
    X, y = table()
    with pytest.raises((ValueError, TypeError), match=match):
        fit(CVAERegressor, X, change(y))


@quick
def test_the_number_of_outputs_stays_that_of_fit():
    X, y = table()
    one, two = fit(CVAERegressor, X, y), fit(CVAERegressor, X, np.c_[y, -y + X[:, 1]])
    for method in (one.score_samples, one.transform, one.partial_fit):
        with pytest.raises(ValueError, match=r"y must have 1 output.*got 2"):
            method(X, np.c_[y, y])
    with pytest.raises(ValueError, match=r"y must have 2 output.*got 1"):
        two.score_samples(X, y)


@quick
@pytest.mark.parametrize("names", [["u", "v"], ["y0", "y1"], ["y1", "y0"], [0, 1]])
def test_the_columns_of_y_stay_those_of_fit(names):
    X, y = table()
    both = pd.DataFrame(np.column_stack([y, 5 * X[:, 1] - y]), columns=names)
    model = fit(CVAERegressor, X, both)
    expected = model.score_samples(X, both)
    np.testing.assert_array_equal(model.score_samples(X, both.to_numpy()), expected)
    told = f"y has columns {names[::-1]}; expected {names}, in this order, as in fit."
    for method in (model.score_samples, model.conformalize, model.partial_fit):
        with pytest.raises(ValueError, match=re.escape(told)):
            method(X, both[names[::-1]])
    # nor has a single column an order, whatever it was called
    alone = fit(CVAERegressor, X, y)
    expected_alone = alone.score_samples(X, y)
    frame_of_one = pd.DataFrame({"price": y})
    np.testing.assert_array_equal(alone.score_samples(X, frame_of_one), expected_alone)
    # names are not held against a fit to an array
    model = fit(CVAERegressor, X, both.to_numpy())
    np.testing.assert_array_equal(model.score_samples(X, both), expected)


@quick
@pytest.mark.parametrize("strange", [3.0, [], np.empty((60, 0))])
def test_targets_without_a_row_or_an_output_are_refused(strange):
    X, y = table()
    told = says("y must have shape", "(n_samples,)", f"got {np.shape(strange)}")
    with pytest.raises(ValueError, match=told):
        fit(CVAERegressor, X, strange)
    with pytest.raises(ValueError, match=told):
        fit(CVAERegressor, X, y).conformalize(X, strange)


# -- validation rows and weights -------------------------------------------------


@quick
@pytest.mark.parametrize(
    ("Estimator", "change"),
    [
        (VAETransformer, {"likelihood": "gaussian"}),
        (VAETransformer, {"categorical_features": [0]}),
        (VAEClassifier, {"likelihood": {"x1": "student_t"}}),
        (CVAERegressor, {"categorical_features": [2]}),
    ],
)
def test_training_goes_on_with_the_kinds_that_it_began_with(Estimator, change):
    """Else the parameter would be ignored; a name that is none is refused as ever."""
    X, _ = table()
    model = fit(Estimator, X)
    before = copy.deepcopy(model)
    (parameter,) = change
    words = says("cannot go on", parameter, "was learned otherwise", "warm_start=False")
    targets = () if Estimator is VAETransformer else (targets_of(Estimator, X),)
    for go_on in ("fit", "partial_fit"):
        if hasattr(model, go_on):
            model.set_params(warm_start=True, **change)
            with pytest.raises(ValueError, match=words):
                getattr(model, go_on)(X, *targets)
    np.testing.assert_array_equal(ask(model, X), ask(before, X))
    model.set_params(**{parameter: getattr(before, parameter)})
    assert model.fit(X, *targets).n_iter_ > before.n_iter_
    model.set_params(categorical_features=[99])
    with pytest.raises(ValueError, match="categorical_features"):
        model.fit(X, *targets)


@pytest.mark.parametrize("Estimator", [CVAERegressor, VAEClassifier])
def test_x_val_and_y_val_come_together(Estimator):
    X, _ = table()
    with pytest.raises(ValueError, match=r"X_val .*without y_val"):
        fit(Estimator, X, X_val=X)
    with pytest.raises(ValueError, match=r"y_val .*without X_val"):
        fit(Estimator, X, y_val=targets_of(Estimator, X))


@pytest.mark.parametrize("Estimator", [*ALL, VAEImputer, VAEOutlierDetector])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X: np.where(X > 1, np.inf, X), ["X_val", "infinity", "finite"]),
        (lambda X: X[:, :2], ["X_val", "2 features", "expected 3", "as in X"]),
        (lambda X: X[:0], ["0 sample(s)", "in X_val", "minimum of 1"]),
    ],
    ids=["infinite", "narrow", "empty"],
)
def test_validation_rows_are_checked_like_others(Estimator, change, words):
    X, _ = table()
    val = held_out(Estimator, X) | {"X_val": change(X)}
    with pytest.raises(ValueError, match=says(*words)):
        fit(Estimator, X, **val)


@pytest.mark.parametrize(
    "Estimator", [VAETransformer, VAEClassifier, VAEImputer, VAEOutlierDetector]
)
def test_validation_rows_without_any_value_are_refused(Estimator):
    """They would leave nothing to choose the weights by.

    Features may all be missing: a target is still there to be scored.
    """
    X, _ = table()
    with pytest.raises(ValueError, match=says("X_val", "no observed value")):
        fit(Estimator, X, **held_out(Estimator, X) | {"X_val": np.full_like(X, np.nan)})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda y: y[:5], r"inconsistent numbers of samples.*60, 5"),
        (lambda y: np.c_[y, y], r"y_val must have 1 output.*got 2"),
        (lambda y: np.where(y > 1, np.nan, y), "y_val contains NaN"),
    ],
    ids=["short", "wide", "NaN"],
)
def test_validation_targets_are_checked_like_others(change, match):
    X, y = table()
    with pytest.raises(ValueError, match=match):
        fit(CVAERegressor, X, y, X_val=X, y_val=change(y))


@pytest.mark.parametrize(
    ("y_val", "error", "match"),
    [
        (np.zeros(5, dtype=int), ValueError, r"inconsistent numbers of samples.*60, 5"),
        (np.full(60, 7), ValueError, r"y_val holds classes .* not seen: \[7\]"),
        (np.array(["a", 1] * 30, dtype=object), TypeError, "y_val must hold either"),
        (np.full(60, np.inf), ValueError, "y_val contains infinity"),
    ],
)
def test_validation_labels_are_checked_like_others(y_val, error, match):
    X, y = table()
    with pytest.raises(error, match=match):
        fit(VAEClassifier, X, (y > 0).astype(int), X_val=X, y_val=y_val)


@pytest.mark.parametrize(
    "Estimator", [VAETransformer, CVAERegressor, VAEClassifier, VAEImputer]
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (-np.ones(60), r"(?i)negative.*sample_weight"),
        (np.ones(5), r"(?i)sample_weight.*\(5,\).*\(60,\)"),
        (np.zeros(60), r"(?i)(sample weights.*non-zero|sample_weight.*positive)"),
        (np.eye(60)[0], r"sample_weight must be positive.*2 row.*is for 1"),
        (np.full(60, np.nan), "sample_weight contains NaN"),
        (np.full(60, np.inf), "sample_weight contains inf"),
        (np.ones((60, 2)), "(?i)sample weights must be 1D array or scalar"),
    ],
    ids=["negative", "short", "zero", "single", "NaN", "inf", "2-D"],
)
def test_weights_that_are_none_are_refused(Estimator, method, weight, match):
    X, _ = table()
    y = targets_of(Estimator, X)
    with pytest.raises(ValueError, match=match):
        getattr(Estimator(**SMALL), method)(X, y, sample_weight=weight)


# -- questions -------------------------------------------------------------------


def with_codes(model, X):
    """Like ``model``, fitted or not, with a latent of codes."""
    other = clone(model).set_params(latent="vq")
    return other.fit(X) if hasattr(model, "learned_") else other


QUESTIONS = {
    VAETransformer: {
        "transform": lambda m, X: m.transform(X),
        "inverse_transform": lambda m, X: m.inverse_transform(X[:, :2]),
        "reconstruct": lambda m, X: m.reconstruct(X),
        "sample": lambda m, X: m.sample(2),
        "impute": lambda m, X: m.impute(X),
        "score_samples": lambda m, X: m.score_samples(X),
        "score": lambda m, X: m.score(X),
        "score_features": lambda m, X: m.score_features(X),
        "prior_gap": lambda m, X: m.prior_gap(X),
        "codes": lambda m, X: with_codes(m, X).codes(X),
        "get_feature_names_out": lambda m, X: m.get_feature_names_out(),
    },
    CVAERegressor: {
        "predict": lambda m, X: m.predict(X),
        "predict_distribution": lambda m, X: m.predict_distribution(X),
        "predict_interval": lambda m, X: m.predict_interval(X),
        "conformalize": lambda m, X: m.conformalize(X, X[:, 0]),
        "sample": lambda m, X: m.sample(X),
        "score_samples": lambda m, X: m.score_samples(X, X[:, 0]),
        "score": lambda m, X: m.score(X, X[:, 0]),
        "transform": lambda m, X: m.transform(X),
        "transform with y": lambda m, X: m.transform(X, X[:, 0]),
        "decode": lambda m, X: m.decode(X[:, :2], X),
        "get_feature_names_out": lambda m, X: m.get_feature_names_out(),
    },
    VAEClassifier: {
        "predict": lambda m, X: m.predict(X),
        "predict_proba": lambda m, X: m.predict_proba(X),
        "score": lambda m, X: m.score(X, X[:, 0] > 0),
        "score_samples": lambda m, X: m.score_samples(X),
        "sample": lambda m, X: m.sample(2),
        "transform": lambda m, X: m.transform(X),
        "get_feature_names_out": lambda m, X: m.get_feature_names_out(),
    },
}
ASKED = [(E, q) for E, questions in QUESTIONS.items() for q in questions]


@each
def test_every_public_method_is_among_the_questions(Estimator):
    own = {
        name
        for cls in Estimator.__mro__
        if cls.__module__.startswith("skvae")
        for name, value in vars(cls).items()
        if callable(value) and not name.startswith("_")
    }
    assert own - {"fit", "partial_fit"} <= QUESTIONS[Estimator].keys()


@pytest.mark.parametrize(("Estimator", "question"), ASKED)
def test_an_unfitted_model_says_so(Estimator, question):
    with pytest.raises(NotFittedError, match=f"{Estimator.__name__} .*not fitted"):
        QUESTIONS[Estimator][question](Estimator(**SMALL), table()[0])


@quick
@pytest.mark.parametrize(("Estimator", "question"), ASKED)
def test_a_fitted_model_answers_the_same_questions(Estimator, question):
    """So that the test above fails for the reason that it names."""
    X, _ = table()
    assert QUESTIONS[Estimator][question](fit(Estimator, X), X) is not None


@quick
def test_latents_of_another_width_are_refused():
    X, y = table()
    vae, model = fit(VAETransformer, X), fit(CVAERegressor, X, y)
    for decode in (vae.inverse_transform, lambda Z: model.decode(Z, X)):
        with pytest.raises(ValueError, match=r"Z must have 2 columns.*got 3"):
            decode(X)
        with pytest.raises(ValueError, match="Z contains NaN"):
            decode(np.full((60, 2), np.nan))
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples.*5, 60"):
        model.decode(np.zeros((5, 2)), X)


@quick
@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-2, ValueError), (1.5, TypeError)]
)
def test_the_number_of_draws_must_be_a_positive_integer(value, error):
    X, y = table()
    vae, model = fit(VAETransformer, X), fit(CVAERegressor, X, y)
    with pytest.raises(error, match=rf"n_samples must be an integer.*got {value}"):
        vae.sample(value)
    with pytest.raises(error, match=rf"n_samples must be an integer.*got {value}"):
        model.sample(X, n_samples=value)
    with pytest.raises(error, match=rf"n_imputations must be an integer.*got {value}"):
        vae.impute(X, n_imputations=value)


@quick
def test_levels_and_coverage_lie_between_zero_and_one():
    X, y = table()
    model = fit(CVAERegressor, X, y)
    for level in (0.0, 1.0, 1.5, -0.5, np.nan):
        match = f"must .*strictly between 0 and 1, got .*{level:g}"
        with pytest.raises(ValueError, match=match):
            model.predict(X, quantiles=[0.5, level])
        match = rf"coverage must be a number in \(0, 1\); got {level}"
        with pytest.raises(ValueError, match=match):
            model.predict_interval(X, coverage=level)


@quick
@pytest.mark.parametrize("value", ["most", None])
def test_levels_and_coverage_are_numbers(value):
    X, y = table()
    model = fit(CVAERegressor, X, y)
    with pytest.raises((ValueError, TypeError), match=rf"coverage .*{value}"):
        model.predict_interval(X, coverage=value)
    with pytest.raises((ValueError, TypeError), match=r"quantiles must .*got "):
        model.predict(X, quantiles=[0.5, value])


@quick
@each
def test_parameters_may_be_numpy_scalars(Estimator):
    """As they come out of an array of candidates."""
    X, _ = table()
    settings = {
        "n_components": np.int64(2),
        "max_iter": np.int32(3),
        "beta": np.float64(1.0),
        "learning_rate_init": np.float64(3e-3),
        "verbose": np.int64(0),
        "warm_start": np.False_,
        "early_stopping": np.True_,
        "hidden_layer_sizes": np.array([32]),
    }
    plain = ask(fit(Estimator, X), X)
    np.testing.assert_array_equal(ask(fit(Estimator, X, settings=settings), X), plain)


@quick
def test_std_and_quantiles_are_asked_for_one_at_a_time():
    X, y = table()
    model = fit(CVAERegressor, X, y)
    with pytest.raises(ValueError, match=r"return_std=True or quantiles; got both"):
        model.predict(X, return_std=True, quantiles=[0.5])


# -- what a fit says about itself ------------------------------------------------


@either
@pytest.mark.filterwarnings("ignore:All 2 latent")
@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_diverging_fit_keeps_finite_weights_and_says_so(Estimator, early_stopping):
    X, y = table(150)
    settings = {"learning_rate_init": 1e3, "max_iter": 20, "n_estimators": 2}
    settings["early_stopping"] = early_stopping
    match = r"diverged in 2 of 2 .*learning_rate_init \(now 1000\.0\)"
    with pytest.warns(ConvergenceWarning, match=match):
        model = fit(Estimator, X, y, settings)
    # a loss of standardised columns begins at a few nats
    assert not np.max(model.loss_curve_) < 1e6
    assert np.isfinite(model.learned_.weights).all()
    Z = model.transform(X)
    assert np.isfinite(Z).all()
    if Estimator is VAETransformer:
        assert np.isfinite(model.score_samples(X)).all()
        assert np.isfinite(model.inverse_transform(Z)).all()
    else:
        assert np.isfinite(model.predict(X)).all()
        assert np.isfinite(model.predict(X, quantiles=[0.01, 0.99])).all()
        assert np.isfinite(model.score_samples(X, y)).all()


@pytest.mark.filterwarnings("ignore:Training stopped")
def test_a_collapsed_latent_is_named_with_what_to_change():
    """At beta = 1000 nothing is worth a nat."""
    X, y = table(150)
    changes = {"beta": 1e3, "kl_warmup": 0.0, "max_iter": 20, "objective": "elbo"}
    match = says("2", "collapsed", "kl_warmup (now 0", "free_bits", "beta (now 1000.0")
    for Estimator in ESTIMATORS:
        with pytest.warns(ConvergenceWarning, match=match):
            model = fit(Estimator, X, y, changes)
        assert model.active_units_ == 0
        assert (model.kl_per_dimension_ < 0.01).all()


def test_a_collapsed_latent_of_a_short_fit_is_told_to_train_for_longer():
    X, y = table(150)
    changes = {"beta": 1e3, "kl_warmup": 0.0, "objective": "elbo"}
    changes |= {"early_stopping": False, "batch_size": 75}
    for limit, settings in (("max_iter", {}), ("max_steps", {"max_iter": 90})):
        more = changes | {"max_steps": 10} | settings
        with pytest.warns(ConvergenceWarning, match=f"collapsed .* Raise {limit}: "):
            fit(VAETransformer, X, y, more)
    with pytest.warns(ConvergenceWarning, match="collapsed .* Raise kl_warmup"):
        fit(VAETransformer, X, y, changes | {"max_iter": 20})


@quick
def test_advice_on_a_collapsed_latent_names_what_would_have_an_effect():
    X, y = table(150)
    changes = {"beta": 1e3, "kl_warmup": 0.0, "max_iter": 20, "objective": "elbo"}

    def advice(Estimator, **more):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(Estimator, X, y, changes | more)
        return next(str(w.message) for w in caught if "collapsed" in str(w.message))

    constant = advice(VAETransformer, kl_schedule="constant")
    assert "kl_schedule='linear' (now 'constant') and kl_warmup=0.5" in constant
    rising = advice(VAETransformer, kl_schedule="constant", kl_warmup=0.1)
    assert "kl_schedule='linear'" in rising
    assert "kl_warmup" not in rising
    assert "free_bits" in constant
    # the bound of IWAE has no use for it
    inside = fit(VAEOutlierDetector, X).vae_
    for vae, offered in (
        (inside, True),
        (VAETransformer(objective="iwae", n_draws=2), False),
    ):
        advice = vae._advice_on_collapse(vae._train_config(100))
        assert ("free_bits" in advice) == offered


def one_factor(n=200):
    """Three columns with one factor; y has two branches, so that its latent counts."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 1))
    X = z @ [[1.0, 1.0, -1.0]] + 0.1 * rng.normal(size=(n, 3))
    branch = rng.choice([-1.0, 1.0], size=n)
    return X, X[:, 0] + 2.0 * branch + 0.1 * rng.normal(size=n)


@pytest.mark.filterwarnings("ignore:All 2 latent")
@either
def test_too_few_epochs_are_named(Estimator):
    X, y = one_factor()
    with pytest.warns(ConvergenceWarning, match=says("max_iter=8", "Raise max_iter")):
        short = fit(Estimator, X, y, {"max_iter": 8})
    assert short.n_iter_ == 8
    settings = {"max_iter": 160, "max_steps": 10, "learning_rate_init": 0.03}
    settings |= {"batch_size": len(X)}
    with pytest.warns(
        ConvergenceWarning, match=says("max_steps=10", "Raise max_steps")
    ):
        assert fit(Estimator, X, y, settings).n_iter_ == 10
    more = fit(Estimator, X, y, {"max_iter": 300})
    # the trait: there was much to gain
    assert max(more.validation_scores_) > max(short.validation_scores_) + 0.5


@quick
def test_only_rows_held_out_tell_that_a_long_fit_was_too_short():
    """Rows that are learned by heart rise for as long as training lasts."""
    X = np.random.default_rng(0).normal(size=(60, 8))
    settings = {"early_stopping": False, "hidden_layer_sizes": (64,)}
    settings |= {"learning_rate_init": 0.03, "n_components": 4, "batch_size": 16}
    for n_epochs, warns in ((15, True), (300, False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = fit(VAETransformer, X, None, settings | {"max_iter": n_epochs})
        assert _still_rising(model.history_, 8)
        told = [str(w.message) for w in caught if "still rising" in str(w.message)]
        assert bool(told) == warns


@pytest.mark.parametrize(
    ("bound", "rising"),
    [
        (np.linspace(-5.0, -3.0, 30), True),
        (np.append(np.linspace(-5.0, -3.0, 6), np.full(24, -3.0)), False),
        # falls and comes half the way back: the best is long past
        (
            np.concatenate([np.linspace(-5.0, -3.0, 10), np.linspace(-6.0, -3.5, 20)]),
            False,
        ),
        (np.linspace(-5.0, -4.95, 30), False),  # wavers by a cent a column
        (np.array([-5.0]), True),
    ],
    ids=["rises", "is level", "was higher", "wavers", "one epoch"],
)
def test_a_bound_still_rises_where_much_came_late(bound, rising):
    record = SimpleNamespace(stopped_early=False, bound=bound[:, None])
    assert _still_rising(record, 2) is rising
    stopped = SimpleNamespace(stopped_early=True, bound=bound[:, None])
    assert not _still_rising(stopped, 2)


@quick
@pytest.mark.parametrize("Estimator", [*ESTIMATORS, VAEImputer, VAEOutlierDetector])
def test_warnings_point_at_the_line_of_the_user(Estimator):
    X, y = table(60)
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(d=["s", "t"] * 30)
    names = [f"row {i}" for i in range(60)]
    with pytest.warns(UserWarning, match="names rows") as caught:
        fit(Estimator, frame.assign(d=names), y)
    model = fit(Estimator, frame, y)
    answer = model.predict if hasattr(model, "predict") else model.transform
    with pytest.warns(UserWarning, match="has not seen") as seen:
        answer(frame.assign(d="u"))
    assert {w.filename for w in [*caught, *seen]} == {__file__}


@either
def test_a_fit_that_went_well_warns_of_nothing(Estimator):
    X, y = one_factor()
    settings = {"max_iter": 160, "n_components": 1, "n_iter_no_change": 20}
    if Estimator is CVAERegressor:
        settings |= {"n_mixtures": 1, "numeric_embedding": None, "dropout": 0.0}
        settings |= {"kl_warmup": 0.1, "max_iter": 320}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit(Estimator, X, y, settings)
    assert model.active_units_ == 1


# -- what is left alone ----------------------------------------------------------


def global_state():
    """All that a library might change under its users' feet."""
    _, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "numpy": (keys.tolist(), *rest),
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings": list(warnings.filters),
        "floating point": np.geterr(),
        "environment": dict(os.environ),
    }


@quick
def test_no_global_state_is_touched():
    X, y = table()
    fit(CVAERegressor, X, y)  # what is imported on first use has been imported
    before = global_state()
    vae = fit(VAETransformer, X)
    vae.partial_fit(X)
    vae.sample(3, random_state=0)
    vae.impute(np.where(X > 1, np.nan, X), n_imputations=2, random_state=0)
    vae.score_samples(X)
    model = fit(CVAERegressor, X, y)
    model.predict(X, quantiles=[0.1, 0.9])
    model.sample(X, random_state=0)
    model.predict_distribution(X).sample(3, random_state=0)
    with pytest.raises(ValueError, match="beta"):
        fit(VAETransformer, X, settings={"beta": -1.0})
    assert global_state() == before


def python(code, **environment):
    """What a new interpreter prints that runs ``code``."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return run.stdout


def test_the_number_of_threads_is_put_back_even_when_a_fit_breaks_off():
    code = """
import sys, warnings, numpy as np, torch
warnings.simplefilter("ignore")
from skvae import VAETransformer
assert torch.get_num_threads() == 2, torch.get_num_threads()
during = set()
class Watch:
    def write(self, text):
        during.add(torch.get_num_threads())
        if broken:
            raise OSError("disk full")
    def flush(self): pass
X = np.random.default_rng(0).normal(size=(60, 3))
vae = VAETransformer(2, hidden_layer_sizes=(8,), max_iter=2, verbose=True)
out, sys.stdout = sys.stdout, Watch()
broken = False
vae.fit(X)
after = torch.get_num_threads()
broken = True
try:
    vae.fit(X)
except OSError:
    out.write(f"{during} {after} {torch.get_num_threads()}")
"""
    # a net of 8 units is trained on one thread: there was something to put back
    assert python(code, OMP_NUM_THREADS="2").strip() == "{1} 2 2"


def test_import_is_quick_and_leaves_torch_alone():
    code = (
        "import sys, time; start = time.perf_counter(); import skvae; "
        "print(time.perf_counter() - start, 'torch' in sys.modules)"
    )
    runs = [python(code).split() for _ in range(3)]
    assert {torch_is_there for _, torch_is_there in runs} == {"False"}
    assert min(float(seconds) for seconds, _ in runs) < 0.3


@quick
@either
@pytest.mark.parametrize("as_frame", [False, True])
def test_the_callers_data_are_not_written_to(Estimator, as_frame):
    X, y = frame()
    X.iloc[::4, 1] = np.nan
    weight = np.linspace(0.0, 1.0, len(X))
    X = X if as_frame else X.to_numpy()
    data = [X, y, weight]
    before = [part.copy() for part in data]
    model = fit(Estimator, X, y, sample_weight=weight)
    ask(model, X)
    if Estimator is VAETransformer:
        model.impute(X)
        model.impute(X, n_imputations=2)
        model.reconstruct(X)
    else:
        model.score_samples(X, y)
        model.transform(X, y)
    for part, old in zip(data, before, strict=True):
        np.testing.assert_array_equal(part, old)


@pytest.mark.parametrize("Estimator", [VAETransformer, CVAERegressor, VAEImputer])
def test_layers_are_for_a_hierarchical_latent(Estimator):
    message = r"\(4, 2\) names layers.*VAETransformer\(latent='hierarchical'\).*integer"
    with pytest.raises(ValueError, match=message):
        fit(Estimator, table()[0], settings={"n_components": (4, 2)})


def test_a_vae_without_latents_is_refused():
    message = r"n_components must be an integer in \[1, inf\); got 0"
    with pytest.raises(ValueError, match=message):
        fit(VAETransformer, table()[0], settings={"n_components": 0})


def test_a_number_in_words_is_auto_or_refused():
    for name in ("kl_warmup", "n_draws"):
        message = f"{name} must be 'auto' or a number; got 'long'"
        with pytest.raises(ValueError, match=message):
            fit(CVAERegressor, table()[0], settings={name: "long"})
    with pytest.raises(TypeError, match="kl_warmup must be a number"):
        fit(VAETransformer, table()[0], settings={"kl_warmup": "auto"})
    with pytest.raises(
        ValueError, match="n_draws must be 'auto' or a number; got 'many'"
    ):
        fit(VAETransformer, table()[0], settings={"n_draws": "many"})
    with pytest.raises(ValueError, match="dropout must be 'auto' or a number; got 'x'"):
        fit(VAETransformer, table()[0], settings={"dropout": "x"})
    for Estimator in set(ALL) - {VAETransformer}:
        with pytest.raises(TypeError, match="dropout must be a number"):
            fit(Estimator, table()[0], settings={"dropout": "auto"})
