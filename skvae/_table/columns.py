"""Which columns a user means: by name, by position or by a mask."""

from collections.abc import Hashable, Sequence

import numpy as np


def chosen_columns(
    chosen: object, names: Sequence[Hashable], parameter: str = "categorical_features"
) -> list[Hashable]:
    """Names of the columns that ``chosen`` means, in the order of the table.

    ``chosen`` is ``"from_dtype"`` or None (none beyond those of text), a sequence of
    names or of positions, or a mask.

    Raises
    ------
    ValueError
        If it names a column that is not there, or is a mask of another length.
    TypeError
        If it is none of these.
    """
    if chosen is None or (isinstance(chosen, str) and chosen == "from_dtype"):
        return []
    if isinstance(chosen, str) or np.ndim(chosen) != 1:  # type: ignore[arg-type]
        raise TypeError(
            f"{parameter} must be 'from_dtype', or a sequence of names, of positions "
            f"or of True and False; got {chosen!r}."
        )
    wanted = list(chosen)  # type: ignore[call-overload]
    if wanted and all(isinstance(entry, bool | np.bool_) for entry in wanted):
        if len(wanted) != len(names):
            raise ValueError(
                f"{parameter} has {len(wanted)} entries of True and False; expected "
                f"{len(names)}, one a column."
            )
        return [name for name, is_one in zip(names, wanted, strict=True) if is_one]
    found = {_name(entry, names, parameter) for entry in wanted}
    return [name for name in names if name in found]


def _name(entry: Hashable, names: Sequence[Hashable], parameter: str) -> Hashable:
    if entry in names:
        return entry
    if isinstance(entry, int | np.integer) and -len(names) <= entry < len(names):
        return names[int(entry)]
    raise ValueError(
        f"{parameter} names column {entry!r}, which X does not have; expected some of "
        f"{list(names)}, or positions among them."
    )
