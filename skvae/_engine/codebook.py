"""A latent of codes: each position of z is one of K learned vectors.

van den Oord, Vinyals, Kavukcuoglu (2017), Neural discrete representation learning.
Written here for the reason that flows are: codes of all members lie in one matrix.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Generator, Tensor
from torch.nn import functional

from skvae._engine.aggregate import fit_classes
from skvae._engine.distributions import Density, deal, gains, pick
from skvae._engine.networks import Layout, Noise, Views, normal_init, uniform_init

N_CODES = 64  # of a position
WIDEST = 2  # dimensions of z a position
COMMITMENT = 0.25  # sec. 3.2
DECAY = 0.99  # appendix A.1
DEAD = 0.05  # share of its fair number of rows below which a code starts anew
SMALLEST_SPREAD = 1e-4


@dataclass(frozen=True)
class Codebook:
    """Vectors (E, M, K, W) of K codes at each of M positions."""

    vectors: Tensor

    @property
    def width(self) -> int:
        """Dimensions of z a position."""
        return self.vectors.shape[-1]

    def look_up(self, index: Tensor) -> Tensor:
        """Codes (E, S, N, M) to z (E, S, N, M·W)."""
        n_members, n_positions = self.vectors.shape[:2]
        member = torch.arange(n_members, device=index.device).view(-1, 1, 1, 1)
        position = torch.arange(n_positions, device=index.device)
        return self.vectors[member, position, index].flatten(-2)

    def distances(self, z: Tensor) -> Tensor:
        """Squared distances of z (E, S, N, M·W) from all codes: (E, S, N, M, K)."""
        z = z.unflatten(-1, (self.vectors.shape[1], self.width))
        codes = self.vectors[:, None, None]
        gaps = (z.unsqueeze(-2) - codes).square()
        return gaps.sum(-1)

    def nearest(self, z: Tensor) -> Tensor:
        """Index of the nearest code at each position: (E, S, N, M)."""
        return self.distances(z).argmin(-1)

    def uniforms(self, noise: Tensor) -> Tensor:
        """Map standard normals (..., M·W) to one uniform a position: (..., M)."""
        return torch.special.ndtr(noise[..., :: self.width])

    def by_dimension(self, log_prob: Tensor) -> Tensor:
        """Share out nats of positions (..., M) evenly to their dimensions."""
        return (log_prob / self.width).repeat_interleave(self.width, dim=-1)

    def repeats(self) -> Tensor:
        """Tell which vectors stand in the book before, too: (E, M, K)."""
        alike = self.vectors.unsqueeze(3) == self.vectors.unsqueeze(2)
        return alike.all(-1).tril(-1).any(-1)

    def like(self) -> Tensor:
        """Return some z of each member: (E, M·W)."""
        return self.vectors[..., 0, :].flatten(-2)


@dataclass(frozen=True)
class Codes(Density):
    """q(z | x): the code nearest to the encoder's output, or one near it.

    In training it is the nearest (eq. 1). Asked afterwards, codes are drawn with
    probabilities that fall with the squared distance as far as training rows lay from
    theirs, so that importance weights see the neighbours, too.
    """

    book: Codebook
    encoded: Tensor  # (E, N, L)
    spread: Tensor  # (E, 1, M), mean squared distance a dimension
    training: bool
    smooth = False

    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (1, S, N or 1, L) to codes (E, S, N, L)."""
        if self.training:
            # sec. 3.2: the gradient of the code goes to the encoder's output
            jump = (self.nearest() - self.encoded).detach()
            return (self.encoded + jump).unsqueeze(1).expand(-1, noise.shape[1], -1, -1)
        place = self.book.uniforms(noise)  # (1, S, ·, M), uniform
        log_prob = self.log_probs()
        place = place.expand(len(log_prob), -1, log_prob.shape[1], -1)
        index = pick(log_prob.exp(), place.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.book.look_up(index)

    def log_probs(self) -> Tensor:
        """Log probabilities of all codes: (E, N, M, K)."""
        distances = self.book.distances(self.encoded.unsqueeze(1))[:, 0]
        scale = (2.0 * self.spread).clamp(min=SMALLEST_SPREAD).unsqueeze(-1)
        # the same vector twice is one code: ``nearest`` knows the first alone
        again = self.book.repeats().unsqueeze(1)
        return (-distances / scale).masked_fill(again, -torch.inf).log_softmax(-1)

    def index(self) -> Tensor:
        """Index of the nearest code: (E, N, M)."""
        return self._index

    @cached_property
    def _index(self) -> Tensor:
        # four questions of a training step ask for it
        return self.book.nearest(self.encoded.unsqueeze(1))[:, 0]

    def nearest(self) -> Tensor:
        """Vectors of the nearest codes: (E, N, L)."""
        return self.book.look_up(self.index().unsqueeze(1))[:, 0]

    def log_prob_each(self, z: Tensor) -> Tensor:
        """Log probability of the codes of z (E, S, N, L), shared out."""
        if self.training:
            return torch.zeros_like(z)
        log_prob = self.log_probs().unsqueeze(1).expand(-1, z.shape[1], -1, -1, -1)
        index = self.book.nearest(z).unsqueeze(-1)
        return self.book.by_dimension(log_prob.gather(-1, index).squeeze(-1))

    def detached(self) -> "Codes":
        """Return the same density, with parameters that no gradient reaches."""
        return Codes(self.book, self.encoded.detach(), self.spread, self.training)

    def asked(self) -> "Codes":
        """Return the density of draws near the encoder's output."""
        return replace(self, training=False)

    def mean_of(self, noise: Tensor) -> Tensor:
        """Vectors of the nearest codes: (E, N, L)."""
        return self.nearest()

    def cost(self, other: Density, z: Tensor) -> Tensor:
        """KL divergence from ``other`` and the cost of commitment: (E, N)."""
        away = (self.encoded - self.nearest().detach()).square()
        return (self.kl_each(other, z) + COMMITMENT * away).sum(-1)

    def _like(self) -> Tensor:
        return self.encoded


@dataclass(frozen=True)
class UniformCodes(Density):
    """Every code as likely as any other: the prior of training, sec. 3.1."""

    book: Codebook
    smooth = False

    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (1, S, N or 1, L) to codes (E, S, N or 1, L)."""
        n_members, _, n_codes, _ = self.book.vectors.shape
        place = self.book.uniforms(noise)
        index = (place * n_codes).long().clamp(max=n_codes - 1)
        return self.book.look_up(index.expand(n_members, -1, -1, -1))

    def log_prob_each(self, z: Tensor) -> Tensor:
        """Log probability of any code, shared out."""
        n_codes = self.book.vectors.shape[2]
        return torch.full_like(z, -math.log(n_codes) / self.book.width)

    def detached(self) -> "UniformCodes":
        """Return itself: no gradient reaches the codes."""
        return self

    def _like(self) -> Tensor:
        return self.book.like()


@dataclass(frozen=True)
class CodeMixture(Density):
    """C classes of rows, in each of which the positions are independent."""

    book: Codebook
    log_weight: Tensor  # (E, C)
    log_table: Tensor  # (E, C, M, K)
    smooth = False

    def at(self, noise: Tensor) -> Tensor:
        """Map standard normals (1, S, N or 1, L) to codes (E, S, N or 1, L)."""
        share = deal(self.log_weight, noise.shape[1]).unsqueeze(-1)  # (E, S, 1)
        place = self.book.uniforms(noise)
        return self._drawn(share.expand(-1, -1, noise.shape[2]), place)

    def sample(self, n_draws: int, n_rows: int, generator: Generator) -> Tensor:
        """Draw (E, S, N, L), the same chance for all members."""
        n_members, n_positions = self.book.vectors.shape[:2]
        place = torch.rand(
            (1, n_draws, n_rows, 1 + n_positions),
            generator=generator,
            device=self.log_weight.device,
            dtype=self.log_weight.dtype,
        )
        flat = place[..., 0].flatten(1).expand(n_members, -1)
        chosen = pick(self.log_weight.exp(), flat).view(-1, n_draws, n_rows)
        return self._drawn(chosen, place[..., 1:])

    def _drawn(self, chosen: Tensor, place: Tensor) -> Tensor:
        """Codes of classes (E, S, N) at uniforms (1, S, N, M)."""
        member = torch.arange(len(chosen), device=chosen.device).view(-1, 1, 1)
        table = self.log_table[member, chosen].exp()  # (E, S, N, M, K)
        wide = place.expand(len(chosen), -1, -1, -1).unsqueeze(-1)
        return self.book.look_up(pick(table, wide).squeeze(-1))

    def log_prob_each(self, z: Tensor) -> Tensor:
        """Nats that each position adds, given those before it, shared out."""
        index = self.book.nearest(z)  # (E, S, N, M)
        member = torch.arange(len(z), device=z.device).view(-1, 1, 1)
        tables = self.log_table.permute(2, 0, 3, 1)  # (M, E, K, C)
        parts = (table[member, index[..., m]] for m, table in enumerate(tables))
        return self.book.by_dimension(gains(self.log_weight[:, None, None], parts))

    def detached(self) -> "CodeMixture":
        """Return itself: it is fitted after training."""
        return self

    def _like(self) -> Tensor:
        return self.book.like()


class CodeLatent:
    """z from codebooks that follow the encoder's outputs by moving averages.

    Their vectors and counts lie among the weights, where no gradient reaches them.
    """

    closed_mean = True
    draws_a_row = 1

    def __init__(self, layout: Layout, n_components: int) -> None:
        self.layout = layout
        self.n_encoded = n_components
        self.width = 1 if n_components % WIDEST else WIDEST
        self.n_positions = n_components // self.width
        self.working_width = n_components * N_CODES
        shape = (self.n_positions, N_CODES)
        self.vectors = layout.add((*shape, self.width), normal_init(torch.ones(1)))
        self.counts = layout.add(shape, uniform_init(0.0))
        self.sums = layout.add((*shape, self.width), uniform_init(0.0))
        self.spread = layout.add((1, self.n_positions), uniform_init(0.0))

    def book(self, w: Views) -> Codebook:
        """Return the codes."""
        return Codebook(w[self.vectors].detach())

    def prior(
        self, w: Views, features: Sequence[Tensor], noise: Noise | None
    ) -> Density:
        """p(z) in training."""
        return UniformCodes(self.book(w))

    def posterior(self, w: Views, encoded: Tensor, noise: Noise | None) -> Density:
        """q(z | x) from outputs (E, N, L) of the encoder."""
        spread = w[self.spread].detach()
        return Codes(self.book(w), encoded, spread, training=noise is not None)

    def fit_prior(
        self, w: Views, z: Tensor, weight: Tensor, generator: Generator
    ) -> tuple[Tensor, ...]:
        """Log weights of classes and log probabilities of codes in each."""
        index = self.book(w).nearest(z.unsqueeze(1))[:, 0]
        return fit_classes(index, N_CODES, weight, generator)

    def fitted_prior(self, parameters: Sequence[Tensor], w: Views) -> Density:
        """Return the prior of such parameters."""
        return CodeMixture(self.book(w), *parameters)

    @torch.no_grad()
    def after_step(
        self, weights: Tensor, posterior: Density, row_weight: Tensor, noise: Noise
    ) -> None:
        """Move codes towards the rows they stand for; start those without rows anew.

        Rows (E, N) count by their weight, which is 1 on average.

        Appendix A.1; the restart as in Dhariwal et al. (2020), Jukebox, sec. 3.2.
        """
        assert isinstance(posterior, Codes)
        w = self.layout.views(weights)
        rows = posterior.encoded.unflatten(-1, (self.n_positions, self.width))
        chosen = functional.one_hot(posterior.index(), N_CODES).to(rows.dtype)
        chosen = chosen * row_weight[..., None, None]
        share = row_weight / row_weight.sum(1, keepdim=True)
        away = (posterior.encoded - posterior.nearest()).square()
        away = away.unflatten(-1, (self.n_positions, self.width)).mean(3)
        away = torch.einsum("en,enm->em", share, away)
        w[self.spread].lerp_(away.unsqueeze(1), 1.0 - DECAY)
        w[self.counts].lerp_(chosen.sum(1), 1.0 - DECAY)
        w[self.sums].lerp_(torch.einsum("enmk,enmw->emkw", chosen, rows), 1.0 - DECAY)
        fair = rows.shape[1] / N_CODES
        draw = torch.rand(
            w[self.counts].shape,
            generator=noise.generator,
            device=rows.device,
            dtype=torch.float32,
        )
        place = pick(share, draw.flatten(1)).view(draw.shape)  # (E, M, K)
        member = torch.arange(len(rows), device=rows.device).view(-1, 1, 1)
        position = torch.arange(self.n_positions, device=rows.device).view(1, -1, 1)
        fresh = rows[member, place, position]
        dead = w[self.counts] < DEAD * fair
        w[self.counts].masked_fill_(dead, fair)
        w[self.sums].copy_(torch.where(dead[..., None], fair * fresh, w[self.sums]))
        w[self.vectors].copy_(w[self.sums] / w[self.counts].unsqueeze(-1))
