"""p(z | c): the standard normal, a PriorNet over the condition, and richer ones."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from skvae._engine.config import ModelConfig
from skvae._engine.distributions import Density, Gaussian, GaussianMixture
from skvae._engine.flows import Flow, Transformed
from skvae._engine.networks import MLP, Layout, Noise, Views, normal_init, uniform_init

# exp(±8 / 2): standard deviations from 0.02 to 55 around a latent of unit scale
LOG_VAR_BOUND = 8.0
N_PSEUDO_INPUTS = 64
# of N(0, I), where those of pseudo-inputs begin at 0: 86 % of the weight
NORMAL_LOGIT = 6.0


def gaussian_from(raw: Tensor) -> Gaussian:
    """Split raw outputs (..., 2L); the log-variance is bounded smoothly."""
    mean, raw_log_var = raw.unflatten(-1, (2, raw.shape[-1] // 2)).unbind(-2)
    log_var = LOG_VAR_BOUND * torch.tanh(raw_log_var / LOG_VAR_BOUND)
    return Gaussian(mean, log_var)


def standard_normal(w: Views, n_components: int) -> Gaussian:
    """N(0, I) for every member, the same for all rows: (E, 1, L)."""
    zeros = w[0].new_zeros(w[0].shape[0], 1, n_components)
    return Gaussian(zeros, zeros)


class Prior(Protocol):
    """What the model asks of a prior."""

    def __call__(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Density: ...


class StandardNormal:
    """N(0, I), whatever the condition. Kingma & Welling (2014), sec. 3."""

    def __init__(self, n_components: int) -> None:
        self.n_components = n_components

    def __call__(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Density:
        """Mean and log-variance zero: (E, 1, L)."""
        return standard_normal(w, self.n_components)


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
    ) -> Density:
        """Condition features [(E, N, F)] to a Gaussian (E, N, L)."""
        return gaussian_from(self.net(w, features, noise))


class VampPrior:
    """The mixture of the posteriors of learned pseudo-inputs, and of N(0, I).

    Tomczak & Welling (2018), eq. 9, with learned weights and widths. Few posteriors
    cover narrowly what rows are spread over, and with nothing else the posteriors of
    the rows give way to them; N(0, I), which begins with most of the weight, holds
    those in place (benchmarks/record/family.md). Pseudo-inputs live where rows enter
    the encoder, behind the embedding of categories, which have no gradient.
    """

    def __init__(
        self,
        layout: Layout,
        n_components: int,
        input_scale: Tensor,
        posterior: Callable[[Views, Tensor], Density],
    ) -> None:
        shape = (N_PSEUDO_INPUTS, len(input_scale))
        self.n_components = n_components
        self.inputs = layout.add(shape, normal_init(input_scale))
        self.weight = layout.add((N_PSEUDO_INPUTS,), uniform_init(0.0))
        self.width = layout.add((N_PSEUDO_INPUTS, 1), uniform_init(0.0))
        self.posterior = posterior

    def __call__(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Density:
        """Components (E, K + 1, L), the last of them N(0, I)."""
        parts = self.posterior(w, w[self.inputs])
        assert isinstance(parts, Gaussian)
        normal = standard_normal(w, self.n_components)
        return GaussianMixture(
            functional.pad(w[self.weight], (0, 1), value=NORMAL_LOGIT).log_softmax(-1),
            torch.cat([parts.mean, normal.mean], dim=1),
            torch.cat([parts.log_var + w[self.width], normal.log_var], dim=1),
        )


class FlowPrior:
    """N(0, I) through a learned flow. Chen et al. (2017), sec. 3.2."""

    def __init__(self, layout: Layout, n_components: int, activation: str) -> None:
        self.n_components = n_components
        self.flow = Flow(layout, n_components, activation)

    def __call__(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Density:
        """One density for all rows."""
        return Transformed(standard_normal(w, self.n_components), self.flow, w)
