"""The estimators as a user of scikit-learn puts them to work."""

import copy
import io
import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skvae import CVAERegressor, VAETransformer

# what is tested here is how the parts fit together, on fits that are far too short
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {
    "batch_size": 32,
    "n_components": 2,
    "hidden_layer_sizes": (32,),
    "n_estimators": 1,
    "n_samples": 16,
    "max_iter": 10,
    "learning_rate_init": 1e-2,
    "device": "cpu",
    "random_state": 0,
}


@pytest.fixture(scope="module")
def data():
    """Three features of different scales and a target, with a factor behind them."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(150, 1))
    X = (z @ [[1.0, -1.0, 1.0]] + 0.3 * rng.normal(size=(150, 3))) * [1, 100, 0.01]
    X += [0.0, 500.0, 3.0]
    return X, z[:, 0] + 0.1 * rng.normal(size=150)


@pytest.fixture(scope="module")
def frame(data):
    X, _ = data
    return pd.DataFrame(
        X,
        columns=["length", "weight", "density"],
        index=[f"fish {i}" for i in range(len(X))],
    )


# -- pipelines -------------------------------------------------------------------


def test_a_regressor_behind_a_scaler_passes_its_answers_through(data):
    X, y = data
    pipe = make_pipeline(StandardScaler(), CVAERegressor(**QUICK)).fit(X, y)
    mean, std = pipe.predict(X, return_std=True)
    assert mean.shape == std.shape == (150,)
    assert (std > 0).all()
    np.testing.assert_array_equal(pipe.predict(X), mean)
    quantiles = pipe.predict(X, quantiles=[0.1, 0.5, 0.9])
    assert quantiles.shape == (150, 3)
    assert (np.diff(quantiles, axis=1) > 0).all()
    assert pipe.score(X, y) == pytest.approx(pipe[-1].score(pipe[:-1].transform(X), y))
    assert pipe.score(X, y) > 0.5
    Z = StandardScaler().fit_transform(X)
    alone = CVAERegressor(**QUICK).fit(Z, y)
    np.testing.assert_array_equal(alone.predict(Z), mean)


def test_a_transformer_behind_a_scaler_goes_both_ways(data):
    X, _ = data
    pipe = make_pipeline(StandardScaler(), VAETransformer(**QUICK | {"max_iter": 30}))
    Z = pipe.fit_transform(X)
    np.testing.assert_array_equal(pipe.transform(X), Z)
    assert Z.shape == (150, 2)
    assert pipe.score_samples(X).shape == (150,)
    assert pipe.score(X) == pytest.approx(pipe.score_samples(X).mean())
    back = pipe.inverse_transform(Z)
    # most of what is in the columns is their common factor
    for i in range(3):
        assert np.corrcoef(back[:, i], X[:, i])[0, 1] > 0.7
    assert back.mean(axis=0) == pytest.approx(X.mean(axis=0), rel=0.3, abs=0.3)


def test_holes_pass_through_a_scaler_into_the_model(data):
    X, y = data
    holed = X.copy()
    holed[::4, 1] = np.nan
    pipe = make_pipeline(StandardScaler(), VAETransformer(**QUICK), Ridge())
    assert np.isfinite(pipe.fit(holed, y).predict(holed)).all()
    pipe = make_pipeline(StandardScaler(), CVAERegressor(**QUICK))
    assert np.isfinite(pipe.fit(holed, y).predict(holed)).all()


def test_latents_are_features_for_what_follows(data):
    X, y = data
    pipe = make_pipeline(VAETransformer(**QUICK | {"max_iter": 30}), Ridge())
    scores = cross_val_score(pipe, X, y, cv=3)
    # the factor is what the three columns share, and y is that factor
    assert (scores > 0.5).all()


def test_a_regressor_is_a_step_that_reduces_the_features(data):
    """As PLSRegression: in the middle of a pipeline it gives its latents."""
    X, y = data
    pipe = make_pipeline(StandardScaler(), CVAERegressor(**QUICK), Ridge())
    pipe.fit(X, y)
    assert pipe[-1].n_features_in_ == 2


def test_a_column_transformer_encodes_what_the_model_does_not_take(frame, data):
    _, y = data
    X = frame.assign(kind=np.where(np.arange(150) % 3, "trout", "pike"))
    columns = ColumnTransformer(
        [("kind", OneHotEncoder(sparse_output=False), ["kind"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    vae = make_pipeline(columns, VAETransformer(**QUICK)).fit(X)
    assert list(vae[-1].feature_names_in_) == [
        "kind_pike",
        "kind_trout",
        "length",
        "weight",
        "density",
    ]
    assert vae[-1].likelihoods_["kind_pike"] == "bernoulli"
    assert vae[-1].likelihoods_["length"] == "mixture"
    model = make_pipeline(columns, CVAERegressor(**QUICK)).fit(X, y)
    assert model.predict(X).shape == (150,)


def test_a_feature_union_sets_latents_beside_other_features(frame):
    union = FeatureUnion(
        [("vae", VAETransformer(**QUICK)), ("pca", PCA(n_components=1))]
    )
    names = ["vae__vaetransformer0", "vae__vaetransformer1", "pca__pca0"]
    Z = union.fit_transform(frame)
    assert list(union.get_feature_names_out()) == names
    np.testing.assert_array_equal(
        Z[:, :2], VAETransformer(**QUICK).fit(frame).transform(frame)
    )
    union.set_output(transform="pandas")
    assert list(union.fit_transform(frame).columns) == names


def test_a_transformed_target_comes_back_in_its_units(data):
    X, y = data
    model = TransformedTargetRegressor(
        CVAERegressor(**QUICK | {"max_iter": 30}), func=np.log, inverse_func=np.exp
    )
    predicted = model.fit(X, np.exp(y)).predict(X)
    assert (predicted > 0).all()
    assert np.corrcoef(np.log(predicted), y)[0, 1] > 0.9


# -- frames ----------------------------------------------------------------------


def test_set_output_gives_named_columns_and_the_index(frame, data):
    _, y = data
    vae = VAETransformer(**QUICK).set_output(transform="pandas")
    Z = vae.fit_transform(frame)
    assert isinstance(Z, pd.DataFrame)
    assert list(Z.columns) == ["vaetransformer0", "vaetransformer1"]
    assert list(vae.get_feature_names_out()) == list(Z.columns)
    pd.testing.assert_index_equal(Z.index, frame.index)
    np.testing.assert_array_equal(
        Z, VAETransformer(**QUICK).fit(frame).transform(frame)
    )

    model = CVAERegressor(**QUICK).set_output(transform="pandas").fit(frame, y)
    for Z in (model.transform(frame), model.transform(frame, y)):
        assert list(Z.columns) == ["cvaeregressor0", "cvaeregressor1"]
        pd.testing.assert_index_equal(Z.index, frame.index)
    # predictions are arrays, as every regressor's
    assert isinstance(model.predict(frame), np.ndarray)


def test_latents_as_a_frame_are_decoded(frame):
    vae = VAETransformer(**QUICK).set_output(transform="pandas").fit(frame)
    back = vae.inverse_transform(vae.transform(frame))
    assert list(back.columns) == list(frame.columns)
    pd.testing.assert_frame_equal(
        back, vae.inverse_transform(vae.transform(frame).to_numpy())
    )


def test_a_pipeline_of_frames_keeps_names_to_the_end(frame, data):
    _, y = data
    pipe = make_pipeline(StandardScaler(), VAETransformer(**QUICK))
    pipe.set_output(transform="pandas")
    Z = pipe.fit_transform(frame)
    assert list(pipe[-1].feature_names_in_) == list(frame.columns)
    assert list(pipe.get_feature_names_out()) == list(Z.columns)
    model = make_pipeline(StandardScaler(), CVAERegressor(**QUICK))
    model.set_output(transform="pandas").fit(frame, y)
    with pytest.raises(ValueError, match="same order"):
        model.predict(frame[["weight", "length", "density"]])


# -- model selection -------------------------------------------------------------


def test_clone_copies_parameters_and_nothing_that_was_learned(data):
    X, y = data
    for model, args in (
        (VAETransformer(**QUICK, likelihood={"x0": "mixture"}), (X,)),
        (CVAERegressor(**QUICK, n_mixtures=2), (X, y)),
    ):
        model.fit(*args)
        copied = clone(model)
        assert not hasattr(copied, "learned_")
        assert copied.get_params() == model.get_params()
        np.testing.assert_array_equal(
            copied.fit(*args).transform(X), model.transform(X)
        )


def test_parameters_are_set_through_a_pipeline(data):
    X, y = data
    pipe = make_pipeline(StandardScaler(), CVAERegressor(**QUICK))
    pipe.set_params(cvaeregressor__n_components=3, cvaeregressor__max_iter=2)
    assert pipe.fit(X, y)[-1].transform(X).shape == (150, 3)
    assert pipe[-1].n_iter_ == 2


@pytest.mark.parametrize("Estimator", [VAETransformer, CVAERegressor])
def test_grid_search_in_two_processes(data, Estimator):
    X, y = data
    supervised = Estimator is CVAERegressor
    args = (X, y) if supervised else (X,)
    grid = {"n_components": [1, 2], "kl_warmup": [0.0, 0.5]}
    search = GridSearchCV(Estimator(**QUICK), grid, cv=2, n_jobs=2, error_score="raise")
    search.fit(*args)
    assert len(search.cv_results_["params"]) == 4
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert np.ptp(scores) > 1e-4  # the candidates differ
    assert search.best_score_ == scores.max()
    best = search.best_estimator_
    assert best.transform(X).shape == (150, search.best_params_["n_components"])
    assert search.score(*args) == pytest.approx(best.score(*args))
    # a seed is a seed, in whichever process
    here = cross_val_score(clone(best), *args, cv=2)
    assert here.mean() == pytest.approx(search.best_score_, rel=1e-4)


def test_cross_validation_scores_what_was_held_out(data):
    X, y = data
    vae, model = VAETransformer(**QUICK), CVAERegressor(**QUICK)
    scores = cross_val_score(vae, X, cv=3)
    train, test = slice(50, 150), slice(0, 50)
    assert scores.shape == (3,)
    assert scores[0] == pytest.approx(clone(vae).fit(X[train]).score(X[test]))
    scores = cross_val_score(model, X, y, cv=3)
    expected = clone(model).fit(X[train], y[train]).score(X[test], y[test])
    assert scores[0] == pytest.approx(expected)
    errors = cross_val_score(model, X, y, cv=3, scoring="neg_root_mean_squared_error")
    assert (errors < 0).all()
    assert cross_val_predict(model, X, y, cv=3).shape == (150,)


# -- weights through a pipeline --------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def spoiled(data):
    """The data with every third target nonsense, and weights that leave those out."""
    X, y = data
    bad = np.arange(len(y)) % 3 == 0
    return X, np.where(bad, 1000.0, y), np.where(bad, 0.0, 1.0)


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_through_a_pipeline(data):
    X, y, weight = spoiled(data)
    pipe = make_pipeline(
        StandardScaler().set_fit_request(sample_weight=False),
        CVAERegressor(**QUICK)
        .set_fit_request(sample_weight=True)
        .set_score_request(sample_weight=True),
    )
    pipe.fit(X, y, sample_weight=weight)
    Z = StandardScaler().fit_transform(X)
    alone = CVAERegressor(**QUICK).fit(Z, y, sample_weight=weight)
    np.testing.assert_array_equal(pipe.predict(X), alone.predict(Z))
    assert np.abs(pipe.predict(X)).max() < 10 < 1000
    assert (
        pipe.score(X, y, sample_weight=weight)
        > 0.5
        > pipe.score(X, y, sample_weight=1.0 - weight)
    )


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_through_cross_validation(data):
    X, y, weight = spoiled(data)
    settings = QUICK | {"max_iter": 30}
    pipe = make_pipeline(
        StandardScaler().set_fit_request(sample_weight=False),
        CVAERegressor(**settings)
        .set_fit_request(sample_weight=True)
        .set_score_request(sample_weight=True),
    )
    result = cross_validate(pipe, X, y, cv=2, params={"sample_weight": weight})
    assert (result["test_score"] > 0.5).all()
    unweighted = cross_validate(CVAERegressor(**settings), X, y, cv=2)
    assert (unweighted["test_score"] < 0.5).all()


@pytest.mark.usefixtures("routing")
def test_weights_of_a_transformer_are_routed_to_its_fit_alone(data):
    X, _ = data
    far = X + 1e4 * (np.arange(len(X)) % 3 == 0)[:, None]
    weight = (np.arange(len(X)) % 3 != 0).astype(float)
    pipe = make_pipeline(
        StandardScaler().set_fit_request(sample_weight=True),
        VAETransformer(**QUICK).set_fit_request(sample_weight=True),
    )
    pipe.fit(far, sample_weight=weight)
    kept = make_pipeline(StandardScaler(), VAETransformer(**QUICK)).fit(X[weight > 0])
    # the scaler's weighted mean and the plain mean differ in the last digits
    np.testing.assert_allclose(pipe.transform(X), kept.transform(X), atol=1e-3)


@pytest.mark.usefixtures("routing")
def test_a_weight_that_nobody_asked_for_is_an_error(data):
    X, y, weight = spoiled(data)
    pipe = make_pipeline(StandardScaler(), CVAERegressor(**QUICK))
    with pytest.raises(ValueError, match=r"sample_weight.*not explicitly set"):
        pipe.fit(X, y, sample_weight=weight)


@pytest.mark.usefixtures("routing")
def test_validation_rows_are_scaled_on_their_way_through_a_pipeline(data):
    X, y = data
    model = CVAERegressor(**QUICK).set_fit_request(X_val=True, y_val=True)
    pipe = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
    pipe.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    scaler = StandardScaler().fit(X[:100])
    Z = scaler.transform(X)
    alone = CVAERegressor(**QUICK).fit(Z[:100], y[:100], None, Z[100:], y[100:])
    assert pipe[-1].validation_scores_ == alone.validation_scores_


def test_weights_by_the_step_name_without_routing(data):
    X, y, weight = spoiled(data)
    pipe = make_pipeline(StandardScaler(), CVAERegressor(**QUICK))
    pipe.fit(X, y, cvaeregressor__sample_weight=weight)
    assert np.abs(pipe.predict(X)).max() < 10


# -- what was learned travels ----------------------------------------------------


@pytest.fixture(scope="module")
def fitted(data):
    X, y = data
    settings = QUICK | {"warm_start": True, "device": "auto"}
    return {
        "vae": VAETransformer(**settings).fit(X),
        "regressor": CVAERegressor(**settings).fit(X, y),
        "pipeline": make_pipeline(StandardScaler(), CVAERegressor(**settings)).fit(
            X, y
        ),
    }


def answers(model, X):
    """Everything deterministic that a model says about ``X``."""
    if isinstance(model, VAETransformer):
        return [model.transform(X), model.score_samples(X), model.impute(X)]
    return [*model.predict(X, return_std=True), model.predict(X, quantiles=[0.1, 0.9])]


@pytest.mark.parametrize("name", ["vae", "regressor", "pipeline"])
@pytest.mark.parametrize("way", ["pickle", "joblib", "deepcopy"])
def test_a_round_trip_changes_no_answer(fitted, data, tmp_path, name, way):
    X, y = data
    model = fitted[name]
    if way == "pickle":
        returned = pickle.loads(pickle.dumps(model))
    elif way == "joblib":
        joblib.dump(model, tmp_path / "model.joblib")
        returned = joblib.load(tmp_path / "model.joblib")
    else:
        returned = copy.deepcopy(model)
    for here, there in zip(answers(model, X), answers(returned, X), strict=True):
        np.testing.assert_array_equal(here, there)
    if name != "pipeline":  # training goes on as it would have
        going_on = [copy.deepcopy(m).partial_fit(X, y) for m in (model, returned)]
        np.testing.assert_array_equal(*(m.learned_.weights for m in going_on))


def test_a_predictive_distribution_travels_too(fitted, data):
    X, y = data
    distribution = fitted["regressor"].predict_distribution(X)
    returned = pickle.loads(pickle.dumps(distribution))
    np.testing.assert_array_equal(returned.log_prob(y), distribution.log_prob(y))


class Census(pickle.Unpickler):
    """Notes every module that a pickle takes something from."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.modules = set()

    def find_class(self, module, name):
        self.modules.add(module)
        return super().find_class(module, name)


