"""What runs in the child process: limits first, then one request after another.

It starts in some 40 ms because it imports very little; please keep it so.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

Request = dict[str, Any]
Handler = Callable[[Request], Iterator[Any]]

_CPU_SECONDS = 90  # without a frame; our parent is more patient nowhere
_FILE_BYTES = 1 << 20  # SQLite writes the index of a write-ahead log, and nothing else
_LIBRARIES_BYTES = 512 << 20  # address space that is not memory yet


def main(work: str, memory_bytes: int) -> None:
    """Answer requests, a JSON object a line, until there are no more or the parent is gone.

    Args:
        work: `sql`, `schema`, `document` or `workbook`.
        memory_bytes: what may be allocated.
    """
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    handle = _handler(work, memory_bytes)
    limit_resources(memory_bytes)
    _send({"ready": work})
    while True:
        request = json.loads(requests.get())
        renew_time()
        try:
            for frame in handle(request):
                _send(frame)
                renew_time()
        except Exception as error:  # noqa: BLE001  # whatever it is, the parent has to know
            _send({"error": [type(error).__name__, str(error)[:2000]]})


def _handler(work: str, memory_bytes: int) -> Handler:
    if work == "sql":
        from doubleword_batch.isolated import sql_child

        sql_child.limit_memory(memory_bytes)
        return sql_child.handle
    if work == "document":
        from doubleword_batch.isolated import document_child

        return document_child.handle
    if work == "workbook":
        from doubleword_batch.isolated import workbook_child

        return workbook_child.handle
    from doubleword_batch.isolated import schema_child

    return schema_child.handle


def _read(requests: "SimpleQueue[bytes]") -> None:
    stream = sys.stdin.buffer
    while line := stream.readline():
        requests.put(line)
    os._exit(0)  # the parent is gone or does not want us any more, whatever we are at


def _send(frame: Any) -> None:
    text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
    sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


def limit_resources(memory_bytes: int) -> None:
    """Hold this process to so much memory, and to no files worth the name.

    On Linux and Windows the system does. macOS has no such limit for a process: there the time is
    limited, and what SQLite allocates.
    """
    if sys.platform == "win32":
        from doubleword_batch.isolated.windows_limits import limit_job

        limit_job(memory_bytes + _LIBRARIES_BYTES)
        return
    import resource

    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes + _LIBRARIES_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(limit, (most, most))
        except (ValueError, OSError):  # macOS, or a lower limit that we were started under
            continue
    limit_files(_FILE_BYTES)


def limit_files(most_bytes: int, open_files: int | None = None) -> None:
    """Hold each file that this process writes to so many bytes.

    Args:
        most_bytes: of a file.
        open_files: how many may be opened beside those that are open; None for as many as before.
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
    """Allow more processor time: it is what ends us if our parent was killed."""
    if sys.platform == "win32":
        return  # there our pipes close with the parent, and the reading thread ends us
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + _CPU_SECONDS
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or until < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (until, hard))
