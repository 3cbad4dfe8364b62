"""What training minimises: a loss in nats per row for each member, from named terms."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from skvae._engine.config import TrainConfig
from skvae._engine.distributions import Density


@dataclass(frozen=True)
class Terms:
    """The parts of log p(x, z | c) - log q(z | x, c) for draws z of the posterior."""

    log_lik: Tensor  # (E, S, N), log p(x | z, c), observed cells only
    z: Tensor  # (E, S, N, L)
    posterior: Density
    prior: Density

    def kl_each(self) -> Tensor:
        """KL(q || p) in each dimension, in nats: (E, N, L)."""
        return self.posterior.kl_each(self.prior, self.z)

    def asked(self, noise: Tensor) -> "Terms":
        """Return the terms by the posterior as it is after training."""
        posterior = self.posterior.asked()
        if posterior is self.posterior:
            return self
        return replace(self, posterior=posterior, z=posterior.at(noise))

    def kl(self) -> Tensor:
        """KL(q || p), in nats: (E, N)."""
        return self.posterior.kl(self.prior, self.z)

    def cost(self) -> Tensor:
        """KL(q || p) and what else training asks of the posterior, in nats: (E, N)."""
        return self.posterior.cost(self.prior, self.z)

    def log_weights(self, beta: Tensor | float = 1.0) -> Tensor:
        """Log importance weights, the latent's part scaled by ``beta``: (E, S, N)."""
        log_ratio = self.prior.log_prob(self.z) - self.posterior.log_prob(self.z)
        return self.log_lik + beta * log_ratio


def log_mean_exp(log_weights: Tensor, dim: int) -> Tensor:
    """Log of the mean of exp(``log_weights``) over ``dim``."""
    return torch.logsumexp(log_weights, dim) - math.log(log_weights.shape[dim])


class Objective(Protocol):
    """What training minimises, and how weights are judged on rows held out."""

    def __call__(self, terms: Terms, beta: Tensor, weight: Tensor) -> Tensor:
        """Terms, KL weight and row weights (E, N) to a loss (E,)."""
        ...

    def bound(self, terms: Terms, beta: float) -> Tensor:
        """Bound of each row at the ``beta`` that training ends with: (E, N).

        Higher is better. At another ``beta`` an epoch may be kept that hardly does what
        was asked for.
        """
        return log_mean_exp(terms.log_weights(beta), dim=1)


class Elbo(Objective):
    """Negative evidence lower bound, its KL in closed form where there is one.

    Kingma & Welling (2014), eq. 3; ``beta`` as in Higgins et al. (2017), eq. 4;
    ``free_bits`` nats of each dimension's mean KL cost nothing, as in Kingma et al.
    (2016), eq. 15.
    """

    def __init__(self, free_bits: float = 0.0) -> None:
        self.free_bits = free_bits

    def __call__(self, terms: Terms, beta: Tensor, weight: Tensor) -> Tensor:
        """Loss per member (E,)."""
        log_lik = (weight * terms.log_lik.mean(1)).mean(1)
        if self.free_bits == 0:
            return beta * (weight * terms.cost()).mean(1) - log_lik
        kl = (weight.unsqueeze(-1) * terms.kl_each()).mean(1)  # (E, L)
        return beta * kl.clamp(min=self.free_bits).sum(-1) - log_lik

    def bound(self, terms: Terms, beta: float) -> Tensor:
        """Importance-weighted at ``beta`` 1, less what the KL costs beyond (E, N).

        One draw of many has all the weight where the KL's part is scaled up.
        """
        bound = super().bound(terms, 1.0)
        if beta == 1.0:
            return bound
        kl = terms.kl_each()  # (E, N, L)
        free = (self.free_bits - kl.mean(1, keepdim=True)).clamp(min=0.0)
        return bound - (beta - 1.0) * (kl + free).sum(-1)


class Iwae(Objective):
    """Negative importance-weighted bound. Burda et al. (2016), eq. 8."""

    def __call__(self, terms: Terms, beta: Tensor, weight: Tensor) -> Tensor:
        """Loss per member (E,)."""
        return -(weight * log_mean_exp(terms.log_weights(beta), dim=1)).mean(1)


class Dreg(Objective):
    """The bound of :class:`Iwae` with doubly reparameterised gradients.

    Tucker, Lawson, Gu, Maddison (2019), eq. 9: without the score of the posterior,
    whose share of the gradient is zero in the mean, what the posterior learns from a
    draw is weighted by the square of the draw's normalised weight.
    """

    def __call__(self, terms: Terms, beta: Tensor, weight: Tensor) -> Tensor:
        """Loss per member (E,)."""
        fixed = replace(terms, posterior=terms.posterior.detached())
        log_weights = fixed.log_weights(beta)
        share = log_weights.softmax(1).detach()
        if terms.z.requires_grad:
            terms.z.register_hook(lambda gradient: share.unsqueeze(-1) * gradient)
        surrogate = (weight * (share * log_weights).sum(1)).mean(1)
        bound = (weight * log_mean_exp(log_weights, dim=1)).mean(1)
        return surrogate.detach() - surrogate - bound.detach()


class Trimmed(Objective):
    """Another objective on the likelier rows of a batch, the rest left out.

    Shen & Sanghavi (2019), Learning with bad training data via iterative trimmed loss
    minimization, sec. 3: in every step anew, so that no row is out for good.
    """

    def __init__(self, objective: Objective, fraction: float) -> None:
        self.objective = objective
        self.fraction = fraction

    def __call__(self, terms: Terms, beta: Tensor, weight: Tensor) -> Tensor:
        """Loss per member (E,), a mean over the rows that are kept."""
        bound = (terms.log_lik.mean(1) - beta * terms.kl()).detach()  # (E, N)
        kept = (bound >= self._least(bound)).to(weight.dtype)
        return self.objective(terms, beta, weight * kept / kept.mean(1, keepdim=True))

    def bound(self, terms: Terms, beta: float) -> Tensor:
        """Bound of each row (E, N), that of the least likely raised to the next one."""
        bound = self.objective.bound(terms, beta)
        return bound.maximum(self._least(bound))

    def _least(self, bound: Tensor) -> Tensor:
        """Bound of the least likely row that is kept: (E, 1)."""
        place = 1 + int(self.fraction * bound.shape[1])
        return bound.kthvalue(place, dim=1, keepdim=True).values


def build(config: TrainConfig) -> Objective:
    """Build the objective that a training configuration asks for."""
    objective = _bound(config)
    if config.trimming == 0:
        return objective
    return Trimmed(objective, config.trimming)


def _bound(config: TrainConfig) -> Objective:
    if config.objective == "elbo":
        return Elbo(config.free_bits)
    return Dreg() if config.objective == "dreg" else Iwae()
