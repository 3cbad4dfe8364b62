"""What a result depends on beside its code: versions, commit and machine, as a dict."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

import skvae

LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "pandas")


def describe() -> dict[str, object]:
    """Date, versions, commit and machine of this run."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": _versions(),
        "machine": _machine(),
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "skvae": skvae.__version__,
        "commit": _commit(),
    }


def _commit() -> str:
    """Commit of the checkout, marked where files other than results differ from it."""
    tracked = ["status", "--porcelain", "--untracked-files=no", "--"]
    changes = _git(*tracked, ":/", ":(top,exclude)benchmarks/results")
    commit = _git("describe", "--always", "--exclude=*")
    if commit is None or changes is None:
        return "unknown"
    return f"{commit}+changes" if changes else commit


def _git(*arguments: str) -> str | None:
    """Return what git says of this checkout; None where it says nothing."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _machine() -> dict[str, object]:
    machine: dict[str, object] = {"cpu": _cpu(), "cores": os.cpu_count()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        n_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        machine["memory_gib"] = round(n_bytes / 2**30, 1)
    machine["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return machine


def _cpu() -> str:
    """Model of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.machine()
