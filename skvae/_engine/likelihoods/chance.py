"""Random numbers that draws of cells are made of."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

# halvings of an interval around a quantile: 80 standard deviations to less than 1e-12
HALVINGS = 50
FARTHEST = 40.0  # standard deviations, and as many units, from the mean of a quantile


class SharedChance(Generator):
    """Chance that is the same for every row, axis 2 of draws (E, S, N, ...).

    So what becomes of a row depends on no other one. The S draws that are asked for
    are those from ``first`` on, of ``n_draws``: the same, whoever asks for how many.
    """

    n_draws: int
    first: int

    @classmethod
    def of(cls, seed: int, n_draws: int, first: int, like: Tensor) -> "SharedChance":
        """Begin at a seed, where ``like`` is."""
        chance = cls(like.device)
        chance.manual_seed(seed)
        chance.n_draws, chance.first = n_draws, first
        return chance


def uniform(like: Tensor, generator: Generator) -> Tensor:
    """Draw uniforms of the shape of ``like``."""

    def draw(shape: Sequence[int]) -> Tensor:
        return torch.rand(
            shape, generator=generator, dtype=like.dtype, device=like.device
        )

    return _draw(draw, like, generator)


def normal(like: Tensor, generator: Generator) -> Tensor:
    """Draw standard normals of the shape of ``like``."""

    def draw(shape: Sequence[int]) -> Tensor:
        return torch.randn(
            shape, generator=generator, dtype=like.dtype, device=like.device
        )

    return _draw(draw, like, generator)


def gamma(shape: Tensor, generator: Generator) -> Tensor:
    """Draw from gamma distributions of scale 1.

    ``torch.distributions`` has no way to give its draws a generator.
    """
    if not isinstance(generator, SharedChance):
        return torch._standard_gamma(shape.contiguous(), generator=generator)
    return _quantile(torch.special.gammainc, shape, uniform(shape, generator))


def poisson(rate: Tensor, generator: Generator) -> Tensor:
    """Draw counts of such rates."""
    if not isinstance(generator, SharedChance):
        return torch.poisson(rate, generator)

    def cumulative(rate: Tensor, k: Tensor) -> Tensor:
        return torch.special.gammaincc(k.floor() + 1.0, rate)

    return _quantile(cumulative, rate, uniform(rate, generator)).floor()


def _draw(
    draw: Callable[[Sequence[int]], Tensor], like: Tensor, generator: Generator
) -> Tensor:
    if not isinstance(generator, SharedChance):
        return draw(like.shape)
    n_members, n_draws, _, *rest = like.shape
    one = draw((n_members, generator.n_draws, 1, *rest))
    return one[:, generator.first : generator.first + n_draws].expand(like.shape)


def _quantile(
    cumulative: Callable[[Tensor, Tensor], Tensor], mean: Tensor, level: Tensor
) -> Tensor:
    """Find where ``cumulative`` of a mean and a value, 0 or more, reaches ``level``.

    The variance is the mean.
    """
    low = torch.zeros_like(mean)
    high = mean + FARTHEST * (mean.sqrt() + 1.0)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        below = cumulative(mean, middle) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high
