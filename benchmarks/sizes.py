"""Very few rows and many: coverage at n = 50, time and accuracy on large tables.

Run ``python -m benchmarks.sizes --data DIR`` (see ``--help``). Defaults throughout. The
tables go to standard output and to ``benchmarks/results/sizes.json`` and ``.md``.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks import command
from benchmarks.data import RegressionSet, data_folder, load_table, load_uci
from benchmarks.measure import Row, run_all
from benchmarks.peers.adapters import Settings
from benchmarks.report import PUBLISHED, store, summarise, tables

FEW, N_TEST = 50, 500
LARGE = ("california_housing", "diamonds")


def few_rows(data: RegressionSet, n_draws: int) -> RegressionSet:
    """Draws of 50 rows to train on and 500 others to test on, the seed their number."""
    splits = []
    for seed in range(n_draws):
        order = np.random.default_rng(seed).permutation(len(data.y))
        splits.append((order[:FEW], order[FEW : FEW + N_TEST]))
    return RegressionSet(data.X, data.y, splits)


def load(folder: Path, few: list[str], large: list[str], n_draws: int) -> dict:
    """All sets by the name that the table shows."""
    small = {
        f"{name}, {FEW} rows": few_rows(load_uci(folder, name), n_draws) for name in few
    }
    return small | {name: load_table(folder, name, n_splits=1) for name in large}


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("sizes", __doc__)
    command.add_data(parser)
    parser.add_argument("--few", nargs="*", default=list(PUBLISHED), metavar="SET")
    parser.add_argument("--large", nargs="*", default=list(LARGE), metavar="SET")
    parser.add_argument("--draws", type=int, default=8, help="of 50 rows")
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the tables."""
    options = parse_arguments(arguments)
    settings = Settings(0, {"random_state": 0}, None)
    about = command.about_run("sizes", arguments, options, settings)
    loaded = load(data_folder(options.data), options.few, options.large, options.draws)
    rows: list[Row] = []
    for row in run_all(loaded, options.draws, ["skvae"], settings, options.jobs):
        rows.append(row)
        line = f"{row.set:<30} {row.split:<2} coverage {row.coverage:.3f}"
        print(f"{line}  nll {row.nll:.3f}  fit {row.fit_seconds:.1f} s", flush=True)
        store("sizes", "Very few rows and many", rows, about)
    print(f"\n{tables(summarise(rows))}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FileNotFoundError as error:
        sys.exit(str(error))
