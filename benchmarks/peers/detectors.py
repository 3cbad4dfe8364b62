"""Outlier detectors behind one interface, each with one stated setting for all sets.

Every method gets the same rows. What needs standardised columns gets them, scaled by
the training rows. A factory imports what it needs, so that what is not installed hurts
only where it is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

import skvae
from skvae import VAEOutlierDetector

Array = NDArray[np.float64]


class Detector(Protocol):
    """Learns rows; then the odder a row, the higher its score."""

    def fit(self, X: Array) -> None:
        """Learn the training rows."""

    def score(self, X: Array, is_training: bool) -> Array:
        """Score rows; ``is_training`` says that they are those of ``fit``."""


class FromEstimator:
    """A scikit-learn estimator whose ``score_samples`` is high for normal rows."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Array) -> None:
        """Fit the estimator."""
        self.estimator.fit(X)

    def score(self, X: Array, is_training: bool) -> Array:
        """Turn the sign."""
        return -self.estimator.score_samples(X)


class NearestNeighbour:
    """Distance to the k-th nearest training row, a row itself left out."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.scaler = StandardScaler()

    def fit(self, X: Array) -> None:
        """Keep the rows."""
        rows = self.scaler.fit_transform(X)
        self.neighbours = NearestNeighbors(n_neighbors=self.k).fit(rows)

    def score(self, X: Array, is_training: bool) -> Array:
        """Look the distances up."""
        rows = None if is_training else self.scaler.transform(X)
        return self.neighbours.kneighbors(rows)[0][:, -1]


class LocalFactor:
    """`LocalOutlierFactor`, which has a way of its own for training rows."""

    def __init__(self) -> None:
        self.scaler = StandardScaler()

    def fit(self, X: Array) -> None:
        """Fit once for training rows, once for others."""
        rows = self.scaler.fit_transform(X)
        self.factor = LocalOutlierFactor(novelty=True).fit(rows)

    def score(self, X: Array, is_training: bool) -> Array:
        """Take the factors, 1 and less for normal rows."""
        if is_training:
            return -self.factor.negative_outlier_factor_
        return -self.factor.score_samples(self.scaler.transform(X))


class FromPyod:
    """A detector of PyOD on standardised columns."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.scaler = StandardScaler()

    def fit(self, X: Array) -> None:
        """Fit the detector."""
        self.detector = self.make().fit(self.scaler.fit_transform(X))

    def score(self, X: Array, is_training: bool) -> Array:
        """Take its scores, those of the training rows as it keeps them."""
        if is_training:
            return self.detector.decision_scores_
        return self.detector.decision_function(self.scaler.transform(X))


def _ecod(seed: int, parameters: dict[str, object]) -> Detector:
    from pyod.models.ecod import ECOD

    return FromPyod(ECOD)


def _pyod_vae(seed: int, parameters: dict[str, object]) -> Detector:
    from pyod.models.vae import VAE

    return FromPyod(lambda: VAE(random_state=seed, device="cpu", verbose=0))


@dataclass(frozen=True)
class Entry:
    """A method: how to make it from a seed, what it is, where it comes from."""

    make: Callable[[int, dict[str, object]], Detector]
    about: str
    package: str


DETECTORS = {
    "skvae": Entry(
        lambda seed, parameters: FromEstimator(
            VAEOutlierDetector(**{"random_state": seed, **parameters})
        ),
        "VAEOutlierDetector, the library's defaults",
        "skvae",
    ),
    "skvae, trimmed": Entry(
        lambda seed, parameters: FromEstimator(
            VAEOutlierDetector(**{"random_state": seed, **parameters, "trimming": 0.05})
        ),
        "VAEOutlierDetector(trimming=0.05), for training rows with outliers among them",
        "skvae",
    ),
    "knn": Entry(
        lambda seed, parameters: NearestNeighbour(5),
        "distance to the 5th neighbour, standardised columns",
        "scikit-learn",
    ),
    "lof": Entry(
        lambda seed, parameters: LocalFactor(),
        "LocalOutlierFactor, 20 neighbours, standardised columns",
        "scikit-learn",
    ),
    "iforest": Entry(
        lambda seed, parameters: FromEstimator(IsolationForest(random_state=seed)),
        "IsolationForest, defaults",
        "scikit-learn",
    ),
    "ocsvm": Entry(
        lambda seed, parameters: FromEstimator(
            make_pipeline(StandardScaler(), OneClassSVM())
        ),
        "OneClassSVM, defaults (RBF, nu 0.5), standardised columns",
        "scikit-learn",
    ),
    "ecod": Entry(_ecod, "PyOD's ECOD, defaults, standardised columns", "pyod"),
    "pyod-vae": Entry(
        _pyod_vae, "PyOD's VAE, defaults (30 epochs), standardised columns", "pyod"
    ),
}


def installed_version(name: str) -> str | None:
    """Version of a method's package; None where it is not installed."""
    package = DETECTORS[name].package
    if package == "skvae":
        return skvae.__version__
    try:
        return version(package)
    except PackageNotFoundError:
        return None
