"""skvae and its peers behind one interface, each with one stated setting for all sets.

A factory of `METHODS` imports what it needs, so that what is not installed hurts only
where it is asked for, and so that imports are not part of a measured fit.
"""

import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import BayesianRidge as SklearnBayesianRidge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skvae
from benchmarks.peers.predictive import (
    Array,
    Latent,
    Predictive,
    Quantiles,
    Samples,
    smallest_scale,
)
from skvae import CVAERegressor
from skvae._predictive import independent_normals

CHECKOUT = Path(__file__).parent.parent.parent
# 0.05 and 0.95 bound the 90 % interval
LEVELS = np.array([0.025, *(np.arange(1, 20) / 20), 0.975])


@dataclass(frozen=True)
class Settings:
    """What a run fixes: the seed, skvae's parameters, treeffuser's python."""

    seed: int = 0
    parameters: dict[str, object] = field(default_factory=dict)
    treeffuser_python: str | None = None


@dataclass(frozen=True)
class Cost:
    """Seconds, and MiB by which the peak of the resident set grew during the fit."""

    fit_seconds: float
    predict_seconds: float
    memory: float


class Method(ABC):
    """A method with its setting.

    ``cost`` is what fit and predict took where the method measured it itself, which is
    where another process does the work.
    """

    cost: Cost | None = None

    @abstractmethod
    def fit(self, X: Array, y: Array) -> None:
        """Fit to rows X (N, D) and y (N,)."""

    @abstractmethod
    def predict(self, X: Array) -> Predictive:
        """Predictive distribution of each row."""


class Skvae(Method):
    """`CVAERegressor` with the library's defaults, and what ``--set`` changes."""

    def __init__(self, settings: Settings, **fixed: object):
        common = {"random_state": settings.seed}
        self.model = CVAERegressor(**common | fixed | self._taken(settings))

    def _taken(self, settings: Settings) -> dict[str, object]:
        return settings.parameters

    def fit(self, X: Array, y: Array) -> None:
        """Fit the regressor."""
        self.model.fit(X, y)

    def predict(self, X: Array) -> Predictive:
        """Ask for the mixture and for the likelihood."""
        return Latent(self.model, X)


class _SkvaeVariant(Skvae):
    """Another method on skvae's networks; of the parameters only the device counts."""

    def _taken(self, settings: Settings) -> dict[str, object]:
        return {k: v for k, v in settings.parameters.items() if k == "device"}


class DeepEnsemble(_SkvaeVariant):
    """Five heteroscedastic Gaussian networks (Lakshminarayanan et al. 2017).

    skvae's trunk and training without latent and embedding. Budget: 5 members of two
    layers of 128, at most 240 epochs, early stopping.
    """

    def __init__(self, settings: Settings):
        super().__init__(
            settings,
            n_components=0,
            n_mixtures=1,
            n_estimators=5,
            numeric_embedding=None,
        )


class MixtureDensityNetwork(_SkvaeVariant):
    """One network with five Gaussian components (Bishop 1994) on skvae's trunk.

    Budget: one net of two layers of 128, at most 240 epochs, early stopping.
    """

    def __init__(self, settings: Settings):
        super().__init__(settings, n_components=0, n_mixtures=5, n_estimators=1)


class NGBoost(Method):
    """Natural gradient boosting of a normal; its defaults: 500 stages, rate 0.01."""

    def __init__(self, settings: Settings):
        from ngboost import NGBRegressor
        from ngboost.distns import Normal

        self.model = NGBRegressor(
            Dist=Normal, random_state=settings.seed, verbose=False
        )

    def fit(self, X: Array, y: Array) -> None:
        """Fit all stages; there is no early stopping."""
        self.model.fit(X, y)

    def predict(self, X: Array) -> Predictive:
        """Take mean and scale of the normal."""
        answer = self.model.pred_dist(X)
        return independent_normals(answer.loc, answer.scale)


