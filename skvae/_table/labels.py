"""Class labels in, codes out: the integer -1, None and NaN are no label."""

from collections.abc import Hashable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

UNLABELLED = -1


def labelled(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether each of ``labels`` (N,) is one."""
    if labels.dtype.kind in "US":
        return np.ones(len(labels), dtype=bool)
    present = ~np.asarray(pd.isna(labels), dtype=bool)
    present[present] = labels[present] != UNLABELLED
    return present


def check_one_type(labels: NDArray[np.generic]) -> None:
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
            "y must hold either texts or integers beside -1, None and NaN; got "
            f"{texts[0]!r} and {other!r}."
        )


def encode(
    labels: NDArray[np.generic], classes: NDArray[np.generic]
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
    new = sorted({str(k) for k in labels[seen].tolist() if k not in place})
    if new:
        raise ValueError(
            f"y holds classes that fit has not seen: {new[:5]}; expected some of "
            f"{classes.tolist()}."
        )
    codes[seen] = [place[label] for label in labels[seen].tolist()]
    return codes
