"""Heads of the decoder: likelihoods, where their columns are and what they leave."""

import torch
from torch import Tensor

from skvae._engine import likelihoods
from skvae._engine.config import HeadConfig


class Head:
    """A likelihood, the columns it serves and its slices of the raw outputs."""

    def __init__(
        self, config: HeadConfig, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.likelihood = likelihoods.build(config, device, dtype)
        self.columns = torch.tensor(config.columns, device=device)
        self.slices: list[slice] = []
        # the column of the table that each output of the decoder is of
        self.owners = [config.columns[i] for i in self.likelihood.owners]

    def raw(self, outputs: Tensor) -> Tensor:
        """Cut the part of this head from (..., R): (..., outputs and constants)."""
        parts = [outputs[..., part] for part in self.slices]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class Residuals:
    """Normal scores given z of the cells whose likelihoods have them, head by head."""

    def __init__(self, heads: list[Head]) -> None:
        self._heads = heads
        # the slice of the residuals that a head has
        self._tied: list[tuple[Head, likelihoods.Continuous, slice]] = []
        self.size = 0
        for head in heads:
            if isinstance(head.likelihood, likelihoods.Continuous):
                part = slice(self.size, self.size + len(head.columns))
                self._tied.append((head, head.likelihood, part))
                self.size = part.stop
        columns = [head.columns for head, _, _ in self._tied]
        self.columns = torch.cat(columns or [heads[0].columns[:0]])  # (d,)

    def of(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Return the residuals of cells x (..., D): (..., d)."""
        parts = [
            likelihood.residuals(head.raw(outputs), x[..., head.columns])
            for head, likelihood, _ in self._tied
        ]
        return torch.cat(parts, dim=-1)

    def put(
        self, outputs: Tensor, x: Tensor, residuals: Tensor, wanted: Tensor
    ) -> Tensor:
        """Return x (..., N, D) with cells of such residuals where ``wanted`` is 1.

        ``wanted``, 0/1, is (N, d), or (1, d) for all rows.
        """
        x = x.clone()
        wanted = wanted.expand(residuals.shape[-2:]) > 0
        for head, likelihood, part in self._tied:
            here = wanted[:, part]
            cells = likelihood.cells(head.raw(outputs), residuals[..., part], here)
            x[..., head.columns] = torch.where(here, cells, x[..., head.columns])
        return x

    def among_expectations(self, values: Tensor) -> Tensor:
        """Values (..., d) where expectations have these cells, 0 elsewhere: (..., M).

        A cell with a residual has one expectation, itself.
        """
        sizes = [head.likelihood.n_expectations for head in self._heads]
        parts = [values.new_zeros(*values.shape[:-1], size) for size in sizes]
        for head, _, part in self._tied:
            parts[self._heads.index(head)] = values[..., part]
        return torch.cat(parts, dim=-1)
