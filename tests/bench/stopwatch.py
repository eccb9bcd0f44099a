"""Times a stage inside its process: imports and preparation do not count."""

import resource
import time


class Stopwatch:
    """Wall and CPU seconds from its creation on, and the peak memory that was there before."""

    def __init__(self):
        self._idle_mb = _peak_mb()
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def seconds(self):
        """Wall seconds so far."""
        return time.perf_counter() - self._wall

    def taken(self):
        """What the stage reports of itself: seconds, CPU seconds of all threads, idle megabytes."""
        return {
            "seconds": self.seconds(),
            "cpu_seconds": time.process_time() - self._cpu,
            "idle_mb": self._idle_mb,
        }


def _peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
