"""``VAEOutlierDetector``: rows that the model of the others finds unlikely."""

from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from skvae._engine.config import check_number
from skvae._estimator import FACTS, RandomState, draw_seed, read_weights
from skvae._generated import AUTOMATIC
from skvae._table import codec
from skvae._table.reading import RawTable, with_names
from skvae._table.schema import CONTINUOUS, NUMERIC
from skvae._transformer import VAETransformer

Array = NDArray[np.floating]

FENCE = 1.5  # interquartile ranges below the lower quartile: Tukey's fence


class RowDensity(VAETransformer):
    """A ``VAETransformer`` that is ready for rows unlike any row of ``fit``.

    ``density_`` is what scores rows: the trained model with noise added to its rows.
    """

    _automatic = AUTOMATIC | {CONTINUOUS: "gaussian"}
    _novelties = True

    def refine(
        self,
        X: ArrayLike,
        sample_weight: ArrayLike | None,
        smoothing: float,
        rows_before: int = 0,
    ) -> tuple[Array, Array]:
        """Make ``density_``; return the rows' scores and weights, where positive."""
        self.density_ = self.learned_.smoothed(smoothing)
        self.n_rows_ = rows_before + _num_samples(X)
        scores = self.log_prob(X)
        weight, keep = read_weights(sample_weight, len(scores), min_rows=1)
        return scores[keep], weight

    def log_prob(self, X: ArrayLike) -> Array:
        """Log density of the observed cells of each row, in original units: (N,)."""
        table, encoded = self._encode(X, self.schema_)
        cells = self._log_novel(table, encoded) - codec.log_scale(self.schema_, table)
        return self._densities(encoded) + cells.sum(axis=1)

    def log_prob_given_others(self, X: ArrayLike) -> Array:
        """Return log p(x_d | all other cells of x) in original units: (N, D)."""
        table, encoded = self._encode(X, self.schema_)
        whole = self._densities(encoded)
        cells = np.zeros(encoded.shape)
        for d in range(encoded.shape[1]):
            others = encoded.copy()
            others[:, d] = np.nan
            cells[:, d] = whole - self._densities(others)
        cells -= codec.log_scale(self.schema_, table)
        # single estimates of rows far out may be nats off: no mass is above 1
        discrete = np.array([c.kind not in NUMERIC for c in self.schema_.columns])
        cells = np.where(discrete, np.minimum(cells, 0.0), cells)
        known = np.where(np.isnan(encoded), 0.0, cells)
        return known + self._log_novel(table, encoded)

    def _log_novel(self, table: RawTable, encoded: Array) -> Array:
        """Log mass of categories that ``fit`` has not seen, 0 elsewhere: (N, D).

        The rule of succession, one row more for each category and for any other:
        1 / (n + K + 1). The model knows nothing of them, and takes them for missing;
        a rare category of ``fit``, which it knows, may be less likely to it.
        """
        novel = ~np.isnan(table.values) & np.isnan(encoded)
        n_categories = np.array([len(c.categories) for c in self.schema_.columns])
        return np.where(novel, -np.log(self.n_rows_ + n_categories + 1.0), 0.0)

    def _densities(self, encoded: Array) -> Array:
        from skvae._engine import door

        engine = door.Engine(self.density_, self.device)
        return engine.log_prob(door.Encoded.of(encoded))[0]


