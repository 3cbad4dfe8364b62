"""What every test run shares: which skvae is tested, and what this machine lacks."""

import os
from pathlib import Path

import pytest

import skvae


def pytest_report_header():
    """Name the package under test: `make test` must reach the installed wheel."""
    return f"skvae {skvae.__version__} from {Path(skvae.__file__).parent}"


def pytest_collection_modifyitems(items):
    """Skip the tests that need an accelerator or benchmark data that is not here."""
    for item in items:
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="torch sees no CUDA device"))
        if item.get_closest_marker("data") and "SKVAE_DATA" not in os.environ:
            item.add_marker(pytest.mark.skip(reason="SKVAE_DATA names no folder"))


def _has_gpu():
    import torch

    return torch.cuda.is_available()