class CatBoost(Method):
    """CatBoost's ``RMSEWithUncertainty``: plain mean and variance of one model.

    No virtual ensemble. Budget: its defaults, at most 1000 trees of depth 6; a tenth of
    the training rows held out, patience of 50 trees, the best trees kept; one thread.
    """

    def __init__(self, settings: Settings):
        from catboost import CatBoostRegressor

        self.seed = settings.seed
        self.model = CatBoostRegressor(
            loss_function="RMSEWithUncertainty",
            early_stopping_rounds=50,
            random_seed=settings.seed,
            thread_count=1,
            verbose=False,
            allow_writing_files=False,
        )

    def fit(self, X: Array, y: Array) -> None:
        """Fit until the held-out rows no longer gain."""
        X, X_held, y, y_held = train_test_split(
            X, y, test_size=0.1, random_state=self.seed
        )
        self.model.fit(X, y, eval_set=(X_held, y_held))

    def predict(self, X: Array) -> Predictive:
        """Read mean and variance off the one model."""
        mean, var = self.model.predict(X).T
        return independent_normals(mean, np.sqrt(var))


class QuantileForest(Method):
    """Quantile regression forest: its defaults, 100 trees, 21 levels, forest mean."""

    def __init__(self, settings: Settings):
        from quantile_forest import RandomForestQuantileRegressor

        self.model = RandomForestQuantileRegressor(random_state=settings.seed)

    def fit(self, X: Array, y: Array) -> None:
        """Grow the trees."""
        self.floor, self.spread = smallest_scale(y), float(y.std())
        self.model.fit(X, y)

    def predict(self, X: Array) -> Predictive:
        """Quantiles of the training targets in the leaves, and their mean."""
        values = self.model.predict(X, quantiles=list(LEVELS))
        mean = self.model.predict(X, quantiles="mean")
        return Quantiles(LEVELS, values, self.floor, self.spread, mean)


class HistGradientBoosting(Method):
    """One `HistGradientBoostingRegressor` per quantile, 21 levels, 100 trees each."""

    def __init__(self, settings: Settings):
        self.models = [
            HistGradientBoostingRegressor(
                loss="quantile", quantile=level, random_state=settings.seed
            )
            for level in LEVELS
        ]

    def fit(self, X: Array, y: Array) -> None:
        """Fit the levels one after the other."""
        self.floor, self.spread = smallest_scale(y), float(y.std())
        for model in self.models:
            model.fit(X, y)

    def predict(self, X: Array) -> Predictive:
        """Collect the quantiles, (N, 21)."""
        values = np.stack([model.predict(X) for model in self.models], axis=1)
        return Quantiles(LEVELS, values, self.floor, self.spread)


class _Standardised(Method):
    """A scikit-learn regressor with ``return_std``, on standardised columns and y."""

    def __init__(self, model: Any):
        self.model = make_pipeline(StandardScaler(), model)

    def fit(self, X: Array, y: Array) -> None:
        """Standardise and fit."""
        self.shift, self.scale = y.mean(), y.std()
        self.model.fit(X, (y - self.shift) / self.scale)

    def predict(self, X: Array) -> Predictive:
        """Take mean and standard deviation, noise included."""
        mean, std = self.model.predict(X, return_std=True)
        return independent_normals(self.shift + self.scale * mean, self.scale * std)


class GaussianProcess(_Standardised):
    """Gaussian process: one length scale a column, Matern 5/2, and noise.

    Budget: one run of the marginal likelihood's optimiser from length scales 1 and
    noise 0.1; at most 2000 training rows, drawn at random.
    """

    def __init__(self, settings: Settings):
        self.seed = settings.seed

    def fit(self, X: Array, y: Array) -> None:
        """Make the kernel for the columns of X and fit."""
        bounds = (1e-2, 1e3)
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(
            np.ones(X.shape[1]), bounds, nu=2.5
        ) + WhiteKernel(0.1, (1e-6, 1e1))
        super().__init__(GaussianProcessRegressor(kernel, random_state=self.seed))
        super().fit(X, y)


