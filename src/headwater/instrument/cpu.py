"""CPU time of the calling thread.

Not by `getrusage(RUSAGE_THREAD)`, which is a little cheaper: on kernels that account by tick it moves in steps of milliseconds, so a stage of half a
millisecond reads 0 in most calls and several times its duration in one. The thread's clock is exact everywhere.
"""

from time import thread_time_ns as thread_cpu_ns

__all__ = ["thread_cpu_ns"]
