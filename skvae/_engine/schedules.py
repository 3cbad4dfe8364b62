"""Learning rate and KL weight for every step of a fit, made before it begins."""

import torch
from torch import Tensor

from skvae._engine.config import TrainConfig

RATE_WARMUP = 0.03  # fraction of training
FINAL_RATE = 0.01  # fraction of the initial rate at the end of the cosine
CYCLES = 4  # Fu et al. (2019), sec. 4: M = 4


def learning_rates(config: TrainConfig, n_steps: int) -> Tensor:
    """Linear warm-up, then a cosine to almost zero: (n_steps,)."""
    if config.constant_rate:
        return torch.full((n_steps,), config.learning_rate_init)
    done = torch.arange(n_steps) / n_steps
    warm = ((torch.arange(n_steps) + 1) / max(1.0, RATE_WARMUP * n_steps)).clamp(max=1)
    cosine = 0.5 * (1 + torch.cos(torch.pi * done))
    return config.learning_rate_init * warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def kl_weights(config: TrainConfig, n_steps: int) -> Tensor:
    """Rise to ``beta`` over the fraction ``kl_warmup`` of training: (n_steps,).

    ``"linear"``: one rise (Sønderby et al. 2016, sec. 3). ``"cyclical"``: four rises,
    each over that fraction of a quarter (Fu et al. 2019, eq. 6-7). ``"constant"``:
    ``beta`` throughout.
    """
    if config.kl_schedule == "constant" or config.kl_warmup == 0:
        return torch.full((n_steps,), float(config.beta))
    step = torch.arange(n_steps)
    done = (step + 1) / n_steps
    if config.kl_schedule == "cyclical":
        done = (step * CYCLES % n_steps + CYCLES) / n_steps
    return config.beta * (done / config.kl_warmup).clamp(max=1.0)
