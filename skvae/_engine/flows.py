"""Normalising flows of the latent: invertible maps over members, rows and draws.

Written here and not taken from a library because the weights of all members are one
matrix, which modules that hold weights of their own cannot share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skvae._engine.distributions import Density, Gaussian
from skvae._engine.networks import MLP, Layout, Views

N_COUPLINGS = 6  # even, so that dimensions end up in their own order
HIDDEN = (32,)
LARGEST_LOG_SCALE = 2.0  # of one coupling


class Flow:
    """Affine couplings: half of the dimensions scale and shift the other half.

    RealNVP: Dinh, Sohl-Dickstein, Bengio (2017), eq. 4-8. Between couplings the order
    of the dimensions is reversed. ``n_context`` inputs steer every coupling.
    """

    def __init__(
        self, layout: Layout, n_components: int, activation: str, n_context: int = 0
    ) -> None:
        self.n_context = n_context
        contexts = [n_context] if n_context else []
        self.nets = []
        for i in range(N_COUPLINGS):
            n_kept = self._n_kept(n_components, i)
            n_out = 2 * (n_components - n_kept)
            inputs = [n_kept, *contexts]
            self.nets.append(MLP(layout, inputs, HIDDEN, n_out, activation, 0.01))
        self.working_width = max(net.width for net in self.nets)

    @staticmethod
    def _n_kept(n_components: int, i: int) -> int:
        """Size of the half that coupling ``i`` leaves as it is."""
        return n_components // 2 if i % 2 == 0 else n_components - n_components // 2

    def forward(self, w: Views, u: Tensor, context: Sequence[Tensor]) -> Tensor:
        """Map draws u (E, S, N, L) of the base to z."""
        for i, net in enumerate(self.nets):
            kept, changed, log_scale, shift = self._parts(w, i, net, u, context)
            changed = changed * log_scale.exp() + shift
            u = torch.cat([kept, changed], dim=-1).flip(-1)
        return u

    def inverse(
        self, w: Views, z: Tensor, context: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return u and the log of |du / dz| by dimension, both (E, S, N, L)."""
        total = torch.zeros_like(z)
        for i, net in reversed(list(enumerate(self.nets))):
            z, total = z.flip(-1), total.flip(-1)
            kept, changed, log_scale, shift = self._parts(w, i, net, z, context)
            z = torch.cat([kept, (changed - shift) * (-log_scale).exp()], dim=-1)
            total = total - torch.cat([torch.zeros_like(kept), log_scale], dim=-1)
        return z, total

    def _parts(
        self, w: Views, i: int, net: MLP, values: Tensor, context: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cut the values and make the map of one coupling from the half it keeps."""
        n_kept = self._n_kept(values.shape[-1], i)
        kept, changed = values.split([n_kept, values.shape[-1] - n_kept], dim=-1)
        raw, shift = net(w, [kept, *context], None).chunk(2, dim=-1)
        log_scale = LARGEST_LOG_SCALE * torch.tanh(raw / LARGEST_LOG_SCALE)
        return kept, changed, log_scale, shift


@dataclass(frozen=True)
class Transformed(Density):
    """The image of a Gaussian under a flow."""

    base: Gaussian
    flow: Flow
    w: Views
    context: Sequence[Tensor] = ()  # (E, N, C)

    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (1, S, N or 1, L) to draws (E, S, N, L)."""
        return self.flow.forward(self.w, self.base.at(noise), self.context)

    def log_prob_each(self, z: Tensor) -> Tensor:
        """Log density of the base and of the map, by dimension: (E, S, N, L)."""
        u, log_slope = self.flow.inverse(self.w, z, self.context)
        return self.base.log_prob_each(u) + log_slope

    def detached(self) -> "Transformed":
        """Return the same density, with parameters that no gradient reaches."""
        w = [view.detach() for view in self.w]
        context = [c.detach() for c in self.context]
        return Transformed(self.base.detached(), self.flow, w, context)

    def _like(self) -> Tensor:
        return self.base.mean
