"""Gradient-free questions to trained members about one chunk of rows.

Draws of z come from a fixed set ``draws`` (S, L) of standard normals, the same for
every row, so an answer depends on its row alone; predictions take the first
``n_predictive`` of them. The members form an equal mixture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from skvae._engine import likelihoods
from skvae._engine.copula import Copula
from skvae._engine.distributions import Density, Gaussian
from skvae._engine.likelihoods.chance import normal
from skvae._engine.model import Batch, LatentModel
from skvae._engine.networks import Views
from skvae._engine.objectives import log_mean_exp
from skvae._engine.priors import standard_normal
from skvae._engine.proposals import (
    LogDensity,
    Mixture,
    Proposal,
    laplace,
    variance_of_mean,
)

CELL_SEEDS = 2**20  # to a unit of the sum of the draws of z


@dataclass(frozen=True)
class Decoded:
    """What posterior draws say of some rows."""

    z: Tensor  # (E, S, N, L)
    outputs: Tensor  # (E, S, N, R), raw outputs of the heads
    log_prob: Tensor  # (E, S, N, D), log p(x | z, c) of the cells, 0 where missing
    x: Tensor  # (E, 1 or S, N, D), the cells; missing ones drawn if others ask for them
    first: int  # of the draws of z, how many came before
    residuals: Tensor | None = None  # (E, S, N, d), of cells, where a copula ties them


# to what a question needs of it (E, S, N, K)
Reader = Callable[[Decoded], Tensor]


def read_nothing(decoded: Decoded) -> Tensor:
    """Where the weights are all that is wanted."""
    return decoded.outputs[..., :0]


@dataclass(frozen=True)
class Importance:
    """Posterior draws of some rows: what they weigh and what was read from them."""

    log_weights: Tensor  # (E, S, N)
    values: Tensor  # (E, S, N, K)
    proposal: Proposal

    def flat_weights(self) -> Tensor:
        """Self-normalised weights over members and draws: (E·S, N)."""
        return self.log_weights.flatten(0, 1).softmax(0)

    def mean(self) -> Tensor:
        """Self-normalised average of the values over members and draws: (N, K)."""
        weights = self.flat_weights().unsqueeze(-1)  # (E·S, N, 1)
        return (weights * self.values.flatten(0, 1)).sum(0)


class Inference:
    """A model with its weights; each method answers for one batch of rows."""

    def __init__(
        self,
        model: LatentModel,
        weights: Tensor,
        draws: Tensor,
        n_predictive: int,
        max_elements: int,
        fitted_prior: Sequence[Tensor] = (),
        correlation: Tensor | None = None,
    ) -> None:
        self.model = model
        self.max_elements = max_elements  # of an array inside the decoder
        self.w: Views = model.layout.views(weights)
        self.draws = draws[None, :, None, :]  # (1, S, 1, L)
        self.predictive_draws = self.draws[:, :n_predictive]
        # of cells that are drawn with z: other draws of z, other cells
        self.cell_seed = int(draws.abs().sum() * CELL_SEEDS)
        self.n_members = weights.shape[0]
        self.correlation = correlation  # (d, d), of residuals given z
        self.fitted_prior: Density | None = None  # in the place of the model's
        if fitted_prior:
            self.fitted_prior = model.latent.fitted_prior(fitted_prior, self.w)

    def posterior(self, batch: Batch) -> Density:
        """q(z | x, c)."""
        features = self.model.features(self.w, batch)
        return self.model.posterior(self.w, batch, features)

    def posterior_mean(self, batch: Batch) -> Tensor:
        """E[z] under q(z | x, c): (E, N, L)."""
        return self.posterior(batch).mean_of(self.draws)

    def prior(self, batch: Batch, features: list[Tensor] | None = None) -> Density:
        """p(z | c) as it is used: the model's, or what was fitted in its place."""
        if self.fitted_prior is not None:
            return self.fitted_prior
        if features is None:
            features = self.model.features(self.w, batch)
        return self.model.prior(self.w, features)

    def prior_mean(self, batch: Batch) -> Tensor:
        """E[z] under p(z | c): (E, N, L)."""
        mean = self.prior(batch).mean_of(self.draws)
        return mean.expand(-1, len(batch), -1)

    def kl(self, batch: Batch) -> Tensor:
        """KL(q || p) as it adds up over dimensions, in nats: (E, N, L)."""
        posterior, prior = self.posterior(batch), self.prior(batch)
        return posterior.kl_each(prior, posterior.at(self.draws))

    def moments(self, batch: Batch) -> Tensor:
        """Means and variances of q(z | x, c): (2, E, N, L)."""
        return torch.stack(self.posterior(batch).moments_of(self.draws))

    def prior_gap(self, batch: Batch, generator: Generator) -> Tensor:
        """KL from the prior of the mean of these rows' posteriors, in nats: (E,).

        Hoffman & Johnson (2016), eq. 8, from one draw of each row.
        """
        posterior, n_rows = self.posterior(batch), len(batch)
        z = posterior.sample(1, n_rows, generator)  # (E, 1, N, L)
        log_prior = self.prior(batch).log_prob(z)[:, 0]
        size = max(1, self.max_elements // (z[:, 0].numel()))
        parts = [
            log_mean_exp(posterior.log_prob(part.expand(-1, -1, n_rows, -1)), dim=2)
            for part in z.transpose(1, 2).split(size, dim=1)
        ]
        return (torch.cat(parts, dim=1) - log_prior).mean(1)

    def importance(
        self, batch: Batch, read: Reader, posterior_only: bool = False
    ) -> Importance:
        """Draw from a proposal, and weigh the draws. Burda et al. (2016), sec. 3.

        Few draws at a time go through the decoder, whose outputs are wide, and only
        what ``read`` takes of them is kept. ``posterior_only`` draws from q(z | x, c).
        Missing cells that the decoder looks at are drawn with z, each from its
        distribution given those before it, which then drops out of the weights.
        """
        features = self.model.features(self.w, batch)
        posterior = self.model.posterior(self.w, batch, features)
        prior = self.prior(batch, features)
        copula = self._copula(batch)

        def joint(z: Tensor, first: int = 0) -> tuple[Decoded, Tensor]:
            x = self._looked_at(batch, z, first, features)
            known = self.model.preceding(self.w, x, None)
            outputs = self.model.decode(self.w, z, features + known)
            cells = self.model.log_prob_cells(outputs, batch)
            log_p = cells.sum(-1) + prior.log_prob(z)
            if copula is None:
                return Decoded(z, outputs, cells, x, first), log_p
            residuals = self.model.residuals.of(outputs, x)
            log_p = log_p + copula.log_density(residuals)
            return Decoded(z, outputs, cells, x, first, residuals), log_p

        proposal: Proposal = posterior
        if not posterior_only:
            proposal = self._proposal(lambda z: joint(z)[1], posterior, prior, batch)
        z = proposal.at(self.draws)
        row = self.model.decoder_width * self.n_members * z.shape[2]
        log_joint: list[Tensor] = []
        values: list[Tensor] = []
        for part in z.split(max(1, int(self.max_elements // row)), dim=1):
            decoded, log_p = joint(part, sum(p.shape[1] for p in log_joint))
            log_joint.append(log_p)
            values.append(read(decoded))
        log_weights = torch.cat(log_joint, dim=1) - proposal.log_prob(z)
        return Importance(log_weights, torch.cat(values, dim=1), proposal)

    def _copula(self, batch: Batch) -> Copula | None:
        """Return what ties the residuals of these rows, if anything."""
        if self.correlation is None:
            return None
        known = batch.weight.new_ones(1, len(self.correlation))
        if not batch.complete().all():
            assert batch.x_observed is not None
            known = batch.x_observed[0][:, self.model.residuals.columns]
        return Copula.of(self.correlation, known)

    def residuals(self, batch: Batch, n_draws: int, generator: Generator) -> Tensor:
        """Residuals of the observed cells at draws of z given them: (M, N, d)."""
        residuals = self.model.residuals
        importance = self.importance(
            batch, lambda decoded: residuals.of(decoded.outputs, decoded.x)
        )
        return _resampled(importance, n_draws, generator)[0]

    def _looked_at(
        self, batch: Batch, z: Tensor, first: int, features: list[Tensor]
    ) -> Tensor:
        """Cells, (E, 1, N, D), or with holes drawn (E, S, N, D) where need be.

        ``z`` are the draws from ``first`` on.
        """
        x, observed = batch.x.unsqueeze(1), batch.x_observed
        if not self.model.is_autoregressive or observed is None:
            return x
        n_draws, shape = self.draws.shape[1], (-1, z.shape[1], -1, -1)

        def draw(outputs: Tensor, i: int) -> Tensor:
            chance = likelihoods.SharedChance.of(
                self.cell_seed + i, n_draws, first, outputs
            )
            return self.model.sample_cells(outputs, chance)

        x, observed = x.expand(shape), observed.unsqueeze(1).expand(shape)
        return self.model.in_turn(self.w, z, features, draw, x, observed)

    def _proposal(
        self,
        log_joint: LogDensity,
        posterior: Density,
        prior: Density,
        batch: Batch,
    ) -> Proposal:
        """Choose where to draw from: near the posterior, and never only there.

        The encoder may be too sure of itself: of holes in a row that it never saw, or
        of new rows where PriorNet is near anyway. Rows with missing cells or a
        condition take part of the draws from the prior. Where z ties several columns
        given a condition, the posterior is narrow and its dimensions depend on each
        other, which the encoder's does not: most draws come from a Laplace
        approximation, whose weights vary ten times less
        (benchmarks/record/regression.md).

        One proposal for all rows of a batch: complete rows are best asked about apart
        from those with holes.
        """
        n_draws = self.draws.shape[1]
        if self.model.condition is None and batch.complete().all() and prior.smooth:
            return posterior
        half_each = Mixture.of(n_draws, [(0.5, posterior), (0.5, prior)])
        if not prior.smooth or self.model.is_autoregressive:
            return half_each
        if self.model.condition is not None and not self.model.config.ties:
            return half_each
        normal = standard_normal(self.w, self.draws.shape[-1])
        frame = prior if isinstance(prior, Gaussian) else normal
        near = laplace(log_joint, frame, posterior.mean_of(self.draws))
        broad_shares: list[tuple[float, Proposal]] = [
            (0.125, posterior),
            (0.125, prior),
        ]
        return Mixture.of(n_draws, [(0.75, near), *broad_shares])

    def log_prob(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return log p(x | c) of the observed cells and its standard error: 2 of (N,).

        The error is that of independent draws (delta method); the fixed set of draws
        is more even than that, so it errs on the large side.
        """
        nothing = self.importance(batch, read_nothing)
        log_weights = nothing.log_weights  # (E, S, N)
        n_draws = log_weights.shape[1]
        log_prob = log_mean_exp(log_weights.flatten(0, 1), 0)
        relative = (log_weights - log_prob).exp()  # mean 1 over (E, S)
        if n_draws == 1:
            return log_prob, torch.full_like(log_prob, torch.nan)
        variance = variance_of_mean(nothing.proposal, relative)  # (E, N)
        return log_prob, variance.sum(0).sqrt() / self.n_members

    def lower_bound(self, batch: Batch) -> Tensor:
        """Evidence lower bound, from draws of q alone, mean over members: (N,)."""
        nothing = self.importance(batch, read_nothing, posterior_only=True)
        return nothing.log_weights.mean((0, 1))

    def log_prob_cells(self, batch: Batch) -> Tensor:
        """E[log p(x_d | z, c)] under p(z | x, c): (N, D), 0 where missing."""
        return self.importance(batch, lambda decoded: decoded.log_prob).mean()

    def conditional_mean(self, batch: Batch) -> Tensor:
        """E[x | observed cells], all cells, modes of discrete ones: (N, D).

        The self-normalised average of decoder means, not of draws. Mattei & Frellsen
        (2019), eq. 12. Where the decoder looks at cells, draws are what is weighed.
        Where residuals go together, those of missing cells are drawn given those of
        observed ones, in pairs about their mean, which is all that a Gaussian asks for.
        """
        copula = None if batch.complete().all() else self._copula(batch)
        scale = None if copula is None else copula.scale  # the same for all draws

        def expect(decoded: Decoded) -> Tensor:
            if self.model.is_autoregressive:
                return self.model.expectations_of(_cells(decoded))
            means = self.model.expectations(decoded.outputs)
            if copula is None or scale is None or decoded.residuals is None:
                return means
            expected = copula.mean(decoded.residuals)
            chance = likelihoods.SharedChance.of(
                self.cell_seed, self.draws.shape[1], decoded.first, expected
            )
            apart = scale * normal(expected, chance)
            x, unknown = _cells(decoded), 1.0 - copula.known
            moved = [
                self.model.expectations_of(
                    self.model.residuals.put(
                        decoded.outputs, x, expected + step, unknown
                    )
                )
                for step in (apart, -apart)
            ]
            missing = self.model.residuals.among_expectations(unknown)
            return means + missing * (0.5 * (moved[0] + moved[1]) - means)

        return self.model.points(self.importance(batch, expect).mean())

    def conditional_draws(
        self, batch: Batch, n_draws: int, generator: Generator
    ) -> Tensor:
        """Draws of all cells given the observed ones: (M, N, D).

        Sampling-importance-resampling of z, then p(x | z). Mattei & Frellsen (2019),
        sec. 4.2. Where the decoder looks at cells, of z and the missing ones together.
        """
        together = self.model.is_autoregressive
        read = _cells if together else (lambda decoded: decoded.z)
        picked, member = _resampled(self.importance(batch, read), n_draws, generator)
        if together:
            return picked
        row = self.model.decoder_width * self.n_members * len(batch)
        size = max(1, self.max_elements // row)
        features, copula = self.model.features(self.w, batch), self._copula(batch)

        def draw_at(z: Tensor, member: Tensor) -> Tensor:
            return self._draw_at(z, member, batch.x[0], features, copula, generator)

        parts = zip(picked.split(size), member.split(size), strict=True)
        return torch.cat([draw_at(z, e) for z, e in parts])

    def _draw_at(
        self,
        z: Tensor,
        member: Tensor,
        x: Tensor,
        features: list[Tensor],
        copula: Copula | None,
        generator: Generator,
    ) -> Tensor:
        """Draw all cells of rows x (N, D): (M, N, D).

        Given z (M, N, L), of a ``member`` (M, N) each.
        """
        outputs = self.model.decode(
            self.w, z.expand(self.n_members, *z.shape), features
        )
        index = member[None, ..., None].expand(1, *outputs.shape[1:])
        outputs = outputs.gather(0, index)[0]
        cells = self.model.sample_cells(outputs, generator)
        if copula is None:
            return cells
        known = self.model.residuals.of(outputs, x)
        drawn = copula.draw(known, generator)
        return self.model.residuals.put(outputs, cells, drawn, 1.0 - copula.known)

    def decode_mean(self, z: Tensor, batch: Batch, member: int) -> Tensor:
        """E[x | z, c] of one member at given latents (N, L): (N, D).

        A decoder that looks at cells expects each given the expected ones before it.
        """
        features = self.model.features(self.w, batch)
        latents = z.expand(self.n_members, 1, *z.shape)

        def expect(outputs: Tensor, _: int) -> Tensor:
            chosen = outputs[member : member + 1]
            return self.model.points(self.model.expectations(chosen))

        nothing = torch.zeros_like(batch.x[:1].unsqueeze(1))
        cells = self.model.in_turn(self.w, latents, features, expect, nothing, nothing)
        return cells[0, 0]

    def sample(self, batch: Batch, n_draws: int, generator: Generator) -> Tensor:
        """Fresh draws of x given c, a member at random for each: (M, N, D)."""
        features = self.model.features(self.w, batch)
        n_rows = len(batch)
        z = self.prior(batch, features).sample(n_draws, n_rows, generator)
        member = torch.randint(
            self.n_members,
            (1, n_draws, n_rows, 1),
            generator=generator,
            device=generator.device,
        )

        def draw(outputs: Tensor, _: int) -> Tensor:
            index = member.expand(1, n_draws, n_rows, outputs.shape[-1])
            picked = outputs.gather(0, index)
            cells = self.model.sample_cells(picked, generator)
            if self.correlation is None:
                return cells
            independent = self.model.residuals.of(picked, cells)
            every = cells.new_ones(1, len(self.correlation))
            drawn = Copula.of(self.correlation, 1.0 - every).draw(
                independent, generator
            )
            return self.model.residuals.put(picked, cells, drawn, every)

        nothing = z.new_zeros(1, n_draws, n_rows, self.model.config.n_columns)
        cells = self.model.in_turn(self.w, z, features, draw, nothing, nothing)
        return cells.squeeze(0)

    def mixture(self, batch: Batch) -> likelihoods.Mixture:
        """p(x | c) at the fixed prior draws: fields (N, E·S, K, D).

        Every head must be a Gaussian mixture.
        """
        features = self.model.features(self.w, batch)
        z = self.prior(batch, features).at(self.predictive_draws)
        outputs = self.model.decode(self.w, z, features).flatten(0, 1)  # (E·S, N, R)
        (head,) = self.model.heads
        assert isinstance(head.likelihood, likelihoods.GaussianMixtureHead)
        parts = head.likelihood.mixture(head.raw(outputs))  # (E·S, N, K, D)
        fields = (parts.log_weight, parts.mean, parts.scale)
        return likelihoods.Mixture(*(field.transpose(0, 1) for field in fields))


def _resampled(
    importance: Importance, n_draws: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw from the values, by weight and with replacement.

    Returns draws (M, N, K) and the member that each is of (M, N).
    """
    weights = importance.flat_weights().T.contiguous()  # (N, E·S)
    pick = torch.multinomial(weights, n_draws, True, generator=generator).T  # (M, N)
    values = importance.values.flatten(0, 1)  # (E·S, N, K)
    rows = torch.arange(values.shape[1], device=values.device)
    return values[pick, rows], pick // importance.values.shape[1]


def _cells(decoded: Decoded) -> Tensor:
    """Every cell at every draw: (E, S, N, D)."""
    return decoded.x.expand(*decoded.outputs.shape[:-1], -1)


def expand_members(batch: Batch, n_members: int) -> Batch:
    """Give every member the same rows: fields (1, N, ·) to (E, N, ·)."""

    def expand(value: Tensor) -> Tensor:
        return value.expand(n_members, *value.shape[1:])

    x_observed, c_observed = batch.x_observed, batch.c_observed
    return Batch(
        expand(batch.x),
        None if x_observed is None else expand(x_observed),
        expand(batch.c),
        None if c_observed is None else expand(c_observed),
        expand(batch.weight),
    )
