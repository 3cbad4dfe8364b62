"""What the model asks of a likelihood."""

from typing import Protocol

import torch
from torch import Generator, Tensor


class Likelihood(Protocol):
    """p(x | z, c) of d columns, from raw outputs.

    ``n_outputs`` come from the decoder; ``n_constants`` are weights of their own, the
    same for all rows, and follow them.
    """

    n_outputs: int
    n_constants: int
    n_expectations: int  # M

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log density of cells ``x`` (..., d), in nats: (..., d)."""

    def expectation(self, raw: Tensor) -> Tensor:
        """Return what is averaged over draws (..., M) before ``point`` makes cells."""

    def point(self, expectation: Tensor) -> Tensor:
        """Cells (..., d) from averaged expectations: the mean, or the mode."""

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells (..., d)."""

    def natural(self, raw: Tensor) -> Tensor | None:
        """Natural parameters (..., d, J) where log p is linear in ``statistics``."""

    def statistics(self, x: Tensor) -> Tensor:
        """Sufficient statistics of cells ``x`` (..., d): (..., d, J)."""


class Unfactored:
    """For likelihoods whose log density is no scalar product of two sides."""

    def natural(self, raw: Tensor) -> Tensor | None:
        """Return None: there are no natural parameters."""
        return None

    def statistics(self, x: Tensor) -> Tensor:
        """Return none: (..., d, 0)."""
        return x.new_empty((*x.shape, 0))


class Averaged(Unfactored):
    """For likelihoods whose expectation is that of the cells."""

    n_constants = 0
    n_expectations: int

    def point(self, expectation: Tensor) -> Tensor:
        """Return the cells as they are."""
        return expectation


def uniform(like: Tensor, generator: Generator) -> Tensor:
    """Draw uniforms of the shape of ``like``."""
    return torch.rand(
        like.shape, generator=generator, dtype=like.dtype, device=like.device
    )


def normal(like: Tensor, generator: Generator) -> Tensor:
    """Draw standard normals of the shape of ``like``."""
    return torch.randn(
        like.shape, generator=generator, dtype=like.dtype, device=like.device
    )


def gamma(shape: Tensor, generator: Generator) -> Tensor:
    """Draw from gamma distributions of scale 1.

    ``torch.distributions`` has no way to give its draws a generator.
    """
    return torch._standard_gamma(shape.contiguous(), generator=generator)
