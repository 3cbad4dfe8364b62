"""Settings of a model and of its training: frozen, checked when they are built."""

import math
from dataclasses import dataclass, replace
from numbers import Integral, Real

ACTIVATIONS = ("silu", "relu", "tanh", "gelu", "identity")
EMBEDDINGS = (None, "periodic")
OBJECTIVES = ("elbo", "iwae", "dreg")
SCHEDULES = ("linear", "cyclical", "constant")
PRIORS = ("normal", "mixture", "vamp", "flow", "conditional")
POSTERIORS = ("gaussian", "flow")
LATENTS = ("gaussian", "hierarchical", "vq")
DECODERS = ("independent", "autoregressive")
RESIDUALS = ("independent", "correlated")
WIDENED = 2  # layers under masks, which take half of the connections away
HEADS = (
    "gaussian",
    "gaussian_fixed",
    "student_t",
    "mixture",
    "lognormal",
    "bernoulli",
    "categorical",
    "poisson",
    "negative_binomial",
)


def check_number(
    name: str,
    value: object,
    *,
    integer: bool = False,
    low: float = -math.inf,
    high: float = math.inf,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    """Refuse ``value`` unless it is a finite number in the interval asked for."""
    kind = "an integer" if integer else "a number"
    left, right = "(" if low_open else "[", ")" if high_open else "]"
    if math.isinf(low):
        left = "("
    if math.isinf(high):
        right = ")"
    expected = f"{name} must be {kind} in {left}{low:g}, {high:g}{right}"
    wanted = Integral if integer else Real
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise TypeError(f"{expected}; got {value!r} of type {type(value).__name__}.")
    number = float(value)
    too_low = number <= low if low_open else number < low
    too_high = number >= high if high_open else number > high
    if not math.isfinite(number) or too_low or too_high:
        raise ValueError(f"{expected}; got {value!r}.")


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse ``value`` unless it is one of ``choices``."""
    if not any(value is choice or value == choice for choice in choices):
        raise ValueError(f"{name} must be one of {list(choices)}; got {value!r}.")


def check_auto(name: str, value: object, otherwise: str = "a number") -> None:
    """Refuse words but "auto"."""
    if isinstance(value, str) and value != "auto":
        raise ValueError(f"{name} must be 'auto' or {otherwise}; got {value!r}.")


def check_flag(name: str, value: object) -> None:
    """Refuse ``value`` unless it is True or False."""
    # numpy's bool, as a parameter grid over an array gives it, is not a bool
    if type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"{name} must be True or False; got {value!r}.")


@dataclass(frozen=True)
class HeadConfig:
    """One likelihood and the columns that it serves.

    Per column: ``min_scale``, a floor of the standard deviation in standardised units;
    ``shift`` and ``scale`` of the encoding, where values in the column's own units
    matter; ``n_codes`` of discrete columns, and ``last_share``, the share that the most
    frequent of the values behind the last code has of it (all, if left out). ``width``
    is the standard deviation of noise that the likelihood adds to numbers,
    standardised.
    """

    name: str
    columns: tuple[int, ...]
    min_scale: tuple[float, ...] = ()
    n_mixtures: int = 1
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    n_codes: tuple[int, ...] = ()
    last_share: tuple[float, ...] = ()
    width: float = 0.0

    def __post_init__(self) -> None:
        check_choice("likelihood", self.name, HEADS)
        check_number("n_mixtures", self.n_mixtures, integer=True, low=1)
        for floor in self.min_scale:
            check_number("min_scale", floor, low=0.0, low_open=True)


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the shape of the weights.

    ``n_codes`` and ``condition_codes`` say, for each column of the table and of the
    condition, how many codes it has, 0 for numbers; empty, all are numbers. The last
    ``n_scores`` columns of the condition are normal scores of others; the last
    ``n_plain`` members see the condition without them and without embedding.
    ``distinct`` says of each column that may be embedded, of the condition if it is a
    table, else of the table, whether its values hardly recur; empty, of none.
    """

    n_columns: int
    n_conditions: int
    heads: tuple[HeadConfig, ...]
    n_components: int
    hidden_layer_sizes: tuple[int, ...]
    activation: str = "silu"
    numeric_embedding: str | None = None
    n_estimators: int = 1
    prior: str = "normal"
    posterior: str = "gaussian"
    latent: str = "gaussian"
    decoder: str = "independent"
    residuals: str = "independent"
    layer_sizes: tuple[int, ...] = ()  # of a hierarchical latent, from the table up
    n_codes: tuple[int, ...] = ()
    condition_codes: tuple[int, ...] = ()
    n_scores: int = 0
    n_plain: int = 0
    distinct: tuple[bool, ...] = ()
    classes: tuple[float, ...] = ()  # their frequencies, where the condition is a class

    @property
    def ties(self) -> bool:
        """Whether z ties several columns to each other, given a condition."""
        condition = self.n_conditions and not self.classes
        return bool(condition and self.n_components and self.n_columns > 1)

    @property
    def fits_prior(self) -> bool:
        """Whether a prior fitted after training takes the place of that of training."""
        return self.prior == "mixture" or self.latent == "vq"

    @property
    def decoder_widening(self) -> int:
        """How much wider than asked for the hidden layers of the decoder are."""
        return WIDENED if self.decoder == "autoregressive" else 1

    def without_plain(self) -> "ModelConfig":
        """Configure a model of the other members."""
        n_others = self.n_estimators - self.n_plain
        return replace(self, n_estimators=n_others, n_plain=0)

    def __post_init__(self) -> None:
        # without a latent a conditional model is its decoder; a VAE is nothing
        least = 0 if self.n_conditions else 1
        check_number("n_components", self.n_components, integer=True, low=least)
        check_number("n_estimators", self.n_estimators, integer=True, low=1)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("numeric_embedding", self.numeric_embedding, EMBEDDINGS)
        check_choice("prior", self.prior, PRIORS)
        check_choice("posterior", self.posterior, POSTERIORS)
        check_choice("latent", self.latent, LATENTS)
        check_choice("decoder", self.decoder, DECODERS)
        check_choice("residuals", self.residuals, RESIDUALS)
        self._check_combination()
        for size in self.hidden_layer_sizes:
            check_number("hidden_layer_sizes", size, integer=True, low=1)

    def _check_combination(self) -> None:
        """Refuse what would be without effect or meaning."""
        for size in self.layer_sizes:
            check_number("n_components", size, integer=True, low=1)
        if self.layer_sizes and self.latent != "hierarchical":
            raise ValueError(
                f"n_components={self.layer_sizes} names layers, which only "
                "VAETransformer(latent='hierarchical') has; expected an integer."
            )
        if self.latent == "hierarchical":
            self._refuse("prior", ("normal", "mixture"))
            self._refuse("posterior", ("gaussian",))
        if self.latent == "vq":
            self._refuse("prior", ("normal",))
            self._refuse("posterior", ("gaussian",))
        if self.decoder == "autoregressive" and self.residuals != "independent":
            raise ValueError(
                "decoder='autoregressive' ties cells by itself: residuals must be "
                f"'independent'; got {self.residuals!r}."
            )
        if self.prior == "vamp" and self.posterior != "gaussian":
            raise ValueError(
                "prior='vamp' is a mixture of Gaussian posteriors: it needs "
                f"posterior='gaussian'; got posterior={self.posterior!r}."
            )

    def _refuse(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(
                f"latent={self.latent!r} has a {name} of its own: {name} must be one "
                f"of {list(choices)}; got {value!r}."
            )


@dataclass(frozen=True)
class TrainConfig:
    """Everything that training needs beside the model and the rows.

    ``trimming`` is the share of the rows, the least likely, that do not count.
    ``n_iter_no_change`` and ``tol`` stop a fit whose validation bound, in nats per
    row, no longer rises. With ``max_iter=1`` and ``constant_rate`` it is one epoch of
    ``partial_fit``.
    """

    objective: str = "elbo"
    n_draws: int = 1
    beta: float = 1.0
    kl_warmup: float = 0.1
    kl_schedule: str = "linear"
    free_bits: float = 0.0
    max_iter: int = 160
    max_steps: int = 8192
    batch_size: int | str = "auto"
    largest_batch: int = 512  # that "auto" takes
    learning_rate_init: float = 3e-3
    alpha: float = 1e-4
    dropout: float = 0.0
    masking: float = 0.0
    trimming: float = 0.0
    early_stopping: bool = True
    validation_fraction: float = 0.1
    n_iter_no_change: int = 40
    tol: float = 1e-3
    constant_rate: bool = False
    spares_latent: bool = False  # where one normal distribution of cells does as well
    classification_weight: float = 1.0  # of a model with classes

    def __post_init__(self) -> None:
        check_choice("objective", self.objective, OBJECTIVES)
        check_choice("kl_schedule", self.kl_schedule, SCHEDULES)
        check_flag("early_stopping", self.early_stopping)
        check_number("n_draws", self.n_draws, integer=True, low=1)
        check_number("max_iter", self.max_iter, integer=True, low=1)
        check_number("max_steps", self.max_steps, integer=True, low=1)
        check_number("n_iter_no_change", self.n_iter_no_change, integer=True, low=1)
        check_number("beta", self.beta, low=0)
        check_number("kl_warmup", self.kl_warmup, low=0, high=1)
        check_number("free_bits", self.free_bits, low=0)
        check_number(
            "learning_rate_init", self.learning_rate_init, low=0, low_open=True
        )
        check_number("alpha", self.alpha, low=0)
        check_number("classification_weight", self.classification_weight, low=0)
        check_number("tol", self.tol, low=0)
        check_number("dropout", self.dropout, low=0, high=1, high_open=True)
        check_number("masking", self.masking, low=0, high=1)
        check_number("trimming", self.trimming, low=0, high=0.5)
        fraction = self.validation_fraction
        check_number(
            "validation_fraction",
            fraction,
            low=0,
            high=1,
            low_open=True,
            high_open=True,
        )
        check_auto("batch_size", self.batch_size, "an integer >= 1")
        if not isinstance(self.batch_size, str):
            check_number("batch_size", self.batch_size, integer=True, low=1)
        if self.free_bits > 0 and self.objective != "elbo":
            raise ValueError(
                "free_bits bounds the KL of objective='elbo' and means "
                f"nothing under objective={self.objective!r}: set free_bits=0."
            )