def reachable(root):
    """Every object that can be reached from ``root`` through its attributes."""
    seen, queue = {}, [root]
    while queue:
        value = queue.pop()
        if id(value) in seen or isinstance(value, type):
            continue
        seen[id(value)] = value
        if isinstance(value, dict):
            queue += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            queue += list(value)
        queue += list(getattr(value, "__dict__", {}).values())
    return list(seen.values())


@pytest.mark.parametrize("name", ["vae", "regressor"])
def test_nothing_of_torch_is_in_what_was_learned(fitted, name):
    model = fitted[name]
    assert model.learned_.moments is not None  # Adam's state is there for warm_start
    census = Census(pickle.dumps(model))
    census.load()
    tops = {module.partition(".")[0] for module in census.modules}
    assert "skvae" in tops
    assert tops <= {"skvae", "numpy", "builtins", "copyreg", "_codecs"}
    objects = reachable(model)
    assert any(value is model.learned_.weights for value in objects)
    homes = {type(value).__module__.partition(".")[0] for value in objects}
    assert "torch" not in homes
    arrays = [value for value in objects if isinstance(value, np.ndarray)]
    assert len(arrays) > 8
    assert all(array.dtype.kind in "fiub" for array in arrays)
    assert model.learned_.weights.dtype == np.float32


def test_a_model_of_another_machine_answers_on_one_without_a_gpu(
    fitted, data, tmp_path
):
    X, _ = data
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(fitted["regressor"]))
    np.save(tmp_path / "X.npy", X)
    code = """
import pickle, sys
from pathlib import Path
import numpy as np, torch
assert not torch.cuda.is_available()
folder = Path(sys.argv[1])
model = pickle.loads((folder / "model.pickle").read_bytes())
np.save(folder / "y.npy", model.predict(np.load(folder / "X.npy")))
"""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, env=environment
    )
    # another process may sum in another order, in double precision
    np.testing.assert_allclose(
        np.load(tmp_path / "y.npy"), fitted["regressor"].predict(X), rtol=1e-9
    )
