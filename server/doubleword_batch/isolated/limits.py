"""Limits for the child process: memory, files and processor time."""

import os
import sys

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

_CPU_SECONDS = 90  # without a frame; our parent never waits longer
_FILE_BYTES = 1 << 20  # SQLite only writes the index of a write-ahead log
_LIBRARIES_BYTES = 512 << 20  # address space that is not used as memory


def limit_resources(memory_bytes: int) -> None:
    """Limit this process to so much memory, and to practically no files.

    On Linux and Windows the system enforces it. macOS has no such limit for a process: there the
    time is limited, and what SQLite allocates.
    """
    if sys.platform == "win32":
        _limit_job(memory_bytes + _LIBRARIES_BYTES)
        return
    import resource

    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes + _LIBRARIES_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(limit, (most, most))
        except (ValueError, OSError):  # macOS, or we were started under a lower limit
            continue
    limit_files(_FILE_BYTES)


def limit_files(most_bytes: int, open_files: int | None = None) -> None:
    """Limit the size of each file that this process writes.

    Args:
        most_bytes: maximum size of a file.
        open_files: how many may be opened besides those already open; None to keep the limit.
    """
    if sys.platform == "win32":
        return
    import resource

    limits = [(resource.RLIMIT_FSIZE, most_bytes)]
    if open_files is not None:
        free = os.dup(0)
        os.close(free)
        limits.append((resource.RLIMIT_NOFILE, free + open_files))
    for limit, most in limits:
        hard = resource.getrlimit(limit)[1]
        lowest = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (lowest, hard))


def renew_time() -> None:
    """Allow more processor time; this limit ends us if our parent was killed."""
    if sys.platform == "win32":
        return  # on Windows our pipes close with the parent, and the reading thread ends us
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + _CPU_SECONDS
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or until < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (until, hard))


if sys.platform == "win32":
    _EXTENDED_LIMITS = 9
    _PROCESS_MEMORY = 0x100

    class _BasicLimits(ctypes.Structure):
        _fields_ = (
            ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
            ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
        )

    class _ExtendedLimits(ctypes.Structure):
        _fields_ = (
            ("BasicLimitInformation", _BasicLimits),
            ("IoInfo", ctypes.c_ulonglong * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        )

    def _limit_job(memory_bytes: int) -> None:
        """Put this process into a job object that limits how many bytes it can commit.

        Raises:
            OSError: Windows refuses; the process must not continue without the limit.
        """
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.CreateJobObjectW.restype = wintypes.HANDLE
        kernel.GetCurrentProcess.restype = wintypes.HANDLE
        kernel.SetInformationJobObject.argtypes = (
            wintypes.HANDLE,
            ctypes.c_int,
            ctypes.c_void_p,
            wintypes.DWORD,
        )
        kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _PROCESS_MEMORY
        limits.ProcessMemoryLimit = memory_bytes
        job = kernel.CreateJobObjectW(None, None)  # it lives as long as this process
        is_set = job and kernel.SetInformationJobObject(
            job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
        )
        if not is_set or not kernel.AssignProcessToJobObject(job, kernel.GetCurrentProcess()):
            raise ctypes.WinError(ctypes.get_last_error())
