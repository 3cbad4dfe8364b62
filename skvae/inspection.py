"""Pictures of fitted models, as scikit-learn's displays; they need matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from skvae._engine.config import check_choice, check_number
from skvae._table.reading import is_frame, read_frame

if TYPE_CHECKING:
    from skvae._transformer import VAETransformer

__all__ = ["LatentTraversalDisplay", "LossCurveDisplay"]

Array = NDArray[np.floating]

WAYS = ("loss", "kl")
N_COLOURS = 10  # of matplotlib's cycle
DASHES = ("-", "--", ":", "-.")
LEGEND_ROWS = 16
MOST_AMONG = 4  # names that have room among the lines


def _model_and_rows(estimator: Any, X: Any, display: str) -> tuple[Any, Any]:
    """Return the fitted model itself, which an imputer or a detector has inside.

    With the rows ``X``, if any, as that model takes them.
    """
    check_is_fitted(estimator)
    model = getattr(estimator, "vae_", estimator)
    if model is None:
        raise ValueError(
            f"{display} has nothing to draw: no column varied in fit, so that "
            f"{type(estimator).__name__} trained no model."
        )
    if not hasattr(model, "learned_"):
        raise TypeError(
            f"{display} draws models of skvae, or what has one inside; got "
            f"{type(model).__name__}. Of a Pipeline take the step itself."
        )
    if X is None or model is estimator:
        return model, X
    return estimator._model_and_rows(X)


def _style(ax: Any) -> dict[str, str]:
    """Tell the next line apart: colours come again after ten, with other dashes."""
    n_lines = len(ax.lines)
    dashes = DASHES[n_lines // N_COLOURS % len(DASHES)]
    return {"color": f"C{n_lines % N_COLOURS}", "linestyle": dashes}


def _put_legend(ax: Any, beside: bool) -> None:
    """Name the lines in as many columns as it takes, ``beside`` them or among them."""
    n_columns = -(-len(ax.lines) // LEGEND_ROWS)
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if beside else {}
    size = "small" if n_columns > 1 else None
    ax.legend(ncols=n_columns, fontsize=size, **place)


def _new_axes(**layout: Any) -> tuple[Any, Any]:
    """Make a figure; say what is missing where matplotlib is."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "skvae.inspection needs matplotlib; install it, or skvae[plot]."
        ) from error
    return plt.subplots(layout="constrained", **layout)


