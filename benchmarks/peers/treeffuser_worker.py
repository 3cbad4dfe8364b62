"""Treeffuser in an environment of its own: an npz of rows in, an npz of draws out.

Run by `benchmarks.peers.adapters.Treeffuser` as ``PYTHON -m
benchmarks.peers.treeffuser_worker IN.npz OUT.npz`` from the checkout. In: ``X_train``,
``y_train``, ``X_test``, ``n_samples``, ``seed``. Out: ``samples`` (N, S),
``fit_seconds``, ``predict_seconds``, ``memory`` (MiB that the peak grew by in the
fit).
"""

import sys
import time

import numpy as np
from treeffuser import Treeffuser

from benchmarks.peers.memory import peak_memory


def main(source: str, target: str) -> None:
    """Fit, draw, write."""
    with np.load(source) as arrays:
        X, y, X_test = arrays["X_train"], arrays["y_train"], arrays["X_test"]
        n_samples, seed = int(arrays["n_samples"]), int(arrays["seed"])
    before, started = peak_memory(), time.perf_counter()
    model = Treeffuser(seed=seed, n_jobs=1).fit(X, y)
    fitted, memory = time.perf_counter(), peak_memory() - before
    samples = model.sample(X_test, n_samples=n_samples, seed=seed)
    np.savez(
        target,
        samples=samples.reshape(n_samples, len(X_test)).T,
        fit_seconds=fitted - started,
        predict_seconds=time.perf_counter() - fitted,
        memory=memory,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
