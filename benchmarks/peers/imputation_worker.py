"""Imputers in an environment of their own: rows in, other rows completed out.

Run by `benchmarks.peers.elsewhere.Elsewhere` as ``PYTHON -m
benchmarks.peers.imputation_worker METHOD IN.json OUT.json`` from the checkout. In: the
tables ``train`` and ``test``, and ``seed``. Out: the table ``completed``, and
``seconds`` of fitting and of completing. With METHOD alone it prints the versions of
what is behind the method, as JSON.
"""

import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from benchmarks.peers import tables

N_DATASETS = 5
N_ITERATIONS = 5

# the first is the method itself
PACKAGES = {
    "miceforest": ("miceforest", "lightgbm", "numpy", "pandas", "scipy"),
    "hyperimpute": (
        "hyperimpute",
        "xgboost",
        "catboost",
        "scikit-learn",
        "torch",
        "numpy",
        "pandas",
    ),
}

Completed = tuple[pd.DataFrame, tuple[float, float]]


def miceforest(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Completed:
    """Fit models to ``train``, run their chains on ``test``, take means and majorities.

    A model for every column, so that rows may have holes where the training rows have
    none. Categories that ``test`` alone has are holes for the models.
    """
    from miceforest import ImputationKernel, imputation_kernel
    from miceforest.imputed_data import ImputedData

    class Counted(ImputedData):
        """New rows with their iterations counted, which miceforest 6 forgets.

        Without, every iteration starts from the random values of the first, and
        those are what `complete_data` returns.
        """

        def __setitem__(self, place: tuple[str, int, int], cells: pd.Series) -> None:
            super().__setitem__(place, cells)
            variable, iteration, dataset = place
            self.iteration_tab[variable, dataset] = iteration

    imputation_kernel.ImputedData = Counted
    started = time.perf_counter()
    train, test = train.copy(), test.copy()
    texts = [name for name in train if train[name].dtype == object]
    for name in texts:
        kind = pd.CategoricalDtype(sorted(train[name].dropna().unique()))
        train[name], test[name] = train[name].astype(kind), test[name].astype(kind)
    kernel = ImputationKernel(
        train,
        num_datasets=N_DATASETS,
        variable_schema=list(train),
        # the other way, by neighbours in log-odds, fails where a class is certain
        mean_match_strategy=dict.fromkeys(texts, "fast"),
        random_state=seed,
    )
    kernel.mice(N_ITERATIONS, num_threads=1)
    fitted = time.perf_counter()
    imputed = kernel.impute_new_data(test, random_state=seed)
    parts = [imputed.complete_data(dataset) for dataset in range(N_DATASETS)]
    completed = pool(parts, texts)
    return completed, (fitted - started, time.perf_counter() - fitted)


def pool(parts: list[pd.DataFrame], texts: list[str]) -> pd.DataFrame:
    """Mean over completions; of text the most frequent, of equals the first by name."""
    columns = {}
    for name in parts[0]:
        cells = pd.concat([part[name].astype(object) for part in parts], axis=1)
        columns[name] = (
            cells.mode(axis=1)[0].astype(object)
            if name in texts
            else cells.astype("float64").mean(axis=1)
        )
    return pd.DataFrame(columns)


def hyperimpute(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> Completed:
    """Complete both tables as one: the package fits anew to whatever it completes."""
    from hyperimpute.plugins.imputers import Imputers

    started = time.perf_counter()
    rows = pd.concat([train, test], ignore_index=True)
    imputer = Imputers().get("hyperimpute", random_state=seed)
    completed = imputer.fit_transform(rows).iloc[len(train) :].reset_index(drop=True)
    numeric = test.select_dtypes("number").columns
    completed = completed.astype(dict.fromkeys(numeric, "float64"))
    return completed, (time.perf_counter() - started, 0.0)


METHODS: dict[str, Callable[[pd.DataFrame, pd.DataFrame, int], Completed]] = {
    "miceforest": miceforest,
    "hyperimpute": hyperimpute,
}


def versions(method: str) -> dict[str, str | None]:
    """Versions of this python and of the packages; None where one is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES[method]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def main(method: str, source: str | None = None, target: str | None = None) -> None:
    """Complete from file to file, or print versions."""
    if source is None or target is None:
        print(json.dumps(versions(method)))
        return
    given, more = tables.read(Path(source))
    completed, seconds = METHODS[method](given["train"], given["test"], more["seed"])
    tables.write(Path(target), {"completed": completed}, seconds=seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