class LatentTraversalDisplay:
    """Expected rows along latent dimensions, one moved at a time.

    Parameters
    ----------
    values : ndarray of shape (n_dimensions, n_steps)
        Where on each dimension the rows are.
    rows : ndarray of shape (n_dimensions, n_steps, n_features)
        Expected rows there.
    dimensions : ndarray of int of shape (n_dimensions,)
        Which dimensions were moved.
    names : list of str
        Names of the columns.
    image_shape : tuple of int, optional
        Shape of a row as an image.
    kl : ndarray of shape (n_dimensions,), optional
        KL of the dimensions that were moved, in nats, for their labels: one of 0 moves
        nothing.

    Attributes
    ----------
    ax_ : ndarray of Axes
        One a dimension.
    figure_ : Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.inspection import LatentTraversalDisplay
    >>> X = load_iris(as_frame=True).data
    >>> vae = VAETransformer(2, max_iter=100, random_state=0).fit(X)
    >>> display = LatentTraversalDisplay.from_estimator(vae, X)
    >>> display.rows.shape
    (2, 9, 4)
    """

    def __init__(
        self,
        values: Array,
        rows: Array,
        dimensions: NDArray[np.integer],
        names: Sequence[str],
        image_shape: tuple[int, int] | None = None,
        kl: Array | None = None,
    ) -> None:
        self.values = values
        self.rows = rows
        self.dimensions = dimensions
        self.names = names
        self.image_shape = image_shape
        self.kl = kl

    @classmethod
    def from_estimator(
        cls,
        estimator: VAETransformer,
        X: ArrayLike,
        *,
        dimensions: Sequence[int] | None = None,
        n_steps: int = 9,
        image_shape: tuple[int, int] | None = None,
        ax: Any = None,
    ) -> LatentTraversalDisplay:
        """Move the latents of the rows of ``X`` and plot what they decode to.

        Parameters
        ----------
        estimator : VAETransformer
            Fitted, or a fitted imputer or detector with one inside; every column must
            be numeric.
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows whose latents show where to begin, their mean, and how far to go, from
            the 2nd to the 98th percentile of each dimension.
        dimensions : sequence of int, optional
            Which to move; the four of the largest KL unless told otherwise.
        n_steps : int, default=9
            Places on each dimension.
        image_shape : tuple of int, optional
            Shape of a row as an image; without it columns are lines, in standard
            deviations of ``X``.
        ax : array of Axes, optional
            One a dimension.

        Returns
        -------
        display : LatentTraversalDisplay

        Raises
        ------
        TypeError
            If the estimator has no latents that decode to rows.
        ValueError
            If a column is not numeric, a dimension is not there, or an image has
            another number of cells than a row.
        """
        estimator, X = _model_and_rows(estimator, X, cls.__name__)
        if not hasattr(estimator, "inverse_transform"):
            raise TypeError(
                f"{cls.__name__} draws models whose latents decode to rows; got "
                f"{type(estimator).__name__}."
            )
        check_number("n_steps", n_steps, integer=True, low=2)
        Z = estimator.transform(X)
        if dimensions is None:
            dimensions = np.argsort(-estimator.kl_per_dimension_, kind="stable")[:4]
        dimensions = np.atleast_1d(dimensions)
        for dimension in dimensions:
            last = Z.shape[1] - 1
            check_number("dimensions", dimension, integer=True, low=0, high=last)
        low, high = np.quantile(Z, [0.02, 0.98], axis=0)
        values = np.stack([np.linspace(low[d], high[d], n_steps) for d in dimensions])
        moved = np.tile(Z.mean(axis=0), (*values.shape, 1))
        for i, dimension in enumerate(dimensions):
            moved[i, :, dimension] = values[i]
        decoded = estimator.inverse_transform(moved.reshape(-1, Z.shape[1]))
        names, cells = _numbers(decoded)
        if image_shape is None:
            _, known = _numbers(X)
            spread = np.nanstd(known, axis=0)
            spread[spread == 0] = 1.0  # a constant is drawn in its own units
            cells = (cells - np.nanmean(known, axis=0)) / spread
        elif np.prod(image_shape) != cells.shape[1]:
            raise ValueError(
                f"image_shape={image_shape} has {np.prod(image_shape)} cells; expected "
                f"{cells.shape[1]}, the columns of a row."
            )
        rows = cells.reshape(*values.shape, -1)
        kl = estimator.kl_per_dimension_[dimensions]
        display = cls(values, rows, dimensions, names, image_shape, kl)
        return display.plot(ax)

    def plot(self, ax: Any = None) -> LatentTraversalDisplay:
        """Draw one panel a dimension.

        Parameters
        ----------
        ax : array of Axes, optional
            One a dimension.

        Returns
        -------
        display : LatentTraversalDisplay
        """
        n = len(self.dimensions)
        if ax is None:
            wide = self.image_shape is not None
            size = (8.0, 1.1 * n) if wide else (3.2 * n, 3.2)
            grid = {"nrows": n} if wide else {"ncols": n, "sharey": True}
            _, ax = _new_axes(figsize=size, squeeze=False, **grid)
        self.ax_ = np.ravel(ax)
        if len(self.ax_) != n:
            raise ValueError(f"ax must hold {n} Axes; got {len(self.ax_)}.")
        self.figure_ = self.ax_[0].figure
        for i, axes in enumerate(self.ax_):
            draw = self._draw_lines if self.image_shape is None else self._draw_images
            draw(axes, i)
        if self.image_shape is None:
            self.ax_[0].set_ylabel("expected value, standard deviations")
            _put_legend(self.ax_[-1], beside=True)
        return self

    def _draw_lines(self, ax: Any, i: int) -> None:
        """One line a column."""
        for name, column in zip(self.names, self.rows[i].T, strict=True):
            ax.plot(self.values[i], column, label=name, **_style(ax))
        ax.set_xlabel(self._label(i, ", "))
        # few numbers, so that those of neighbouring panels stay apart
        ax.locator_params(axis="x", nbins=4)

    def _draw_images(self, ax: Any, i: int) -> None:
        """Images side by side."""
        strip = np.hstack([row.reshape(self.image_shape) for row in self.rows[i]])
        ax.imshow(strip, cmap="gray_r")
        width = strip.shape[1] / len(self.values[i])
        places = width * (np.arange(len(self.values[i])) + 0.5)
        ax.set_xticks(places, [f"{value:.1f}" for value in self.values[i]])
        ax.set_yticks([])
        ax.set_ylabel(self._label(i, "\n"))

    def _label(self, i: int, between: str) -> str:
        """Name a dimension, with its KL where that is known."""
        name = f"latent {self.dimensions[i]}"
        if self.kl is None:
            return name
        return f"{name}{between}KL {self.kl[i]:.2f} nats"


