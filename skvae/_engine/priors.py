"""p(z | c): the standard normal, or a PriorNet over the condition."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from skvae._engine.config import ModelConfig
from skvae._engine.distributions import Gaussian
from skvae._engine.networks import MLP, Layout, Noise, Views

# exp(±8 / 2): standard deviations from 0.02 to 55 around a latent of unit scale
LOG_VAR_BOUND = 8.0


def gaussian_from(raw: Tensor) -> Gaussian:
    """Split raw outputs (E, N, 2L); the log-variance is bounded smoothly."""
    mean, raw_log_var = raw.unflatten(-1, (2, raw.shape[-1] // 2)).unbind(-2)
    log_var = LOG_VAR_BOUND * torch.tanh(raw_log_var / LOG_VAR_BOUND)
    return Gaussian(mean, log_var)


class Prior(Protocol):
    """What the model asks of a prior."""

    def __call__(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Gaussian: ...


class StandardNormal:
    """N(0, I), whatever the condition. Kingma & Welling (2014), sec. 3."""

    def __init__(self, n_components: int) -> None:
        self.n_components = n_components

    def __call__(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Gaussian:
        """Mean and log-variance zero: (1, 1, L)."""
        zeros = w[0].new_zeros(1, 1, self.n_components)
        return Gaussian(zeros, zeros)


class PriorNet:
    """N(mean(c), diag(var(c))). Sohn, Lee, Yan (2015), sec. 4.1."""

    def __init__(
        self,
        layout: Layout,
        config: ModelConfig,
        hidden: Sequence[int],
        n_features: int,
    ) -> None:
        self.net = MLP(
            layout,
            [n_features],
            hidden,
            2 * config.n_components,
            config.activation,
            gain=0.1,
        )

    def __call__(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Gaussian:
        """Condition features [(E, N, F)] to a Gaussian (E, N, L)."""
        return gaussian_from(self.net(w, features, noise))
