"""What the model asks of a likelihood, and what likelihoods have in common."""

from typing import Protocol, runtime_checkable

from torch import Generator, Tensor


class Likelihood(Protocol):
    """p(x | z, c) of d columns, from raw outputs.

    ``n_outputs`` come from the decoder; ``n_constants`` are weights of their own, the
    same for all rows, and follow them.
    """

    n_outputs: int
    n_constants: int
    n_expectations: int  # M

    @property
    def owners(self) -> list[int]:
        """Which of the d columns each output of the decoder is of: ``n_outputs``."""
        ...

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Log density of cells ``x`` (..., d), in nats: (..., d)."""

    def expectation(self, raw: Tensor) -> Tensor:
        """Return what is averaged over draws (..., M) before ``point`` makes cells."""

    def expectation_of(self, x: Tensor) -> Tensor:
        """Return ``expectation`` where cells are ``x`` (..., d) for sure: (..., M)."""

    def point(self, expectation: Tensor) -> Tensor:
        """Cells (..., d) from averaged expectations: the mean, or the mode."""

    def sample(self, raw: Tensor, generator: Generator) -> Tensor:
        """Draw cells (..., d)."""

    def natural(self, raw: Tensor) -> Tensor | None:
        """Natural parameters (..., d, J) where log p is linear in ``statistics``."""

    def statistics(self, x: Tensor) -> Tensor:
        """Sufficient statistics of cells ``x`` (..., d): (..., d, J)."""


@runtime_checkable
class Continuous(Protocol):
    """What a likelihood of continuous cells tells beside: their normal scores."""

    def residuals(self, raw: Tensor, x: Tensor) -> Tensor:
        """Return normal scores of cells ``x`` (..., d): (..., d)."""

    def cells(self, raw: Tensor, residuals: Tensor, wanted: Tensor) -> Tensor:
        """Cells (..., N, d) of such normal scores, where ``wanted`` (N, d) is true."""


class Unfactored:
    """For likelihoods whose log density is no scalar product of two sides."""

    def natural(self, raw: Tensor) -> Tensor | None:
        """Return None: there are no natural parameters."""
        return None

    def statistics(self, x: Tensor) -> Tensor:
        """Return none: (..., d, 0)."""
        return x.new_empty((*x.shape, 0))


class Averaged(Unfactored):
    """For likelihoods whose expectation is that of the cells.

    Their outputs are blocks of d, one a parameter.
    """

    n_constants = 0
    n_outputs: int
    n_expectations: int

    @property
    def owners(self) -> list[int]:
        """Which of the d columns each output of the decoder is of."""
        return [i % self.n_expectations for i in range(self.n_outputs)]

    def expectation_of(self, x: Tensor) -> Tensor:
        """Return the cells as they are."""
        return x

    def point(self, expectation: Tensor) -> Tensor:
        """Return the cells as they are."""
        return expectation
