"""One method on one split: a row of figures, measured in a process of its own."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.context import BaseContext

import numpy as np
from joblib import Parallel, delayed

from benchmarks.data import RegressionSet
from benchmarks.peers.adapters import METHODS, Cost, Settings
from benchmarks.peers.memory import peak_memory
from benchmarks.peers.predictive import Array, Predictive, calibration_error

COVERAGE = 0.9


@dataclass(frozen=True)
class Row:
    """What one split gave; likelihoods in nats, errors in the units of the target.

    ``calibration`` is the mean absolute calibration error of the PIT values, ``memory``
    the growth of the peak of the resident set during the fit in MiB (not a device's).
    """

    set: str
    method: str
    split: int
    training_rows: int
    nll: float
    rmse: float
    crps: float
    coverage: float
    calibration: float
    fit_seconds: float
    predict_seconds: float
    memory: float


def run_split(
    name: str, data: RegressionSet, split: int, method: str, settings: Settings
) -> Row:
    """Fit on the training rows of one split, measure on its test rows."""
    entry = METHODS[method]
    train, test = data.splits[split]
    train = subset(train, entry.max_rows, settings.seed + split)
    model = entry.make(settings)
    before, started = peak_memory(), time.perf_counter()
    model.fit(data.features(train), data.y[train])
    fitted, memory = time.perf_counter(), peak_memory() - before
    answer = model.predict(data.features(test))
    mean = answer.mean()
    measured = Cost(fitted - started, time.perf_counter() - fitted, memory)
    return Row(
        set=name,
        method=method,
        split=split,
        training_rows=len(train),
        **score(answer, mean, data.y[test]),
        **vars(model.cost or measured),
    )


def subset(rows: np.ndarray, max_rows: int | None, seed: int) -> np.ndarray:
    """All rows, or a random ``max_rows`` of them."""
    if max_rows is None or len(rows) <= max_rows:
        return rows
    return np.random.default_rng(seed).choice(rows, max_rows, replace=False)


def score(answer: Predictive, mean: Array, y: Array) -> dict[str, float]:
    """Compare predictive distributions with what came."""
    low, high = answer.interval(COVERAGE).T
    return {
        "nll": float(-answer.log_prob(y).mean()),
        "rmse": float(np.sqrt(np.mean((mean - y) ** 2))),
        "crps": float(answer.crps(y).mean()),
        "coverage": float(np.mean((low <= y) & (y <= high))),
        "calibration": calibration_error(answer.cdf(y)),
    }


def run_all(
    loaded: dict[str, RegressionSet],
    n_splits: int,
    methods: list[str],
    settings: Settings,
    n_jobs: int,
) -> Iterator[Row]:
    """Rows of all sets, each as soon as it and those before it are there.

    Every row comes from a fresh process, so that its memory is its own. The threads
    here only wait for those.
    """
    context = fresh_context()
    work = [
        delayed(in_fresh_process)(context, name, data, split, method, settings)
        for name, data in loaded.items()
        for split in range(min(n_splits, len(data.splits)))
        for method in methods
    ]
    parallel = Parallel(n_jobs=n_jobs, backend="threading", return_as="generator")
    yield from parallel(work)


def in_fresh_process(context: BaseContext, *arguments: object) -> Row:
    """`run_split` in a process that ends with it."""
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run_split, *arguments).result()


def fresh_context() -> BaseContext:
    """Start processes from a server that has imported, but never computed.

    One thread each, unless the environment says otherwise: peers compare on the same
    footing, and ``--jobs`` says what else runs.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.measure"])
    return context
