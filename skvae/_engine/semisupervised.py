"""Classes, some of them known: y ~ Cat(π), z ~ N(0, I), x ~ p(x | y, z), and q(y | x).

Kingma, Mohamed, Rezende, Welling (2014), Semi-supervised learning with deep generative
models, model M2. arXiv:1406.5298. Every row is seen once with each of the K classes:
what x has to do with no class is computed once, and the rest in one pass.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skvae._engine import objectives
from skvae._engine.config import ModelConfig, TrainConfig
from skvae._engine.model import Batch, LatentModel
from skvae._engine.networks import MLP, Inputs, Noise, Views
from skvae._engine.objectives import Objective, Terms


@dataclass(frozen=True)
class ClassTerms(Terms):
    """Terms of log p(x, z | y) - log q(z | x, y) of every row with every class.

    The rows with the first class come first, then those with the second: M = K·N.
    """

    log_class: Tensor  # (E, K, N), log q(y | x)
    log_prior: Tensor  # (K,), log p(y)
    known: Tensor  # (E, K, N), 1 at the class of a labelled row

    @property
    def labelled(self) -> Tensor:
        """1 for rows whose class is known: (E, N)."""
        return self.known.sum(1)

    @property
    def share(self) -> Tensor:
        """q(y | x), or the known class: (E, K, N)."""
        free = 1.0 - self.labelled.unsqueeze(1)
        return self.known + free * self.log_class.exp()

    def class_kl(self) -> Tensor:
        """KL of ``share`` from p(y), in nats: (E, N)."""
        free = 1.0 - self.labelled.unsqueeze(1)
        log_ratio = free * self.log_class - self.log_prior.unsqueeze(1)
        return (self.share * log_ratio).sum(1)

    def surprise(self) -> Tensor:
        """Return -log q(y | x) of known classes, in nats, 0 for other rows: (E, N)."""
        return -(self.known * self.log_class).sum(1)

    def with_class(self) -> Terms:
        """Return the terms of the M rows, each of its class."""
        return Terms(self.log_lik, self.z, self.posterior, self.prior)

    def kl_each(self) -> Tensor:
        """KL(q(z | x, y) || p(z)) in each dimension, averaged over y: (E, N, L)."""
        apart = super().kl_each().unflatten(1, self.share.shape[1:])
        return (self.share.unsqueeze(-1) * apart).sum(1)


class SemiSupervised(Objective):
    """Eq. 9: eq. 6 on labelled rows, eq. 7 on the others, and -log q(y | x).

    The last is averaged over the labelled rows of a batch, in whatever share they come.
    """

    def __init__(self, generative: Objective, classification_weight: float) -> None:
        self.generative = generative
        self.classification_weight = classification_weight

    def __call__(self, terms: Terms, beta: Tensor, weight: Tensor) -> Tensor:
        """Loss per member (E,)."""
        assert isinstance(terms, ClassTerms)
        by_class = (terms.share * weight.unsqueeze(1)).flatten(1)  # (E, M)
        # a mean over M rows; a row is K of them
        n_classes = terms.share.shape[1]
        loss = n_classes * self.generative(terms.with_class(), beta, by_class)
        loss = loss + (weight * terms.class_kl()).mean(1)
        return loss + self.classification_weight * _mean_surprise(terms, weight)

    def bound(self, terms: Terms, beta: float) -> Tensor:
        """Return the negative loss of each row (E, N), importance-weighted in z."""
        assert isinstance(terms, ClassTerms)
        each = self.generative.bound(terms.with_class(), beta).unflatten(
            1, terms.share.shape[1:]
        )
        bound = (terms.share * each).sum(1) - terms.class_kl()
        surprise = _mean_surprise(terms, torch.ones_like(bound)).unsqueeze(1)
        return bound - self.classification_weight * surprise


def _mean_surprise(terms: ClassTerms, weight: Tensor) -> Tensor:
    """-log q(y | x), a mean over labelled rows: (E,); 0 where there are none."""
    labelled = (weight * terms.labelled).sum(1)
    return (weight * terms.surprise()).sum(1) / labelled.clamp(min=1e-12)


class ClassModel(LatentModel):
    """A latent model given the class, and a network for q(y | x)."""

    def __init__(
        self, config: ModelConfig, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__(config, device, dtype)
        self.n_classes = len(config.classes)
        frequencies = torch.tensor(config.classes, device=device, dtype=dtype)
        self.log_prior = (frequencies / frequencies.sum()).log()
        self.codes = torch.arange(self.n_classes, device=device)
        self.class_inputs = Inputs(
            self.layout,
            config.n_columns,
            config.numeric_embedding,
            config.n_codes,
            distinct=self.distinct,
        )
        self.classifier = MLP(
            self.layout,
            [self.class_inputs.width],
            config.hidden_layer_sizes,
            self.n_classes,
            config.activation,
            0.1,
            [self.class_inputs.indicators],
        )

    @property
    def input_width(self) -> int:
        """Elements a row that turning a table into network input takes."""
        return max(super().input_width, self.class_inputs.working_width)

    def log_classes(self, w: Views, batch: Batch, noise: Noise | None = None) -> Tensor:
        """Log q(y | x), from the observed cells of x: (E, N, K)."""
        inputs = self.class_inputs(w, batch.x, batch.seen(noise))
        return self.classifier(w, [inputs], noise).log_softmax(-1)

    def features(
        self, w: Views, batch: Batch, noise: Noise | None = None
    ) -> list[Tensor]:
        """Return the class of each row, or the likeliest: [(E, N, K)]."""
        if batch.c_observed is None:
            return super().features(w, batch, noise)
        likely = self.log_classes(w, batch).argmax(-1, keepdim=True)
        c = torch.where(batch.c_observed >= 1, batch.c, likely.to(batch.c.dtype))
        return super().features(w, replace(batch, c=c), noise)

    def terms(
        self, w: Views, batch: Batch, draws: Tensor, noise: Noise | None = None
    ) -> ClassTerms:
        """Terms of every row with every class, at the image of ``draws``."""
        n_classes, n_rows, n_draws = self.n_classes, len(batch), draws.shape[1]
        one_hot = torch.eye(n_classes, device=w[0].device, dtype=w[0].dtype)
        by_class = one_hot.view(1, n_classes, 1, -1).expand(w[0].shape[0], -1, -1, -1)
        inputs = self.inputs(w, batch.x, batch.seen(noise))
        encoded = self.encoder(w, [inputs, by_class], noise)  # (E, K, N, ·)
        posterior = self.latent.posterior(w, encoded.flatten(1, 2), noise)
        z = posterior.at(draws.repeat(1, 1, n_classes, 1))  # (E, S, M, L)
        apart = z.unflatten(2, (n_classes, n_rows)).flatten(1, 2)  # (E, S·K, N, L)
        outputs = self.decode(w, apart, [by_class.repeat(1, n_draws, 1, 1)], noise)
        log_lik = self.log_prob_cells(outputs, batch).sum(-1)
        known = (batch.c == self.codes).to(batch.c)  # (E, N, K)
        if batch.c_observed is not None:
            known = known * batch.c_observed
        return ClassTerms(
            log_lik.unflatten(1, (n_draws, n_classes)).flatten(2, 3),
            z,
            posterior,
            self.prior(w, []),
            self.log_classes(w, batch, noise).mT,
            self.log_prior,
            known.mT,
        )

    def objective(self, config: TrainConfig) -> Objective:
        """Return what training minimises."""
        # means over K rows for each, of which the share of one is 1 / K
        each = replace(config, free_bits=config.free_bits / self.n_classes)
        generative = objectives.build(each)
        return SemiSupervised(generative, config.classification_weight)
