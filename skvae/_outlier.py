"""``VAEOutlierDetector``: rows that the model of the others finds unlikely."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from skvae._engine.config import check_auto, check_number
from skvae._estimator import FACTS, RandomState, draw_seed, read_weights
from skvae._generated import AUTOMATIC
from skvae._table import codec
from skvae._table.reading import RawTable, is_frame, take_rows, with_names
from skvae._table.schema import CONTINUOUS
from skvae._transformer import VAETransformer

Array = NDArray[np.floating]

FENCE = 1.5  # interquartile ranges below the lower quartile: Tukey's fence
# of the rows seen, a random choice: those that tell what is typical of a cell, and
# those that tell where to cut after a further chunk
TYPICAL_ROWS, SCORED_ROWS = 256, 512
WIDEST = 1e6  # standard deviations of noise


@dataclass(frozen=True)
class Exemplars:
    """Encoded rows, a random choice among those seen, that a density stands on."""

    rows: Array  # (K, D)
    units: Array  # (K, D), nats: from log densities of encoded cells to original ones
    weight: Array  # (K,)
    key: Array  # (K,), uniform: those with the smallest are kept

    def joined(self, other: Exemplars) -> Exemplars:
        """Return the rows of both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Exemplars(*(np.concatenate(pair) for pair in pairs))

    def thinned(self, most: int) -> Exemplars:
        """Keep a random ``most`` of the rows at most. Vitter (1985), sec. 2."""
        kept = np.sort(np.argsort(self.key)[:most])
        return Exemplars(*(field[kept] for field in vars(self).values()))

    def places(self, rows: Array) -> NDArray[np.intp]:
        """Which exemplar each of ``rows`` (N, D) is, bit for bit, or -1: (N,)."""
        place: dict[bytes, int] = {}
        for k, row in enumerate(self.rows):
            place.setdefault(row.tobytes(), k)
        return np.array([place.get(row.tobytes(), -1) for row in rows], dtype=np.intp)


