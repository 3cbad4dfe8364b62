"""Rates and weights for every step of a fit, made before it begins."""

import torch
from torch import Tensor

from skvae._engine.config import TrainConfig

# learning rate, KL weight and dropout rate at each step, (n_steps,) each
Schedule = tuple[Tensor, Tensor, Tensor]

RATE_WARMUP = 0.03  # fraction of training
FINAL_RATE = 0.01  # fraction of the initial rate at the end of the cosine
AVERAGING_DECAY = 7  # power of an epoch's number that is its weight in the average
CYCLES = 4  # Fu et al. (2019), sec. 4: M = 4


def learning_rates(config: TrainConfig, n_steps: int) -> Tensor:
    """Linear warm-up, then a cosine to almost zero: (n_steps,)."""
    if config.constant_rate:
        return _constant(config.learning_rate_init, n_steps)
    step = _steps(n_steps)
    done = step / n_steps
    warm = ((step + 1) / max(1.0, RATE_WARMUP * n_steps)).clamp(max=1)
    cosine = 0.5 * (1 + torch.cos(torch.pi * done))
    return config.learning_rate_init * warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def dropout_rates(config: TrainConfig, n_steps: int) -> Tensor:
    """``dropout`` at first, falling linearly to 0 at the end: (n_steps,).

    Rennie, Goel, Thomas (2014), Annealed dropout training of deep networks, sec. 3. A
    scale that is learned under dropout covers its noise, too, and is too wide without
    it. Constant where there is no end in sight.
    """
    if config.constant_rate:
        return _constant(config.dropout, n_steps)
    return config.dropout * (1.0 - _steps(n_steps) / n_steps)


def kl_weights(config: TrainConfig, n_steps: int) -> Tensor:
    """Rise to ``beta`` over the fraction ``kl_warmup`` of training: (n_steps,).

    ``"linear"``: one rise (Sønderby et al. 2016, sec. 3). ``"cyclical"``: four rises,
    each over that fraction of a quarter (Fu et al. 2019, eq. 6-7). ``"constant"``:
    ``beta`` throughout.
    """
    if config.kl_schedule == "constant" or config.kl_warmup == 0:
        return _constant(config.beta, n_steps)
    step = _steps(n_steps)
    done = (step + 1) / n_steps
    if config.kl_schedule == "cyclical":
        done = (step * CYCLES % n_steps + CYCLES) / n_steps
    return config.beta * (done / config.kl_warmup).clamp(max=1.0)


def _steps(n_steps: int) -> Tensor:
    """Count steps from 0, in float32: exact for the ten thousands that there are."""
    return torch.arange(n_steps, dtype=torch.float32)


def _constant(value: float, n_steps: int) -> Tensor:
    return torch.full((n_steps,), float(value), dtype=torch.float32)


def averaging_rate(epoch: int) -> float:
    """Part of an epoch's weights in the average of those so far, 1 for epoch 0.

    Epochs count the more the later they are, the last tenth of all so far most.
    Shamir & Zhang (2013), Stochastic gradient descent for non-smooth optimization,
    sec. 4, polynomial-decay averaging.
    """
    return (1 + AVERAGING_DECAY) / (1 + AVERAGING_DECAY + epoch)


def build(config: TrainConfig, n_steps: int) -> Schedule:
    """Make all schedules of a fit."""
    return (
        learning_rates(config, n_steps),
        kl_weights(config, n_steps),
        dropout_rates(config, n_steps),
    )