class VAEOutlierDetector(OutlierMixin, BaseEstimator):
    """Outliers by the likelihood of a variational autoencoder.

    Rows are scored by log p(x) under a ``VAETransformer``, an importance-weighted
    estimate with every latent integrated out, and not by an error of reconstruction.
    Columns may be numeric, boolean or categories, and have missing cells, which are
    integrated out, too.

    Parameters
    ----------
    n_components : int, default=8
        Latent dimensions.
    contamination : "auto" or float in (0, 0.5], default="auto"
        Fraction of outliers among the rows of ``fit``, which ``offset_`` is made to
        cut off. ``"auto"``: what lies more than 1.5 interquartile ranges below the
        lower quartile of their scores, Tukey's fence, which up to a quarter of outliers
        cannot move far [2]_.
    likelihood : str or dict, default="auto"
        p(x | z) of the columns as in ``VAETransformer``, except that under ``"auto"``
        all numbers are Gaussian; also those that are all 0 or 1 in ``fit``, since
        others may come.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Units of the hidden layers of encoder and decoder.
    activation : {"silu", "relu", "tanh", "gelu", "identity"}, default="silu"
        Activation of the hidden layers.
    dropout : float, default=0.0
        Fraction of hidden units dropped at the start of training; it falls to 0 along a
        line.
    trimming : float, default=0.05
        Share of the rows, up to a half, that training leaves out: in each step the
        least likely of the batch, for the prior those of all rows. So outliers among
        the rows of ``fit`` are not learned [4]_. Take 0 for rows that are known to be
        normal: else what is rare among them is not learned either.
    numeric_embedding : {None, "periodic"}, default=None
        Embedding of the encoder's inputs, as in ``VAETransformer``.
    n_estimators : int, default=4
        Members: networks trained side by side, whose densities are averaged.
    objective : {"elbo", "iwae", "dreg"}, default="elbo"
        Bound to maximise.
    n_draws : int, default=1
        Draws of z per row while training.
    beta : float, default=1.0
        Weight of the KL divergence.
    kl_warmup : float, default=0.05
        Fraction of training over which that weight rises from 0 to ``beta``.
    kl_schedule : {"linear", "cyclical", "constant"}, default="linear"
        How it rises: once, four times, or not at all.
    free_bits : float, default=0.0
        Nats of each dimension's KL that cost nothing (``objective="elbo"`` only).
    max_iter : int, default=300
        Epochs at most.
    max_steps : int, default=3000
        Batches at most: on large tables training ends after fewer epochs.
    batch_size : int or "auto", default="auto"
        Rows in a batch; ``"auto"`` takes n / 16 within 16 and 512.
    learning_rate_init : float, default=3e-3
        Peak of the learning rate, which warms up and then falls along a cosine.
    alpha : float, default=1e-4
        Decoupled weight decay of the weight matrices.
    early_stopping : bool, default=True
        Hold out rows, and stop when the bound on them has not risen for
        ``n_iter_no_change`` epochs. Of the weights, averaged over epochs, those are
        kept that are best on these rows; of every other member those of up to twice as
        many epochs, as an ensemble is at its best later than its members.
    validation_fraction : float, default=0.1
        Fraction of the rows held out; each member holds out its own.
    n_iter_no_change : int, default=40
        Epochs without a rise of more than ``tol`` before training stops.
    tol : float, default=1e-3
        Nats per row that count as a rise.
    min_scale : "auto" or float, default=0.1
        Floor of the decoder's standard deviation, in standard deviations of the column.
        It decides how fine the density is: a small one finds rows off a thin manifold,
        yet takes every value between the steps of a rounded column for an outlier.
    smoothing : float, default=0.5
        Standard deviation of noise that the density of scores adds to every number that
        is no count, in standard deviations of the column: the model is convolved with
        it after training, as a kernel estimate convolves the rows. Scores then see each
        row from further away, and are less at the mercy of how sure the decoder is of
        single cells.
    prior : {"mixture", "normal", "vamp", "flow"}, default="mixture"
        Density of the latent in the scores: N(0, I), as in training, or a mixture of
        Gaussians fitted to the posteriors of the training rows [3]_. It finds rows that
        decode well from where no training row lies. Others as in ``VAETransformer``.
    categorical_features : "from_dtype", or array-like, default="from_dtype"
        Columns whose numbers are categories: names, positions or a mask.
    handle_unknown : {"warn", "ignore", "error"}, default="warn"
        Whether a category that ``fit`` has not seen comes with a warning, without, or
        is an error. It is as likely as by the rule of succession, 1 / (n + K + 1) for
        n rows and K categories in ``fit``.
    n_samples : int, default=64
        Fixed draws of z for the likelihoods.
    warm_start : bool, default=False
        Begin ``fit`` at the weights of the earlier one, keeping its scaling.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, ...; ``"auto"`` takes CUDA when there is one.
    verbose : bool, default=False
        Write progress to standard output.
    random_state : int, RandomState or None, default=None
        Seed of weights, splits, batches and draws.

    Attributes
    ----------
    offset_ : float
        Rows that score lower are outliers.
    vae_ : VAETransformer
        The fitted model, for latents, draws and imputations; its own ``score_samples``
        has no ``smoothing``.
    kl_per_dimension_ : ndarray of shape (n_components,)
        Mean KL divergence between posterior and prior in nats, of the best member.
    active_units_ : int
        Dimensions whose KL exceeds 0.01 nats and whose posterior differs between rows
        by as much.
    n_iter_ : int
        Epochs run.
    loss_curve_, validation_scores_, history_
        How training went, as in ``VAETransformer``.
    n_features_in_ : int
        Columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are all strings.

    See Also
    --------
    VAETransformer : The model under it, with other defaults.
    sklearn.ensemble.IsolationForest : Scores rows by how fast random cuts isolate them.

    Notes
    -----
    Numeric columns that are constant in ``fit`` are kept: a value other than the
    constant is unlikely, the more so the more of its units it is away.

    References
    ----------
    .. [1] Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, eq. 8.
       arXiv:1509.00519
    .. [2] Tukey (1977), Exploratory data analysis, sec. 2D.
    .. [3] Ghosh, Sajjadi, Vergari, Black, Schölkopf (2020), From variational to
       deterministic autoencoders, sec. 4. arXiv:1903.12436
    .. [4] Shen, Sanghavi (2019), Learning with bad training data via iterative trimmed
       loss minimization, sec. 3. arXiv:1810.11874

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import VAEOutlierDetector
    >>> rng = np.random.default_rng(0)
    >>> t = rng.normal(size=300)
    >>> X = np.column_stack([t, t, -t]) + 0.1 * rng.normal(size=(300, 3))
    >>> detector = VAEOutlierDetector(2, random_state=0).fit(X)
    >>> odd = [[1.0, 1.0, -1.0], [1.0, -1.0, -1.0]]  # the second column of the second
    >>> detector.predict(odd)
    array([ 1, -1])
    >>> int(detector.score_features(odd)[1].argmin())
    1
    """

    def __init__(
        self,
        n_components: int = 8,
        *,
        contamination: float | str = "auto",
        likelihood: str | Mapping[Hashable, str] = "auto",
        hidden_layer_sizes: Sequence[int] = (64, 64),
        activation: str = "silu",
        dropout: float = 0.0,
        trimming: float = 0.05,
        numeric_embedding: str | None = None,
        n_estimators: int = 4,
        objective: str = "elbo",
        n_draws: int = 1,
        beta: float = 1.0,
        kl_warmup: float = 0.05,
        kl_schedule: str = "linear",
        free_bits: float = 0.0,
        max_iter: int = 300,
        max_steps: int = 3000,
        batch_size: int | str = "auto",
        learning_rate_init: float = 3e-3,
        alpha: float = 1e-4,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 40,
        tol: float = 1e-3,
        min_scale: float | str = 0.1,
        smoothing: float = 0.5,
        prior: str = "mixture",
        categorical_features: str | ArrayLike = "from_dtype",
        handle_unknown: str = "warn",
        n_samples: int = 64,
        warm_start: bool = False,
        device: str = "auto",
        verbose: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.contamination = contamination
        self.likelihood = likelihood
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.trimming = trimming
        self.numeric_embedding = numeric_embedding
        self.n_estimators = n_estimators
        self.objective = objective
        self.n_draws = n_draws
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.kl_schedule = kl_schedule
        self.free_bits = free_bits
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
        self.smoothing = smoothing
        self.prior = prior
        self.categorical_features = categorical_features
        self.handle_unknown = handle_unknown
        self.n_samples = n_samples
        self.warm_start = warm_start
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def fit(
        self,
        X: ArrayLike,
        y: None = None,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
    ) -> "VAEOutlierDetector":
        """Learn the distribution of the rows of ``X``, outliers among them or not.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Columns of numbers, booleans, text or categories; ``NaN`` where a value is
            missing.
        y : None
            Ignored; here for the scikit-learn interface.
        sample_weight : array-like of shape (n_samples,), optional
            A row of weight w counts as w rows, for ``offset_``, too.
        X_val : like ``X``, optional
            Validation rows, instead of a split of ``X``; with ``early_stopping``.

        Returns
        -------
        self : VAEOutlierDetector

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of range, or a column is infinite or without any
            value; the message names it.
        """
        vae, proceed = self._begin(goes_on=bool(self.warm_start))
        rows = self._model_and_rows(X)[1] if proceed else X
        vae.fit(rows, sample_weight=sample_weight, X_val=X_val)
        if not proceed:
            validate_data(self, X, reset=True, skip_check_array=True)
        return self._settle(vae, rows, sample_weight)

    def partial_fit(
        self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None
    ) -> "VAEOutlierDetector":
        """Train for one epoch on a further chunk of rows.

        The first call fixes kinds and scales of the columns, so its rows should be
        typical. ``offset_`` and a ``"mixture"`` prior are those of the rows of the last
        call. The learning rate and the weight of the KL stay at ``learning_rate_init``
        and ``beta``; no rows are held out.

        Parameters
        ----------
        X, y, sample_weight
            As in ``fit``.

        Returns
        -------
        self : VAEOutlierDetector
        """
        vae, proceed = self._begin(goes_on=True)
        rows = self._model_and_rows(X)[1] if proceed else X
        rows_before = vae.n_rows_ if proceed else 0
        vae.partial_fit(rows, sample_weight=sample_weight)
        if not proceed:
            validate_data(self, X, reset=True, skip_check_array=True)
        return self._settle(vae, rows, sample_weight, rows_before)

    def score_samples(self, X: ArrayLike) -> Array:
        """Log-likelihood of the observed cells of each row, importance-weighted [1]_.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Columns as in ``fit``; ``NaN`` cells are integrated out.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats, in the original units of the columns; higher is more normal. The
            draws of z are fixed in ``fit``, so the same row always gets the same score.
        """
        model, rows = self._model_and_rows(X)
        return model.log_prob(rows)

    def decision_function(self, X: ArrayLike) -> Array:
        """``score_samples(X) - offset_``: negative for outliers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        score : ndarray of shape (n_samples,)
            In nats; higher is more normal.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Tell outliers from the rest.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        is_inlier : ndarray of shape (n_samples,)
            -1 for outliers, 1 for others.
        """
        return np.where(self.decision_function(X) < 0.0, -1, 1)

    def score_features(self, X: ArrayLike) -> Array:
        """Log-likelihood of each cell given all others of its row.

        log p(x) - log p(x without the cell), where the latter integrates the cell out.
        The expectation of log p(x_d | z), as ``VAETransformer.score_features`` has it,
        blames other columns too, since an odd cell moves z (benchmarks/README.md).
        Takes as many passes as there are columns. Both are estimates, and in a row far
        out their errors may be many nats, so that columns beside the odd one are not
        to be read there; the odd one stands below them.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        log_prob : ndarray of shape (n_samples, n_features)
            In nats, in the original units of the columns; the lowest is the oddest
            cell. 0 where missing.
        """
        model, rows = self._model_and_rows(X)
        return model.log_prob_given_others(rows)

    # -- helpers -----------------------------------------------------------------

    def _begin(self, goes_on: bool) -> tuple[RowDensity, bool]:
        """Make the model to train; tell whether it is the earlier one."""
        if not isinstance(self.contamination, str) or self.contamination != "auto":
            check_contamination(self.contamination)
        check_number("smoothing", self.smoothing, low=0.0)
        parameters = self.get_params(deep=False)
        for name in ("contamination", "smoothing"):
            del parameters[name]
        parameters["random_state"] = draw_seed(self.random_state)
        proceed = goes_on and hasattr(self, "vae_")
        vae = copy(self.vae_) if proceed else RowDensity()  # a refused fit leaves it
        return vae.set_params(**parameters), proceed

    def _settle(
        self,
        vae: RowDensity,
        X: ArrayLike,
        sample_weight: ArrayLike | None,
        rows_before: int = 0,
    ) -> "VAEOutlierDetector":
        """Keep a trained model, and what its scores of the rows say."""
        scores = vae.refine(X, sample_weight, self.smoothing, rows_before)
        self.offset_ = self._offset(*scores)
        self.vae_ = vae
        for name in FACTS:
            setattr(self, name, getattr(vae, name))
        return self

    def _model_and_rows(self, X: ArrayLike) -> tuple[RowDensity, Any]:
        """Return the model inside, and ``X``, if it has the columns of ``fit``.

        With names or without, as in ``fit``, so that there is one warning.
        """
        check_is_fitted(self)
        if getattr(X, "ndim", 2) != 2:  # the model says what is wrong
            return self.vae_, X
        validate_data(self, X, reset=False, skip_check_array=True)
        names = getattr(self.vae_, "feature_names_in_", None)
        return self.vae_, with_names(X, names)

    def _offset(self, scores: Array, weight: Array) -> float:
        """Where ``contamination`` cuts the scores of the training rows."""
        if isinstance(self.contamination, str):
            lower, upper = weighted_quantile(scores, weight, [0.25, 0.75])
            return float(lower - FENCE * (upper - lower))
        return float(weighted_quantile(scores, weight, self.contamination))


def check_contamination(contamination: object) -> None:
    """Refuse what is no fraction of at most a half.

    Raises
    ------
    TypeError, ValueError
        If it is neither "auto" nor a number in (0, 0.5].
    """
    if isinstance(contamination, str):
        raise ValueError(
            "contamination must be 'auto' or a number in (0, 0.5]; "
            f"got {contamination!r}."
        )
    check_number("contamination", contamination, low=0.0, high=0.5, low_open=True)


def weighted_quantile(values: Array, weight: Array, q: ArrayLike) -> Array:
    """Quantiles as ``np.quantile`` has them where a value of weight w stands w times.

    Where weights are below 1, the smallest stands once and the others in proportion.
    """
    order = np.argsort(values, kind="stable")
    values, weight = values[order], weight[order]
    weight = weight / min(1.0, weight.min())
    last = np.cumsum(weight) - 1.0
    place = np.stack([last - (weight - 1.0), last], axis=1).ravel()
    return np.interp(np.multiply(q, last[-1]), place, values.repeat(2))
