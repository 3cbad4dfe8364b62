"""Data with known p(y | x): how far what a method learns is from the truth.

Run ``python -m benchmarks.simulated`` (see ``--help``); ``--peers`` runs other methods
on the same rows. The measure is the Kullback-Leibler divergence of the truth from the
model, the mean of log p(y | x) - log model(y | x) over fresh test rows, in nats; 0 is
best. The library's defaults, nothing tuned; the simulators are frozen. The table goes
to standard output and, with every single fit, to ``benchmarks/results/simulated.json``
and ``.md``.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from benchmarks import command, report
from benchmarks.draws import redrawn
from benchmarks.measure import subset
from benchmarks.peers.adapters import METHODS, Settings
from benchmarks.peers.mixture_network import JointMixture
from benchmarks.peers.predictive import Array
from benchmarks.simulators import SIMULATORS

N_SEEDS = 3
N_ROWS = 1000
N_TEST = 2000

# -- one fit -------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What one fit gave; divergences and their errors over the test rows in nats.

    ``joint`` tells how the outputs were modelled, by the keys of `Fit.densities`.
    ``kl_doubled`` is the divergence of skvae with twice the draws of z.
    """

    simulator: str
    method: str
    joint: str
    seed: int
    training_rows: int
    kl: float
    kl_error: float
    kl_doubled: float | None
    fit_seconds: float


def run_seed(
    simulator: str, method: str, seed: int, n_rows: int, settings: Settings
) -> list[Row]:
    """Fit one method to one draw of the rows; several rows for two outputs."""
    truth, entry = SIMULATORS[simulator], METHODS[method]
    position = list(SIMULATORS).index(simulator)
    rng = np.random.default_rng([seed, position])
    X, y = truth.draw(n_rows, rng)
    X_test, y_test = truth.draw(N_TEST, rng)
    train = subset(np.arange(n_rows), entry.max_rows, seed)
    settings = replace(
        settings, seed=seed, parameters=settings.parameters | {"random_state": seed}
    )
    fit = Fit(method, settings, X[train], y[train], X_test, y_test)
    exact = truth.log_prob(X_test, y_test)
    rows = []
    for joint, (log_prob, doubled, seconds) in fit.densities().items():
        kl, error = divergence(exact, log_prob)
        rows.append(
            Row(
                simulator=simulator,
                method=method,
                joint=joint,
                seed=seed,
                training_rows=len(train),
                kl=kl,
                kl_error=error,
                kl_doubled=None if doubled is None else divergence(exact, doubled)[0],
                fit_seconds=seconds,
            )
        )
    return rows


def divergence(exact: Array, log_prob: Array) -> tuple[float, float]:
    """Mean of the log ratio over the rows and its standard error, in nats."""
    ratio = exact - log_prob
    return float(ratio.mean()), float(ratio.std(ddof=1) / math.sqrt(len(ratio)))


# log densities at the test rows, the same with twice the draws, seconds to fit
Density = tuple[Array, Array | None, float]


