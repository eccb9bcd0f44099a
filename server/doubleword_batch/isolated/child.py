"""What runs in the child process: limits first, then one request after another.

It starts in some 40 ms because it imports very little; please keep it that way.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from doubleword_batch.isolated.limits import limit_resources, renew_time

Request = dict[str, Any]
Handler = Callable[[Request], Iterator[Any]]


def main(work: str, memory_bytes: int) -> None:
    """Answer requests, one JSON object per line, until there are no more or the parent is gone.

    Args:
        work: `sql`, `schema`, `document` or `workbook`.
        memory_bytes: how much memory it may allocate.
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
        except Exception as error:  # noqa: BLE001  # the parent has to know of any error
            _send({"error": [type(error).__name__, str(error)[:2000]]})


def _handler(work: str, memory_bytes: int) -> Handler:
    if work == "sql":
        from doubleword_batch.isolated import sql_child

        sql_child.limit_memory(memory_bytes)
        return sql_child.handle
    if work == "schema":
        from doubleword_batch.isolated import schema_child

        return schema_child.handle
    from doubleword_batch.isolated import files_child

    return files_child.handle_document if work == "document" else files_child.handle_workbook


def _read(requests: "SimpleQueue[bytes]") -> None:
    stream = sys.stdin.buffer
    while line := stream.readline():
        requests.put(line)
    os._exit(0)  # the parent is gone or does not need us, whatever we are doing


def _send(frame: Any) -> None:
    text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
    sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()