class RowDensity(VAETransformer):
    """A ``VAETransformer`` that is ready for rows unlike any row of ``fit``.

    ``densities_`` are what scores rows: the trained model with noise added to its rows,
    once narrow and once wide, say, at the latents of ``exemplars_``. A score is the
    mean of their logarithms.
    """

    _automatic = AUTOMATIC | {CONTINUOUS: "gaussian"}
    _known_as = "VAEOutlierDetector"
    _typical: Array | None = None  # of a missing cell
    _novelties = True

    def refine(
        self,
        X: ArrayLike,
        sample_weight: ArrayLike | None,
        smoothing: tuple[float, ...],
        most: int,
        proceed: bool,
    ) -> tuple[Array, Array]:
        """Make the densities; return scores of rows and their weights, where positive.

        ``most`` exemplars, of rows of earlier chunks, too, with ``proceed``: scores are
        then of a choice of these. Missing cells count as typical ones.
        """
        self.densities_ = [self.learned_.smoothed(width) for width in smoothing]
        table = self._read_table(X, reset=False)
        weight, keep = read_weights(sample_weight, len(table.values), min_rows=1)
        table = take_rows(table, keep)
        # of new categories training has told already
        rows = canonical(codec.encode(self.schema_, table, "X", "ignore"))
        rows_before = self.n_rows_ if proceed else 0
        rng = np.random.default_rng([draw_seed(self.random_state), rows_before])
        self.n_rows_ = rows_before + len(rows)
        units = self._units(table, rows)
        seen = Exemplars(rows, units, weight, rng.random(len(rows)))
        exemplars = self.exemplars_.joined(seen) if proceed else seen
        self.exemplars_, self._typical = exemplars.thinned(most), None
        scored = self.exemplars_.thinned(SCORED_ROWS) if proceed else seen
        return self._whole(scored.rows, scored.units), scored.weight

    def log_prob(self, X: ArrayLike) -> Array:
        """Log density of the observed cells of each row, in original units: (N,)."""
        return self._scores(*self._read_rows(X))

    def log_prob_whole(self, X: ArrayLike) -> Array:
        """Return the same as if missing cells were there and typical: (N,)."""
        return self._whole(*self._read_rows(X))

    def log_ratio_to_typical(self, X: ArrayLike) -> Array:
        """Log p of each cell given the others, less what is typical of it: (N, D)."""
        cells = self._cells(*self._read_rows(X)) - self._typical_cells()
        return np.where(np.isnan(cells), 0.0, cells)

    def _read_rows(self, X: ArrayLike) -> tuple[Array, Array]:
        """Encode rows; tell what turns their log densities to original units."""
        table, encoded = self._encode(X, self.schema_)
        rows = canonical(encoded)
        return rows, self._units(table, rows)

    def _units(self, table: RawTable, rows: Array) -> Array:
        """Nats by cell, (N, D): 0 for known categories, ``NaN`` where missing."""
        nats = self._log_novel(table, rows) - codec.log_scale(self.schema_, table)
        return np.where(np.isnan(table.values), np.nan, nats)

    def _scores(self, rows: Array, units: Array) -> Array:
        from skvae._engine import door

        return self._mean(door.Engine.log_prob_by, rows) + np.nansum(units, axis=1)

    def _whole(self, rows: Array, units: Array) -> Array:
        scores, missing = self._scores(rows, units), np.isnan(units)
        return scores + missing @ self._typical_cells() if missing.any() else scores

    def _typical_cells(self) -> Array:
        """Log density of a cell given the others, in original units: (D,)."""
        if self._typical is None:  # the first time that it is asked for
            self._typical = self._median_cells()
        return self._typical

    def _median_cells(self) -> Array:
        """Work out ``_typical_cells``.

        The weighted median over some exemplars that have the cell; a density of 1 a
        standard deviation where none has it.
        """
        rows, units, weight, key = vars(self.exemplars_).values()
        order = np.argsort(key)
        seen = ~np.isnan(units[order])
        chosen = order[(seen & (seen.cumsum(axis=0) <= TYPICAL_ROWS)).any(axis=1)]
        cells, weight = self._cells(rows[chosen], units[chosen]), weight[chosen]
        typical = -np.log([column.scale for column in self.schema_.columns])
        for i, column in enumerate(cells.T):
            known = ~np.isnan(column)
            if known.any():
                typical[i] = weighted_quantile(column[known], weight[known], 0.5)
        return typical

    def _cells(self, rows: Array, units: Array) -> Array:
        """Log density of each cell given the others, (N, D); ``NaN`` where missing."""
        from skvae._engine import door

        cells = self._mean(door.Engine.log_prob_given_others, rows)
        return np.where(np.isnan(rows), 0.0, cells) + units

    def _mean(self, question: Callable[..., Array], rows: Array) -> Array:
        """Mean over the densities of what they answer about encoded rows."""
        from skvae._engine import door

        by = door.Encoded.of(self.exemplars_.rows, weight=self.exemplars_.weight)
        data, own = door.Encoded.of(rows), self.exemplars_.places(rows)
        engines = (door.Engine(density, self.device) for density in self.densities_)
        answers = [question(engine, by, data, own) for engine in engines]
        return np.mean(answers, axis=0)

    def _log_novel(self, table: RawTable, encoded: Array) -> Array:
        """Log mass of categories that ``fit`` has not seen, 0 elsewhere: (N, D).

        The rule of succession, one row more for each category and for any other:
        1 / (n + K + 1). The model knows nothing of them, and takes them for missing;
        a rare category of ``fit``, which it knows, may be less likely to it.
        """
        novel = ~np.isnan(table.values) & np.isnan(encoded)
        n_categories = np.array([len(c.categories) for c in self.schema_.columns])
        return np.where(novel, -np.log(self.n_rows_ + n_categories + 1.0), 0.0)


def canonical(rows: Array) -> Array:
    """Write every number in one way: 0 without sign, a single NaN."""
    return np.ascontiguousarray(np.where(np.isnan(rows), np.nan, rows + 0.0))