@dataclass(frozen=True)
class Fit:
    """A method, the rows to fit it to and the rows to ask it about."""

    method: str
    settings: Settings
    X: Array
    y: Array
    X_test: Array
    y_test: Array

    def densities(self) -> dict[str, Density]:
        """Log densities by how the outputs were modelled.

        skvae and mixture density networks model two outputs as they are. Other methods
        have one: they take the product of both marginals. All can take the chain rule
        in both orders, p(y₁ | x) p(y₂ | x, y₁) and p(y₂ | x) p(y₁ | x, y₂).
        """
        if self.y.ndim == 1:
            return {"whole": self._whole()}
        first, second = self._alone(0), self._alone(1)
        if self.method == "skvae":
            together = {"whole": self._whole()}
        elif self.method == "mixture-density-network":
            together = {"whole": self._joint_mixture()}
        else:
            together = {"marginals": both(first, second)}
        return {
            **together,
            "chain from y₁": both(first, self._given_other(1)),
            "chain from y₂": both(second, self._given_other(0)),
        }

    def _whole(self) -> Density:
        """Fit all outputs at once."""
        return self._fit(self.X, self.y, self.X_test, self.y_test)

    def _joint_mixture(self) -> Density:
        """Fit a mixture of normals of all outputs."""
        model = JointMixture(self.settings.seed)
        started = time.perf_counter()
        model.fit(self.X, self.y)
        seconds = time.perf_counter() - started
        return model.log_prob(self.X_test, self.y_test), None, seconds

    def _alone(self, output: int) -> Density:
        """Fit one output to the features."""
        y, y_test = self.y[:, output], self.y_test[:, output]
        return self._fit(self.X, y, self.X_test, y_test)

    def _given_other(self, output: int) -> Density:
        """Fit one output to the features and the other output."""
        X = np.column_stack([self.X, self.y[:, 1 - output]])
        X_test = np.column_stack([self.X_test, self.y_test[:, 1 - output]])
        return self._fit(X, self.y[:, output], X_test, self.y_test[:, output])

    def _fit(self, X: Array, y: Array, X_test: Array, y_test: Array) -> Density:
        model = METHODS[self.method].make(self.settings)
        started = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - started
        log_prob = model.predict(X_test).log_prob(y_test)
        if self.method != "skvae":
            return log_prob, None, seconds
        doubled = redrawn(model.model, self.settings.seed, times=2)
        return log_prob, doubled.score_samples(X_test, y_test), seconds


def both(first: Density, second: Density) -> Density:
    """Density of two outputs by two fits."""
    return first[0] + second[0], None, first[2] + second[2]


def run_all(
    simulators: list[str],
    methods: list[str],
    n_seeds: int,
    n_rows: int,
    settings: Settings,
    n_jobs: int,
) -> Iterator[list[Row]]:
    """Rows of all fits, each as soon as it and those before it are there."""
    work = [
        delayed(run_seed)(simulator, method, seed, n_rows, settings)
        for seed in range(n_seeds)
        for method in methods
        for simulator in simulators
    ]
    yield from Parallel(n_jobs=n_jobs, return_as="generator")(work)


# -- the table -----------------------------------------------------------------------

# mean and standard error over seeds, by method and simulator
Summary = dict[str, dict[str, dict[str, Any]]]


def label(row: Row) -> str:
    """Name of a line of the table."""
    chained = row.joint.startswith("chain")
    return f"{row.method}, {row.joint}" if chained else row.method


def summarise(rows: list[Row]) -> Summary:
    """Mean and standard error over the seeds, for every line and simulator."""
    summary: Summary = {}
    for name, simulator in dict.fromkeys((label(row), row.simulator) for row in rows):
        mine = [r for r in rows if (label(r), r.simulator) == (name, simulator)]
        kl = np.array([row.kl for row in mine])
        entry = {
            "joint": mine[0].joint,
            "seeds": len(mine),
            "mean": float(kl.mean()),
            "standard_error": report.standard_error(kl),
            "fit_seconds": float(np.mean([row.fit_seconds for row in mine])),
        }
        if mine[0].kl_doubled is not None:
            entry["gain_of_doubling"] = float(
                np.mean([row.kl - row.kl_doubled for row in mine])
            )
        summary.setdefault(name, {})[simulator] = entry
    return summary


def table(summary: Summary) -> str:
    """Build the divergences: a line a method, a column a simulator, the best bold."""
    columns = [
        s for s in SIMULATORS if any(s in entries for entries in summary.values())
    ]
    best = {
        s: min(entries[s]["mean"] for entries in summary.values() if s in entries)
        for s in columns
    }
    lines = [
        [name, *(cell(entries.get(s), best[s]) for s in columns)]
        for name, entries in summary.items()
    ]
    return report.markdown(["method", *columns], lines)


def cell(entry: dict[str, Any] | None, best: float) -> str:
    """One figure; bold if best, marked if it is of a product of marginals."""
    if entry is None:
        return ""
    text = report.in_words(entry) + " ×" * (entry["joint"] == "marginals")
    return f"**{text}**" if entry["mean"] == best else text


def doubling_table(summary: Summary) -> str:
    """Tell what twice the draws of z take from skvae's divergences; may be empty."""
    entries = summary.get("skvae", {})
    lines = [
        [s, f"{entry['gain_of_doubling']:.4f}", f"{entry['fit_seconds']:.1f}"]
        for s, entry in entries.items()
    ]
    header = ["simulator", "KL less with twice the draws, nats", "fit, s"]
    return report.markdown(header, lines) if lines else ""


