"""CPU time of the calling thread."""

import time

try:
    from resource import RUSAGE_THREAD, getrusage
except ImportError:  # not Linux

    def thread_cpu_ns() -> int:
        """User and system time of this thread in ns."""
        return time.thread_time_ns()

else:

    def thread_cpu_ns() -> int:
        """User and system time of this thread in ns, to the microsecond. getrusage costs less than the clock behind `time.thread_time_ns`."""
        usage = getrusage(RUSAGE_THREAD)
        return int((usage.ru_utime + usage.ru_stime) * 1e9)
