"""What the latent is worth: the defaults beside the same network without a latent.

Run ``python -m benchmarks.ablation --data DIR`` (see ``--help``). Joint targets: the
second half of a table's numeric columns given the first half, at most 5000 rows, random
splits of 90/10. One target: UCI sets on their published splits. The table goes to
standard output and to ``benchmarks/results/ablation.json`` and ``.md``, where the rows
of other sets are kept.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from benchmarks import command, report
from benchmarks.data import RegressionSet, data_folder, load_halves, load_uci
from benchmarks.draws import N_SETS, monte_carlo_errors
from benchmarks.peers.adapters import Settings
from benchmarks.report import PUBLISHED, in_words, markdown, standard_error
from skvae import CVAERegressor

JOINT = ("breast_wdbc", "wine_white", "california_housing", "yeast", "banknote")
NO_LATENT = {"n_components": 0}
MAX_ROWS = 5000  # of a table


@dataclass(frozen=True)
class Row:
    """Both fits on one split; nats per row, targets divided by their deviation."""

    set: str
    split: int
    n_outputs: int
    nll: float
    nll_without: float
    kl: float
    active_units: int
    fit_seconds: float
    score_error_median: float
    score_error: float
    predict_error: float
    commit: str = ""

    @property
    def gain(self) -> float:
        """Nats per row that the latent is worth."""
        return self.nll_without - self.nll


def load(folder: Path, name: str, n_splits: int) -> RegressionSet:
    """Joint targets from a table, or one target from a UCI set."""
    if (folder / "uci" / f"{name}.npz").is_file():
        return load_uci(folder, name)
    return load_halves(folder, name, n_splits, MAX_ROWS)


def run_split(
    name: str, data: RegressionSet, split: int, parameters: dict[str, Any]
) -> Row:
    """Fit with and without a latent on the same rows and seed."""
    train, test = data.splits[split]
    y = data.y / data.y[train].std(axis=0)
    seeded = {"random_state": split, **parameters}
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = CVAERegressor(**seeded).fit(data.X[train], y[train])
        seconds = time.perf_counter() - started
        plain = CVAERegressor(**seeded | NO_LATENT).fit(data.X[train], y[train])
    errors = monte_carlo_errors(model, data.X[test], y[test])
    return Row(
        set=name,
        split=split,
        n_outputs=1 if y.ndim == 1 else y.shape[1],
        nll=float(-model.score_samples(data.X[test], y[test]).mean()),
        nll_without=float(-plain.score_samples(data.X[test], y[test]).mean()),
        kl=float(model.kl_per_dimension_.sum()),
        active_units=model.active_units_,
        fit_seconds=seconds,
        score_error_median=errors[0],
        score_error=errors[1],
        predict_error=errors[2],
    )


def run_all(
    folder: Path, sets: list[str], n_splits: int, parameters: dict[str, Any], jobs: int
) -> Iterator[Row]:
    """Rows of all sets, in order."""
    work = [
        delayed(run_split)(name, data, split, parameters)
        for name in sets
        for data in [load(folder, name, n_splits)]
        for split in range(min(n_splits, len(data.splits)))
    ]
    yield from Parallel(n_jobs=jobs, return_as="generator")(work)


def table(rows: list[Row]) -> str:
    """One line a set: both likelihoods, the paired difference, what the latent does."""
    header = ["set", "targets", "splits", "NLL", "NLL without latent", "gain"]
    header += ["KL", "active units", "fit, s", "error of log p, nats"]
    header += ["error of prediction", "commit"]
    lines = []
    for name in dict.fromkeys(row.set for row in rows):
        mine = [row for row in rows if row.set == name]
        columns = [
            in_words({"mean": float(v.mean()), "standard_error": standard_error(v)})
            for key in ("nll", "nll_without", "gain", "kl", "active_units")
            for v in [np.array([getattr(row, key) for row in mine], dtype=float)]
        ]
        seconds = f"{np.median([row.fit_seconds for row in mine]):.0f}"
        errors = np.mean(
            [[r.score_error_median, r.score_error, r.predict_error] for r in mine], 0
        )
        columns += [seconds, f"{errors[0]:.4f} / {errors[1]:.4f}", f"{errors[2]:.2%}"]
        columns.append(" ".join(dict.fromkeys(row.commit for row in mine)))
        lines.append([name, str(mine[0].n_outputs), str(len(mine)), *columns])
    return markdown(header, lines)


def page(rows: list[Row], about: dict[str, Any]) -> str:
    """Markdown page: the table, then how it came about."""
    return f"""# What the latent is worth

{table(rows)}

Mean ± standard error over splits; nats per row, each target divided by its standard
deviation. "Without latent" is the same network with `n_components=0`, on the same rows
with the same seed; "gain" is the mean of the paired differences, above 0 where the
latent helps. KL between posterior and PriorNet and dimensions above 0.01 nats are those
of the best member. Errors are Monte Carlo errors of a row, standard deviations over
{N_SETS} sets of fixed draws with the same networks: median / mean over the test rows,
and for the prediction the mean in predictive standard deviations. Seed of the networks:
the number of the split. Sets were added run by run; below is the last.

{report.provenance(about)}"""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("ablation", __doc__)
    command.add_data(parser)
    everything = [*JOINT, *PUBLISHED]
    parser.add_argument("--sets", nargs="+", default=everything, metavar="SET")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="splits at a time")
    command.add_overrides(parser)
    parser.add_argument("--name", default="ablation", help="of the result files")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the table."""
    options = parse_arguments(arguments)
    parameters = dict(options.overrides)
    about = command.about_run("ablation", arguments, options, Settings(0, parameters))
    folder = data_folder(options.data)
    earlier = report.earlier(options.name, Row)
    rows = [row for row in earlier if row.set not in options.sets]
    commit = about["versions"]["commit"]
    for row in run_all(folder, options.sets, options.splits, parameters, options.jobs):
        rows.append(replace(row, commit=commit))
        line = f"{row.set:<18} split {row.split}  gain {row.gain:7.3f}"
        print(f"{line}  KL {row.kl:6.2f}  active {row.active_units}", flush=True)
        report.write(options.name, about, rows, page(rows, about))
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FileNotFoundError as error:
        sys.exit(str(error))
