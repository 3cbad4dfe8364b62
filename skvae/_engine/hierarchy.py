"""A latent in layers, each given those above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from skvae._engine.distributions import Density, Gaussian, GaussianMixture
from skvae._engine.latents import NumericLatent
from skvae._engine.networks import MLP, Layout, Noise, Views
from skvae._engine.priors import gaussian_from, standard_normal

HIDDEN = (64,)


@dataclass(frozen=True)
class Layers(Density):
    """... p(z_1 | z_2) p(z_2): Gaussians that depend on the layers above them.

    ``evidence`` of a row, where there is some, multiplies what the layers above say.
    """

    latent: "LayeredLatent"
    w: Views
    top: Gaussian
    evidence: Sequence[Gaussian]  # of the layers below the top, or empty

    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (1, S, N or 1, L) to draws, from the top down."""
        *parts, first = noise.split(self.latent.sizes, dim=-1)
        z = self.top.at(first)
        for i, part in reversed(list(enumerate(parts))):
            layer = self._layer(i, z)
            z = torch.cat([layer.mean + part * (0.5 * layer.log_var).exp(), z], dim=-1)
        return z

    def log_prob_each(self, z: Tensor) -> Tensor:
        """Log density of each dimension given the layers above: (E, S, N, L)."""
        *parts, first = z.split(self.latent.sizes, dim=-1)
        layers = [self._layer(i, self._above(i, z)) for i in range(len(parts))]
        # layers have draws where other Gaussians have none: fold them into rows
        each = [
            Gaussian(layer.mean.flatten(1, 2), layer.log_var.flatten(1, 2))
            .log_prob_each(part.flatten(1, 2).unsqueeze(1))
            .view(part.shape)
            for layer, part in zip(layers, parts, strict=True)
        ]
        return torch.cat([*each, self.top.log_prob_each(first)], dim=-1)

    def detached(self) -> "Layers":
        """Return the same density, with parameters that no gradient reaches."""
        w = [view.detach() for view in self.w]
        evidence = [said.detached() for said in self.evidence]
        return Layers(self.latent, w, self.top.detached(), evidence)

    def kl_each(self, other: Density, z: Tensor) -> Tensor:
        """KL divergence from ``other``, closed in each layer given those above.

        From a mixture by draws, dimension by dimension from the top down, too: in
        another order single terms would be no divergences, and might be negative.
        """
        if isinstance(other, GaussianMixture):
            from_mixture = other.flipped().log_prob_each(z.flip(-1)).flip(-1)
            return (self.log_prob_each(z) - from_mixture).mean(1)
        if not isinstance(other, Layers):
            return super().kl_each(other, z)
        each = []
        for i in range(len(self.latent.nets)):
            ours, theirs = (d._layer(i, self._above(i, z)) for d in (self, other))
            each.append(ours.kl_each(theirs, z).mean(1))
        return torch.cat([*each, self.top.kl_each(other.top, z)], dim=-1)

    def kl(self, other: Density, z: Tensor) -> Tensor:
        """KL divergence from ``other``, in nats: (E, N)."""
        return self.kl_each(other, z).sum(-1)

    def _above(self, i: int, z: Tensor) -> Tensor:
        return z[..., self.latent.ends[i] :]

    def _layer(self, i: int, above: Tensor) -> Gaussian:
        """Mean and log-variance (E, S, N, L_i) of a layer below the top."""
        said = self.latent.layer(self.w, i, above)
        if not self.evidence:
            return said
        seen = Gaussian(*(t.unsqueeze(1) for t in vars(self.evidence[i]).values()))
        log_precision = torch.logaddexp(-seen.log_var, -said.log_var)
        pulls = [g.mean * (-g.log_var - log_precision).exp() for g in (seen, said)]
        return Gaussian(pulls[0] + pulls[1], -log_precision)

    def _like(self) -> Tensor:
        top = self.top.mean
        return top.new_empty(*top.shape[:-1], self.latent.ends[-1])


class LayeredLatent(NumericLatent):
    """Stochastic layers from the one next to the table to the top; inference top-down.

    Sønderby, Raiko, Maaløe, Sønderby, Winther (2016), Ladder variational autoencoders,
    eq. 16-19. The decoder sees all layers, not the lowest alone.
    """

    closed_mean = False

    def __init__(self, layout: Layout, sizes: Sequence[int], activation: str) -> None:
        self.sizes = list(sizes)
        self.ends = list(accumulate(sizes))
        self.n_encoded = 2 * self.ends[-1]
        above = [self.ends[-1] - end for end in self.ends]
        self.nets = [
            MLP(layout, [n_above], HIDDEN, 2 * size, activation, 0.1)
            for n_above, size in zip(above, sizes[:-1], strict=False)
        ]
        self.working_width = max([self.ends[-1], *(net.width for net in self.nets)])

    def layer(self, w: Views, i: int, above: Tensor) -> Gaussian:
        """p(z_i | layers above), in shapes (E, S, N, L_i)."""
        return gaussian_from(self.nets[i](w, [above], None))

    def prior(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Density:
        """p(z)."""
        return Layers(self, w, standard_normal(w, self.sizes[-1]), [])

    def posterior(self, w: Views, encoded: Tensor, noise: Noise | None) -> Density:
        """q(z | x) from outputs (E, N, 2L) of the encoder."""
        seen = gaussian_from(encoded)
        bounds = [0, *self.ends]
        *evidence, top = (
            Gaussian(seen.mean[..., a:b], seen.log_var[..., a:b])
            for a, b in pairwise(bounds)
        )
        return Layers(self, w, top, evidence)
