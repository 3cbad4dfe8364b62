"""Imputers that need an environment of their own, where a worker does the work."""

import json
import subprocess
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.peers import tables

CHECKOUT = Path(__file__).parent.parent.parent
WORKER = "benchmarks.peers.imputation_worker"


class Elsewhere:
    """An imputer of the worker, run by ``python``, that of its environment.

    ``seconds`` of fitting and of completing are measured there.
    """

    def __init__(self, method: str, seed: int, python: str) -> None:
        self.method, self.seed = method, seed
        # not `resolve`: a link to python is what marks an environment
        self.python = str(Path(python).absolute())

    def fit(self, train: pd.DataFrame) -> None:
        """Keep the rows: the worker fits and completes in one go."""
        self.train = train

    def complete(self, test: pd.DataFrame) -> pd.DataFrame:
        """Run the worker and take the missing cells of its answer."""
        with tempfile.TemporaryDirectory() as name:
            source, target = Path(name) / "in.json", Path(name) / "out.json"
            tables.write(source, {"train": self.train, "test": test}, seed=self.seed)
            command = [self.python, "-W", "ignore", "-m", WORKER, self.method]
            command += [str(source), str(target)]
            subprocess.run(command, cwd=CHECKOUT, check=True)
            given, more = tables.read(target)
        self.seconds: tuple[float, float] = tuple(more["seconds"])
        answer = given["completed"].set_index(test.index)
        return test.where(test.notna(), answer)


def versions_there(method: str, python: str) -> dict[str, str]:
    """Versions behind a method in its environment.

    Raises
    ------
    ModuleNotFoundError
        If that python does not run, or has not got the method.
    """
    command = [str(Path(python).absolute()), "-m", WORKER, method]
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        raise ModuleNotFoundError(f"{how_to_give(method)}\n{reason}") from error
    found = json.loads(done.stdout)
    if found[method] is None:
        raise ModuleNotFoundError(how_to_give(method))
    return {package: known for package, known in found.items() if known is not None}


def how_to_give(method: str) -> str:
    """One line that says that a method needs another environment, and what to do."""
    return (
        f"{method} needs an environment of its own: make one as "
        f"benchmarks/record/peers.md says and give --{method}-python PATH."
    )
