"""``VAEClassifier``: a few labels and many rows in; classes, densities, rows out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    column_or_1d,
)

from skvae._engine.config import check_number
from skvae._estimator import (
    RandomState,
    check_pair,
    check_some_observed,
    draw_seed,
    read_weights,
)
from skvae._generated import GeneratedTable
from skvae._table import codec, labels
from skvae._table.codec import Rows
from skvae._table.reading import take_rows

Array = NDArray[np.floating]

# of the rows in a batch, at least, have a label: few labels come several times an epoch
LABELLED_SHARE = 0.25


class VAEClassifier(ClassifierMixin, GeneratedTable):
    """Semi-supervised classifier: labels of some rows, and what the others look like.

    Rows are generated as y ~ Cat(π), z ~ N(0, I), x ~ p(x | y, z), and a network
    q(y | x) tells the class: model M2 of [1]_. Rows without a label, -1, count with
    every class by how likely it is, so that classes are found where rows lie together.
    The fitted model also gives a density of the rows (``score_samples``) and new rows
    of a class (``sample``). With all labels given it is a plain classifier. Missing
    cells of ``X``, ``NaN``, are integrated out.

    Parameters
    ----------
    n_components : int, default=4
        Latent dimensions: what rows of one class differ in. Few of them leave the
        classes to ``y``.
    classification_weight : float, default=10.0
        Weight of -log q(y | x), a mean over the labelled rows, beside the bound, a mean
        over all rows: alpha / N of [1]_, eq. 9. The larger it is, the less a poor model
        of the rows can overrule the labels.
    likelihood : str or dict, default="auto"
        p(x | y, z) of the columns as in ``VAETransformer``.
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Units of the hidden layers of encoder, decoder and q(y | x).
    activation : {"silu", "relu", "tanh", "gelu", "identity"}, default="silu"
        Activation of the hidden layers.
    dropout : float, default=0.3
        Fraction of hidden units dropped at the start of training; it falls to 0 along a
        line.
    masking : float, default=0.0
        Largest share of a row's cells that are hidden from encoder and q(y | x) in a
        step of training; the likelihood counts them.
    numeric_embedding : {None, "periodic"}, default=None
        Embedding of the inputs of q(y | x); ``"periodic"`` adds learned sines and
        cosines of each column [2]_, as in ``VAETransformer``.
    n_estimators : int, default=4
        Members: networks trained side by side from other seeds and splits, whose
        probabilities are averaged.
    objective : {"elbo", "iwae", "dreg"}, default="elbo"
        Bound of p(x | y) to maximise: the evidence lower bound, or the
        importance-weighted bound over ``n_draws`` draws [3]_, ``"dreg"`` with the
        gradients of [4]_.
    n_draws : int, default=1
        Draws of z per row and class while training.
    beta : float, default=1.0
        Weight of the KL divergence of z, or of the latent's part of the weights; where
        held-out rows are judged, too.
    kl_warmup : float, default=0.05
        Fraction of training over which that weight rises from 0 to ``beta``.
    kl_schedule : {"linear", "cyclical", "constant"}, default="linear"
        How it rises: once, four times, or not at all, as with ``kl_warmup=0``.
    free_bits : float, default=0.0
        Nats of each dimension's KL that cost nothing (``objective="elbo"`` only).
    max_iter : int, default=80
        Epochs at most. Few labels come several times in one.
    max_steps : int, default=2048
        Batches at most: on large tables training ends after fewer epochs.
    batch_size : int or "auto", default="auto"
        Rows in a batch; ``"auto"`` takes n / 16 within 16 and 512.
    learning_rate_init : float, default=3e-3
        Peak of the learning rate, which warms up and then falls along a cosine.
    alpha : float, default=1e-4
        Decoupled weight decay of the weight matrices.
    early_stopping : bool, default=True
        Hold out rows, and stop when the objective on them has not risen for
        ``n_iter_no_change`` epochs. Of the weights, averaged over epochs, those are
        kept that are best on these rows; of every other member those of up to twice as
        many epochs, as an ensemble is at its best later than its members.
    validation_fraction : float, default=0.1
        Fraction of the rows held out, of each class and of the rows without a label,
        rounded down: a class of nine labels keeps them all. Each member holds out its
        own.
    n_iter_no_change : int, default=40
        Epochs without a rise of more than ``tol`` before training stops.
    tol : float, default=1e-3
        Nats per row that count as a rise.
    min_scale : "auto" or float, default="auto"
        Floor of the decoder's standard deviation, in standard deviations of the column.
        ``"auto"`` takes the rounding error of each column.
    categorical_features : "from_dtype", or array-like, default="from_dtype"
        Columns whose numbers are categories: names, positions or a mask. Text and
        pandas categories are categories in any case.
    handle_unknown : {"warn", "ignore", "error"}, default="warn"
        Whether a category that ``fit`` has not seen (in a column of 0 and 1: another
        number) is missing, with or without a warning, or an error.
    n_samples : int, default=32
        Fixed draws of z per row and class for probabilities and ``score_samples``;
        powers of two are the most even.
    warm_start : bool, default=False
        Begin ``fit`` at the weights of the earlier one, keeping scaling and classes.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, ...; ``"auto"`` takes CUDA when there is one.
    verbose : bool, default=False
        Write progress to standard output.
    random_state : int, RandomState or None, default=None
        Seed of weights, splits, batches and draws.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted, without that of unlabelled rows.
    class_prior_ : ndarray of shape (n_classes,)
        π, their frequencies among the labelled rows.
    kl_per_dimension_ : ndarray of shape (n_components,)
        Mean KL divergence between posterior and prior in nats, of the best member.
    active_units_ : int
        Dimensions whose KL exceeds 0.01 nats and whose posterior differs between rows
        by as much.
    n_iter_ : int
        Epochs run.
    loss_curve_ : list of float
        Training objective of each epoch, nats per row in the original units, mean over
        members; lower is better.
    validation_scores_ : list of float
        The objective on the held-out rows after each epoch, likewise; higher is better.
        Empty without ``early_stopping``.
    likelihoods_ : dict
        The likelihood of each column.
    history_ : FitRecord
        The same by member, with the KL of each dimension; in standardised units. Of
        the last ``fit`` or ``partial_fit`` alone.
    n_features_in_ : int
        Columns seen in ``fit``.
    feature_names_in_ : ndarray of str
        Their names, where they are all strings.

    See Also
    --------
    VAETransformer : Latents of rows without labels, on which to classify: its latents
        in, the two are model M1 + M2 of [1]_.
    sklearn.semi_supervised.SelfTrainingClassifier : Trains a classifier on what it is
        sure of.

    Notes
    -----
    A step trains every row with every class, and an answer weighs it with every class,
    so that both take time with their number.

    References
    ----------
    .. [1] Kingma, Mohamed, Rezende, Welling (2014), Semi-supervised learning with deep
       generative models, eq. 6-9. arXiv:1406.5298
    .. [2] Gorishniy, Rubachev, Babenko (2022), sec. 3.3. arXiv:2203.05556
    .. [3] Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, eq. 8.
       arXiv:1509.00519
    .. [4] Tucker, Lawson, Gu, Maddison (2019), Doubly reparameterized gradient
       estimators, eq. 9. arXiv:1810.04152

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAEClassifier
    >>> X, species = load_iris(return_X_y=True)
    >>> y = np.full(150, -1)
    >>> y[::16] = species[::16]  # 10 labels
    >>> model = VAEClassifier(2, max_iter=100, random_state=0).fit(X, y)
    >>> bool(model.score(X, species) > 0.9)
    True
    >>> model.sample(2, y=0, random_state=0).shape
    (2, 4)
    """

    def __init__(
        self,
        n_components: int = 4,
        *,
        classification_weight: float = 10.0,
        likelihood: str | Mapping[Hashable, str] = "auto",
        hidden_layer_sizes: Sequence[int] = (128, 128),
        activation: str = "silu",
        dropout: float = 0.3,
        masking: float = 0.0,
        numeric_embedding: str | None = None,
        n_estimators: int = 4,
        objective: str = "elbo",
        n_draws: int = 1,
        beta: float = 1.0,
        kl_warmup: float = 0.05,
        kl_schedule: str = "linear",
        free_bits: float = 0.0,
        max_iter: int = 80,
        max_steps: int = 2048,
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
        n_samples: int = 32,
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
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> VAEClassifier:
        """Learn the classes and the distribution of the rows of each.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Numbers, booleans, text and categories; ``NaN`` where a value is missing.
        y : array-like of shape (n_samples,)
            Integers or texts; -1, None or ``NaN`` where a row has no label.
        sample_weight : array-like of shape (n_samples,), optional
            A row of weight w counts as w rows; rows of weight 0 are left out.
        X_val, y_val : like ``X`` and ``y``, optional
            Validation rows, instead of a split of ``X`` and ``y``; with
            ``early_stopping``.

        Returns
        -------
        self : VAEClassifier

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of range, ``y`` has labels of fewer than two classes,
            or a column holds dates or mixed objects, is infinite or without any
            value; the message names it.
        """
        proceed = self._continues()
        check_pair(X_val, y_val)
        with self._unchanged_on_error():
            data, offset = self._read(X, y, sample_weight, proceed, min_rows=2)
            config = self._train_config(len(data))
            valid, valid_offset = None, offset
            if X_val is not None and y_val is not None:
                self._check_looked_at()
                valid, valid_offset = self._read_held_out(X_val, y_val)
            offsets = offset, valid_offset
            data = _stratified(data, config.validation_fraction)
            return self._train(self._model(), config, data, valid, offsets, proceed)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> VAEClassifier:
        """Train for one epoch on a further chunk of rows.

        The first call fixes the classes and how frequent they are, and the kinds and
        scales of the columns, so its rows should be typical. The learning rate and the
        weight of the KL stay at ``learning_rate_init`` and ``beta``; no rows are held
        out.

        Parameters
        ----------
        X, sample_weight
            As in ``fit``.
        y : array-like of shape (n_samples,)
            As in ``fit``; after the first call a chunk may be without any label.
        classes : array-like of shape (n_classes,), optional
            All classes, in the first call, where its rows do not have them all: one
            without a row counts as frequent as a class of one row. In later calls those
            of the first, or left out.

        Returns
        -------
        self : VAEClassifier

        Raises
        ------
        ValueError, TypeError
            As ``fit``, and if ``classes`` are others than in the first call.
        """
        proceed = hasattr(self, "learned_")
        min_rows = 1 if proceed else 2
        with self._unchanged_on_error():
            named = None if classes is None else self._read_classes(classes)
            if proceed and named is not None:
                self._check_classes(named)
            data, offset = self._read(X, y, sample_weight, proceed, min_rows, named)
            config = self._one_epoch(len(data))
            data = _stratified(data, config.validation_fraction)
            offsets = offset, offset
            return self._train(self._model(), config, data, None, offsets, proceed)

    # -- classes -----------------------------------------------------------------

    def predict_proba(self, X: ArrayLike) -> Array:
        """Probabilities of the classes: the mean of two answers to the same question.

        The one is q(y | x), the mean over members; the other Bayes' rule, p(y) p(x | y)
        over its sum. They err in different places: the mean is more often right than
        q(y | x), and sure only where both are (benchmarks/record/classifier.md).

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Columns as in ``fit``; ``NaN`` where a value is missing.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        engine = self._engine()
        _, encoded = self._encode(X, self.schema_)
        told = engine.class_probabilities(_rows(encoded))
        generated = softmax(self._log_joint(engine, encoded), axis=1)
        return 0.5 * (told + generated)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the likeliest class of each row.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    # -- rows --------------------------------------------------------------------

    def score_samples(self, X: ArrayLike) -> Array:
        """Log p(x) of the observed cells of each row, whatever its class.

        Log of the sum of p(y) p(x | y) over the classes, with z integrated out by
        importance weighting.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            ``NaN`` cells are integrated out.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats, in the original units of the columns; higher is more typical. The
            draws of z are fixed in ``fit``, so the same row always gets the same score.

        References
        ----------
        Burda, Grosse, Salakhutdinov (2016), eq. 8, half of the draws from N(0, I).
        """
        engine = self._engine()
        table, encoded = self._encode(X, self.schema_)
        joint = self._log_joint(engine, encoded)
        return logsumexp(joint, axis=1) - codec.log_scale(self.schema_, table).sum(1)

    def _log_joint(self, engine: Any, encoded: Array) -> Array:
        """Log p(y) + log p(x | y), encoded units: (N, K)."""
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
        y: ArrayLike | None = None,
        random_state: RandomState = None,
    ) -> Rows:
        """Draw new rows: a member, z ~ N(0, I), x ~ p(x | y, z).

        Numbers beyond the least and the greatest that ``fit`` has seen in their column
        become these.

        Parameters
        ----------
        n_samples : int, default=1
            Rows to draw.
        y : label, or array-like of shape (n_samples,), optional
            The class of the rows, or of each; left out, classes are drawn by their
            frequencies ``class_prior_``.
        random_state : int, RandomState or None, default=None
            Seed of the draws.

        Returns
        -------
        X : DataFrame or ndarray of shape (n_samples, n_features)
            In the columns, units and dtypes of ``fit``.

        Raises
        ------
        ValueError
            If ``y`` is not among the classes, or of another length.
        """
        engine = self._engine()
        check_number("n_samples", n_samples, integer=True, low=1)
        seed = draw_seed(random_state)
        rng = np.random.default_rng(seed)
        if y is None:
            codes = rng.choice(len(self.classes_), n_samples, p=self.class_prior_)
        else:
            codes = self._codes_of(y, n_samples)
        draws = engine.sample(n_samples, codes[:, None].astype(float), 1, seed)
        return codec.decode(self.schema_, draws[0], rng=rng, within=True)

    def transform(self, X: ArrayLike) -> Array:
        """Posterior means of the latents given the likeliest class, best member.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            In units of the prior N(0, 1): what a row is like within its class.
        """
        engine = self._engine()
        table, encoded = self._encode(X, self.schema_)
        Z = engine.posterior_mean(_rows(encoded))
        return self._like_input(Z, table)

    # -- helpers -----------------------------------------------------------------

    def _read(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        proceed: bool,
        min_rows: int,
        classes: NDArray[Any] | None = None,
    ) -> tuple[Any, float]:
        """Encode rows of positive weight; also return their mean log Jacobian.

        ``classes`` are those of a first chunk, whose rows may not have them all.
        """
        table = self._read_table(X, reset=not proceed, min_rows=min_rows)
        targets = self._read_labels(y, some=not proceed and classes is None)
        check_consistent_length(table.values, targets)
        weight, keep = read_weights(sample_weight, len(table.values), min_rows)
        table, targets = take_rows(table, keep), targets[keep]
        if proceed:
            self._go_on(table)
        else:
            self._learn_classes(targets, weight, classes)
            self.schema_ = self._learn_schema(table, weight)
        codes = labels.encode(targets, self.classes_)
        encoded = codec.encode(self.schema_, table, "X", self.handle_unknown)
        return _rows(encoded, codes, weight), self._offset(table, weight)

    def _read_held_out(self, X_val: ArrayLike, y_val: ArrayLike) -> tuple[Any, float]:
        """Read validation rows; also return their mean log Jacobian."""
        table = self._read_table(X_val, reset=False, name="X_val")
        check_some_observed(table, "X_val")
        targets = self._read_labels(y_val, "y_val", some=False)
        check_consistent_length(table.values, targets)
        codes = labels.encode(targets, self.classes_, "y_val")
        encoded = codec.encode(self.schema_, table, "X_val", self.handle_unknown)
        rows = _rows(encoded, codes)
        return rows, self._offset(table, rows.weight)

    def _read_labels(
        self, y: ArrayLike, name: str = "y", *, some: bool = True
    ) -> NDArray[Any]:
        """Labels as an array (n,), no label where there is none.

        ``some``: whether there must be one.
        """
        estimator = type(self).__name__
        if y is None:
            raise ValueError(
                f"{estimator} requires {name} to be passed, but the target {name} is "
                "None."
            )
        targets = column_or_1d(labels.as_array(y), warn=True)
        known = targets[labels.labelled(targets)]
        if not len(known):
            if not some:
                return targets
            raise ValueError(
                f"{estimator} needs labels of at least two classes; every entry of "
                f"{name} is -1, None or NaN. For rows without any label there is "
                "VAETransformer."
            )
        labels.check_one_type(known, name)
        labels.warn_of_text(np.unique(known), name)
        # objects that hold integers are classes, too
        plain = np.asarray(known.tolist())
        if plain.dtype.kind == "f":
            assert_all_finite(plain, input_name=name)
        check_classification_targets(plain)
        return targets

    def _read_classes(self, classes: ArrayLike) -> NDArray[Any]:
        """Sorted classes, without the marks of rows that have none."""
        named = self._read_labels(classes, "classes")
        return np.unique(named[labels.labelled(named)])

    def _check_classes(self, named: NDArray[Any]) -> None:
        """Refuse other classes than those of the first chunk."""
        if named.tolist() != self.classes_.tolist():
            raise ValueError(
                f"classes must be those of the first call, {self.classes_.tolist()}; "
                f"got {named.tolist()}. Leave them out, or begin with a new estimator."
            )

    def _codes_of(self, y: ArrayLike, n_rows: int) -> Array:
        """Codes of the classes that are asked for, one or one a row: (n_rows,)."""
        wanted = np.atleast_1d(np.asarray(y))
        if wanted.shape not in ((1,), (n_rows,)):
            raise ValueError(
                f"y must be one class or n_samples={n_rows} of them; got an array of "
                f"shape {wanted.shape}."
            )
        codes = labels.encode(np.broadcast_to(wanted, n_rows), self.classes_)
        if np.isnan(codes).any():
            raise ValueError(
                f"y must name classes, some of {self.classes_.tolist()}; got a row "
                "without a label. Leave y out to draw classes by their frequencies."
            )
        return codes

    def _learn_classes(
        self, targets: NDArray[Any], weight: Array, classes: NDArray[Any] | None
    ) -> None:
        """Classes, where they are not given, and their frequencies among labels."""
        known = labels.labelled(targets)
        if classes is None:
            classes = np.unique(targets[known])
        if len(classes) < 2:
            without = "" if known.all() else "; -1, None and NaN are no label"
            raise ValueError(
                f"{type(self).__name__} needs labels of at least two classes; got "
                f"{len(classes)} class(es): {classes.tolist()}{without}."
            )
        place = labels.encode(targets[known], classes).astype(int)
        counts = np.bincount(place, weight[known], minlength=len(classes))
        one_row = weight[known].mean() if known.any() else 1.0
        counts = np.where(counts > 0.0, counts, one_row)
        self.classes_, self.class_prior_ = classes, counts / counts.sum()

    def _model(self) -> Any:
        self._n_features_out = self.n_components
        return self._model_config(
            self._heads(),
            self.schema_.n_codes,
            (len(self.classes_),),
            classes=tuple(self.class_prior_.tolist()),
        )

    def _settled(self, n_rows: int) -> dict[str, Any]:
        check_number("n_components", self.n_components, integer=True, low=1)
        return {}


def _rows(
    encoded: Array, codes: Array | None = None, weight: Array | None = None
) -> Any:
    """Rows with their classes, NaN or left out where unknown."""
    from skvae._engine import door

    c = np.full(len(encoded), np.nan) if codes is None else codes
    return door.Encoded.of(encoded, c[:, None], weight)


def _stratified(data: Any, fraction: float) -> Any:
    """Split each class on its own, like the rows without a label."""
    from skvae._engine import door

    codes = data.c[:, 0]
    free = np.isnan(codes)
    n_labelled = (~free).sum()
    wanted = LABELLED_SHARE / (1.0 - LABELLED_SHARE) * free.sum()
    repeats = max(1, round(wanted / max(1, n_labelled)))
    strata = [
        door.Stratum(np.flatnonzero(codes == code), fraction, repeats)
        for code in np.unique(codes[~free])
    ]
    if free.any():
        strata.append(door.Stratum(np.flatnonzero(free), fraction))
    return replace(data, strata=tuple(strata))
