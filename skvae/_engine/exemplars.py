"""A density that stands on rows of the fit: a mixture of what their latents decode to.

p(x) = Σ_k w_k p(x | z_k), where z_k is the posterior mean of row k: the exemplar prior
of Norouzi, Fleet, Norouzi (2020), Exemplar VAE, eq. 4, without its variance, so that
the sum over z is exact. arXiv:2004.04795
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from skvae._engine.inference import Inference
from skvae._engine.model import Batch, Head


class Exemplars:
    """K decoded rows of every member, and what they say of others."""

    def __init__(self, inference: Inference, batch: Batch) -> None:
        self.model = inference.model
        z = inference.posterior_mean(batch).unsqueeze(2)  # (E, K, 1, L)
        self.outputs = self.model.decode(inference.w, z, [])  # (E, K, 1, R)
        self.log_weight = (batch.weight / batch.weight.sum(1, keepdim=True)).log()
        self.natural = [
            self._natural(head) for head in self.model.heads
        ]  # (E, K, d, J)

    def _natural(self, head: Head) -> Tensor | None:
        natural = head.likelihood.natural(head.raw(self.outputs))
        return None if natural is None else natural.squeeze(2)

    @property
    def width(self) -> int:
        """Elements a row and member that a question takes."""
        pairs = zip(self.model.heads, self.natural, strict=True)
        columns = [len(head.columns) for head, natural in pairs if natural is None]
        return self.outputs.shape[1] * max([1, *columns])

    def log_prob(self, batch: Batch, own: Tensor) -> Tensor:
        """Log p of the observed cells of each row, mean density over members: (N,).

        Row n is not its own exemplar ``own`` (N,), if that is not -1: the others are
        weighed as if it were not there.
        """
        return _log_mean(self._log_joint(batch, own))

    def log_prob_given_others(self, batch: Batch, own: Tensor) -> Tensor:
        """Log p(x_d | the other cells of x): (N, D), 0 where missing."""
        joint = self._log_joint(batch, own)
        whole, found = _log_mean(joint), torch.zeros_like(batch.x[0])
        for head, natural, x, seen in self._parts(batch):
            if natural is None:
                cells = self._log_prob(head, x, seen).unbind(-1)
            else:
                statistics = head.likelihood.statistics(x) * seen.unsqueeze(-1)
                pairs = zip(natural.unbind(-2), statistics.unbind(-2), strict=True)
                cells = tuple(one @ other.mT for one, other in pairs)
            without = [_log_mean(joint - cell) for cell in cells]
            found[:, head.columns] = whole.unsqueeze(1) - torch.stack(without, dim=1)
        return found

    def _log_joint(self, batch: Batch, own: Tensor) -> Tensor:
        """Log of weight times density, by exemplar: (E, K, N)."""
        place = torch.arange(self.outputs.shape[1], device=own.device)
        is_own = place.unsqueeze(1) == own
        weight = self.log_weight.unsqueeze(-1).masked_fill(is_own, -math.inf)
        joint = weight - weight.logsumexp(1, keepdim=True)
        for head, natural, x, seen in self._parts(batch):
            if natural is None:
                joint = joint + self._log_prob(head, x, seen).sum(-1)
            else:
                statistics = head.likelihood.statistics(x) * seen.unsqueeze(-1)
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

    def _log_prob(self, head: Head, x: Tensor, seen: Tensor) -> Tensor:
        """Log p of cells by exemplar, one by one: (E, K, N, d)."""
        raw = head.raw(self.outputs)
        return head.likelihood.log_prob(raw, x.unsqueeze(1)) * seen.unsqueeze(1)


def _log_mean(joint: Tensor) -> Tensor:
    """Sum over exemplars, mean over members: (E, K, ...) to (...)."""
    return joint.flatten(0, 1).logsumexp(0) - math.log(joint.shape[0])