class LossCurveDisplay:
    """Training as it went: the loss, or the KL of each dimension.

    Parameters
    ----------
    curves : dict of ndarray of shape (n_epochs,)
        What to draw, by its name.
    ylabel : str

    Attributes
    ----------
    ax_ : Axes
    figure_ : Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VAETransformer
    >>> from skvae.inspection import LossCurveDisplay
    >>> vae = VAETransformer(2, max_iter=50, random_state=0).fit(load_iris().data)
    >>> sorted(LossCurveDisplay.from_estimator(vae, kind="kl").curves)
    ['latent 0', 'latent 1']
    """

    def __init__(self, curves: dict[str, Array], ylabel: str) -> None:
        self.curves = curves
        self.ylabel = ylabel

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, kind: str = "loss", ax: Any = None
    ) -> LossCurveDisplay:
        """Plot the training of a fitted estimator.

        Parameters
        ----------
        estimator : estimator of skvae
            Fitted.
        kind : {"loss", "kl"}, default="loss"
            ``"loss"``: the training objective and minus the bound on held-out rows,
            nats a row. ``"kl"``: KL of each latent dimension of the member whose
            latents ``transform`` gives: a dimension is another thing in each member.
            Of the rows held out, where there are any, and from the prior of training;
            ``kl_per_dimension_`` is of the training rows, and from a prior that is
            fitted afterwards, where one is.
        ax : Axes, optional

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        TypeError
            If it is no estimator of skvae.
        ValueError
            If it has trained nothing or, with ``kind="kl"``, has no latents.
        """
        estimator, _ = _model_and_rows(estimator, None, cls.__name__)
        check_choice("kind", kind, WAYS)
        if kind == "kl":
            if not len(estimator.kl_per_dimension_):
                raise ValueError(
                    "kind='kl' draws latent dimensions; a model with n_components=0 "
                    "has none. Take kind='loss'."
                )
            kl = estimator.history_.kl[:, estimator.learned_.best_member]
            curves = {f"latent {i}": kl[:, i] for i in range(kl.shape[1])}
            of = " of held-out rows" if len(estimator.validation_scores_) else ""
            return cls(curves, f"KL{of}, nats").plot(ax)
        curves = {"training": np.asarray(estimator.loss_curve_)}
        if len(estimator.validation_scores_):
            curves["held out"] = -np.asarray(estimator.validation_scores_)
        return cls(curves, "nats per row").plot(ax)

    def plot(self, ax: Any = None) -> LossCurveDisplay:
        """Draw the curves over the epochs.

        Parameters
        ----------
        ax : Axes, optional

        Returns
        -------
        display : LossCurveDisplay
        """
        # axes of the caller may have no room beside them
        beside = ax is None and len(self.curves) > MOST_AMONG
        if ax is None:
            _, ax = _new_axes()
        self.ax_, self.figure_ = ax, ax.figure
        for name, curve in self.curves.items():
            ax.plot(np.arange(1, len(curve) + 1), curve, label=name, **_style(ax))
        ax.set_xlabel("epoch")
        ax.set_ylabel(self.ylabel)
        _put_legend(ax, beside)
        return self


def _numbers(X: Any) -> tuple[list[str], Array]:
    """Names and values of the columns of a numeric table."""
    if not is_frame(X):
        values = np.asarray(X)
        return [f"x{i}" for i in range(values.shape[1])], values.astype(float)
    table = read_frame(X)
    names = [str(name) for name in table.names]
    text = [names[i] for i in sorted(table.labels)]
    if text:
        raise ValueError(
            f"LatentTraversalDisplay draws numbers, and columns {text} hold none: fit "
            "on the numeric columns, or read inverse_transform."
        )
    return names, table.values
