"""Probabilistic regression on UCI sets: the library's defaults on the PBP splits.

Run ``python -m benchmarks.regression --data DIR`` (see ``--help``); ``--peers`` runs
other methods on the same rows. One setting for all sets, nothing tuned per set. The
tables go to standard output and, with every single split, to
``benchmarks/results/regression-NAME.json`` and ``.md``.
"""

import argparse
import ast
import shlex
import sys

from benchmarks.data import data_folder, load_uci
from benchmarks.environment import describe
from benchmarks.measure import Row, run_all
from benchmarks.peers.adapters import (
    METHODS,
    PEERS,
    Settings,
    how_to_install,
    package_version,
)
from benchmarks.report import PUBLISHED, store, summarise, tables
from skvae import CVAERegressor

N_SPLITS = 20
TITLE = "Probabilistic regression, UCI sets, PBP splits"
PRINTED = ("nll", "rmse", "crps", "coverage", "fit_seconds", "predict_seconds")


def parse_override(text: str) -> tuple[str, object]:
    """Split ``key=value``; a value that is no Python literal stays text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"expected key=value, got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.regression", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", metavar="DIR", help="default: $SKVAE_DATA")
    parser.add_argument("--sets", nargs="+", default=list(PUBLISHED), metavar="SET")
    parser.add_argument(
        "--splits", type=int, default=N_SPLITS, help="the first so many"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="splits at a time")
    parser.add_argument(
        "--set",
        dest="overrides",
        type=parse_override,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value than the default of a parameter; may be repeated",
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=PEERS,
        metavar="PEER",
        help=f"run these too, or all that are installed: {', '.join(PEERS)}",
    )
    parser.add_argument(
        "--peers-only", action="store_true", help="leave skvae itself out"
    )
    parser.add_argument(
        "--treeffuser-python",
        metavar="PATH",
        help="python of an environment that has treeffuser",
    )
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
    return "regression-" + "-".join(parts).replace("/", "_").replace(" ", "")


def shown_command(
    arguments: list[str], hidden: dict[str, str | None], module: str = "regression"
) -> str:
    """Spell the command as it can be repeated elsewhere, with words for paths."""
    shown = list(arguments)
    for word, path in hidden.items():
        if path is not None:
            shown = [argument.replace(path, word) for argument in shown]
    return shlex.join(["python", "-m", f"benchmarks.{module}", *shown])


def chosen_methods(
    options: argparse.Namespace, settings: Settings
) -> dict[str, str | None]:
    """Methods to run and the versions of their packages.

    Without names those that are not installed are left out, with a line for each.

    Raises
    ------
    ModuleNotFoundError
        If a peer that was named is not installed.
    """
    methods = (
        {} if options.peers_only else {"skvae": package_version("skvae", settings)}
    )
    if options.peers is None:
        return methods
    for name in options.peers or PEERS:
        installed = package_version(name, settings)
        if installed is not None:
            methods[name] = installed
        elif options.peers:
            raise ModuleNotFoundError(how_to_install(name))
        else:
            print(how_to_install(name))
    return methods


def about_run(
    command: str, jobs: int, settings: Settings, methods: dict[str, str | None]
) -> dict[str, object]:
    """Collect what the figures depend on, to be stored with them."""
    about = {
        "command": command,
        "seed": settings.seed,
        "parameters": settings.parameters,
        "all_parameters": CVAERegressor(**settings.parameters).get_params(),
        "jobs": jobs,
        "methods": {name: METHODS[name].about for name in methods},
        **describe(),
    }
    packages = {METHODS[name].package: found for name, found in methods.items()}
    about["versions"] = packages | about["versions"]
    return about


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the tables."""
    options = parse_arguments(arguments)
    parameters = {"random_state": options.seed, "device": options.device}
    parameters |= dict(options.overrides)
    settings = Settings(options.seed, parameters, options.treeffuser_python)
    folder, stem = data_folder(options.data), result_stem(options)
    methods = chosen_methods(options, settings)
    hidden = {"DIR": options.data, "PATH": options.treeffuser_python}
    command = shown_command(arguments, hidden)
    about = about_run(command, options.jobs, settings, methods)
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
