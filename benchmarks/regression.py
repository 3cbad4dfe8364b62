"""Probabilistic regression on UCI sets: the library's defaults on the PBP splits.

Run ``python -m benchmarks.regression --data DIR`` (see ``--help``); ``--peers`` runs
other methods on the same rows. One setting for all sets, nothing tuned per set. The
tables go to standard output and, with every single split, to
``benchmarks/results/regression-NAME.json`` and ``.md``.
"""

import argparse
import sys

from benchmarks import command
from benchmarks.data import data_folder, load_uci
from benchmarks.measure import Row, run_all
from benchmarks.peers.adapters import Settings
from benchmarks.report import PUBLISHED, store, summarise, tables

N_SPLITS = 20
TITLE = "Probabilistic regression, UCI sets, PBP splits"
PRINTED = ("nll", "rmse", "crps", "coverage", "fit_seconds", "predict_seconds")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("regression", __doc__)
    command.add_data(parser)
    parser.add_argument("--sets", nargs="+", default=list(PUBLISHED), metavar="SET")
    parser.add_argument(
        "--splits", type=int, default=N_SPLITS, help="the first so many"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="splits at a time")
    command.add_overrides(parser)
    command.add_peers(parser)
    parser.add_argument(
        "--name", help="of the results, instead of one made from the rest"
    )
    return parser.parse_args(arguments)


def result_stem(options: argparse.Namespace) -> str:
    """Name of the result files; what differs from a full default run shows in it."""
    if options.name:
        return f"regression-{options.name}"
    complete = set(options.sets) == set(PUBLISHED)
    parts = ["all"] if complete else list(options.sets)
    parts += [f"{options.splits}splits"] * (options.splits != N_SPLITS)
    parts += [f"seed{options.seed}"] * (options.seed != 0)
    parts += [options.device] * (options.device != "auto")
    parts += [f"{key}={value}" for key, value in options.overrides]
    if options.peers is not None:
        parts += options.peers or ["peers"]
    parts += ["peers-only"] * options.peers_only
    return command.file_stem(["regression", *parts])


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the tables."""
    options = parse_arguments(arguments)
    parameters = {"random_state": options.seed, "device": options.device}
    parameters |= dict(options.overrides)
    settings = Settings(options.seed, parameters, options.treeffuser_python)
    folder, stem = data_folder(options.data), result_stem(options)
    methods = command.chosen_methods(options, settings)
    about = command.about_run("regression", arguments, options, settings, methods)
    loaded = {name: load_uci(folder, name) for name in options.sets}
    rows: list[Row] = []
    for row in run_all(loaded, options.splits, list(methods), settings, options.jobs):
        rows.append(row)
        figures = "  ".join(f"{key} {getattr(row, key):.3f}" for key in PRINTED)
        label = f"{row.set:<17} split {row.split:<2}  {row.method:<23}"
        print(f"{label}  {figures}", flush=True)
        store(stem, TITLE, rows, about)
    print(f"\n{tables(summarise(rows))}\n\nstored: {stem}.json, {stem}.md")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (FileNotFoundError, ModuleNotFoundError) as error:
        sys.exit(str(error))