class VAEOutlierDetector(OutlierMixin, BaseEstimator):
    """Outliers by the likelihood of a variational autoencoder.

    Rows are scored by log p(x) and not by an error of reconstruction: the mixture of
    what the latents of the rows of ``fit`` decode to [1]_, by a ``VAETransformer``, the
    mean over its members. It is an exact sum. A row of ``fit`` does not count for
    itself, so that scores of rows seen and new compare. The score is the mean of two
    such log densities, of which one looks closely at a row and one from far away.
    Columns may be numeric, boolean or categories, and have missing cells, which are
    integrated out.

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
    trimming : float, default=0.0
        Share of the rows, up to a half, that training leaves out: in each step the
        least likely of the batch, so that outliers among the rows of ``fit`` are not
        learned [3]_. What is rare among normal rows is not learned either.
    numeric_embedding : {None, "periodic"}, default=None
        Embedding of the encoder's inputs, as in ``VAETransformer``.
    n_estimators : int, default=4
        Members: networks trained side by side, whose densities are averaged.
    objective : {"elbo", "iwae", "dreg"}, default="elbo"
        Bound to maximise.
    n_draws : int, default=1
        Draws of z per row while training.
    beta : float, default=1.0
        Weight of the KL divergence; where held-out rows are judged, too.
    kl_warmup : float, default=0.05
        Fraction of training over which that weight rises from 0 to ``beta``.
    kl_schedule : {"linear", "cyclical", "constant"}, default="linear"
        How it rises: once, four times, or not at all, as with ``kl_warmup=0``.
    free_bits : float, default=0.0
        Nats of each dimension's KL that cost nothing (``objective="elbo"`` only).
    max_iter : int, default=600
        Epochs at most.
    max_steps : int, default=6000
        Batches at most: on large tables training ends after fewer epochs.
    batch_size : int or "auto", default="auto"
        Rows in a batch; ``"auto"`` takes n / 16 within 16 and 512.
    learning_rate_init : float, default=3e-3
        Peak of the learning rate, which warms up and then falls along a cosine.
    alpha : float, default=1e-4
        Decoupled weight decay of the weight matrices.
    early_stopping : "auto" or bool, default="auto"
        Hold out rows, and stop when the bound on them has not risen for
        ``n_iter_no_change`` epochs. Of the weights, averaged over epochs, those are
        kept that are best on these rows; of every other member those of up to twice as
        many epochs, as an ensemble is at its best later than its members. ``"auto"``:
        if there is an ``X_val``; else all rows train for as long as they may.
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
    smoothing : float or tuple of float, default=(0.5, 2.0)
        Standard deviation of noise that the density of scores adds to every number that
        is no count, in standard deviations of the column: the model is convolved with
        it after training, as a kernel estimate convolves the rows. Scores then see each
        row from further away, and are less at the mercy of how sure the decoder is of
        single cells. Of several widths the score is the mean of the log densities, a
        logarithmic pool [4]_: from close by, a row that is off a thin manifold is seen,
        and from afar a clump of outliers, which vouch for each other close by.
    categorical_features : "from_dtype", or array-like, default="from_dtype"
        Columns whose numbers are categories: names, positions or a mask.
    handle_unknown : {"warn", "ignore", "error"}, default="warn"
        Whether a category that ``fit`` has not seen comes with a warning, without, or
        is an error. It is as likely as by the rule of succession, 1 / (n + K + 1) for
        n rows and K categories in ``fit``.
    n_samples : int, default=4096
        Latents that the density of scores stands on: those of so many rows of ``fit``
        at most, a random choice.
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
        Rows that score lower are outliers, see ``decision_function``.
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
    .. [1] Norouzi, Fleet, Norouzi (2020), Exemplar VAE, sec. 2-3, with the latents for
       its kernels around them. arXiv:2004.04795
    .. [2] Tukey (1977), Exploratory data analysis, sec. 2D.
    .. [3] Shen, Sanghavi (2019), Learning with bad training data via iterative trimmed
       loss minimization, sec. 3. arXiv:1810.11874
    .. [4] Genest, Zidek (1986), Combining probability distributions: a critique and an
       annotated bibliography, sec. 3. Statistical Science 1(1), p. 114-135.

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
        trimming: float = 0.0,
        numeric_embedding: str | None = None,
        n_estimators: int = 4,
        objective: str = "elbo",
        n_draws: int = 1,
        beta: float = 1.0,
        kl_warmup: float = 0.05,
        kl_schedule: str = "linear",
        free_bits: float = 0.0,
        max_iter: int = 600,
        max_steps: int = 6000,
        batch_size: int | str = "auto",
        learning_rate_init: float = 3e-3,
        alpha: float = 1e-4,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 40,
        tol: float = 1e-3,
        min_scale: float | str = 0.1,
        smoothing: float | Sequence[float] = (0.5, 2.0),
        categorical_features: str | ArrayLike = "from_dtype",
        handle_unknown: str = "warn",
        n_samples: int = 4096,
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
    ) -> VAEOutlierDetector:
        """Learn the distribution of the rows of ``X``, outliers among them or not.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Columns of numbers, booleans, text or categories; ``NaN`` where a value is
            missing.
        y : None
            Ignored; here for the scikit-learn interface.
        sample_weight : array-like of shape (n_samples,), optional
            A row of weight w counts as w rows, for ``offset_``, too. Nothing of it
            counts for itself.
        X_val : like ``X``, optional
            Validation rows, instead of a split of ``X``; not with
            ``early_stopping=False``.

        Returns
        -------
        self : VAEOutlierDetector

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of range, or a column is infinite or without any
            value; the message names it.
        """
        vae, proceed = self._begin(bool(self.warm_start), X_val is not None)
        rows = self._model_and_rows(X)[1] if proceed else X
        rows_val = None if X_val is None else _like(rows, X_val)
        vae.fit(rows, sample_weight=sample_weight, X_val=rows_val)
        self._settle(vae, rows, sample_weight)
        if not proceed:
            validate_data(self, X, reset=True, skip_check_array=True)
        return self

    def partial_fit(
        self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None
    ) -> VAEOutlierDetector:
        """Train for one epoch on a further chunk of rows.

        The first call fixes kinds and scales of the columns, so its rows should be
        typical. ``offset_`` is that of up to 512 rows of all calls, a random choice.
        The learning rate and the weight of the KL stay at ``learning_rate_init`` and
        ``beta``; no rows are held out. Rows that come again count again, as new ones:
        they then vouch for themselves in the scores, so that ``fit`` is better for rows
        of several passes.

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
        vae.partial_fit(rows, sample_weight=sample_weight)
        self._settle(vae, rows, sample_weight, proceed)
        if not proceed:
            validate_data(self, X, reset=True, skip_check_array=True)
        return self

    def score_samples(self, X: ArrayLike) -> Array:
        """Log-likelihood of the observed cells of each row [1]_.

        Its mean over the widths of ``smoothing``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Columns as in ``fit``; ``NaN`` cells are integrated out.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats, in the original units of the columns; higher is more normal. A row
            that equals one of ``fit`` to the last digit is scored by the others.
        """
        model, rows = self._model_and_rows(X)
        return model.log_prob(rows)

    def decision_function(self, X: ArrayLike) -> Array:
        """Score rows against the threshold: negative for outliers.

        ``score_samples(X) - offset_``, and for each missing cell what one of its column
        typically says: the median log density of a cell given the others, over 256 rows
        of ``fit`` that have it, or more. Log densities of rows with other cells missing
        are in other units, and would not compare. Cells that tell the same count each,
        so that a row with many such holes looks a little more normal than it is.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        score : ndarray of shape (n_samples,)
            In nats; higher is more normal.
        """
        model, rows = self._model_and_rows(X)
        return model.log_prob_whole(rows) - self.offset_

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
        """Log-likelihood of each cell given the others, less what is typical of it.

        log p(x) - log p(x without the cell), less the median of this over 256 rows of
        ``fit`` or more, so that columns of all units compare, but for those that are
        constant in ``fit``. Of a row that ``fit`` has not seen it is what the cell adds
        to ``decision_function``. The expectation of log p(x_d | z), as
        ``VAETransformer.score_features`` has it, blames other columns too, since an odd
        cell moves z. Beside a cell that is millions of standard deviations off, the
        others are not to be read.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        log_ratio : ndarray of shape (n_samples, n_features)
            In nats; the lowest is the oddest cell, 0 a typical one or none at all.
        """
        model, rows = self._model_and_rows(X)
        return model.log_ratio_to_typical(rows)

    # -- helpers -----------------------------------------------------------------

    def _begin(self, goes_on: bool, has_val: bool = False) -> tuple[RowDensity, bool]:
        """Make the model to train; tell whether it is the earlier one."""
        check_auto("early_stopping", self.early_stopping, "True or False")
        check_contamination(self.contamination)
        read_smoothing(self.smoothing)
        check_number("n_samples", self.n_samples, integer=True, low=2)
        parameters = self.get_params(deep=False)
        for name in ("contamination", "smoothing", "n_samples"):
            del parameters[name]
        parameters["random_state"] = draw_seed(self.random_state)
        if isinstance(self.early_stopping, str):
            parameters["early_stopping"] = has_val
        proceed = goes_on and hasattr(self, "vae_")
        vae = copy(self.vae_) if proceed else RowDensity()  # a refused fit leaves it
        return vae.set_params(**parameters), proceed

    def _settle(
        self,
        vae: RowDensity,
        X: ArrayLike,
        sample_weight: ArrayLike | None,
        proceed: bool = False,
    ) -> None:
        """Keep a trained model, and what its scores of the rows say."""
        smoothing, most = read_smoothing(self.smoothing), int(self.n_samples)
        scores = vae.refine(X, sample_weight, smoothing, most, proceed)
        self.offset_ = self._offset(*scores)
        self.vae_ = vae
        for name in FACTS:
            setattr(self, name, getattr(vae, name))

    def _model_and_rows(self, X: ArrayLike) -> tuple[RowDensity, Any]:
        """Return the model inside, and ``X``, if it has the columns of ``fit``.

        With names or without, as in ``fit``, so that there is one warning.
        """
        check_is_fitted(self)
        if getattr(X, "ndim", 2) != 2:  # the model says what is wrong
            return self.vae_, X
        validate_data(self, X, reset=False, skip_check_array=True)
        names = getattr(self.vae_, "feature_names_in_", None)
        if names is None and self.vae_.schema_.is_frame:  # of names that are no text
            return self.vae_, X
        return self.vae_, with_names(X, names)

    def _offset(self, scores: Array, weight: Array) -> float:
        """Where ``contamination`` cuts the scores of the training rows."""
        if isinstance(self.contamination, str):
            lower, upper = weighted_quantile(scores, weight, [0.25, 0.75])
            return float(lower - FENCE * (upper - lower))
        return float(weighted_quantile(scores, weight, self.contamination))


