"""``VAEClassifier``: a few labels and many rows in; classes, densities, rows out."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    column_or_1d,
)

from skvae._engine.config import check_number
from skvae._estimator import RandomState, draw_seed, read_weights
from skvae._generated import GeneratedTable
from skvae._table import codec, labels
from skvae._table.codec import Rows
from skvae._table.reading import take_rows

Array = NDArray[np.floating]

# of the rows in a batch, at least, have a label: few labels come several times an epoch
LABELLED_SHARE = 0.25


class VAEClassifier(ClassifierMixin, GeneratedTable):
    """Semi-supervised classifier."""

    def __init__(
        self,
        n_components: int = 8,
        *,
        classification_weight: float = 1.0,
        likelihood: str | Mapping[Hashable, str] = "auto",
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: str = "silu",
        dropout: float = 0.0,
        masking: float = 0.0,
        numeric_embedding: str | None = None,
        n_estimators: int = 4,
        n_draws: int = 1,
        beta: float = 1.0,
        kl_warmup: float = 0.05,
        kl_schedule: str = "linear",
        max_iter: int = 160,
        max_steps: int = 4096,
        batch_size: int | str = "auto",
        learning_rate_init: float = 3e-3,
        alpha: float = 1e-4,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 40,
        tol: float = 1e-3,
        min_scale: float | str = "auto",
        categorical_features: str | ArrayLike = "from_dtype",
        handle_unknown: str = "warn",
        n_samples: int = 128,
        warm_start: bool = False,
        device: str = "auto",
        verbose: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.classification_weight = classification_weight
        self.likelihood = likelihood
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.masking = masking
        self.numeric_embedding = numeric_embedding
        self.n_estimators = n_estimators
        self.n_draws = n_draws
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.kl_schedule = kl_schedule
        self.max_iter = max_iter
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.min_scale = min_scale
        self.categorical_features = categorical_features
        self.handle_unknown = handle_unknown
        self.n_samples = n_samples
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    # -- fitting -----------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> "VAEClassifier":
        """Learn classes and the distribution of the rows of each."""
        proceed = self._continues()
        with self._unchanged_on_error():
            table = self._read_table(X, reset=not proceed, min_rows=2)
            targets = self._read_labels(y)
            check_consistent_length(table.values, targets)
            weight, keep = read_weights(sample_weight, len(table.values), min_rows=2)
            table, targets = take_rows(table, keep), targets[keep]
            if not proceed:
                self._learn_classes(targets, weight)
                self.schema_ = self._learn_schema(table, weight)
            codes = labels.encode(targets, self.classes_)
            encoded = codec.encode(self.schema_, table, "X", self.handle_unknown)
            config = self._train_config(len(encoded))
            data = _labelled_rows(encoded, codes, weight, config.validation_fraction)
            offset = self._offset(table, weight)
            offsets = offset, offset
            return self._train(self._model(), config, data, None, offsets, proceed)

    # -- classes -----------------------------------------------------------------

    def predict_proba(self, X: ArrayLike) -> Array:
        """Probabilities of the classes."""
        engine = self._engine()
        _, encoded = self._encode(X, self.schema_)
        return engine.class_probabilities(_rows(encoded))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Likeliest class of each row."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    # -- rows --------------------------------------------------------------------

    def score_samples(self, X: ArrayLike) -> Array:
        """Log-likelihood."""
        engine = self._engine()
        table, encoded = self._encode(X, self.schema_)
        joint = self._log_joint(engine, encoded)
        return logsumexp(joint, axis=1) - codec.log_scale(self.schema_, table).sum(1)

    def _log_joint(self, engine: Any, encoded: Array) -> Array:
        """log p(y) + log p(x | y), encoded units: (N, K)."""
        from skvae._engine import door

        parts = []
        for code, share in enumerate(self.class_prior_):
            c = np.full((len(encoded), 1), float(code))
            log_prob, _ = engine.log_prob(door.Encoded.of(encoded, c))
            parts.append(log_prob + np.log(share))
        return np.stack(parts, axis=1)

    def sample(
        self,
        n_samples: int = 1,
        y: Hashable = None,
        random_state: RandomState = None,
    ) -> Rows:
        """Draw new rows."""
        engine = self._engine()
        check_number("n_samples", n_samples, integer=True, low=1)
        seed = draw_seed(random_state)
        rng = np.random.default_rng(seed)
        if y is None:
            codes = rng.choice(len(self.classes_), n_samples, p=self.class_prior_)
        else:
            wanted = np.full(n_samples, y, dtype=self.classes_.dtype)
            codes = labels.encode(wanted, self.classes_)
        draws = engine.sample(n_samples, codes[:, None].astype(float), 1, seed)
        return codec.decode(self.schema_, draws[0], rng=rng)

    def transform(self, X: ArrayLike) -> Array:
        """Posterior means of the latents."""
        engine = self._engine()
        table, encoded = self._encode(X, self.schema_)
        Z = engine.posterior_mean(_rows(encoded))
        return self._like_input(Z, table)

    # -- helpers -----------------------------------------------------------------

    def _read_labels(self, y: ArrayLike) -> NDArray[Any]:
        """Labels as an array (n,), no label where there is none."""
        name = type(self).__name__
        if y is None:
            raise ValueError(
                f"{name} requires y to be passed, but the target y is None."
            )
        targets = column_or_1d(y, warn=True)
        known = targets[labels.labelled(targets)]
        if not len(known):
            raise ValueError(
                f"{name} needs labels of at least two classes; every entry of y is -1, "
                "None or NaN. For rows without any label there is VAETransformer."
            )
        labels.check_one_type(known)
        # objects that hold integers are classes, too
        plain = np.asarray(known.tolist())
        if plain.dtype.kind == "f":
            assert_all_finite(plain, input_name="y")
        check_classification_targets(plain)
        return targets

    def _learn_classes(self, targets: NDArray[Any], weight: Array) -> None:
        """Classes and their frequencies among the labelled rows."""
        known = labels.labelled(targets)
        classes, place = np.unique(targets[known], return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs labels of at least two classes; got "
                f"{len(classes)} class(es): {classes.tolist()}."
            )
        self.classes_ = classes
        counts = np.bincount(place, weight[known])
        self.class_prior_ = counts / counts.sum()

    def _model(self) -> Any:
        return self._model_config(
            self._heads(),
            self.schema_.n_codes,
            (len(self.classes_),),
            classes=tuple(self.class_prior_.tolist()),
        )

    def _settled(self, n_rows: int) -> dict[str, Any]:
        check_number("n_components", self.n_components, integer=True, low=1)
        return {}


def _rows(encoded: Array) -> Any:
    """Rows whose class is unknown."""
    from skvae._engine import door

    return door.Encoded.of(encoded, np.full((len(encoded), 1), np.nan))


def _labelled_rows(encoded: Array, codes: Array, weight: Array, fraction: float) -> Any:
    """Rows with their classes; each class is split on its own, and so are the others."""
    from skvae._engine import door

    free = np.isnan(codes)
    n_labelled = (~free).sum()
    wanted = LABELLED_SHARE / (1.0 - LABELLED_SHARE) * free.sum()
    repeats = max(1, round(wanted / n_labelled))
    strata = [
        door.Stratum(np.flatnonzero(codes == code), fraction, repeats)
        for code in np.unique(codes[~free])
    ]
    if free.any():
        strata.append(door.Stratum(np.flatnonzero(free), fraction))
    return door.Encoded(encoded, codes[:, None], weight, tuple(strata))
