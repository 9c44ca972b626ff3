"""The only clock of the service; everything else takes the instant as an argument."""

import time


def now_ns() -> int:
    """Wall clock, UTC nanoseconds."""
    return time.time_ns()
