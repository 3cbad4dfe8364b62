"""Class labels in, codes out: the integer -1, None and NaN are no label."""

from collections.abc import Hashable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skvae._warnings import warn

UNLABELLED = -1


def as_array(y: object) -> object:
    """Keep what a list holds: numpy would turn -1 beside texts into a text.

    And integers of pandas that may be missing, which it would turn into floats.
    """
    dtype = getattr(y, "dtype", None)
    own = pd.api.extensions.ExtensionDtype
    if isinstance(dtype, own) and pd.api.types.is_integer_dtype(dtype):
        cells = np.asarray(y, dtype=object)
        return cells if pd.isna(cells).any() else cells.astype(np.int64)
    if not isinstance(y, list | tuple):
        return y
    texts = [isinstance(label, str) for label in y]
    if all(texts) or not any(texts):
        return y
    labels = np.empty(len(y), dtype=object)
    labels[:] = y
    return labels


def warn_of_text(classes: NDArray[np.generic], name: str = "y") -> None:
    """Warn of a class "-1" beside words, which was to be no label."""
    texts = [label for label in classes.tolist() if isinstance(label, str)]
    words = [text for text in texts if not text.lstrip("+-").isdigit()]
    if "-1" in texts and words:
        warn(
            f"{name} holds the text '-1' beside texts such as {words[0]!r}: it is "
            "taken for a class. A row without a label has the integer -1, None or "
            "NaN; an array that holds it beside texts has dtype object.",
            UserWarning,
        )


def labelled(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether each of ``labels`` (N,) is one."""
    if labels.dtype.kind in "US":
        return np.ones(len(labels), dtype=bool)
    present = ~np.asarray(pd.isna(labels), dtype=bool)
    present[present] = labels[present] != UNLABELLED
    return present


def check_one_type(labels: NDArray[np.generic], name: str = "y") -> None:
    """Refuse text and numbers side by side, which have no order.

    Raises
    ------
    TypeError
        With one label of each.
    """
    texts = [label for label in labels.tolist() if isinstance(label, str)]
    if texts and len(texts) < len(labels):
        other = next(label for label in labels.tolist() if not isinstance(label, str))
        raise TypeError(
            f"{name} must hold either texts or integers beside -1, None and NaN; got "
            f"{texts[0]!r} and {other!r}."
        )


def encode(
    labels: NDArray[np.generic], classes: NDArray[np.generic], name: str = "y"
) -> NDArray[np.float64]:
    """Positions among the sorted ``classes``, NaN for no label: (N,).

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    seen = labelled(labels)
    codes = np.full(len(labels), np.nan)
    place: dict[Hashable, int] = {label: i for i, label in enumerate(classes.tolist())}
    new = sorted({repr(k) for k in labels[seen].tolist() if k not in place})
    if new:
        raise ValueError(
            f"{name} holds classes that fit has not seen: [{', '.join(new[:5])}]; "
            f"expected some of {classes.tolist()}."
        )
    codes[seen] = [place[label] for label in labels[seen].tolist()]
    return codes