def _like(rows: Any, others: Any) -> Any:
    """Give ``others`` the names of ``rows``, or none, as these have; same width."""
    if is_frame(rows) == is_frame(others) or np.shape(rows)[1:] != np.shape(others)[1:]:
        return others
    return with_names(others, np.asarray(rows.columns) if is_frame(rows) else None)


def check_contamination(contamination: object) -> None:
    """Refuse what is neither "auto" nor a fraction of at most a half.

    Raises
    ------
    TypeError, ValueError
        If it is neither "auto" nor a number in (0, 0.5].
    """
    check_auto("contamination", contamination, "a number in (0, 0.5]")
    if not isinstance(contamination, str):
        check_number("contamination", contamination, low=0.0, high=0.5, low_open=True)


def read_smoothing(smoothing: Any) -> tuple[float, ...]:
    """Return the widths that are asked for, one or several.

    Raises
    ------
    TypeError, ValueError
        If one is not a number in [0, 1e6], or there is none.
    """
    if isinstance(smoothing, str | bytes) or not np.ndim(smoothing):
        check_number("smoothing", smoothing, low=0.0, high=WIDEST)
        return (float(smoothing),)
    widths = list(smoothing)
    if not widths:
        raise ValueError(
            f"smoothing must be a number in [0, {WIDEST:g}] or several; got none."
        )
    for i, width in enumerate(widths):
        check_number(f"smoothing[{i}]", width, low=0.0, high=WIDEST)
    return tuple(map(float, widths))


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
