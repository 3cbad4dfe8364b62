"""Likelihoods of binary and categorical columns."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from skvae._engine.likelihoods.base import Averaged
from skvae._engine.likelihoods.chance import uniform


class BernoulliHead(Averaged):
    """0/1 columns; their one parameter is the log-odds."""

    def __init__(self, n_columns: int) -> None:
        self.n_outputs = self.n_expectations = n_columns

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log mass of cells ``x`` in {0, 1} (..., d), in nats: (..., d)."""
        return x * raw - functional.softplus(raw)

    def natural(self, raw: Tensor) -> Tensor:
        """Natural parameters (..., d, 2)."""
        return torch.stack([-functional.softplus(raw), raw], dim=-1)

    def statistics(self, x: Tensor) -> Tensor:
        """1, x of cells (..., d): (..., d, 2)."""
        return torch.stack([torch.ones_like(x), x], dim=-1)

    def expectation(self, raw: Tensor) -> Tensor:
        """P(x = 1): (..., d)."""
        return raw.sigmoid()

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells in {0, 1}: (..., d)."""
        probability = raw.sigmoid()
        return (uniform(probability, generator) < probability).to(raw.dtype)


class CategoricalHead:
    """Columns of codes 0 ... k - 1, each with its k; logits side by side.

    The last code of a column may stand for several values, of which the most frequent
    has the share ``last_share`` (d,).

    The columns are worked on together, padded to the largest k, so columns of very
    different k do better in heads of their own.
    """

    n_constants = 0

    def __init__(self, n_codes: Sequence[int], last_share: Tensor) -> None:
        self.n_outputs = sum(n_codes)
        self.owners = [i for i, k in enumerate(n_codes) for _ in range(k)]
        self.widest = widest = max(n_codes)
        self.n_columns = len(n_codes)
        self.n_expectations = self.n_columns * widest
        # where each logit comes from; padding points one past the last
        place, start = [], 0
        for k in n_codes:
            place += [*range(start, start + k), *[self.n_outputs] * (widest - k)]
            start += k
        self.place = torch.tensor(place, device=last_share.device)
        last = torch.tensor(n_codes, device=last_share.device).unsqueeze(1) - 1
        # (d, k): the share of a code that its most frequent value has
        self.share = last_share.new_ones(self.n_columns, widest).scatter(
            1, last, last_share.unsqueeze(1)
        )
        self.is_even = all(k == widest for k in n_codes)

    def _log_probabilities(self, raw: Tensor) -> Tensor:
        """(..., d, k), minus infinity where there is no such code."""
        if not self.is_even:
            padded = functional.pad(raw, (0, 1), value=-math.inf)
            raw = padded.index_select(-1, self.place)
        logits = raw.unflatten(-1, (self.n_columns, self.widest))
        return functional.log_softmax(logits, dim=-1)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log mass of codes ``x`` (..., d), in nats: (..., d)."""
        logs = self._log_probabilities(raw)
        shape = torch.broadcast_shapes(logs.shape[:-1], x.shape)
        code = x.long().expand(shape).unsqueeze(-1)
        return logs.expand(*shape, -1).gather(-1, code).squeeze(-1)

    def natural(self, raw: Tensor) -> Tensor:
        """Log mass of every code, 0 where there is no such code: (..., d, k)."""
        logs = self._log_probabilities(raw)
        return logs.masked_fill(logs.isinf(), 0.0)

    def statistics(self, x: Tensor) -> Tensor:
        """Return 0/1 for every code of cells (..., d): (..., d, k)."""
        return functional.one_hot(x.long(), self.widest).to(x.dtype)

    def expectation(self, raw: Tensor) -> Tensor:
        """Return the probability of every code: (..., d·k)."""
        return self._log_probabilities(raw).exp().flatten(-2)

    def expectation_of(self, x: Tensor) -> Tensor:
        """Return 1 for the code of each cell and 0 for the others: (..., d·k)."""
        return self.statistics(x).flatten(-2)

    def point(self, expectation: Tensor) -> Tensor:
        """Return the codes of the most likely values (..., d)."""
        pairs = expectation.unflatten(-1, (self.n_columns, self.widest))
        return (pairs * self.share).argmax(-1).to(expectation.dtype)

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw codes (..., d)."""
        cumulative = self._log_probabilities(raw).exp().cumsum(-1)
        # times the sum, which rounding leaves beside 1: no code of mass 0 is drawn
        u = uniform(cumulative[..., :1], generator) * cumulative[..., -1:]
        return (u >= cumulative).sum(-1).clamp(max=self.widest - 1).to(raw.dtype)
