"""What importing something takes; this module imports nothing for itself."""

import time
from pathlib import Path


def start(statement: str) -> dict[str, float]:
    """Run an import statement; return its seconds, and the megabytes that the process holds then."""
    begun = time.perf_counter()
    exec(statement)  # one of those in rows/start.py
    return {"seconds": time.perf_counter() - begun, "mb": held()}


def held() -> float:
    """Return the megabytes of memory that this process holds now, or, where that is not told, held at most."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 2**10
