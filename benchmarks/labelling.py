"""Tables with few labels, and classifiers that learn from the other rows, too."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from benchmarks.data import read_table
from skvae import VAEClassifier, VAETransformer

TABLES = ("breast_wdbc", "banknote", "penguins", "titanic", "mushroom", "letter")
IMAGES = ("mnist", "mnist-latents")
SETS = (*TABLES, *IMAGES)
MOST_ROWS = 5000  # of a table, training and test
TEST_SHARE = 0.2
LABELLED_SHARE, LEAST = 0.1, 2  # of the training rows of each class of a table
N_LABELLED_IMAGES = 10  # of each digit; the other 59,900 have no label
# of the pixels' latents; one member, since only the best one transforms
LATENTS = {
    "n_components": 16,
    "n_estimators": 1,
    "hidden_layer_sizes": (256, 256),
    "objective": "elbo",
    "max_iter": 60,
    "batch_size": 128,
}


@dataclass(frozen=True)
class Task:
    """Training rows, their labels (-1: none), test rows and theirs."""

    X: pd.DataFrame
    y: NDArray[np.intp]
    X_test: pd.DataFrame
    y_test: NDArray[np.intp]

    def labelled(self) -> "Task":
        """Return the task without the unlabelled rows."""
        known = self.y >= 0
        return replace(self, X=self.X[known], y=self.y[known])


def make_task(folder: Path, name: str, seed: int) -> Task:
    """Draw rows and labels of a set."""
    rng = np.random.default_rng(seed)
    return (_images if name in IMAGES else _table)(folder, name, rng, seed)


def _table(folder: Path, name: str, rng: np.random.Generator, seed: int) -> Task:
    table, about = read_table(folder, name)
    target = about["target"]
    classes = pd.factorize(table[target], sort=True)[0]
    texts = [c for c in about["categorical"] if c != target]
    numeric = [c for c in about["numeric"] if c != target]
    X = table[numeric].astype("float64")
    for column in texts:
        X[column] = table[column].astype("category")
    order = rng.permutation(np.flatnonzero(classes >= 0))[:MOST_ROWS]
    n_test = round(TEST_SHARE * len(order))
    test, train = order[:n_test], order[n_test:]
    n_each = np.round(LABELLED_SHARE * np.bincount(classes[train])).astype(int)
    y = few_labels(classes[train], np.maximum(n_each, LEAST))
    return Task(X.iloc[train], y, X.iloc[test], classes[test])


def _images(folder: Path, name: str, rng: np.random.Generator, seed: int) -> Task:
    with np.load(folder / "mnist" / "mnist.npz") as arrays:
        parts = [arrays[k] for k in ("x_train", "y_train", "x_test", "y_test")]
    chosen = []
    for images, digits in [parts[:2], parts[2:]]:
        rows = rng.permutation(len(images))
        pixels = images[rows].reshape(len(rows), -1) > 127
        chosen += [pd.DataFrame(pixels.astype(float)), digits[rows].astype(int)]
    X, digits, X_test, y_test = chosen
    y = few_labels(digits, np.full(10, N_LABELLED_IMAGES))
    X.columns = X_test.columns = [f"p{i}" for i in range(X.shape[1])]
    if name == "mnist-latents":
        vae = VAETransformer(**LATENTS, random_state=seed).set_output(
            transform="pandas"
        )
        X, X_test = vae.fit_transform(X), vae.transform(X_test)
    return Task(X, y, X_test, y_test)


def few_labels(classes: NDArray[np.intp], n_each: NDArray[np.intp]) -> NDArray:
    """Labels of the first so many rows of each class, -1 for the others."""
    y = np.full(len(classes), -1)
    for k, n in enumerate(n_each):
        y[np.flatnonzero(classes == k)[:n]] = k
    return y


@dataclass(frozen=True)
class Method:
    """How a classifier is made from a seed and skvae's parameters, and what it is."""

    about: str
    make: Callable[[int, dict[str, Any], pd.DataFrame], BaseEstimator]
    labelled_only: bool = False


def prepared(X: pd.DataFrame, model: BaseEstimator) -> BaseEstimator:
    """Put what scikit-learn's classifiers need before ``model``."""
    texts = [c for c in X if isinstance(X[c].dtype, pd.CategoricalDtype)]
    numeric = [c for c in X if c not in texts and not X[c].isin((0, 1)).all()]
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    standardised = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(
        make_column_transformer(
            (standardised, numeric), (one_hot, texts), remainder="passthrough"
        ),
        model,
    )


def _skvae(seed: int, parameters: dict[str, Any], X: pd.DataFrame) -> BaseEstimator:
    return VAEClassifier(**{"random_state": seed} | parameters)


METHODS = {
    "skvae": Method("VAEClassifier on all rows", _skvae),
    "skvae, labelled": Method(
        "the same on the labelled rows alone", _skvae, labelled_only=True
    ),
    "logistic": Method(
        "LogisticRegression on the labelled rows",
        lambda seed, _, X: prepared(X, LogisticRegression(max_iter=500)),
        labelled_only=True,
    ),
    "self-training, logistic": Method(
        "SelfTrainingClassifier over LogisticRegression",
        lambda seed, _, X: prepared(
            X, SelfTrainingClassifier(LogisticRegression(max_iter=500))
        ),
    ),
    "self-training, boosting": Method(
        "SelfTrainingClassifier over HistGradientBoostingClassifier; tables only",
        lambda seed, _, X: prepared(
            X,
            SelfTrainingClassifier(HistGradientBoostingClassifier(random_state=seed)),
        ),
    ),
    "label spreading": Method(
        "LabelSpreading over 7 nearest neighbours",
        lambda seed, _, X: prepared(X, LabelSpreading(kernel="knn")),
    ),
}