class BayesianRidge(_Standardised):
    """Bayesian linear regression with learned precisions; its defaults."""

    def __init__(self, settings: Settings):
        super().__init__(SklearnBayesianRidge())


class Treeffuser(Method):
    """Diffusion with boosted trees, in an environment of its own; 100 draws a row.

    Budget: its defaults, at most 3000 trees with early stopping on 30 noisy copies of
    each row, 50 solver steps; one thread.
    """

    n_samples = 100

    def __init__(self, settings: Settings):
        # not `resolve`: a link to python is what marks an environment
        self.python = str(Path(settings.treeffuser_python or "").absolute())
        self.seed = settings.seed

    def fit(self, X: Array, y: Array) -> None:
        """Keep the rows: the other process fits and predicts in one go."""
        self.rows = X, y

    def predict(self, X: Array) -> Predictive:
        """Run the worker, take its draws and what it measured."""
        X_train, y_train = self.rows
        with tempfile.TemporaryDirectory() as name:
            source, target = Path(name) / "in.npz", Path(name) / "out.npz"
            np.savez(
                source,
                X_train=X_train,
                y_train=y_train,
                X_test=X,
                n_samples=self.n_samples,
                seed=self.seed,
            )
            module = "benchmarks.peers.treeffuser_worker"
            command = [self.python, "-m", module, str(source), str(target)]
            subprocess.run(command, cwd=CHECKOUT, check=True)
            with np.load(target) as arrays:
                answer = {key: arrays[key] for key in arrays.files}
        samples = answer.pop("samples")
        self.cost = Cost(**{key: float(value) for key, value in answer.items()})
        return Samples(samples, smallest_scale(y_train))


@dataclass(frozen=True)
class Entry:
    """A method of the registry: how to make it, what it needs, how many rows it gets.

    Where a set has more training rows than ``max_rows``, it gets a random subset.
    """

    make: Callable[[Settings], Method]
    package: str = "scikit-learn"
    max_rows: int | None = None

    @property
    def about(self) -> str:
        """The setting and the budget, as the docstring tells them."""
        return " ".join((self.make.__doc__ or "").replace("\n", " ").split())


METHODS = {
    "skvae": Entry(Skvae, "skvae"),
    "ngboost": Entry(NGBoost, "ngboost"),
    "catboost": Entry(CatBoost, "catboost"),
    "quantile-forest": Entry(QuantileForest, "quantile-forest"),
    "hist-gradient-boosting": Entry(HistGradientBoosting),
    "gaussian-process": Entry(GaussianProcess, max_rows=2000),
    "deep-ensemble": Entry(DeepEnsemble, "skvae"),
    "mixture-density-network": Entry(MixtureDensityNetwork, "skvae"),
    "bayesian-ridge": Entry(BayesianRidge),
    "treeffuser": Entry(Treeffuser, "treeffuser"),
}
PEERS = [name for name in METHODS if name != "skvae"]


def package_version(name: str, settings: Settings) -> str | None:
    """Version of the package behind a method; None where it is not installed."""
    package = METHODS[name].package
    if package == "skvae":  # runs from the checkout, installed or not
        return skvae.__version__
    if package != "treeffuser":
        try:
            return version(package)
        except PackageNotFoundError:
            return None
    if settings.treeffuser_python is None:
        return None
    code = f"from importlib.metadata import version; print(version({package!r}))"
    command = [settings.treeffuser_python, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def how_to_install(name: str) -> str:
    """One line that says that a peer is not installed, and what to do."""
    package = METHODS[name].package
    if package == "treeffuser":
        return (
            "treeffuser is not installed: its pins need an environment of its own; "
            "make one as benchmarks/record/peers.md says and give "
            "--treeffuser-python PATH."
        )
    python = Path(sys.executable).name
    return (
        f"{name} is not installed: {python} -m pip install {package} "
        "(or all peers: skvae[bench])."
    )
