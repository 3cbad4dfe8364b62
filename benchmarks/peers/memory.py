"""Peak memory of this process; standard library only, for the workers as well."""

import math
import sys
from pathlib import Path

try:
    import resource
except ImportError:  # not on Windows
    resource = None


def peak_memory() -> float:
    """Largest resident set of this process so far, in MiB; NaN where it is not known.

    Linux tells it in ``/proc``. There ``ru_maxrss`` would, in a process that another
    one started, begin at the peak of that other one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    if resource is None:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
