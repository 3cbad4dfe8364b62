"""Which of two kinds of models is left out, by rows that both have held out.

Twins: two members, one of each kind, which train on the same rows. Or members, and
normal distributions of the rows that they train on.
"""

import torch
from torch import Generator, Tensor

from skvae._engine import runtime
from skvae._engine.config import TrainConfig
from skvae._engine.model import LatentModel
from skvae._engine.multinormal import MultiNormal
from skvae._engine.networks import Noise
from skvae._engine.train import Rows, Split, Trained, shuffle

MOST_ROWS = 2048  # held-out rows of a pair that tell its members apart
DRAWS = 64  # of z, for the bound on a row
ELEMENTS = 2**22  # of the largest array of the rows that are decoded together
# rows that a normal distribution is fitted to: so many, or more where their matrices
# of so many elements allow
NORMAL_ROWS, NORMAL_ELEMENTS = 500, 2**20
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
def normal_in_place(
    trained: Trained,
    model: LatentModel,
    rows: Rows,
    valid_rows: Rows,
    split: Split,
    config: TrainConfig,
    generator: Generator,
) -> MultiNormal | None:
    """Fit a normal distribution to all rows, unless members find others likelier.

    Those of ``valid_rows`` that a member holds out, by its bound on them and by the
    density of a normal distribution of the rows that it has learned from.
    """
    dtype = runtime.widest(rows.packed.device)
    most = max(NORMAL_ROWS, NORMAL_ELEMENTS // model.config.n_columns**2)

    def cells(rows: Rows, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch = rows.take(index)
        known = batch.x_observed
        known = torch.ones_like(batch.x) if known is None else known
        return batch.x.to(dtype), known.to(dtype), batch.weight.to(dtype)

    def fit(index: Tensor) -> MultiNormal:
        some = shuffle(index.unsqueeze(0), min(most, len(index)), generator)[0]
        return MultiNormal.fit(*cells(rows, some))

    index = split.valid[:, :MOST_ROWS]
    bounds = row_bounds(model, valid_rows, index, config, trained.weights, generator)
    densities = [
        fit(learned).log_prob(*cells(valid_rows, held_out)[:2])
        for learned, held_out in zip(split.train, index, strict=True)
    ]
    gain = bounds.to(dtype) - torch.stack(densities)
    if (gain * valid_rows.take(index).weight).sum() <= 0:
        return fit(torch.arange(len(rows.packed), device=index.device))
    return None


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
