"""Warnings that point at the line of the user."""

import sys
import warnings

# modules between the user's line and the warning: scikit-learn wraps ``transform``
WITHIN = ("skvae.", "sklearn.utils._set_output")


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the innermost line that is not of the library."""
    frame, level = sys._getframe(), 1
    while frame.f_back and str(frame.f_globals.get("__name__")).startswith(WITHIN):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
