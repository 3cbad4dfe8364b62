"""Whether one of two kinds of members is left out, by rows that twins hold out.

Twins: two members, one of each kind, which train on the same rows.
"""

import torch
from torch import Generator, Tensor

from skvae._engine.config import TrainConfig
from skvae._engine.model import LatentModel
from skvae._engine.networks import Noise
from skvae._engine.train import Rows, Trained

MOST_ROWS = 2048  # held-out rows of a pair that tell its members apart
DRAWS = 64  # of z, for the bound on a row
ELEMENTS = 2**22  # of the largest array of the rows that are decoded together
CLEAR = 2.0  # standard errors of a mean difference that are no accident


def without_worse_half(
    trained: Trained,
    model: LatentModel,
    rows: Rows,
    held_out: Tensor,
    config: TrainConfig,
    generator: Generator,
    *,
    same_rows: bool,
) -> Trained:
    """Leave the second half of the members out where it is worse than the first.

    By the rows ``held_out`` (E, N) of each member; ``same_rows`` if those are the same
    for all pairs.
    """
    index = held_out[:, :MOST_ROWS]
    bounds = row_bounds(model, rows, index, config, trained.weights, generator)
    weight = rows.take(index).weight
    if is_second_half_worse(bounds, weight, same_rows=same_rows):
        return trained.first(len(bounds) // 2)
    return trained


@torch.no_grad()
def row_bounds(
    model: LatentModel,
    rows: Rows,
    index: Tensor,
    config: TrainConfig,
    weights: Tensor,
    generator: Generator,
) -> Tensor:
    """Importance-weighted bound on the rows ``index`` (E, N) of each member: (E, N)."""
    objective, views = model.objective(config), model.layout.views(weights)
    noise = Noise(generator)
    row = len(weights) * DRAWS * model.decoder_width
    parts = []
    for part in index.split(max(1, ELEMENTS // row), dim=1):
        draws = noise.normal(1, DRAWS, part.shape[1], model.config.n_components)
        terms = model.terms(views, rows.take(part), draws, noise)
        parts.append(objective.bound(terms, config.beta))
    return torch.cat(parts, dim=1)


def is_second_half_worse(
    bounds: Tensor, weight: Tensor, *, same_rows: bool = False
) -> bool:
    """Compare twins by bounds (E, N) of rows of ``weight`` (E, N).

    Member i of the first half and member i of the second have held out the same rows,
    other rows than other pairs or, with ``same_rows``, those of all. Worse: by
    ``CLEAR`` standard errors of the mean difference.
    """
    first, second = bounds.chunk(2)
    difference, weight = second - first, weight[: len(first)]
    if same_rows:  # what a row says of one pair it says of the others, too
        difference, weight = difference.mean(0), weight[0]
    share = weight / weight.sum()
    mean = (share * difference).sum()
    error = (share * (difference - mean)).square().sum().sqrt()
    return bool(mean < -CLEAR * error)
