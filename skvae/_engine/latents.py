"""What z is: its prior, and its posterior from what the encoder says of a row."""

from collections.abc import Sequence
from typing import Protocol

from torch import Generator, Tensor

from skvae._engine.aggregate import fit_mixture
from skvae._engine.distributions import Density, GaussianMixture
from skvae._engine.flows import Flow, Transformed
from skvae._engine.networks import Noise, Views
from skvae._engine.priors import Prior, gaussian_from


class Latent(Protocol):
    """What the model asks of a latent."""

    n_encoded: int  # outputs of the encoder
    closed_mean: bool  # whether the mean of the posterior takes no draws
    working_width: int  # elements of its largest array, a row and draw
    draws_a_row: int  # of the posterior, to fit a prior to

    def prior(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Density:
        """p(z | c)."""
        ...

    def posterior(self, w: Views, encoded: Tensor, noise: Noise | None) -> Density:
        """q(z | x, c) from outputs (E, N, ·) of the encoder; with noise in training."""
        ...

    def after_step(
        self, weights: Tensor, posterior: Density, row_weight: Tensor, noise: Noise
    ) -> None:
        """Change, in place, what no gradient changes in weights (E, P)."""

    def fit_prior(
        self, w: Views, z: Tensor, weight: Tensor, generator: Generator
    ) -> tuple[Tensor, ...]:
        """Parameters of a prior for posterior draws z (E, N, L) of weighted rows."""
        ...

    def fitted_prior(self, parameters: Sequence[Tensor], w: Views) -> Density:
        """Return the prior of such parameters."""
        ...


class NumericLatent:
    """What latents of numbers share: all is learned by the gradient but one prior.

    That is a mixture of Gaussians, which may take the place of p(z) after training.
    """

    # more than one: few rows have room for more components, which hang less on chance
    draws_a_row = 4

    def fit_prior(
        self, w: Views, z: Tensor, weight: Tensor, generator: Generator
    ) -> tuple[Tensor, ...]:
        """Log weights, means and log variances of the components."""
        found = fit_mixture(z, weight, generator)
        return found.log_weight, found.mean, found.log_var

    def fitted_prior(self, parameters: Sequence[Tensor], w: Views) -> Density:
        """Return the prior of such parameters."""
        return GaussianMixture(*parameters)

    def after_step(
        self, weights: Tensor, posterior: Density, row_weight: Tensor, noise: Noise
    ) -> None:
        """Leave everything to the gradient."""


class GaussianLatent(NumericLatent):
    """A posterior of independent normals, or the image of one under a flow.

    With a flow: Rezende & Mohamed (2015), sec. 4.2; the encoder's outputs steer it.
    """

    def __init__(self, n_components: int, prior: Prior, flow: Flow | None) -> None:
        self._prior = prior
        self.flow = flow
        self.closed_mean = flow is None
        self.working_width = max(n_components, flow.working_width if flow else 0)
        self.n_gaussian = 2 * n_components
        self.n_encoded = self.n_gaussian + (flow.n_context if flow else 0)

    def prior(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Density:
        """p(z | c)."""
        return self._prior(w, features, noise)

    def posterior(self, w: Views, encoded: Tensor, noise: Noise | None) -> Density:
        """q(z | x, c)."""
        base = gaussian_from(encoded[..., : self.n_gaussian])
        if self.flow is None:
            return base
        return Transformed(base, self.flow, w, [encoded[..., self.n_gaussian :]])
