"""A density that stands on rows of the fit: a mixture of what their latents decode to.

p(x) = Σ_k w_k p(x | z_k), where z_k is the posterior mean of row k: the exemplar prior
of Norouzi, Fleet, Norouzi (2020), Exemplar VAE, sec. 2-3, without its variance, so that
the sum over z is exact; a row is left out of its own density, as in training there.
arXiv:2004.04795
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from skvae._engine.heads import Head
from skvae._engine.inference import Inference
from skvae._engine.model import Batch

# nats of a cell beyond which a sum less the cell is no longer the sum of the others
LARGEST_CELL = 1e6
FEWEST_ROWS = 8  # in a chunk, where heads work out their parameters for each anew


class Exemplars:
    """K decoded rows of every member, and what they say of others."""

    def __init__(self, inference: Inference, batch: Batch) -> None:
        self.model = inference.model
        z = inference.posterior_mean(batch).unsqueeze(2)  # (E, K, 1, L)
        self.outputs = self.model.decode(inference.w, z, [])  # (E, K, 1, R)
        self.log_weight = batch.weight.log()
        # by head (E, K, d, J), or None
        self.natural = [self._natural(head) for head in self.model.heads]

    def _natural(self, head: Head) -> Tensor | None:
        natural = head.likelihood.natural(head.raw(self.outputs))
        return None if natural is None else natural.squeeze(2)

    @property
    def width(self) -> int:
        """Elements a row and member that a question takes."""
        pairs = zip(self.model.heads, self.natural, strict=True)
        columns = [len(head.columns) for head, natural in pairs if natural is None]
        most = -(-max([1, *columns]) // FEWEST_ROWS)
        return self.outputs.shape[1] * most

    def log_sum(self, batch: Batch, own: Tensor) -> Tensor:
        """Log of the sum over members of Σ_k w_k p(x | z_k), observed cells: (N, 1).

        Row n is not its own exemplar ``own`` (N,), if that is not -1.
        """
        return self._log_joint(batch, own).flatten(0, 1).logsumexp(0).unsqueeze(1)

    def log_sums_without(self, batch: Batch, own: Tensor) -> Tensor:
        """``log_sum``, and the same without each of the cells: (N, 1 + D)."""
        joint = self._log_joint(batch, own)
        whole = joint.flatten(0, 1).logsumexp(0)
        without = torch.empty_like(batch.x[0])
        for head, natural, x, seen in self._parts(batch):
            cells = self._cells(head, natural, x, seen)
            for column, cell in zip(head.columns, cells, strict=True):
                others = joint - cell
                if cell.min() < -LARGEST_CELL:
                    others = self._log_joint(batch, own, hidden=column)
                without[:, column] = others.flatten(0, 1).logsumexp(0)
        return torch.cat([whole.unsqueeze(1), without], dim=1)

    def _log_joint(
        self, batch: Batch, own: Tensor, hidden: Tensor | None = None
    ) -> Tensor:
        """Log of weight times density, by exemplar: (E, K, N), one column left out."""
        place = torch.arange(self.outputs.shape[1], device=own.device)
        is_own = place.unsqueeze(1) == own
        joint = self.log_weight.unsqueeze(-1).masked_fill(is_own, -math.inf)
        for head, natural, x, seen in self._parts(batch):
            kept = seen if hidden is None else seen * (head.columns != hidden)
            shown = torch.where(kept > 0, x, 0.0)  # 0 times infinity is no 0
            if natural is None:
                joint = joint + self._log_prob(head, shown, kept).sum(-1)
            else:
                statistics = head.likelihood.statistics(shown) * kept.unsqueeze(-1)
                joint = joint + natural.flatten(-2) @ statistics.flatten(-2).mT
        return joint

    def _parts(
        self, batch: Batch
    ) -> Iterator[tuple[Head, Tensor | None, Tensor, Tensor]]:
        """Heads, their natural parameters, and their cells with 1 where observed.

        The members see the same rows: cells are (1, N, d).
        """
        observed = batch.x_observed
        assert observed is not None
        for head, natural in zip(self.model.heads, self.natural, strict=True):
            x = batch.x[:1].index_select(-1, head.columns)
            yield head, natural, x, observed[:1].index_select(-1, head.columns)

    def _cells(
        self, head: Head, natural: Tensor | None, x: Tensor, seen: Tensor
    ) -> Iterable[Tensor]:
        """Log p of the cells of one column after the other: (E, K, N) each."""
        if natural is None:
            return self._log_prob(head, x, seen).unbind(-1)
        statistics = head.likelihood.statistics(x) * seen.unsqueeze(-1)
        pairs = zip(natural.unbind(-2), statistics.unbind(-2), strict=True)
        return (one @ other.mT for one, other in pairs)

    def _log_prob(self, head: Head, x: Tensor, seen: Tensor) -> Tensor:
        """Log p of cells by exemplar, one by one: (E, K, N, d)."""
        raw = head.raw(self.outputs)
        return head.likelihood.log_prob(raw, x.unsqueeze(1)) * seen.unsqueeze(1)
