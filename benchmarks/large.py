"""Large tables end to end with defaults: seconds of every step, and peak memory.

Run ``python -m benchmarks.large --data DIR`` (see ``--help``) on a machine that does
nothing else. The table goes to standard output and to ``benchmarks/results/large.json``
and ``.md``.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import command, report
from benchmarks.data import data_folder, read_table
from benchmarks.environment import describe
from benchmarks.peers.memory import peak_memory
from skvae import VAETransformer

SETS = ("diamonds", "adult")
HOLES, COMPLETED = 0.2, 2000  # share of removed cells, rows that are completed
MEGABYTE = 2**20 / 1e6  # a MiB
STEPS = ("fit", "score_samples", "transform", "sample", "impute")


@dataclass(frozen=True)
class Row:
    """One table; seconds of wall time, megabytes of 1e6 bytes."""

    set: str
    rows: int
    columns: int
    table: float  # megabytes in memory
    before: float  # peak megabytes of the process when the table is read
    peak: float  # megabytes at the end
    fit: float
    score_samples: float
    transform: float
    sample: float
    impute: float

    @property
    def seconds(self) -> float:
        """All steps together."""
        return sum(asdict(self)[step] for step in STEPS)

    @property
    def allowed(self) -> float:
        """Megabytes: three times the table and 500."""
        return 3.0 * self.table + 500.0


def run_one(folder: Path, name: str, seed: int) -> Row:
    """Fit, score, transform and sample all rows; complete some that have holes."""
    table = read_table(folder, name)[0]
    before = peak_memory() * MEGABYTE
    model = VAETransformer(random_state=seed)
    first = table.head(COMPLETED)
    removed = np.random.default_rng(seed).random(first.shape) < HOLES
    holes = first.mask(removed)
    work: dict[str, Callable[[], object]] = {
        "fit": lambda: model.fit(table),
        "score_samples": lambda: model.score_samples(table),
        "transform": lambda: model.transform(table),
        "sample": lambda: model.sample(len(table), random_state=seed),
        "impute": lambda: model.impute(holes, random_state=seed),
    }
    seconds = {}
    for step in STEPS:
        started = time.perf_counter()
        work[step]()
        seconds[step] = time.perf_counter() - started
    return Row(
        set=name,
        rows=len(table),
        columns=table.shape[1],
        table=table.memory_usage(deep=True).sum() / 1e6,
        before=before,
        peak=peak_memory() * MEGABYTE,
        **seconds,
    )


def in_fresh_process(folder: Path, name: str, seed: int) -> Row:
    """`run_one` in a process of its own, whose peak is that of this table."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(run_one, folder, name, seed).result()


def table_of(rows: list[Row]) -> str:
    """One line a table."""
    header = ["set", "rows x columns", "table, MB"]
    header += [f"{step}, s" for step in STEPS]
    header += ["all, s", "peak, MB", "of which before `fit`", "3 tables + 500 MB"]
    lines = []
    for row in rows:
        line = [row.set, f"{row.rows:,} x {row.columns}", f"{row.table:.0f}"]
        line += [f"{asdict(row)[step]:.1f}" for step in STEPS]
        line += [f"{row.seconds:.0f}", f"{row.peak:.0f}"]
        lines.append([*line, f"{row.before:.0f}", f"{row.allowed:.0f}"])
    return report.markdown(header, lines)


def page(rows: list[Row], about: dict[str, Any]) -> str:
    """Markdown page: the table, then how it came about."""
    return f"""# Large tables end to end

{table_of(rows)}

`VAETransformer` with defaults: `fit`, scores and latents of all rows of the table as it
is, as many new rows, and {COMPLETED} rows completed with {HOLES:.0%} of their cells
removed. Wall time. The peak is that of the resident set of a process of its own,
imports and the table with it; MB are 1e6 bytes.

{report.provenance(about)}"""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = command.make_parser("large", __doc__)
    command.add_data(parser)
    parser.add_argument("--sets", nargs="+", default=list(SETS), metavar="SET")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the benchmark; print and store the table."""
    options = parse_arguments(arguments)
    folder = data_folder(options.data, "tables")
    about: dict[str, Any] = {
        "command": command.shown_command("large", arguments, {"DIR": options.data}),
        "seed": 0,
        "parameters": {},
        "jobs": 1,
        "threads": f"{torch.get_num_threads()} threads",
        **describe(),
    }
    rows: list[Row] = []
    for name in options.sets:
        rows.append(in_fresh_process(folder, name, about["seed"]))
        report.write("large", about, rows, page(rows, about))
    print(table_of(rows))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FileNotFoundError as error:
        sys.exit(str(error))
