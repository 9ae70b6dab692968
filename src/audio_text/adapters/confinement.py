"""What a child process that reads strangers' bytes may take: no new file or connection, so much memory, so much time.

Limits of the kernel on one process, which need no privilege and hold in every container (ADR 0014).
"""

import os
import resource
import sys
from collections.abc import Generator
from contextlib import contextmanager


class Confinement:
    """The limits of this process, which has one thread."""

    def __init__(self) -> None:
        # held open: once the doors are closed nothing can be opened
        self._memory: int | None = os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else None

    def close_doors(self) -> None:
        """Open nothing any more, neither file nor connection, write no file, leave no core. What is open stays open."""
        for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(kind, (0, 0))

    def limit_memory(self, more_bytes: int) -> None:
        """Have so much more address space than now, where the system can count it; more fails with MemoryError."""
        if self._memory is not None:
            pages = int(os.pread(self._memory, 100, 0).split()[0])
            _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + more_bytes)

    def limit_time(self, more_seconds: int) -> None:
        """End with SIGXCPU after so many more seconds of CPU; the next call starts anew."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime) + more_seconds)

    @contextmanager
    def bounds(self, *, memory_bytes: int, cpu_seconds: int) -> Generator[None]:
        """Both limits, as long as the work inside takes."""
        before = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU)}
        self.limit_memory(memory_bytes)
        self.limit_time(cpu_seconds)
        try:
            yield
        finally:
            for kind, pair in before.items():
                resource.setrlimit(kind, pair)


def _limit(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