def store(stem: str, rows: list[Row], about: dict[str, Any]) -> None:
    """Write what is there so far as JSON and as a page with the table."""
    summary = summarise(rows)
    report.write(stem, {**about, "summary": summary}, rows, page(summary, about))


def page(summary: Summary, about: dict[str, Any]) -> str:
    """Markdown page: the table, then how it came about."""
    truths = "\n".join(
        f"- {name}: {' '.join((type(s).__doc__ or '').split())}"
        for name, s in SIMULATORS.items()
    )
    joint = " ".join((JointMixture.__doc__ or "").split())
    joint = joint[0].lower() + joint[1:]
    seeds = {e["seeds"] for entries in summary.values() for e in entries.values()}
    n_seeds = " to ".join(str(n) for n in sorted({min(seeds), max(seeds)}))
    return f"""# Simulated data with known p(y | x)

Kullback-Leibler divergence of the truth from the model in nats, on {N_TEST} test rows
after {about["training_rows"]} training rows: mean ± standard error over {n_seeds}
seeds, each with rows of its own. Lower is better, 0 is the truth, the best of a column
is bold.

{table(summary)}

"×": two outputs as the product of their marginals, which no fit can make dependent.
"Chain from y₁": p(y₁ | x) p(y₂ | x, y₁), two fits of the method; from y₂ the other way
round. The curved joint was drawn from y₁, which a user would not know. Peers with
quantiles or draws have a density only by a rule (`peers/predictive.py`), and their
figures hang on it. "mixture-density-network" on two outputs without "×": {joint}

skvae's densities are estimates over draws of z, the same for all rows, so their error
does not average out over rows; on average it makes the divergence larger. What doubling
the draws takes away, mean over seeds:

{doubling_table(summary)}

The simulators:

{truths}

One setting for all, nothing tuned:

{report.method_list(about)}

{report.provenance(about)}"""


# -- the command line ----------------------------------------------------------------


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("simulated", __doc__)
    names = list(SIMULATORS)
    parser.add_argument("--simulators", nargs="+", default=names, choices=names)
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="how many")
    parser.add_argument("--rows", type=int, default=N_ROWS, help="to train on")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time")
    command.add_overrides(parser)
    command.add_peers(parser)
    parser.add_argument("--name", help="of the results")
    return parser.parse_args(arguments)


def result_stem(options: argparse.Namespace) -> str:
    """Name of the result files; what differs from a full default run shows in it."""
    if options.name:
        return f"simulated-{options.name}"
    parts = ["simulated"]
    if set(options.simulators) != set(SIMULATORS):
        parts += options.simulators
    parts += [f"{options.seeds}seeds"] * (options.seeds != N_SEEDS)
    parts += [f"{options.rows}rows"] * (options.rows != N_ROWS)
    parts += [f"{key}={value}" for key, value in options.overrides]
    parts += options.peers or []
    parts += ["peers-only"] * options.peers_only
    return command.file_stem(parts)


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the table."""
    options = parse_arguments(arguments)
    parameters = {"device": options.device} | dict(options.overrides)
    settings = Settings(0, parameters, options.treeffuser_python)
    methods, stem = command.chosen_methods(options, settings), result_stem(options)
    sizes = {"training_rows": options.rows, "test_rows": N_TEST}
    about = command.about_run(
        "simulated", arguments, options, settings, methods, **sizes
    )
    rows: list[Row] = []
    for found in run_all(
        options.simulators,
        list(methods),
        options.seeds,
        options.rows,
        settings,
        options.jobs,
    ):
        for row in found:
            name = f"{row.simulator:<16} seed {row.seed}  {label(row):<36}"
            print(
                f"{name} {row.kl:8.4f} ± {row.kl_error:.4f}  {row.fit_seconds:6.1f} s",
                flush=True,
            )
        rows += found
        store(stem, rows, about)
    print(f"\n{table(summarise(rows))}\n\nstored: {stem}.json, {stem}.md")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ModuleNotFoundError as error:
        sys.exit(str(error))
