"""One thread against all: where a second thread starts to pay for a training step.

Run ``python -m benchmarks.threads``: members x batch x width, and the milliseconds of
a step on one thread and on all of them, interleaved, medians of five. The threshold
``skvae._engine.runtime.SMALL_PRODUCT`` is read off this table.
"""

import time

import numpy as np
import torch

from skvae._engine import train
from skvae._engine.config import HeadConfig, ModelConfig, TrainConfig
from skvae._engine.model import LatentModel

N_ROWS = 4096
N_COLUMNS = 8
SHAPES = [  # members, batch, width
    (1, 64, 128),
    (4, 64, 128),
    (1, 512, 128),
    (4, 256, 128),
    (4, 512, 128),
    (16, 256, 128),
    (1, 512, 512),
    (4, 512, 256),
]


def make_step(n_members: int, batch: int, width: int) -> train.Step:
    """Build a step of a conditional VAE on standard normal rows."""
    head = HeadConfig("mixture", (0,), (1e-3,), 5)
    model_config = ModelConfig(
        1, N_COLUMNS, (head,), 8, (width, width), "silu", "periodic", n_members
    )
    device = torch.device("cpu")
    model = LatentModel(model_config, device, torch.float32)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N_ROWS, 1, generator=generator)
    c = torch.randn(N_ROWS, N_COLUMNS, generator=generator)
    rows = train.Rows.pack(x, None, c, None, torch.ones(N_ROWS))
    config = TrainConfig(dropout=0.1)
    table = torch.full((100_000,), 1e-3)
    weights = model.layout.initial(n_members, generator)
    step = train.Step(model, rows, config, weights, (table,) * 3, batch, generator)
    step.start_epoch(torch.arange(N_ROWS).expand(n_members, -1))
    return step


def milliseconds(step: train.Step, n_threads: int, n_steps: int) -> float:
    """Time some steps on ``n_threads``."""
    torch.set_num_threads(n_threads)
    begin = time.perf_counter()
    for _ in range(n_steps):
        step.position.zero_()
        step()
    return (time.perf_counter() - begin) / n_steps * 1e3


def main() -> None:
    """Print the table."""
    all_threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {all_threads} threads")
    print("members batch width  million multiply-adds  1 thread ms  all threads ms")
    for n_members, batch, width in SHAPES:
        step = make_step(n_members, batch, width)
        milliseconds(step, 1, 3)
        pairs = np.array(
            [[milliseconds(step, n, 10) for n in (1, all_threads)] for _ in range(5)]
        )
        one, several = np.median(pairs, axis=0)
        product = n_members * batch * width * width / 1e6
        print(
            f"{n_members:7d} {batch:5d} {width:5d} {product:22.1f}"
            f" {one:12.2f} {several:15.2f}"
        )


if __name__ == "__main__":
    main()
